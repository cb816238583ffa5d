//! Integrators' topics: `v1/<operator>/<machine>/{status,pulse,sale}`, plain JSON. docs/PROTOCOL.md has the fields.

use super::JSON_VERSION;
use crate::{Backend, machines::fleet::fault_words, machines::machine, operators::operator, sales::sale};
use protocol::messages::{Pulse, Status};
use sea_orm::prelude::*;
use serde::Serialize;

#[derive(Serialize)]
struct StatusJson<'a> {
    v: u8,
    module: &'a str,
    online: bool,
    at_ms: i64,
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

impl Backend {
    pub(crate) async fn tell_integrators_of_status(&self, machine: &machine::Model, status: &Status<'_>) {
        let json = StatusJson {
            v: JSON_VERSION,
            module: machine.module_id.as_deref().unwrap_or_default(),
            online: status.online,
            at_ms: self.now_ms(),
            firmware: status.firmware,
            signal_csq: status.signal_csq,
            supply_mv: status.supply_mv,
            faults: fault_words(status.faults.into()),
            locked: status.locked.unwrap_or(false),
            coin_pulses_total: status.totals.coin_pulses,
            credit_pulses_total: status.totals.credit_pulses,
        };
        self.tell_integrators(machine, "status", &json, true).await;
    }

    pub(crate) async fn tell_integrators_of_pulse(&self, machine: &machine::Model, pulse: &Pulse) {
        let json = PulseJson {
            v: JSON_VERSION,
            at_ms: self.now_ms(),
            pulses: pulse.pulses,
            coin_pulses_total: pulse.coin_pulses_total,
            width_ms: pulse.width_ms,
            gap_ms: pulse.gap_ms,
        };
        self.tell_integrators(machine, "pulse", &json, false).await;
    }

    pub(crate) async fn tell_integrators_of_sale(&self, sale: &sale::Model) {
        let machine = match machine::Entity::find_by_id(sale.machine_id).one(self.db.read()).await {
            Ok(Some(machine)) => machine,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "integrators were not told of a sale");
                return;
            }
        };
        let json = SaleJson {
            v: JSON_VERSION,
            sale: &sale.token,
            state: &sale.state,
            reason: &sale.reason,
            at_ms: self.now_ms(),
            created_ms: sale.created_ms,
            amount_minor: sale.amount_minor,
            currency: &sale.currency,
            label: &sale.label,
            pulses: sale.pulses,
            pulses_given: sale.pulses_given,
            served_and_refunded: sale.served_and_refunded,
        };
        self.tell_integrators(&machine, "sale", &json, false).await;
    }

    /// Best effort, by design: the API and the pages have the truth, and a status is retained.
    async fn tell_integrators(&self, machine: &machine::Model, kind: &str, json: &impl Serialize, retain: bool) {
        let operator = match operator::Entity::find_by_id(machine.operator_id).one(self.db.read()).await {
            Ok(Some(operator)) => operator,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "integrators were not told of a {kind}");
                return;
            }
        };
        let topic = format!("v1/{}/{}/{kind}", operator.slug, machine.code);
        let payload = serde_json::to_vec(json).expect("these structures are plain JSON");
        if let Err(error) = self.bus.publish(&topic, payload, retain, None).await {
            tracing::debug!(%error, "integrators were not told of a {kind}");
        }
    }
}
