//! The middleware that requests pass before a handler, and answers after it.

pub(crate) mod address;
pub(crate) mod compression;
pub(crate) mod csrf;
pub(crate) mod envelope;
pub(crate) mod form_token;
pub(crate) mod limits;
pub(crate) mod proxies;
pub(crate) mod session;
pub(crate) mod session_cookie;
pub(crate) mod sign_ins;
pub(crate) mod signed_cookie;
pub(crate) mod streams;
