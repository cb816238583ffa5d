//! What a person did about a sale, and why. One row a request: its key makes a repeat harmless.

use crate::ids::SaleId;
use sea_orm::entity::prelude::*;

/// What a person did about a sale, and why.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sale_actions")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub sale_id: SaleId,
    pub request_key: String,
    pub action: String,
    /// The amount refunded by it, in minor units.
    pub amount_minor: i64,
    pub reason: String,
    pub done_by: String,
    pub at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
