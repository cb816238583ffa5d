//! Rows of sales, read and locked.

use crate::{
    Context, Error, Result,
    ids::{SaleId, SaleToken},
    ledger::{Kind, Posting},
    sales::{
        sale,
        state::{SaleReason, SaleState},
    },
};
use sea_orm::{DatabaseTransaction, QuerySelect, prelude::*};

pub(crate) fn sale_url(ctx: &Context, token: &SaleToken) -> String {
    format!("{}/sale/{token}", ctx.public_url)
}

/// Reads and locks a sale: until the transaction ends, nobody else can change it.
pub(crate) async fn lock_sale(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<sale::Model> {
    sale::Entity::find_by_id(sale_id)
        .lock_exclusive()
        .one(txn)
        .await?
        .ok_or_else(|| Error::inconsistent("a sale that was just read is not there"))
}

/// A sale by its number.
pub(crate) async fn sale_row(ctx: &Context, sale_id: SaleId) -> Result<sale::Model> {
    sale::Entity::find_by_id(sale_id)
        .one(ctx.db.read())
        .await?
        .ok_or_else(|| Error::inconsistent("a sale that was just read is not there"))
}

/// A posting for a sale.
pub(crate) fn posting(ctx: &Context, row: &sale::Model, kind: Kind, reference: String, amount_minor: i64) -> Posting {
    Posting {
        kind,
        reference,
        operator_id: row.operator_id,
        sale_id: Some(row.id),
        machine_id: Some(row.machine_id),
        amount_minor,
        currency: row.currency.clone(),
        at_ms: ctx.wall_ms(),
    }
}

/// Whether the provider is being asked to take a sale's order.
pub(crate) fn is_asking(ctx: &Context, sale: &sale::Model) -> bool {
    let longest_ms = i64::try_from(ctx.rules.order_wait_ms).unwrap_or(i64::MAX);
    let begun_ms = sale.expires_ms - ctx.rules.order_lifetime_ms;
    sale.state == SaleState::Created
        && sale.reason == SaleReason::None
        && (0..longest_ms).contains(&(ctx.now_ms() - begun_ms))
}
