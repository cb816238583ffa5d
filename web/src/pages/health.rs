//! Small answers: the start page, static files, health, metrics.

use crate::{
    config::MetricsText,
    failure::Failure,
    page::{Page, see_other},
};
use poem::{Response, handler, http::StatusCode, web::Path};

/// Metrics as Prometheus reads them.
pub(crate) fn metrics_answer(text: &MetricsText) -> Response {
    Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text())
}

/// `GET /`
#[handler]
pub(crate) async fn home(page: Page) -> Response {
    see_other(if page.look.demo { "/demo" } else { "/operator" })
}

/// `GET /static/{name}`: the name holds the content's hash, so it never changes.
#[handler]
pub(crate) async fn asset(page: Page, Path(name): Path<String>) -> Result<Response, Failure> {
    let asset = page.app.templates.asset(&name).ok_or(Failure::NotFound)?;
    Ok(Response::builder()
        .content_type(asset.content_type)
        .header("cache-control", "public, max-age=31536000, immutable")
        .body(asset.bytes.clone()))
}

/// `GET /healthz`: the process answers.
#[handler]
pub(crate) async fn healthz() -> Response {
    Response::builder().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `GET /readyz`: database and bus answer too, and messages pass the broker in this process; else 503 and a sentence for
/// each that does not.
#[handler]
pub(crate) async fn readyz(page: Page) -> Response {
    let mut unready = page.app.backend.unready().await;
    if page.app.config.mqtt.as_ref().is_some_and(|gate| !gate.healthy()) {
        unready.push("the message broker passes no messages; its core is being replaced".into());
    }
    let (status, text) = match unready.as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        sentences => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", sentences.join("\n"))),
    };
    Response::builder().status(status).content_type("text/plain; charset=utf-8").body(text)
}

/// `GET /metrics`, if the server serves metrics here.
#[handler]
pub(crate) async fn metrics(page: Page) -> Result<Response, Failure> {
    let text = page.app.config.metrics.as_ref().ok_or(Failure::NotFound)?;
    Ok(metrics_answer(text))
}
