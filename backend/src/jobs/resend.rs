//! Commands that modules had no word on: to be sent again, or given up.

use super::{Due, Job};
use crate::{
    Backend, Result,
    modules::{
        command::{Column, Entity},
        commands::command_state,
    },
};
use sea_orm::{Condition, QueryOrder, QuerySelect, prelude::*};

impl Backend {
    /// Commands that are due.
    pub(super) async fn due_commands(&self) -> Result<Due> {
        let now_ms = self.now_ms();
        let rules = &self.rules;
        let open = Condition::all()
            .add(Column::DueMs.gt(now_ms + rules.resend_max_ms.max(rules.resend_first_ms)))
            .add(Column::State.is_in([command_state::SENT, command_state::RECEIVED]));
        let is_due = Condition::any()
            .add(Column::DueMs.lte(now_ms))
            .add(open)
            .add(Column::DueMs.gt(now_ms + rules.credit_memory_ms));
        let rows = Entity::find()
            .filter(is_due)
            .order_by_asc(Column::DueMs)
            .limit(rules.batch_rows)
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
