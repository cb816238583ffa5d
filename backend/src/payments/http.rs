//! Shared by the HTTP clients of payment providers: the connections, and the errors for answers that did not come or
//! cannot be read.

use super::provider::ProviderError;
use std::{sync::Arc, time::Duration};

/// Returns the time in unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Largest answer read, in bytes. Real ones have about 2 KiB.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Code of [`ProviderError::Refused`] when a request breaks a documented limit and was never sent.
pub const NOT_SENT: &str = "NOT_SENT";
/// How long a whole call may take, from connecting to the answer's last byte.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connecting may take within that.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Our user agent.
pub(super) const AGENT: &str = concat!("coinwire/", env!("CARGO_PKG_VERSION"));

/// The HTTP client that providers are made with; one serves all accounts. It follows no redirects, which would carry a
/// signed request elsewhere, and takes no proxy from the environment.
///
/// # Errors
/// The TLS library cannot be set up on this computer.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}

/// The error for a request that breaks a limit and was not sent.
pub(super) fn not_sent(why: &str) -> ProviderError {
    ProviderError::Refused { code: NOT_SENT.into(), message: why.into() }
}

/// Checks a request against a documented limit before it is sent.
pub(super) fn ensure(good: bool, why: &str) -> Result<(), ProviderError> {
    if good { Ok(()) } else { Err(not_sent(why)) }
}

/// What went wrong on the way, without the URL.
pub(super) fn fault(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    match cause {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_owned(),
    }
}

/// The body of an answer, or why there is none.
pub(super) async fn read_limited(response: &mut reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(format!("the answer has more than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Where and how a JSON text is broken, without quoting from it (it may hold payers' data).
pub(super) fn json_fault(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Data => "lacks a field or has one of another type",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "is not JSON",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

/// The longest beginning of a text that fits into `limit` bytes and cuts no character.
pub(super) fn truncated(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
