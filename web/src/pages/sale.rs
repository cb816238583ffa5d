//! A sale as its payer sees it: what was bought, its state, and in the end a receipt.

use crate::{
    contact,
    failure::Failure,
    guard::{limits::limit_key, streams::StreamOwner},
    live,
    page::{ClientIp, Page, see_other},
    qr_code,
    rendering::{Fragment, Pace},
};
use backend::{
    flows::{follow_order, show_sale},
    ids::SaleToken,
    live::LiveKind,
    payments::method::Handoff,
    sales::{
        shapes::SaleView,
        state::{SaleReason, SaleState},
    },
};
use poem::{Response, handler, web::Path};
use qrcode::EcLevel;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tera::Context;

/// Quick, since a person waits at the machine. Every 3 s the backend also checks again whether the payment came.
const PACE: Pace = Pace { gap: Duration::from_millis(50), tick: Duration::from_secs(3) };
/// The longest token worth looking up.
const TOKEN_CHARS: usize = 64;

/// A step in the course of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `step-<word>` in the locales.
    pub(crate) word: &'static str,
    /// `done`, `now`, `failed` or `todo`.
    pub(crate) mark: &'static str,
}

/// What the page says about a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its state.
    State(SaleState),
    /// That the provider did not take the order.
    NotTaken,
}

impl Said {
    /// What to say about a sale in its current state.
    pub(crate) fn of(view: &SaleView) -> Self {
        let is_unanswered = view.state == SaleState::Created && view.asking_s.is_none();
        let is_refused = view.state == SaleState::Expired && view.reason == SaleReason::OrderRefused;
        if is_unanswered || is_refused { Self::NotTaken } else { Self::State(view.state) }
    }

    /// `sale-<word>` in the locales.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::NotTaken => "not-taken",
        }
    }

    /// Whether, and with which word, the page leads back to the machine's prices: `sale-<word>` in the locales.
    fn again(self) -> Option<&'static str> {
        use SaleState::*;
        match self {
            Self::State(Created | Paid | Crediting) => None,
            Self::State(Credited) => Some("again"),
            Self::State(AwaitingPayment | Expired | RefundPending | Refunded | Review | Settled) | Self::NotTaken => {
                Some("choose")
            }
        }
    }

    /// The steps to show.
    pub(crate) fn steps(self) -> Vec<Step> {
        use SaleState::*;
        let marks: &[(&'static str, &'static str)] = match self {
            Self::State(Created | AwaitingPayment) => &[("pay", "now"), ("credit", "todo"), ("done", "todo")],
            Self::State(Paid | Crediting) => &[("paid", "done"), ("credit", "now"), ("done", "todo")],
            Self::State(Credited) => &[("paid", "done"), ("credit", "done"), ("done", "done")],
            Self::State(Expired) | Self::NotTaken => &[("pay", "failed")],
            Self::State(RefundPending) => &[("paid", "done"), ("not-credited", "failed"), ("refund", "now")],
            Self::State(Refunded) => &[("paid", "done"), ("not-credited", "failed"), ("refund", "done")],
            Self::State(Settled) => &[("paid", "done"), ("check", "done")],
            Self::State(Review) => &[("paid", "done"), ("check", "now")],
        };
        marks.iter().map(|&(word, mark)| Step { word, mark }).collect()
    }
}

/// The templates' variables.
pub(crate) fn context(view: &SaleView) -> Result<Context, Failure> {
    let mut context = Context::new();
    context.insert("view", view);
    let (mut code_svg, mut invocation) = (None, None);
    match &view.handoff {
        // A code on a screen cannot be scratched.
        Some(Handoff::Code { text }) => code_svg = Some(qr_code::svg(text, EcLevel::M)?),
        Some(Handoff::Invoke(call)) => invocation = Some(json!(call).to_string()),
        Some(Handoff::Redirect { .. }) | None => {}
    }
    context.insert("code_svg", &code_svg);
    context.insert("invocation", &invocation);
    let said = Said::of(view);
    context.insert("said", said.word());
    context.insert("steps", &said.steps());
    context.insert("reason", view.reason.as_str());
    context.insert("again", &said.again());
    context.insert("contact_href", &contact::href(&view.contact));
    Ok(context)
}

async fn look_up(page: &Page, token: &SaleToken) -> Result<SaleView, Failure> {
    if token.0.chars().count() > TOKEN_CHARS {
        return Err(backend::Error::NotFound("sale").into());
    }
    Ok(show_sale::sale(&page.app.backend, token).await?)
}

/// In a demo, the sandbox's script plays the app that the page calls.
fn sandbox_script(page: &Page, view: &SaleView) -> Option<String> {
    let sandbox = page.app.config.sandbox_url()?;
    let Some(Handoff::Invoke(call)) = &view.handoff else { return None };
    let script = match call.bridge.as_str() {
        "WeixinJSBridge" => "wechat.js",
        "AlipayJSBridge" => "alipay.js",
        _ => return None,
    };
    Some(format!("{sandbox}/bridge/{script}"))
}

/// `GET /sale/{token}`
#[handler]
pub(crate) async fn show(
    page: Page,
    Path(token): Path<SaleToken>,
    ClientIp(ip): ClientIp,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let view = look_up(&page, &token).await?;
    let mut context = context(&view)?;
    context.insert("sandbox_script", &sandbox_script(&page, &view));
    page.render("sale.html", context)
}

/// `GET /sale/{token}/pay`: waits until the provider has taken the order, and redirects there; otherwise redirects back
/// to the sale's page, which shows the state.
#[handler]
pub(crate) async fn pay(page: Page, Path(token): Path<SaleToken>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let sale_page = format!("/sale/{}", look_up(&page, &token).await?.token);
    let url = follow_order::await_pay_url(&page.app.backend, &token).await?;
    Ok(see_other(&url.unwrap_or(sale_page)))
}

/// `GET /sale/{token}/events`
#[handler]
pub(crate) async fn events(
    page: Page,
    Path(token): Path<SaleToken>,
    ClientIp(ip): ClientIp,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    // Checked here, "not found" is an answer; later it would end the stream.
    look_up(&page, &token).await?;
    let mine = token.clone();
    let rendering = page.clone().for_everybody();
    live::shared_fragments(
        &page,
        &token.0.clone(),
        StreamOwner::Sale(token.0.clone()),
        PACE,
        move |event| matches!(&event.what, LiveKind::Sale { token, .. } if *token == mine),
        move || {
            let (page, token) = (rendering.clone(), token.clone());
            async move {
                let view = look_up(&page, &token).await?;
                Ok(Fragment { html: page.fragment("sale_state.html", context(&view)?)?, last: view.at_rest })
            }
        },
    )
}
