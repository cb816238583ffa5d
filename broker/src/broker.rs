//! Starting and ending the broker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::auth::Authenticate;
use crate::config::Config;
use crate::connection;
use crate::core::Core;
use crate::gate::Gate;
use crate::session::ConnectionInfo;
use crate::topic::{Filter, TopicError};

/// How long the ending broker waits for its connections to say goodbye.
const GOODBYE: Duration = Duration::from_millis(1_500);
/// How long a listener pauses when it cannot accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on: taken, not this machine's, or not allowed.
    #[error("cannot listen for MQTT on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The filter of the modules' commands is not valid.
    #[error("the filter of module commands, {filter:?}, is not valid: {source}")]
    ModuleCommands {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: TopicError,
    },
    /// The core did not start.
    #[error("the message router did not start")]
    Core,
}

/// A running broker. Dropping it leaves it running; end it with [`Broker::shutdown`].
pub struct Broker {
    gate: Arc<Gate>,
    local_addrs: Vec<SocketAddr>,
}

/// Starts a broker.
///
/// # Errors
/// An address that cannot be listened on, an invalid configuration, or a core that does not start.
pub async fn start(config: Config, auth: Arc<dyn Authenticate>) -> Result<Broker, StartError> {
    let module_commands = Filter::parse(&config.module_commands, config.limits.topic_bounds())
        .map_err(|source| StartError::ModuleCommands { filter: config.module_commands.clone(), source })?;
    let mut listeners = Vec::new();
    let mut local_addrs = Vec::new();
    for address in config.listen {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        local_addrs.push(listener.local_addr().map_err(failed)?);
        listeners.push(listener);
    }
    let core = Core::start(&config.limits).await.map_err(|_| StartError::Core)?;
    let feed = core.open(std::slice::from_ref(&module_commands)).await.map_err(|_| StartError::Core)?;
    let gate = Arc::new(Gate::new(config.limits, module_commands, auth, core));
    gate.tasks.spawn(gate.core.clone().supervise(gate.closing.clone()));
    gate.tasks.spawn(gate.clone().serve_modules(feed));
    gate.tasks.spawn(gate.clone().sweep());
    for listener in listeners {
        gate.tasks.spawn(accept(gate.clone(), listener));
    }
    info!(addresses = ?local_addrs, "the broker listens");
    Ok(Broker { gate, local_addrs })
}

/// Accepts connections; whatever one of them does, or fails to do, is its own task's affair.
async fn accept(gate: Arc<Gate>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gate.closing.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => serve_tcp(&gate, socket, peer),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve_tcp(gate: &Arc<Gate>, socket: TcpStream, peer: SocketAddr) {
    // Without this, small packets wait for the other side's delayed acknowledgement: round trips of 44 ms.
    if let Err(error) = socket.set_nodelay(true) {
        warn!(%error, "cannot set TCP_NODELAY");
    }
    spawn(gate, socket, peer);
}

fn spawn<S>(gate: &Arc<Gate>, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let aborted = gate.aborted.clone();
    let serving = connection::serve(gate.clone(), stream, peer);
    gate.tasks.spawn(async move {
        tokio::select! {
            () = serving => {}
            () = aborted.cancelled() => {}
        }
    });
}

impl Broker {
    /// Where it listens, in the order of the configuration, with the ports that were taken for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Serves MQTT on a stream that came another way (TLS, WebSocket), once it is ready for MQTT bytes.
    pub fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        spawn(&self.gate, stream, peer);
    }

    /// Drops all connections and sessions of a credential, and decides logins under way again; returns how many
    /// connections were dropped. Call it after the change that revokes the credential is in force.
    pub fn disconnect(&self, credential: &str) -> usize {
        self.gate.sessions.revoke(credential)
    }

    /// The live connections, in no order.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.gate.sessions.connections()
    }

    /// Whether messages pass: the core answered its last probe (one a second).
    pub fn healthy(&self) -> bool {
        self.gate.core.healthy()
    }

    /// Ends the broker within 2 s: closes the listeners, tells MQTT 5 clients that the server shuts down, and publishes no
    /// wills. Sessions and retained messages are gone.
    pub async fn shutdown(self) {
        let gate = self.gate;
        gate.closing.cancel();
        gate.tasks.close();
        if tokio::time::timeout(GOODBYE, gate.tasks.wait()).await.is_err() {
            gate.aborted.cancel();
            gate.tasks.wait().await;
        }
        info!("the broker has ended");
    }
}
