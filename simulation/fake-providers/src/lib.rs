//! Payment providers played by the suite, the site's tests and the simulation: nothing that is shipped depends on this crate.
//!
//! `book` is what a provider took and gave back, `account` a merchant's account over it, whose calls are met as a `Conduct`
//! says: `bank` by the script of a test, the simulation by chance. `notice` is what it tells of. `kiosk` is another provider,
//! unlike the first in all it can be.
//!
//! What it is not: a way around a signature. Callbacks are signed and verified here as a real provider's are.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod account;
pub mod bank;
pub mod book;
pub mod kiosk;
pub mod notice;
