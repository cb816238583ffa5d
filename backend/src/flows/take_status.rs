//! Statuses of modules. Only newer ones are accepted; the module is then sent whatever it has not received yet.

use crate::{
    Context, Result,
    flows::{
        after_commit::alarm,
        change_settings::send_desired_settings,
        probe_module::sync_clock,
        resend_command::send_pending,
        take_pulse::{self, ReportedTotal, alert_implausible_total, book_coins},
        verify_reset::verify_reset,
    },
    ids::ManufacturerId,
    integrations::{integrators::publish_status_to_integrators, manufacturers::publish_status_to_manufacturer},
    live::{LiveEvent, LiveKind},
    machines::machine,
    modules::{
        diagnostics::store_diagnostics,
        dropped::count_dropped,
        learning_results::store_learning_result,
        locks::lock_acked_since,
        module::{self, ActiveModel},
        numbers::column,
        rows::{lock_module, wired_machine},
        stale_store::record_last_command,
    },
};
use protocol::{
    ModuleId,
    messages::{Mark, Status},
};
use sea_orm::{ActiveValue::Set, prelude::*};

/// Says that the store is behind a module.
pub(crate) fn report_stale_store(ctx: &Context, module: ModuleId, machine: Option<&crate::machines::machine::Model>) {
    metrics::counter!("coinwire_modules_ahead_total").increment(1);
    tracing::warn!(
        %module,
        "the module took commands that this database does not have: it was restored from a backup. For payments that become known again the module is asked before money or pulses move"
    );
    if let Some(machine) = machine {
        let message = "the database is older than what the module did: it was restored from a backup. The module is asked \
                       about each payment that becomes known again; its page says what could not be explained";
        alarm(ctx, machine.operator_id, Some(machine.id), message);
    }
}

/// What became of a status.
enum Freshness {
    /// It moved something.
    New,
    /// It is the one we know: presence is confirmed.
    Known,
    /// It is older than what we know: of this boot, whose number we know.
    Old { known_boot: i64 },
}

/// What a status came to.
struct StatusOutcome {
    taken: Freshness,
    machine: Option<machine::Model>,
    coins: Option<take_pulse::CountedTotal>,
    /// Version of the settings wanted.
    wanted: i64,
    manufacturer_id: Option<ManufacturerId>,
    /// The store has forgotten commands that the module took.
    store_is_stale: bool,
}

/// Takes a module's status, or its will.
pub(crate) async fn on_status(ctx: &Context, module: ModuleId, status: &Status<'_>) -> Result<()> {
    let heard = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            let mark = Mark {
                boot: u32::try_from(row.status_boot).unwrap_or(u32::MAX),
                session: u32::try_from(row.status_session).unwrap_or(u32::MAX),
                sequence: u32::try_from(row.status_sequence).unwrap_or(u32::MAX),
            };
            let machine = wired_machine(txn, module.as_str()).await?;
            let (wanted, manufacturer_id) = (row.settings_wanted, row.manufacturer_id);
            if status.mark < mark {
                let taken = Freshness::Old { known_boot: row.status_boot };
                return Ok(StatusOutcome {
                    taken,
                    machine,
                    coins: None,
                    wanted,
                    manufacturer_id,
                    store_is_stale: false,
                });
            }
            let known = status.mark == mark && row.online == status.online;
            let now_ms = ctx.wall_ms();
            let told = ReportedTotal { total: status.totals.coin_pulses, burst: 0, is_will: !status.online };
            let coins = book_coins(ctx, txn, &row, machine.as_ref(), told).await?;
            let known_lock = row.locked;
            let relocked = status.online
                && status.locked.unwrap_or(false) != known_lock
                && lock_acked_since(txn, &row, status).await?;
            let mut change = apply(&row, status);
            let store_is_stale = record_last_command(txn, &row, status, &mut change, now_ms).await?;
            coins.coins.keep(&mut change);
            if relocked {
                change.locked = Set(known_lock);
            }
            change.seen_ms = Set(Some(now_ms));
            change.update_without_returning(txn).await?;
            if status.online && !known {
                if let Some(learned) = &status.learned {
                    store_learning_result(ctx, txn, module, learned).await?;
                }
                if let Some(told) = &status.diagnostics {
                    store_diagnostics(ctx, txn, module, told).await?;
                }
            }
            let taken = if known { Freshness::Known } else { Freshness::New };
            Ok(StatusOutcome { taken, machine, coins: Some(coins), wanted, manufacturer_id, store_is_stale })
        })
        .await?;
    let StatusOutcome { taken, machine, coins, wanted, manufacturer_id, store_is_stale } = heard;
    if let Freshness::Old { known_boot } = taken {
        verify_reset(ctx, module, status, known_boot).await;
        return count_dropped("old");
    }
    if store_is_stale {
        report_stale_store(ctx, module, machine.as_ref());
    }
    if status.online {
        sync_module(ctx, module, status, wanted, store_is_stale).await?;
    } else {
        ctx.pending_queries.forget(module);
    }
    if let (Some(machine), Some(coins)) = (&machine, &coins) {
        alert_implausible_total(ctx, machine, coins);
    }
    let Freshness::New = taken else { return Ok(()) };
    if let Some(manufacturer_id) = manufacturer_id {
        publish_status_to_manufacturer(ctx, manufacturer_id, module, status).await;
    }
    if let Some(machine) = machine {
        let pulses = coins.map_or(0, |coins| coins.pulses);
        let what = if pulses > 0 { LiveKind::Pulse { pulses } } else { LiveKind::Status };
        ctx.live.emit(LiveEvent {
            operator_id: machine.operator_id,
            machine_id: Some(machine.id),
            what,
            at_ms: ctx.wall_ms(),
        });
        publish_status_to_integrators(ctx, &machine, status).await;
    }
    Ok(())
}

/// Sets the module's clock if it needs to be, sends what it has not heard, and its settings if it has others than are
/// wanted.
async fn sync_module(
    ctx: &Context,
    module: ModuleId,
    status: &Status<'_>,
    wanted: i64,
    store_is_stale: bool,
) -> Result<()> {
    let off_ms = status.at_ms.map(|at_ms| column(at_ms).abs_diff(ctx.now_ms()));
    if off_ms.is_none_or(|off_ms| off_ms > ctx.rules.clock_drift_max_ms.unsigned_abs()) {
        sync_clock(ctx, module, status.mark.boot, status.uptime_ms, None).await;
    }
    send_pending(ctx, module).await?;
    if wanted != 0 && (store_is_stale || wanted != i64::from(status.settings_version)) {
        send_desired_settings(ctx, module, status.settings_version, store_is_stale).await?;
    }
    Ok(())
}

fn apply(row: &module::Model, status: &Status<'_>) -> ActiveModel {
    let totals = status.totals;
    let mut change: ActiveModel = row.clone().into();
    change.online = Set(status.online);
    change.status_boot = Set(status.mark.boot.into());
    change.status_session = Set(status.mark.session.into());
    change.status_sequence = Set(status.mark.sequence.into());
    // A will was written when its session began: only that it is gone is news.
    if status.online {
        change.firmware = Set(status.firmware.to_owned());
        change.signal_csq = Set(status.signal_csq.map(i32::from));
        change.supply_mv = Set(status.supply_mv.map(i32::from));
        change.faults = Set(status.faults.into());
        change.locked = Set(status.locked.unwrap_or(false));
        change.settings_version = Set(status.settings_version.into());
        change.credit_pulses = Set(column(totals.credit_pulses));
        change.noise_edges = Set(column(totals.noise_edges));
    }
    change
}
