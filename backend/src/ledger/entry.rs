//! A line of a posting; debits are positive.

use crate::{ids::OperatorId, ledger::Account};
use sea_orm::entity::prelude::*;

/// A line of a posting; debits are positive.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_entries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub txn_id: i64,
    pub operator_id: OperatorId,
    pub account: Account,
    pub amount_minor: i64,
    pub currency: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "crate::ledger::txn::Entity", from = "Column::TxnId", to = "crate::ledger::txn::Column::Id")]
    Txn,
}

impl ActiveModelBehavior for ActiveModel {}
