//! The web: pages, provider callbacks and live events, on poem and tera.
//!
//! What it is not: it decides nothing and stores nothing. A handler parses, calls the backend, renders.
//!
//! Enter at [`bind`] and [`serve()`], or at [`app()`] to call it without a socket. `app.rs` has the routes, `pages/` a file
//! a page, `edge/` the connections, `guard/` what every request passes through, `live.rs` the server-sent events, `templates/`, `static/` and
//! `locales/` what is embedded in the binary.
//!
//! Invariants:
//! - Every request passes `guard::envelope` (request id, security headers, panics and errors made into pages) and
//!   `guard::csrf` (all unsafe methods but the callbacks, which prove themselves by signature).
//! - Everything under `/operator` passes `guard::session`, and every call made there names the member's operator.
//! - Pages work without JavaScript; scripts only keep them fresh.
//! - Both languages have the same texts, and a text that is missing is an error, not an empty place.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod callbacks;
mod config;
mod contact;
mod edge;
mod error_page;
mod failure;
mod guard;
mod live;
mod locale;
mod mqtt;
mod navigation;
mod page;
mod pages;
mod serve;
mod templates;

pub use app::app;
pub use config::{
    DemoControl, DemoModule, DemoPanel, EmbeddedBroker, Limits, Messages, MetricsText, MqttConnection, MqttParty,
    Replies, WebConfig,
};
pub use guard::proxies::{ProxyHeader, TrustedProxies};
pub use locale::Language;
pub use serve::{Bound, Web, WebError, bind, serve, serve_metrics};
pub use templates::Templates;
