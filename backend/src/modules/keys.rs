//! The keys of modules, derived from their stored secrets, and remembered.

use super::module;
use crate::{Backend, Error, Result};
use protocol::{MessageKey, ModuleId, ModuleSecret, keys::SECRET_BYTES};
use sea_orm::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

/// Message keys known so far. Bounded by the number of registered modules: strangers are not remembered.
#[derive(Default)]
pub(crate) struct Keys(RwLock<BTreeMap<ModuleId, MessageKey>>);

pub(crate) fn purpose(module: ModuleId) -> String {
    format!("module {module}")
}

impl Backend {
    /// A module's message key; `None` if there is no such module.
    pub(crate) async fn message_key(&self, module: ModuleId) -> Result<Option<MessageKey>> {
        let known = self.keys.0.read().unwrap_or_else(PoisonError::into_inner).get(&module).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(secret) = self.module_secret(module).await? else { return Ok(None) };
        let key = secret.message_key(module);
        self.keys.0.write().unwrap_or_else(PoisonError::into_inner).insert(module, key.clone());
        Ok(Some(key))
    }

    pub(crate) async fn module_secret(&self, module: ModuleId) -> Result<Option<ModuleSecret>> {
        let row = module::Entity::find_by_id(module.as_str()).one(self.db.read()).await?;
        row.map(|row| self.secret_of(module, &row)).transpose()
    }

    pub(super) fn secret_of(&self, module: ModuleId, row: &module::Model) -> Result<ModuleSecret> {
        let secret = self.seal.open(&purpose(module), &row.secret_sealed)?;
        let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(|_| Error::Sealed)?;
        Ok(ModuleSecret::new(secret))
    }
}
