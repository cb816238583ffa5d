//! Modules: registered with their secrets.

use super::{
    keys, module,
    status::{lock_module, wired_machine},
};
use crate::{Backend, Error, Result, db, machines::machine};
use protocol::{ModuleId, ModuleSecret, keys::SECRET_BYTES};
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;
use std::collections::BTreeMap;

/// A module's identity, to be put into the module.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// Its id.
    pub id: ModuleId,
    /// Its secret.
    pub secret: ModuleSecret,
}

/// A module in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub operator_id: Option<i64>,
    /// The machine it is wired to.
    pub machine_id: Option<i64>,
    /// Who made it.
    pub manufacturer_id: Option<i64>,
    /// Whether it is connected, as far as known.
    pub online: bool,
    /// When it was last heard (unix milliseconds).
    pub seen_ms: Option<i64>,
    /// Firmware version; empty until it was heard.
    pub firmware: String,
    /// Since when its credential is disabled (unix milliseconds).
    pub disabled_ms: Option<i64>,
}

impl Backend {
    /// Modules, of one operator or all, by id. Those wired to no machine have none.
    pub async fn modules(&self, operator_id: Option<i64>) -> Result<Vec<ModuleRow>> {
        let mut query = module::Entity::find();
        let mut machines = machine::Entity::find().filter(machine::Column::ModuleId.is_not_null());
        if let Some(operator_id) = operator_id {
            query = query.filter(module::Column::OperatorId.eq(operator_id));
            machines = machines.filter(machine::Column::OperatorId.eq(operator_id));
        }
        let wired: BTreeMap<String, i64> = machines
            .select_only()
            .columns([machine::Column::ModuleId, machine::Column::Id])
            .into_tuple()
            .all(self.db.read())
            .await?
            .into_iter()
            .collect();
        let rows = query.order_by_asc(module::Column::Id).all(self.db.read()).await?;
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

    /// An operator's modules that could take the place of a broken one: wired to nothing, and not disabled.
    pub async fn spare_modules(&self, operator_id: i64) -> Result<Vec<String>> {
        let all = self.modules(Some(operator_id)).await?;
        Ok(all
            .into_iter()
            .filter(|row| row.machine_id.is_none() && row.disabled_ms.is_none())
            .map(|row| row.id)
            .collect())
    }

    /// Says whose a module is that is wired to nothing: only that operator may wire it from then on.
    pub async fn give_module(&self, module: ModuleId, operator_id: i64) -> Result<()> {
        self.operator_row(operator_id).await?;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let row = lock_module(txn, module).await?;
                if wired_machine(txn, module).await?.is_some_and(|machine| machine.operator_id != operator_id) {
                    return Err(Error::invalid("module", "is wired to a machine of another operator"));
                }
                let mut change: module::ActiveModel = row.into();
                change.operator_id = Set(Some(operator_id));
                change.update_without_returning(txn).await?;
                Ok(())
            })
            .await
    }

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
            coins_machine_id: Set(None),
            coins_ms: Set(None),
            coins_doubted: Set(None),
            coins_doubted_ms: Set(None),
            coins_epoch: Set(0),
            credit_pulses: Set(0),
            noise_edges: Set(0),
            settings_wanted: Set(0),
            settings_body: Set(None),
            settings_changed_ms: Set(None),
            lives: Set(0),
            disabled_ms: Set(None),
            manufacturer_id: Set(manufacturer_id),
            operator_id: Set(None),
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
