//! The consumer's page of a sale; looking at it hurries the question to the provider.

use crate::{
    Context, Error, Result,
    flows::poll_payment::poll_soon,
    ids::{SaleId, SaleToken},
    payments::{accounts::account, attempt, method::Handoff, states::AttemptState},
    sales::{rows::is_asking, sale, shapes::SaleView, state::SaleState, views::with_details},
};
use sea_orm::{QueryOrder, prelude::*};

/// A hand-over is signed anew this often: a page that is shown live is not to change each time that it is looked at.
const RENEWED_EACH_MS: i64 = 60_000;

/// A sale by its public token. While it awaits payment, the provider is asked soon what became of it.
///
/// # Errors
/// `NotFound` if there is no such sale; `Store`.
pub async fn sale(ctx: &Context, token: &SaleToken) -> Result<SaleView> {
    let sale = sale::Entity::find()
        .filter(sale::Column::Token.eq(token.clone()))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::NotFound("sale"))?;
    // While the order is on its way, asking about it would send it once more to some providers.
    let waits = [SaleState::Created, SaleState::AwaitingPayment].contains(&sale.state) && !is_asking(ctx, &sale);
    if waits && let Err(error) = poll_soon(ctx, sale.id).await {
        // The page does not need it: it shows what is known, and the provider is polled later.
        tracing::warn!(%error, "could not schedule an earlier poll of a payment");
    }
    let sale_id = sale.id;
    let rows = with_details(ctx, vec![sale]).await?;
    let mut view = rows.into_iter().next().map(|row| row.view).ok_or(Error::NotFound("sale"))?;
    if let Some(handoff @ Handoff::Invoke(_)) = view.handoff {
        view.handoff = renewed(ctx, sale_id, handoff).await.unwrap_or_else(|error| {
            // Who has paid already wants to know how it goes on.
            tracing::warn!(%error, "a hand-over cannot be shown");
            None
        });
    }
    Ok(view)
}

/// A hand-off as it is to be shown now, by the provider of the attempt that it is of.
async fn renewed(ctx: &Context, sale_id: SaleId, handoff: Handoff) -> Result<Option<Handoff>> {
    let attempt = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.eq(AttemptState::Pending))
        .order_by_desc(attempt::Column::Id)
        .one(ctx.db.read())
        .await?;
    let Some(attempt) = attempt else { return Ok(None) };
    let (_, provider) = account(ctx, attempt.account_id).await?;
    Ok(Some(provider.renew(handoff, ctx.wall_ms().div_euclid(RENEWED_EACH_MS) * RENEWED_EACH_MS)))
}
