//! A module's credential is disabled or enabled again.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        audit::{self, Change},
        operations::Operation,
    },
    flows::{after_commit::notify_module_changed, probe_module::invalidate_probe},
    modules::{
        module::ActiveModel,
        rows::{lock_module, permitted_module_row},
    },
};
use protocol::ModuleId;
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::json;

/// Disables a module's credential, for instance because it was stolen, or enables it again. It is for the broker's side to
/// end its connections: see [`disabled_modules`](crate::modules::admission::disabled_modules).
///
/// # Errors
///
/// `NotFound` if there is no such module for this actor; `Forbidden`, `Store`.
pub async fn set_module_disabled(ctx: &Context, actor: &Actor, module: ModuleId, disabled: bool) -> Result<()> {
    let (_, permit) = permitted_module_row(ctx, actor, Operation::DisableModule, module).await?;
    disable(ctx, permit, module, disabled).await
}

pub(crate) async fn disable(ctx: &Context, permit: Permit<'_>, module: ModuleId, disabled: bool) -> Result<()> {
    let changed = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            if row.operator_id.is_some_and(|owner| permit.operator() != Some(owner)) {
                return Err(Error::Conflict("whose module it is"));
            }
            if row.disabled_ms.is_some() == disabled {
                return Ok(false);
            }
            let mut change: ActiveModel = row.into();
            change.disabled_ms = Set(disabled.then(|| ctx.now_ms()));
            if disabled {
                change.online = Set(false);
            }
            change.update_without_returning(txn).await?;
            let told = Change::to(json!({"disabled": disabled}));
            audit::record(ctx, txn, permit, ("module", module), told).await?;
            Ok(true)
        })
        .await?;
    if changed {
        tracing::info!(%module, disabled, "a module's credential was changed");
        invalidate_probe(ctx, module.as_str());
        notify_module_changed(ctx, module.as_str()).await;
    }
    Ok(())
}
