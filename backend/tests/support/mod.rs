//! A whole backend on a real store, in a world the test plays: clock, broker, provider, modules.

pub mod actors;
pub mod app;
pub mod books;
pub mod bus;
pub mod clock;
pub mod module;
pub mod providers;
pub mod store;

pub use app::{Options, Shop, TestApp};
pub use fake_providers::{
    bank::{self, Call, Fault, Standing, What},
    kiosk,
};
pub use module::{done, duplicate, failed, stage};

/// An amount as people write it, without its sign.
pub fn paid(paid: &Option<backend::money::PaidMoney>) -> Option<String> {
    paid.as_ref().and_then(|paid| paid.known()).map(backend::money::Money::decimal)
}
