//! A person accepts or refuses what a module learned of its coin line.

use crate::{
    Context, Error, Result,
    flows::{
        after_commit::{After, follow_up},
        change_settings::want_settings,
    },
    modules::{
        lessons::{acceptable, ends, judge_lesson, learned, of_module, verdict},
        rows::lock_module,
        settings,
    },
};
use protocol::{ModuleId, messages::LearnStage};

/// Takes the profile of the lesson first told at `heard_ms` into the wanted settings, or leaves it and sends those
/// again. Judging it the same way twice is nothing new.
pub(crate) async fn judge(ctx: &Context, module: ModuleId, heard_ms: i64, accept: bool) -> Result<()> {
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = After::default();
            let row = lock_module(txn, module).await?;
            let lesson = of_module(txn, &row.id).await?.filter(|lesson| lesson.heard_ms == heard_ms);
            let Some(lesson) = lesson else { return Err(Error::Conflict("what was learned")) };
            let judged = if accept { verdict::ACCEPTED } else { verdict::DISCARDED };
            if lesson.verdict == judged {
                return Ok(after);
            }
            let learned = learned(&lesson).filter(|learned| lesson.verdict == verdict::OPEN && ends(learned.stage));
            let Some(learned) = learned else { return Err(Error::Conflict("what was learned")) };
            let wanted = settings::wanted(&row);
            let settings = match accept {
                true => wanted.on_profile(&acceptable(&learned).ok_or(Error::Conflict("what was learned"))?),
                false => wanted,
            };
            let module_id = row.id.clone();
            if accept || learned.stage == LearnStage::Stored {
                want_settings(ctx, txn, row, settings, judged, &mut after).await?;
            } else {
                // A failed result is not in force, so there is nothing to undo.
                judge_lesson(txn, &module_id, judged).await?;
                after.module(module_id);
            }
            Ok(after)
        })
        .await?;
    follow_up(ctx, after).await;
    Ok(())
}
