//! A module's credential is disabled or enabled again.

use crate::{
    Context, Result,
    flows::{after_commit::notify_module_changed, probe_module::invalidate_probe},
    modules::{module::ActiveModel, rows::lock_module},
};
use protocol::ModuleId;
use sea_orm::{ActiveValue::Set, prelude::*};

/// Disables a module's credential, or enables it again. It is for the broker's side to end its connections: see
/// [`disabled_modules`](crate::modules::admission::disabled_modules).
pub async fn set_module_disabled(ctx: &Context, module: ModuleId, disabled: bool) -> Result<()> {
    let changed = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            if row.disabled_ms.is_some() == disabled {
                return Ok(false);
            }
            let mut change: ActiveModel = row.into();
            change.disabled_ms = Set(disabled.then(|| ctx.now_ms()));
            if disabled {
                change.online = Set(false);
            }
            change.update_without_returning(txn).await?;
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
