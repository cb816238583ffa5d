//! The outermost layer: a request id, one log line for each error that is our fault, errors and panics as pages,
//! security headers.

use crate::{error_page, guard::address, locale::Language, page::Page, shared::App};
use backend::clock::{SystemRandom, random_text};
use futures_util::FutureExt;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};
use tracing::Instrument;

/// Characters of a request id.
const REQUEST_ID_CHARS: usize = 12;
/// The header that carries it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Resources from this origin only, no inline scripts or styles; framing is denied.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// As above, but the order form's answer redirects to the payment provider, and browsers check a form's redirect
/// against `form-action` too.
const CHECKOUT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self' https: http:; frame-ancestors 'none'";
/// Needed by the apps that show a sale's page: they communicate through frames with their own schemes.
const APP_FRAMES: &str = "; frame-src weixin: weixinping: alipay: alipays:";
/// A year.
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// The envelope. Its inner endpoint is the whole site.
pub(crate) async fn envelope<E: Endpoint>(
    app: Arc<App>,
    inner: Arc<E>,
    mut request: Request,
) -> poem::Result<Response> {
    let started = Instant::now();
    let request_id = random_text(&SystemRandom, REQUEST_ID_CHARS);
    let page = Page::open(&app, &request, request_id.clone()).await;
    let asked = error_page::Asked::of(&request);
    if request.method() == Method::GET
        && let Some(language) = Language::picked(&request)
    {
        language.remember(&request, app.config.secure_cookies);
    }
    notice_unknown_proxy(&app, &request);
    let method = request.method().clone();
    let is_checkout = request.uri().path().starts_with("/s/");
    let is_sale = request.uri().path().starts_with("/sale/");
    request.extensions_mut().insert(page.clone());
    // The path stays out of the log: it carries sale tokens and account tokens.
    let span = tracing::info_span!("request", id = %request_id, %method);
    let outcome = AssertUnwindSafe(inner.call(request)).catch_unwind().instrument(span.clone()).await;
    let (mut response, pattern) = match outcome {
        Ok(Ok(response)) => {
            let response = response.into_response();
            let pattern = response.data::<PathPattern>().map(|pattern| pattern.0.to_string());
            (response, pattern)
        }
        Ok(Err(error)) => {
            let pattern = error.data::<PathPattern>().map(|pattern| pattern.0.to_string());
            (error_page::from_error(&page, &asked, error).instrument(span).await, pattern)
        }
        Err(_) => (error_page::from_panic(&page, &asked).instrument(span).await, None),
    };
    count(&method, pattern.as_deref(), response.status(), started);
    add_headers(&app, &mut response, (is_checkout, is_sale), &request_id);
    Ok(response)
}

fn count(method: &Method, pattern: Option<&str>, status: StatusCode, started: Instant) {
    let labels = [
        ("method", method_label(method).to_owned()),
        ("route", pattern.unwrap_or("none").to_owned()),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("web_requests_total", &labels).increment(1);
    metrics::histogram!("web_request_seconds", &labels).record(started.elapsed().as_secs_f64());
}

/// A method as a metric's label. Unknown methods are grouped: anybody can invent some, and each would be a series for
/// the life of the process.
fn method_label(method: &Method) -> &str {
    const KNOWN: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS, Method::PUT];
    if KNOWN.contains(method) { method.as_str() } else { "other" }
}

/// Warns once if requests come through a proxy that is not listed as trusted, so that all its visitors count as one.
fn notice_unknown_proxy(app: &App, request: &Request) {
    let Some(proxy) = address::unknown_proxy(request, &app.config.proxies) else { return };
    metrics::counter!("web_unknown_proxy_requests_total").increment(1);
    if app.unknown_proxy.set(proxy).is_ok() {
        tracing::warn!(
            %proxy,
            "requests come from a proxy that is not trusted: all visitors behind it count as one, and share one limit. If it \
             is yours and adds the visitor's address to X-Forwarded-For or Forwarded, set trusted_proxies = [\"{proxy}\"]"
        );
    }
}

/// What a page may load, call and send.
fn policy(app: &App, is_checkout: bool, is_sale: bool) -> String {
    let policy = if is_checkout { CHECKOUT_POLICY } else { CONTENT_POLICY };
    if !is_sale {
        return policy.to_owned();
    }
    let policy = format!("{policy}{APP_FRAMES}");
    // In a demo, the sandbox's script plays the app.
    let Some(sandbox) = app.config.sandbox_url() else { return policy };
    let sources = ["script-src", "connect-src"];
    sources.iter().fold(policy, |policy, source| {
        policy.replace(&format!("{source} 'self'"), &format!("{source} 'self' {sandbox}"))
    })
}

fn add_headers(app: &App, response: &mut Response, (is_checkout, is_sale): (bool, bool), request_id: &str) {
    let headers = response.headers_mut();
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // WeChat's H5 payment requires the origin in the Referer header; no site gets more than the origin.
        (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&policy(app, is_checkout, is_sale)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
    if app.config.public_url.starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_share_one_metric_series() {
        for method in ["M0000001X", "get", "PRI", "TRACE", "DELETE"] {
            assert_eq!(method_label(&method.parse().unwrap()), "other");
        }
        assert_eq!((method_label(&Method::GET), method_label(&Method::POST)), ("GET", "POST"));
    }
}
