//! A person adds, changes, orders, removes prices of a machine.

use crate::{
    Context, Error, Result,
    machines::{
        price,
        rows::{lock_machine, own_machine, price_rows},
        shapes::PriceChange,
    },
    modules::{rows::module_row, settings},
};
use sea_orm::{ActiveValue::Set, prelude::*};
use std::collections::BTreeSet;

/// Refuses a price beyond what the module's settings let a credit have: such a sale would be paid, refused by the
/// module and refunded, each time.
pub(crate) async fn check_module_allows(ctx: &Context, module_id: &str, pulses: i32) -> Result<()> {
    let settings = settings::wanted(&module_row(ctx, module_id).await?);
    if pulses > i32::from(settings.credit_pulses_max) {
        return Err(Error::invalid("module_pulses", "are more than the module's settings let a credit have"));
    }
    Ok(())
}

/// Changes a price of an operator's machine. Sales made before keep the old one.
pub async fn change_price(ctx: &Context, operator_id: i64, price_id: i64, change: PriceChange) -> Result<()> {
    let change = change.checked()?;
    let price = price::Entity::find_by_id(price_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("price"))?;
    let machine = own_machine(ctx, operator_id, price.machine_id).await.map_err(|_| Error::NotFound("price"))?;
    if let Some(module_id) = &machine.module_id {
        check_module_allows(ctx, module_id, change.pulses).await?;
    }
    let price = &price;
    let change = &change;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut row: price::ActiveModel = price.clone().into();
            row.label = Set(change.label.clone());
            row.amount_minor = Set(change.amount_minor);
            row.pulses = Set(change.pulses);
            row.update_without_returning(txn).await?;
            Ok(())
        })
        .await
}

/// More prices than this do not fit a scan page.
const PRICES_MAX: usize = 20;

/// Adds a price behind the others; gives its number.
pub async fn add_price(ctx: &Context, operator_id: i64, machine_id: i64, new: PriceChange) -> Result<i64> {
    let new = new.checked()?;
    let machine = own_machine(ctx, operator_id, machine_id).await?;
    if let Some(module_id) = &machine.module_id {
        check_module_allows(ctx, module_id, new.pulses).await?;
    }
    let new = &new;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, operator_id, machine_id).await?;
            let others = price_rows(txn, machine_id).await?;
            if others.len() >= PRICES_MAX {
                return Err(Error::invalid("price", format!("a machine has at most {PRICES_MAX} prices")));
            }
            let row = price::ActiveModel {
                machine_id: Set(machine_id),
                label: Set(new.label.clone()),
                amount_minor: Set(new.amount_minor),
                pulses: Set(new.pulses),
                position: Set(others.last().map_or(0, |last| last.position + 1)),
                ..Default::default()
            };
            Ok(price::Entity::insert(row).exec(txn).await?.last_insert_id)
        })
        .await
}

/// Removes a price. Orders made at it before are served.
pub async fn remove_price(ctx: &Context, operator_id: i64, machine_id: i64, price_id: i64) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, operator_id, machine_id).await?;
            let removed = price::Entity::delete_many()
                .filter(price::Column::Id.eq(price_id))
                .filter(price::Column::MachineId.eq(machine_id))
                .exec(txn)
                .await?;
            if removed.rows_affected == 1 { Ok(()) } else { Err(Error::NotFound("price")) }
        })
        .await
}

/// Puts a machine's prices in this order: the numbers of all of them.
pub async fn order_prices(ctx: &Context, operator_id: i64, machine_id: i64, price_ids: &[i64]) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, operator_id, machine_id).await?;
            let rows = price_rows(txn, machine_id).await?;
            let known: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
            let wanted: BTreeSet<i64> = price_ids.iter().copied().collect();
            if known != wanted || wanted.len() != price_ids.len() {
                let known: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
                let message = format!("must name each of the machine's prices once: {}", known.join(" "));
                return Err(Error::invalid("prices", message));
            }
            for (position, id) in (0..).zip(price_ids) {
                let row = rows.iter().find(|row| row.id == *id).filter(|row| row.position != position);
                if let Some(row) = row {
                    let mut change: price::ActiveModel = row.clone().into();
                    change.position = Set(position);
                    change.update_without_returning(txn).await?;
                }
            }
            Ok(())
        })
        .await
}
