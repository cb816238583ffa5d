//! The web's configuration, given by the program that starts it.

#[cfg(feature = "demo")]
use crate::demo::DemoPanel;
use crate::guard::proxies::TrustedProxies;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::{fmt, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

/// Returns the metrics as Prometheus text.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// How the web behaves.
#[derive(Clone)]
pub struct WebConfig {
    /// Its public URL, such as `https://pay.example.com`, without a slash at the end. It is printed in QR codes; with
    /// `https`, browsers are told to use only https.
    pub public_url: String,
    /// The proxies that are trusted to give a visitor's address.
    pub proxies: TrustedProxies,
    /// Whether cookies are sent over https only.
    pub secure_cookies: bool,
    /// Signs the tokens in forms. Random, and the same for all servers behind a load balancer.
    pub csrf_key: [u8; 32],
    /// Limits for requests, connections and streams.
    pub limits: Limits,
    /// The MQTT broker in this process, if there is one; only then are there `/operator/connections` and `/mqtt`.
    pub mqtt: Option<Arc<dyn EmbeddedBroker>>,
    /// E-mail addresses of members who run this server: they see and end everybody's connections.
    pub admins: Vec<String>,
    /// The demo's panel at `/demo`, if this is a demo.
    pub demo: Option<DemoPanel>,
    /// What `/metrics` shows; without it there is no `/metrics` here.
    pub metrics: Option<MetricsText>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("WebConfig")
            .field("public_url", &self.public_url)
            .field("proxies", &self.proxies)
            .field("secure_cookies", &self.secure_cookies)
            .field("limits", &self.limits)
            .field("admins", &self.admins.len())
            .field("mqtt", &self.mqtt.is_some())
            .field("demo", &self.demo.is_some())
            .finish_non_exhaustive()
    }
}

impl WebConfig {
    /// In a demo, the URL of the sandbox's pages; its script plays the app that shows our page.
    pub(crate) fn sandbox_url(&self) -> Option<&str> {
        #[cfg(feature = "demo")]
        return self.demo.as_ref().map(|demo| demo.sandbox_url.as_str());
        #[cfg(not(feature = "demo"))]
        None
    }
}

/// A demo's panel; does not exist without the feature `demo`.
#[cfg(not(feature = "demo"))]
#[derive(Clone)]
pub enum DemoPanel {}

/// Binary messages of a WebSocket, as they come in.
pub type Messages = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
/// Where binary messages of a WebSocket go out.
pub type Replies = Pin<Box<dyn Sink<Bytes, Error = io::Error> + Send>>;

/// The MQTT broker in this process: its connections, and new clients over WebSocket.
pub trait EmbeddedBroker: Send + Sync {
    /// Whether messages pass through the broker: its core answers.
    fn healthy(&self) -> bool;
    /// The live connections, in no order.
    fn connections(&self) -> Vec<MqttConnection>;
    /// Ends a connection; false if there is no such connection.
    fn end_connection(&self, number: u64) -> bool;
    /// The subprotocol agreed on with a client, by the values of its `Sec-WebSocket-Protocol` headers; without one it is
    /// refused.
    fn agree_on_subprotocol(&self, offers: &[&str], peer: SocketAddr) -> Option<&'static str>;
    /// Longest WebSocket message to be taken, in bytes.
    fn message_bytes_max(&self) -> usize;
    /// Serves an MQTT client on the binary messages of a WebSocket.
    fn serve(&self, messages: Messages, replies: Replies, peer: SocketAddr);
}

/// A live connection at the MQTT broker.
#[derive(Debug, Clone)]
pub struct MqttConnection {
    /// Unique for the life of the process.
    pub number: u64,
    /// Whose login it uses.
    pub party: MqttParty,
    /// The client identifier in use.
    pub client_id: String,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// MQTT version: `3.1.1` or `5`.
    pub version: &'static str,
    /// Since when, in milliseconds since 1970.
    pub connected_ms: i64,
    /// When it last sent a packet, in milliseconds since 1970.
    pub heard_ms: i64,
    /// How long it took to acknowledge the last message it was sent.
    pub round_trip: Option<Duration>,
}

/// Whose login it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MqttParty {
    /// The module of this id.
    Module(String),
    /// A program of the operator with this short name.
    Integrator(String),
    /// A member of the operator with this short name.
    Member(String),
    /// The tool of the manufacturer with this short name.
    Manufacturer(String),
    /// The server's own.
    Backend,
}

/// Limits for requests, connections and streams. A rate of 0 means no limit. Rates are per minute, and a whole minute's
/// number may come at once.
///
/// Phones share addresses behind their carrier, so the limits for consumers are high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Scan and sale pages from one address.
    pub scans_per_minute: u32,
    /// Orders from one address.
    pub orders_per_minute: u32,
    /// Attempts to sign in from one address.
    pub sign_ins_per_minute: u32,
    /// Attempts of a member at an address from which the member signed in lately; and failures with one e-mail address
    /// from any address, beyond which each is answered late.
    pub sign_ins_per_email_per_minute: u32,
    /// Connections by HTTP at once.
    pub connections: u32,
    /// Connections by HTTP at once from one address that is not a trusted proxy's.
    pub connections_per_address: u32,
    /// Live streams at once, of all pages together.
    pub live_streams: u32,
    /// Live streams at once to one address.
    pub live_streams_per_address: u32,
    /// Live streams at once of one member.
    pub live_streams_per_member: u32,
    /// Live streams at once of one sale.
    pub live_streams_per_sale: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            scans_per_minute: 600,
            orders_per_minute: 120,
            sign_ins_per_minute: 30,
            sign_ins_per_email_per_minute: 10,
            connections: 12_000,
            connections_per_address: 1_000,
            live_streams: 9_000,
            live_streams_per_address: 200,
            live_streams_per_member: 30,
            live_streams_per_sale: 10,
        }
    }
}
