//! The operator, the tenant.

use sea_orm::entity::prelude::*;

/// The operator, the tenant.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operators")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Names its topics: it never changes.
    pub slug: String,
    pub name: String,
    pub currency: String,
    pub utc_offset_min: i32,
    pub refund_remainder: bool,
    pub integrator_password_hash: Option<String>,
    pub created_ms: i64,
    /// Whom payers turn to: a phone number, an e-mail address or some words; empty if nothing was given.
    pub contact: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
