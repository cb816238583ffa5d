//! Diagnostics: what a module last reported about itself when it was asked.

use crate::{
    Context, Result,
    modules::diagnosis::{ActiveModel, Entity},
};
use protocol::{ModuleId, messages::Diagnostics};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};
use serde::Serialize;

/// What a module last reported about itself, for its operator. Counters count from the start of the boot in which they
/// were reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiagnosticsView {
    /// When it was reported (unix milliseconds).
    pub heard_ms: i64,
    /// The protocol's word for why the module last started.
    pub reset_cause: Option<&'static str>,
    /// Where its firmware last panicked: a hash of the file's name, and the line.
    pub panic: Option<String>,
    /// How long the previous boot ran, in seconds.
    pub uptime_before_s: Option<u32>,
    /// The counters by their protocol names, in its order.
    pub counters: Vec<(&'static str, u32)>,
}

impl DiagnosticsView {
    fn of(heard_ms: i64, told: &Diagnostics) -> Self {
        Self {
            heard_ms,
            reset_cause: told.reset_cause.map(|cause| cause.as_str()),
            panic: told.panic.map(|panic| format!("{:08x}:{}", panic.file_hash, panic.line)),
            uptime_before_s: told.uptime_before_s,
            counters: vec![
                ("bad_tags", told.bad_tags),
                ("bad_payloads", told.bad_payloads),
                ("flash_failures", told.flash_failures),
                ("flash_writes", told.flash_writes),
                ("sessions", told.sessions),
                ("links_lost", told.links_lost),
                ("modem_restarts", told.modem_restarts),
                ("modem_timeouts", told.modem_timeouts),
                ("modem_errors", told.modem_errors),
                ("modem_garbage", told.modem_garbage),
                ("edges_lost", told.edges_lost),
                ("credits_capped", told.credits_capped),
            ],
        }
    }
}

/// Stores what a module reports about itself. Its row is locked.
pub(crate) async fn store_diagnostics(
    ctx: &Context,
    txn: &DatabaseTransaction,
    module: ModuleId,
    told: &Diagnostics,
) -> Result<()> {
    let row = ActiveModel {
        module_id: Set(module.to_string()),
        body: Set(minicbor::to_vec(told).expect("encoding into memory cannot fail")),
        heard_ms: Set(ctx.wall_ms()),
    };
    match Entity::find_by_id(module.as_str()).one(txn).await? {
        Some(_) => {
            row.update_without_returning(txn).await?;
        }
        None => {
            Entity::insert(row).exec_without_returning(txn).await?;
        }
    }
    Ok(())
}

/// What a module last reported about itself.
pub(crate) async fn diagnostics(ctx: &Context, module_id: &str) -> Result<Option<DiagnosticsView>> {
    let row = Entity::find_by_id(module_id).one(ctx.db.read()).await?;
    let told = row.and_then(|row| Some((row.heard_ms, minicbor::decode::<Diagnostics>(&row.body).ok()?)));
    Ok(told.map(|(heard_ms, told)| DiagnosticsView::of(heard_ms, &told)))
}
