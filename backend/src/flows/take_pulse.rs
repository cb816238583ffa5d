//! Coins: counted by the module's running total, so that a lost or repeated message changes nothing.

use crate::{
    Context, Result,
    access::operator,
    flows::after_commit::alarm,
    integrations::integrators::publish_pulse_to_integrators,
    ledger::{self, Kind, Posting},
    live::{LiveEvent, LiveKind},
    machines::machine,
    modules::{
        coins::{self, Coins, CountOutcome, TotalReport},
        dropped::count_dropped,
        module,
        numbers::column,
        pulse,
        rows::{lock_module, wired_machine},
    },
};
use protocol::{ModuleId, messages::Pulse};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

/// What a message says of a module's running total.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportedTotal {
    pub total: u64,
    /// Pulses of the burst that it is about.
    pub burst: u16,
    /// Whether it is a will, written when its session began.
    pub is_will: bool,
}

/// What came of a module's running total.
pub(crate) struct CountedTotal {
    /// What is known of it from now on.
    pub coins: Coins,
    /// Pulses that are new; 0 if there is no machine to book them for.
    pub pulses: i64,
    /// A total that cannot be true, for the first time: a person is told.
    pub implausible: Option<u64>,
}

/// Takes a burst of coin pulses.
pub(crate) async fn on_pulse(ctx: &Context, module: ModuleId, pulse: &Pulse) -> Result<()> {
    let new = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            let mark = (pulse.mark.boot.into(), pulse.mark.session.into(), pulse.mark.sequence.into());
            if mark <= (row.pulse_boot, row.pulse_session, row.pulse_sequence) {
                return Ok(None);
            }
            let machine = wired_machine(txn, module.as_str()).await?;
            let total = ReportedTotal { total: pulse.coin_pulses_total, burst: pulse.pulses, is_will: false };
            let taken = book_coins(ctx, txn, &row, machine.as_ref(), total).await?;
            if let Some(machine) = &machine {
                store_burst(ctx, txn, machine, module, pulse).await?;
            }
            let mut change: module::ActiveModel = row.into();
            (change.pulse_boot, change.pulse_session, change.pulse_sequence) = (Set(mark.0), Set(mark.1), Set(mark.2));
            taken.coins.keep(&mut change);
            change.seen_ms = Set(Some(ctx.wall_ms()));
            change.update_without_returning(txn).await?;
            Ok(Some((machine, taken)))
        })
        .await?;
    let Some((machine, taken)) = new else { return count_dropped("old") };
    if let Some(machine) = machine {
        alert_implausible_total(ctx, &machine, &taken);
        ctx.live.emit(LiveEvent {
            operator_id: machine.operator_id,
            machine_id: Some(machine.id),
            what: LiveKind::Pulse { pulses: taken.pulses },
            at_ms: ctx.wall_ms(),
        });
        publish_pulse_to_integrators(ctx, &machine, pulse).await;
    }
    Ok(())
}

/// Alerts the operator to an implausible total.
pub(crate) fn alert_implausible_total(ctx: &Context, machine: &machine::Model, taken: &CountedTotal) {
    let Some(claimed) = taken.implausible else { return };
    let message = format!(
        "the module's coin total jumped from {} to {claimed}, more than can have been inserted: not booked. Count the box, and correct the books if necessary",
        taken.coins.total()
    );
    alarm(ctx, machine.operator_id, Some(machine.id), message);
}

/// Books the rise of a module's running total, as cash expected in the box.
pub(crate) async fn book_coins(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: &module::Model,
    machine: Option<&machine::Model>,
    told: ReportedTotal,
) -> Result<CountedTotal> {
    let report = TotalReport {
        total: column(told.total),
        burst: told.burst.into(),
        is_will: told.is_will,
        machine_id: machine.map(|machine| machine.id),
        period_ms: coins::period_ms(row),
        now_ms: ctx.now_ms(),
    };
    let (coins, count) = Coins::of(row).count(report);
    let pulses = match count {
        CountOutcome::Increase(pulses) => pulses,
        CountOutcome::Implausible { first } => {
            metrics::counter!("coinwire_coin_totals_doubted_total").increment(1);
            tracing::info!(
                module = row.id,
                known = coins.total(),
                claimed = told.total,
                "a coin total is not believed"
            );
            return Ok(CountedTotal { coins, pulses: 0, implausible: first.then_some(told.total) });
        }
    };
    let Some(machine) = machine.filter(|_| pulses > 0) else {
        return Ok(CountedTotal { coins, pulses: 0, implausible: None });
    };
    let amount_minor = pulses.saturating_mul(machine.coin_value_minor);
    let operator = operator::Entity::find_by_id(machine.operator_id).one(txn).await?;
    if let Some(operator) = operator.filter(|_| amount_minor > 0) {
        let posting = Posting {
            kind: Kind::Coins,
            reference: reference(row, coins),
            operator_id: machine.operator_id,
            sale_id: None,
            machine_id: Some(machine.id),
            amount_minor,
            currency: operator.currency,
            at_ms: ctx.wall_ms(),
        };
        ledger::post(txn, posting).await?;
    }
    Ok(CountedTotal { coins, pulses, implausible: None })
}

async fn store_burst(
    ctx: &Context,
    txn: &DatabaseTransaction,
    machine: &machine::Model,
    module: ModuleId,
    pulse: &Pulse,
) -> Result<()> {
    // The module's clock is a hint: it is used where it is plausible, so that coins of an outage stand at their time.
    // It was set by the process's time, which may differ from the wall clock.
    let now_ms = ctx.now_ms();
    let at_ms = pulse.at_ms.map(column).filter(|at_ms| (0..=now_ms).contains(at_ms)).unwrap_or(now_ms);
    let at_ms = at_ms - now_ms + ctx.wall_ms();
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

/// A posting's reference: a total comes once for each time that the module began to count, by itself or here.
fn reference(row: &module::Model, coins: Coins) -> String {
    let (id, total) = (&row.id, coins.total());
    match (row.lives, coins.epoch()) {
        (0, 0) => format!("{id}-{total}"),
        (lives, 0) => format!("{id}/{lives}-{total}"),
        (lives, epoch) => format!("{id}/{lives}.{epoch}-{total}"),
    }
}
