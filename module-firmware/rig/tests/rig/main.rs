//! The image in QEMU, with a simulated modem, against the real server or its broker: started as on its board, seen
//! through its pins, its console and the server's pages.
//!
//! `cargo xtask rig` builds what is needed and runs them; by themselves they are ignored. Times are wide: an emulator on a
//! busy machine is late. Exact times are tested on the host.

#![allow(clippy::unwrap_used)]

mod backend;
mod bytes;
mod coins;
mod commands;
mod connect;
mod demo;
mod hostile;
mod learning;
mod outage;
mod sale;
mod test_bench;
// The visitor of the server's own tests: there it has more to do.
#[allow(dead_code)]
#[path = "../../../../server/tests/process/visitor.rs"]
mod visitor;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again until there is something to see.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(WAIT_TIMEOUT, what, look).await
}

/// The same, with another patience.
pub async fn until_within<T>(patience: Duration, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    look_for(patience, look).await.unwrap_or_else(|| panic!("waited {} s for {what}", patience.as_secs()))
}

/// As [`until`], for those who have more to say than what they waited for.
pub async fn until_or<T>(look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    look_for(WAIT_TIMEOUT, look).await
}

async fn look_for<T>(patience: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    None
}
