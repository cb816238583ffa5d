//! Alipay in mainland China, for a merchant's own account: payments on phone pages, by a code on a screen and within the app,
//! query, close, refund, and their notices.
//!
//! Enter at [`Alipay`], made from an [`Account`]. Only the addresses and the keys differ between the real service and a
//! sandbox: nothing here can switch verification off.
//!
//! Facts come from the provider's documentation (opendocs.alipay.com) and its SDK for Node, and from vectors that SDK and
//! others have (tests/vectors/alipay.json, with their sources).
//!
//! Invariants:
//! - What is signed is what is sent; and what is believed is the text that was signed, as it came.
//! - The algorithm is RSA2, whatever a message says of itself.
//! - What is not surely refused is [`Unknown`](crate::payments::provider::ProviderError::Unknown): ask, then act.
//! - Nothing is cancelled (`alipay.trade.cancel` gives paid money back): orders are closed.
//! - Amounts are yuan with exactly two decimals, never floating point numbers.
//! - Secrets appear in no error and no `Debug`.

mod account;
mod answer;
mod callback;
mod client;
mod form;
mod messages;
mod profile;
pub mod signing;

#[cfg(test)]
mod tests;

pub use account::Account;
pub use client::Alipay;
