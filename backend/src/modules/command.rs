//! A command to a module. Due when it is to be sent next.

use sea_orm::entity::prelude::*;

/// A command to a module. Due when it is to be sent next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub module_id: String,
    pub sequence: i64,
    pub sale_id: Option<i64>,
    pub action: String,
    pub payload: Vec<u8>,
    pub state: String,
    pub reason: String,
    pub pulses: i32,
    pub sends: i32,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub heard_ms: Option<i64>,
    pub due_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
