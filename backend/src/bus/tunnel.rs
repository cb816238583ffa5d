//! TLS to an external broker.
//!
//! The MQTT client's own TLS would bring a release of the certificate library with known flaws. So the client connects
//! without TLS to a listener of ours on loopback, and each of its connections is forwarded from here over TLS.

use crate::{Error, Result};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

/// How long to wait for a broker that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// When no connection can be taken (out of file descriptors), it is tried again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A tunnel to a broker over TLS.
pub(crate) struct Tunnel {
    listener: std::net::TcpListener,
    host: String,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Tunnel {
    /// A tunnel to a broker whose certificate is checked against the operating system's roots. It forwards connections
    /// while [`Tunnel::run`] is polled.
    ///
    /// # Errors
    /// `Bus` if the host cannot be in a certificate, or if no port on this machine is free.
    pub fn new(host: &str, port: u16) -> Result<Self> {
        let config = trusting_the_system().map_err(|error| Error::Bus(format!("TLS cannot be set up: {error}")))?;
        Self::with(config, host, port)
    }

    fn with(config: ClientConfig, host: &str, port: u16) -> Result<Self> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|error| Error::Bus(format!("{host:?} is no name that a certificate can have: {error}")))?;
        let listen = || -> io::Result<_> {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|error| Error::Bus(format!("cannot listen on loopback: {error}")))?;
        Ok(Self { listener, host: host.to_owned(), port, name, config: Arc::new(config) })
    }

    /// The loopback port to which the client connects.
    pub fn port(&self) -> Result<u16> {
        self.listener.local_addr().map(|at| at.port()).map_err(|error| Error::Bus(error.to_string()))
    }

    /// Carries connections until dropped.
    pub async fn run(self) {
        let Self { listener, host, port, name, config } = self;
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot open the tunnel to the message broker"),
        };
        let connector = TlsConnector::from(config);
        let mut carried = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((plain, _)) => {
                        carried.spawn(carry(plain, connector.clone(), host.clone(), port, name.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take the MQTT client's connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = carried.join_next() => {}
            }
        }
    }
}

fn trusting_the_system() -> std::result::Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_platform_verifier()?.with_no_client_auth())
}

/// Forwards one connection until it ends. The client only sees that it ended; the reason is logged here.
async fn carry(mut plain: TcpStream, connector: TlsConnector, host: String, port: u16, name: ServerName<'static>) {
    let connecting = async {
        let socket = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
        socket.set_nodelay(true)?;
        plain.set_nodelay(true)?;
        connector.connect(name, socket).await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let mut secure = match connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten() {
        Ok(secure) => secure,
        Err(error) => return tracing::warn!(host, port, %error, "no TLS connection to the message broker"),
    };
    if let Err(error) = copy_bidirectional(&mut plain, &mut secure).await {
        tracing::debug!(host, port, %error, "the TLS connection to the message broker ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{RootCertStore, ServerConfig};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    /// A server that says back what it hears, and the certificate to trust it by.
    async fn echo() -> (u16, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut heard = [0; 5];
                if stream.read_exact(&mut heard).await.is_ok() {
                    let _ = stream.write_all(&heard).await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        (port, certificate)
    }

    /// What comes back through a tunnel that trusts these roots.
    async fn echoed(roots: RootCertStore, port: u16) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tunnel = Tunnel::with(config, "localhost", port).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, tunnel.port().unwrap())).await.unwrap();
        tokio::spawn(tunnel.run());
        client.write_all(b"hello").await.unwrap();
        let mut back = vec![];
        let _ = client.read_to_end(&mut back).await;
        back
    }

    #[tokio::test]
    async fn carries_both_ways_to_a_server_that_is_trusted_and_nothing_to_another() {
        let (port, certificate) = echo().await;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        assert_eq!(echoed(roots, port).await, b"hello");
        let mut others = RootCertStore::empty();
        others.add(echo().await.1).unwrap();
        assert_eq!(echoed(others, port).await, b"");
    }

    #[test]
    fn a_host_that_no_certificate_can_name_is_refused() {
        assert!(matches!(Tunnel::new("not a name", 8883), Err(Error::Bus(_))));
    }
}
