//! Metrics, through the `metrics` crate. Install a recorder before the broker starts: counters are looked up once.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// A counter that can also be read here; a recorder's count cannot.
pub(crate) struct ReadableCounter {
    counter: Counter,
    sum: AtomicU64,
}

impl ReadableCounter {
    fn new(counter: Counter) -> ReadableCounter {
        ReadableCounter { counter, sum: AtomicU64::new(0) }
    }

    pub fn increment(&self, by: u64) {
        self.counter.increment(by);
        self.sum.fetch_add(by, Ordering::Relaxed);
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// The counters along a message's path.
pub(crate) struct Meters {
    pub publishes_in: ReadableCounter,
    pub publishes_out: ReadableCounter,
    pub publishes_refused: Counter,
    pub bytes_in: ReadableCounter,
    pub bytes_out: ReadableCounter,
    pub dropped: ReadableCounter,
    pub wills: Counter,
    pub wills_refused: Counter,
    pub connections: Gauge,
    pub sessions: Gauge,
    pub retained: Gauge,
    pub queued: Gauge,
    pub queued_bytes: Gauge,
}

impl Meters {
    pub fn new() -> Meters {
        describe_counter!("broker_connects_total", "Accepted logins, by protocol version and lane");
        describe_counter!(
            "broker_refusals_total",
            "Connections refused or given up before they were accepted, by reason"
        );
        describe_counter!("broker_disconnects_total", "Ends of accepted connections, by reason");
        describe_counter!("broker_subscribe_refusals_total", "Filters refused in SUBSCRIBE, by reason");
        describe_counter!("broker_publishes_in_total", "Publishes taken from clients");
        describe_counter!("broker_publishes_out_total", "Publishes written to clients");
        describe_counter!(
            "broker_publishes_refused_total",
            "Publishes outside the client's grants or the broker's bounds"
        );
        describe_counter!("broker_bytes_in_total", "Bytes read from clients");
        describe_counter!("broker_bytes_out_total", "Bytes written to clients");
        describe_counter!("broker_dropped_total", "Messages dropped on the way out: expired, too long, or no room");
        describe_counter!("broker_wills_total", "Wills published");
        describe_counter!("broker_wills_refused_total", "Clients connected without the will they asked for");
        describe_counter!("broker_core_restarts_total", "Times the core was replaced");
        describe_counter!("broker_core_lost_total", "Messages lost because the gate fell behind the core");
        describe_gauge!("broker_core_up", "1 while the core answers its probe");
        describe_gauge!("broker_connections", "Accepted connections");
        describe_gauge!("broker_sessions", "Sessions, connected or not");
        describe_gauge!("broker_retained_messages", "Retained messages");
        describe_gauge!("broker_queued_messages", "Messages waiting for clients, connected or not");
        describe_gauge!("broker_queued_bytes", "Bytes waiting for clients, connected or not");
        Meters {
            publishes_in: ReadableCounter::new(counter!("broker_publishes_in_total")),
            publishes_out: ReadableCounter::new(counter!("broker_publishes_out_total")),
            publishes_refused: counter!("broker_publishes_refused_total"),
            bytes_in: ReadableCounter::new(counter!("broker_bytes_in_total")),
            bytes_out: ReadableCounter::new(counter!("broker_bytes_out_total")),
            dropped: ReadableCounter::new(counter!("broker_dropped_total")),
            wills: counter!("broker_wills_total"),
            wills_refused: counter!("broker_wills_refused_total"),
            connections: gauge!("broker_connections"),
            sessions: gauge!("broker_sessions"),
            retained: gauge!("broker_retained_messages"),
            queued: gauge!("broker_queued_messages"),
            queued_bytes: gauge!("broker_queued_bytes"),
        }
    }
}
