//! What a module last learned of its coin line.

use sea_orm::entity::prelude::*;

/// What a module last learned of its coin line.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lessons")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub module_id: String,
    /// As the protocol writes it.
    pub body: Vec<u8>,
    /// What the operator made of it: `open`, `accepted`, `discarded`.
    pub verdict: String,
    pub heard_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
