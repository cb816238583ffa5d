//! Errors of handlers, and the page that a person sees for each.

use poem::{error::ResponseError, http::StatusCode};

/// Why a handler cannot show its page. The envelope turns this into an error page, and logs it if it is our fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The backend returned an error.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// An order failed; the payer may go back to the machine's page.
    #[error("order at {code}: {source}")]
    Order {
        /// The machine's code.
        code: String,
        /// Why.
        source: backend::Error,
    },
    /// A template is wrong.
    #[error("template: {}", chain(.0))]
    Template(#[from] tera::Error),
    /// Too many requests in a short time.
    #[error("too many requests")]
    TooMany {
        /// When to try again.
        retry_after_s: u64,
    },
    /// The form was sent from another site, or has no token of ours and cannot get a new one.
    #[error("form token: {0}")]
    Forged(&'static str),
    /// The body is longer than anything sent here.
    #[error("body too large")]
    TooLarge,
    /// The body did not come in time.
    #[error("body too slow")]
    TooSlow,
    /// The request is invalid.
    #[error("{0}")]
    Malformed(&'static str),
    /// There is no such page or thing.
    #[error("not found")]
    NotFound,
    /// All live streams are taken.
    #[error("no live stream free")]
    Busy,
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

fn backend_status(error: &backend::Error) -> StatusCode {
    use backend::Error as E;
    match error {
        E::NotFound(_) => StatusCode::NOT_FOUND,
        E::Forbidden(_) => StatusCode::FORBIDDEN,
        E::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        E::NotReady(_) | E::Conflict(_) | E::PayerUnknown => StatusCode::CONFLICT,
        E::Provider(_) => StatusCode::BAD_GATEWAY,
        E::Bus(_) | E::Store(_) | E::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        E::Inconsistent(_) | E::Sealed | E::Unknown { .. } | E::Config { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ResponseError for Failure {
    fn status(&self) -> StatusCode {
        match self {
            Failure::Backend(source) | Failure::Order { source, .. } => backend_status(source),
            Failure::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Failure::Forged(_) => StatusCode::FORBIDDEN,
            Failure::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Failure::Malformed(_) => StatusCode::BAD_REQUEST,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// When to try again if too many are being served (seconds).
const BUSY_S: u64 = 5;

/// All words of error pages.
#[cfg(test)]
pub(crate) const ERROR_WORDS: [&str; 15] =
    ["400", "403", "404", "405", "408", "409", "413", "422", "429", "500", "503", "machine", "sale", "order", "role"];

/// What an error page says.
pub(crate) struct ErrorWords {
    pub(crate) status: StatusCode,
    /// `error-<word>-title` and `error-<word>-text` in the locales.
    pub(crate) word: &'static str,
    pub(crate) retry_after_s: Option<u64>,
}

impl ErrorWords {
    /// The words for an error that a handler or poem raised.
    pub(crate) fn of(error: &poem::Error) -> Self {
        let status = error.status();
        let mut words = Self { status, word: status_word(status), retry_after_s: None };
        match error.downcast_ref::<Failure>() {
            // The payer was not sent to the provider yet, so no money can have moved.
            Some(Failure::Order { .. }) => words.word = "order",
            Some(Failure::Backend(backend::Error::NotFound("machine"))) => words.word = "machine",
            Some(Failure::Backend(backend::Error::NotFound("sale"))) => words.word = "sale",
            Some(Failure::Backend(backend::Error::Forbidden(_))) => words.word = "role",
            Some(Failure::TooMany { retry_after_s }) => words.retry_after_s = Some(*retry_after_s),
            Some(Failure::Busy | Failure::Backend(backend::Error::Busy(_))) => words.retry_after_s = Some(BUSY_S),
            _ => {}
        }
        words
    }
}

fn status_word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        422 => "422",
        429 => "429",
        502 | 503 => "503",
        400..=499 => "400",
        _ => "500",
    }
}
