//! Payments: merchant accounts, attempts, facts from providers, refunds.
//!
//! Callback, poll and daily statement all end in `flows/apply_payment_fact`, in one transaction with what follows from the
//! fact.

pub(crate) mod account;
pub mod accounts;
pub mod alipay;
pub(crate) mod attempt;
pub(crate) mod attempts;
pub(crate) mod breaker;
pub(crate) mod bulkhead;
pub(crate) mod choice;
pub(crate) mod choices;
pub(crate) mod dispute;
pub mod entered;
pub(crate) mod found;
pub mod http;
pub(crate) mod inbox;
pub(crate) mod limits;
pub mod method;
pub(crate) mod numbers;
pub(crate) mod of_sale;
pub(crate) mod outcome;
pub mod provider;
pub mod providers;
pub(crate) mod refund;
pub(crate) mod statement;
pub(crate) mod statements;
pub mod states;
pub(crate) mod ways;
pub mod wechat;

pub use accounts::MerchantRow;
pub use providers::{Providers, RealProviders};
pub use states::DisputeStanding;
