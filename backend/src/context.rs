//! What flows share: the store, time, randomness, the way to modules, and what pages are told.

use crate::Rules;
use std::sync::Arc;

/// What a backend is made of.
pub struct Parts {
    /// The store, migrated.
    pub db: crate::db::Db,
    /// The time.
    pub clock: Arc<dyn crate::clock::Clock>,
    /// Randomness.
    pub random: Arc<dyn crate::clock::Random>,
    /// The way to modules and integrators.
    pub bus: Arc<dyn crate::bus::Bus>,
    /// Makes providers of stored merchant accounts.
    pub providers: Arc<dyn crate::payments::providers::Providers>,
    /// Opens what is stored encrypted. Not kept in the database.
    pub secret_key: [u8; 32],
    /// Where browsers and providers reach us, without a slash at the end.
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
    pub(crate) db: crate::db::Db,
    pub(crate) clock: Arc<dyn crate::clock::Clock>,
    pub(crate) random: Arc<dyn crate::clock::Random>,
    pub(crate) bus: Arc<dyn crate::bus::Bus>,
    pub(crate) providers: crate::payments::providers::OpenProviders,
    pub(crate) in_progress: crate::jobs::in_progress::InProgress,
    pub(crate) last_scans: crate::jobs::in_progress::LastScans,
    pub(crate) seal: crate::sealed::Seal,
    pub(crate) public_url: String,
    pub(crate) rules: Rules,
    pub(crate) live: crate::live::Live,
    pub(crate) keys: crate::modules::keys::Keys,
    pub(crate) topics: crate::integrations::topics::Topics,
    pub(crate) pending_queries: crate::modules::pending_queries::PendingQueries,
    pub(crate) attachment_key: crate::sales::order_attachment::AttachmentKey,
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
        let providers = crate::payments::providers::OpenProviders::new(parts.providers, clock, rules);
        let started_ms = parts.clock.now_ms();
        let inner = Inner {
            db: parts.db,
            clock: parts.clock,
            random: parts.random,
            bus: parts.bus,
            providers,
            in_progress: crate::jobs::in_progress::InProgress::default(),
            last_scans: crate::jobs::in_progress::LastScans::default(),
            seal: crate::sealed::Seal::new(parts.secret_key),
            public_url: parts.public_url,
            rules: parts.rules,
            live: crate::live::Live::default(),
            keys: crate::modules::keys::Keys::default(),
            topics: crate::integrations::topics::Topics::default(),
            pending_queries: crate::modules::pending_queries::PendingQueries::default(),
            attachment_key: crate::sales::order_attachment::AttachmentKey::new(&parts.secret_key),
            started_ms,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Live events from now on.
    pub fn watch(&self) -> tokio::sync::broadcast::Receiver<crate::live::LiveEvent> {
        self.live.watch()
    }

    /// Whether the database can be written to and the bus answers: for readiness checks. A sentence for each that does
    /// not.
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

    /// Keeps beside a SQLite database how far it has come: see [`crate::db::Db::save_mark`].
    pub async fn save_store_mark(&self) {
        self.db.save_mark().await;
    }

    /// Closes the store, at the end of the process.
    pub async fn close_store(&self) {
        self.db.close().await;
    }

    /// The process's own time (unix milliseconds): what is due and what expires goes by it.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Anything older than this (unix milliseconds, by the process's own time) is from before this process started, or
    /// from before its clock was stepped; its answer may have been missed.
    pub(crate) fn began_ms(&self) -> i64 {
        self.clock.stepped_ms().map_or(self.started_ms, |stepped_ms| stepped_ms.max(self.started_ms))
    }

    /// The time by the wall clock (unix milliseconds): for people, and for comparing with the clocks of others.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}
