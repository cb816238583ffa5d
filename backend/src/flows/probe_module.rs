//! The live probe: no money is taken for a machine whose module did not just answer.

use crate::{
    Context, Result,
    flows::publish_command::publish_command,
    modules::{commands::new_command_id, pending_queries::PendingSync, rows::module_row},
    sales::readiness::Readiness,
};
use protocol::{
    ModuleId,
    messages::{Ack, Action, Command, Reason, Stage, Sync},
};

/// Whether a module could credit now: not if its credential is disabled. Asks it and waits for the answer if the last
/// one is too old; probes at most once in [`crate::Rules::probe_spacing_ms`], however many callers there are.
pub(crate) async fn probe(ctx: &Context, module_id: &str) -> Result<Readiness> {
    let Ok(module) = ModuleId::parse(module_id) else { return Ok(Readiness::Closed) };
    if module_row(ctx, module_id).await?.disabled_ms.is_some() {
        return Ok(Readiness::Closed);
    }
    if let Some(readiness) = start_probe(ctx, module).await? {
        return Ok(readiness);
    }
    let mut answers = ctx.pending_queries.probe(module);
    let answered = answers.wait_for(|probe| probe.answer.is_some());
    let give_up = ctx.clock.sleep_ms(ctx.rules.probe_wait_ms);
    let answer = tokio::select! {
        biased;
        probe = answered => probe.ok().and_then(|probe| probe.answer),
        () = give_up => None,
    };
    match answer {
        Some((readiness, _)) => Ok(readiness),
        None => {
            let online = module_row(ctx, module_id).await?.online;
            Ok(if online { Readiness::NoAnswer } else { Readiness::Offline })
        }
    }
}

/// Sends a probe if one is needed and none was sent just now; gives the last answer if it still serves.
///
/// # Errors
/// `Store`.
pub async fn start_probe(ctx: &Context, module: ModuleId) -> Result<Option<Readiness>> {
    let now_ms = ctx.now_ms();
    let last = *ctx.pending_queries.probe(module).borrow();
    if let Some((readiness, at_ms)) = last.answer {
        // A positive answer is cached for a while; a negative one only until the next probe is allowed.
        let serves_ms =
            if readiness == Readiness::Ready { ctx.rules.probe_fresh_ms } else { ctx.rules.probe_spacing_ms };
        if (0..serves_ms).contains(&(now_ms - at_ms)) {
            return Ok(Some(readiness));
        }
    }
    let id = new_command_id(ctx);
    if ctx.pending_queries.ask(module, id, now_ms, now_ms - ctx.rules.probe_spacing_ms) {
        let wait_ms = i64::try_from(ctx.rules.probe_wait_ms).unwrap_or(i64::MAX);
        send_untracked(ctx, module, id, Action::Probe, wait_ms).await;
    }
    Ok(None)
}

/// Invalidates a module's last answer, since its state was changed.
pub(crate) fn invalidate_probe(ctx: &Context, module_id: &str) {
    if let Ok(module) = ModuleId::parse(module_id) {
        ctx.pending_queries.forget(module);
    }
}

/// Takes an ack that may be the answer to a probe; false if it is not.
pub(crate) fn accept_probe_answer(ctx: &Context, module: ModuleId, ack: &Ack) -> bool {
    let readiness = match (ack.stage, ack.reason) {
        (Stage::Done, _) => Readiness::Ready,
        (_, Some(Reason::Locked)) => Readiness::Locked,
        (_, Some(Reason::Busy)) => Readiness::Busy,
        (Stage::Failed, _) => Readiness::Fault,
        // Too slow for its own lifetime, or something no probe is answered with.
        (Stage::Received | Stage::Expired | Stage::Duplicate | Stage::Clock | Stage::Unknown(_), _) => {
            Readiness::NoAnswer
        }
    };
    ctx.pending_queries.answered(module, ack.command, readiness, ctx.now_ms())
}

/// Sets a module's clock, answering what it said at `boot` and `uptime_ms`. `known_boot` is the boot known of it, if its
/// answer shall prove that it is in an earlier one.
pub(crate) async fn sync_clock(ctx: &Context, module: ModuleId, boot: u32, uptime_ms: u64, known_boot: Option<i64>) {
    let now_ms = ctx.now_ms();
    let asked = PendingSync { command: new_command_id(ctx), asked_ms: now_ms, known_boot };
    if ctx.pending_queries.sync(module, asked, now_ms - ctx.rules.resend_first_ms) {
        let server_ms = u64::try_from(now_ms).unwrap_or(0);
        let sync = Sync { server_ms, echo_boot: boot, echo_uptime_ms: uptime_ms };
        send_untracked(ctx, module, asked.command, Action::Sync(sync), ctx.rules.credit_lifetime_ms).await;
    }
}

/// Sends a command that changes nothing stored: it is not numbered, not kept, and not sent again.
pub(crate) async fn send_untracked(ctx: &Context, module: ModuleId, id: u64, action: Action, lifetime_ms: i64) {
    let issued_ms = u64::try_from(ctx.now_ms()).unwrap_or(0);
    let lifetime_ms = u64::try_from(lifetime_ms).unwrap_or(0);
    let command = Command { id, sequence: 0, issued_ms, expires_ms: issued_ms.saturating_add(lifetime_ms), action };
    publish_command(ctx, module, &command, lifetime_ms.div_ceil(1000)).await;
}
