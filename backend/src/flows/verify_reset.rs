//! Module resets: a module whose flash was erased as damaged, or whose board was replaced, counts its boots from 1
//! again. Its messages then look like late or replayed ones. So it has to prove the reset, by answering a clock sync
//! that was made just now with its current boot count.

use crate::{
    Context, Result,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        probe_module::{send_untracked, sync_clock},
    },
    modules::{
        coins::Coins,
        commands::{new_command_id, queue_superseding},
        module,
        rows::{lock_module, wired_machine},
    },
};
use protocol::{
    ModuleId,
    messages::{Action, Status},
};
use sea_orm::{ActiveValue::Set, prelude::*};

/// Asks a module that reports an earlier boot than the known one for a proof.
pub(crate) async fn verify_reset(ctx: &Context, module: ModuleId, status: &Status<'_>, known_boot: i64) {
    // Boot 0 is a module that cannot read its flash for now: it has its memory again once it can.
    let boot = status.mark.boot;
    if status.online && boot > 0 && i64::from(boot) < known_boot {
        sync_clock(ctx, module, boot, status.uptime_ms, Some(known_boot)).await;
    }
}

/// Takes the boot count that a module proved. If it is lower than the one known when it was asked (and still
/// known), the module was reset: its coins are counted anew, and it is asked for a status.
pub(crate) async fn confirm_reset(ctx: &Context, module: ModuleId, boot: u32, known_boot: i64) -> Result<()> {
    if boot == 0 || i64::from(boot) >= known_boot {
        return Ok(());
    }
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            if row.status_boot != known_boot {
                return Ok(None);
            }
            let mut after = AfterCommit::default();
            // It forgot its lock; its settings it gets by its status.
            if row.locked {
                let lock = Action::Lock { locked: true };
                after.command(queue_superseding(ctx, txn, &row.id, lock, ctx.rules.setting_lifetime_ms).await?);
            }
            if let Some(machine) = wired_machine(txn, module.as_str()).await? {
                let message = "the module lost its memory, or its board was replaced: coins that it had not told are \
                               not booked, count the box";
                after.alarm(machine.operator_id, Some(machine.id), message);
            }
            after.module(row.id.clone());
            let lives = row.lives + 1;
            // In its first boot everything it counted was inserted after the reset. A board that was used before
            // brings its own total.
            let coins = Coins::of(&row);
            let coins = if boot == 1 { coins.restart_count_at_zero() } else { coins.restart_count() };
            let mut change: module::ActiveModel = row.into();
            (change.status_boot, change.status_session, change.status_sequence) = (Set(0), Set(0), Set(0));
            (change.pulse_boot, change.pulse_session, change.pulse_sequence) = (Set(0), Set(0), Set(0));
            coins.keep(&mut change);
            change.lives = Set(lives);
            change.update_without_returning(txn).await?;
            Ok(Some(after))
        })
        .await?;
    if let Some(after) = after {
        metrics::counter!("coinwire_modules_reborn_total").increment(1);
        publish_after_commit(ctx, after).await;
        // Its answer is a status, with the reason of its start.
        let id = new_command_id(ctx);
        send_untracked(ctx, module, id, Action::Diagnose, ctx.rules.credit_lifetime_ms).await;
    }
    Ok(())
}
