//! What the fuzz targets stand on: a broker without sockets, clients that check all it says to them, and a witness that
//! sees whether it still serves.
//!
//! A panic, on whatever thread or task, ends the process: libFuzzer's runtime makes it an abort.

mod client;
mod fixture;
mod logins;
mod plan;

pub use client::Client;
pub use fixture::Fixture;
pub use logins::{Logins, PASSWORD};
pub use plan::{Plan, SLOTS, Step};
