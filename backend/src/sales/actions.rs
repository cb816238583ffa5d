//! What people did about sales by hand.

use crate::{
    Context, Result,
    access::{actor::Actor, operations::Operation},
    ids::SaleToken,
    sales::{action, views::permitted_sale},
};
use sea_orm::{QueryOrder, prelude::*};
use serde::Serialize;

/// What a person did about a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionRow {
    /// `refund`, `settle_credit`, `settle_refund` or `settle_keep`.
    pub action: String,
    /// The amount refunded by it, in minor units.
    pub amount_minor: i64,
    /// Why.
    pub reason: String,
    /// Who decided it.
    pub by: String,
    /// When (unix milliseconds).
    pub at_ms: i64,
}

/// What people did about a sale, oldest first.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn sale_actions(ctx: &Context, actor: &Actor, token: &SaleToken) -> Result<Vec<ActionRow>> {
    let (sale, _) = permitted_sale(ctx, actor, Operation::ViewSales, token).await?;
    let actions = action::Entity::find()
        .filter(action::Column::SaleId.eq(sale.id))
        .order_by_asc(action::Column::Id)
        .all(ctx.db.read())
        .await?;
    let listed = actions.into_iter().map(|row| ActionRow {
        action: row.action,
        amount_minor: row.amount_minor,
        reason: row.reason,
        by: row.done_by,
        at_ms: row.at_ms,
    });
    Ok(listed.collect())
}
