//! The page after scanning a machine's code: whether the machine is ready, and what it costs.

use crate::{
    contact,
    failure::Failure,
    guard::{form_token::FormExpired, limits::limit_key},
    navigation::page_of,
    page::{ClientIp, Page, see_other},
    pages::{identity, order_cookie},
    payer_app::SeenIn,
};
use backend::{
    Error,
    clock::{SystemRandom, random_text},
    flows::{
        follow_order::{self, Awaited},
        place_order::OrderRequest,
        scan_machine,
    },
    ids::PriceId,
    payments::method::{HandoffKind, PayerApp},
    sales::{
        readiness::Readiness,
        shapes::{ScanView, WayView},
    },
};
use poem::{
    Response, handler,
    http::StatusCode,
    web::{Form, Path, Query, cookie::CookieJar},
};
use serde::{Deserialize, Serialize};
use tera::Context;

/// Characters of the key that makes a form count once.
const FORM_KEY_CHARS: usize = 26;
/// The longest code worth looking up.
const CODE_CHARS: usize = 64;

/// A notice above the prices.
#[derive(Clone, Copy)]
pub(crate) enum Notice {
    /// The price shown before is no longer the price.
    PriceChanged,
    /// The page was open for too long: these are the current prices.
    FormExpired,
    /// The payment provider did not say who pays.
    PayerUnknown,
}

impl Notice {
    /// `notice-<word>` in the locales.
    fn word(self) -> &'static str {
        match self {
            Notice::PriceChanged => "price-changed",
            Notice::FormExpired => "lay-open",
            Notice::PayerUnknown => "payer-unknown",
        }
    }
}

/// Providers that the pages have a name for, `pay-by-<word>` in the locales. Others are named `other`.
const NAMED_PROVIDERS: [&str; 2] = ["alipay", "wechat"];

/// Another way to pay that can be chosen.
#[derive(Serialize)]
struct OtherWay<'a> {
    word: &'a str,
    provider: &'static str,
    is_code: bool,
}

/// The template's variables. `way` is the way to pay for an order from this page.
pub(crate) fn context(view: &ScanView, way: Option<&WayView>, notice: Option<Notice>, form_key: &str) -> Context {
    let mut context = Context::new();
    context.insert("view", view);
    context.insert("way", &way.map(|way| way.word.as_str()));
    let others = view.ways.iter().filter(|other| Some(other.word.as_str()) != way.map(|way| way.word.as_str()));
    let others: Vec<OtherWay<'_>> = others
        .map(|other| OtherWay {
            word: &other.word,
            provider: NAMED_PROVIDERS.into_iter().find(|named| *named == other.provider).unwrap_or("other"),
            is_code: other.handoff == HandoffKind::Code,
        })
        .collect();
    context.insert("other_ways", &others);
    context.insert("ready", &(view.readiness == Readiness::Ready && !view.prices.is_empty()));
    context.insert("form_key", form_key);
    context.insert("notice", &notice.map(Notice::word));
    context.insert("contact_href", &contact::href(&view.contact));
    context
}

/// The query of a scan page's address.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ScanQuery {
    /// The way to pay that was chosen.
    #[serde(default)]
    way: String,
    /// The provider was asked who pays; it is not asked again by itself.
    #[serde(default)]
    asked: String,
}

/// `GET /s/{code}`. Where the way to pay needs to know who pays, the provider is asked first.
#[handler]
pub(crate) async fn show(
    page: Page,
    Path(code): Path<String>,
    ClientIp(ip): ClientIp,
    SeenIn(app): SeenIn,
    jar: &CookieJar,
    Query(query): Query<ScanQuery>,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let view = look_up(&page, &code, app).await?;
    let way = way_of(&view, &query.way);
    let unknown = way.filter(|way| {
        let payer = way.payer_scope.as_ref().and_then(|_| identity::payer(&page, jar));
        way.payer_scope != payer.map(|payer| payer.scope)
    });
    let notice = match unknown {
        Some(way) if view.readiness == Readiness::Ready && query.asked.is_empty() => {
            if let Some(asking) = identity::ask(&page, jar, &view.code, &way.word).await? {
                return Ok(asking);
            }
            None
        }
        Some(_) => Some(Notice::PayerUnknown),
        None => None,
    };
    page.render("scan.html", context(&view, way, notice, &form_key()))
}

/// The way to pay that was chosen, or else the best one.
fn way_of<'a>(view: &'a ScanView, word: &str) -> Option<&'a WayView> {
    view.ways.iter().find(|way| way.word == word).or(view.ways.first())
}

/// The order form.
#[derive(Debug, Deserialize)]
pub(crate) struct OrderForm {
    price_id: PriceId,
    amount_minor: i64,
    form_key: String,
    #[serde(default)]
    way: String,
}

/// The text typed to find a machine.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FindQuery {
    #[serde(default)]
    code: String,
}

/// `GET /s/`: for people who cannot scan the code.
#[handler]
pub(crate) async fn find(page: Page, Query(sought): Query<FindQuery>) -> Result<Response, Failure> {
    match typed_code(&sought.code) {
        Some(code) => Ok(see_other(&format!("/s/{code}"))),
        None => page.render("find.html", Context::new()),
    }
}

/// The code in the typed text: alone, or within the address of a scan page or of a page under it.
fn typed_code(text: &str) -> Option<String> {
    let path = text.trim().split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let after_scan = path.rsplit_once("/s/").and_then(|(_, rest)| rest.split('/').next());
    let typed = after_scan.or_else(|| path.rsplit('/').next()).unwrap_or_default();
    let code: String = typed.chars().filter(char::is_ascii_alphanumeric).take(CODE_CHARS).collect();
    (!code.is_empty()).then(|| code.to_ascii_uppercase())
}

/// `POST /s/{code}/order`: redirects to the provider or, if that takes a while, to a page that waits and then
/// redirects.
#[handler]
pub(crate) async fn order(
    page: Page,
    Path(code): Path<String>,
    ClientIp(payer_ip): ClientIp,
    SeenIn(app): SeenIn,
    jar: &CookieJar,
    FormExpired(form_expired): FormExpired,
    Form(form): Form<OrderForm>,
) -> Result<Response, Failure> {
    page.app.limits.orders.check(&limit_key(payer_ip))?;
    if form_expired {
        let view = look_up(&page, &code, app).await?;
        return again(page, StatusCode::FORBIDDEN, &view, &form.way, Some(Notice::FormExpired));
    }
    let OrderForm { price_id, amount_minor, form_key, way } = form;
    let request = OrderRequest {
        code: code.clone(),
        price_id,
        amount_minor,
        form_key: form_key.clone(),
        payer_ip,
        app,
        way: Some(way.clone()).filter(|way| !way.is_empty()),
        payer: identity::payer(&page, jar),
        instead_of: order_cookie::read(&page, jar),
    };
    match follow_order::order_soon(&page.app.backend, request).await {
        Ok(Some(checkout)) => {
            order_cookie::keep(&page, jar, &checkout.token);
            Ok(see_other(&checkout.next))
        }
        Ok(None) => wait(page, jar, &form_key, &way),
        Err(Error::NotReady(readiness)) => {
            let mut view = look_up(&page, &code, app).await?;
            view.readiness = readiness;
            again(page, StatusCode::CONFLICT, &view, &way, None)
        }
        Err(Error::PayerUnknown) => {
            let view = look_up(&page, &code, app).await?;
            match way_of(&view, &way) {
                Some(found) => match identity::ask(&page, jar, &view.code, &found.word).await? {
                    Some(asking) => Ok(asking),
                    None => again(page, StatusCode::CONFLICT, &view, &way, Some(Notice::PayerUnknown)),
                },
                None => again(page, StatusCode::CONFLICT, &view, &way, None),
            }
        }
        Err(Error::Conflict("form" | "the way to pay")) => {
            let view = look_up(&page, &code, app).await?;
            again(page, StatusCode::CONFLICT, &view, &way, Some(Notice::FormExpired))
        }
        Err(Error::Conflict(_) | Error::NotFound("price")) => {
            let view = look_up(&page, &code, app).await?;
            again(page, StatusCode::CONFLICT, &view, &way, Some(Notice::PriceChanged))
        }
        Err(source @ Error::Provider(_)) => Err(Failure::Order { code, source }),
        Err(error) => Err(error.into()),
    }
}

/// The page that says what is being waited for. It continues to the address that waits.
fn wait(page: Page, jar: &CookieJar, form_key: &str, way: &str) -> Result<Response, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("form_key", form_key).append_pair("way", way).finish();
    let machine_page = machine_page(&page);
    let mut context = Context::new();
    context.insert("next", &format!("{machine_page}/order?{query}"));
    context.insert("machine_page", &machine_page);
    let leaves_another = order_cookie::read(&page, jar).is_some();
    context.insert("longest_s", &follow_order::longest_order_s(&page.app.backend, leaves_another));
    page.at(machine_page).render_as(StatusCode::ACCEPTED, "order_wait.html", context)
}

/// The address of the machine's page whose order form this is, as it was asked for.
fn machine_page(page: &Page) -> String {
    page_of(&page.look.here).unwrap_or_else(|| "/s/".into())
}

/// The order that is waited for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AwaitQuery {
    #[serde(default)]
    form_key: String,
    #[serde(default)]
    way: String,
}

/// `GET /s/{code}/order`: waits for the order of a form, and redirects. Without an order this is a restored tab or a
/// reload, and leads to the machine's page.
#[handler]
pub(crate) async fn await_order(
    page: Page,
    ClientIp(ip): ClientIp,
    jar: &CookieJar,
    Query(awaited): Query<AwaitQuery>,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let awaited = Awaited {
        form_key: &awaited.form_key,
        way: Some(awaited.way.as_str()).filter(|way| !way.is_empty()),
        leaves_another: order_cookie::read(&page, jar).is_some(),
    };
    if !awaited.form_key.is_empty()
        && let Ok(Some(checkout)) = follow_order::await_order(&page.app.backend, awaited).await
    {
        order_cookie::keep(&page, jar, &checkout.token);
        return Ok(see_other(&checkout.next));
    }
    Ok(see_other(&machine_page(&page)))
}

async fn look_up(page: &Page, code: &str, app: PayerApp) -> Result<ScanView, Failure> {
    if code.chars().count() > CODE_CHARS {
        return Err(Error::NotFound("machine").into());
    }
    Ok(scan_machine::scan(&page.app.backend, code, app).await?)
}

/// The page as the answer to an order that was not accepted.
fn again(
    page: Page,
    status: StatusCode,
    view: &ScanView,
    way: &str,
    notice: Option<Notice>,
) -> Result<Response, Failure> {
    let page = page.at(format!("/s/{}", view.code));
    page.render_as(status, "scan.html", context(view, way_of(view, way), notice, &form_key()))
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
