//! A person adds, changes, moves, retires a machine, or takes it off sale.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        audit::{self, Change},
        operations::Operation,
        operators::{checked_name, operator_row, unique_or_invalid},
    },
    clock,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        change_settings::set_desired_settings,
        operate::price::check_module_allows,
        probe_module::invalidate_probe,
    },
    ids::{MachineId, OperatorId},
    machines::{
        machine, price,
        rows::{lock_machine, lock_wired_module, permitted_machine, permitted_module},
        shapes::PriceChange,
    },
    modules::{commands::queue_superseding, learning_result::Verdict, module, rows::lock_module, settings},
};
use protocol::{ModuleId, messages::Action};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};
use serde_json::json;

/// What is to be changed of a machine. What is not given stays.
#[derive(Debug, Clone, Default)]
pub struct MachineChange {
    /// Its name.
    pub name: Option<String>,
    /// Where it stands.
    pub site: Option<String>,
    /// What a coin pulse is worth from now on, in minor units. Coins booked before keep their value.
    pub coin_value_minor: Option<i64>,
}

/// Changes a machine.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn change_machine(ctx: &Context, actor: &Actor, machine_id: MachineId, change: MachineChange) -> Result<()> {
    let (machine, permit) = permitted_machine(ctx, actor, Operation::ChangeMachine, machine_id).await?;
    if change.coin_value_minor.is_some() {
        // What a coin is worth changes the books, as prices do.
        actor.permit(Operation::ChangePrices, machine.operator_id, "machine")?;
    }
    let name = change.name.as_deref().map(checked_name).transpose()?;
    let site = change.site.as_deref().map(checked_name).transpose()?;
    let coin_value_minor = change.coin_value_minor.map(checked_coin_value).transpose()?;
    let (name, site) = (&name, &site);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let before = lock_machine(txn, machine_id).await?;
            let mut row: machine::ActiveModel = before.clone().into();
            if let Some(name) = name {
                row.name = Set(name.clone());
            }
            if let Some(site) = site {
                row.site = Set(site.clone());
            }
            if let Some(value) = coin_value_minor {
                row.coin_value_minor = Set(value);
            }
            store(ctx, txn, permit, before, row).await
        })
        .await
}

/// Stores what was changed of a machine, and who did it.
async fn store(
    ctx: &Context,
    txn: &DatabaseTransaction,
    permit: Permit<'_>,
    before: machine::Model,
    change: machine::ActiveModel,
) -> Result<()> {
    if !change.is_changed() {
        return Ok(());
    }
    let after = change.clone().try_into_model()?;
    change.update_without_returning(txn).await?;
    let change = Change::between(facts(&before), facts(&after));
    audit::record_change(ctx, txn, permit, ("machine", after.id), change).await
}

/// A machine as the audit log has it.
fn facts(machine: &machine::Model) -> serde_json::Value {
    json!({
        "name": machine.name,
        "site": machine.site,
        "coin_value_minor": machine.coin_value_minor,
        "on_sale": machine.active,
        "module": machine.module_id,
        "retired_ms": machine.retired_ms,
    })
}

/// Wires another module to a machine, or none: code, books and prices stay. A sale under way ends with the module
/// it began with. The new module gets the settings that the old one was to have, since the coin line is the same.
///
/// # Errors
///
/// `Invalid` says why that module cannot be wired to this machine; `NotFound`, `Forbidden`, `Store`.
pub async fn replace_module(ctx: &Context, actor: &Actor, machine_id: MachineId, new: Option<ModuleId>) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::ReplaceModule, machine_id).await?;
    let replaced = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let machine = lock_machine(txn, machine_id).await?;
            let old = machine.module_id.clone();
            if machine.retired_ms.is_some() && new.is_some() {
                return Err(Error::invalid("machine", "is retired: bring it back first"));
            }
            let mut after = AfterCommit::default();
            if old.as_deref() != new.as_ref().map(ModuleId::as_str) {
                rewire(ctx, txn, &machine, new, &mut after).await?;
                let mut change: machine::ActiveModel = machine.clone().into();
                change.module_id = Set(new.map(|module| module.to_string()));
                store(ctx, txn, permit, machine, change).await?;
            }
            Ok((old, after))
        })
        .await;
    let (old, after) = unique_or_invalid(replaced, "module", "is wired to another machine")?;
    tracing::info!(machine = machine_id.0, old, new = new.map(|module| module.to_string()), "a module was replaced");
    for module in old.iter().map(String::as_str).chain(new.as_ref().map(ModuleId::as_str)) {
        invalidate_probe(ctx, module);
    }
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Makes a module fit for a machine in place of the one it has.
async fn rewire(
    ctx: &Context,
    txn: &DatabaseTransaction,
    machine: &machine::Model,
    new: Option<ModuleId>,
    after: &mut AfterCommit,
) -> Result<()> {
    let old = match machine.module_id.as_deref().and_then(|id| ModuleId::parse(id).ok()) {
        Some(id) => Some(lock_module(txn, id).await?),
        None => None,
    };
    let Some(new) = new else { return Ok(()) };
    let row = lock_module(txn, new).await?;
    if row.operator_id.is_some_and(|owner| owner != machine.operator_id) {
        return Err(Error::invalid("module", "is another operator's"));
    }
    if row.disabled_ms.is_some() {
        return Err(Error::invalid("module", "is disabled: enable it first"));
    }
    // Settings that nobody chose are those built in, which a new module has as well.
    let carried = old.as_ref().filter(|old| old.settings_wanted != 0).map(settings::wanted);
    let dearest = price::Entity::find().filter(price::Column::MachineId.eq(machine.id)).all(txn).await?;
    let pulses = dearest.iter().map(|price| price.pulses).max().unwrap_or(0);
    if pulses > i32::from(carried.unwrap_or_else(|| settings::wanted(&row)).credit_pulses_max) {
        return Err(Error::invalid("module_pulses", "are more than the module's settings let a credit have"));
    }
    let mut change: module::ActiveModel = row.clone().into();
    change.operator_id = Set(Some(machine.operator_id));
    change.update_without_returning(txn).await?;
    let (id, has_others) = (row.id.clone(), carried.is_some_and(|carried| carried != settings::wanted(&row)));
    let lock_differs = old.as_ref().is_some_and(|old| old.locked != row.locked).then_some(!row.locked);
    if let Some(carried) = carried.filter(|_| has_others || row.settings_wanted == 0) {
        set_desired_settings(ctx, txn, row, carried, Verdict::Discarded, after).await?;
    }
    if let Some(locked) = lock_differs {
        let lifetime_ms = ctx.rules.setting_lifetime_ms;
        after.command(queue_superseding(ctx, txn, &id, Action::Lock { locked }, lifetime_ms).await?);
    }
    after.module(id);
    Ok(())
}

/// Takes a machine out of service for good: its history stays, its module is free, its scan page says so.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn retire_machine(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::RetireMachine, machine_id).await?;
    let module = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let machine = lock_machine(txn, machine_id).await?;
            if machine.retired_ms.is_some() {
                return Ok(None);
            }
            let module = machine.module_id.clone();
            let mut change: machine::ActiveModel = machine.clone().into();
            change.retired_ms = Set(Some(ctx.now_ms()));
            change.module_id = Set(None);
            store(ctx, txn, permit, machine, change).await?;
            Ok(module)
        })
        .await?;
    if let Some(module) = module {
        invalidate_probe(ctx, &module);
    }
    Ok(())
}

/// Takes a retired machine back into service, without a module.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn bring_back_machine(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::RetireMachine, machine_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let machine = lock_machine(txn, machine_id).await?;
            let mut change: machine::ActiveModel = machine.clone().into();
            if machine.retired_ms.is_some() {
                change.retired_ms = Set(None);
            }
            store(ctx, txn, permit, machine, change).await
        })
        .await
}

/// Characters of a scan code, 40 bits: short enough to type, too many to try.
const CODE_CHARS: usize = 8;

/// What a coin pulse is worth at most, in minor units.
const COIN_VALUE_MAX_MINOR: i64 = 1_000_000;

/// A machine to be made.
#[derive(Debug, Clone)]
pub struct NewMachine {
    /// Whose it is.
    pub operator_id: OperatorId,
    /// The module wired to it.
    pub module: Option<ModuleId>,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// What a coin pulse is worth, in minor units.
    pub coin_value_minor: i64,
    /// Its prices.
    pub prices: Vec<PriceChange>,
}

/// What a coin pulse is worth, within bounds.
pub(super) fn checked_coin_value(minor: i64) -> Result<i64> {
    if (0..=COIN_VALUE_MAX_MINOR).contains(&minor) {
        Ok(minor)
    } else {
        Err(Error::invalid(
            "coin value",
            "must be from 0 to 1,000,000 in the smallest unit of its currency (fen, cents)",
        ))
    }
}

/// Makes a machine; gives its number and its code.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound` if there is no such operator for this actor; `Forbidden`, `Store`.
pub async fn add_machine(ctx: &Context, actor: &Actor, new: NewMachine) -> Result<(MachineId, String)> {
    let permit = actor.permit(Operation::AddMachine, new.operator_id, "operator")?;
    operator_row(ctx, new.operator_id).await?;
    let prices = new.prices.into_iter().map(PriceChange::checked).collect::<Result<Vec<_>>>()?;
    checked_coin_value(new.coin_value_minor)?;
    if let (Some(module), Some(pulses)) = (new.module, prices.iter().map(|price| price.pulses).max()) {
        check_module_allows(ctx, module.as_str(), pulses).await?;
    }
    let (module, operator_id) = (new.module, new.operator_id);
    let row = machine::ActiveModel {
        operator_id: Set(new.operator_id),
        module_id: Set(new.module.map(|module| module.to_string())),
        code: Set(clock::random_text(&*ctx.random, CODE_CHARS)),
        name: Set(checked_name(&new.name)?),
        site: Set(checked_name(&new.site)?),
        active: Set(true),
        coin_value_minor: Set(new.coin_value_minor),
        created_ms: Set(ctx.now_ms()),
        retired_ms: Set(None),
        ..Default::default()
    };
    let row = &row;
    let prices = &prices;
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let machine = row.clone().insert(txn).await?;
            if let Some(module) = module {
                let module = lock_module(txn, module).await?;
                if module.operator_id.is_some_and(|owner| owner != operator_id) {
                    return Err(Error::invalid("module", "is another operator's"));
                }
                let mut change: module::ActiveModel = module.into();
                change.operator_id = Set(Some(operator_id));
                change.update_without_returning(txn).await?;
            }
            for (position, price) in (0..).zip(prices) {
                let row = price::ActiveModel {
                    machine_id: Set(machine.id),
                    label: Set(price.label.clone()),
                    amount_minor: Set(price.amount_minor),
                    pulses: Set(price.pulses),
                    position: Set(position),
                    ..Default::default()
                };
                price::Entity::insert(row).exec_without_returning(txn).await?;
            }
            let mut made = facts(&machine);
            made["prices"] =
                prices.iter().map(|price| json!([price.label, price.amount_minor, price.pulses])).collect();
            audit::record(ctx, txn, permit, ("machine", machine.id), Change::to(made)).await?;
            Ok((machine.id, machine.code))
        })
        .await;
    unique_or_invalid(stored, "module", "is wired to another machine")
}

/// Takes a machine on or off sale.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn set_active(ctx: &Context, actor: &Actor, machine_id: MachineId, active: bool) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::SetOnSale, machine_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let machine = lock_machine(txn, machine_id).await?;
            let mut row: machine::ActiveModel = machine.clone().into();
            row.active = Set(active);
            store(ctx, txn, permit, machine, row).await
        })
        .await
}

/// Locks a machine's module or unlocks it, by a command; its status tells when it is done.
///
/// # Errors
///
/// `NotFound` if there is no such machine for this actor, or no module wired to it; `Forbidden`, `Store`.
pub async fn set_locked(ctx: &Context, actor: &Actor, machine_id: MachineId, locked: bool) -> Result<()> {
    let (module, permit) = permitted_module(ctx, actor, Operation::LockMachine, machine_id).await?;
    let lifetime_ms = ctx.rules.setting_lifetime_ms;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let row = lock_wired_module(txn, machine_id, module).await?;
            after.command(queue_superseding(ctx, txn, &row.id, Action::Lock { locked }, lifetime_ms).await?);
            after.module(row.id);
            audit::record(ctx, txn, permit, ("machine", machine_id), Change::to(json!({"locked": locked}))).await?;
            Ok(after)
        })
        .await?;
    invalidate_probe(ctx, module.as_str());
    publish_after_commit(ctx, after).await;
    Ok(())
}
