//! A sale as its payer sees it: what was bought, how far it is, and in the end a receipt.

use crate::{
    contact,
    failure::Failure,
    guard::{limits::limit_key, streams::StreamOwner},
    live,
    page::{ClientIp, Page, see_other},
    rendering::{Fragment, Pace},
};
use backend::{
    flows::{follow_order, show_sale},
    live::LiveKind,
    sales::{shapes::SaleView, state::REASONS},
};
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

/// What the page says of a sale, `sale-<word>` in the locales: its state, or that the provider did not take the order.
pub(crate) fn display_state(view: &SaleView) -> &'static str {
    match (view.state, view.reason.as_str()) {
        ("created", _) if view.asking_s.is_some() => "created",
        ("created", _) | ("expired", "order_refused") => "not-taken",
        (state, _) => state,
    }
}

/// Whether, and with which word, the page leads back to the machine's prices: `sale-<word>` in the locales.
fn again(display_state: &str) -> Option<&'static str> {
    match display_state {
        "created" | "paid" | "crediting" => None,
        "credited" => Some("again"),
        _ => Some("choose"),
    }
}

/// The steps to show for what is said of a sale.
pub(crate) fn steps(display_state: &str) -> Vec<Step> {
    let marks: &[(&'static str, &'static str)] = match display_state {
        "created" | "awaiting_payment" => &[("pay", "now"), ("credit", "todo"), ("done", "todo")],
        "paid" | "crediting" => &[("paid", "done"), ("credit", "now"), ("done", "todo")],
        "credited" => &[("paid", "done"), ("credit", "done"), ("done", "done")],
        "expired" | "not-taken" => &[("pay", "failed")],
        "refund_pending" => &[("paid", "done"), ("not-credited", "failed"), ("refund", "now")],
        "refunded" => &[("paid", "done"), ("not-credited", "failed"), ("refund", "done")],
        "settled" => &[("paid", "done"), ("check", "done")],
        _ => &[("paid", "done"), ("check", "now")],
    };
    marks.iter().map(|&(word, mark)| Step { word, mark }).collect()
}

/// Why it did not end with a credit: `reason-<word>` in the locales. A reason without words of its own is shown as
/// `other`, none as empty.
pub(crate) fn reason_word(reason: &str) -> &'static str {
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
    let display_state = display_state(view);
    context.insert("said", display_state);
    context.insert("steps", &steps(display_state));
    context.insert("reason", reason_word(&view.reason));
    context.insert("again", &again(display_state));
    context.insert("contact_href", &contact::href(&view.contact));
    context
}

async fn look_up(page: &Page, token: &str) -> Result<SaleView, Failure> {
    if token.chars().count() > TOKEN_CHARS {
        return Err(backend::Error::NotFound("sale").into());
    }
    Ok(show_sale::sale(&page.app.backend, token).await?)
}

/// `GET /sale/{token}`
#[handler]
pub(crate) async fn show(page: Page, Path(token): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let view = look_up(&page, &token).await?;
    page.render("sale.html", context(&view))
}

/// `GET /sale/{token}/pay`: waits until the provider has taken the order, and leads there; else back to the sale's page,
/// which says how it is.
#[handler]
pub(crate) async fn pay(page: Page, Path(token): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let sale_page = format!("/sale/{}", look_up(&page, &token).await?.token);
    let url = follow_order::await_pay_url(&page.app.backend, &token).await?;
    Ok(see_other(&url.unwrap_or(sale_page)))
}

/// `GET /sale/{token}/events`
#[handler]
pub(crate) async fn events(page: Page, Path(token): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    // Not found here is an answer; later it would end a stream.
    look_up(&page, &token).await?;
    let mine = token.clone();
    let rendering = page.clone().for_everybody();
    live::shared_fragments(
        &page,
        &token.clone(),
        StreamOwner::Sale(token.clone()),
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
