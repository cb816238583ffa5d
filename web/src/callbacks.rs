//! What payment providers send. Proven and stored by the backend; here it is only received, and answered as the
//! provider wants it: WeChat Pay takes 200 or 204 for success, and 4xx or 5xx with a JSON body for a failure.

use crate::{failure::chain, page::Page};
use backend::{
    flows::take_callback::{self, CallbackFailure},
    payments::provider::RawCallback,
};
use poem::{Body, Request, Response, error::ReadBodyError, handler, http::StatusCode, web::Path};
use serde_json::json;
use std::time::Duration;

/// The longest callback. Real ones have about 1 KiB.
const CALLBACK_BYTES: usize = 64 * 1024;
/// The longest time one may take to come in: the provider itself gives up after 5 s.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// `POST /callbacks/wechat/{account}`
#[handler]
pub(crate) async fn wechat(page: Page, Path(account): Path<String>, request: &Request, body: Body) -> Response {
    let body = match tokio::time::timeout(CALLBACK_TIMEOUT, body.into_bytes_limit(CALLBACK_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => return refusal(StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
        Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "body broke off"),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "body too slow"),
    };
    // A header that is no text cannot be one of the provider's.
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let raw = RawCallback { headers: &headers, body: &body };
    match take_callback::callback(&page.app.backend, &account, raw).await {
        Ok(()) => {
            metrics::counter!("web_callbacks_total", "outcome" => "taken").increment(1);
            Response::builder().status(StatusCode::NO_CONTENT).finish()
        }
        Err(failure) => answer(&failure),
    }
}

fn answer(failure: &CallbackFailure) -> Response {
    let (outcome, status, words) = match failure {
        CallbackFailure::NoAccount => ("no_account", StatusCode::NOT_FOUND, failure.to_string()),
        CallbackFailure::Untrusted(_) => ("untrusted", StatusCode::UNAUTHORIZED, failure.to_string()),
        // Internal errors are not disclosed to the provider.
        CallbackFailure::Internal(_) => {
            ("ours", StatusCode::SERVICE_UNAVAILABLE, "could not be stored; send it again".to_owned())
        }
    };
    metrics::counter!("web_callbacks_total", "outcome" => outcome).increment(1);
    match failure {
        CallbackFailure::Internal(_) => tracing::error!(cause = %chain(failure), "a callback could not be stored"),
        _ => tracing::warn!(cause = %chain(failure), "a callback was refused"),
    }
    refusal(status, &words)
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let body = json!({ "code": "FAIL", "message": message }).to_string();
    Response::builder().status(status).content_type("application/json").body(body)
}
