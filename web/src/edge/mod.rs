//! The edge: HTTP/1 on TCP, with limits that hold whatever a client does with its connection.
//!
//! `slots.rs` limits the number of connections, in total and per address; `phase.rs` says how long each phase of a
//! connection may take; `stream.rs` reports what happens on the socket. HTTP/2 is not supported: behind a proxy it
//! would end at the proxy, and without one it means many requests on a connection, which all limits would have to take
//! into account.

mod phase;
mod slots;
mod stream;
#[cfg(test)]
mod tests;

use crate::guard::proxies::TrustedProxies;
use futures_util::StreamExt;
use hyper::body::Body as _;
pub(crate) use phase::Deadlines;
use phase::Progress;
use poem::{
    Endpoint, Request, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use slots::{ConnectionSlot, ConnectionSlots};
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use stream::{Answer, Observed};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long it pauses when it cannot accept (out of file descriptors), instead of retrying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may still take at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// The longest head of a request, and the most that is written at once; each connection may use this much memory.
const BUFFER_BYTES: usize = 32 * 1024;
/// The answer to a connection for which there is no slot.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 45\r\n\r\ntoo many connections; try again in a moment.\n";

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    /// From one address that is not a trusted proxy's.
    pub(crate) connections_per_address: usize,
    /// How long each phase of a connection may take.
    pub(crate) deadlines: Deadlines,
}

/// What all connections share.
struct Edge<E> {
    endpoint: E,
    proxies: TrustedProxies,
    slots: Arc<ConnectionSlots>,
    deadlines: Deadlines,
    local: SocketAddr,
    /// No new requests.
    closing: CancellationToken,
    /// Ends everything.
    aborted: CancellationToken,
}

/// Serves connections until `closing` is cancelled, and then finishes requests under way, for a limited time.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    bounds: Bounds,
    proxies: TrustedProxies,
    closing: CancellationToken,
) -> io::Result<()>
where
    E: Endpoint<Output = Response> + 'static,
{
    let local = listener.local_addr()?;
    let slots = Arc::new(ConnectionSlots::new(bounds.connections, bounds.connections_per_address));
    let Bounds { deadlines, .. } = bounds;
    let aborted = CancellationToken::new();
    let edge = Arc::new(Edge { endpoint, proxies, slots, deadlines, local, closing, aborted });
    let tasks = TaskTracker::new();
    while let Some(accepted) = edge.closing.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => admit(&edge, &tasks, socket, peer),
            Err(error) => {
                metrics::counter!("web_accept_errors_total").increment(1);
                tracing::warn!(%error, "cannot accept an HTTP connection; trying again in {ACCEPT_PAUSE:?}");
                // If file descriptors have run out, the connection that has been idle longest is closed.
                edge.slots.displace_oldest();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(SHUTDOWN_GRACE, tasks.wait()).await.is_err() {
        edge.aborted.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// Gives a connection a slot and serves it, or answers that there is none.
fn admit<E>(edge: &Arc<Edge<E>>, tasks: &TaskTracker, socket: TcpStream, peer: SocketAddr)
where
    E: Endpoint<Output = Response> + 'static,
{
    // A proxy's connections carry everybody's requests.
    let counted = (!edge.proxies.is_trusted(peer.ip())).then(|| peer.ip());
    match edge.slots.take(counted) {
        Ok(slot) => {
            // Otherwise a second small write (an event of a live stream, an MQTT packet) waits for the other side's
            // delayed acknowledgement: 40 ms and more.
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            tasks.spawn(serve_connection(edge.clone(), socket, peer, slot));
        }
        Err(bound) => {
            metrics::counter!("web_connections_refused_total", "bound" => bound).increment(1);
            // Best effort: a client that does not read it still sees that the connection is closed.
            let _ = socket.try_write(TOO_MANY_CONNECTIONS);
        }
    }
}

async fn serve_connection<E>(edge: Arc<Edge<E>>, socket: TcpStream, peer: SocketAddr, slot: ConnectionSlot)
where
    E: Endpoint<Output = Response> + 'static,
{
    let _counted = Counted::new();
    let displaced = slot.displaced();
    let progress = Arc::new(Progress::new(slot.waiting(), Instant::now()));
    let (asked_of, asked) = (edge.clone(), progress.clone());
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        asked.asked(Instant::now());
        let answering = answer(asked_of.clone(), request, peer, asked.clone());
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let observed = Observed::new(socket, progress.clone());
    let serving = hyper::server::conn::http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(hyper_util::rt::TokioIo::new(observed), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let mut closing = false;
    loop {
        let why = tokio::select! {
            biased;
            why = until_over(serving.as_mut(), &progress, edge.deadlines) => why,
            () = displaced.cancelled() => CloseReason::Displaced,
            () = edge.aborted.cancelled() => CloseReason::Aborted,
            () = edge.closing.cancelled(), if !closing => {
                closing = true;
                serving.as_mut().graceful_shutdown();
                continue;
            }
        };
        if let Some(reason) = why.reason() {
            metrics::counter!("web_connections_cut_total", "reason" => reason).increment(1);
        }
        return;
    }
}

/// Polls the connection and the timer of its phase. The phase changes only while the connection is polled.
async fn until_over<F: Future>(mut serving: Pin<&mut F>, progress: &Progress, deadlines: Deadlines) -> CloseReason {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(CloseReason::Closed);
        }
        let Some((at, reason)) = progress.ends_at(&deadlines) else { return Poll::Pending };
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).map(|()| CloseReason::Overdue(reason))
    })
    .await
}

/// Why a connection is over.
enum CloseReason {
    /// By itself, or handed on to a WebSocket.
    Closed,
    /// A phase took too long.
    Overdue(&'static str),
    /// Its place was given to another.
    Displaced,
    /// The server ends.
    Aborted,
}

impl CloseReason {
    /// Why it was cut, for the metric; `None` if it was not.
    fn reason(&self) -> Option<&'static str> {
        match self {
            CloseReason::Closed | CloseReason::Aborted => None,
            CloseReason::Overdue(reason) => Some(*reason),
            CloseReason::Displaced => Some("displaced"),
        }
    }
}

async fn answer<E>(
    edge: Arc<Edge<E>>,
    request: hyper::Request<hyper::body::Incoming>,
    peer: SocketAddr,
    progress: Arc<Progress>,
) -> hyper::Response<Answer>
where
    E: Endpoint<Output = Response> + 'static,
{
    let has_body = !request.body().is_end_stream();
    let mut request: Request = (request, LocalAddr(edge.local.into()), RemoteAddr(peer.into()), Scheme::HTTP).into();
    if has_body {
        let body = request.take_body();
        request.set_body(until_whole(body, progress.clone()));
    } else {
        progress.whole();
    }
    let response = edge.endpoint.get_response(request).await;
    if response.content_type() == Some(crate::live::CONTENT_TYPE) {
        progress.streams();
    }
    let response: hyper::Response<_> = response.into();
    response.map(|body| Answer::new(body, progress))
}

/// A body that reports its end.
fn until_whole(body: poem::Body, progress: Arc<Progress>) -> poem::Body {
    let end = futures_util::stream::poll_fn(move |_| {
        progress.whole();
        Poll::Ready(None)
    });
    poem::Body::from_bytes_stream(body.into_bytes_stream().chain(end))
}

/// Counts a connection while it exists.
struct Counted(metrics::Gauge);

impl Counted {
    fn new() -> Self {
        let gauge = metrics::gauge!("web_connections");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
