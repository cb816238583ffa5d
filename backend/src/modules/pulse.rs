//! A burst of coins as the module reported it.

use crate::ids::{MachineId, OperatorId};
use sea_orm::entity::prelude::*;

/// A burst of coins as the module reported it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "coin_pulses")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub operator_id: OperatorId,
    pub machine_id: MachineId,
    pub module_id: String,
    pub at_ms: i64,
    pub pulses: i32,
    pub total: i64,
    pub width_ms: i32,
    pub gap_ms: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
