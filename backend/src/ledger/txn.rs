//! A posting: entries that sum to zero.

use crate::{
    ids::{MachineId, OperatorId, SaleId},
    ledger::Kind,
};
use sea_orm::entity::prelude::*;

/// A posting: entries that sum to zero.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_txns")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub kind: Kind,
    pub reference: String,
    pub operator_id: OperatorId,
    pub sale_id: Option<SaleId>,
    pub machine_id: Option<MachineId>,
    pub at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
