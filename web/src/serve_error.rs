//! Why the site cannot be served.

use std::{io, net::SocketAddr};

/// Why the web does not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address is in use, or not this computer's.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The public address is invalid.
    #[error("public_url {0:?} must be an http or https address without a path")]
    PublicUrl(String),
    /// The embedded templates are damaged.
    #[error("templates: {0}")]
    Templates(#[from] tera::Error),
}
