//! Machines as the owner of the server lists them.

use crate::{
    Context, Result,
    access::{actor::Actor, operations::Operation},
    ids::{MachineId, OperatorId},
    machines::{machine, rows::machine_by_code},
};
use sea_orm::{QueryOrder, prelude::*};
use serde::Serialize;

/// A machine in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineRow {
    /// Its number.
    pub machine_id: MachineId,
    /// The operator's number.
    pub operator_id: OperatorId,
    /// Its scan code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// The module wired to it.
    pub module: Option<String>,
    /// Whether it is on sale.
    pub active: bool,
    /// What a coin pulse is worth, in minor units.
    pub coin_value_minor: i64,
    /// Since when it is retired (unix milliseconds).
    pub retired_ms: Option<i64>,
}

impl MachineRow {
    fn of(row: machine::Model) -> Self {
        Self {
            machine_id: row.id,
            operator_id: row.operator_id,
            code: row.code,
            name: row.name,
            site: row.site,
            module: row.module_id,
            active: row.active,
            coin_value_minor: row.coin_value_minor,
            retired_ms: row.retired_ms,
        }
    }
}

/// Machines, of one operator or of all, in the order of their numbers.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn machines(ctx: &Context, actor: &Actor, operator_id: Option<OperatorId>) -> Result<Vec<MachineRow>> {
    actor.permit_of(Operation::ViewMachines, operator_id)?;
    let mut query = machine::Entity::find();
    if let Some(operator_id) = operator_id {
        query = query.filter(machine::Column::OperatorId.eq(operator_id));
    }
    let rows = query.order_by_asc(machine::Column::Id).all(ctx.db.read()).await?;
    Ok(rows.into_iter().map(MachineRow::of).collect())
}

/// A machine by its number or its scan code.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn find_machine(ctx: &Context, actor: &Actor, number_or_code: &str) -> Result<MachineRow> {
    let by_number = match number_or_code.parse::<MachineId>() {
        Ok(number) => machine::Entity::find_by_id(number).one(ctx.db.read()).await?,
        Err(_) => None,
    };
    let row = match by_number {
        Some(row) => row,
        None => machine_by_code(ctx, &number_or_code.to_uppercase()).await?,
    };
    actor.permit(Operation::ViewMachines, row.operator_id, "machine")?;
    Ok(MachineRow::of(row))
}
