//! Payments that providers are to be asked about.

use super::{Due, Job};
use crate::{
    Backend, Result,
    payments::{attempt, bulkhead::Lane},
};

impl Backend {
    /// Attempts that are due, as far as their accounts have room.
    pub(super) async fn due_attempts(&self) -> Result<Due> {
        let mut due = Due::default();
        for attempt in self.due_by_account(attempt::Entity, Lane::Poll).await? {
            let Some(begun) = self.under_way.begin(Job::Poll, attempt.id, self.work_max()) else { continue };
            let Some(pass) = self.providers.bulkhead(attempt.account_id).enter(Lane::Poll) else {
                due.is_more = true;
                continue;
            };
            let backend = self.clone();
            due.work.push(Box::pin(async move {
                let (_begun, _pass, id) = (begun, pass, attempt.id);
                if let Err(error) = backend.poll_attempt(attempt).await {
                    tracing::warn!(attempt = id, %error, "could not ask about a payment; will ask again");
                }
            }));
        }
        Ok(due)
    }
}
