//! The consumer's page of a sale; looking at it hurries the question to the provider.

use crate::{
    Context, Error, Result,
    flows::poll_payment::poll_soon,
    sales::{sale, shapes::SaleView, state::SaleState, views::with_details},
};
use sea_orm::prelude::*;

/// A sale by its public token. While it awaits payment, the provider is asked soon what became of it.
pub async fn sale(ctx: &Context, token: &str) -> Result<SaleView> {
    let sale = sale::Entity::find()
        .filter(sale::Column::Token.eq(token))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::NotFound("sale"))?;
    let waits = [SaleState::Created, SaleState::AwaitingPayment].contains(&sale.state);
    if waits && let Err(error) = poll_soon(ctx, sale.id).await {
        // The page does not need it: it shows what is known, and the provider is polled later.
        tracing::warn!(%error, "could not schedule an earlier poll of a payment");
    }
    let rows = with_details(ctx, vec![sale]).await?;
    rows.into_iter().next().map(|row| row.view).ok_or(Error::NotFound("sale"))
}
