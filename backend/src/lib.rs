//! Every decision and all storage of Coinwire: operators, manufacturers, machines, modules, sales, payments, the ledger.
//!
//! What it is not: an HTTP server or an MQTT broker. The web calls in here; modules are reached through [`bus`].
//!
//! Enter at [`Backend`]. Its calls are spread over the folders by noun; a sale's way is [`sales`] (order) ->
//! [`payments`] (attempt, callback) -> [`sales::state`] (decide) -> [`modules`] (command) -> [`bus`]. What is due later is
//! done by [`jobs`].
//!
//! Invariants:
//! - State, ledger and command of a step commit in one transaction; publishing comes after.
//! - Deciders are pure; clock and randomness are handed in, so that the whole can be simulated.
//! - Every input from outside carries a key with a unique index: doing it twice does it once.
//! - The ledger sums to zero at every commit.
//! - A `select!` of an answer and the end of the wait for it is `biased`: an answer that is there counts, and chance that is
//!   not handed in decides nothing.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bus;
pub mod clock;
pub mod db;
mod error;
pub mod jobs;
pub mod ledger;
pub mod live;
pub mod machines;
pub mod manufacturers;
pub mod modules;
pub mod money;
pub mod operators;
mod passwords;
pub mod payments;
mod rules;
pub mod sales;
mod sealed;
pub mod zones;

pub use error::{Error, Result};
pub use rules::Rules;
pub use sealed::{KeyFit, key_fit};

use std::sync::Arc;

/// What a backend is made of.
pub struct Parts {
    /// The store, migrated.
    pub db: db::Db,
    /// The time.
    pub clock: Arc<dyn clock::Clock>,
    /// Randomness.
    pub random: Arc<dyn clock::Random>,
    /// The way to modules and integrators.
    pub bus: Arc<dyn bus::Bus>,
    /// Makes providers of stored merchant accounts.
    pub providers: Arc<dyn payments::Providers>,
    /// Opens what is stored encrypted. Not kept in the database.
    pub secret_key: [u8; 32],
    /// Where browsers and providers reach us, without a slash at the end.
    pub public_url: String,
    /// Times and limits.
    pub rules: Rules,
}

/// The backend. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

/// The one copy of what a backend holds.
pub struct Inner {
    db: db::Db,
    clock: Arc<dyn clock::Clock>,
    random: Arc<dyn clock::Random>,
    bus: Arc<dyn bus::Bus>,
    providers: payments::accounts::OpenProviders,
    under_way: jobs::UnderWay,
    looked_at: jobs::set_back::LookedAt,
    seal: sealed::Seal,
    public_url: String,
    rules: Rules,
    live: live::Live,
    keys: modules::keys::Keys,
    topics: bus::integrators::Topics,
    questions: modules::questions::Questions,
    mark_key: sales::mark::MarkKey,
    started_ms: i64,
}

impl std::ops::Deref for Backend {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Backend {
    /// Puts a backend together. Starts nothing.
    pub fn new(parts: Parts) -> Self {
        let (clock, rules) = (parts.clock.clone(), parts.rules.clone());
        let providers = payments::accounts::OpenProviders::new(parts.providers, clock, rules);
        let started_ms = parts.clock.now_ms();
        let inner = Inner {
            db: parts.db,
            clock: parts.clock,
            random: parts.random,
            bus: parts.bus,
            providers,
            under_way: jobs::UnderWay::default(),
            looked_at: jobs::set_back::LookedAt::default(),
            seal: sealed::Seal::new(parts.secret_key),
            public_url: parts.public_url,
            rules: parts.rules,
            live: live::Live::default(),
            keys: modules::keys::Keys::default(),
            topics: bus::integrators::Topics::default(),
            questions: modules::questions::Questions::default(),
            mark_key: sales::mark::MarkKey::new(&parts.secret_key),
            started_ms,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Live events from now on.
    pub fn watch(&self) -> tokio::sync::broadcast::Receiver<live::LiveEvent> {
        self.live.watch()
    }

    /// Whether the database can be written to and the bus answers: for readiness checks. A sentence for each that does
    /// not.
    pub async fn unready(&self) -> Vec<String> {
        let mut sentences = vec![];
        if let Err(trouble) = self.db.prove_writable().await {
            sentences.push(trouble.sentence().to_owned());
        }
        if !self.bus.connected() {
            sentences.push("the message broker is not connected".into());
        }
        sentences
    }

    /// Keeps beside a SQLite database how far it has come: see [`db::Db::keep_mark`].
    pub async fn keep_store_mark(&self) {
        self.db.keep_mark().await;
    }

    /// Closes the store, at the end of the process.
    pub async fn close_store(&self) {
        self.db.close().await;
    }

    /// The process's own time (unix milliseconds): what is due and what expires goes by it.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// What is from before this (unix milliseconds, by the process's own time) is from before our start, or from before the
    /// clock was set right: we may not have been there when the answer came.
    pub(crate) fn began_ms(&self) -> i64 {
        self.clock.followed_ms().map_or(self.started_ms, |followed_ms| followed_ms.max(self.started_ms))
    }

    /// The time by the wall clock (unix milliseconds): for people, and for comparing with the clocks of others.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}
