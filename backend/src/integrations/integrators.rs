//! Integrators' topics: `v1/<operator>/<machine>/{status,pulse,sale}`, plain JSON. docs/PROTOCOL.md has the fields.

use crate::{
    Context, Result,
    access::operator,
    bus::JSON_VERSION,
    ids::MachineId,
    integrations::publish::{publish_json, try_publish_json},
    machines::{fleet::fault_names, machine},
    modules::module,
    sales::sale,
};
use protocol::messages::{Pulse, Status};
use sea_orm::{JoinType, QuerySelect, prelude::*};
use serde::Serialize;
use std::sync::{Arc, PoisonError};

#[derive(Serialize)]
struct StatusJson<'a> {
    v: u8,
    module: &'a str,
    online: bool,
    at_ms: i64,
    /// Whether the module said it just now; if not, it is the last known state.
    live: bool,
    as_of_ms: Option<i64>,
    firmware: &'a str,
    signal_csq: Option<u8>,
    supply_mv: Option<u16>,
    faults: Vec<&'static str>,
    locked: bool,
    coin_pulses_total: u64,
    credit_pulses_total: u64,
}

#[derive(Serialize)]
struct PulseJson {
    v: u8,
    at_ms: i64,
    pulses: u16,
    coin_pulses_total: u64,
    width_ms: u16,
    gap_ms: u16,
}

#[derive(Serialize)]
struct SaleJson<'a> {
    v: u8,
    sale: &'a str,
    state: &'a str,
    reason: &'a str,
    at_ms: i64,
    created_ms: i64,
    amount_minor: i64,
    currency: &'a str,
    label: &'a str,
    pulses: i32,
    pulses_given: i32,
    served_and_refunded: bool,
}

pub(crate) async fn publish_status_to_integrators(ctx: &Context, machine: &machine::Model, status: &Status<'_>) {
    let now_ms = ctx.wall_ms();
    let json = StatusJson {
        v: JSON_VERSION,
        module: machine.module_id.as_deref().unwrap_or_default(),
        online: status.online,
        at_ms: now_ms,
        live: true,
        as_of_ms: Some(now_ms),
        firmware: status.firmware,
        signal_csq: status.signal_csq,
        supply_mv: status.supply_mv,
        faults: fault_names(status.faults.into()),
        locked: status.locked.unwrap_or(false),
        coin_pulses_total: status.totals.coin_pulses,
        credit_pulses_total: status.totals.credit_pulses,
    };
    publish_to_integrators(ctx, machine.id, "status", &json, true).await;
}

/// Publishes what is stored about a machine and its module, if it has one.
pub(crate) async fn publish_last_known_to_integrators(
    ctx: &Context,
    machine: &machine::Model,
    module: Option<&module::Model>,
    live: bool,
) -> Result<()> {
    let as_of_ms = module.and_then(|module| module.seen_ms);
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let json = StatusJson {
        v: JSON_VERSION,
        module: machine.module_id.as_deref().unwrap_or_default(),
        online: module.is_some_and(|module| module.online),
        at_ms: as_of_ms.unwrap_or(ctx.now_ms()),
        live,
        as_of_ms,
        firmware: module.map_or("", |module| &module.firmware),
        signal_csq: module.and_then(|module| module.signal_csq).and_then(|csq| csq.try_into().ok()),
        supply_mv: module.and_then(|module| module.supply_mv).and_then(|mv| mv.try_into().ok()),
        faults: fault_names(module.map_or(0, |module| module.faults)),
        locked: module.is_some_and(|module| module.locked),
        coin_pulses_total: module.map_or(0, |module| number(module.coin_pulses)),
        credit_pulses_total: module.map_or(0, |module| number(module.credit_pulses)),
    };
    let Some(topics) = integrators_topics(ctx, machine.id).await? else { return Ok(()) };
    try_publish_json(ctx, &format!("{topics}/status"), &json, true).await
}

pub(crate) async fn publish_pulse_to_integrators(ctx: &Context, machine: &machine::Model, pulse: &Pulse) {
    let json = PulseJson {
        v: JSON_VERSION,
        at_ms: ctx.wall_ms(),
        pulses: pulse.pulses,
        coin_pulses_total: pulse.coin_pulses_total,
        width_ms: pulse.width_ms,
        gap_ms: pulse.gap_ms,
    };
    publish_to_integrators(ctx, machine.id, "pulse", &json, false).await;
}

pub(crate) async fn publish_sale_to_integrators(ctx: &Context, sale: &sale::Model) {
    let json = SaleJson {
        v: JSON_VERSION,
        sale: &sale.token.0,
        state: sale.state.as_str(),
        reason: sale.reason.as_str(),
        at_ms: ctx.wall_ms(),
        created_ms: sale.created_ms,
        amount_minor: sale.amount_minor,
        currency: &sale.currency,
        label: &sale.label,
        pulses: sale.pulses,
        pulses_given: sale.pulses_given,
        served_and_refunded: sale.served_and_refunded,
    };
    publish_to_integrators(ctx, sale.machine_id, "sale", &json, false).await;
}

async fn publish_to_integrators(ctx: &Context, machine_id: MachineId, kind: &str, json: &impl Serialize, retain: bool) {
    let topics = match integrators_topics(ctx, machine_id).await {
        Ok(Some(topics)) => topics,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "could not publish a {kind} for integrators");
            return;
        }
    };
    publish_json(ctx, &format!("{topics}/{kind}"), json, retain).await;
}

async fn integrators_topics(ctx: &Context, machine_id: MachineId) -> Result<Option<Arc<str>>> {
    let known = ctx.topics.0.read().unwrap_or_else(PoisonError::into_inner).get(&machine_id).cloned();
    if known.is_some() {
        return Ok(known);
    }
    let names: Option<(String, String)> = machine::Entity::find_by_id(machine_id)
        .select_only()
        .join(JoinType::InnerJoin, machine::Relation::Operator.def())
        .column(operator::Column::Slug)
        .column(machine::Column::Code)
        .into_tuple()
        .one(ctx.db.read())
        .await?;
    let Some((operator, machine)) = names else { return Ok(None) };
    let topics: Arc<str> = format!("v1/{operator}/{machine}").into();
    ctx.topics.0.write().unwrap_or_else(PoisonError::into_inner).insert(machine_id, topics.clone());
    Ok(Some(topics))
}
