//! A refund: ours (one for each cause), or one made elsewhere. Due when it is to be worked on next.

use crate::{
    ids::AccountId,
    ids::AttemptId,
    ids::RefundId,
    ids::SaleId,
    payments::{
        provider::{RefundNumbers, TradeNumbers},
        states::{Cause, RefundCause, RefundProgress},
    },
};
use sea_orm::entity::prelude::*;

/// A refund: ours (one for each cause), or one made elsewhere. Due when it is to be worked on next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: RefundId,
    pub sale_id: SaleId,
    pub attempt_id: AttemptId,
    pub account_id: AccountId,
    pub out_refund_no: String,
    pub cause: RefundCause,
    pub amount_minor: i64,
    pub currency: String,
    pub state: RefundProgress,
    pub note: String,
    pub tries: i32,
    pub due_ms: Option<i64>,
    pub created_ms: i64,
    /// The provider's number of a refund that was made elsewhere; empty if it is ours.
    pub outside_id: String,
    /// How often it was reported as done and failed later.
    pub reversals: i32,
    /// The provider's own reference of a refund that it has accepted.
    pub reference: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl Model {
    /// Its numbers, as used to ask the provider.
    pub fn numbers(&self, trade: TradeNumbers) -> RefundNumbers {
        RefundNumbers { trade, out_refund_no: self.out_refund_no.clone(), reference: self.reference.clone() }
    }

    /// Whether it was made at the provider without us.
    pub fn is_external(&self) -> bool {
        !self.outside_id.is_empty()
    }

    /// Whether its amount is a guess: it was told by what went back in all, and the provider has not been asked about it yet.
    pub fn is_guess(&self) -> bool {
        self.is_external() && self.state == RefundProgress::Done && self.due_ms.is_some()
    }

    /// Whether it is part of the sale's own course: not the refund of a second payment, and not an additional one by a
    /// person.
    pub fn is_own(&self) -> bool {
        !matches!(self.cause.cause, Cause::SecondPayment | Cause::Manual)
    }

    /// The reference of its posting as done; new after each failure.
    pub fn done_reference(&self) -> String {
        match self.reversals {
            0 => format!("refund-{}", self.id),
            reversals => format!("refund-{}-{reversals}", self.id),
        }
    }
}

impl ActiveModelBehavior for ActiveModel {}
