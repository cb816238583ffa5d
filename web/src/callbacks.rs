//! Callbacks from payment providers. They are only received here; the backend verifies and stores them, and says how
//! the provider wants them to be answered.

use crate::{failure::chain, page::Page};
use backend::{
    flows::take_callback::{self, CallbackFailure},
    payments::provider::{CallbackAnswer, RawCallback},
};
use poem::{Body, Request, Response, error::ReadBodyError, handler, http::StatusCode, web::Path};
use std::time::Duration;

/// The longest callback. Real ones have about 1 KiB.
const CALLBACK_BYTES: usize = 64 * 1024;
/// The longest time that receiving one may take: the provider itself gives up after 5 s.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// `POST /callbacks/{provider}/{account}`
#[handler]
pub(crate) async fn take(
    page: Page,
    Path((provider, account)): Path<(String, String)>,
    request: &Request,
    body: Body,
) -> Response {
    let body = match tokio::time::timeout(CALLBACK_TIMEOUT, body.into_bytes_limit(CALLBACK_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => return refusal(StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
        Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "body broke off"),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "body too slow"),
    };
    // A header that is not text cannot come from the provider.
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let raw = RawCallback { headers: &headers, body: &body };
    let (outcome, answer) = match take_callback::callback(&page.app.backend, &provider, &account, raw).await {
        Ok(answer) => ("taken", answer),
        Err(rejected) => {
            let cause = &rejected.cause;
            let outcome = match cause {
                CallbackFailure::NoAccount => "no_account",
                CallbackFailure::Untrusted(_) => "untrusted",
                CallbackFailure::Internal(_) => "ours",
            };
            match cause {
                CallbackFailure::Internal(_) => {
                    tracing::error!(cause = %chain(cause), "a callback could not be stored");
                }
                CallbackFailure::NoAccount | CallbackFailure::Untrusted(_) => {
                    tracing::warn!(cause = %chain(cause), "a callback was refused");
                }
            }
            (outcome, rejected.answer)
        }
    };
    metrics::counter!("web_callbacks_total", "outcome" => outcome).increment(1);
    response(answer)
}

/// A refusal before the account is known.
fn refusal(status: StatusCode, message: &str) -> Response {
    response(CallbackAnswer::failure(status.as_u16(), message))
}

fn response(answer: CallbackAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = Response::builder().status(status);
    if answer.content_type.is_empty() {
        return response.finish();
    }
    response.content_type(answer.content_type).body(answer.body)
}
