//! A person accepts or refuses what a module learned of its coin line.

use crate::{
    Context, Error, Result,
    access::{
        actor::Permit,
        audit::{self, Change},
    },
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        change_settings::set_desired_settings,
    },
    ids::MachineId,
    machines::rows::lock_wired_module,
    modules::{
        learning_result::Verdict,
        learning_results::{acceptable, ends, learned, of_module, set_learning_verdict},
        settings::{self, ModuleSettings},
    },
};
use protocol::{ModuleId, messages::LearnStage};
use serde_json::json;

/// Takes the profile of the learning result first told at `heard_ms` into the wanted settings, or leaves it and sends those
/// again. Judging it the same way twice is nothing new.
pub(crate) async fn decide_learning_result(
    ctx: &Context,
    permit: Permit<'_>,
    (machine_id, module): (MachineId, ModuleId),
    heard_ms: i64,
    accept: bool,
) -> Result<()> {
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let row = lock_wired_module(txn, machine_id, module).await?;
            let learning_result =
                of_module(txn, &row.id).await?.filter(|learning_result| learning_result.heard_ms == heard_ms);
            let Some(learning_result) = learning_result else { return Err(Error::Conflict("what was learned")) };
            let judged = if accept { Verdict::Accepted } else { Verdict::Discarded };
            if learning_result.verdict == judged {
                return Ok(after);
            }
            let learned = learned(&learning_result)
                .filter(|learned| learning_result.verdict == Verdict::Open && ends(learned.stage));
            let Some(learned) = learned else { return Err(Error::Conflict("what was learned")) };
            let wanted = settings::wanted(&row);
            let settings = if accept {
                let profile = acceptable(&learned).ok_or(Error::Conflict("what was learned"))?;
                ModuleSettings { profile, ..wanted }
            } else {
                wanted
            };
            let module_id = row.id.clone();
            let told = json!({"learned_ms": heard_ms, "accepted": accept});
            audit::record(ctx, txn, permit, ("module", module), Change::to(told)).await?;
            if accept || learned.stage == LearnStage::Stored {
                set_desired_settings(ctx, txn, row, settings, judged, &mut after).await?;
            } else {
                // A failed result is not in force, so there is nothing to undo.
                set_learning_verdict(txn, &module_id, judged).await?;
                after.module(module_id);
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}
