//! What one sees after scanning a machine's code: whether it is ready, and what it costs.

use crate::{
    failure::Failure,
    guard::{address::ClientIp, limits::limit_key},
    page::{Page, see_other},
};
use backend::{
    Error,
    clock::{SystemRandom, random_text},
    payments::provider::Handoff,
    sales::{OrderRequest, Readiness, ScanView},
};
use poem::{
    Response, handler,
    http::StatusCode,
    web::{Form, Path},
};
use serde::Deserialize;
use tera::Context;

/// Characters of the key that makes a form count once.
const FORM_KEY_CHARS: usize = 26;
/// The longest code worth looking up.
const CODE_CHARS: usize = 64;

/// Something to tell above the prices.
#[derive(Clone, Copy)]
pub(crate) enum Notice {
    /// The price shown before is no longer the price.
    PriceChanged,
}

/// What the template names.
pub(crate) fn context(view: &ScanView, notice: Option<Notice>, form_key: &str) -> Context {
    let mut context = Context::new();
    context.insert("view", view);
    context.insert("ready", &(view.readiness == Readiness::Ready && !view.prices.is_empty()));
    context.insert("form_key", form_key);
    context.insert("notice", &notice.map(|Notice::PriceChanged| "price-changed"));
    context
}

/// `GET /s/{code}`
#[handler]
pub(crate) async fn show(page: Page, Path(code): Path<String>, ClientIp(ip): ClientIp) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let view = look_up(&page, &code).await?;
    page.render("scan.html", context(&view, None, &form_key()))
}

/// The order form.
#[derive(Debug, Deserialize)]
pub(crate) struct OrderForm {
    price_id: i64,
    amount_minor: i64,
    form_key: String,
}

/// `POST /s/{code}/order`
#[handler]
pub(crate) async fn order(
    page: Page,
    Path(code): Path<String>,
    ClientIp(payer_ip): ClientIp,
    Form(form): Form<OrderForm>,
) -> Result<Response, Failure> {
    page.app.limits.orders.check(&limit_key(payer_ip))?;
    let OrderForm { price_id, amount_minor, form_key } = form;
    let request = OrderRequest { code: code.clone(), price_id, amount_minor, form_key, payer_ip };
    match page.app.backend.order(request).await {
        Ok(checkout) => match checkout.handoff {
            Handoff::Redirect { url } => Ok(see_other(&url)),
        },
        Err(Error::NotReady(readiness)) => {
            let mut view = look_up(&page, &code).await?;
            view.readiness = readiness;
            again(page, &code, &view, None)
        }
        Err(Error::Conflict(_) | Error::NotFound("price")) => {
            let view = look_up(&page, &code).await?;
            again(page, &code, &view, Some(Notice::PriceChanged))
        }
        Err(source @ Error::Provider(_)) => Err(Failure::Order { code, source }),
        Err(error) => Err(error.into()),
    }
}

async fn look_up(page: &Page, code: &str) -> Result<ScanView, Failure> {
    if code.chars().count() > CODE_CHARS {
        return Err(Error::NotFound("machine").into());
    }
    Ok(page.app.backend.scan(code).await?)
}

/// The page as an answer to an order that was not taken.
fn again(page: Page, code: &str, view: &ScanView, notice: Option<Notice>) -> Result<Response, Failure> {
    let page = page.at(format!("/s/{code}"));
    page.render_as(StatusCode::CONFLICT, "scan.html", context(view, notice, &form_key()))
}

fn form_key() -> String {
    random_text(&SystemRandom, FORM_KEY_CHARS)
}
