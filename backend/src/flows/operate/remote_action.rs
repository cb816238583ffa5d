//! Actions that a person asks a module for once: blink, restart, learn, test.

use crate::{
    Context, Result,
    access::{
        actor::Permit,
        audit::{self, Change},
    },
    flows::after_commit::{AfterCommit, publish_after_commit},
    ids::MachineId,
    machines::rows::lock_wired_module,
    modules::{
        command::{self, CommandState},
        commands::queue_superseding,
        remote_actions::{RemoteAction, newest},
    },
};
use protocol::{
    ModuleId,
    messages::{Action, Command},
};
use serde_json::json;

/// Queues a remote action of a machine's module. The same action again while it is in progress, or right after it, counts as a second
/// click and is ignored.
pub(crate) async fn queue_remote_action(
    ctx: &Context,
    permit: Permit<'_>,
    (machine_id, module): (MachineId, ModuleId),
    remote_action: RemoteAction,
) -> Result<()> {
    let action = remote_action.action()?;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            // So that two clicks take turns.
            let row = lock_wired_module(txn, machine_id, module).await?;
            let before = newest(txn, &row.id, action.as_str()).await?;
            if before.is_some_and(|before| is_second_click(ctx, &before, action)) {
                return Ok(after);
            }
            after.command(queue_superseding(ctx, txn, &row.id, action, ctx.rules.remote_action_lifetime_ms).await?);
            after.module(row.id);
            let told = json!({"action": remote_action});
            audit::record(ctx, txn, permit, ("module", module), Change::to(told)).await?;
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

fn is_second_click(ctx: &Context, before: &command::Model, action: Action) -> bool {
    use CommandState::*;
    let same = minicbor::decode::<Command>(&before.payload).is_ok_and(|command| command.action == action);
    let spaced_ms = before.issued_ms..before.issued_ms + ctx.rules.remote_action_spacing_ms;
    let just_after = [Done, Received].contains(&before.state) && spaced_ms.contains(&ctx.now_ms());
    same && (before.state == Sent || just_after)
}
