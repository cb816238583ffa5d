//! The broker's configuration, with every limit for clients.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::tls::TlsFiles;
use crate::topic::TopicBounds;

/// How to start the broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses for plain MQTT over TCP; port 0 takes a free one (see [`crate::Broker::local_addrs`]).
    pub listen: Vec<SocketAddr>,
    /// Addresses for MQTT over TLS; they need [`Config::tls`].
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses for MQTT over WebSocket, subprotocol `mqtt` (or `mqttv3.1`, `mqttv3.1.1`), any path.
    pub listen_web_socket: Vec<SocketAddr>,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// The topics that are sent to devices, as one filter. A device may subscribe only to single topics within it (and
    /// within its grants). The gate looks these up in a map, so the cost of a message does not grow with the number of
    /// devices.
    pub device_topics: String,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            listen_web_socket: Vec::new(),
            tls: None,
            device_topics: "#".to_owned(),
            limits: Limits::default(),
        }
    }
}

/// Limits. A client that exceeds one of them is disconnected with a reason, or refused; other clients are not affected.
/// When read from settings, a limit that is not named has its default; durations are whole seconds, with names that end
/// in `_s`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Network connections at a time, including those that have not said CONNECT yet. What counts as one address, here and
    /// below, is an IPv4 address or an IPv6 network of 64 bits.
    pub connections: usize,
    /// Of those, from one address. Mobile carriers put thousands of devices behind one.
    pub connections_per_address: usize,
    /// Connections that have not logged in. Beyond that, or if no place is free, the oldest of them is closed in favour
    /// of the new connection.
    pub arriving: usize,
    /// Of those, from one address. Beyond that, the oldest from that address is closed.
    pub arriving_per_address: usize,
    /// Client-lane sessions, connected or not.
    pub client_sessions: usize,
    /// Of those, reserved for credentials that have no session yet, so that credentials with many sessions do not keep
    /// others out.
    pub client_sessions_for_first: usize,
    /// Groups of shared subscriptions.
    pub shared_groups: usize,
    /// Of those, of one credential.
    pub shared_groups_per_credential: usize,
    /// Client-lane sessions of one credential.
    pub sessions_per_credential: usize,
    /// Longest time from the accepted connection to an accepted CONNECT, including authentication. For some peers up to
    /// a quarter less, so that many that connected together do not reconnect together.
    #[serde(rename = "connect_timeout_s", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Failed logins from one address in a minute, including those under way. Beyond that, its logins are refused
    /// without a check until the minute is over. Logins whose password cannot be guessed
    /// ([`crate::Authenticate::is_guessable`]) are not counted and always checked. A user who logged in from the
    /// address within a day has a separate count there, as large as that of a name.
    pub failed_logins_per_address: u32,
    /// Failed logins to one user name in a minute. Beyond that, each further failure is answered late. The right
    /// password is always accepted, so that nobody can lock another user out.
    pub failed_logins_per_name: u32,
    /// How long such an answer is delayed.
    #[serde(rename = "failed_login_delay_s", deserialize_with = "seconds")]
    pub failed_login_delay: Duration,
    /// Publishes of a device in a minute, over all its connections. Unused ones of the minute may be sent at once.
    pub device_publishes_per_minute: u32,
    /// Longest packet accepted, in bytes, including the fixed header.
    pub packet_bytes: u32,
    /// Longest user name, in bytes.
    pub user_name_bytes: usize,
    /// Longest password, in bytes.
    pub password_bytes: usize,
    /// Longest client identifier, in bytes.
    pub client_id_bytes: usize,
    /// Longest topic name or filter, in bytes.
    pub topic_bytes: usize,
    /// Most levels of a topic name or filter.
    pub topic_levels: usize,
    /// Most properties in one packet (MQTT 5).
    pub properties: usize,
    /// Longest keep alive, also used where a client asked for none. A client silent for 1.5 times its keep alive is cut.
    pub keep_alive_max_s: u16,
    /// A client that reads nothing for this long while output waits for it is cut.
    #[serde(rename = "write_stall_s", deserialize_with = "seconds")]
    pub write_stall: Duration,
    /// Publishes of QoS 2 from a client that await its release (MQTT 5 Receive Maximum).
    pub receive_maximum: u16,
    /// Topic aliases a client may set.
    pub topic_aliases: u16,
    /// Subscriptions of a client, and filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub subscriptions: usize,
    /// Messages on the way to a client-lane client, not yet acknowledged.
    pub client_in_flight: u16,
    /// Messages on the way to a device, not yet acknowledged.
    pub device_in_flight: u16,
    /// Messages waiting for a client-lane client, connected or not.
    pub client_queue_messages: usize,
    /// Bytes waiting for a client-lane client, connected or not.
    pub client_queue_bytes: usize,
    /// Messages waiting for a connected device.
    pub device_queue_messages: usize,
    /// Bytes waiting for a connected device.
    pub device_queue_bytes: usize,
    /// Bytes waiting for all client-lane clients of one credential together, connected or not.
    pub credential_queue_bytes: usize,
    /// Bytes waiting for all clients together. Beyond that, nothing more is kept for absent clients. Connected clients
    /// have the limits above, and are not disconnected because of what waits for others.
    pub queued_bytes: usize,
    /// How long a session may outlive its connection; what a 3.1.1 client with a persistent session gets.
    #[serde(rename = "session_expiry_max_s", deserialize_with = "seconds")]
    pub session_expiry_max: Duration,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Distinct topics ever published; the core keeps a small entry for each for ever.
    #[serde(skip)]
    pub core_topics: usize,
    /// Bytes (with 512 added for each message) on their way through the core before publishers are held back. Well
    /// below the size of the core's log (4 MiB), which discards its oldest messages when it is full.
    #[serde(skip)]
    pub core_window_bytes: u64,
    /// How long a publisher is held back while the core is busy or gone, before it is cut.
    #[serde(skip)]
    pub core_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 19_000,
            connections_per_address: 10_000,
            arriving: 12_000,
            arriving_per_address: 4_000,
            client_sessions: 1_000,
            client_sessions_for_first: 200,
            shared_groups: 64,
            shared_groups_per_credential: 16,
            sessions_per_credential: 32,
            connect_timeout: Duration::from_secs(10),
            failed_logins_per_address: 60,
            failed_logins_per_name: 10,
            failed_login_delay: Duration::from_secs(3),
            device_publishes_per_minute: 600,
            packet_bytes: 64 * 1024,
            user_name_bytes: 254,
            password_bytes: 1024,
            client_id_bytes: 128,
            topic_bytes: 256,
            topic_levels: 16,
            properties: 32,
            keep_alive_max_s: 3_600,
            write_stall: Duration::from_secs(20),
            receive_maximum: 32,
            topic_aliases: 16,
            subscriptions: 64,
            client_in_flight: 64,
            device_in_flight: 8,
            client_queue_messages: 65_536,
            client_queue_bytes: 16 * 1024 * 1024,
            device_queue_messages: 64,
            device_queue_bytes: 64 * 1024,
            credential_queue_bytes: 64 * 1024 * 1024,
            queued_bytes: 512 * 1024 * 1024,
            session_expiry_max: Duration::from_secs(24 * 3_600),
            retained_messages: 100_000,
            retained_bytes: 64 * 1024 * 1024,
            core_topics: 500_000,
            core_window_bytes: 1024 * 1024,
            core_wait: Duration::from_secs(5),
        }
    }
}

/// A limit with an impossible value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {value} cannot work: it must be {must}")]
pub struct LimitError {
    /// The limit, by its name as a setting.
    pub name: &'static str,
    /// What it is set to.
    pub value: u64,
    /// The values allowed, for example "at least 1".
    pub must: String,
}

/// The largest setting for the longest packet, so that the core's log has room for several of them.
const PACKET_BYTES_MAX: u64 = 1024 * 1024;
/// Length of a client identifier that every broker must accept (MQTT 5 section 3.1.3.1).
const CLIENT_ID_BYTES_MIN: u64 = 23;
/// Longest text that MQTT can carry.
const TEXT_BYTES_MAX: u64 = u16::MAX as u64;
/// Most sessions and groups of shared subscriptions that may be allowed.
const SESSIONS_MAX: u64 = 100_000;
/// Longest times, so that no deadline is beyond a clock's range.
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
const EXPIRY_MAX_S: u64 = u32::MAX as u64;
/// Properties that one packet may need.
const PROPERTIES_MIN: u64 = 16;

impl Limits {
    /// Whether a broker can work within them.
    ///
    /// # Errors
    /// The first limit with which it cannot work.
    pub fn check(&self) -> Result<(), LimitError> {
        self.of_connections()?;
        self.of_clients()?;
        self.of_packets()?;
        self.of_queues()
    }

    fn of_connections(&self) -> Result<(), LimitError> {
        at_least(1, "connections", count(self.connections))?;
        at_least(1, "connections_per_address", count(self.connections_per_address))?;
        at_least(1, "arriving", count(self.arriving))?;
        at_least(1, "arriving_per_address", count(self.arriving_per_address))?;
        within(1, HOUR_S, "connect_timeout_s", rounded_up_s(self.connect_timeout))?;
        at_least(1, "failed_logins_per_address", self.failed_logins_per_address.into())?;
        at_least(1, "failed_logins_per_name", self.failed_logins_per_name.into())?;
        within(0, HOUR_S, "failed_login_delay_s", rounded_up_s(self.failed_login_delay))?;
        at_least(1, "keep_alive_max_s", self.keep_alive_max_s.into())?;
        within(1, DAY_S, "write_stall_s", rounded_up_s(self.write_stall))
    }

    fn of_clients(&self) -> Result<(), LimitError> {
        within(1, SESSIONS_MAX, "client_sessions", count(self.client_sessions))?;
        let for_first = count(self.client_sessions_for_first);
        if for_first > count(self.client_sessions) {
            let must = format!("at most client_sessions, {}", self.client_sessions);
            return Err(LimitError { name: "client_sessions_for_first", value: for_first, must });
        }
        at_least(1, "sessions_per_credential", count(self.sessions_per_credential))?;
        within(0, EXPIRY_MAX_S, "session_expiry_max_s", rounded_up_s(self.session_expiry_max))?;
        within(0, SESSIONS_MAX, "shared_groups", count(self.shared_groups))?;
        at_least(1, "subscriptions", count(self.subscriptions))?;
        at_least(1, "device_publishes_per_minute", self.device_publishes_per_minute.into())
    }

    fn of_packets(&self) -> Result<(), LimitError> {
        within(256, PACKET_BYTES_MAX, "packet_bytes", self.packet_bytes.into())?;
        within(1, TEXT_BYTES_MAX, "user_name_bytes", count(self.user_name_bytes))?;
        within(1, TEXT_BYTES_MAX, "password_bytes", count(self.password_bytes))?;
        within(CLIENT_ID_BYTES_MIN, TEXT_BYTES_MAX, "client_id_bytes", count(self.client_id_bytes))?;
        within(1, TEXT_BYTES_MAX, "topic_bytes", count(self.topic_bytes))?;
        at_least(1, "topic_levels", count(self.topic_levels))?;
        at_least(PROPERTIES_MIN, "properties", count(self.properties))?;
        at_least(1, "receive_maximum", self.receive_maximum.into())
    }

    fn of_queues(&self) -> Result<(), LimitError> {
        at_least(1, "client_in_flight", self.client_in_flight.into())?;
        at_least(1, "device_in_flight", self.device_in_flight.into())?;
        at_least(1, "client_queue_messages", count(self.client_queue_messages))?;
        at_least(1, "device_queue_messages", count(self.device_queue_messages))?;
        at_least(1, "retained_messages", count(self.retained_messages))?;
        for (name, bytes) in [
            ("client_queue_bytes", self.client_queue_bytes),
            ("device_queue_bytes", self.device_queue_bytes),
            ("credential_queue_bytes", self.credential_queue_bytes),
            ("queued_bytes", self.queued_bytes),
            ("retained_bytes", self.retained_bytes),
        ] {
            if count(bytes) < u64::from(self.packet_bytes) {
                let must =
                    format!("at least packet_bytes, {}, or the longest message has no place in it", self.packet_bytes);
                return Err(LimitError { name, value: count(bytes), must });
            }
        }
        Ok(())
    }

    pub(crate) fn topic_bounds(&self) -> TopicBounds {
        TopicBounds { length: self.topic_bytes, levels: self.topic_levels }
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn rounded_up_s(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn at_least(least: u64, name: &'static str, value: u64) -> Result<(), LimitError> {
    if value >= least { Ok(()) } else { Err(LimitError { name, value, must: format!("at least {least}") }) }
}

fn within(least: u64, most: u64, name: &'static str, value: u64) -> Result<(), LimitError> {
    let must = || format!("from {least} to {most}");
    if (least..=most).contains(&value) { Ok(()) } else { Err(LimitError { name, value, must: must() }) }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refused, and named.
    fn refused(change: impl FnOnce(&mut Limits)) -> &'static str {
        let mut limits = Limits::default();
        change(&mut limits);
        limits.check().unwrap_err().name
    }

    #[test]
    fn the_defaults_work() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_named_with_what_it_may_be() {
        assert_eq!(refused(|limits| limits.connections = 0), "connections");
        assert_eq!(refused(|limits| limits.arriving = 0), "arriving");
        assert_eq!(refused(|limits| limits.connect_timeout = Duration::ZERO), "connect_timeout_s");
        assert_eq!(refused(|limits| limits.write_stall = Duration::MAX), "write_stall_s");
        assert_eq!(refused(|limits| limits.keep_alive_max_s = 0), "keep_alive_max_s");
        assert_eq!(refused(|limits| limits.client_sessions = usize::MAX), "client_sessions");
        assert_eq!(refused(|limits| limits.client_sessions = 100), "client_sessions_for_first");
        assert_eq!(refused(|limits| limits.packet_bytes = 255), "packet_bytes");
        assert_eq!(refused(|limits| limits.packet_bytes = u32::MAX), "packet_bytes");
        assert_eq!(refused(|limits| limits.packet_bytes *= 2), "device_queue_bytes");
        assert_eq!(refused(|limits| limits.receive_maximum = 0), "receive_maximum");
        assert_eq!(refused(|limits| limits.client_in_flight = 0), "client_in_flight");
        assert_eq!(refused(|limits| limits.device_queue_messages = 0), "device_queue_messages");
        assert_eq!(refused(|limits| limits.retained_bytes = 0), "retained_bytes");
        let error = Limits { packet_bytes: 12, ..Limits::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "packet_bytes = 12 cannot work: it must be from 256 to 1048576");
    }
}
