//! Rows of machines and prices, read.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        operations::Operation,
    },
    ids::MachineId,
    machines::{machine, price},
    modules::{module, rows::lock_module},
};
use protocol::ModuleId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryOrder, QuerySelect, prelude::*};

/// The module of a machine, and the permit to do something with it.
///
/// # Errors
///
/// As [`permitted_machine`]; `NotFound` if no module is wired to it.
pub(crate) async fn permitted_module<'a>(
    ctx: &Context,
    actor: &'a Actor,
    operation: Operation,
    machine_id: MachineId,
) -> Result<(ModuleId, Permit<'a>)> {
    let (machine, permit) = permitted_machine(ctx, actor, operation, machine_id).await?;
    let module = machine.module_id.as_deref().and_then(|id| ModuleId::parse(id).ok());
    Ok((module.ok_or(Error::NotFound("module of this machine"))?, permit))
}

/// A machine, and the permit to do something with it.
///
/// # Errors
///
/// `NotFound` if there is no such machine, or it is another operator's; `Forbidden`; `Store`.
pub(crate) async fn permitted_machine<'a>(
    ctx: &Context,
    actor: &'a Actor,
    operation: Operation,
    machine_id: MachineId,
) -> Result<(machine::Model, Permit<'a>)> {
    let found = machine::Entity::find_by_id(machine_id).one(ctx.db.read()).await?;
    let machine = found.ok_or(Error::NotFound("machine"))?;
    let permit = actor.permit(operation, machine.operator_id, "machine")?;
    Ok((machine, permit))
}

pub(crate) async fn machine_by_code(ctx: &Context, code: &str) -> Result<machine::Model> {
    machine::Entity::find()
        .filter(machine::Column::Code.eq(code))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::NotFound("machine"))
}

/// The prices of a machine, in their order.
pub(crate) async fn price_rows(store: &impl ConnectionTrait, machine_id: MachineId) -> Result<Vec<price::Model>> {
    Ok(price::Entity::find()
        .filter(price::Column::MachineId.eq(machine_id))
        .order_by_asc(price::Column::Position)
        .all(store)
        .await?)
}

/// Reads and locks the module of a machine, as [`lock_module`] does.
///
/// # Errors
///
/// `Conflict` if it is wired to another machine, or to none, since the permit was given: it may be another operator's now.
pub(crate) async fn lock_wired_module(
    txn: &DatabaseTransaction,
    machine_id: MachineId,
    module: ModuleId,
) -> Result<module::Model> {
    let machine = lock_machine(txn, machine_id).await?;
    if machine.module_id.as_deref() != Some(module.as_str()) {
        return Err(Error::Conflict("the module of this machine"));
    }
    lock_module(txn, module).await
}

/// Reads and locks a machine: until the transaction ends, nobody else can change it.
pub(crate) async fn lock_machine(txn: &DatabaseTransaction, machine_id: MachineId) -> Result<machine::Model> {
    let found = machine::Entity::find_by_id(machine_id).lock_exclusive().one(txn).await?;
    found.ok_or(Error::NotFound("machine"))
}
