//! Account data entered by merchants, and the checks that all providers need. A wrong field is reported before the
//! account is used.

use url::{Host, Url};

/// Longest id of a merchant or an app taken, in characters.
const MAX_ID_CHARS: usize = 32;

/// A field of an account that cannot work, explained to the person who enters it. Quotes no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {advice}")]
pub struct AccountError {
    /// The field, such as `api_v3_key` or `platform_keys[0].pem`.
    pub field: String,
    /// What is wrong with it and what to do.
    pub advice: String,
}

pub(super) fn wrong<T>(field: impl Into<String>, advice: impl Into<String>) -> Result<T, AccountError> {
    Err(AccountError { field: field.into(), advice: advice.into() })
}

/// Scheme and host of a provider's service: https, or a sandbox on this computer.
pub(super) fn base_url(field: &'static str, text: &str, example: &str) -> Result<Url, AccountError> {
    let Ok(url) = Url::parse(text) else {
        return wrong(field, format!("enter an address such as {example}"));
    };
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return wrong(field, format!("the address has no host: enter one such as {example}")),
    };
    if !(url.scheme() == "https" || (url.scheme() == "http" && here)) {
        return wrong(field, "the address must begin with https:// (http:// only for a sandbox on this machine)");
    }
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare {
        return wrong(field, format!("enter scheme and host only, such as {example}: the paths follow from the calls"));
    }
    Ok(url)
}

/// Checks an id from the provider that is sent unchanged.
pub(super) fn identifier(field: &'static str, text: &str) -> Result<(), AccountError> {
    let good = (1..=MAX_ID_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if good { Ok(()) } else { wrong(field, format!("enter 1 to {MAX_ID_CHARS} letters and digits, without blanks")) }
}
