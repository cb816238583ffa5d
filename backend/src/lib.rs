//! Every decision and all storage of Coinwire: operators, manufacturers, machines, modules, sales, payments, the ledger.
//!
//! It is neither an HTTP server nor an MQTT broker. The web crate calls it; modules are reached through [`bus`].
//!
//! [`flows`] has a file for each step: a flow opens the transaction, calls nouns and deciders, commits, and notifies.
//! It acts on the nouns ([`sales`], [`payments`], [`modules`], [`machines`], [`ledger`], [`access`]): rows, queries and
//! pure deciders; they call no flow. What is due later is done by [`jobs`], through flows. All are functions over a
//! [`Context`].
//!
//! A sale's way: `flows::scan_machine`, `flows::place_order`, `flows::take_callback`, `flows::apply_payment_fact`,
//! `flows::settle_sale`, `flows::publish_command`, `flows::take_ack`.
//!
//! Invariants:
//! - State, ledger and command of a step commit in one transaction; publishing comes after.
//! - Deciders are pure; clock and randomness are handed in, so that the whole can be simulated.
//! - Every input from outside carries a key with a unique index: doing it twice does it once.
//! - The ledger sums to zero at every commit.
//! - A `select!` of an answer and its timeout is `biased`: an answer that has arrived counts, and no chance that is
//!   not handed in decides anything.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod bus;
pub mod clock;
mod context;
pub mod db;
mod error;
pub mod flows;
pub mod ids;
pub mod integrations;
pub mod jobs;
pub mod ledger;
pub mod live;
pub mod machines;
pub mod modules;
pub mod money;
pub mod payments;
mod rules;
pub mod sales;
mod sealed;
pub mod zones;

pub use context::Context;
pub use context::Parts;
pub use error::Error;
pub use error::Result;
pub use rules::Rules;
pub use sealed::KeyCheck;
pub use sealed::check_key;
