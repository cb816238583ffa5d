//! Whether a merchant account works: the provider is asked a harmless question, signed as all others.

use super::merchant::permitted_account;
use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation},
    ids::{AccountId, OperatorId},
    payments::{
        accounts::provider,
        numbers::new_number,
        provider::{Provider, TradeNumbers},
    },
};

/// Asks the provider about a number that nobody has, so that no money moves. It answers only who signs as the merchant. Its
/// answer is checked by the keys that the account lists, if it is signed: a refusal may come without.
///
/// # Errors
///
/// `Provider` says why the account does not work, or that the provider could not be asked; `Invalid` if it can only be asked
/// about orders that it took; `NotFound`, `Forbidden`, `Store`.
pub async fn check_account(ctx: &Context, actor: &Actor, account_id: AccountId) -> Result<()> {
    let (account, _) = permitted_account(ctx, actor, account_id).await?;
    if ask(ctx, &*provider(ctx, &account)?).await? {
        return Ok(());
    }
    Err(Error::invalid("account", "is with a provider that cannot be asked about numbers of ours"))
}

/// As [`check_account`], of an account that is not stored yet. Gives whether its provider could be asked at all.
///
/// # Errors
///
/// `Invalid` says what is wrong with the configuration; `Provider` as above; `Forbidden`.
pub async fn check_config(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    provider: &str,
    config: &str,
) -> Result<bool> {
    actor.permit(Operation::SetMerchantAccount, operator_id, "operator")?;
    ask(ctx, &*ctx.providers.factory.open(provider, config)?).await
}

async fn ask(ctx: &Context, provider: &dyn Provider) -> Result<bool> {
    if !provider.profile().finds_by_our_number {
        return Ok(false);
    }
    let nobodys = TradeNumbers { out_trade_no: new_number(ctx, "S"), reference: None, provider_txn_id: None };
    provider.query(&nobodys).await?;
    Ok(true)
}
