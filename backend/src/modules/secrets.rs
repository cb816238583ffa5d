//! A module's secret and the keys that follow from it.

use crate::{Context, Error, Result, modules::module};
use protocol::{MessageKey, ModuleId, ModuleSecret, keys::SECRET_BYTES};
use sea_orm::prelude::*;
use std::sync::PoisonError;

pub(crate) fn purpose(module: ModuleId) -> String {
    format!("module {module}")
}

/// A module's message key; `None` if there is no such module.
pub(crate) async fn message_key(ctx: &Context, module: ModuleId) -> Result<Option<MessageKey>> {
    let known = ctx.keys.0.read().unwrap_or_else(PoisonError::into_inner).get(&module).cloned();
    if known.is_some() {
        return Ok(known);
    }
    let Some(secret) = module_secret(ctx, module).await? else { return Ok(None) };
    let key = secret.message_key(module);
    ctx.keys.0.write().unwrap_or_else(PoisonError::into_inner).insert(module, key.clone());
    Ok(Some(key))
}

pub(crate) async fn module_secret(ctx: &Context, module: ModuleId) -> Result<Option<ModuleSecret>> {
    let row = module::Entity::find_by_id(module.as_str()).one(ctx.db.read()).await?;
    row.map(|row| secret_of(ctx, module, &row)).transpose()
}

pub(crate) fn secret_of(ctx: &Context, module: ModuleId, row: &module::Model) -> Result<ModuleSecret> {
    let secret = ctx.seal.open(&purpose(module), &row.secret_sealed)?;
    let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(|_| Error::Sealed)?;
    Ok(ModuleSecret::new(secret))
}
