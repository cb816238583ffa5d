//! Rows of payment attempts.

use crate::{Result, payments::attempt};
use sea_orm::{DatabaseTransaction, prelude::*, sea_query::Expr};

pub(crate) async fn stop_polling(txn: &DatabaseTransaction, attempt_id: i64) -> Result<()> {
    attempt::Entity::update_many()
        .col_expr(attempt::Column::DueMs, Expr::value(Option::<i64>::None))
        .filter(attempt::Column::Id.eq(attempt_id))
        .exec(txn)
        .await?;
    Ok(())
}
