//! A socket for the [`app`](crate::app()).

use crate::{
    app,
    config::{MetricsText, WebConfig},
    edge::{self, Bounds, Deadlines},
    guard::{compression, proxies::TrustedProxies},
    pages::health::metrics_answer,
    serve_error::WebError,
};
use poem::{Endpoint, EndpointExt, Response, Route, endpoint::make_sync, get};
use std::{io, net::SocketAddr};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Most connections at once if only metrics are served.
const METRICS_CONNECTIONS: usize = 16;

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
/// If the address cannot be used.
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
pub fn serve(
    bound: Bound,
    config: WebConfig,
    backend: backend::Context,
    shutdown: CancellationToken,
) -> Result<Web, WebError> {
    let bounds = Bounds {
        connections: config.limits.connections as usize,
        connections_per_address: config.limits.connections_per_address as usize,
        deadlines: Deadlines::DEFAULT,
    };
    let proxies = config.proxies.clone();
    let app = app(config, backend, shutdown.clone())?;
    Ok(start(bound, app, bounds, proxies, shutdown))
}

/// Serves only metrics, under `/metrics`, on a separate address, until `shutdown` is cancelled.
pub fn serve_metrics(bound: Bound, metrics: MetricsText, shutdown: CancellationToken) -> Web {
    let bounds = Bounds {
        connections: METRICS_CONNECTIONS,
        connections_per_address: METRICS_CONNECTIONS,
        deadlines: Deadlines::DEFAULT,
    };
    let site = Route::new().at("/metrics", get(make_sync(move |_| metrics_answer(&metrics))));
    let site = site.around(compression::compress).map_to_response();
    start(bound, site, bounds, TrustedProxies::none(), shutdown)
}

pub(crate) fn start<E>(
    bound: Bound,
    site: E,
    bounds: Bounds,
    proxies: TrustedProxies,
    shutdown: CancellationToken,
) -> Web
where
    E: Endpoint<Output = Response> + 'static,
{
    let done = tokio::spawn(edge::serve(bound.listener, site, bounds, proxies, shutdown));
    Web { local_addr: bound.local_addr, done }
}
