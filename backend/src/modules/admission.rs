//! Which modules may connect: each with its own password, until its credential is disabled.

use super::{
    module::{self, ActiveModel},
    status::lock_module,
};
use crate::{Backend, Result};
use protocol::ModuleId;
use sea_orm::{ActiveValue::Set, QuerySelect, prelude::*};

/// What a module's login comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may connect.
    Admitted,
    /// There is no such module, or the password is another one.
    Unknown,
    /// It is the module, and its credential is disabled.
    Disabled,
}

/// A module whose credential is disabled, and since when (unix milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disabled {
    /// Which.
    pub module: ModuleId,
    /// Since when.
    pub since_ms: i64,
}

impl Backend {
    /// Whether a module may connect with this MQTT password. Compared in constant time.
    pub async fn admit_module(&self, module: ModuleId, password: &[u8]) -> Result<Admission> {
        let Some(row) = module::Entity::find_by_id(module.as_str()).one(self.db.read()).await? else {
            return Ok(Admission::Unknown);
        };
        let right = self.secret_of(module, &row)?.mqtt_password(module);
        let is_right = aws_lc_rs::constant_time::verify_slices_are_equal(right.as_bytes(), password).is_ok();
        Ok(match (is_right, row.disabled_ms) {
            (false, _) => Admission::Unknown,
            (true, None) => Admission::Admitted,
            (true, Some(_)) => Admission::Disabled,
        })
    }

    /// Disables a module's credential, or enables it again. It is for the broker's side to end its connections: see
    /// [`Backend::disabled_modules`].
    pub async fn set_module_disabled(&self, module: ModuleId, disabled: bool) -> Result<()> {
        let changed = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let row = lock_module(txn, module).await?;
                if row.disabled_ms.is_some() == disabled {
                    return Ok(false);
                }
                let mut change: ActiveModel = row.into();
                change.disabled_ms = Set(disabled.then(|| self.now_ms()));
                if disabled {
                    change.online = Set(false);
                }
                change.update_without_returning(txn).await?;
                Ok(true)
            })
            .await?;
        if changed {
            tracing::info!(%module, disabled, "a module's credential was changed");
            self.forget_probe(module.as_str());
            self.tell_of_module(module.as_str()).await;
        }
        Ok(())
    }

    /// All modules whose credentials are disabled.
    pub async fn disabled_modules(&self) -> Result<Vec<Disabled>> {
        let rows: Vec<(String, i64)> = module::Entity::find()
            .select_only()
            .columns([module::Column::Id, module::Column::DisabledMs])
            .filter(module::Column::DisabledMs.is_not_null())
            .into_tuple()
            .all(self.db.read())
            .await?;
        let known = |(id, since_ms): (String, i64)| Some(Disabled { module: ModuleId::parse(&id).ok()?, since_ms });
        Ok(rows.into_iter().filter_map(known).collect())
    }
}
