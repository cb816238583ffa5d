//! Forms from elsewhere are refused: the one check for all unsafe methods.
//!
//! Two things must hold. The browser says the form came from our own page (`Sec-Fetch-Site`, else `Origin`; a browser
//! that says neither is let by). And the form carries a token that we signed for this session: a stranger cannot have
//! one for a signed-in member. Consumers have no session and need no cookie; their token only says that the form is ours.
//!
//! Provider callbacks carry no form; their signature is checked by the backend.

use crate::{app::App, failure::Failure, guard};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use poem::{Endpoint, IntoResponse, Request, Response, http::Method};
use sha2::Sha256;
use std::{sync::Arc, time::Duration};

/// The form field, and the header, that carry the token.
pub(crate) const FIELD: &str = "csrf";
const HEADER: &str = "x-csrf-token";
/// How long a form may lie open.
const TOKEN_LIFE_MS: i64 = 12 * 3600 * 1000;
/// The longest form body.
const FORM_BYTES: usize = 16 * 1024;
/// The longest time a form may take to come in.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// What is under here is excluded, and proves itself otherwise.
const CALLBACKS: &str = "/callbacks/";

/// What a token is bound to: the session, if there is one.
pub(crate) fn binding(request: &Request) -> String {
    request.cookie().get(guard::session::COOKIE).map(|cookie| cookie.value_str().to_owned()).unwrap_or_default()
}

/// A token for a form: when it was made, and our signature.
pub(crate) fn token(key: &[u8; 32], binding: &str, now_ms: i64) -> String {
    let made = BASE64.encode(now_ms.to_be_bytes());
    let tag = BASE64.encode(signature(key, binding, now_ms).finalize().into_bytes());
    format!("{made}.{tag}")
}

fn signature(key: &[u8; 32], binding: &str, made_ms: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
    mac.update(b"coinwire form\0");
    mac.update(&made_ms.to_be_bytes());
    mac.update(binding.as_bytes());
    mac
}

fn check_token(key: &[u8; 32], binding: &str, token: &str, now_ms: i64) -> Result<(), &'static str> {
    let (made, tag) = token.split_once('.').ok_or("malformed")?;
    let made = BASE64.decode(made).map_err(|_| "malformed")?;
    let made_ms = i64::from_be_bytes(made.try_into().map_err(|_| "malformed")?);
    let tag = BASE64.decode(tag).map_err(|_| "malformed")?;
    // Compares in constant time.
    signature(key, binding, made_ms).verify_slice(&tag).map_err(|_| "not ours, or another session's")?;
    match now_ms.saturating_sub(made_ms) {
        age if age > TOKEN_LIFE_MS => Err("too old"),
        // Made by us before the clock was set back: no reason to lose what somebody typed.
        age if age < -TOKEN_LIFE_MS => Err("from the future"),
        _ => Ok(()),
    }
}

/// Whether the browser says the request comes from our own pages, as far as it says anything.
fn is_from_here(request: &Request, public_url: &str) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        // `none` is the person's own doing: a bookmark, a reload.
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    origin == public_url || (host.is_some() && host == request.header("host"))
}

/// The check, around everything.
pub(crate) async fn check<E: Endpoint>(app: Arc<App>, inner: Arc<E>, mut request: Request) -> poem::Result<Response> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if safe || request.uri().path().starts_with(CALLBACKS) {
        return inner.call(request).await.map(IntoResponse::into_response);
    }
    if !is_from_here(&request, &app.config.public_url) {
        return Err(Failure::Forged("sent from another site").into());
    }
    let body = tokio::time::timeout(FORM_TIMEOUT, request.take_body().into_bytes_limit(FORM_BYTES))
        .await
        .map_err(|_| Failure::TooSlow)?
        .map_err(|error| match error {
            poem::error::ReadBodyError::PayloadTooLarge => Failure::TooLarge,
            _ => Failure::Malformed("the body broke off"),
        })?;
    let field = url::form_urlencoded::parse(&body).find(|(name, _)| name == FIELD).map(|(_, value)| value.into_owned());
    let token = request.header(HEADER).map(str::to_owned).or(field).ok_or(Failure::Forged("missing"))?;
    check_token(&app.config.csrf_key, &binding(&request), &token, app.backend.now_ms()).map_err(Failure::Forged)?;
    request.set_body(body);
    inner.call(request).await.map(IntoResponse::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NOW_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_token_holds_for_its_session_and_its_time() {
        let token = super::token(&KEY, "session", NOW_MS);
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS), Ok(()));
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS + TOKEN_LIFE_MS), Ok(()));
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS + TOKEN_LIFE_MS + 1), Err("too old"));
        assert_eq!(check_token(&KEY, "other", &token, NOW_MS), Err("not ours, or another session's"));
        assert_eq!(check_token(&[8; 32], "session", &token, NOW_MS), Err("not ours, or another session's"));
        for broken in ["", ".", "a.b", "AAAA.AAAA", &token[..token.len() - 2], &format!("{token}AA")] {
            assert!(check_token(&KEY, "session", broken, NOW_MS).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_browsers_word_decides_where_it_gives_one() {
        let from = |headers: &[(&str, &str)]| {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_from_here(&request.finish(), "https://pay.example")
        };
        assert!(from(&[]));
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(from(&[("sec-fetch-site", "none")]));
        assert!(!from(&[("sec-fetch-site", "cross-site")]));
        assert!(!from(&[("sec-fetch-site", "same-site")]));
        assert!(from(&[("origin", "https://pay.example")]));
        assert!(from(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")]));
        assert!(!from(&[("origin", "https://evil.example"), ("host", "pay.example")]));
        assert!(!from(&[("origin", "null")]));
    }
}
