//! Modules: registered with their secrets.

use super::{keys, module};
use crate::{Backend, Error, Result, db};
use protocol::{ModuleId, ModuleSecret, keys::SECRET_BYTES};
use sea_orm::{ActiveValue::Set, prelude::*};

/// A module's identity, to be put into the module.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// Its id.
    pub id: ModuleId,
    /// Its secret.
    pub secret: ModuleSecret,
}

impl Backend {
    /// Makes an identity and registers it, as made by a manufacturer if that is known.
    pub async fn provision_module(&self, manufacturer_id: Option<i64>) -> Result<Provisioned> {
        let mut bits = [0; 8];
        self.random.fill(&mut bits);
        let mut secret = [0; SECRET_BYTES];
        self.random.fill(&mut secret);
        let new = Provisioned { id: ModuleId::from_bits(u64::from_be_bytes(bits)), secret: ModuleSecret::new(secret) };
        self.register_module(&new, manufacturer_id).await?;
        Ok(new)
    }

    /// Registers an identity that was made elsewhere.
    pub async fn register_module(&self, new: &Provisioned, manufacturer_id: Option<i64>) -> Result<()> {
        if let Some(id) = manufacturer_id {
            self.manufacturer_row(id).await?;
        }
        let secret_sealed = self.seal.seal(&*self.random, &keys::purpose(new.id), new.secret.expose());
        let row = module::ActiveModel {
            id: Set(new.id.to_string()),
            secret_sealed: Set(secret_sealed),
            registered_ms: Set(self.now_ms()),
            command_sequence: Set(0),
            online: Set(false),
            seen_ms: Set(None),
            status_boot: Set(0),
            status_session: Set(0),
            status_sequence: Set(0),
            pulse_boot: Set(0),
            pulse_session: Set(0),
            pulse_sequence: Set(0),
            firmware: Set(String::new()),
            signal_csq: Set(None),
            supply_mv: Set(None),
            faults: Set(0),
            locked: Set(false),
            settings_version: Set(0),
            coin_pulses: Set(0),
            credit_pulses: Set(0),
            noise_edges: Set(0),
            settings_wanted: Set(0),
            settings_body: Set(None),
            settings_changed_ms: Set(None),
            lives: Set(0),
            disabled_ms: Set(None),
            manufacturer_id: Set(manufacturer_id),
            last_command: Set(0),
            behind_ms: Set(None),
            behind_pulses: Set(0),
        };
        let row = &row;
        let stored = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                module::Entity::insert(row.clone()).exec_without_returning(txn).await?;
                Ok(())
            })
            .await;
        match stored {
            Err(Error::Store(error)) if db::is_unique_violation(&error) => {
                Err(Error::invalid("module", "is registered already"))
            }
            stored => stored,
        }
    }

    /// Takes all modules for offline until they are heard: to be called once at start, before the bus is read.
    pub async fn forget_presence(&self) -> Result<()> {
        self.db
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

    pub(crate) async fn module_row(&self, module: &str) -> Result<module::Model> {
        module::Entity::find_by_id(module).one(self.db.read()).await?.ok_or(Error::NotFound("module"))
    }
}
