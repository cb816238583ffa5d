//! A provider's statement of a day, to be read once. Due when it must be asked for next.

use crate::{ids::AccountId, payments::states::StatementState};
use sea_orm::entity::prelude::*;

/// A provider's statement of a day, to be read once. Due when it must be asked for next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "statements")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: AccountId,
    /// By the provider's calendar, counted from 1970; 0 means the account's first day, whichever that is.
    pub day: i64,
    pub state: StatementState,
    pub tries: i32,
    pub due_ms: Option<i64>,
    /// Facts in it.
    pub facts: i64,
    /// New facts among them.
    pub learned: i64,
    /// Facts that fit no order of ours.
    pub orphans: i64,
    pub read_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
