//! An operator's account with a payment provider.

use crate::{ids::AccountId, ids::OperatorId};
use sea_orm::entity::prelude::*;

/// An operator's account with a payment provider.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "merchant_accounts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: AccountId,
    pub operator_id: OperatorId,
    pub provider: String,
    pub token: String,
    pub config_sealed: Vec<u8>,
    pub active: bool,
    pub created_ms: i64,
    /// The account's identity at the provider; empty if the row was last stored before identities were kept.
    pub identity: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
