//! A dispute: the payer's bank took the money back, and somebody has to decide.

use crate::{ids::AccountId, ids::AttemptId, ids::SaleId, payments::states::DisputeStanding};
use sea_orm::entity::prelude::*;

/// A dispute: the payer's bank took the money back, and somebody has to decide.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "disputes")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: AccountId,
    pub sale_id: SaleId,
    pub attempt_id: AttemptId,
    pub dispute_id: String,
    pub amount_minor: i64,
    pub fee_minor: i64,
    pub currency: String,
    pub state: DisputeStanding,
    pub opened_ms: i64,
    pub closed_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
