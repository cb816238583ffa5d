//! Rows of modules, read and locked.

use crate::{Context, Error, Result, machines::machine, modules::module};
use protocol::ModuleId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QuerySelect, prelude::*};

pub(crate) async fn module_row(ctx: &Context, module: &str) -> Result<module::Model> {
    module::Entity::find_by_id(module).one(ctx.db.read()).await?.ok_or(Error::NotFound("module"))
}

/// Reads a module to change it: until the transaction ends nobody else does.
pub(crate) async fn lock_module(txn: &DatabaseTransaction, module: ModuleId) -> Result<module::Model> {
    module::Entity::find_by_id(module.as_str()).lock_exclusive().one(txn).await?.ok_or(Error::NotFound("module"))
}

/// The machine a module is wired to.
pub(crate) async fn wired_machine(store: &impl ConnectionTrait, module_id: &str) -> Result<Option<machine::Model>> {
    Ok(machine::Entity::find().filter(machine::Column::ModuleId.eq(module_id)).one(store).await?)
}
