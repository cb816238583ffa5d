//! Commands that modules had no word on: to be sent again, or given up.

use super::{Due, Job};
use crate::{
    Backend, Result,
    modules::command::{Column, Entity},
};
use sea_orm::{QueryOrder, QuerySelect, prelude::*};

impl Backend {
    /// Commands that are due.
    pub(super) async fn due_commands(&self) -> Result<Due> {
        let rows = Entity::find()
            .filter(Column::DueMs.lte(self.now_ms()))
            .order_by_asc(Column::DueMs)
            .limit(self.rules.batch_rows)
            .all(self.db.read())
            .await?;
        let mut due = Due { work: vec![], is_more: rows.len() >= self.work_max() };
        for command in rows {
            let Some(begun) = self.under_way.begin(Job::Resend, command.id, self.work_max()) else { continue };
            let backend = self.clone();
            due.work.push(Box::pin(async move {
                let _begun = begun;
                let id = command.id;
                if let Err(error) = backend.work_on_command(command).await {
                    tracing::warn!(command = id, %error, "could not work on a due command; will try again");
                }
            }));
        }
        Ok(due)
    }
}
