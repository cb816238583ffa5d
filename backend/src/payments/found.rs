//! Finds what a provider's fact is about: the attempt and the refund, by any of their numbers.

use crate::{
    Context, Error, Result,
    ids::{AccountId, AttemptId, SaleId},
    payments::{attempt, provider::ToldTrade, refund, states::AttemptState},
};
use sea_orm::{Condition, DatabaseTransaction, QueryOrder, prelude::*};

pub(crate) async fn find_attempt_row(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<attempt::Model> {
    attempt::Entity::find_by_id(attempt_id)
        .one(txn)
        .await?
        .ok_or_else(|| Error::inconsistent("an attempt that was just read is not there"))
}

pub(crate) async fn find_attempt(
    txn: &DatabaseTransaction,
    account_id: AccountId,
    number: &str,
) -> Result<Option<attempt::Model>> {
    Ok(attempt::Entity::find()
        .filter(attempt::Column::AccountId.eq(account_id))
        .filter(attempt::Column::OutTradeNo.eq(number))
        .one(txn)
        .await?)
}

/// The attempts of a sale that may still be paid, the newest first.
pub(crate) async fn attempts_open(ctx: &Context, sale_id: SaleId) -> Result<Vec<attempt::Model>> {
    Ok(attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.is_in(AttemptState::OPEN))
        .order_by_desc(attempt::Column::Id)
        .all(ctx.db.read())
        .await?)
}

/// The attempt that a refund or a dispute names.
pub(crate) async fn find_told_attempt(
    txn: &DatabaseTransaction,
    account_id: AccountId,
    told: &ToldTrade,
) -> Result<Option<attempt::Model>> {
    match told {
        ToldTrade::Ours(number) => find_attempt(txn, account_id, number).await,
        ToldTrade::Theirs(number) => Ok(attempt::Entity::find()
            .filter(attempt::Column::AccountId.eq(account_id))
            .filter(has_number_of_theirs([number.as_str()]))
            .order_by_asc(attempt::Column::Id)
            .one(txn)
            .await?),
    }
}

/// Attempts found by one of the provider's own numbers.
pub(crate) fn has_number_of_theirs<'a>(numbers: impl IntoIterator<Item = &'a str> + Clone) -> Condition {
    Condition::any()
        .add(attempt::Column::ProviderTxnId.is_in(numbers.clone()))
        .add(attempt::Column::Reference.is_in(numbers))
}

pub(crate) async fn find_refund(
    txn: &DatabaseTransaction,
    account_id: AccountId,
    number: &str,
) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AccountId.eq(account_id))
        .filter(refund::Column::OutRefundNo.eq(number))
        .one(txn)
        .await?)
}
