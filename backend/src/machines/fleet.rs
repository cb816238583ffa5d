//! The operator's view of the fleet.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation, operator, operators::operator_row},
    ids::{MachineId, OperatorId},
    ledger,
    machines::{
        machine,
        rows::{permitted_machine, price_rows},
        shapes::{FleetRow, MachineView, ModuleView, PulseRow},
    },
    modules::{module, pulse},
    money::Money,
    sales::{
        shapes::PriceView,
        takings::{start_ms, sums_today},
    },
    zones::Period,
};
use protocol::messages::faults;
use sea_orm::{ExprTrait, FromQueryResult, QueryOrder, QuerySelect, prelude::*};
use std::collections::BTreeMap;

/// How many bursts of coins a machine's page shows.
const PULSE_ROWS: u64 = 20;

#[derive(FromQueryResult)]
struct Coins {
    machine_id: MachineId,
    coins: i64,
}

/// An operator's machines.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn fleet(ctx: &Context, actor: &Actor, operator_id: OperatorId) -> Result<Vec<FleetRow>> {
    actor.permit(Operation::ViewMachines, operator_id, "operator")?;
    let machines = machine::Entity::find()
        .filter(machine::Column::OperatorId.eq(operator_id))
        .order_by_asc(machine::Column::Id)
        .all(ctx.db.read())
        .await?;
    // Machines out of service come last.
    let (retired, mut machines): (Vec<_>, Vec<_>) = machines.into_iter().partition(|m| m.retired_ms.is_some());
    machines.extend(retired);
    fleet_rows(ctx, actor, operator_id, machines).await
}

/// One machine.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn machine(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<MachineView> {
    let (machine, _) = permitted_machine(ctx, actor, Operation::ViewMachines, machine_id).await?;
    let operator = operator_row(ctx, machine.operator_id).await?;
    let rows = fleet_rows(ctx, actor, machine.operator_id, vec![machine.clone()]).await?;
    let currency = ledger::currency(&operator.currency)?;
    let prices = price_rows(ctx.db.read(), machine_id).await?;
    let pulses = pulse::Entity::find()
        .filter(pulse::Column::MachineId.eq(machine_id))
        .order_by_desc(pulse::Column::Id)
        .limit(PULSE_ROWS)
        .all(ctx.db.read())
        .await?;
    Ok(MachineView {
        row: rows.into_iter().next().ok_or_else(|| Error::inconsistent("a machine that was just read is not there"))?,
        coin_value: Money::new(machine.coin_value_minor, currency),
        prices: prices.into_iter().map(|price| PriceView::new(price, currency)).collect(),
        pulses: pulses
            .into_iter()
            .map(|p| PulseRow {
                at_ms: p.at_ms,
                pulses: p.pulses,
                total: p.total,
                width_ms: p.width_ms,
                gap_ms: p.gap_ms,
            })
            .collect(),
    })
}

pub(crate) async fn fleet_rows(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    machines: Vec<machine::Model>,
) -> Result<Vec<FleetRow>> {
    // Not everybody who looks after machines may see the money.
    let shows_takings = actor.may(Operation::ViewTakings);
    let operator = operator_row(ctx, operator_id).await?;
    let sums = sums_today(ctx, &operator).await?;
    let coins = coins_today(ctx, &operator).await?;
    let module_ids: Vec<String> = machines.iter().filter_map(|machine| machine.module_id.clone()).collect();
    let modules: BTreeMap<String, module::Model> = module::Entity::find()
        .filter(module::Column::Id.is_in(module_ids))
        .all(ctx.db.read())
        .await?
        .into_iter()
        .map(|module| (module.id.clone(), module))
        .collect();
    let currency = ledger::currency(&operator.currency)?;
    let rows = machines.into_iter().map(|machine| {
        let today = sums.get(&Some(machine.id)).copied().unwrap_or_default();
        let mobile = Money::new(today.paid_minor - today.refunded_minor, currency);
        FleetRow {
            machine_id: machine.id,
            module: machine.module_id.as_ref().and_then(|id| modules.get(id)).map(ModuleView::of),
            code: machine.code,
            name: machine.name,
            site: machine.site,
            active: machine.active,
            retired_ms: machine.retired_ms,
            sales_today: shows_takings.then_some(today.sales),
            mobile_today: shows_takings.then_some(mobile),
            coins_today: coins.get(&machine.id).copied().unwrap_or_default(),
        }
    });
    Ok(rows.collect())
}

async fn coins_today(ctx: &Context, operator: &operator::Model) -> Result<BTreeMap<MachineId, i64>> {
    let coins = pulse::Entity::find()
        .select_only()
        .column(pulse::Column::MachineId)
        .column_as(pulse::Column::Pulses.sum().cast_as("SIGNED"), "coins")
        .filter(pulse::Column::OperatorId.eq(operator.id))
        .filter(pulse::Column::AtMs.gte(start_ms(ctx, operator, Period::Day)?))
        .group_by(pulse::Column::MachineId)
        .into_model::<Coins>()
        .all(ctx.db.read())
        .await?;
    Ok(coins.into_iter().map(|coins| (coins.machine_id, coins.coins)).collect())
}

/// The words for fault bits, for programs; pages have texts for each.
pub fn fault_names(bits: i64) -> Vec<&'static str> {
    [
        (faults::COIN_LINE_STUCK, "coin_line_stuck"),
        (faults::FLASH, "flash"),
        (faults::MACHINE_SILENT, "machine_silent"),
        (faults::SUPPLY_LOW, "supply_low"),
        (faults::BAD_SIGNATURES, "bad_signatures"),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & i64::from(*bit) != 0)
    .map(|(_, word)| word)
    .collect()
}

impl ModuleView {
    fn of(module: &module::Model) -> Self {
        Self {
            id: module.id.clone(),
            online: module.online,
            seen_ms: module.seen_ms,
            firmware: module.firmware.clone(),
            signal_csq: module.signal_csq,
            supply_mv: module.supply_mv,
            faults: fault_names(module.faults),
            locked: module.locked,
            disabled_ms: module.disabled_ms,
            boot: module.status_boot,
            coin_pulses: module.coin_pulses,
            credit_pulses: module.credit_pulses,
            settings_version: module.settings_version,
            settings_wanted: module.settings_wanted,
        }
    }
}
