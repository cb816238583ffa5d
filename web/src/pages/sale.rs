//! A sale as its payer sees it: what was bought, how far it is, and in the end a receipt.

use crate::{
    failure::Failure,
    guard::{address::ClientIp, limits::limit_key},
    live::{self, Fragment, Pace},
    page::Page,
};
use backend::{live::LiveKind, sales::SaleView};
use poem::{Response, handler, web::Path};
use serde::Serialize;
use std::time::Duration;
use tera::Context;

/// Quick, since a person waits at the machine; and every 3 s the backend looks again whether the payment came.
const PACE: Pace = Pace { gap: Duration::from_millis(50), tick: Duration::from_secs(3) };
/// The longest token worth looking up.
const TOKEN_CHARS: usize = 64;

/// A step on the way of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `step-<word>` in the locales.
    pub(crate) word: &'static str,
    /// `done`, `now`, `failed` or `todo`.
    pub(crate) mark: &'static str,
}

/// The steps to show for a state.
pub(crate) fn steps(state: &str) -> Vec<Step> {
    let marks: &[(&'static str, &'static str)] = match state {
        "created" | "awaiting_payment" => &[("pay", "now"), ("credit", "todo"), ("done", "todo")],
        "paid" | "crediting" => &[("paid", "done"), ("credit", "now"), ("done", "todo")],
        "credited" => &[("paid", "done"), ("credit", "done"), ("done", "done")],
        "expired" => &[("pay", "failed")],
        "refund_pending" => &[("paid", "done"), ("not-credited", "failed"), ("refund", "now")],
        "refunded" => &[("paid", "done"), ("not-credited", "failed"), ("refund", "done")],
        _ => &[("paid", "done"), ("check", "now")],
    };
    marks.iter().map(|&(word, mark)| Step { word, mark }).collect()
}

/// The reasons there are words for: `reason-<word>` in the locales.
pub(crate) const REASONS: [&str; 9] = [
    "module_failed",
    "module_expired",
    "module_silent",
    "module_forgot",
    "late",
    "wrong_amount",
    "not_paid",
    "order_refused",
    "refunded_elsewhere",
];

/// Why it did not end with a credit. A reason without words of its own is shown as `other`, none as empty.
fn reason_word(reason: &str) -> &'static str {
    match REASONS.into_iter().find(|word| *word == reason) {
        Some(word) => word,
        None if reason.is_empty() => "",
        None => "other",
    }
}

/// What the templates name.
pub(crate) fn context(view: &SaleView) -> Context {
    let mut context = Context::new();
    context.insert("view", view);
    context.insert("steps", &steps(view.state));
    context.insert("reason", reason_word(&view.reason));
    context
}

async fn look_up(page: &Page, token: &str) -> Result<SaleView, Failure> {
    if token.chars().count() > TOKEN_CHARS {
        return Err(backend::Error::NotFound("sale").into());
    }
    Ok(page.app.backend.sale(token).await?)
}

/// `GET /sale/{token}`
#[handler]
pub(crate) async fn show(page: Page, Path(token): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let view = look_up(&page, &token).await?;
    page.render("sale.html", context(&view))
}

/// `GET /sale/{token}/events`
#[handler]
pub(crate) async fn events(page: Page, Path(token): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    // Not found here is an answer; later it would end a stream.
    look_up(&page, &token).await?;
    let mine = token.clone();
    let rendering = page.clone();
    live::fragments(
        &page,
        PACE,
        move |event| matches!(&event.what, LiveKind::Sale { token, .. } if *token == mine),
        move || {
            let (page, token) = (rendering.clone(), token.clone());
            async move {
                let view = look_up(&page, &token).await?;
                Ok(Fragment { html: page.fragment("sale_state.html", context(&view))?, last: view.at_rest })
            }
        },
    )
}
