//! Sales: from a price picked to a credit given or money returned.
//!
//! [`state`] decides every step, `by_hand` what a person may decide; `mark` is what travels with the payment, so that an order
//! can be rebuilt that a store put back from a copy has forgotten.

pub(crate) mod action;
pub mod actions;
pub(crate) mod by_hand;
pub(crate) mod mark;
pub mod readiness;
pub mod rows;
pub(crate) mod sale;
pub mod shapes;
pub mod state;
pub mod takings;
pub mod views;

pub use actions::ActionRow;
pub use by_hand::HandAct;
pub use by_hand::Settlement;
pub use state::SaleState;
