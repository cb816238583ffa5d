//! An attempt to pay a sale. Due when the provider is to be asked next.

use crate::{
    ids::AccountId,
    ids::AttemptId,
    ids::SaleId,
    payments::{method::Handoff, provider::TradeNumbers, states::AttemptState},
};
use sea_orm::{ActiveValue::Set, entity::prelude::*};

/// An attempt to pay a sale. Due when the provider is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_attempts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: AttemptId,
    pub sale_id: SaleId,
    pub account_id: AccountId,
    pub out_trade_no: String,
    pub provider_txn_id: Option<String>,
    pub state: AttemptState,
    pub amount_minor: i64,
    pub currency: String,
    pub payer_ip: Option<String>,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub due_ms: Option<i64>,
    pub polls: i32,
    /// What was paid, once it is paid.
    pub paid_minor: Option<i64>,
    /// In which currency.
    pub paid_currency: Option<String>,
    /// The method's word.
    pub method: String,
    /// The provider's own reference of the order.
    pub reference: Option<String>,
    /// What the provider was asked (JSON), while the attempt is open.
    pub request: Option<String>,
    /// How the payer gets to the provider (JSON), while the attempt is open.
    pub handoff: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl Model {
    /// Its numbers, as used to ask the provider.
    pub fn numbers(&self) -> TradeNumbers {
        TradeNumbers {
            out_trade_no: self.out_trade_no.clone(),
            reference: self.reference.clone(),
            provider_txn_id: self.provider_txn_id.clone(),
        }
    }

    /// How the payer gets to the provider, as stored. `None` if a newer version of this program wrote it.
    pub fn stored_handoff(&self) -> Option<Handoff> {
        serde_json::from_str(self.handoff.as_deref()?).ok()
    }

    /// What was paid, in minor units; what was asked as long as it is not paid.
    pub fn taken_minor(&self) -> i64 {
        self.paid_minor.unwrap_or(self.amount_minor)
    }

    /// The currency of what was paid, or of what was asked.
    pub fn taken_currency(&self) -> &str {
        self.paid_currency.as_deref().unwrap_or(&self.currency)
    }
}

impl ActiveModel {
    /// It can no longer be paid. Data that only an open attempt needs, such as the payer's, is dropped.
    pub fn close(&mut self) {
        self.state = Set(AttemptState::Closed);
        self.forget();
    }

    /// It is not asked about any more.
    pub fn forget(&mut self) {
        self.due_ms = Set(None);
        self.request = Set(None);
        self.handoff = Set(None);
    }
}

impl ActiveModelBehavior for ActiveModel {}
