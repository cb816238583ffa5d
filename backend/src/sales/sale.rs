//! A sale, with the price as it was when it was made.

use crate::{
    ids::{MachineId, OperatorId, SaleId, SaleToken},
    payments::states::DisputeStanding,
    sales::state::{SaleReason, SaleState},
};
use sea_orm::entity::prelude::*;

/// A sale, with the price as it was when it was made.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sales")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: SaleId,
    pub token: SaleToken,
    pub form_key: String,
    /// The form that was sent in place of this order, and answered with it: the order was paid, or being paid.
    pub kept_for_form: Option<String>,
    pub operator_id: OperatorId,
    pub machine_id: MachineId,
    pub module_id: String,
    pub label: String,
    pub amount_minor: i64,
    pub currency: String,
    pub pulses: i32,
    pub pulses_given: i32,
    pub state: SaleState,
    pub reason: SaleReason,
    pub served_and_refunded: bool,
    pub version: i32,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub paid_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    /// The sequence by which the module knows the credit. It is fixed with the order, so that a restored store has it
    /// too.
    pub credit_sequence: Option<i64>,
    /// The payment became known too late to give the credit: the module is only asked whether it gave the credit
    /// before.
    pub credit_asked: bool,
    /// When it was rebuilt from its payment, because the store had lost the order.
    pub rebuilt_ms: Option<i64>,
    /// The state of its last dispute.
    pub dispute: DisputeStanding,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
