//! The web: pages, provider callbacks and live events, on poem and tera.
//!
//! It decides nothing and stores nothing. A handler parses, calls the backend, renders.
//!
//! Enter at [`bind`] and [`serve()`], or at [`app()`] to call it without a socket. `app.rs` has the routes, `pages/` a file
//! a page, `edge/` the connections, `guard/` what every request passes through, `shared.rs` what handlers share, `rendering.rs` and
//! `live.rs` the server-sent events, `templates/`, `demo/`, `static/` and
//! `locales/` what is embedded in the binary.
//!
//! Invariants:
//! - Every request passes `guard::envelope` (request id, security headers, panics and errors made into pages) and
//!   `guard::csrf` (all unsafe methods but the callbacks, which prove themselves by signature).
//! - Everything under `/operator` passes `guard::session`, and every call made there names the member's operator.
//! - Pages work without JavaScript; scripts only keep them fresh.
//! - Both languages have the same texts. A missing text is an error, not an empty string.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod callbacks;
mod config;
mod contact;
#[cfg(feature = "demo")]
mod demo;
mod edge;
mod error_page;
mod exchanges;
mod failure;
mod guard;
mod live;
mod locale;
mod money;
mod mqtt;
mod navigation;
mod page;
mod pages;
mod payer_app;
mod qr_code;
mod rendering;
mod serve;
mod serve_error;
mod shared;
mod templates;

pub use app::app;
#[cfg(not(feature = "demo"))]
pub use config::DemoPanel;
pub use config::EmbeddedBroker;
pub use config::Limits;
pub use config::Messages;
pub use config::MetricsText;
pub use config::MqttConnection;
pub use config::MqttParty;
pub use config::Replies;
pub use config::WebConfig;
#[cfg(feature = "demo")]
pub use demo::{DemoControl, DemoLearning, DemoModule, DemoPanel};
pub use guard::proxies::ProxyHeader;
pub use guard::proxies::TrustedProxies;
pub use locale::Language;
pub use serve::Bound;
pub use serve::Web;
pub use serve::bind;
pub use serve::serve;
pub use serve::serve_metrics;
pub use serve_error::WebError;
pub use templates::Templates;
