//! One network connection, from its first byte to its last: one task each.
//!
//! [`serve`] takes any stream, so that TCP, TLS and WebSocket share everything below. A connection's stages:
//! [`connect`] (CONNECT, login, session) -> [`serving`] (packets in, messages out) -> its end (will, session).

mod connect;
mod publish;
mod serving;
mod stream;
mod subscribe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::codec::encode;
use crate::gate::Gate;
use crate::refusals::{ClientLabel, Refused};
use crate::slots::ConnectionSlot;
use connect::RefusedConnect;
use serving::{Connection, End};
use stream::PacketStream;

/// How long saying goodbye may take.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);

/// An accepted connection, and how long it may take to say who it is.
pub(crate) struct IncomingConnection {
    pub peer: SocketAddr,
    pub deadline: Instant,
    /// Cancelled if its place is given to another before it has said so.
    pub displaced: CancellationToken,
    pub slot: ConnectionSlot,
}

/// Serves one client on a stream that is ready for MQTT, until it ends.
pub(crate) async fn serve<S>(gate: Arc<Gate>, stream: S, mut incoming: IncomingConnection)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = incoming.peer;
    let mut stream = PacketStream::new(stream, gate.limits.packet_bytes);
    // Boxed, so that the memory for a login is not held during a connection's whole life.
    let accepted = Box::pin(connect::accept(&gate, &mut stream, &mut incoming)).await;
    let mut accepted = match accepted {
        Ok(accepted) => accepted,
        Err(RefusedConnect { reason, client, user }) => {
            counter!("broker_refusals_total", "reason" => reason).increment(1);
            debug!(%peer, reason, "refused");
            // This is not a refusal: the client closed before CONNECT, or the broker is shutting down.
            if !["closed", "shutdown"].contains(&reason) {
                let who = ClientLabel { client: &client, user: &user, peer, known: false };
                gate.refusals.record(Refused::Connect, who, reason, "");
            }
            if stream.waiting() == 0 {
                // There is nothing to tell.
                return;
            }
            let _ = tokio::time::timeout(FINISH_TIMEOUT, stream.finish()).await;
            return;
        }
    };
    debug!(
        %peer,
        client = %accepted.session.key.client_id,
        credential = %accepted.session.key.credential,
        version = accepted.window.version.as_str(),
        "connected"
    );
    if let Some(will) = accepted.displaced.take() {
        gate.publish_will(will).await;
    }
    gate.meters.connections.increment(1);
    let mut connection = Connection::new(gate.clone(), stream, accepted);
    let end = connection.run().await;
    gate.meters.connections.decrement(1);
    counter!("broker_disconnects_total", "reason" => end.as_str()).increment(1);
    debug!(%peer, client = %connection.session.key.client_id, reason = end.as_str(), "disconnected");
    if let Some(reason) = end.is_refusal().then(|| end.as_str()) {
        gate.refusals.record(Refused::Connection, connection.who(), reason, "");
    }
    // Release the session first: the next connection must not wait until this client has read its DISCONNECT.
    connection.release_session(end).await;
    let version = connection.window.version;
    if let End::Server(code) = end {
        encode::disconnect(connection.stream.out(), version, code);
    }
    let _ = tokio::time::timeout(FINISH_TIMEOUT, connection.stream.finish()).await;
    connection.count_bytes();
}
