//! A shop on a real store and a real socket, and the providers' sandbox that its payers use.
//!
//! Clock, bus, module and store are those of the backend's own tests.

#![allow(dead_code)]

#[path = "../../../../backend/tests/support/actors.rs"]
pub mod actors;
pub mod app;
#[path = "../../../../backend/tests/support/books.rs"]
pub mod books;
#[path = "../../../../backend/tests/support/bus.rs"]
pub mod bus;
#[path = "../../../../backend/tests/support/clock.rs"]
pub mod clock;
#[path = "../../../../backend/tests/support/module.rs"]
pub mod module;
pub mod own_sandbox;
pub mod phone;
pub mod provider;
pub mod rows;
pub mod shop;
#[path = "../../../../backend/tests/support/store.rs"]
pub mod store;

pub use app::TestApp;
pub use module::{failed, stage};
pub use provider::Provider;
pub(crate) use rows::with_each_provider;
pub use shop::PRICE_MINOR;
