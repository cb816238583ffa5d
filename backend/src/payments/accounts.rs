//! Merchant accounts: each operator brings its own, stored encrypted.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation},
    ids::{AccountId, OperatorId},
    payments::{account, provider::Provider},
};
use sea_orm::{ConnectionTrait, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;
use std::sync::Arc;

/// A merchant account in a list, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MerchantRow {
    /// Its number.
    pub account_id: AccountId,
    /// The operator's number.
    pub operator_id: OperatorId,
    /// The provider's word.
    pub provider: String,
    /// The account's identity, in the provider's own numbers; empty if it was last stored before identities were kept.
    pub identity: String,
    /// Whether it takes new payments.
    pub active: bool,
    /// Where the provider sends its callbacks.
    pub callbacks: String,
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// Merchant accounts, of one operator or all, in the order of their numbers.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn merchant_accounts(
    ctx: &Context,
    actor: &Actor,
    operator_id: Option<OperatorId>,
) -> Result<Vec<MerchantRow>> {
    actor.permit_of(Operation::ListMerchantAccounts, operator_id)?;
    let mut query = account::Entity::find();
    if let Some(operator_id) = operator_id {
        query = query.filter(account::Column::OperatorId.eq(operator_id));
    }
    let rows = query.order_by_asc(account::Column::Id).all(ctx.db.read()).await?;
    let listed = rows.into_iter().map(|row| MerchantRow {
        callbacks: notify_url(ctx, &row),
        account_id: row.id,
        operator_id: row.operator_id,
        provider: row.provider,
        identity: row.identity,
        active: row.active,
        created_ms: row.created_ms,
    });
    Ok(listed.collect())
}

/// An operator's account with that identity. An account whose identity is not stored yet is opened to learn it.
pub(crate) async fn account_of_identity(
    ctx: &Context,
    operator_id: OperatorId,
    word: &str,
    identity: &str,
) -> Result<Option<account::Model>> {
    let accounts = account::Entity::find()
        .filter(account::Column::OperatorId.eq(operator_id))
        .filter(account::Column::Provider.eq(word))
        .order_by_asc(account::Column::Id)
        .all(ctx.db.read())
        .await?;
    let is_meant = |account: &account::Model| match account.identity.as_str() {
        "" => provider(ctx, account).is_ok_and(|provider| provider.profile().identity == identity),
        known => known == identity,
    };
    Ok(accounts.into_iter().find(is_meant))
}

/// The numbers of an operator's accounts.
pub(crate) async fn accounts_of(store: &impl ConnectionTrait, operator_id: OperatorId) -> Result<Vec<AccountId>> {
    let own = account::Entity::find().filter(account::Column::OperatorId.eq(operator_id));
    Ok(own.select_only().column(account::Column::Id).into_tuple().all(store).await?)
}

/// The account with that number, and its provider.
pub(crate) async fn account(ctx: &Context, account_id: AccountId) -> Result<(account::Model, Arc<dyn Provider>)> {
    let account = account::Entity::find_by_id(account_id)
        .one(ctx.db.read())
        .await?
        .ok_or_else(|| Error::inconsistent("an attempt's merchant account is not there"))?;
    let provider = provider(ctx, &account)?;
    Ok((account, provider))
}

pub(crate) fn provider(ctx: &Context, account: &account::Model) -> Result<Arc<dyn Provider>> {
    ctx.providers.of(account, &ctx.seal)
}

/// Where the provider sends its callbacks for an account.
pub(crate) fn notify_url(ctx: &Context, account: &account::Model) -> String {
    format!("{}/callbacks/{}/{}", ctx.public_url, account.provider, account.token)
}
