//! The cookie that carries a session's id.

use poem::Request;

/// The session's cookie.
pub(crate) const COOKIE: &str = "cw_session";

/// The session's cookie of a request, or nothing.
pub(crate) fn cookie(request: &Request) -> String {
    request.cookie().get(COOKIE).map(|cookie| cookie.value_str().to_owned()).unwrap_or_default()
}
