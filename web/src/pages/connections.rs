//! Who is connected to the MQTT broker, live, with a button to end a connection.

use crate::{
    config::{EmbeddedBroker, MqttConnection, MqttParty},
    failure::Failure,
    guard::{session::Signed, streams::StreamOwner},
    live,
    page::{Page, see_other},
    pages::{
        confirm::{self, Question},
        member_context::member_context,
    },
    rendering::{Fragment, Pace},
};
use backend::{
    access::{operations::Operation, signed_in::Member},
    flows::operate::connection::{self, EndedConnection},
    ids::MachineId,
    machines::{fleet, shapes::FleetRow},
};
use poem::{
    Response, handler,
    web::{Form, Path, Query},
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};
use tera::Context;

/// Connections raise no events, so they are polled.
const PACE: Pace = Pace { gap: Duration::from_secs(1), tick: Duration::from_secs(2) };
/// Rows shown; others are found by searching.
const SHOWN: usize = 200;

/// What is searched for, and what was done.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    done: Option<String>,
}

/// A connection as a row.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    number: u64,
    /// `module`, `integrator`, `member`, `manufacturer` or `backend`.
    kind: &'static str,
    /// The machine's name, or the short name of the operator or the manufacturer.
    name: String,
    machine_id: Option<MachineId>,
    client_id: String,
    peer: String,
    version: &'static str,
    connected_ms: i64,
    heard_ms: i64,
    /// Milliseconds, with a decimal if it is useful.
    round_trip_ms: Option<String>,
}

/// The connections that a member may see, newest first, and their total number.
pub(crate) fn rows(
    connections: Vec<MqttConnection>,
    fleet: &[FleetRow],
    member: &Member,
    is_admin: bool,
    query: &str,
) -> (Vec<Row>, usize) {
    let machines: HashMap<&str, &FleetRow> =
        fleet.iter().filter_map(|row| Some((row.module.as_ref()?.id.as_str(), row))).collect();
    let query = query.trim().to_lowercase();
    let mut rows: Vec<Row> = connections
        .into_iter()
        .filter_map(|connection| {
            let own = |slug: &str| slug == member.slug;
            let (kind, name, machine, is_own) = match &connection.party {
                MqttParty::Module(id) => {
                    let machine = machines.get(id.as_str());
                    ("module", machine.map_or("", |row| row.name.as_str()), machine, machine.is_some())
                }
                MqttParty::Integrator(slug) => ("integrator", slug.as_str(), None, own(slug)),
                MqttParty::Member(slug) => ("member", slug.as_str(), None, own(slug)),
                MqttParty::Manufacturer(slug) => ("manufacturer", slug.as_str(), None, false),
                MqttParty::Backend => ("backend", "", None, false),
            };
            (is_own || is_admin).then(|| Row {
                number: connection.number,
                kind,
                name: name.to_owned(),
                machine_id: machine.map(|row| row.machine_id),
                peer: connection.peer.to_string(),
                version: connection.version,
                connected_ms: connection.connected_ms,
                heard_ms: connection.heard_ms,
                round_trip_ms: connection.round_trip.map(milliseconds),
                client_id: connection.client_id,
            })
        })
        .filter(|row| [&row.name, &row.client_id, &row.peer].iter().any(|text| text.to_lowercase().contains(&query)))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.connected_ms, row.number)));
    let count = rows.len();
    rows.truncate(SHOWN);
    (rows, count)
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1_000.0;
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// What the templates name.
pub(crate) fn context(
    member: &Member,
    (rows, count): (Vec<Row>, usize),
    asked: &Asked,
    unknown_proxy: Option<&IpAddr>,
) -> Context {
    let mut context = member_context(member);
    context.insert("tab", "connections");
    context.insert("hidden", &(count - rows.len()));
    context.insert("rows", &rows);
    context.insert("count", &count);
    context.insert("unknown_proxy", &unknown_proxy.map(ToString::to_string));
    context.insert("q", &asked.q);
    context.insert("done", &asked.done.as_deref().filter(|done| ["ended", "gone"].contains(done)));
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", &asked.q).finish();
    context.insert("events_query", &query);
    context
}

fn gate(page: &Page) -> Result<&Arc<dyn EmbeddedBroker>, Failure> {
    page.app.config.mqtt.as_ref().ok_or(Failure::NotFound)
}

async fn look(page: &Page, signed: &Signed, query: &str) -> Result<(Vec<Row>, usize), Failure> {
    signed.actor.check(Operation::ViewConnections)?;
    let member = &signed.member;
    let fleet = fleet::fleet(&page.app.backend, &signed.actor, member.operator_id).await?;
    let is_admin = page.app.config.admins.contains(&member.email);
    Ok(rows(gate(page)?.connections(), &fleet, member, is_admin, query))
}

/// `GET /operator/connections`
#[handler]
pub(crate) async fn show(page: Page, signed: Signed, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let seen = look(&page, &signed, &asked.q).await?;
    // Shown to those who run the server, since they can correct it.
    let is_admin = page.app.config.admins.contains(&signed.member.email);
    let unknown_proxy = page.app.unknown_proxy.get().filter(|_| is_admin);
    page.render("connections.html", context(&signed.member, seen, &asked, unknown_proxy))
}

/// `GET /operator/connections/events`
#[handler]
pub(crate) async fn events(page: Page, signed: Signed, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    signed.actor.check(Operation::ViewConnections)?;
    let rendering = page.clone();
    let asked = Arc::new(asked);
    live::fragments(
        &page,
        StreamOwner::Member(signed.member.member_id),
        PACE,
        |_| false,
        move || {
            let (page, signed, asked) = (rendering.clone(), signed.clone(), asked.clone());
            async move {
                signed.check_signed_in(&page.app.backend).await?;
                let seen = look(&page, &signed, &asked.q).await?;
                let context = context(&signed.member, seen, &asked, None);
                Ok(Fragment { html: page.fragment("connections_state.html", context)?, last: false })
            }
        },
    )
}

/// Whether the person has confirmed.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct EndForm {
    #[serde(default)]
    sure: String,
}

/// `POST /operator/connections/{number}/end`
#[handler]
pub(crate) async fn end(
    page: Page,
    signed: Signed,
    Path(number): Path<u64>,
    Form(form): Form<EndForm>,
) -> Result<Response, Failure> {
    signed.actor.check(Operation::EndConnection)?;
    let gate = gate(&page)?;
    let fleet = fleet::fleet(&page.app.backend, &signed.actor, signed.member.operator_id).await?;
    let is_admin = page.app.config.admins.contains(&signed.member.email);
    let asked = gate.connections().into_iter().filter(|connection| connection.number == number).collect();
    // Connections that the member may not see are treated as not existing.
    let (visible, _) = rows(asked, &fleet, &signed.member, is_admin, "");
    if let Some(row) = visible.first()
        && !confirm::is_confirmed(&form.sure)
    {
        let about = if row.name.is_empty() { &row.client_id } else { &row.name };
        let action = format!("/operator/connections/{number}/end");
        let question =
            Question { word: "disconnect", about, action: &action, fields: &[], back: "/operator/connections" };
        return confirm::ask(page, &signed.member, "connections", &question);
    }
    let mut ended = false;
    if let Some(row) = visible.first() {
        let about = EndedConnection { client_id: &row.client_id, kind: row.kind, name: &row.name, peer: &row.peer };
        connection::record_end(&page.app.backend, &signed.actor, signed.member.operator_id, about).await?;
        ended = gate.end_connection(number);
        tracing::info!(member = signed.member.member_id.0, number, ended, "ends an MQTT connection");
    }
    Ok(see_other(&format!("/operator/connections?done={}", if ended { "ended" } else { "gone" })))
}
