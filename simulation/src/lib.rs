//! The simulation: the real backend and the real module logic in one process, on a simulated clock, network, flash and
//! payment provider, all decided by a seed. Checkers verify the product's promises after every step and at rest. A
//! failing seed can be replayed exactly.
//!
//! It does not test sockets, the broker or a database server; those have their own tests.
//!
//! Enter at [`run`]. A run has three parts: busy (payers, coins, faults), healed (no more faults; everything must come
//! to rest within [`REST_WITHIN_MS`]), and the last reckoning ([`check`]). `set_up` is how it begins, `world` the one driver; it
//! does one thing at a time, in the order of simulated time. The faults: [`fault_rates`], [`provider`], [`flash`], `network`, `power`, and `backups` of the store that are put back. Who does
//! what: `consumer_pool` buy, `operators` set modules up and restart them.
//!
//! Invariants:
//! - Nothing here looks at a real clock or at chance that is not the seed's; nothing iterates over a hash map.
//! - Checkers look at what happened physically (pulses counted, money taken, coins fallen) and at what the store says;
//!   they repeat no decision of the backend's.
#![allow(clippy::missing_errors_doc, reason = "an error is a promise that was broken, and says which")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backups;
pub mod chance;
pub mod check;
mod check_machines;
mod consumer_pool;
mod disk;
pub mod fault_rates;
pub mod flash;
pub mod machine;
mod network;
mod operators;
mod power;
pub mod provider;
mod server;
mod set_up;
mod store;
pub mod time;
mod trace;
mod world;

pub use provider::manner::Manners;
pub use world::{REST_WITHIN_MS, Violation};

/// A fault of the simulation itself, built in on purpose: it proves that the checkers can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Modules give every credit twice.
    CreditsTwice,
    /// Machines miss the first pulse of each credit.
    PulsesLost,
    /// Coins count twice for the module, and once for the box.
    CoinsTwice,
    /// The provider takes money and does not record it.
    ForgetsPayments,
    /// The provider gives money back twice.
    RefundsTwice,
    /// Modules start with an empty memory whenever power comes back.
    ForgetsJournal,
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Modules, each with its machine.
    pub modules: usize,
    /// Consumers that come to them.
    pub consumers: usize,
    /// Coins that fall.
    pub coins: usize,
    /// The busy part, in milliseconds.
    pub busy_ms: u64,
    /// A fault built in on purpose.
    pub mutation: Option<Mutation>,
    /// Whose merchant accounts operators have; by chance, each for itself, if nothing is said.
    pub manners: Option<Manners>,
    /// Whether to keep the trace's lines.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { modules: 2, consumers: 14, coins: 10, busy_ms: 8 * 60_000, mutation: None, manners: None, trace: false }
    }
}

/// The result of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub violation: Option<String>,
    /// Hash of everything that happened.
    pub hash: u64,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
    /// Sales by their end.
    pub sales: Sales,
}

/// Sales by their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sales {
    /// Made.
    pub made: u64,
    /// Paid for.
    pub paid: u64,
    /// Of those, in Alipay's manner.
    pub paid_by_alipay: u64,
    /// Credited.
    pub credited: u64,
    /// Refunded.
    pub refunded: u64,
    /// Credited and refunded, and marked so.
    pub served_and_refunded: u64,
    /// Before a person.
    pub review: u64,
    /// Times that the store was put back from a copy.
    pub restores: u64,
}

impl Sales {
    /// Adds another run's.
    pub fn add(&mut self, other: &Sales) {
        self.made += other.made;
        self.paid += other.paid;
        self.paid_by_alipay += other.paid_by_alipay;
        self.credited += other.credited;
        self.refunded += other.refunded;
        self.served_and_refunded += other.served_and_refunded;
        self.review += other.review;
        self.restores += other.restores;
    }
}

/// Runs a seed to its end, or to the first promise broken.
///
/// # Errors
///
/// The promise that was broken, with what led to it.
pub fn run(seed: u64, options: &Options) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(world::run(seed, options))
}
