//! Merchant accounts: each operator brings its own, stored encrypted.

use crate::{
    Context, Error, Result,
    access::operators::operator_row,
    clock,
    payments::{account, provider::Provider, providers::purpose, statements::initial_statement},
};
use sea_orm::{ActiveValue::Set, QueryOrder, prelude::*};
use serde::Serialize;
use std::sync::Arc;

/// A merchant account in a list, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MerchantRow {
    /// Its number.
    pub account_id: i64,
    /// The operator's number.
    pub operator_id: i64,
    /// The provider's word.
    pub provider: String,
    /// Whether payments are taken by it.
    pub active: bool,
    /// Where the provider reports to.
    pub callbacks: String,
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// Merchant accounts, of one operator or all, in the order of their numbers.
pub async fn merchant_accounts(ctx: &Context, operator_id: Option<i64>) -> Result<Vec<MerchantRow>> {
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
        active: row.active,
        created_ms: row.created_ms,
    });
    Ok(listed.collect())
}

/// Stores an operator's merchant account, or replaces the one of that provider. The configuration (JSON) is tried
/// first. Gives the account's token, which stands in its notify address.
pub async fn set_merchant_account(ctx: &Context, operator_id: i64, provider: &str, config: &str) -> Result<String> {
    ctx.providers.factory.open(provider, config)?;
    operator_row(ctx, operator_id).await?;
    let existing = account::Entity::find()
        .filter(account::Column::OperatorId.eq(operator_id))
        .filter(account::Column::Provider.eq(provider))
        .one(ctx.db.read())
        .await?;
    let token = match &existing {
        Some(account) => account.token.clone(),
        None => clock::random_text(&*ctx.random, 26),
    };
    let sealed = ctx.seal.seal(&*ctx.random, &purpose(&token), config.as_bytes());
    let token = &token;
    let sealed = &sealed;
    let existing = &existing;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            match &existing {
                Some(account) => {
                    let mut change: account::ActiveModel = account.clone().into();
                    change.config_sealed = Set(sealed.clone());
                    change.active = Set(true);
                    change.update_without_returning(txn).await?;
                }
                None => {
                    let row = account::ActiveModel {
                        operator_id: Set(operator_id),
                        provider: Set(provider.into()),
                        token: Set(token.clone()),
                        config_sealed: Set(sealed.clone()),
                        active: Set(true),
                        created_ms: Set(ctx.now_ms()),
                        ..Default::default()
                    };
                    let account_id = account::Entity::insert(row).exec(txn).await?.last_insert_id;
                    let first = initial_statement(account_id);
                    crate::payments::statement::Entity::insert(first).exec_without_returning(txn).await?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(token.clone())
}

/// The account by which an operator takes payments, if there is one.
pub(crate) async fn active_account(ctx: &Context, operator_id: i64) -> Result<Option<account::Model>> {
    Ok(account::Entity::find()
        .filter(account::Column::OperatorId.eq(operator_id))
        .filter(account::Column::Active.eq(true))
        .one(ctx.db.read())
        .await?)
}

/// The account of that number, with its provider.
pub(crate) async fn account(ctx: &Context, account_id: i64) -> Result<(account::Model, Arc<dyn Provider>)> {
    let account =
        account::Entity::find_by_id(account_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("merchant account"))?;
    let provider = provider(ctx, &account)?;
    Ok((account, provider))
}

pub(crate) fn provider(ctx: &Context, account: &account::Model) -> Result<Arc<dyn Provider>> {
    ctx.providers.of(account, &ctx.seal)
}

/// Where the provider reports to for an account.
pub(crate) fn notify_url(ctx: &Context, account: &account::Model) -> String {
    format!("{}/callbacks/{}/{}", ctx.public_url, account.provider, account.token)
}
