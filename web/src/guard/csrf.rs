//! Forms from elsewhere are refused: the one check for all unsafe methods.
//!
//! Two conditions must hold. The browser says that the form came from our own page (`Sec-Fetch-Site`, else `Origin`; a
//! browser that sends neither passes this check). And the form carries a token that we signed. In a member's forms it
//! is bound to the session, so that nobody else can have it. Consumers, and people who are about to sign in, have no
//! session; their token only proves that the form is ours.
//!
//! A form from our own page whose token is expired or belongs to another session is not an attack: the page was open
//! for a long time. The form is not executed, but marked [`ExpiredForm`], and answered with a form that can be sent: see
//! `pages/resend.rs`, and the handlers that take [`FormExpired`](super::form_token::FormExpired).
//!
//! Provider callbacks carry no form; their signature is checked by the backend.

use crate::{
    failure::Failure,
    guard::form_token::{ExpiredForm, FIELD, binding, check_token},
    navigation::Area,
    page::Page,
    pages::resend,
    shared::App,
};
use poem::{Endpoint, FromRequest, IntoResponse, Request, Response, error::ReadBodyError, http::Method};
use std::{sync::Arc, time::Duration};

const HEADER: &str = "x-csrf-token";
/// The longest form body.
const FORM_BYTES: usize = 16 * 1024;
/// The longest time that receiving a form may take.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Paths under this are excluded; their requests are proven in another way.
const CALLBACKS: &str = "/callbacks/";
/// Needs no token.
const SIGN_OUT: &str = "/sign-out";

/// Whether the request comes from our own pages, as far as the browser says anything.
fn is_from_here(request: &Request, public_url: &str) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        // `none` means that the person started it: a bookmark, a reload.
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
    // The sender of a payer's form gets the current prices, and nothing is ordered.
    if !is_ours && !is_order {
        return Err(Failure::Forged("sent from another site").into());
    }
    // Signing out is executed even from an old page: the person wants it, and it harms nobody.
    if path == SIGN_OUT && *request.method() == Method::POST {
        return inner.call(request).await.map(IntoResponse::into_response);
    }
    let body = tokio::time::timeout(FORM_TIMEOUT, request.take_body().into_bytes_limit(FORM_BYTES))
        .await
        .map_err(|_| Failure::TooSlow)?
        .map_err(|error| {
            let is_too_large = matches!(error, ReadBodyError::PayloadTooLarge);
            if is_too_large { Failure::TooLarge } else { Failure::Malformed("the body broke off") }
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
            // None of these executes it: see `members_only`, and the handlers of the two forms.
            Area::Operator | Area::SignIn => {}
            Area::Consumer if is_order => {}
            Area::Demo => return Ok(resend::answer(&page, None, &expired_form)?),
            Area::Consumer | Area::Other => return Err(Failure::Forged(why).into()),
        }
        tracing::debug!(why, "a form whose token does not hold: it is shown again");
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
