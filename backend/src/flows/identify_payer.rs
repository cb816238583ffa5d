//! Who pays: some methods need to know before there can be an order. The browser goes to the provider, and comes back with
//! what is exchanged here for an identity.

use crate::{
    Context, Error, Result,
    access::operators::operator_row,
    ledger,
    machines::rows::machine_by_code,
    payments::{
        bulkhead::Lane,
        method::Payer,
        ways::{Way, ways_of},
    },
    sales::readiness::Readiness,
};

/// Where the provider is asked who pays, and where it sends browsers back to: a fixed address, which operators state there.
fn return_url(ctx: &Context) -> String {
    format!("{}/identity", ctx.public_url)
}

/// The address at which the provider of a way to pay says who pays; nothing if the way does not need that. The browser
/// comes back with `state`.
///
/// # Errors
/// [`Error::Conflict`] if the machine has no such way any more.
pub async fn identity_url(ctx: &Context, code: &str, way: &str, state: &str) -> Result<Option<String>> {
    let way = way_of(ctx, code, way).await?;
    Ok(way.provider.identity_url(&way.method, &return_url(ctx), state))
}

/// Exchanges what a browser came back with (the parameters of its address) for who pays.
///
/// # Errors
/// [`Error::Provider`] if the provider does not take it, as when it was used before.
pub async fn identify(ctx: &Context, code: &str, way: &str, parameters: &[(String, String)]) -> Result<Payer> {
    let way = way_of(ctx, code, way).await?;
    let silent = Error::NotReady(Readiness::ProviderSilent);
    let _pass = ctx.providers.bulkhead(way.account.id).acquire(Lane::Identity).ok_or(silent)?;
    Ok(way.provider.exchange_identity(&way.method, parameters).await?)
}

async fn way_of(ctx: &Context, code: &str, word: &str) -> Result<Way> {
    let machine = machine_by_code(ctx, code).await?;
    let operator = operator_row(ctx, machine.operator_id).await?;
    ways_of(ctx, &machine, ledger::currency(&operator.currency)?).await?.named(Some(word))
}
