//! What an operator does with a machine's module from afar: settings, errands, what it learned, and whether it may
//! connect at all.

use super::{FleetRow, machine};
use crate::{
    Backend, Error, Result,
    live::{LiveEvent, LiveKind},
    modules::{BehindView, DiagnosticsView, Errand, ErrandView, LessonView, ModuleSettings, settings},
    sales::After,
};
use protocol::ModuleId;
use sea_orm::prelude::*;
use serde::Serialize;

/// The page of a machine's module.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteView {
    /// As in the fleet.
    #[serde(flatten)]
    pub row: FleetRow,
    /// What is wanted of it, or what is built into its firmware.
    pub settings: ModuleSettings,
    /// When the settings were changed (unix milliseconds).
    pub settings_changed_ms: Option<i64>,
    /// How they stand: `built_in` (none were chosen), `foreign` (none were chosen here, the module has some),
    /// `in_force`, `waiting`, `failed`.
    pub settings_standing: &'static str,
    /// The newest command of each kind.
    pub errands: Vec<ErrandView>,
    /// What it last learned.
    pub lesson: Option<LessonView>,
    /// What it did while this store looked away, if that was noticed lately.
    pub behind: Option<BehindView>,
    /// What it last told of itself.
    pub diagnostics: Option<DiagnosticsView>,
}

/// Settings as an operator's form has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsChange {
    /// The version wanted when the form was made.
    pub since_version: i64,
    /// What it shall be.
    pub settings: ModuleSettings,
}

impl Backend {
    /// The module of an operator's machine, and how far everything is that it was told. Without settings and the like if
    /// there is no module.
    pub async fn remote(&self, operator_id: i64, machine_id: i64) -> Result<RemoteView> {
        let machine = self.own_machine(operator_id, machine_id).await?;
        let module_id = machine.module_id.clone();
        let row = self.fleet_rows(operator_id, vec![machine]).await?.pop().ok_or(Error::NotFound("machine"))?;
        let Some(module_id) = module_id else {
            return Ok(RemoteView {
                row,
                settings: ModuleSettings::default(),
                settings_changed_ms: None,
                settings_standing: "built_in",
                errands: vec![],
                lesson: None,
                behind: None,
                diagnostics: None,
            });
        };
        let module = self.module_row(&module_id).await?;
        let newest = self.newest_settings(&module_id).await?;
        Ok(RemoteView {
            row,
            settings: settings::wanted(&module),
            settings_changed_ms: module.settings_changed_ms,
            settings_standing: settings::standing(&module, newest.as_ref()),
            errands: self.errands(&module_id).await?,
            lesson: self.lesson(&module_id).await?,
            behind: self.behind(&module).await?,
            diagnostics: self.diagnostics(&module_id).await?,
        })
    }

    /// Changes what is wanted of a machine's module, and queues it. The same as is wanted already changes nothing,
    /// unless the module refused it.
    pub async fn set_settings(&self, operator_id: i64, machine_id: i64, change: SettingsChange) -> Result<()> {
        let module = self.own_module(operator_id, machine_id).await?;
        let prices = self.price_rows(machine_id).await?;
        change.settings.check(prices.iter().map(|price| price.pulses).max().unwrap_or(0))?;
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                self.change_settings(txn, module, change.since_version, change.settings, &mut after).await?;
                Ok(after)
            })
            .await?;
        self.follow_up(after).await;
        Ok(())
    }

    /// Sends a machine's module on an errand.
    pub async fn send_module(&self, operator_id: i64, machine_id: i64, errand: Errand) -> Result<()> {
        let module = self.own_module(operator_id, machine_id).await?;
        self.send_on_errand(module, errand).await
    }

    /// Accepts what a machine's module learned, as it was first told at `heard_ms`, or discards it.
    pub async fn judge_learned(&self, operator_id: i64, machine_id: i64, heard_ms: i64, accept: bool) -> Result<()> {
        let module = self.own_module(operator_id, machine_id).await?;
        self.judge(module, heard_ms, accept).await
    }

    /// Disables the credential of a machine's module, for instance because it was stolen, or enables it again.
    pub async fn set_disabled(&self, operator_id: i64, machine_id: i64, disabled: bool) -> Result<()> {
        let module = self.own_module(operator_id, machine_id).await?;
        self.set_module_disabled(module, disabled).await
    }

    /// The module of an operator's machine.
    async fn own_module(&self, operator_id: i64, machine_id: i64) -> Result<ModuleId> {
        let machine = self.own_machine(operator_id, machine_id).await?;
        let module = machine.module_id.as_deref().and_then(|id| ModuleId::parse(id).ok());
        module.ok_or(Error::NotFound("module of this machine"))
    }

    /// Tells watchers that what a module is told, or its word on it, moved.
    pub(crate) async fn tell_of_module(&self, module_id: &str) {
        let machine = machine::Entity::find().filter(machine::Column::ModuleId.eq(module_id)).one(self.db.read()).await;
        // Who is not told now is told by the next event, or looks for himself.
        let Ok(Some(machine)) = machine else { return };
        self.live.tell(LiveEvent {
            operator_id: machine.operator_id,
            machine_id: Some(machine.id),
            what: LiveKind::Module,
            at_ms: self.wall_ms(),
        });
    }
}
