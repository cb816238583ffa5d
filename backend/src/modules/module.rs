//! A module: its identity, and what it last said of itself.

use crate::ids::{MachineId, ManufacturerId, OperatorId};
use sea_orm::entity::prelude::*;

/// A module: its identity, and what it last said of itself.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "modules")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub secret_sealed: Vec<u8>,
    pub registered_ms: i64,
    pub command_sequence: i64,
    pub online: bool,
    pub seen_ms: Option<i64>,
    pub status_boot: i64,
    pub status_session: i64,
    pub status_sequence: i64,
    pub pulse_boot: i64,
    pub pulse_session: i64,
    pub pulse_sequence: i64,
    pub firmware: String,
    pub signal_csq: Option<i32>,
    pub supply_mv: Option<i32>,
    pub faults: i64,
    pub locked: bool,
    pub settings_version: i64,
    pub coin_pulses: i64,
    /// The machine that its coins are counted for: see `coins`.
    pub coins_machine_id: Option<MachineId>,
    /// When it last reported its total.
    pub coins_ms: Option<i64>,
    /// A total that was not believed, and when it was reported.
    pub coins_doubted: Option<i64>,
    pub coins_doubted_ms: Option<i64>,
    /// How often counting was restarted.
    pub coins_epoch: i64,
    pub credit_pulses: i64,
    pub noise_edges: i64,
    /// Version of the settings wanted; 0 if none were ever chosen here.
    pub settings_wanted: i64,
    /// The settings wanted, as the protocol writes them.
    pub settings_body: Option<Vec<u8>>,
    pub settings_changed_ms: Option<i64>,
    /// How many times its memory was reset since it was registered: see `resets`.
    pub lives: i64,
    /// Since when its credential is disabled.
    pub disabled_ms: Option<i64>,
    /// Who made it, if that is known.
    pub manufacturer_id: Option<ManufacturerId>,
    /// The operator it belongs to; only this operator may wire it. `None` if it belongs to nobody yet.
    pub operator_id: Option<OperatorId>,
    /// The highest command it said it took.
    pub last_command: i64,
    /// When it was found to have taken commands that this store never issued: see `stale_store`.
    pub behind_ms: Option<i64>,
    /// Credit pulses it gave then that do not belong to any known sale so far.
    pub behind_pulses: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
