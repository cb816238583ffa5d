//! A refund, one a cause. Due when it is to be worked on next.

use sea_orm::entity::prelude::*;

/// A refund, one a cause. Due when it is to be worked on next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub sale_id: i64,
    pub attempt_id: i64,
    pub account_id: i64,
    pub out_refund_no: String,
    pub cause: String,
    pub amount_minor: i64,
    pub currency: String,
    pub state: String,
    pub note: String,
    pub tries: i32,
    pub due_ms: Option<i64>,
    pub created_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
