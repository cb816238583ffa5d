//! Starting and ending the broker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tracing::info;

use crate::auth::Authenticate;
use crate::config::{Config, LimitError};
use crate::core::RumqttdCore;
use crate::gate::Gate;
use crate::listener::{self, Transport, agree_on_subprotocol};
use crate::refusals::{ClientLabel, Refused};
use crate::session::ConnectionInfo;
use crate::sweep::sweep;
use crate::tls::{Tls, TlsError};
use crate::topic::{Filter, TopicError};

/// How long the ending broker waits for its connections to say goodbye.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A limit has a value with which the broker cannot work.
    #[error("a limit of the broker is wrong: {0}")]
    Limit(#[from] LimitError),
    /// The broker cannot listen on an address: it is in use, not this computer's, or not allowed.
    #[error("cannot listen for MQTT on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("cannot serve MQTT over TLS: {0}")]
    Tls(#[from] TlsError),
    /// Addresses for TLS are given, but no certificate.
    #[error("cannot serve MQTT over TLS on {0}: no certificate is configured")]
    NoCertificate(SocketAddr),
    /// The filter of the devices' topics is not valid.
    #[error("the filter of device topics, {filter:?}, is not valid: {source}")]
    DeviceTopics {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: TopicError,
    },
    /// The core did not start.
    #[error("the message router did not start")]
    Core,
}

/// A running broker; clones are the same one. Dropping it leaves it running; end it with [`Broker::shutdown`].
#[derive(Clone)]
pub struct Broker {
    gate: Arc<Gate>,
    /// For the test hooks.
    #[cfg(debug_assertions)]
    core: Arc<RumqttdCore>,
    local_addrs: Vec<SocketAddr>,
    tls_addrs: Vec<SocketAddr>,
    web_socket_addrs: Vec<SocketAddr>,
}

/// Starts a broker.
///
/// # Errors
/// An address that cannot be listened on, an invalid configuration, or a core that does not start.
pub async fn start(config: Config, auth: Arc<dyn Authenticate>) -> Result<Broker, StartError> {
    config.limits.check()?;
    let device_topics = Filter::parse(&config.device_topics, config.limits.topic_bounds())
        .map_err(|source| StartError::DeviceTopics { filter: config.device_topics.clone(), source })?;
    let tls = config.tls.map(Tls::load).transpose()?.map(Arc::new);
    let over_tls = match (&tls, config.listen_tls.first()) {
        (Some(tls), _) => Transport::Tls(tls.clone()),
        (None, Some(address)) => return Err(StartError::NoCertificate(*address)),
        (None, None) => Transport::Plain,
    };
    let plain = listen(&config.listen, Transport::Plain).await?;
    let tls_listeners = listen(&config.listen_tls, over_tls).await?;
    let web_socket = listen(&config.listen_web_socket, Transport::WebSocket).await?;
    let core = RumqttdCore::start(&config.limits).await.map_err(|_| StartError::Core)?;
    let gate = Arc::new(Gate::new(config.limits, device_topics, auth, core.clone()));
    gate.tasks.spawn(gate.clone().serve());
    gate.tasks.spawn(sweep(gate.clone()));
    if let Some(tls) = tls {
        gate.tasks.spawn(tls.watch_files(gate.closing.clone()));
    }
    let addresses = |listeners: &[Listening]| listeners.iter().map(|listening| listening.address).collect();
    let broker = Broker {
        local_addrs: addresses(&plain),
        tls_addrs: addresses(&tls_listeners),
        web_socket_addrs: addresses(&web_socket),
        gate: gate.clone(),
        #[cfg(debug_assertions)]
        core,
    };
    for listening in plain.into_iter().chain(tls_listeners).chain(web_socket) {
        gate.tasks.spawn(listener::accept(gate.clone(), listening.socket, listening.transport));
    }
    info!(tcp = ?broker.local_addrs, tls = ?broker.tls_addrs, web_socket = ?broker.web_socket_addrs, "the broker listens");
    Ok(broker)
}

/// A listener with its open socket.
struct Listening {
    socket: TcpListener,
    address: SocketAddr,
    transport: Transport,
}

async fn listen(addresses: &[SocketAddr], transport: Transport) -> Result<Vec<Listening>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failed = |source| StartError::Listen { address: *address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        listeners.push(Listening { socket, address, transport: transport.clone() });
    }
    Ok(listeners)
}

impl Broker {
    /// Where it listens for TLS, likewise.
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        &self.tls_addrs
    }

    /// Where it listens for WebSocket, likewise.
    pub fn web_socket_addrs(&self) -> &[SocketAddr] {
        &self.web_socket_addrs
    }

    /// Where it listens for plain TCP, in the order of the configuration, with the ports that were taken for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Serves MQTT on a stream from another source, once it is ready for MQTT bytes.
    pub fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(incoming) = listener::admit_connection(&self.gate, peer) {
            listener::serve(&self.gate, incoming, stream);
        }
    }

    /// Serves MQTT on the binary messages of a WebSocket from another source (MQTT 5 section 6: packets and messages
    /// need not align). The caller must bound the length of messages to [`Broker::message_bytes_max`] when reading, and
    /// must refuse a client for which [`Broker::agree_on_subprotocol`] finds no subprotocol.
    pub fn serve_messages<In, Out>(&self, messages: In, replies: Out, peer: SocketAddr)
    where
        In: Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static,
        Out: Sink<Bytes, Error = io::Error> + Unpin + Send + 'static,
    {
        self.serve(listener::byte_stream(messages, replies), peer);
    }

    /// [`agree_on_subprotocol`] for a WebSocket client from another source. A refusal is logged.
    pub fn agree_on_subprotocol(&self, offers: &[&str], peer: SocketAddr) -> Option<&'static str> {
        let agreed = agree_on_subprotocol(offers.iter().copied());
        if agreed.is_none() {
            self.gate.refusals.record(
                Refused::Connect,
                ClientLabel::unidentified(peer),
                "subprotocol",
                &offers.join(", "),
            );
        }
        agreed
    }

    /// Longest WebSocket message to accept, in bytes: the longest packet allowed.
    pub fn message_bytes_max(&self) -> usize {
        self.gate.limits.packet_bytes as usize
    }

    /// Drops all connections and sessions of a credential, and has logins under way decided again; returns how many
    /// connections were dropped. Call it after the change that revokes the credential is in force.
    pub fn disconnect(&self, credential: &str) -> usize {
        self.gate.sessions.revoke(credential)
    }

    /// Disconnects a client (reason 0x98, Administrative action); false if there is no such connection. The client may
    /// reconnect: use [`Broker::disconnect`] for a credential that is no longer valid.
    pub fn end_connection(&self, number: u64) -> bool {
        self.gate.sessions.end_connection(number)
    }

    /// Credentials that have sessions of the client lane, connected or not. [`Broker::disconnect`] must be called for
    /// them once they are no longer valid.
    pub fn credentials(&self) -> Vec<Box<str>> {
        self.gate.sessions.credentials()
    }

    /// The live connections, in no order.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.gate.sessions.connections()
    }

    /// Whether messages pass: the core answered its last probe (two a second).
    pub fn healthy(&self) -> bool {
        self.gate.core.healthy()
    }

    /// Kills the core, as a fault in it would; the supervisor replaces it. For tests only; not in release builds.
    #[cfg(debug_assertions)]
    pub fn kill_core(&self) {
        self.core.kill();
    }

    /// Blocks the core for the given time, as a fault in it would; the supervisor replaces it. For tests, as above.
    #[cfg(debug_assertions)]
    pub async fn stall_core(&self, duration: Duration) {
        self.core.stall(duration).await;
    }

    /// Ends the broker within 2 s: closes the listeners, tells MQTT 5 clients that the server shuts down, and publishes no
    /// wills. Sessions and retained messages are gone.
    pub async fn shutdown(self) {
        let gate = self.gate;
        gate.closing.cancel();
        gate.tasks.close();
        if tokio::time::timeout(DISCONNECT_TIMEOUT, gate.tasks.wait()).await.is_err() {
            gate.aborted.cancel();
            gate.tasks.wait().await;
        }
        info!("the broker has ended");
    }
}
