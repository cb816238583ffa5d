//! A verified callback, as it came.

use crate::{ids::AccountId, payments::outcome::Outcome};
use sea_orm::entity::prelude::*;

/// A verified callback, as it came.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "callback_inbox")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: AccountId,
    pub event_id: String,
    pub outcome: Outcome,
    pub headers: String,
    pub body: Vec<u8>,
    pub plaintext: String,
    pub received_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
