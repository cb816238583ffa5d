//! Refunds that are to be worked on.

use crate::{
    Context, Result,
    flows::send_refund::work_on_refund,
    jobs::{
        accounts::due_by_account,
        in_progress::{Due, Job},
    },
    payments::{bulkhead::Lane, refund},
};

/// Refunds that are due, as far as their accounts have room.
pub(crate) async fn due_refunds(ctx: &Context) -> Result<Due> {
    let mut due = Due::default();
    for refund in due_by_account(ctx, refund::Entity, Lane::Refund).await? {
        let Some(begun) = ctx.in_progress.begin(Job::Refund, refund.id.0, ctx.rules.work_max()) else { continue };
        let Some(pass) = ctx.providers.bulkhead(refund.account_id).acquire(Lane::Refund) else {
            due.is_more = true;
            continue;
        };
        let backend = ctx.clone();
        due.work.push(Box::pin(async move {
            let (_begun, _pass, id) = (begun, pass, refund.id);
            if let Err(error) = work_on_refund(&backend, refund).await {
                tracing::warn!(refund = %id, %error, "could not work on a refund; will try again");
            }
        }));
    }
    Ok(due)
}
