//! What pages get about machines.

use crate::{ids::MachineId, money::Money, sales::shapes::PriceView};
use serde::Serialize;

/// A line in an operator's fleet.
#[derive(Debug, Clone, Serialize)]
pub struct FleetRow {
    /// The machine.
    pub machine_id: MachineId,
    /// Its code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// Whether it is on sale.
    pub active: bool,
    /// Since when it is permanently out of service (unix milliseconds).
    pub retired_ms: Option<i64>,
    /// The module wired to it.
    pub module: Option<ModuleView>,
    /// Sales credited today.
    pub sales_today: Option<i64>,
    /// Phone takings today.
    pub mobile_today: Option<Money>,
    /// Coin pulses counted today.
    pub coins_today: i64,
}

/// A module as its operator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleView {
    /// Its id.
    pub id: String,
    /// Whether it is connected, as far as known.
    pub online: bool,
    /// When it was last heard from (unix milliseconds).
    pub seen_ms: Option<i64>,
    /// Firmware version.
    pub firmware: String,
    /// Signal, CSQ 0 to 31.
    pub signal_csq: Option<i32>,
    /// Supply in millivolts.
    pub supply_mv: Option<i32>,
    /// Words for its faults: `coin_line_stuck`, `flash`, `machine_silent`, `supply_low`, `bad_signatures`.
    pub faults: Vec<&'static str>,
    /// Whether it is locked.
    pub locked: bool,
    /// Since when its credential is disabled (unix milliseconds).
    pub disabled_ms: Option<i64>,
    /// Number of boots so far.
    pub boot: i64,
    /// Coin pulses in total.
    pub coin_pulses: i64,
    /// Credit pulses in total.
    pub credit_pulses: i64,
    /// Version of the settings in force; 0 for those built in.
    pub settings_version: i64,
    /// Version of the settings wanted; 0 if none were chosen.
    pub settings_wanted: i64,
}

/// A machine's page.
#[derive(Debug, Clone, Serialize)]
pub struct MachineView {
    /// As in the fleet.
    #[serde(flatten)]
    pub row: FleetRow,
    /// What a coin pulse is worth.
    pub coin_value: Money,
    /// Its prices.
    pub prices: Vec<PriceView>,
    /// The newest bursts of coins.
    pub pulses: Vec<PulseRow>,
}

/// A burst of coins.
#[derive(Debug, Clone, Serialize)]
pub struct PulseRow {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Pulses.
    pub pulses: i32,
    /// Running total.
    pub total: i64,
    /// Median width in milliseconds.
    pub width_ms: i32,
    /// Median gap in milliseconds.
    pub gap_ms: i32,
}

/// What an operator changes on a price.
#[derive(Debug, Clone)]
pub struct PriceChange {
    /// Its name, 1 to 40 characters.
    pub label: String,
    /// Minor units, 1 to 1,000,000.
    pub amount_minor: i64,
    /// 1 to 200.
    pub pulses: i32,
}
