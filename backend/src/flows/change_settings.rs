//! Settings that are wanted of a module, and bringing them to it.

use crate::{
    Context, Error, Result, Rules,
    flows::after_commit::{AfterCommit, publish_after_commit},
    modules::{
        command::{self, CommandState},
        commands::queue_superseding,
        learning_result::Verdict,
        learning_results::{self, set_learning_verdict},
        module::{self, ActiveModel},
        remote_actions,
        rows::lock_module,
        settings::{ModuleSettings, SETTINGS, settings_status, wanted},
    },
};
use protocol::{
    ModuleId,
    messages::{Action, Reason},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

/// What to do about a module that says another version than is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Send what is wanted, under this version.
    Send {
        version: i64,
    },
}

/// Decides by the newest settings command of the module.
pub(crate) fn next_step(
    rules: &Rules,
    wanted: i64,
    reported: i64,
    newest: Option<&command::Model>,
    now_ms: i64,
) -> Step {
    use CommandState::*;
    if wanted == 0 || wanted == reported {
        return Step::Nothing;
    }
    let shall = newest.is_none_or(|newest| match newest.state {
        Sent | Received => false,
        // The module has them, unless its flash was lost. The status may also have been sent before it took them.
        Done => newest.heard_ms.is_none_or(|at_ms| !(at_ms..at_ms + rules.settings_again_ms).contains(&now_ms)),
        // The module refused them; a person has to choose others. Except if they were superseded by another database's
        // version number.
        Failed => newest.reason == Reason::Superseded.as_str(),
        Expired | Silent | Superseded => true,
    });
    if shall { Step::Send { version: next_version_above(wanted - 1, reported) } } else { Step::Nothing }
}

/// The next version after both, as far as a module can count.
pub(crate) fn next_version_above(wanted: i64, reported: i64) -> i64 {
    (wanted.max(reported) + 1).min(u32::MAX.into())
}

/// Changes what is wanted, if it is still what it was under `since_version`. The same as is wanted changes nothing,
/// unless the module refused it. Gives what was wanted before, if anything was done.
pub(crate) async fn change_settings(
    ctx: &Context,
    txn: &DatabaseTransaction,
    module: ModuleId,
    since_version: i64,
    settings: ModuleSettings,
    after: &mut AfterCommit,
) -> Result<Option<ModuleSettings>> {
    let row = lock_module(txn, module).await?;
    let newest = remote_actions::newest(txn, &row.id, SETTINGS).await?;
    let refused = settings_status(&row, newest.as_ref()) == "failed";
    // A profile that the module learned and nobody judged is in force there, whatever is wanted.
    let learning_result = learning_results::of_module(txn, &row.id).await?;
    let learned = learning_result.is_some_and(|learning_result| learning_results::is_in_force(&learning_result));
    let before = wanted(&row);
    if row.settings_wanted != 0 && settings == before && !refused && !learned {
        return Ok(None);
    }
    if row.settings_wanted != since_version {
        return Err(Error::Conflict("the settings"));
    }
    set_desired_settings(ctx, txn, row, settings, Verdict::Discarded, after).await?;
    Ok(Some(before))
}

/// Stores what is wanted of a (locked) module from now on, and queues it. `judged` is what becomes of an open learning result.
pub(crate) async fn set_desired_settings(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: module::Model,
    settings: ModuleSettings,
    judged: Verdict,
    after: &mut AfterCommit,
) -> Result<()> {
    let version = next_version_above(row.settings_wanted, row.settings_version);
    set_learning_verdict(txn, &row.id, judged).await?;
    store_settings(ctx, txn, row, settings, version, after).await
}

async fn store_settings(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: module::Model,
    settings: ModuleSettings,
    version: i64,
    after: &mut AfterCommit,
) -> Result<()> {
    let on_wire = settings.on_wire(u32::try_from(version).unwrap_or(u32::MAX));
    let module_id = row.id.clone();
    let mut change: ActiveModel = row.into();
    change.settings_wanted = Set(version);
    change.settings_body = Set(Some(minicbor::to_vec(on_wire).expect("encoding into memory cannot fail")));
    change.settings_changed_ms = Set(Some(ctx.now_ms()));
    change.update_without_returning(txn).await?;
    let lifetime_ms = ctx.rules.setting_lifetime_ms;
    after.command(queue_superseding(ctx, txn, &module_id, Action::Settings(on_wire), lifetime_ms).await?);
    after.module(module_id);
    Ok(())
}

/// A module said that it has this version in force: sends what is wanted if it is another, or if the store has forgotten
/// what it gave it under that version.
pub(crate) async fn send_desired_settings(
    ctx: &Context,
    module: ModuleId,
    reported: u32,
    store_is_stale: bool,
) -> Result<()> {
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let row = lock_module(txn, module).await?;
            let newest = remote_actions::newest(txn, module.as_str(), SETTINGS).await?;
            let step = if store_is_stale && row.settings_wanted == i64::from(reported) {
                Step::Send { version: row.settings_wanted + 1 }
            } else {
                next_step(&ctx.rules, row.settings_wanted, reported.into(), newest.as_ref(), ctx.now_ms())
            };
            if let Step::Send { version } = step {
                let settings = wanted(&row);
                store_settings(ctx, txn, row, settings, version, &mut after).await?;
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(state: CommandState, reason: &str, heard_ms: Option<i64>) -> command::Model {
        command::Model {
            id: 1,
            module_id: String::new(),
            sequence: 1,
            sale_id: None,
            action: "settings".into(),
            payload: vec![],
            state,
            reason: reason.into(),
            pulses: 0,
            sends: 1,
            issued_ms: 0,
            expires_ms: 1,
            heard_ms,
            due_ms: None,
        }
    }

    #[test]
    fn sends_what_a_module_has_not_and_may_still_take() {
        let rules = Rules::default();
        let step =
            |wanted, reported, newest: Option<&command::Model>| next_step(&rules, wanted, reported, newest, 1_000_000);
        let send = |version| Step::Send { version };
        assert_eq!(step(0, 7, None), Step::Nothing, "nothing was chosen here: what it has stays");
        assert_eq!(step(3, 3, None), Step::Nothing);
        assert_eq!(step(3, 2, None), send(3));
        assert_eq!(step(3, 5, None), send(6), "above what another database gave it");
        assert_eq!(step(u32::MAX.into(), 2, None), send(u32::MAX.into()));
        for (state, reason, heard_ms, expected) in [
            (CommandState::Sent, "", None, Step::Nothing),
            (CommandState::Received, "", None, Step::Nothing),
            (CommandState::Silent, "", None, send(3)),
            (CommandState::Expired, "", Some(0), send(3)),
            (CommandState::Done, "", Some(0), send(3)),
            (CommandState::Done, "", Some(999_999), Step::Nothing),
            (CommandState::Done, "", Some(2_000_000), send(3)),
            (CommandState::Failed, "invalid", Some(0), Step::Nothing),
            (CommandState::Failed, "superseded", Some(0), send(3)),
        ] {
            assert_eq!(step(3, 2, Some(&newest(state, reason, heard_ms))), expected, "{state:?} {reason} {heard_ms:?}");
        }
    }
}
