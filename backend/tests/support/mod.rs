//! A whole backend on a real store, in a world the test plays: clock, broker, provider, modules.

pub mod actors;
pub mod app;
pub mod bank;
pub mod bus;
pub mod clock;
pub mod module;
pub mod store;

pub use app::{Options, Shop, TestApp};
pub use bank::{Call, Fault, Standing, What};
pub use module::{done, duplicate, failed, stage};
