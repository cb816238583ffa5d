//! Sales: from a price picked to a credit given or money returned.
//!
//! [`state`] decides every step, `manual_decision` what a person may decide; `order_attachment` is what travels with the payment, so that an order
//! can be rebuilt that a store put back from a copy has forgotten.

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
