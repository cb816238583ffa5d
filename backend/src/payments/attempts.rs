//! Rows of payment attempts.

use crate::{Result, ids::AttemptId, payments::attempt};
use sea_orm::{DatabaseTransaction, prelude::*, sea_query::Expr};

/// Stores the provider's reference of an order that has none yet.
pub(crate) async fn keep_reference(txn: &DatabaseTransaction, attempt_id: AttemptId, reference: &str) -> Result<()> {
    attempt::Entity::update_many()
        .col_expr(attempt::Column::Reference, Expr::value(reference))
        .filter(attempt::Column::Id.eq(attempt_id))
        .filter(attempt::Column::Reference.is_null())
        .exec(txn)
        .await?;
    Ok(())
}

pub(crate) async fn stop_polling(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<()> {
    attempt::Entity::update_many()
        .col_expr(attempt::Column::DueMs, Expr::value(Option::<i64>::None))
        .filter(attempt::Column::Id.eq(attempt_id))
        .exec(txn)
        .await?;
    Ok(())
}
