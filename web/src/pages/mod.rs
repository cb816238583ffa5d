//! The pages, one file each.

pub(crate) mod confirm;
pub(crate) mod connections;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod machine;
pub(crate) mod member_context;
pub(crate) mod module;
mod module_settings;
pub(crate) mod order_cookie;
pub(crate) mod resend;
pub(crate) mod sale;
pub(crate) mod sales;
pub(crate) mod scan;
pub(crate) mod sign_in;
#[cfg(test)]
mod tests;
