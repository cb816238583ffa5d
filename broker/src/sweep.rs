//! Timed work: sessions and retained messages that expire, wills that are due, and the broker's statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gate::Gate;
use crate::statistics;

/// How often expired sessions, wills that are due and expired retained messages are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the broker publishes its statistics.
const STATISTICS_EVERY: Duration = Duration::from_secs(10);

/// Ends what has expired and publishes due wills and statistics, until the broker ends.
pub(crate) async fn sweep(gate: Arc<Gate>) {
    let mut statistics_due = Instant::now();
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let now = Instant::now();
            for will in gate.sessions.sweep(now) {
                gate.publish_will(will).await;
            }
            gate.meters.sessions.set(gate.sessions.len() as f64);
            gate.meters.queued.set(gate.sessions.queued.messages() as f64);
            gate.meters.queued_bytes.set(gate.sessions.queued.bytes() as f64);
            gate.failed_logins.sweep(now);
            gate.refusals.sweep(now);
            gate.publish_rates.retain_recent();
            gate.meters.retained.set(gate.retained.sweep(now) as f64);
            if now >= statistics_due {
                statistics_due = now + STATISTICS_EVERY;
                statistics::publish(&gate);
            }
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = gate.closing.cancelled() => {}
    }
}
