//! What people do, a file for each thing they act on.

pub mod coins;
pub(crate) mod learning;
pub mod machine;
pub mod module;
pub mod price;
pub(crate) mod remote_action;
pub mod sale;
