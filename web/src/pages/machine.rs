//! One machine: what its module says, its prices, its coins, and the label to print.

use crate::{
    failure::Failure,
    guard::{session::Signed, streams::StreamOwner},
    live, money,
    page::{Page, see_other},
    pages::{fleet::PACE, member_context::member_context},
    qr_code,
    rendering::Fragment,
};
use backend::{
    Error,
    access::signed_in::Member,
    flows::operate::{machine, price},
    ids::{MachineId, PriceId},
    machines::{
        fleet,
        prices::PRICE_MINOR,
        shapes::{MachineView, PriceChange},
    },
    money::{Currency, Money},
};
use poem::{
    Response, handler,
    http::StatusCode,
    web::{Form, Path, Query},
};
use qrcode::EcLevel;
use serde::{Deserialize, Serialize};
use tera::Context;

/// A change that was refused.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Refusal {
    /// The price's form, if it is about one.
    pub(crate) price_id: Option<PriceId>,
    /// `refused-<word>` in the locales: `label`, `amount`, `pulses`, `module-pulses`, `meanwhile` or
    /// `other`.
    pub(crate) word: &'static str,
    /// What was typed into that form.
    pub(crate) typed: Option<PriceForm>,
}

/// The word of what was done, for the notice at the top of the page: `done-<word>` in the locales.
pub(crate) const DONE_NOTICES: [&str; 5] = ["price", "on-sale", "off-sale", "locked", "unlocked"];

/// The templates' variables.
pub(crate) fn context(
    member: &Member,
    view: &MachineView,
    scan_url: &str,
    done: Option<&str>,
    refusal: Option<&Refusal>,
) -> Result<Context, Failure> {
    let mut context = state_context(member, view);
    context.insert("scan_url", scan_url);
    context.insert("qr_svg", &qr_svg(scan_url)?);
    context.insert("done", &done);
    context.insert("refusal", &refusal);
    let bound = |amount_minor| Money::new(amount_minor, member.currency);
    context.insert("amount_min", &bound(*PRICE_MINOR.start()));
    context.insert("amount_max", &bound(*PRICE_MINOR.end()));
    Ok(context)
}

/// The variables of the live part.
pub(crate) fn state_context(member: &Member, view: &MachineView) -> Context {
    let mut context = member_context(member);
    context.insert("tab", "fleet");
    context.insert("view", view);
    context
}

/// Labels get scratched: a quarter of it may be unreadable.
fn qr_svg(text: &str) -> Result<String, Failure> {
    qr_code::svg(text, EcLevel::Q)
}

fn scan_url(page: &Page, view: &MachineView) -> String {
    format!("{}/s/{}", page.app.config.public_url, view.row.code)
}

/// The address's query.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    done: String,
}

/// `GET /operator/machines/{id}`
#[handler]
pub(crate) async fn show(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let view = fleet::machine(&page.app.backend, &signed.actor, id).await?;
    let done = DONE_NOTICES.into_iter().find(|notice| *notice == asked.done);
    let context = context(&signed.member, &view, &scan_url(&page, &view), done, None)?;
    page.at(format!("/operator/machines/{id}")).render("machine.html", context)
}

/// `GET /operator/machines/{id}/events`
#[handler]
pub(crate) async fn events(page: Page, signed: Signed, Path(id): Path<MachineId>) -> Result<Response, Failure> {
    let operator_id = signed.member.operator_id;
    // Checked here, "not found" is an answer; later it would end the stream.
    fleet::machine(&page.app.backend, &signed.actor, id).await?;
    let rendering = page.clone();
    live::fragments(
        &page,
        StreamOwner::Member(signed.member.member_id),
        PACE,
        move |event| event.operator_id == operator_id && event.machine_id == Some(id),
        move || {
            let (page, signed) = (rendering.clone(), signed.clone());
            async move {
                signed.check_signed_in(&page.app.backend).await?;
                let view = fleet::machine(&page.app.backend, &signed.actor, id).await?;
                let context = state_context(&signed.member, &view);
                Ok(Fragment { html: page.fragment("machine_state.html", context)?, last: false })
            }
        },
    )
}

/// `GET /operator/machines/{id}/qr.svg`
#[handler]
pub(crate) async fn qr(page: Page, signed: Signed, Path(id): Path<MachineId>) -> Result<Response, Failure> {
    let view = fleet::machine(&page.app.backend, &signed.actor, id).await?;
    Ok(Response::builder().content_type("image/svg+xml").body(qr_svg(&scan_url(&page, &view))?))
}

/// A price's form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PriceForm {
    label: String,
    /// As people write it: in whole units, with at most as many decimals as the currency has.
    amount: String,
    pulses: String,
}

/// `POST /operator/machines/{id}/prices/{price}`
#[handler]
pub(crate) async fn change_price(
    page: Page,
    signed: Signed,
    Path((id, price_id)): Path<(MachineId, PriceId)>,
    Form(form): Form<PriceForm>,
) -> Result<Response, Failure> {
    let change = match parse_price(&form, signed.member.currency) {
        Ok(change) => change,
        Err(word) => {
            let refusal = Refusal { price_id: Some(price_id), word, typed: Some(form) };
            return refuse(page, &signed, id, refusal).await;
        }
    };
    let outcome = price::change_price(&page.app.backend, &signed.actor, price_id, change).await;
    after(page, &signed, id, Some((price_id, form)), "price", outcome).await
}

/// A switch: on or off.
#[derive(Debug, Deserialize)]
pub(crate) struct Switch {
    on: bool,
}

/// `POST /operator/machines/{id}/active`
#[handler]
pub(crate) async fn set_active(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<Switch>,
) -> Result<Response, Failure> {
    let outcome = machine::set_active(&page.app.backend, &signed.actor, id, form.on).await;
    after(page, &signed, id, None, if form.on { "on-sale" } else { "off-sale" }, outcome).await
}

/// `POST /operator/machines/{id}/locked`
#[handler]
pub(crate) async fn set_locked(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<Switch>,
) -> Result<Response, Failure> {
    let outcome = machine::set_locked(&page.app.backend, &signed.actor, id, form.on).await;
    after(page, &signed, id, None, if form.on { "locked" } else { "unlocked" }, outcome).await
}

/// Redirects to the page with what was done, or shows the page with what was refused.
async fn after(
    page: Page,
    signed: &Signed,
    id: MachineId,
    price: Option<(PriceId, PriceForm)>,
    notice: &str,
    outcome: backend::Result<()>,
) -> Result<Response, Failure> {
    let word = match outcome {
        Ok(()) => return Ok(see_other(&format!("/operator/machines/{id}?done={notice}"))),
        Err(Error::Invalid { field, .. }) => match field {
            "label" => "label",
            "amount" | "amount_minor" => "amount",
            "pulses" => "pulses",
            "module_pulses" => "module-pulses",
            _ => "other",
        },
        Err(Error::Conflict(_)) => "meanwhile",
        Err(error) => return Err(error.into()),
    };
    let (price_id, typed) = price.unzip();
    refuse(page, signed, id, Refusal { price_id, word, typed }).await
}

async fn refuse(page: Page, signed: &Signed, id: MachineId, refusal: Refusal) -> Result<Response, Failure> {
    let view = fleet::machine(&page.app.backend, &signed.actor, id).await?;
    let context = context(&signed.member, &view, &scan_url(&page, &view), None, Some(&refusal))?;
    let page = page.at(format!("/operator/machines/{id}"));
    page.render_as(StatusCode::UNPROCESSABLE_ENTITY, "machine.html", context)
}

fn parse_price(form: &PriceForm, currency: Currency) -> Result<PriceChange, &'static str> {
    let label = form.label.trim();
    if label.is_empty() {
        return Err("label");
    }
    let amount_minor = money::parse(&form.amount, currency).ok_or("amount")?.amount_minor;
    let pulses = form.pulses.trim().parse().map_err(|_| "pulses")?;
    Ok(PriceChange { label: label.to_owned(), amount_minor, pulses })
}
