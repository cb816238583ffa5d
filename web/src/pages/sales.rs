//! The operator's sales, by state and machine, newest first.

use crate::{
    failure::Failure,
    guard::{session::Signed, streams::StreamOwner},
    live,
    page::Page,
    pages::{fleet::PACE, member_context::member_context},
    rendering::Fragment,
};
use backend::{
    access::{operations::Operation, signed_in::Member},
    ids::{MachineId, SaleToken},
    machines::{fleet, shapes::FleetRow},
    sales::{
        shapes::{SaleRow, SalesFilter},
        state::SaleState,
        views,
    },
};
use poem::{Response, handler, web::Query};
use serde::{Deserialize, Serialize};
use tera::Context;

/// The address's query. Values that make no sense are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    state: String,
    #[serde(default)]
    machine: String,
    #[serde(default)]
    before: String,
}

/// The filter that is applied, from the query.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Shown {
    pub(crate) state: Option<SaleState>,
    pub(crate) machine_id: Option<MachineId>,
    /// Set if this is not the newest page.
    pub(crate) before: Option<SaleToken>,
}

impl Shown {
    fn of(asked: &Asked) -> Self {
        Self {
            state: SaleState::parse(&asked.state),
            machine_id: asked.machine.parse().ok(),
            before: (!asked.before.is_empty()).then(|| SaleToken(asked.before.clone())),
        }
    }

    fn filter(&self) -> SalesFilter {
        SalesFilter { machine_id: self.machine_id, state: self.state, before_token: self.before.clone() }
    }

    /// The query for this filter with another `before`.
    fn query(&self, before: Option<&SaleToken>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(state) = self.state {
            query.append_pair("state", state.as_str());
        }
        if let Some(machine_id) = self.machine_id {
            query.append_pair("machine", &machine_id.to_string());
        }
        if let Some(before) = before {
            query.append_pair("before", &before.0);
        }
        query.finish()
    }
}

/// The templates' variables.
pub(crate) fn context(member: &Member, fleet: &[FleetRow], sales: &[SaleRow], shown: &Shown) -> Context {
    let mut context = member_context(member);
    context.extend(rows_context(sales, shown));
    context.insert("tab", "sales");
    context.insert("fleet", fleet);
    // `state-<word>` in the locales.
    context.insert("states", &SaleState::ALL);
    context.insert("events_query", &shown.query(None));
    context
}

fn rows_context(sales: &[SaleRow], shown: &Shown) -> Context {
    let mut context = Context::new();
    context.insert("sales", sales);
    context.insert("shown", shown);
    let full = sales.len() as u64 >= SalesFilter::PAGE_ROWS;
    let older = sales.last().filter(|_| full).map(|last| shown.query(Some(&last.view.token)));
    context.insert("older", &older);
    context.insert("newest", &shown.before.is_some().then(|| shown.query(None)));
    context
}

/// `GET /operator/sales`
#[handler]
pub(crate) async fn show(page: Page, signed: Signed, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let shown = Shown::of(&asked);
    let fleet = fleet::fleet(&page.app.backend, &signed.actor, signed.member.operator_id).await?;
    let sales = views::sales(&page.app.backend, &signed.actor, signed.member.operator_id, shown.filter()).await?;
    page.render("sales.html", context(&signed.member, &fleet, &sales, &shown))
}

/// `GET /operator/sales/events`
#[handler]
pub(crate) async fn events(page: Page, signed: Signed, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    // Checked here, a refusal is an answer; later it would end the stream.
    signed.actor.check(Operation::ViewSales)?;
    let operator_id = signed.member.operator_id;
    let shown = Shown::of(&asked);
    let rendering = page.clone();
    live::fragments(
        &page,
        StreamOwner::Member(signed.member.member_id),
        PACE,
        move |event| event.operator_id == operator_id,
        move || {
            let (page, signed, shown) = (rendering.clone(), signed.clone(), shown.clone());
            async move {
                signed.check_signed_in(&page.app.backend).await?;
                let sales = views::sales(&page.app.backend, &signed.actor, operator_id, shown.filter()).await?;
                let html = page.fragment("sales_rows.html", rows_context(&sales, &shown))?;
                Ok(Fragment { html, last: false })
            }
        },
    )
}
