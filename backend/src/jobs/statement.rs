//! Daily statements that are to be read.

use crate::{
    Context, Result,
    flows::read_statement::read_statement,
    jobs::{
        accounts::due_by_account,
        in_progress::{Due, Job},
    },
    payments::{bulkhead::Lane, statement},
};

/// How many statements are read at once; each is held in memory as a whole.
const READ_AT_ONCE: usize = 2;

/// Statements that are due, as far as there is room.
pub(crate) async fn due_statements(ctx: &Context) -> Result<Due> {
    let mut due = Due::default();
    for statement in due_by_account(ctx, statement::Entity, Lane::Statement).await? {
        let begun = ctx.in_progress.begin(Job::Statement, statement.id, READ_AT_ONCE);
        let pass = ctx.providers.bulkhead(statement.account_id).acquire(Lane::Statement);
        let (Some(begun), Some(pass)) = (begun, pass) else {
            due.is_more = true;
            continue;
        };
        let backend = ctx.clone();
        due.work.push(Box::pin(async move {
            let (_begun, _pass) = (begun, pass);
            let (account, day) = (statement.account_id, statement.day);
            if let Err(error) = read_statement(&backend, statement).await {
                tracing::warn!(%account, day, %error, "could not read a statement; will try again");
            }
        }));
    }
    Ok(due)
}
