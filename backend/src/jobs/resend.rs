//! Commands without a final acknowledgement: to be sent again, or given up.

use crate::{
    Context, Result,
    flows::resend_command::process_command,
    jobs::in_progress::{Due, Job},
    modules::command::{Column, Entity},
};
use sea_orm::{QueryOrder, QuerySelect, prelude::*};

/// Commands that are due.
pub(crate) async fn due_commands(ctx: &Context) -> Result<Due> {
    let rows = Entity::find()
        .filter(Column::DueMs.lte(ctx.now_ms()))
        .order_by_asc(Column::DueMs)
        .limit(ctx.rules.batch_rows)
        .all(ctx.db.read())
        .await?;
    let mut due = Due { work: vec![], is_more: rows.len() >= ctx.rules.work_max() };
    for command in rows {
        let Some(begun) = ctx.in_progress.begin(Job::Resend, command.id, ctx.rules.work_max()) else { continue };
        let backend = ctx.clone();
        due.work.push(Box::pin(async move {
            let _begun = begun;
            let id = command.id;
            if let Err(error) = process_command(&backend, command).await {
                tracing::warn!(command = id, %error, "could not work on a due command; will try again");
            }
        }));
    }
    Ok(due)
}
