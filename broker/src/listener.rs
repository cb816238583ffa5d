//! Accepts connections: TCP, TLS, WebSocket. A handshake runs in its connection's task and does not delay other
//! connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, TryStreamExt, future};
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message as Frame};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tracing::warn;

use crate::connection::{self, IncomingConnection};
use crate::gate::Gate;
use crate::refusals::{ClientLabel, Refused};
use crate::tls::Tls;

/// How long a listener pauses when it cannot accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that a WebSocket connection reads at once.
const WEB_SOCKET_READ_BYTES: usize = 4 * 1024;
/// The WebSocket subprotocols of MQTT: the standard one (MQTT 5 section 6), and those that older libraries offer. All
/// carry the same bytes; only CONNECT says which version of MQTT is used.
pub const SUBPROTOCOLS: [&str; 3] = ["mqtt", "mqttv3.1", "mqttv3.1.1"];

/// The subprotocol agreed on with a WebSocket client: the first one it offers that is one of MQTT's. Without one it is
/// refused. `offers` are the values of its `Sec-WebSocket-Protocol` headers.
pub fn agree_on_subprotocol<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let mut offered = offers.into_iter().flat_map(|value| value.split(',')).map(str::trim);
    offered.find_map(|offer| SUBPROTOCOLS.into_iter().find(|known| offer.eq_ignore_ascii_case(known)))
}

/// The layers between TCP and MQTT.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    Tls(Arc<Tls>),
    WebSocket,
}

/// Accepts connections until the broker ends. Each is served in its own task and cannot disturb the others.
pub(crate) async fn accept(gate: Arc<Gate>, listener: TcpListener, transport: Transport) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gate.closing.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without this, small packets wait for the other side's delayed acknowledgement: round trips of 44 ms.
        if let Err(error) = socket.set_nodelay(true) {
            warn!(%error, "cannot set TCP_NODELAY");
        }
        let Some(incoming) = admit_connection(&gate, peer) else { continue };
        match &transport {
            Transport::Plain => serve(&gate, incoming, socket),
            Transport::Tls(tls) => {
                let accepting = tls.acceptor().accept(socket);
                handshake(&gate, incoming, async move { accepting.await.map_err(|error| error.to_string()) });
            }
            Transport::WebSocket => handshake(&gate, incoming, web_socket(gate.limits.packet_bytes, socket)),
        }
    }
}

/// Lets a connection in, if there is room for it.
pub(crate) fn admit_connection(gate: &Gate, peer: SocketAddr) -> Option<IncomingConnection> {
    match gate.slots.take(peer.ip()) {
        Ok((slot, displaced)) => {
            let patience = gate.limits.connect_timeout;
            // Up to a quarter less, depending on the peer's port, so that thousands that connected together are not cut
            // together and do not all return at once.
            let patience = patience.mul_f64(1.0 - f64::from(peer.port() % 64) / 256.0);
            Some(IncomingConnection { peer, deadline: Instant::now() + patience, displaced, slot })
        }
        Err(reason) => {
            counter!("broker_refusals_total", "reason" => reason).increment(1);
            gate.refusals.record(Refused::Connect, ClientLabel::unidentified(peer), reason, "");
            None
        }
    }
}

/// Serves MQTT on a stream that is ready for it, in a task of its own.
pub(crate) fn serve<S>(gate: &Arc<Gate>, incoming: IncomingConnection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let aborted = gate.aborted.clone();
    let serving = connection::serve(gate.clone(), stream, incoming);
    gate.tasks.spawn(async move {
        tokio::select! {
            () = serving => {}
            () = aborted.cancelled() => {}
        }
    });
}

/// Serves a connection after its handshake, if that is done in time.
fn handshake<S>(
    gate: &Arc<Gate>,
    incoming: IncomingConnection,
    handshake: impl Future<Output = Result<S, String>> + Send + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate = gate.clone();
    gate.tasks.clone().spawn(async move {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(incoming.deadline, handshake) => shaken,
            () = incoming.displaced.cancelled() => Ok(Err("displaced".to_owned())),
            () = gate.closing.cancelled() => return,
        };
        let reason = match shaken {
            Ok(Ok(stream)) => return serve(&gate, incoming, stream),
            Ok(Err(error)) => error,
            Err(_) => "took too long".to_owned(),
        };
        counter!("broker_refusals_total", "reason" => "handshake").increment(1);
        gate.refusals.record(Refused::Connect, ClientLabel::unidentified(incoming.peer), "handshake", &reason);
    });
}

/// Converts between MQTT bytes and binary WebSocket messages (MQTT 5 section 6: packets and messages need not align).
async fn web_socket(
    packet_bytes: u32,
    socket: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, String> {
    let size_max = Some(packet_bytes as usize);
    let config = WebSocketConfig::default()
        .max_message_size(size_max)
        .max_frame_size(size_max)
        // The default is 128 KiB for each connection, kept even while it is idle.
        .read_buffer_size(WEB_SOCKET_READ_BYTES);
    let socket = tokio_tungstenite::accept_hdr_async_with_config(socket, negotiate_subprotocol, Some(config))
        .await
        .map_err(|error| error.to_string())?;
    let (sink, stream) = socket.split();
    let messages = stream.map_err(broken).try_filter_map(|frame| {
        future::ready(match frame {
            Frame::Binary(bytes) => Ok(Some(bytes)),
            Frame::Text(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a text message")),
            // The library answers pings and handles closing.
            Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_) => Ok(None),
        })
    });
    let replies = sink.sink_map_err(broken).with(|bytes: Bytes| future::ok::<_, io::Error>(Frame::Binary(bytes)));
    Ok(byte_stream(messages, replies))
}

/// A stream of bytes out of messages.
pub(crate) fn byte_stream<In, Out>(
    messages: In,
    replies: Out,
) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<In, Out>
where
    In: Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static,
    Out: Sink<Bytes, Error = io::Error> + Unpin + Send + 'static,
{
    tokio::io::join(StreamReader::new(messages), SinkWriter::new(CopyToBytes::new(replies)))
}

fn broken(error: WebSocketError) -> io::Error {
    if let WebSocketError::Io(error) = error { error } else { io::Error::other(error) }
}

/// Agrees on the subprotocol; a client that offers none of MQTT's is refused.
#[expect(clippy::result_large_err, reason = "the library's own type")]
fn negotiate_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let Some(agreed) = agree_on_subprotocol(offers.iter().filter_map(|value| value.to_str().ok())) else {
        let mut refusal = ErrorResponse::new(Some("offer the WebSocket subprotocol mqtt\n".to_owned()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    };
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(agreed));
    Ok(response)
}
