//! What can go wrong, by who is at fault.

use crate::{access::operations::Operation, payments::provider::ProviderError, sales::readiness::Readiness};

/// Why the backend did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist, or not for this caller.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The data in the database is inconsistent. That is our fault, not the caller's. Nothing was done.
    #[error("the database is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// The caller may not do this, though it may do other things there: the member has the wrong role.
    #[error("not permitted: {}", .0.as_str())]
    Forbidden(Operation),
    /// The caller's input is wrong: which field, and what to do.
    #[error("{field}: {message}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// A sentence for a person.
        message: String,
    },
    /// The machine cannot credit now; no order was made.
    #[error("the machine cannot take money now: {}", .0.words())]
    NotReady(Readiness),
    /// The payment provider must first say who pays; no order was made.
    #[error("the payment provider must first say who pays")]
    PayerUnknown,
    /// Somebody changed it meanwhile; nothing was done.
    #[error("{0} was changed in the meantime; reload and try again")]
    Conflict(&'static str),
    /// Too much is being done at the moment; nothing was done.
    #[error("too many are waiting for {0}; try again in a moment")]
    Busy(&'static str),
    /// The payment provider refused or failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The message broker cannot be reached.
    #[error("the message broker cannot be reached: {0}")]
    Bus(String),
    /// The database failed. Nothing that was confirmed as done is lost.
    #[error("database: {0}")]
    Store(#[from] sea_orm::DbErr),
    /// A stored secret cannot be opened with the configured key, or is damaged.
    #[error("a stored secret cannot be opened: is the key in `secret_key_file` the one it was stored with?")]
    Sealed,
    /// The database holds an enumeration value that this version does not know.
    #[error("the database has {value:?} as a {what}, which this version does not know: was it written by a newer one?")]
    Unknown {
        /// What kind of value it should be.
        what: &'static str,
        /// The value found.
        value: String,
    },
    /// The configuration is wrong: which setting, and what to do.
    #[error("setting {setting}: {message}")]
    Config {
        /// The setting's name.
        setting: &'static str,
        /// A sentence for a person.
        message: String,
    },
}

/// The result of the backend's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an [`Error::Inconsistent`], logged and counted here for the person who runs the server.
    pub(crate) fn inconsistent(what: &'static str) -> Self {
        tracing::error!(what, "the database is inconsistent; please report this");
        metrics::counter!("coinwire_inconsistencies_total").increment(1);
        Error::Inconsistent(what)
    }

    /// An [`Error::Invalid`].
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Error::Invalid { field, message: message.into() }
    }
}
