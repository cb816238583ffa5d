//! Which account takes a method's payments: at one machine, or at all of an operator's machines that have no choice of
//! their own.

use crate::{
    ids::AccountId,
    ids::{MachineId, OperatorId},
};
use sea_orm::entity::prelude::*;

/// Which account takes a method's payments.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_choices")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub operator_id: OperatorId,
    /// [`ALL_MACHINES`] for machines without a choice of their own. (It is not NULL, because a unique index ignores
    /// NULLs.)
    pub machine_id: MachineId,
    pub provider: String,
    pub method: String,
    pub account_id: AccountId,
}

/// Stands for all of an operator's machines; no machine has this number.
pub const ALL_MACHINES: MachineId = MachineId(0);

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::account::Entity", from = "Column::AccountId", to = "super::account::Column::Id")]
    Account,
}

impl Related<super::account::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Account.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
