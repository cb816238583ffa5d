//! `coinwire price`: what consumers choose on a machine's scan page.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result, bail};
use backend::{
    access::actor::Actor,
    flows::operate::price,
    ids::{MachineId, PriceId},
    machines::{prices, shapes::PriceChange},
};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Price {
    /// Add a price to a machine, after the others. Prints its number.
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
        price: PriceId,
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
        price: PriceId,
    },
    /// Put a machine's prices in another order.
    Order {
        /// The machine's number or scan code.
        machine: String,
        /// The numbers of all its prices, first to last.
        #[arg(required = true)]
        prices: Vec<PriceId>,
    },
}

impl Execute for Price {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Price::Add { machine, label, amount_minor, pulses } => {
                let row = input::machine(backend, actor, &machine).await?;
                let new = PriceChange { label, amount_minor, pulses };
                println!("price {}", price::add_price(backend, actor, row.machine_id, new).await?);
            }
            Price::List { machine, form } => {
                let row = input::machine(backend, actor, &machine).await?;
                let prices = prices::prices(backend, actor, row.machine_id).await?;
                form.rows(&prices, ["NUMBER", "LABEL", "AMOUNT", "PULSES"], |price| {
                    let (label, amount) = (price.label.clone(), print::money(&price.amount));
                    [price.id.to_string(), label, amount, price.pulses.to_string()]
                })?;
            }
            Price::Set { price, label, amount_minor, pulses } => {
                set(backend, actor, price, label, amount_minor, pulses).await?;
                println!("price {price} changed");
            }
            Price::Remove { price } => {
                let machine = of(backend, actor, price).await?;
                price::remove_price(backend, actor, machine, price).await?;
                println!("price {price} removed");
            }
            Price::Order { machine, prices } => {
                let row = input::machine(backend, actor, &machine).await?;
                price::order_prices(backend, actor, row.machine_id, &prices).await?;
                println!("machine {}: prices are in order", row.machine_id);
            }
        }
        Ok(())
    }
}

/// The machine of a price.
async fn of(backend: &backend::Context, actor: &Actor, price: PriceId) -> Result<MachineId> {
    prices::machine_of_price(backend, actor, price)
        .await
        .with_context(|| format!("{price}: see `coinwire price list MACHINE`"))
}

async fn set(
    backend: &backend::Context,
    actor: &Actor,
    price: PriceId,
    label: Option<String>,
    amount_minor: Option<i64>,
    pulses: Option<i32>,
) -> Result<()> {
    if label.is_none() && amount_minor.is_none() && pulses.is_none() {
        bail!("nothing to change: give --label, --amount-minor or --pulses");
    }
    let machine = of(backend, actor, price).await?;
    let prices = prices::prices(backend, actor, machine).await?;
    let now = prices.into_iter().find(|row| row.id == price).context("the price was removed in the meantime")?;
    let change = PriceChange {
        label: label.unwrap_or(now.label),
        amount_minor: amount_minor.unwrap_or(now.amount.amount_minor),
        pulses: pulses.unwrap_or(now.pulses),
    };
    Ok(price::change_price(backend, actor, price, change).await?)
}
