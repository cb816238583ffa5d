//! The operator's view of a machine's module: settings, remote actions, learning results, and whether it may connect.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation},
    ids::MachineId,
    machines::{fleet::fleet_rows, rows::permitted_machine, shapes::FleetRow},
    modules::{
        diagnostics::{DiagnosticsView, diagnostics},
        learning_results::{LearningResultView, learning_result},
        remote_actions::{RemoteActionView, remote_actions},
        rows::module_row,
        settings::{self, ModuleSettings, newest_settings},
        stale_store::{StaleStoreView, stale_store},
    },
};
use serde::Serialize;

/// The page of a machine's module.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteView {
    /// As in the fleet.
    #[serde(flatten)]
    pub row: FleetRow,
    /// The wanted settings, or those built into its firmware.
    pub settings: ModuleSettings,
    /// When the settings were changed (unix milliseconds).
    pub settings_changed_ms: Option<i64>,
    /// Their state: `built_in` (none were chosen), `foreign` (none were chosen here, but the module has some),
    /// `in_force`, `waiting`, `failed`.
    pub settings_standing: &'static str,
    /// The newest command of each kind.
    pub remote_actions: Vec<RemoteActionView>,
    /// What it last learned.
    pub learning_result: Option<LearningResultView>,
    /// What the module did that this store does not have (it was restored from a backup), if that was noticed recently.
    pub behind: Option<StaleStoreView>,
    /// Its last diagnostics.
    pub diagnostics: Option<DiagnosticsView>,
}

/// The module of an operator's machine, with the state of everything that was sent to it. If there is no module, all
/// this is empty.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn remote(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<RemoteView> {
    let (machine, _) = permitted_machine(ctx, actor, Operation::ViewMachines, machine_id).await?;
    let module_id = machine.module_id.clone();
    let row = fleet_rows(ctx, actor, machine.operator_id, vec![machine])
        .await?
        .pop()
        .ok_or_else(|| Error::inconsistent("a machine that was just read is not there"))?;
    let Some(module_id) = module_id else {
        return Ok(RemoteView {
            row,
            settings: ModuleSettings::default(),
            settings_changed_ms: None,
            settings_standing: "built_in",
            remote_actions: vec![],
            learning_result: None,
            behind: None,
            diagnostics: None,
        });
    };
    let module = module_row(ctx, &module_id).await?;
    let newest = newest_settings(ctx, &module_id).await?;
    Ok(RemoteView {
        row,
        settings: settings::wanted(&module),
        settings_changed_ms: module.settings_changed_ms,
        settings_standing: settings::settings_status(&module, newest.as_ref()),
        remote_actions: remote_actions(ctx, &module_id).await?,
        learning_result: learning_result(ctx, &module_id).await?,
        behind: stale_store(ctx, &module).await?,
        diagnostics: diagnostics(ctx, &module_id).await?,
    })
}
