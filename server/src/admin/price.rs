//! `coinwire price`: what consumers pick on a machine's scan page.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result, bail};
use backend::{
    flows::operate::price,
    machines::{prices, shapes::PriceChange},
};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Price {
    /// Add a price to a machine, behind the others. Prints its number.
    Add {
        /// The machine's number or scan code.
        machine: String,
        /// What consumers read.
        label: String,
        /// What it costs, in minor units (fen, cents).
        amount_minor: i64,
        /// Pulses that it gives.
        pulses: i32,
    },
    /// List a machine's prices, in the order of its scan page.
    List {
        /// The machine's number or scan code.
        machine: String,
        #[command(flatten)]
        form: print::Form,
    },
    /// Change a price. Sales made before keep the old one.
    Set {
        /// The price's number.
        price: i64,
        /// What consumers read.
        #[arg(long)]
        label: Option<String>,
        /// What it costs, in minor units (fen, cents).
        #[arg(long)]
        amount_minor: Option<i64>,
        /// Pulses that it gives.
        #[arg(long)]
        pulses: Option<i32>,
    },
    /// Remove a price. Sales made at it stay as they are.
    Remove {
        /// The price's number.
        price: i64,
    },
    /// Put a machine's prices in another order.
    Order {
        /// The machine's number or scan code.
        machine: String,
        /// The numbers of all its prices, first to last.
        #[arg(required = true)]
        prices: Vec<i64>,
    },
}

impl Execute for Price {
    async fn act(self, backend: &backend::Context, _: &Settings) -> Result<()> {
        match self {
            Price::Add { machine, label, amount_minor, pulses } => {
                let row = input::machine(backend, &machine).await?;
                let new = PriceChange { label, amount_minor, pulses };
                println!("price {}", price::add_price(backend, row.operator_id, row.machine_id, new).await?);
            }
            Price::List { machine, form } => {
                let row = input::machine(backend, &machine).await?;
                let prices = prices::prices(backend, row.operator_id, row.machine_id).await?;
                form.rows(&prices, ["NUMBER", "LABEL", "AMOUNT", "PULSES"], |price| {
                    let (label, amount) = (price.label.clone(), price.amount_text.clone());
                    [price.id.to_string(), label, amount, price.pulses.to_string()]
                })?;
            }
            Price::Set { price, label, amount_minor, pulses } => {
                set(backend, price, label, amount_minor, pulses).await?;
                println!("price {price} changed");
            }
            Price::Remove { price } => {
                let (operator, machine) = of(backend, price).await?;
                price::remove_price(backend, operator, machine, price).await?;
                println!("price {price} removed");
            }
            Price::Order { machine, prices } => {
                let row = input::machine(backend, &machine).await?;
                price::order_prices(backend, row.operator_id, row.machine_id, &prices).await?;
                println!("machine {}: prices are in order", row.machine_id);
            }
        }
        Ok(())
    }
}

/// The operator and the machine of a price.
async fn of(backend: &backend::Context, price: i64) -> Result<(i64, i64)> {
    prices::machine_of_price(backend, price)
        .await
        .with_context(|| format!("{price}: see `coinwire price list MACHINE`"))
}

async fn set(
    backend: &backend::Context,
    price: i64,
    label: Option<String>,
    amount_minor: Option<i64>,
    pulses: Option<i32>,
) -> Result<()> {
    if label.is_none() && amount_minor.is_none() && pulses.is_none() {
        bail!("nothing to change: give --label, --amount-minor or --pulses");
    }
    let (operator, machine) = of(backend, price).await?;
    let prices = prices::prices(backend, operator, machine).await?;
    let now = prices.into_iter().find(|row| row.id == price).context("the price was removed meanwhile")?;
    let change = PriceChange {
        label: label.unwrap_or(now.label),
        amount_minor: amount_minor.unwrap_or(now.amount.amount_minor),
        pulses: pulses.unwrap_or(now.pulses),
    };
    Ok(price::change_price(backend, operator, price, change).await?)
}
