//! What flows share: the store, time, randomness, the bus to modules, and the live events for pages.

use crate::{
    Rules,
    bus::Bus,
    clock::{Clock, Random},
    db::Db,
    integrations::topics::Topics,
    jobs::in_progress::{InProgress, LastScans},
    live::{Live, LiveEvent},
    modules::{keys::Keys, pending_queries::PendingQueries},
    payments::providers::{OpenProviders, Providers},
    sales::order_attachment::AttachmentKey,
    sealed::Seal,
};
use std::sync::Arc;
use tokio::sync::broadcast;

/// What a backend is built from.
pub struct Parts {
    /// The store, migrated.
    pub db: Db,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The bus to modules and integrators.
    pub bus: Arc<dyn Bus>,
    /// Makes providers of stored merchant accounts.
    pub providers: Arc<dyn Providers>,
    /// Opens encrypted values in the database. Its key is not kept in the database.
    pub secret_key: [u8; 32],
    /// The URL at which browsers and providers reach us, without a slash at the end.
    pub public_url: String,
    /// Times and limits.
    pub rules: Rules,
}

/// The backend. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

/// The one copy of what a backend holds.
pub struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) providers: OpenProviders,
    pub(crate) in_progress: InProgress,
    pub(crate) last_scans: LastScans,
    pub(crate) seal: Seal,
    pub(crate) public_url: String,
    pub(crate) rules: Rules,
    pub(crate) live: Live,
    pub(crate) keys: Keys,
    pub(crate) topics: Topics,
    pub(crate) pending_queries: PendingQueries,
    pub(crate) attachment_key: AttachmentKey,
    pub(crate) started_ms: i64,
}

impl std::ops::Deref for Context {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Context {
    /// Puts a backend together. Starts nothing.
    pub fn new(parts: Parts) -> Self {
        let (clock, rules) = (parts.clock.clone(), parts.rules.clone());
        let providers = OpenProviders::new(parts.providers, clock, rules);
        let started_ms = parts.clock.now_ms();
        let inner = Inner {
            db: parts.db,
            clock: parts.clock,
            random: parts.random,
            bus: parts.bus,
            providers,
            in_progress: InProgress::default(),
            last_scans: LastScans::default(),
            seal: Seal::new(parts.secret_key),
            public_url: parts.public_url,
            rules: parts.rules,
            live: Live::default(),
            keys: Keys::default(),
            topics: Topics::default(),
            pending_queries: PendingQueries::default(),
            attachment_key: AttachmentKey::new(&parts.secret_key),
            started_ms,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Live events from now on.
    pub fn watch(&self) -> broadcast::Receiver<LiveEvent> {
        self.live.watch()
    }

    /// For readiness checks: whether the database can be written to and the bus is connected. One sentence for each
    /// that fails.
    pub async fn unready(&self) -> Vec<String> {
        let mut sentences = vec![];
        if let Err(trouble) = self.db.prove_writable().await {
            sentences.push(trouble.advice().to_owned());
        }
        if !self.bus.connected() {
            sentences.push("the message broker is not connected".into());
        }
        sentences
    }

    /// Saves next to a SQLite database how much it has committed: see [`Db::save_mark`].
    pub async fn save_store_mark(&self) {
        self.db.save_mark().await;
    }

    /// Closes the store, at the end of the process.
    pub async fn close_store(&self) {
        self.db.close().await;
    }

    /// The process's own time (unix milliseconds), used for what is due and what expires.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Anything older than this (unix milliseconds, by the process's own time) is from before this process started, or
    /// from before its clock was stepped; its answer may have been missed.
    pub(crate) fn began_ms(&self) -> i64 {
        self.clock.stepped_ms().map_or(self.started_ms, |stepped_ms| stepped_ms.max(self.started_ms))
    }

    /// The wall clock's time (unix milliseconds), for people and for comparing with others' clocks.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}
