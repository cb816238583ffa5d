//! Machines and prices: made and changed.

use super::{PriceChange, machine, price};
use crate::{
    Backend, Error, Result, clock,
    modules::{module, settings, status::lock_module},
    operators::registry::{named, taken},
    sales::{After, PriceView},
};
use crate::{ledger, money::Currency, money::Money};
use protocol::{ModuleId, messages::Action};
use sea_orm::{ActiveValue::Set, QueryOrder, prelude::*};

/// Characters of a scan code, 40 bits: short enough to type, too many to try.
const CODE_CHARS: usize = 8;
/// What a coin pulse is worth at most, in minor units.
const COIN_VALUE_MAX_MINOR: i64 = 1_000_000;

/// A machine to be made.
#[derive(Debug, Clone)]
pub struct NewMachine {
    /// Whose it is.
    pub operator_id: i64,
    /// The module wired to it.
    pub module: Option<ModuleId>,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// What a coin pulse is worth, in minor units.
    pub coin_value_minor: i64,
    /// Its prices.
    pub prices: Vec<PriceChange>,
}

impl PriceView {
    pub(crate) fn new(price: price::Model, currency: Currency) -> Self {
        let amount = Money::new(price.amount_minor, currency);
        Self { id: price.id, label: price.label, amount, amount_text: amount.to_string(), pulses: price.pulses }
    }
}

impl PriceChange {
    pub(super) fn checked(self) -> Result<Self> {
        let label = self.label.trim().to_owned();
        if !(1..=40).contains(&label.chars().count()) {
            return Err(Error::invalid("label", "must have 1 to 40 characters"));
        }
        if !(1..=1_000_000).contains(&self.amount_minor) {
            return Err(Error::invalid("amount", "must be from 0.01 to 10,000.00"));
        }
        if !(1..=i32::from(protocol::limits::CREDIT_PULSES_MAX)).contains(&self.pulses) {
            return Err(Error::invalid("pulses", "must be from 1 to 200"));
        }
        Ok(Self { label, ..self })
    }
}

/// What a coin pulse is worth, within bounds.
pub(super) fn checked_coin_value(minor: i64) -> Result<i64> {
    if (0..=COIN_VALUE_MAX_MINOR).contains(&minor) {
        Ok(minor)
    } else {
        Err(Error::invalid("coin value", "must be from 0.00 to 10,000.00"))
    }
}

impl Backend {
    /// Makes a machine; gives its number and its code.
    pub async fn add_machine(&self, new: NewMachine) -> Result<(i64, String)> {
        self.operator_row(new.operator_id).await?;
        let prices = new.prices.into_iter().map(PriceChange::checked).collect::<Result<Vec<_>>>()?;
        checked_coin_value(new.coin_value_minor)?;
        if let (Some(module), Some(pulses)) = (new.module, prices.iter().map(|price| price.pulses).max()) {
            self.module_would_give(module.as_str(), pulses).await?;
        }
        let (module, operator_id) = (new.module, new.operator_id);
        let row = machine::ActiveModel {
            operator_id: Set(new.operator_id),
            module_id: Set(new.module.map(|module| module.to_string())),
            code: Set(clock::random_text(&*self.random, CODE_CHARS)),
            name: Set(named(&new.name)?),
            site: Set(named(&new.site)?),
            active: Set(true),
            coin_value_minor: Set(new.coin_value_minor),
            created_ms: Set(self.now_ms()),
            retired_ms: Set(None),
            ..Default::default()
        };
        let row = &row;
        let prices = &prices;
        let stored = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let machine = row.clone().insert(txn).await?;
                if let Some(module) = module {
                    let module = lock_module(txn, module).await?;
                    if module.operator_id.is_some_and(|owner| owner != operator_id) {
                        return Err(Error::invalid("module", "is another operator's"));
                    }
                    let mut change: module::ActiveModel = module.into();
                    change.operator_id = Set(Some(operator_id));
                    change.update_without_returning(txn).await?;
                }
                for (position, price) in (0..).zip(prices) {
                    let row = price::ActiveModel {
                        machine_id: Set(machine.id),
                        label: Set(price.label.clone()),
                        amount_minor: Set(price.amount_minor),
                        pulses: Set(price.pulses),
                        position: Set(position),
                        ..Default::default()
                    };
                    price::Entity::insert(row).exec_without_returning(txn).await?;
                }
                Ok((machine.id, machine.code))
            })
            .await;
        taken(stored, "module", "is wired to another machine")
    }

    /// Refuses a price beyond what the module's settings let a credit have: such a sale would be paid, refused by the
    /// module and refunded, each time.
    pub(super) async fn module_would_give(&self, module_id: &str, pulses: i32) -> Result<()> {
        let settings = settings::wanted(&self.module_row(module_id).await?);
        if pulses > i32::from(settings.credit_pulses_max) {
            return Err(Error::invalid("module_pulses", "are more than the module's settings let a credit have"));
        }
        Ok(())
    }

    /// Changes a price of an operator's machine. Sales made before keep the old one.
    pub async fn change_price(&self, operator_id: i64, price_id: i64, change: PriceChange) -> Result<()> {
        let change = change.checked()?;
        let price = price::Entity::find_by_id(price_id).one(self.db.read()).await?.ok_or(Error::NotFound("price"))?;
        let machine = self.own_machine(operator_id, price.machine_id).await.map_err(|_| Error::NotFound("price"))?;
        if let Some(module_id) = &machine.module_id {
            self.module_would_give(module_id, change.pulses).await?;
        }
        let price = &price;
        let change = &change;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut row: price::ActiveModel = price.clone().into();
                row.label = Set(change.label.clone());
                row.amount_minor = Set(change.amount_minor);
                row.pulses = Set(change.pulses);
                row.update_without_returning(txn).await?;
                Ok(())
            })
            .await
    }

    /// Takes a machine on or off sale.
    pub async fn set_active(&self, operator_id: i64, machine_id: i64, active: bool) -> Result<()> {
        let machine = self.own_machine(operator_id, machine_id).await?;
        let machine = &machine;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut row: machine::ActiveModel = machine.clone().into();
                row.active = Set(active);
                row.update_without_returning(txn).await?;
                Ok(())
            })
            .await
    }

    /// Locks a machine's module or unlocks it, by a command; its status tells when it is done.
    pub async fn set_locked(&self, operator_id: i64, machine_id: i64, locked: bool) -> Result<()> {
        let machine = self.own_machine(operator_id, machine_id).await?;
        let module_id = machine.module_id.ok_or(Error::NotFound("module of this machine"))?;
        let lifetime_ms = self.rules.setting_lifetime_ms;
        let module_id = &module_id;
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                after.command(self.queue_newest(txn, module_id, Action::Lock { locked }, lifetime_ms).await?);
                after.module(module_id.clone());
                Ok(after)
            })
            .await?;
        self.forget_probe(module_id);
        self.follow_up(after).await;
        Ok(())
    }

    pub(crate) async fn own_machine(&self, operator_id: i64, machine_id: i64) -> Result<machine::Model> {
        machine::Entity::find_by_id(machine_id)
            .filter(machine::Column::OperatorId.eq(operator_id))
            .one(self.db.read())
            .await?
            .ok_or(Error::NotFound("machine"))
    }

    pub(crate) async fn machine_by_code(&self, code: &str) -> Result<machine::Model> {
        machine::Entity::find()
            .filter(machine::Column::Code.eq(code))
            .one(self.db.read())
            .await?
            .ok_or(Error::NotFound("machine"))
    }

    pub(crate) async fn price_rows(&self, machine_id: i64) -> Result<Vec<price::Model>> {
        Ok(price::Entity::find()
            .filter(price::Column::MachineId.eq(machine_id))
            .order_by_asc(price::Column::Position)
            .all(self.db.read())
            .await?)
    }

    /// What a coin pulse of a machine is worth, as people write it.
    pub(crate) fn coin_value_text(machine: &machine::Model, currency: &str) -> Result<String> {
        Ok(Money::new(machine.coin_value_minor, ledger::currency(currency)?).to_string())
    }
}
