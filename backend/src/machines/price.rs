//! A price of a machine.

use crate::ids::{MachineId, PriceId};
use sea_orm::entity::prelude::*;

/// A price of a machine.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "prices")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: PriceId,
    pub machine_id: MachineId,
    pub label: String,
    pub amount_minor: i64,
    pub pulses: i32,
    pub position: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
