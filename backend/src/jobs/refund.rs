//! Refunds that are to be worked on.

use super::{Due, Job};
use crate::{
    Backend, Result,
    payments::{bulkhead::Lane, refund},
};

impl Backend {
    /// Refunds that are due, as far as their accounts have room.
    pub(super) async fn due_refunds(&self) -> Result<Due> {
        let mut due = Due::default();
        for refund in self.due_by_account(refund::Entity, Lane::Refund).await? {
            let Some(begun) = self.under_way.begin(Job::Refund, refund.id, self.work_max()) else { continue };
            let Some(pass) = self.providers.bulkhead(refund.account_id).enter(Lane::Refund) else {
                due.is_more = true;
                continue;
            };
            let backend = self.clone();
            due.work.push(Box::pin(async move {
                let (_begun, _pass, id) = (begun, pass, refund.id);
                if let Err(error) = backend.work_on_refund(refund).await {
                    tracing::warn!(refund = id, %error, "could not work on a refund; will try again");
                }
            }));
        }
        Ok(due)
    }
}
