//! A store that was restored from a backup lacks commands that modules took since then. A module's status shows this
//! with the sequence of the last command it took. The store then continues its numbering from there, the operator is
//! told, and for every payment that becomes known again the module is asked before money or pulses move.

use crate::{
    Context, Result,
    modules::{
        command::{self, Entity},
        module,
        numbers::{column, sequence_floor},
    },
    sales::sale,
};
use protocol::messages::Status;
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*, sea_query::Expr};
use serde::Serialize;

/// A module that reports a sequence far beyond any we can have issued is broken, and must not make us use up the
/// sequences.
const SEQUENCE_LEAD_MAX: i64 = 1_000_000;

/// How long a page shows that the store was restored from a backup.
const SHOWN_MS: i64 = 30 * 24 * 3_600_000;

/// What a module did that a restored store does not have.
#[derive(Debug, Clone, Serialize)]
pub struct StaleStoreView {
    /// When it was noticed (unix milliseconds).
    pub since_ms: i64,
    /// Sales that were settled since by asking the module.
    pub settled: u64,
    /// Sales that were refunded because the module no longer knew.
    pub unknown: u64,
    /// Credit pulses it gave that do not belong to any known sale so far.
    pub pulses: i64,
}

/// The last command that a status reports, if this server can have issued it.
fn plausible_last_command(row: &module::Model, status: &Status<'_>, now_ms: i64) -> Option<i64> {
    let last = i64::from(status.last_command);
    let most = row.command_sequence.max(sequence_floor(now_ms)).saturating_add(SEQUENCE_LEAD_MAX);
    (status.online && last > 0 && last <= most).then_some(last)
}

/// Records the last command that a module took. True if this store never issued it, so it has lost commands.
pub(crate) async fn record_last_command(
    txn: &DatabaseTransaction,
    row: &module::Model,
    status: &Status<'_>,
    change: &mut module::ActiveModel,
    now_ms: i64,
) -> Result<bool> {
    let Some(last) = plausible_last_command(row, status, now_ms).filter(|last| *last != row.last_command) else {
        return Ok(false);
    };
    change.last_command = Set(last);
    if last > row.command_sequence {
        change.command_sequence = Set(last);
    }
    let known = Entity::find()
        .filter(command::Column::ModuleId.eq(&row.id))
        .filter(command::Column::Sequence.eq(last))
        .count(txn)
        .await?;
    // A module that never reported before got those commands from another server.
    if known > 0 || row.status_boot == 0 {
        return Ok(false);
    }
    change.behind_ms = Set(Some(now_ms));
    let given = column(status.totals.credit_pulses).saturating_sub(row.credit_pulses).max(0);
    change.behind_pulses = Set(row.behind_pulses.saturating_add(given));
    Ok(true)
}

/// A credit from before the restore now has its sale: its pulses are explained.
pub(crate) async fn reduce_unexplained_pulses(txn: &DatabaseTransaction, module_id: &str, pulses: i32) -> Result<()> {
    let column = module::Column::BehindPulses;
    let left = Expr::case(column.gt(pulses), sea_orm::ExprTrait::sub(Expr::col(column), pulses)).finally(0);
    module::Entity::update_many()
        .col_expr(column, left.into())
        .filter(module::Column::Id.eq(module_id))
        .filter(module::Column::BehindMs.is_not_null())
        .exec(txn)
        .await?;
    Ok(())
}

/// What a module did that this store does not have, if that was noticed recently.
pub(crate) async fn stale_store(ctx: &Context, module: &module::Model) -> Result<Option<StaleStoreView>> {
    let Some(since_ms) = module.behind_ms.filter(|since_ms| ctx.now_ms() - since_ms < SHOWN_MS) else {
        return Ok(None);
    };
    let asked = || {
        sale::Entity::find()
            .filter(sale::Column::ModuleId.eq(&module.id))
            .filter(sale::Column::PaidMs.gte(since_ms))
            .filter(sale::Column::CreditAsked.eq(true))
    };
    let settled = asked().filter(sale::Column::State.eq("credited")).count(ctx.db.read()).await?;
    let unknown = asked().filter(sale::Column::Reason.eq("module_forgot")).count(ctx.db.read()).await?;
    Ok(Some(StaleStoreView { since_ms, settled, unknown, pulses: module.behind_pulses }))
}
