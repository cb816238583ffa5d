//! The embedded MQTT broker: a gate before rumqttd.
//!
//! **What it is.** The gate is the MQTT endpoint of every client, over TCP, TLS and WebSocket: 3.1.1 and 5 on one port. It
//! authenticates, binds the client identifier to the credential, holds every publish, subscription and will against the
//! client's grants, bounds everything ([`Limits`]), keeps sessions and retained messages, and knows who gets what. rumqttd
//! is the core behind it, reached in process over one link in and one link out; no client may reach it directly.
//!
//! **What it is not.** It does not know what its clients are for: [`Authenticate`] gives each a lane ([`Lane`]: one of thousands of
//! devices, or anybody else) and grants ([`Grants`]). It keeps nothing across a restart. Not supported, and refused with the right code: extended authentication
//! (AUTH), publishing to topics starting with `$`, topics outside printable ASCII, an MQTT 5 password without a user name.
//!
//! **Where to enter.** [`start`], then [`Broker`]. A connection's way is `connection/`, a message's is
//! `connection/publish` -> `gate` -> `core` -> `gate` -> `routes` -> `session`.
//!
//! **Invariants.**
//! - Nothing reaches the core but topics that were checked and granted; it holds one log, however many clients there are.
//! - A session belongs to a credential; one connection owns it at a time, and whoever takes it over publishes the old will
//!   before anything of its own.
//! - A QoS 1 or 2 publish is acknowledged only once the core has it; one that may not be is never acknowledged as good.
//! - No lock is held across an await. Lock order: registry, a group's turn, session, then routes, a group's members or the
//!   retained messages; the core's publisher before the last.
//! - No password is stored or logged.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod broker;
mod codec;
mod config;
mod connection;
mod core;
mod failures;
mod gate;
mod listener;
mod measure;
mod message;
mod refusals;
mod retained;
mod routes;
mod session;
mod slots;
mod statistics;
mod sweep;
mod tls;
mod topic;

pub use auth::{Authenticate, ClientIdRule, Grants, Lane, Login, Refusal, Version};
pub use broker::{Broker, StartError, start};
pub use config::{Config, LimitError, Limits};
pub use listener::{SUBPROTOCOLS, agree_on_subprotocol};
pub use session::ConnectionInfo;
pub use tls::{TlsError, TlsFiles};
pub use topic::TopicError;
