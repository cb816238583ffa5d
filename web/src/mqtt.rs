//! `/mqtt`: the broker over WebSocket on the web's own port, for programs in browsers.

use crate::{
    failure::Failure,
    page::{ClientIp, Page},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future};
use poem::{
    IntoResponse, Request, Response, handler,
    http::{StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    web::{
        RemoteAddr,
        websocket::{Message, WebSocket, WebSocketConfig},
    },
};
use std::{io, net::SocketAddr};

/// What a connection reads at once; the library's own default is 128 KiB, kept while it idles.
const READ_BYTES: usize = 4 * 1024;

/// `GET /mqtt`
#[handler]
pub(crate) async fn connect(
    request: &Request,
    page: Page,
    ClientIp(ip): ClientIp,
    remote: &RemoteAddr,
    socket: WebSocket,
) -> Result<Response, Failure> {
    let gate = page.app.config.mqtt.clone().ok_or(Failure::NotFound)?;
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let peer = SocketAddr::new(ip, remote.as_socket_addr().map_or(0, SocketAddr::port));
    let Some(agreed) = gate.agree_on_subprotocol(&offers.collect::<Vec<_>>(), peer) else {
        let told = "offer the WebSocket subprotocol mqtt\n";
        return Ok(Response::builder().status(StatusCode::BAD_REQUEST).body(told));
    };
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(gate.message_bytes_max()))
        .max_frame_size(Some(gate.message_bytes_max()))
        .read_buffer_size(READ_BYTES);
    let upgrade = socket.protocols([agreed]).config(bounds).on_upgrade(move |socket| async move {
        let (sink, stream) = socket.split();
        let messages = stream.try_filter_map(|message| {
            future::ready(match message {
                Message::Binary(bytes) => Ok(Some(Bytes::from(bytes))),
                Message::Text(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a text message")),
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(None),
            })
        });
        let replies = sink.with(|bytes: Bytes| future::ok::<_, io::Error>(Message::Binary(bytes.into())));
        gate.serve(Box::pin(messages), Box::pin(replies), peer);
    });
    Ok(upgrade.into_response())
}
