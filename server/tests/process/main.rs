//! The finished binary, from outside: started as a person starts it, spoken to over HTTP and MQTT, ended by signals.
//!
//! The MQTT clients are mosquitto's, so that what is shown here holds for a stock client.

#![allow(clippy::unwrap_used)]

mod admin;
mod coinwire;
mod connections;
mod crash;
mod demo;
mod ending;
mod integrators;
mod killed;
mod log;
mod manufacturers;
mod merchants;
mod modules;
mod mosquitto;
mod phone;
mod refusals;
mod remote;
mod restored;
mod sale;
mod serving;
mod settings;
mod store;
mod visitor;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far more than is needed: machines that test are busy.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again until there is something to see.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_or(look).await.unwrap_or_else(|| panic!("waited {} s for {what}", WAIT_TIMEOUT.as_secs()))
}

/// As [`until`], for those who have more to say than what they waited for.
pub async fn until_or<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_TIMEOUT {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    None
}
