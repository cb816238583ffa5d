//! A self-service machine.

use crate::ids::{MachineId, OperatorId};
use sea_orm::entity::prelude::*;

/// A self-service machine.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "machines")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: MachineId,
    pub operator_id: OperatorId,
    pub module_id: Option<String>,
    /// Part of its scan page's address and of integrators' topics, so it never changes.
    pub code: String,
    pub name: String,
    pub site: String,
    pub active: bool,
    pub coin_value_minor: i64,
    pub created_ms: i64,
    /// Since when it is out of service. Its history stays.
    pub retired_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "crate::access::operator::Entity",
        from = "Column::OperatorId",
        to = "crate::access::operator::Column::Id"
    )]
    Operator,
}

impl Related<crate::access::operator::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Operator.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
