//! Forms from elsewhere are refused: the one check for all unsafe methods.
//!
//! Two things must hold. The browser says the form came from our own page (`Sec-Fetch-Site`, else `Origin`; a browser
//! that says neither is let by). And the form carries a token that we signed. In a member's forms it is bound to the
//! session, so that nobody else can have it. Consumers, and people who are about to sign in, have no session; their
//! token only proves that the form is ours.
//!
//! A form from our own page whose token is expired or belongs to another session is not an attack: the page was open
//! for a long time. The form is not executed, but marked [`ExpiredForm`], and answered with a form that can be sent: see
//! `pages/resend.rs`, and the handlers that take [`FormExpired`].
//!
//! Provider callbacks carry no form; their signature is checked by the backend.

use crate::{app::App, failure::Failure, guard::session, navigation::Area, page::Page, pages::resend};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use poem::{Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response, http::Method};
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
/// Needs no token.
const SIGN_OUT: &str = "/sign-out";

/// What a token is bound to: for a member's forms the session, for all others nothing.
pub(crate) fn binding(request: &Request) -> String {
    match Area::of(request.uri().path()) {
        Area::Operator => session::cookie(request),
        Area::Consumer | Area::SignIn | Area::Demo | Area::Other => String::new(),
    }
}

/// A form with an expired token, or whose session changed while it was open, with what was typed.
#[derive(Debug, Clone)]
pub(crate) struct ExpiredForm {
    pub(crate) fields: Vec<(String, String)>,
}

/// Whether the form's token has expired. Only for handlers that then show their form again and do nothing else.
pub(crate) struct FormExpired(pub(crate) bool);

impl<'a> FromRequest<'a> for FormExpired {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(request.extensions().get::<ExpiredForm>().is_some()))
    }
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
    let page = Page::from_request_without_body(&request).await?;
    let path = request.uri().path().to_owned();
    let is_ours = is_from_here(&request, &app.config.public_url);
    let is_order = is_order(&path);
    // Whoever sends a payer's form gets fresh prices, and nothing is ordered.
    if !is_ours && !is_order {
        return Err(Failure::Forged("sent from another site").into());
    }
    // Signing out is what a person wants whose page is old; it harms nobody.
    if path == SIGN_OUT && *request.method() == Method::POST {
        return inner.call(request).await.map(IntoResponse::into_response);
    }
    let body = tokio::time::timeout(FORM_TIMEOUT, request.take_body().into_bytes_limit(FORM_BYTES))
        .await
        .map_err(|_| Failure::TooSlow)?
        .map_err(|error| match error {
            poem::error::ReadBodyError::PayloadTooLarge => Failure::TooLarge,
            _ => Failure::Malformed("the body broke off"),
        })?;
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = fields.iter().find(|(name, _)| name == FIELD).map(|(_, value)| value.clone());
    let checked = match request.header(HEADER).map(str::to_owned).or(field) {
        Some(token) => check_token(&app.config.csrf_key, &binding(&request), &token, app.backend.now_ms()),
        None => Err("missing"),
    };
    if let Some(why) = checked.err().or((!is_ours).then_some("sent from another site")) {
        let expired_form = ExpiredForm { fields };
        if *request.method() != Method::POST {
            return Err(Failure::Forged(why).into());
        }
        match Area::of(&path) {
            // Each of these does nothing with it: see `members_only`, and the handlers of the two forms.
            Area::Operator | Area::SignIn => {}
            Area::Consumer if is_order => {}
            Area::Demo => return Ok(resend::answer(&page, None, &expired_form)?),
            Area::Consumer | Area::Other => return Err(Failure::Forged(why).into()),
        }
        tracing::debug!(why, "a form with an expired token");
        request.extensions_mut().insert(expired_form);
    }
    request.set_body(body);
    inner.call(request).await.map(IntoResponse::into_response)
}

/// Whether this is the address of a payer's order form.
fn is_order(path: &str) -> bool {
    path.strip_prefix("/s/").and_then(|rest| rest.split_once('/')).is_some_and(|(_, rest)| rest == "order")
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
    fn fetch_metadata_decides_where_the_browser_sends_it() {
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
