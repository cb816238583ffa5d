//! Payments that providers are to be asked about.

use crate::{
    Context, Result,
    flows::poll_payment::poll_attempt,
    jobs::{
        accounts::due_by_account,
        in_progress::{Due, Job},
    },
    payments::{attempt, bulkhead::Lane},
};

/// Attempts that are due, as far as their accounts have room.
pub(crate) async fn due_attempts(ctx: &Context) -> Result<Due> {
    let mut due = Due::default();
    for attempt in due_by_account(ctx, attempt::Entity, Lane::Poll).await? {
        let Some(begun) = ctx.in_progress.begin(Job::Poll, attempt.id.0, ctx.rules.work_max()) else { continue };
        let Some(pass) = ctx.providers.bulkhead(attempt.account_id).acquire(Lane::Poll) else {
            due.is_more = true;
            continue;
        };
        let backend = ctx.clone();
        due.work.push(Box::pin(async move {
            let (_begun, _pass, id) = (begun, pass, attempt.id);
            if let Err(error) = poll_attempt(&backend, attempt).await {
                tracing::warn!(attempt = %id, %error, "polling a payment failed; will try again");
            }
        }));
    }
    Ok(due)
}
