//! What people do: each names who acts on what.

pub mod coins;
pub mod learning;
pub mod machine;
pub mod module;
pub mod price;
pub mod remote_action;
pub mod sale;
