//! WeChat Pay, API v3, for a merchant's own account and for one of a partner's: payments within WeChat (JSAPI), in a browser
//! (H5) and by a code (native), query, close, refund, their callbacks, and the daily bill.
//!
//! Enter at [`WechatPay`], made from an [`Account`]. Only the base URL and the keys differ between the real
//! service and a sandbox: nothing here can switch verification off.
//!
//! Facts come from the provider's documentation, pay.weixin.qq.com/doc/v3/merchant: request signing (4012365336),
//! H5 orders (4012525153), close (4012556398), refunds (4012556457), refund notices (4012082053).
//!
//! Invariants:
//! - What is signed is what is sent: a body is serialised once, and path and query are read back from the URL.
//! - A successful answer, and a callback, says nothing before its signature, key and age are checked.
//! - What is not surely refused is [`Unknown`](crate::payments::provider::ProviderError::Unknown): ask, then act.
//! - Secrets appear in no error and no `Debug`.

mod account;
mod bill;
mod callback;
mod client;
mod identity;
mod invocation;
mod messages;
mod methods;
mod profile;
pub mod signing;
mod statement;

#[cfg(test)]
mod tests;

pub use account::{Account, PlatformKey};
pub use client::{NonceSource, WechatPay};
