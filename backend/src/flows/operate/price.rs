//! A person adds, changes, orders, removes prices of a machine.

use crate::{
    Context, Error, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
    },
    ids::{MachineId, PriceId},
    machines::{
        price,
        rows::{lock_machine, permitted_machine, price_rows},
        shapes::PriceChange,
    },
    modules::{rows::module_row, settings},
};
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::json;
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

/// Changes a price of a machine. Sales made before keep the old one.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn change_price(ctx: &Context, actor: &Actor, price_id: PriceId, change: PriceChange) -> Result<()> {
    let change = change.checked()?;
    let price = price::Entity::find_by_id(price_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("price"))?;
    let permitted = permitted_machine(ctx, actor, Operation::ChangePrices, price.machine_id).await;
    let (machine, permit) = permitted
        .map_err(|error| if matches!(error, Error::NotFound(_)) { Error::NotFound("price") } else { error })?;
    if let Some(module_id) = &machine.module_id {
        check_module_allows(ctx, module_id, change.pulses).await?;
    }
    let change = &change;
    let machine_id = machine.id;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, machine_id).await?;
            let found = price::Entity::find_by_id(price_id).one(txn).await?;
            let before = found.ok_or(Error::NotFound("price"))?;
            let mut row: price::ActiveModel = before.clone().into();
            row.label = Set(change.label.clone());
            row.amount_minor = Set(change.amount_minor);
            row.pulses = Set(change.pulses);
            row.update_without_returning(txn).await?;
            let told = Change::between(facts(&before.label, before.amount_minor, before.pulses), facts_of(change));
            audit::record_change(ctx, txn, permit, ("price", price_id), told).await
        })
        .await
}

/// A price as the audit log has it.
fn facts(label: &str, amount_minor: i64, pulses: i32) -> serde_json::Value {
    json!({"label": label, "amount_minor": amount_minor, "pulses": pulses})
}

fn facts_of(price: &PriceChange) -> serde_json::Value {
    facts(&price.label, price.amount_minor, price.pulses)
}

/// More prices than this do not fit a scan page.
const PRICES_MAX: usize = 20;

/// Adds a price behind the others; gives its number.
///
/// # Errors
///
/// `Invalid` names the field, or says that there are too many; `NotFound`, `Forbidden`, `Store`.
pub async fn add_price(ctx: &Context, actor: &Actor, machine_id: MachineId, new: PriceChange) -> Result<PriceId> {
    let new = new.checked()?;
    let (machine, permit) = permitted_machine(ctx, actor, Operation::ChangePrices, machine_id).await?;
    if let Some(module_id) = &machine.module_id {
        check_module_allows(ctx, module_id, new.pulses).await?;
    }
    let new = &new;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, machine_id).await?;
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
            let id = price::Entity::insert(row).exec(txn).await?.last_insert_id;
            let mut made = facts_of(new);
            made["machine"] = machine_id.0.into();
            audit::record(ctx, txn, permit, ("price", id), Change::to(made)).await?;
            Ok(id)
        })
        .await
}

/// Removes a price. Orders made at it before are served.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn remove_price(ctx: &Context, actor: &Actor, machine_id: MachineId, price_id: PriceId) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::ChangePrices, machine_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, machine_id).await?;
            let found = price::Entity::find_by_id(price_id).one(txn).await?;
            let price = found.filter(|price| price.machine_id == machine_id).ok_or(Error::NotFound("price"))?;
            price::Entity::delete_by_id(price_id).exec(txn).await?;
            let mut gone = facts(&price.label, price.amount_minor, price.pulses);
            gone["machine"] = machine_id.0.into();
            audit::record(ctx, txn, permit, ("price", price_id), Change::from(gone)).await
        })
        .await
}

/// Puts a machine's prices in this order: the numbers of all of them.
///
/// # Errors
///
/// `Invalid` if not all are named once; `NotFound`, `Forbidden`, `Store`.
pub async fn order_prices(ctx: &Context, actor: &Actor, machine_id: MachineId, price_ids: &[PriceId]) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::ChangePrices, machine_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_machine(txn, machine_id).await?;
            let rows = price_rows(txn, machine_id).await?;
            let known: BTreeSet<PriceId> = rows.iter().map(|row| row.id).collect();
            let wanted: BTreeSet<PriceId> = price_ids.iter().copied().collect();
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
            let before: Vec<PriceId> = rows.iter().map(|row| row.id).collect();
            let told = Change::between(json!({"prices": before}), json!({"prices": price_ids}));
            audit::record_change(ctx, txn, permit, ("machine", machine_id), told).await
        })
        .await
}
