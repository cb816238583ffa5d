//! What a provider's fact is about: the attempt and the refund by any of their numbers.

use crate::{
    Error, Result,
    payments::{attempt, refund},
};
use sea_orm::{DatabaseTransaction, prelude::*};

pub(crate) async fn find_attempt_row(txn: &DatabaseTransaction, attempt_id: i64) -> Result<attempt::Model> {
    attempt::Entity::find_by_id(attempt_id)
        .one(txn)
        .await?
        .ok_or_else(|| Error::inconsistent("an attempt that was just read is not there"))
}

pub(crate) async fn find_attempt(
    txn: &DatabaseTransaction,
    account_id: i64,
    number: &str,
) -> Result<Option<attempt::Model>> {
    Ok(attempt::Entity::find()
        .filter(attempt::Column::AccountId.eq(account_id))
        .filter(attempt::Column::OutTradeNo.eq(number))
        .one(txn)
        .await?)
}

pub(crate) async fn find_refund(
    txn: &DatabaseTransaction,
    account_id: i64,
    number: &str,
) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AccountId.eq(account_id))
        .filter(refund::Column::OutRefundNo.eq(number))
        .one(txn)
        .await?)
}
