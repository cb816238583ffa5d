//! A person changes settings of a machine's module, or asks something of it.

use crate::{
    Context, Result,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        change_settings::change_settings,
        disable_module::set_module_disabled,
        operate::{learning::decide_learning_result, remote_action::queue_remote_action},
    },
    machines::rows::{own_module, price_rows},
    modules::{remote_actions::RemoteAction, settings::ModuleSettings},
};

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
pub async fn set_settings(ctx: &Context, operator_id: i64, machine_id: i64, change: SettingsChange) -> Result<()> {
    let module = own_module(ctx, operator_id, machine_id).await?;
    let prices = price_rows(ctx.db.read(), machine_id).await?;
    change.settings.check(prices.iter().map(|price| price.pulses).max().unwrap_or(0))?;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            change_settings(ctx, txn, module, change.since_version, change.settings, &mut after).await?;
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Orders a remote action of a machine's module.
pub async fn order_remote_action(
    ctx: &Context,
    operator_id: i64,
    machine_id: i64,
    remote_action: RemoteAction,
) -> Result<()> {
    let module = own_module(ctx, operator_id, machine_id).await?;
    queue_remote_action(ctx, module, remote_action).await
}

/// Accepts what a machine's module learned, as it was first told at `heard_ms`, or discards it.
pub async fn decide_learned(
    ctx: &Context,
    operator_id: i64,
    machine_id: i64,
    heard_ms: i64,
    accept: bool,
) -> Result<()> {
    let module = own_module(ctx, operator_id, machine_id).await?;
    decide_learning_result(ctx, module, heard_ms, accept).await
}

/// Disables the credential of a machine's module, for instance because it was stolen, or enables it again.
pub async fn set_disabled(ctx: &Context, operator_id: i64, machine_id: i64, disabled: bool) -> Result<()> {
    let module = own_module(ctx, operator_id, machine_id).await?;
    set_module_disabled(ctx, module, disabled).await
}
