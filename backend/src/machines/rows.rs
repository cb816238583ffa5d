//! Rows of machines and prices, read.

use crate::{
    Context, Error, Result, ledger,
    machines::{machine, price},
    money::Money,
};
use protocol::ModuleId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryOrder, QuerySelect, prelude::*};

/// The module of an operator's machine.
pub(crate) async fn own_module(ctx: &Context, operator_id: i64, machine_id: i64) -> Result<ModuleId> {
    let machine = own_machine(ctx, operator_id, machine_id).await?;
    let module = machine.module_id.as_deref().and_then(|id| ModuleId::parse(id).ok());
    module.ok_or(Error::NotFound("module of this machine"))
}

pub(crate) async fn own_machine(ctx: &Context, operator_id: i64, machine_id: i64) -> Result<machine::Model> {
    machine::Entity::find_by_id(machine_id)
        .filter(machine::Column::OperatorId.eq(operator_id))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::NotFound("machine"))
}

pub(crate) async fn machine_by_code(ctx: &Context, code: &str) -> Result<machine::Model> {
    machine::Entity::find()
        .filter(machine::Column::Code.eq(code))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::NotFound("machine"))
}

/// The prices of a machine, in their order.
pub(crate) async fn price_rows(store: &impl ConnectionTrait, machine_id: i64) -> Result<Vec<price::Model>> {
    Ok(price::Entity::find()
        .filter(price::Column::MachineId.eq(machine_id))
        .order_by_asc(price::Column::Position)
        .all(store)
        .await?)
}

/// What a coin pulse of a machine is worth, as people write it.
pub(crate) fn coin_value_text(machine: &machine::Model, currency: &str) -> Result<String> {
    Ok(Money::new(machine.coin_value_minor, ledger::currency(currency)?).to_string())
}

/// Reads an operator's machine to change it: until the transaction ends nobody else does.
pub(crate) async fn lock_machine(
    txn: &DatabaseTransaction,
    operator_id: i64,
    machine_id: i64,
) -> Result<machine::Model> {
    let own = machine::Entity::find_by_id(machine_id).filter(machine::Column::OperatorId.eq(operator_id));
    own.lock_exclusive().one(txn).await?.ok_or(Error::NotFound("machine"))
}
