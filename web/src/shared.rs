//! What the handlers share.

use crate::{
    config::WebConfig,
    exchanges::Exchanges,
    guard::{limits::RateLimits, sign_ins::SignIns, streams::Streams},
    rendering,
    templates::Templates,
};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};
use tokio_util::sync::CancellationToken;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) backend: backend::Context,
    pub(crate) config: WebConfig,
    pub(crate) templates: Templates,
    pub(crate) limits: RateLimits,
    pub(crate) sign_ins: SignIns,
    pub(crate) streams: Arc<Streams>,
    /// Fragments that are rendered once for all viewers.
    pub(crate) shared_fragments: Arc<rendering::Shared>,
    pub(crate) exchanges: Exchanges,
    /// A proxy that forwards visitors' requests and is not trusted.
    pub(crate) unknown_proxy: OnceLock<IpAddr>,
    pub(crate) shutdown: CancellationToken,
}
