//! Times of one sale's steps, taken without changing the product: at the web's entry, at the module's wire, and from
//! the live events.

use async_trait::async_trait;
use backend::bus::{Bus, MqttBus};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

tokio::task_local! {
    /// When the request that this task answers came in.
    pub static ARRIVED: Instant;
}

/// When the callback came in that led to the command now under way, by topic.
#[derive(Default)]
pub struct Callbacks(Mutex<HashMap<String, Instant>>);

impl Callbacks {
    fn note(&self, topic: &str, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.into(), at);
    }

    /// When the callback behind this topic's command came in; `None` for probes and syncs.
    pub fn take(&self, topic: &str) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(topic)
    }
}

/// The real bus; notes which callback a published command follows from.
pub struct TimedBus {
    pub bus: MqttBus,
    pub callbacks: std::sync::Arc<Callbacks>,
}

#[async_trait]
impl Bus for TimedBus {
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> backend::Result<()> {
        if let Ok(arrived) = ARRIVED.try_with(|arrived| *arrived)
            && topic.ends_with("/command")
        {
            self.callbacks.note(topic, arrived);
        }
        self.bus.publish(topic, payload, retain, expiry_s).await
    }

    fn connected(&self) -> bool {
        self.bus.connected()
    }
}

/// Durations, for percentiles.
#[derive(Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// Adds all of others.
    pub fn extend(&mut self, others: Durations) {
        self.0.extend(others.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that the given percentage does not exceed, in milliseconds; 0 if there is none.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(0.0, |duration| duration.as_secs_f64() * 1000.0)
    }
}
