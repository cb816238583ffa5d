//! Daily statements that are to be read.

use super::{Due, Job};
use crate::{
    Backend, Result,
    payments::{bulkhead::Lane, statement},
};

/// So many statements are read at once; each is held in memory whole.
const READ_AT_ONCE: usize = 2;

impl Backend {
    /// Statements that are due, as far as there is room.
    pub(super) async fn due_statements(&self) -> Result<Due> {
        let mut due = Due::default();
        for statement in self.due_by_account(statement::Entity, Lane::Statement).await? {
            let begun = self.under_way.begin(Job::Statement, statement.id, READ_AT_ONCE);
            let pass = self.providers.bulkhead(statement.account_id).enter(Lane::Statement);
            let (Some(begun), Some(pass)) = (begun, pass) else {
                due.is_more = true;
                continue;
            };
            let backend = self.clone();
            due.work.push(Box::pin(async move {
                let (_begun, _pass) = (begun, pass);
                let (account, day) = (statement.account_id, statement.day);
                if let Err(error) = backend.read_statement(statement).await {
                    tracing::warn!(account, day, %error, "could not read a statement; will try again");
                }
            }));
        }
        Ok(due)
    }
}
