//! What the broker is told at its start, and every bound it holds clients to.

use std::net::SocketAddr;
use std::time::Duration;

use crate::tls::TlsFiles;
use crate::topic::TopicBounds;

/// How to start the broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses for plain MQTT over TCP; port 0 takes a free one (see [`crate::Broker::local_addrs`]).
    pub listen: Vec<SocketAddr>,
    /// Addresses for MQTT over TLS; they need [`Config::tls`].
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses for MQTT over WebSocket, subprotocol `mqtt`, any path.
    pub listen_web_socket: Vec<SocketAddr>,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// The topics of commands to modules, as one filter. A module may subscribe only to a single topic within it, which
    /// the gate serves from a map, so that a fleet costs the core one filter.
    pub module_commands: String,
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
            module_commands: "m/+/command".to_owned(),
            limits: Limits::default(),
        }
    }
}

/// Bounds. A client beyond one of them is told and cut, or refused; nobody else notices.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Network connections at a time, including those that have not said CONNECT yet. What counts as one address, here and
    /// below, is an IPv4 address or an IPv6 network of 64 bits.
    pub connections: usize,
    /// Of those, from one address. Carriers put whole fleets behind one.
    pub connections_per_address: usize,
    /// Connections that have not logged in: beyond, and where a place is wanting, the oldest of them is closed in favour of
    /// whoever comes.
    pub arriving: usize,
    /// Of those, from one address: beyond, the oldest from there is closed.
    pub arriving_per_address: usize,
    /// Client-lane sessions, connected or not.
    pub client_sessions: usize,
    /// Of those, kept for credentials that have no session yet: so many sessions of some do not keep others out.
    pub client_sessions_for_first: usize,
    /// Groups of shared subscriptions.
    pub shared_groups: usize,
    /// Of those, of one credential.
    pub shared_groups_per_credential: usize,
    /// Client-lane sessions of one credential.
    pub sessions_per_credential: usize,
    /// From the accepted connection to an accepted CONNECT, authentication included; for some peers up to a quarter less, so
    /// that many who came together do not come again together.
    pub connect_timeout: Duration,
    /// Failed logins from one address in a minute, those under way included; beyond, its logins are refused unheard until the
    /// minute is over. Not counted, and always heard, are those that nobody guesses ([`crate::Authenticate::is_guessable`]);
    /// a user who got in from the address within a day has failures of its own there: as many as a name.
    pub failed_logins_per_address: u32,
    /// Failed logins to one user name in a minute; beyond, each further failure is answered late. The right password is
    /// always heard, so that nobody can lock another out.
    pub failed_logins_per_name: u32,
    /// How late.
    pub failed_login_delay: Duration,
    /// Publishes of a module in a minute, over all its connections, with as many at once as it saved up.
    pub module_publishes_per_minute: u32,
    /// Longest packet taken, in bytes, fixed header included.
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
    /// A client that takes no byte for this long while something is to be written to it is cut.
    pub write_stall: Duration,
    /// Publishes of QoS 2 from a client that await its release (MQTT 5 Receive Maximum).
    pub receive_maximum: u16,
    /// Topic aliases a client may set.
    pub topic_aliases: u16,
    /// Subscriptions of a client, and filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub subscriptions: usize,
    /// Messages on the way to a client-lane client, not yet acknowledged.
    pub client_in_flight: u16,
    /// Messages on the way to a module, not yet acknowledged.
    pub module_in_flight: u16,
    /// Messages waiting for a client-lane client, connected or not.
    pub client_queue_messages: usize,
    /// Bytes waiting for a client-lane client, connected or not.
    pub client_queue_bytes: usize,
    /// Messages waiting for a connected module.
    pub module_queue_messages: usize,
    /// Bytes waiting for a connected module.
    pub module_queue_bytes: usize,
    /// Bytes waiting for all client-lane clients of one credential together, connected or not.
    pub credential_queue_bytes: usize,
    /// Bytes waiting for all clients together, beyond which nothing more is kept for who is away. Who is connected has the
    /// bounds above, and is not cut for what others leave waiting.
    pub queued_bytes: usize,
    /// How long a session may outlive its connection; what a 3.1.1 client with a persistent session gets.
    pub session_expiry_max: Duration,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Distinct topics ever published; the core keeps a little of each for ever.
    pub core_topics: usize,
    /// Bytes (with 512 for each message) on their way through the core before publishers are held back. Well below what the
    /// core's log holds (4 MiB), since it rolls on.
    pub core_window_bytes: u64,
    /// How long a publisher is held back by a core that is busy or gone, before it is cut.
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
            module_publishes_per_minute: 600,
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
            module_in_flight: 8,
            client_queue_messages: 65_536,
            client_queue_bytes: 16 * 1024 * 1024,
            module_queue_messages: 64,
            module_queue_bytes: 64 * 1024,
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

impl Limits {
    pub(crate) fn topic_bounds(&self) -> TopicBounds {
        TopicBounds { length: self.topic_bytes, levels: self.topic_levels }
    }
}
