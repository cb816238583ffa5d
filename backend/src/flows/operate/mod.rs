//! What people do, a file for each thing they act on. Each begins by asking whether the actor may, and records what was
//! done in the same transaction.

pub mod check_merchant;
pub mod coins;
pub mod connection;
pub mod disable_module;
pub(crate) mod learning;
pub mod machine;
pub mod manufacturer;
pub mod member;
pub mod merchant;
pub mod module;
pub mod operator;
pub mod price;
pub mod register_module;
pub(crate) mod remote_action;
pub mod sale;
