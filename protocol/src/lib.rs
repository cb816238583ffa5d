//! The wire between a cloud module and the server: topics, messages, signing, ids, limits.
//!
//! What it is: the one description of the bytes, shared by firmware and server. `no_std`, no allocation, no I/O.
//! What it is not: a client, a broker, or a place for decisions (expiry, order, dedupe live in `module-firmware`
//! and `backend`).
//!
//! Enter at [`messages`] for what is said, [`envelope`] for how it is signed, [`topics`] for where it goes.
//! `docs/PROTOCOL.md` is the contract in words; `vectors/` holds golden bytes for it.
//!
//! Invariants: decoding never panics on any bytes; unknown fields, actions, stages and reasons are carried or
//! skipped, never an error; a number once given to a field is never given to another.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod console;
mod diagnostics;
pub mod envelope;
pub mod fields;
pub mod ids;
pub mod keys;
mod learn;
pub mod limits;
pub mod messages;
mod open_enum;
mod settings;
pub mod topics;

pub use envelope::{OpenError, SealError, open, seal};
pub use ids::ModuleId;
pub use keys::{MessageKey, ModuleSecret};
