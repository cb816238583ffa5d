//! A person's correction of the coins booked for a machine.

use crate::ids::{MachineId, OperatorId};
use sea_orm::entity::prelude::*;

/// A person's correction of the coins booked for a machine.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "coin_corrections")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub operator_id: OperatorId,
    pub machine_id: MachineId,
    pub at_ms: i64,
    pub amount_minor: i64,
    pub reason: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
