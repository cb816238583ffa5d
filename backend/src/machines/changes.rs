//! What is changed of a machine after it was made: its name, its place, what its coins are worth, its module; and its end.
//! Code, books and history stay whatever is changed.

use super::{machine, price, registry::checked_coin_value};
use crate::{
    Backend, Error, Result,
    modules::{lessons::verdict, module, settings, status::lock_module},
    operators::registry::{named, taken},
    sales::After,
};
use protocol::{ModuleId, messages::Action};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;

/// What is to be changed of a machine. What is not given stays.
#[derive(Debug, Clone, Default)]
pub struct MachineChange {
    /// Its name.
    pub name: Option<String>,
    /// Where it stands.
    pub site: Option<String>,
    /// What a coin pulse is worth from now on, in minor units. Coins booked before keep their value.
    pub coin_value_minor: Option<i64>,
}

/// A machine in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineRow {
    /// Its number.
    pub machine_id: i64,
    /// The operator's number.
    pub operator_id: i64,
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

impl Backend {
    /// Machines, of one operator or of all, in the order of their numbers.
    pub async fn machines(&self, operator_id: Option<i64>) -> Result<Vec<MachineRow>> {
        let mut query = machine::Entity::find();
        if let Some(operator_id) = operator_id {
            query = query.filter(machine::Column::OperatorId.eq(operator_id));
        }
        let rows = query.order_by_asc(machine::Column::Id).all(self.db.read()).await?;
        Ok(rows.into_iter().map(MachineRow::of).collect())
    }

    /// A machine by its number or its scan code.
    pub async fn find_machine(&self, number_or_code: &str) -> Result<MachineRow> {
        let by_number = match number_or_code.parse::<i64>() {
            Ok(number) => machine::Entity::find_by_id(number).one(self.db.read()).await?,
            Err(_) => None,
        };
        let row = match by_number {
            Some(row) => row,
            None => self.machine_by_code(&number_or_code.to_uppercase()).await?,
        };
        Ok(MachineRow::of(row))
    }

    /// Changes a machine.
    pub async fn change_machine(&self, operator_id: i64, machine_id: i64, change: MachineChange) -> Result<()> {
        let name = change.name.as_deref().map(named).transpose()?;
        let site = change.site.as_deref().map(named).transpose()?;
        let coin_value_minor = change.coin_value_minor.map(checked_coin_value).transpose()?;
        let (name, site) = (&name, &site);
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut row: machine::ActiveModel = lock_machine(txn, operator_id, machine_id).await?.into();
                if let Some(name) = name {
                    row.name = Set(name.clone());
                }
                if let Some(site) = site {
                    row.site = Set(site.clone());
                }
                if let Some(value) = coin_value_minor {
                    row.coin_value_minor = Set(value);
                }
                if row.is_changed() {
                    row.update_without_returning(txn).await?;
                }
                Ok(())
            })
            .await
    }

    /// Wires another module to a machine, or none: code, books and prices stay. A sale under way ends with the module
    /// it began with. The new module gets the settings that the old one was to have, since the coin line is the same.
    pub async fn replace_module(&self, operator_id: i64, machine_id: i64, new: Option<ModuleId>) -> Result<()> {
        let replaced = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let machine = lock_machine(txn, operator_id, machine_id).await?;
                let old = machine.module_id.clone();
                if machine.retired_ms.is_some() && new.is_some() {
                    return Err(Error::invalid("machine", "is retired: bring it back first"));
                }
                let mut after = After::default();
                if old.as_deref() != new.as_ref().map(ModuleId::as_str) {
                    self.rewire(txn, &machine, new, &mut after).await?;
                    let mut change: machine::ActiveModel = machine.into();
                    change.module_id = Set(new.map(|module| module.to_string()));
                    change.update_without_returning(txn).await?;
                }
                Ok((old, after))
            })
            .await;
        let (old, after) = taken(replaced, "module", "is wired to another machine")?;
        tracing::info!(machine = machine_id, old, new = new.map(|module| module.to_string()), "a module was replaced");
        for module in old.iter().map(String::as_str).chain(new.as_ref().map(ModuleId::as_str)) {
            self.forget_probe(module);
        }
        self.follow_up(after).await;
        Ok(())
    }

    /// Makes a module fit for a machine in place of the one it has.
    async fn rewire(
        &self,
        txn: &DatabaseTransaction,
        machine: &machine::Model,
        new: Option<ModuleId>,
        after: &mut After,
    ) -> Result<()> {
        let old = match machine.module_id.as_deref().and_then(|id| ModuleId::parse(id).ok()) {
            Some(id) => Some(lock_module(txn, id).await?),
            None => None,
        };
        let Some(new) = new else { return Ok(()) };
        let row = lock_module(txn, new).await?;
        if row.operator_id.is_some_and(|owner| owner != machine.operator_id) {
            return Err(Error::invalid("module", "is another operator's"));
        }
        if row.disabled_ms.is_some() {
            return Err(Error::invalid("module", "is disabled: enable it first"));
        }
        // Settings that nobody chose are those built in, which a new module has as well.
        let carried = old.as_ref().filter(|old| old.settings_wanted != 0).map(settings::wanted);
        let dearest = price::Entity::find().filter(price::Column::MachineId.eq(machine.id)).all(txn).await?;
        let pulses = dearest.iter().map(|price| price.pulses).max().unwrap_or(0);
        if pulses > i32::from(carried.unwrap_or_else(|| settings::wanted(&row)).credit_pulses_max) {
            return Err(Error::invalid("module_pulses", "are more than the module's settings let a credit have"));
        }
        let mut change: module::ActiveModel = row.clone().into();
        change.operator_id = Set(Some(machine.operator_id));
        change.update_without_returning(txn).await?;
        let (id, has_others) = (row.id.clone(), carried.is_some_and(|carried| carried != settings::wanted(&row)));
        let lock_differs = old.as_ref().is_some_and(|old| old.locked != row.locked).then_some(!row.locked);
        if let Some(carried) = carried.filter(|_| has_others || row.settings_wanted == 0) {
            self.want_settings(txn, row, carried, verdict::DISCARDED, after).await?;
        }
        if let Some(locked) = lock_differs {
            let lifetime_ms = self.rules.setting_lifetime_ms;
            after.command(self.queue_newest(txn, &id, Action::Lock { locked }, lifetime_ms).await?);
        }
        after.module(id);
        Ok(())
    }

    /// Takes a machine out of service for good: its history stays, its module is free, its scan page says so.
    pub async fn retire_machine(&self, operator_id: i64, machine_id: i64) -> Result<()> {
        let module = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let machine = lock_machine(txn, operator_id, machine_id).await?;
                if machine.retired_ms.is_some() {
                    return Ok(None);
                }
                let module = machine.module_id.clone();
                let mut change: machine::ActiveModel = machine.into();
                change.retired_ms = Set(Some(self.now_ms()));
                change.module_id = Set(None);
                change.update_without_returning(txn).await?;
                Ok(module)
            })
            .await?;
        if let Some(module) = module {
            self.forget_probe(&module);
        }
        Ok(())
    }

    /// Takes a retired machine back into service, without a module.
    pub async fn bring_back_machine(&self, operator_id: i64, machine_id: i64) -> Result<()> {
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let machine = lock_machine(txn, operator_id, machine_id).await?;
                if machine.retired_ms.is_some() {
                    let mut change: machine::ActiveModel = machine.into();
                    change.retired_ms = Set(None);
                    change.update_without_returning(txn).await?;
                }
                Ok(())
            })
            .await
    }
}

/// Reads an operator's machine to change it: until the transaction ends nobody else does.
pub(super) async fn lock_machine(
    txn: &DatabaseTransaction,
    operator_id: i64,
    machine_id: i64,
) -> Result<machine::Model> {
    let own = machine::Entity::find_by_id(machine_id).filter(machine::Column::OperatorId.eq(operator_id));
    own.lock_exclusive().one(txn).await?.ok_or(Error::NotFound("machine"))
}
