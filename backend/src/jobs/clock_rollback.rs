//! Rows whose due time is later than it can be: they were stored before the clock was set back.

use crate::{
    Context, Result,
    jobs::in_progress::Job,
    modules::command::{self, Column as CommandColumn, CommandState},
    payments::{attempt, refund, statement},
};
use sea_orm::{prelude::*, sea_query::Expr};

/// Makes rows due now whose due time is further off than the longest wait of their kind.
pub(crate) async fn reschedule_after_rollback(ctx: &Context, job: Job) -> Result<()> {
    let (rules, now_ms) = (&ctx.rules, ctx.now_ms());
    if !ctx.last_scans.is_time(job, now_ms) {
        return Ok(());
    }
    let brought = match job {
        Job::Resend => {
            let open = CommandColumn::State.is_in([CommandState::Sent, CommandState::Received]);
            let longest_ms = rules.resend_max_ms.max(rules.resend_first_ms);
            let brought =
                cap_due_times::<command::Entity>(ctx, CommandColumn::DueMs, Some(open), longest_ms, now_ms).await?;
            // Commands that were given up are kept as long as all others.
            let memory_ms = rules.credit_memory_ms;
            cap_due_times::<command::Entity>(ctx, CommandColumn::DueMs, None, memory_ms, now_ms + memory_ms).await?;
            brought
        }
        Job::Poll => {
            let longest_ms = rules.poll_max_ms.max(rules.poll_first_ms).max(rules.poll_watched_ms);
            cap_due_times::<attempt::Entity>(ctx, attempt::Column::DueMs, None, longest_ms, now_ms).await?
        }
        Job::Refund => {
            let longest_ms = rules.refund_max_ms.max(rules.refund_first_ms);
            cap_due_times::<refund::Entity>(ctx, refund::Column::DueMs, None, longest_ms, now_ms).await?
        }
        // A statement of a future day is not available yet; the request fails and is rescheduled.
        Job::Statement => {
            let due = statement::Column::DueMs;
            cap_due_times::<statement::Entity>(ctx, due, None, rules.statement_longest_ms, now_ms).await?
        }
    };
    if brought > 0 {
        tracing::warn!(
            job = job.as_str(),
            rows = brought,
            "the clock was set back: rows whose due time was too far ahead are due now"
        );
    }
    Ok(())
}

/// Sets the due time to `to_ms` for rows that are due more than `longest_ms` from now; returns how many rows that were.
async fn cap_due_times<E: EntityTrait>(
    ctx: &Context,
    due: E::Column,
    which: Option<sea_orm::sea_query::SimpleExpr>,
    longest_ms: i64,
    to_ms: i64,
) -> Result<u64> {
    let latest_ms = ctx.now_ms() + longest_ms;
    let which = &which;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut rows = E::update_many().col_expr(due, Expr::value(to_ms)).filter(due.gt(latest_ms));
            if let Some(which) = which {
                rows = rows.filter(which.clone());
            }
            Ok(rows.exec(txn).await?.rows_affected)
        })
        .await
}
