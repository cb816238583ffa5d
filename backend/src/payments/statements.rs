//! Rows of daily statements.

use crate::{
    ids::AccountId,
    payments::{statement, states::StatementState},
};
use sea_orm::ActiveValue::Set;

/// The first row of an account; it determines the first day.
pub(crate) fn initial_statement(account_id: AccountId) -> statement::ActiveModel {
    row(account_id, 0, 0)
}

pub(crate) fn row(account_id: AccountId, day: i64, due_ms: i64) -> statement::ActiveModel {
    statement::ActiveModel {
        account_id: Set(account_id),
        day: Set(day),
        state: Set(StatementState::Due),
        tries: Set(0),
        due_ms: Set(Some(due_ms)),
        facts: Set(0),
        learned: Set(0),
        orphans: Set(0),
        read_ms: Set(None),
        ..Default::default()
    }
}
