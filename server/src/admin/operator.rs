//! `coinwire operator`: the businesses that own machines.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result, bail};
use backend::{
    access::{actor::Actor, operators},
    flows::operate::operator::{self, NewOperator, OperatorChange},
    money::Currency,
    sales::takings,
    zones::{Period, Zone},
};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum Operator {
    /// Add an operator: the business that owns machines. Prints its number.
    Add(AddArgs),
    /// List all operators.
    List(print::Form),
    /// Change an operator's name, contact, time zone or refund rule.
    Set {
        /// Its number or short name.
        operator: String,
        /// The name consumers read.
        #[arg(long)]
        name: Option<String>,
        /// Contact for payers, shown on scan and sale pages: a phone number, an e-mail address or some words; empty for
        /// none.
        #[arg(long)]
        contact: Option<String>,
        /// Its time zone by IANA name, for example Europe/Berlin: its days begin there at midnight.
        #[arg(long, value_name = "NAME")]
        time_zone: Option<String>,
        /// If only a part of a credit was given: refund only the rest (true), or all (false).
        #[arg(long, value_name = "true|false")]
        refund_remainder: Option<bool>,
    },
    /// Show what an operator took today, this week or this month, by its own time zone.
    Takings {
        /// Its number or short name.
        operator: String,
        /// Since when.
        #[arg(long, value_enum, default_value = "day")]
        period: PeriodArg,
        #[command(flatten)]
        form: print::Form,
    },
}

/// A new operator, as typed.
#[derive(Args)]
pub struct AddArgs {
    /// Short name in MQTT topics and integrators' user name: a-z, 0-9, -. It never changes.
    slug: String,
    /// The name consumers read.
    name: String,
    /// Currency of its prices: CNY, EUR, JPY or KWD.
    #[arg(long, default_value = "CNY")]
    currency: String,
    /// Its time zone by IANA name, for example Europe/Berlin: its days begin there at midnight. Without it, Asia/Shanghai
    /// for CNY, Europe/Berlin for EUR, Asia/Tokyo for JPY and Asia/Kuwait for KWD.
    #[arg(long, value_name = "NAME")]
    time_zone: Option<String>,
    /// Older form: minutes by which its clocks are ahead of UTC in winter. Becomes a time zone.
    #[arg(long, value_name = "MINUTES", conflicts_with = "time_zone", allow_negative_numbers = true, hide = true)]
    utc_offset_min: Option<i32>,
    /// If only a part of a credit was given, refund only the rest.
    #[arg(long)]
    refund_remainder: bool,
}

impl AddArgs {
    /// Adds it, and prints its number.
    pub async fn add(self, backend: &backend::Context, actor: &Actor) -> Result<()> {
        let currency = input::currency(&self.currency)?;
        let time_zone = self.zone(currency)?;
        let new = NewOperator {
            slug: self.slug,
            name: self.name,
            currency,
            time_zone,
            refund_remainder: self.refund_remainder,
        };
        println!("operator {}", operator::add_operator(backend, actor, new).await?);
        Ok(())
    }

    fn zone(&self, currency: Currency) -> Result<Zone> {
        match (&self.time_zone, self.utc_offset_min) {
            (Some(name), _) => Ok(Zone::parse(name)?),
            (None, Some(minutes)) => Zone::of_offset(minutes, currency)
                .with_context(|| format!("no time zone is {minutes} minutes before UTC: give --time-zone NAME")),
            (None, None) => Ok(Zone::default_for(currency)),
        }
    }
}

/// A period by its word.
#[derive(Clone, Copy, ValueEnum)]
pub enum PeriodArg {
    /// Since midnight.
    Day,
    /// Since Monday.
    Week,
    /// Since the first of the month.
    Month,
}

impl From<PeriodArg> for Period {
    fn from(word: PeriodArg) -> Self {
        match word {
            PeriodArg::Day => Period::Day,
            PeriodArg::Week => Period::Week,
            PeriodArg::Month => Period::Month,
        }
    }
}

impl Execute for Operator {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Operator::Add(words) => words.add(backend, actor).await,
            Operator::List(form) => {
                let heads = ["NUMBER", "SHORT NAME", "NAME", "CURRENCY", "TIME ZONE", "REFUNDS"];
                form.rows(&operators::operators(backend, actor).await?, heads, |row| {
                    let refunds = if row.refund_remainder { "the rest" } else { "all" }.to_owned();
                    let (slug, name) = (row.slug.clone(), row.name.clone());
                    [row.operator_id.to_string(), slug, name, row.currency.clone(), row.time_zone.clone(), refunds]
                })
            }
            Operator::Set { operator, name, contact, time_zone, refund_remainder } => {
                if name.is_none() && contact.is_none() && time_zone.is_none() && refund_remainder.is_none() {
                    bail!("nothing to change: give --name, --contact, --time-zone or --refund-remainder");
                }
                let time_zone = time_zone.as_deref().map(Zone::parse).transpose()?;
                let operator = input::operator(backend, actor, &operator).await?;
                let change = OperatorChange { name, contact, time_zone, refund_remainder };
                operator::change_operator(backend, actor, operator, change).await?;
                println!("operator {operator} changed");
                Ok(())
            }
            Operator::Takings { operator, period, form } => {
                let operator = input::operator(backend, actor, &operator).await?;
                form.one(&takings::takings(backend, actor, operator, period.into()).await?, |takings| {
                    vec![
                        ("sales", takings.sales.to_string()),
                        ("by phone", print::money(&takings.mobile)),
                        ("in coins", print::money(&takings.coins)),
                        ("together", print::money(&takings.total)),
                        ("refunded", print::money(&takings.refunded)),
                    ]
                })
            }
        }
    }
}
