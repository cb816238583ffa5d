//! A command to a module. Due when it is to be sent next.

use crate::ids::SaleId;
use sea_orm::entity::prelude::*;

/// A command to a module. Due when it is to be sent next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub module_id: String,
    pub sequence: i64,
    pub sale_id: Option<SaleId>,
    pub action: String,
    pub payload: Vec<u8>,
    pub state: CommandState,
    pub reason: String,
    pub pulses: i32,
    pub sends: i32,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub heard_ms: Option<i64>,
    pub due_ms: Option<i64>,
}

/// The state of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
pub enum CommandState {
    /// Waits for an acknowledgement.
    Sent,
    /// The module received it.
    Received,
    /// Executed completely.
    Done,
    /// Not executed, or only in part.
    Failed,
    /// It reached the module too late.
    Expired,
    /// Not acknowledged until the end of the grace period.
    Silent,
    /// Replaced by a newer one before it was acknowledged.
    Superseded,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
