//! A person changes settings of a machine's module, or asks something of it.

use crate::{
    Context, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
    },
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        change_settings::change_settings,
        operate::{disable_module::disable, learning::decide_learning_result, remote_action::queue_remote_action},
    },
    ids::MachineId,
    machines::rows::{lock_wired_module, permitted_module, price_rows},
    modules::{remote_actions::RemoteAction, settings::ModuleSettings},
};
use serde_json::json;

/// Settings as an operator's form has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsChange {
    /// The version wanted when the form was made.
    pub since_version: i64,
    /// What it shall be.
    pub settings: ModuleSettings,
}

/// Changes what is wanted of a machine's module, and queues it. The same as is wanted already changes nothing,
/// unless the module refused it.
///
/// # Errors
///
/// `Conflict` if they were changed since the form was made; `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn set_settings(ctx: &Context, actor: &Actor, machine_id: MachineId, change: SettingsChange) -> Result<()> {
    let (module, permit) = permitted_module(ctx, actor, Operation::ChangeSettings, machine_id).await?;
    let prices = price_rows(ctx.db.read(), machine_id).await?;
    change.settings.check(prices.iter().map(|price| price.pulses).max().unwrap_or(0))?;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            lock_wired_module(txn, machine_id, module).await?;
            let changed = change_settings(ctx, txn, module, change.since_version, change.settings, &mut after).await?;
            if let Some(before) = changed {
                // Also where they are what was wanted before: the module is sent them anew.
                let told = Change::between(json!(before), json!(change.settings));
                audit::record(ctx, txn, permit, ("module", module), told).await?;
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Orders a remote action of a machine's module.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn order_remote_action(
    ctx: &Context,
    actor: &Actor,
    machine_id: MachineId,
    remote_action: RemoteAction,
) -> Result<()> {
    let (module, permit) = permitted_module(ctx, actor, Operation::OrderRemoteAction, machine_id).await?;
    queue_remote_action(ctx, permit, (machine_id, module), remote_action).await
}

/// Accepts what a machine's module learned, as it was first told at `heard_ms`, or discards it.
///
/// # Errors
///
/// `Conflict` if something else was learned meanwhile; `NotFound`, `Forbidden`, `Store`.
pub async fn decide_learned(
    ctx: &Context,
    actor: &Actor,
    machine_id: MachineId,
    heard_ms: i64,
    accept: bool,
) -> Result<()> {
    let (module, permit) = permitted_module(ctx, actor, Operation::JudgeLearning, machine_id).await?;
    decide_learning_result(ctx, permit, (machine_id, module), heard_ms, accept).await
}

/// Disables the credential of a machine's module, for instance because it was stolen, or enables it again.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn set_disabled(ctx: &Context, actor: &Actor, machine_id: MachineId, disabled: bool) -> Result<()> {
    let (module, permit) = permitted_module(ctx, actor, Operation::DisableModule, machine_id).await?;
    disable(ctx, permit, module, disabled).await
}
