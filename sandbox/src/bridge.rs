//! What the bridges of both providers have in common: their scripts, and answers to pages of other origins.

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::Value;

use crate::person::person_of;
use crate::wechat::page::MAX_FORM_BYTES;

/// The window that a bridge's script shows.
pub(crate) const WINDOW: &str = include_str!("payment_window.js");

/// What a page called a bridge with.
pub(crate) struct Call {
    /// `null` for what is no JSON.
    pub(crate) parameters: Value,
    /// The address's query: nothing, or the payer's decision.
    pub(crate) query: Vec<(String, String)>,
    /// Whose browser it is, if that is known.
    pub(crate) person: Option<String>,
}

/// A script for pages of any origin: the window, then the bridge.
pub(crate) fn script(bridge: &str) -> Response {
    Response::builder()
        .content_type("text/javascript; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header("Cross-Origin-Resource-Policy", "cross-origin")
        .body(format!("{WINDOW}{bridge}"))
}

/// Answers a script's call. The merchant's page is on another origin, and any is allowed.
pub(crate) async fn answer(request: Request, pay: impl FnOnce(&Call) -> Value) -> Response {
    let origin = request.header(header::ORIGIN).unwrap_or("*").to_owned();
    let mut response = if *request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into()
    } else if *request.method() == Method::POST {
        let (query, person) = (request.params().unwrap_or_default(), person_of(&request));
        let (_, body) = request.into_parts();
        let parameters = body.into_bytes_limit(MAX_FORM_BYTES).await.ok();
        let parameters = parameters.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
        let answer = pay(&Call { parameters, query, person });
        Response::builder().content_type("application/json; charset=utf-8").body(answer.to_string())
    } else {
        StatusCode::METHOD_NOT_ALLOWED.into()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.as_str()),
        // The cookie tells who the payer is.
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::VARY, "Origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}
