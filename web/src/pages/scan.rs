//! What one sees after scanning a machine's code: whether it is ready, and what it costs.

use crate::{
    contact,
    failure::Failure,
    guard::{form_token::FormExpired, limits::limit_key},
    navigation::page_of,
    page::{ClientIp, Page, see_other},
};
use backend::{
    Error,
    clock::{SystemRandom, random_text},
    flows::{
        follow_order,
        place_order::{Checkout, OrderRequest},
        scan_machine,
    },
    ids::PriceId,
    payments::provider::Handoff,
    sales::{readiness::Readiness, shapes::ScanView},
};
use poem::{
    Response, handler,
    http::StatusCode,
    web::{Form, Path, Query},
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
    /// The page was open for too long: these are the current prices.
    FormExpired,
}

impl Notice {
    /// `notice-<word>` in the locales.
    fn word(self) -> &'static str {
        match self {
            Notice::PriceChanged => "price-changed",
            Notice::FormExpired => "lay-open",
        }
    }
}

/// What the template names.
pub(crate) fn context(view: &ScanView, notice: Option<Notice>, form_key: &str) -> Context {
    let mut context = Context::new();
    context.insert("view", view);
    context.insert("ready", &(view.readiness == Readiness::Ready && !view.prices.is_empty()));
    context.insert("form_key", form_key);
    context.insert("notice", &notice.map(Notice::word));
    context.insert("contact_href", &contact::href(&view.contact));
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
    price_id: PriceId,
    amount_minor: i64,
    form_key: String,
}

/// What is typed to find a machine.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FindQuery {
    #[serde(default)]
    code: String,
}

/// `GET /s/`: for those whose camera does not help.
#[handler]
pub(crate) async fn find(page: Page, Query(sought): Query<FindQuery>) -> Result<Response, Failure> {
    match typed_code(&sought.code) {
        Some(code) => Ok(see_other(&format!("/s/{code}"))),
        None => page.render("find.html", Context::new()),
    }
}

/// The code in what was typed: alone, or in the address of a scan page or of what it leads to.
fn typed_code(text: &str) -> Option<String> {
    let path = text.trim().split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let after_scan = path.rsplit_once("/s/").and_then(|(_, rest)| rest.split('/').next());
    let typed = after_scan.or_else(|| path.rsplit('/').next()).unwrap_or_default();
    let code: String = typed.chars().filter(char::is_ascii_alphanumeric).take(CODE_CHARS).collect();
    (!code.is_empty()).then(|| code.to_ascii_uppercase())
}

/// `POST /s/{code}/order`: leads to the provider, or where that takes a while to a page that waits and leads on.
#[handler]
pub(crate) async fn order(
    page: Page,
    Path(code): Path<String>,
    ClientIp(payer_ip): ClientIp,
    FormExpired(form_expired): FormExpired,
    Form(form): Form<OrderForm>,
) -> Result<Response, Failure> {
    page.app.limits.orders.check(&limit_key(payer_ip))?;
    if form_expired {
        let view = look_up(&page, &code).await?;
        return again(page, StatusCode::FORBIDDEN, &view, Some(Notice::FormExpired));
    }
    let OrderForm { price_id, amount_minor, form_key } = form;
    let request = OrderRequest { code: code.clone(), price_id, amount_minor, form_key: form_key.clone(), payer_ip };
    match follow_order::order_soon(&page.app.backend, request).await {
        Ok(Some(checkout)) => Ok(handed_off(&checkout)),
        Ok(None) => wait(page, &form_key),
        Err(Error::NotReady(readiness)) => {
            let mut view = look_up(&page, &code).await?;
            view.readiness = readiness;
            again(page, StatusCode::CONFLICT, &view, None)
        }
        Err(Error::Conflict("form")) => {
            let view = look_up(&page, &code).await?;
            again(page, StatusCode::CONFLICT, &view, Some(Notice::FormExpired))
        }
        Err(Error::Conflict(_) | Error::NotFound("price")) => {
            let view = look_up(&page, &code).await?;
            again(page, StatusCode::CONFLICT, &view, Some(Notice::PriceChanged))
        }
        Err(source @ Error::Provider(_)) => Err(Failure::Order { code, source }),
        Err(error) => Err(error.into()),
    }
}

fn handed_off(checkout: &Checkout) -> Response {
    match &checkout.handoff {
        Handoff::Redirect { url } => see_other(url),
    }
}

/// The page that says what is waited for, and goes on to where it is waited.
fn wait(page: Page, form_key: &str) -> Result<Response, Failure> {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("form_key", form_key).finish();
    let machine_page = machine_page(&page);
    let mut context = Context::new();
    context.insert("next", &format!("{machine_page}/order?{query}"));
    context.insert("machine_page", &machine_page);
    context.insert("longest_s", &follow_order::longest_order_s(&page.app.backend));
    page.at(machine_page).render_as(StatusCode::ACCEPTED, "order_wait.html", context)
}

/// The address of the machine's page whose order form this is, as it was asked for.
fn machine_page(page: &Page) -> String {
    page_of(&page.look.here).unwrap_or_else(|| "/s/".into())
}

/// What is waited for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AwaitQuery {
    #[serde(default)]
    form_key: String,
}

/// `GET /s/{code}/order`: waits for the order of a form, and leads on. Without one it is a tab that came back, or a reload:
/// the machine's page is what is wanted.
#[handler]
pub(crate) async fn await_order(
    page: Page,
    ClientIp(ip): ClientIp,
    Query(awaited): Query<AwaitQuery>,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    if !awaited.form_key.is_empty()
        && let Ok(Some(checkout)) = follow_order::await_order(&page.app.backend, &awaited.form_key).await
    {
        return Ok(handed_off(&checkout));
    }
    Ok(see_other(&machine_page(&page)))
}

async fn look_up(page: &Page, code: &str) -> Result<ScanView, Failure> {
    if code.chars().count() > CODE_CHARS {
        return Err(Error::NotFound("machine").into());
    }
    Ok(scan_machine::scan(&page.app.backend, code).await?)
}

/// The page as an answer to an order that was not taken.
fn again(page: Page, status: StatusCode, view: &ScanView, notice: Option<Notice>) -> Result<Response, Failure> {
    let page = page.at(format!("/s/{}", view.code));
    page.render_as(status, "scan.html", context(view, notice, &form_key()))
}

fn form_key() -> String {
    random_text(&SystemRandom, FORM_KEY_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_code_in_what_people_type() {
        for typed in [
            "k3j9",
            " K3J9 ",
            "k3-j9",
            "https://pay.example/s/K3J9",
            "pay.example/s/k3j9/",
            "https://pay.example/s/K3J9?lang=zh",
            "https://pay.example/s/K3J9/order#top",
        ] {
            assert_eq!(typed_code(typed).as_deref(), Some("K3J9"), "{typed}");
        }
        for nothing in ["", "  ", "/", "设备"] {
            assert_eq!(typed_code(nothing), None, "{nothing}");
        }
    }
}
