//! Coins: counted by the module's running total, so that a lost or repeated message changes nothing.

use super::{
    column, module, pulse,
    status::{lock_module, wired_machine},
};
use crate::{
    Backend, Result,
    ledger::{self, Kind, Posting},
    live::{LiveEvent, LiveKind},
    machines::machine,
    operators::operator,
};
use protocol::{ModuleId, messages::Pulse};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

/// A total that rises by more pulses than this between two messages is broken, and no coins: at the shortest pulses and
/// gaps it would be over eleven hours without a pause.
const RISE_PULSES_MAX: i64 = 1_000_000;

/// How a module's running total of coins moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rise {
    /// By so many pulses; 0 if it is known, or if there is no machine to book them for.
    Pulses(i64),
    /// By more than can have fallen. Nothing was booked.
    BeyondBelief,
}

impl Rise {
    /// Pulses that were booked.
    pub fn pulses(self) -> i64 {
        match self {
            Rise::Pulses(pulses) => pulses,
            Rise::BeyondBelief => 0,
        }
    }

    /// The running total from now on: what was known, or what was claimed if that can be.
    pub fn total(self, known: i64, claimed: u64) -> i64 {
        match self {
            Rise::Pulses(_) => known.max(column(claimed)),
            Rise::BeyondBelief => known,
        }
    }
}

impl Backend {
    /// Takes a burst of coin pulses.
    pub(crate) async fn on_pulse(&self, module: ModuleId, pulse: &Pulse) -> Result<()> {
        let new = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let row = lock_module(txn, module).await?;
                let mark = (pulse.mark.boot.into(), pulse.mark.session.into(), pulse.mark.sequence.into());
                if mark <= (row.pulse_boot, row.pulse_session, row.pulse_sequence) {
                    return Ok(None);
                }
                let machine = wired_machine(txn, module).await?;
                let rise = self.book_coins(txn, &row, machine.as_ref(), pulse.coin_pulses_total).await?;
                if let Some(machine) = &machine {
                    self.store_burst(txn, machine, module, pulse).await?;
                }
                let coin_pulses = rise.total(row.coin_pulses, pulse.coin_pulses_total);
                let mut change: module::ActiveModel = row.into();
                (change.pulse_boot, change.pulse_session, change.pulse_sequence) =
                    (Set(mark.0), Set(mark.1), Set(mark.2));
                change.coin_pulses = Set(coin_pulses);
                change.seen_ms = Set(Some(self.wall_ms()));
                change.update_without_returning(txn).await?;
                Ok(Some((machine, rise)))
            })
            .await?;
        let Some((machine, rise)) = new else { return super::count_dropped("old") };
        if let Some(machine) = machine {
            self.doubt(&machine, rise);
            self.live.tell(LiveEvent {
                operator_id: machine.operator_id,
                machine_id: Some(machine.id),
                what: LiveKind::Pulse { pulses: rise.pulses() },
                at_ms: self.wall_ms(),
            });
            self.tell_integrators_of_pulse(&machine, pulse).await;
        }
        Ok(())
    }

    /// Tells the operator of a total that cannot be true.
    pub(super) fn doubt(&self, machine: &machine::Model, rise: Rise) {
        if rise == Rise::BeyondBelief {
            let message = "the module's coin total jumped by more than can have fallen: not booked, count the box";
            self.alarm(machine.operator_id, Some(machine.id), message);
        }
    }

    /// Books the rise of a module's running total, as cash expected in the box.
    pub(super) async fn book_coins(
        &self,
        txn: &DatabaseTransaction,
        row: &module::Model,
        machine: Option<&machine::Model>,
        total: u64,
    ) -> Result<Rise> {
        let total = column(total);
        let coins = total.saturating_sub(row.coin_pulses);
        if coins > RISE_PULSES_MAX {
            return Ok(Rise::BeyondBelief);
        }
        let Some(machine) = machine.filter(|_| coins > 0) else { return Ok(Rise::Pulses(0)) };
        let amount_minor = coins.saturating_mul(machine.coin_value_minor);
        let operator = operator::Entity::find_by_id(machine.operator_id).one(txn).await?;
        let Some(operator) = operator.filter(|_| amount_minor > 0) else { return Ok(Rise::Pulses(coins)) };
        let posting = Posting {
            kind: Kind::Coins,
            reference: match row.lives {
                0 => format!("{}-{total}", row.id),
                lives => format!("{}/{lives}-{total}", row.id),
            },
            operator_id: machine.operator_id,
            sale_id: None,
            machine_id: Some(machine.id),
            amount_minor,
            currency: operator.currency,
            at_ms: self.wall_ms(),
        };
        ledger::post(txn, posting).await?;
        Ok(Rise::Pulses(coins))
    }

    async fn store_burst(
        &self,
        txn: &DatabaseTransaction,
        machine: &machine::Model,
        module: ModuleId,
        pulse: &Pulse,
    ) -> Result<()> {
        // The module's clock is a hint: it is used where it is plausible, so that coins of an outage stand at their time.
        // It was set by the process's time, which may differ from the wall clock.
        let now_ms = self.now_ms();
        let at_ms = pulse.at_ms.map(column).filter(|at_ms| (0..=now_ms).contains(at_ms)).unwrap_or(now_ms);
        let at_ms = at_ms - now_ms + self.wall_ms();
        let row = pulse::ActiveModel {
            operator_id: Set(machine.operator_id),
            machine_id: Set(machine.id),
            module_id: Set(module.to_string()),
            at_ms: Set(at_ms),
            pulses: Set(pulse.pulses.into()),
            total: Set(column(pulse.coin_pulses_total)),
            width_ms: Set(pulse.width_ms.into()),
            gap_ms: Set(pulse.gap_ms.into()),
            ..Default::default()
        };
        pulse::Entity::insert(row).exec_without_returning(txn).await?;
        Ok(())
    }
}
