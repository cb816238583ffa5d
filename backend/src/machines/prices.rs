//! Prices of a machine, and the limits of a price. A sale keeps the price at which it was made.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation, operators::operator_row},
    ids::{MachineId, PriceId},
    ledger,
    machines::{
        machine, price,
        rows::{permitted_machine, price_rows},
        shapes::PriceChange,
    },
    money::{Currency, Money},
    sales::shapes::PriceView,
};
use sea_orm::prelude::*;

/// The lowest and the highest price, in minor units.
pub const PRICE_MINOR: std::ops::RangeInclusive<i64> = 1..=1_000_000;

impl PriceView {
    pub(crate) fn new(price: price::Model, currency: Currency) -> Self {
        let amount = Money::new(price.amount_minor, currency);
        Self { id: price.id, label: price.label, amount, pulses: price.pulses }
    }
}

impl PriceChange {
    pub(crate) fn checked(self) -> Result<Self> {
        let label = self.label.trim().to_owned();
        if !(1..=40).contains(&label.chars().count()) {
            return Err(Error::invalid("label", "must have 1 to 40 characters"));
        }
        if !PRICE_MINOR.contains(&self.amount_minor) {
            return Err(Error::invalid(
                "amount",
                "must be from 1 to 1,000,000 in the smallest unit of its currency (fen, cents)",
            ));
        }
        if !(1..=i32::from(protocol::limits::CREDIT_PULSES_MAX)).contains(&self.pulses) {
            return Err(Error::invalid("pulses", "must be from 1 to 200"));
        }
        Ok(Self { label, ..self })
    }
}

/// A machine's prices in the order of its scan page.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn prices(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<Vec<PriceView>> {
    let (machine, _) = permitted_machine(ctx, actor, Operation::ViewMachines, machine_id).await?;
    let currency = ledger::currency(&operator_row(ctx, machine.operator_id).await?.currency)?;
    let rows = price_rows(ctx.db.read(), machine_id).await?;
    Ok(rows.into_iter().map(|row| PriceView::new(row, currency)).collect())
}

/// The machine that has a price.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn machine_of_price(ctx: &Context, actor: &Actor, price_id: PriceId) -> Result<MachineId> {
    let price = price::Entity::find_by_id(price_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("price"))?;
    let machine = machine::Entity::find_by_id(price.machine_id).one(ctx.db.read()).await?;
    let machine = machine.ok_or(Error::NotFound("price"))?;
    actor.permit(Operation::ViewMachines, machine.operator_id, "price")?;
    Ok(machine.id)
}
