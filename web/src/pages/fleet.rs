//! The operator's first page: takings of the day, all machines, the newest sales; live.

use crate::{
    failure::Failure,
    guard::{session::Signed, streams::StreamOwner},
    live,
    page::Page,
    pages::member_context::member_context,
    rendering::{Fragment, Pace},
};
use backend::{
    access::{operations::Operation, signed_in::Member},
    machines::{fleet, shapes::FleetRow},
    sales::{
        shapes::{SaleRow, SalesFilter},
        takings::{self, Takings},
        views,
    },
};
use poem::{Response, handler};
use std::time::Duration;
use tera::Context;

/// Rendered at most four times a second, and every few seconds because presence changes without an event.
pub(crate) const PACE: Pace = Pace { gap: Duration::from_millis(250), tick: Duration::from_secs(3) };
/// Newest sales shown.
const NEWEST_SALES: usize = 8;

/// What the templates name.
pub(crate) fn context(member: &Member, fleet: &[FleetRow], takings: Option<&Takings>, sales: &[SaleRow]) -> Context {
    let mut context = member_context(member);
    context.insert("tab", "fleet");
    context.insert("fleet", fleet);
    let online = fleet.iter().filter(|row| row.module.as_ref().is_some_and(|module| module.online)).count();
    context.insert("online", &online);
    context.insert("machines", &fleet.len());
    context.insert("takings", &takings);
    context.insert("sales", &sales[..sales.len().min(NEWEST_SALES)]);
    context
}

async fn look(page: &Page, signed: &Signed) -> Result<Context, Failure> {
    let (backend, member) = (&page.app.backend, &signed.member);
    let fleet = fleet::fleet(backend, &signed.actor, member.operator_id).await?;
    // Not everybody who looks after machines may see the money.
    let takings = match signed.actor.may(Operation::ViewTakings) {
        true => Some(takings::takings_today(backend, &signed.actor, member.operator_id).await?),
        false => None,
    };
    let sales = match signed.actor.may(Operation::ViewSales) {
        true => views::sales(backend, &signed.actor, member.operator_id, SalesFilter::default()).await?,
        false => vec![],
    };
    Ok(context(member, &fleet, takings.as_ref(), &sales))
}

/// `GET /operator`
#[handler]
pub(crate) async fn show(page: Page, signed: Signed) -> Result<Response, Failure> {
    let context = look(&page, &signed).await?;
    page.render("fleet.html", context)
}

/// `GET /operator/events`
#[handler]
pub(crate) async fn events(page: Page, signed: Signed) -> Result<Response, Failure> {
    let operator_id = signed.member.operator_id;
    let rendering = page.clone();
    live::fragments(
        &page,
        StreamOwner::Member(signed.member.member_id),
        PACE,
        move |event| event.operator_id == operator_id,
        move || {
            let (page, signed) = (rendering.clone(), signed.clone());
            async move {
                signed.check_signed_in(&page.app.backend).await?;
                let context = look(&page, &signed).await?;
                Ok(Fragment { html: page.fragment("fleet_state.html", context)?, last: false })
            }
        },
    )
}
