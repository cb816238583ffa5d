//! Lists of modules. Also marks them offline when the server starts.

use crate::{
    Context, Result,
    access::{actor::Actor, operations::Operation},
    ids::{MachineId, ManufacturerId, OperatorId},
    machines::machine,
    modules::module,
};
use sea_orm::{QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;
use std::collections::BTreeMap;

/// A module in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub operator_id: Option<OperatorId>,
    /// The machine it is wired to.
    pub machine_id: Option<MachineId>,
    /// Who made it.
    pub manufacturer_id: Option<ManufacturerId>,
    /// Whether it is connected, as far as known.
    pub online: bool,
    /// When it was last heard from (unix milliseconds).
    pub seen_ms: Option<i64>,
    /// Firmware version; empty until the module was heard from.
    pub firmware: String,
    /// Since when its credential is disabled (unix milliseconds).
    pub disabled_ms: Option<i64>,
}

/// Modules of one operator or of all, ordered by id. A module that is not wired has no machine.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn modules(ctx: &Context, actor: &Actor, operator_id: Option<OperatorId>) -> Result<Vec<ModuleRow>> {
    actor.permit_of(Operation::ListModules, operator_id)?;
    let mut query = module::Entity::find();
    let mut machines = machine::Entity::find().filter(machine::Column::ModuleId.is_not_null());
    if let Some(operator_id) = operator_id {
        query = query.filter(module::Column::OperatorId.eq(operator_id));
        machines = machines.filter(machine::Column::OperatorId.eq(operator_id));
    }
    let wired: BTreeMap<String, MachineId> = machines
        .select_only()
        .columns([machine::Column::ModuleId, machine::Column::Id])
        .into_tuple()
        .all(ctx.db.read())
        .await?
        .into_iter()
        .collect();
    let rows = query.order_by_asc(module::Column::Id).all(ctx.db.read()).await?;
    let listed = rows.into_iter().map(|row| ModuleRow {
        machine_id: wired.get(&row.id).copied(),
        id: row.id,
        operator_id: row.operator_id,
        manufacturer_id: row.manufacturer_id,
        online: row.online,
        seen_ms: row.seen_ms,
        firmware: row.firmware,
        disabled_ms: row.disabled_ms,
    });
    Ok(listed.collect())
}

/// An operator's modules that could replace a broken one: not wired and not disabled.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn spare_modules(ctx: &Context, actor: &Actor, operator_id: OperatorId) -> Result<Vec<String>> {
    let all = modules(ctx, actor, Some(operator_id)).await?;
    Ok(all.into_iter().filter(|row| row.machine_id.is_none() && row.disabled_ms.is_none()).map(|row| row.id).collect())
}

/// Marks all modules offline until they report: to be called once at start, before the bus is read.
///
/// # Errors
/// `Store`.
pub async fn mark_modules_offline(ctx: &Context) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            module::Entity::update_many()
                .col_expr(module::Column::Online, sea_orm::sea_query::Expr::value(false))
                .filter(module::Column::Online.eq(true))
                .exec(txn)
                .await?;
            Ok(())
        })
        .await
}
