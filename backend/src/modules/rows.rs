//! Rows of modules, read and locked.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        operations::Operation,
    },
    machines::machine,
    modules::module,
};
use protocol::ModuleId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QuerySelect, prelude::*};

pub(crate) async fn module_row(ctx: &Context, module: &str) -> Result<module::Model> {
    module::Entity::find_by_id(module).one(ctx.db.read()).await?.ok_or(Error::NotFound("module"))
}

/// A module by its id, and the permit to do something with it. A module that belongs to no operator is the server's
/// own.
///
/// # Errors
///
/// `NotFound` if there is none, or it is another operator's; `Forbidden`; `Store`.
pub(crate) async fn permitted_module_row<'a>(
    ctx: &Context,
    actor: &'a Actor,
    operation: Operation,
    module: ModuleId,
) -> Result<(module::Model, Permit<'a>)> {
    let row = module_row(ctx, module.as_str()).await?;
    let permit = match row.operator_id {
        Some(operator) => actor.permit(operation, operator, "module")?,
        None => actor.permit_all(operation)?,
    };
    Ok((row, permit))
}

/// Reads and locks a module: until the transaction ends, nobody else can change it.
pub(crate) async fn lock_module(txn: &DatabaseTransaction, module: ModuleId) -> Result<module::Model> {
    module::Entity::find_by_id(module.as_str()).lock_exclusive().one(txn).await?.ok_or(Error::NotFound("module"))
}

/// The machine a module is wired to.
pub(crate) async fn wired_machine(store: &impl ConnectionTrait, module_id: &str) -> Result<Option<machine::Model>> {
    Ok(machine::Entity::find().filter(machine::Column::ModuleId.eq(module_id)).one(store).await?)
}
