//! The embedded MQTT broker: a gate before rumqttd.
//!
//! **What it is.** The gate is the MQTT endpoint of every client, over TCP, TLS and WebSocket: 3.1.1 and 5 on one port.
//! It authenticates, binds the client identifier to the credential, checks every publish, subscription and will against
//! the client's grants, bounds everything ([`Limits`]), keeps sessions and retained messages, and decides who gets
//! what. rumqttd is the core behind it, reached in process over one link in and one link out; no client may reach it
//! directly.
//!
//! **What it is not.** It does not know the purpose of its clients: [`Authenticate`] gives each a lane ([`Lane`]: one
//! of thousands of devices, or anybody else) and grants ([`Grants`]). It keeps nothing across a restart. Not supported,
//! and refused with the right code: extended authentication (AUTH), publishing to topics starting with `$`, topics
//! outside printable ASCII, an MQTT 5 password without a user name.
//!
//! **Where to enter.** [`start`], then [`Broker`]. The path of a connection is `connection/`, that of a message is
//! `connection/publish` -> `gate` -> `core` -> `gate` -> `routes` -> `session`.
//!
//! **Invariants.**
//! - Only topics that were checked and granted reach the core; it holds one log, however many clients there are.
//! - A session belongs to a credential. One connection owns it at a time; a connection that takes it over publishes the
//!   old will before anything of its own.
//! - A QoS 1 or 2 publish is acknowledged only once the core has it; one that is not allowed is never acknowledged with
//!   success.
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
