//! An operator's merchant account is stored.

use crate::{
    Context, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
        operators::operator_row,
    },
    clock,
    ids::OperatorId,
    payments::{account, providers::purpose, statement, statements::initial_statement},
};
use sea_orm::{ActiveValue::Set, prelude::*};

/// Stores an operator's merchant account, or replaces the one of that provider. The configuration (JSON) is tried
/// first. Gives the account's token, which stands in its notify address.
///
/// # Errors
///
/// `Invalid` says what is wrong with the configuration; `NotFound`, `Forbidden`, `Store`.
pub async fn set_merchant_account(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    provider: &str,
    config: &str,
) -> Result<String> {
    let permit = actor.permit(Operation::SetMerchantAccount, operator_id, "operator")?;
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
            let account_id = match &existing {
                Some(account) => {
                    let mut change: account::ActiveModel = account.clone().into();
                    change.config_sealed = Set(sealed.clone());
                    change.active = Set(true);
                    change.update_without_returning(txn).await?;
                    account.id
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
                    statement::Entity::insert(first).exec_without_returning(txn).await?;
                    account_id
                }
            };
            let told = Change::secret("configuration").and("provider", provider);
            audit::record(ctx, txn, permit, ("merchant account", account_id), told).await
        })
        .await?;
    Ok(token.clone())
}
