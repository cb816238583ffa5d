//! An attempt to pay a sale. Due when the provider is to be asked next.

use sea_orm::entity::prelude::*;

/// An attempt to pay a sale. Due when the provider is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_attempts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub sale_id: i64,
    pub account_id: i64,
    pub out_trade_no: String,
    pub provider_txn_id: Option<String>,
    pub state: String,
    pub amount_minor: i64,
    pub currency: String,
    pub payer_ip: Option<String>,
    pub pay_url: Option<String>,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub due_ms: Option<i64>,
    pub polls: i32,
    /// What was paid, once it is.
    pub paid_minor: Option<i64>,
    /// In which currency.
    pub paid_currency: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl Model {
    /// What was paid, in minor units; what was asked as long as nothing is.
    pub fn taken_minor(&self) -> i64 {
        self.paid_minor.unwrap_or(self.amount_minor)
    }

    /// The currency of what was paid, or was asked.
    pub fn taken_currency(&self) -> &str {
        self.paid_currency.as_deref().unwrap_or(&self.currency)
    }
}

impl ActiveModelBehavior for ActiveModel {}
