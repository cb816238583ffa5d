//! A socket for the [`app`](crate::app()).

use crate::{app, config::WebConfig};
use backend::Backend;
use poem::{
    Server,
    http::uri::Scheme,
    listener::{Acceptor, TcpAcceptor},
    web::{LocalAddr, RemoteAddr},
};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A connection that is silent for this long is closed. Live streams have a heartbeat.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// What requests under way get at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Why the web does not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The public address is not one.
    #[error("public_url {0:?} is no http or https address without a path")]
    PublicUrl(String),
    /// The embedded templates are damaged.
    #[error("templates: {0}")]
    Templates(#[from] tera::Error),
}

/// A socket that listens, but serves nothing yet: connections wait.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Bound {
    /// Where it listens; the port is known even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

/// The web, running.
#[derive(Debug)]
pub struct Web {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// Ends after shutdown, once requests under way are answered or 3 s have passed.
    pub done: JoinHandle<io::Result<()>>,
}

/// Takes an address (port 0: any free port), so that its port is known before the backend needs the public address.
///
/// # Errors
/// If the address cannot be had.
pub async fn bind(address: SocketAddr) -> Result<Bound, WebError> {
    let refused = |source| WebError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    Ok(Bound { listener, local_addr })
}

/// Serves until `shutdown` is cancelled.
///
/// # Errors
/// If the configuration is wrong.
pub fn serve(bound: Bound, config: WebConfig, backend: Backend, shutdown: CancellationToken) -> Result<Web, WebError> {
    let address = bound.local_addr;
    let app = app(config, backend, shutdown.clone())?;
    let acceptor = TcpAcceptor::from_tokio(bound.listener).map_err(|source| WebError::Bind { address, source })?;
    let server = Server::new_with_acceptor(Undelayed(acceptor)).name("web").idle_timeout(IDLE_TIMEOUT);
    let until = async move { shutdown.cancelled().await };
    let done = tokio::spawn(server.run_with_graceful_shutdown(app, until, Some(SHUTDOWN_GRACE)));
    Ok(Web { local_addr: address, done })
}

/// Accepts connections that send at once what is written to them. Otherwise a small piece after another (an event of a
/// live stream, an MQTT packet) waits for the other side's delayed acknowledgement: 40 ms and more.
struct Undelayed(TcpAcceptor);

impl Acceptor for Undelayed {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        let accepted = self.0.accept().await?;
        if let Err(error) = accepted.0.set_nodelay(true) {
            tracing::warn!(%error, "cannot set TCP_NODELAY");
        }
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_sends_at_once() {
        let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.local_addr();
        let mut acceptor = Undelayed(TcpAcceptor::from_tokio(bound.listener).unwrap());
        let (accepted, connected) = tokio::join!(acceptor.accept(), TcpStream::connect(address));
        let (stream, local, remote, _) = accepted.unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(local.as_socket_addr(), Some(&address));
        assert_eq!(remote.as_socket_addr().copied(), connected.unwrap().local_addr().ok());
    }
}
