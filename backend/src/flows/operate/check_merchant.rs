//! Whether a merchant account works: the provider is asked a harmless question, signed as all others.

use super::merchant::permitted_account;
use crate::{
    Context, Error, Result,
    access::actor::Actor,
    ids::AccountId,
    payments::{accounts::provider, numbers::new_number, provider::TradeNumbers},
};

/// Asks the provider about a number that nobody has. It answers only who signs as the merchant, and its answer is believed
/// only if the keys that the account lists are its own: so both are proven, and no money moves.
///
/// # Errors
///
/// `Provider` says why the account does not work, or that the provider could not be asked; `Invalid` if it can only be asked
/// about orders that it took; `NotFound`, `Forbidden`, `Store`.
pub async fn check_account(ctx: &Context, actor: &Actor, account_id: AccountId) -> Result<()> {
    let (account, _) = permitted_account(ctx, actor, account_id).await?;
    let provider = provider(ctx, &account)?;
    if !provider.profile().finds_by_our_number {
        return Err(Error::invalid("account", "is with a provider that cannot be asked about numbers of ours"));
    }
    let nobodys = TradeNumbers { out_trade_no: new_number(ctx, "S"), reference: None, provider_txn_id: None };
    provider.query(&nobodys).await?;
    Ok(())
}
