//! Sales: from choosing a price to a given credit or a refund.
//!
//! [`state`] decides every step, `manual_decision` what a person may decide. `order_attachment` is sent along with the
//! payment, so that an order can be rebuilt if a store restored from a copy lacks it.

pub(crate) mod action;
pub mod actions;
pub(crate) mod manual_decision;
pub(crate) mod order_attachment;
pub mod readiness;
pub(crate) mod rows;
pub(crate) mod sale;
pub mod shapes;
pub mod state;
pub mod takings;
pub mod views;

pub use actions::ActionRow;
pub use manual_decision::{ManualAction, Settlement};
pub use state::SaleState;
