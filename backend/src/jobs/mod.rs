//! What is due: commands to be sent again (`resend`), payments to be asked about (`poll`), refunds (`refund`),
//! daily statements of payment providers (`statement`).
//!
//! Each job is a loop of its own ([`run_job`]) with a bound of its own, so that none waits for another: a command
//! is never late because a provider is slow. A loop begins what is due and does not wait for it to end. Jobs that call
//! providers take turns by merchant account and go through its bulkhead (`payments/bulkhead.rs`).
//!
//! A row's due time is moved before it is processed, on the condition that it still has the due time that was read, so
//! that another process on the same store skips it. A row that is due later than its longest possible wait was stored
//! before the clock was set back; it is due now (`clock_rollback`).

pub(crate) mod accounts;
pub(crate) mod clock_rollback;
pub mod in_progress;
pub(crate) mod poll;
pub(crate) mod refund;
pub(crate) mod resend;
pub(crate) mod statement;

use crate::{
    Context, Result,
    jobs::{
        clock_rollback::reschedule_after_rollback,
        in_progress::{Due, Job},
        poll::due_attempts,
        refund::due_refunds,
        resend::due_commands,
        statement::due_statements,
    },
};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::task::JoinSet;

/// A loop that could not look for due work looks again after this long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Takes a job's due work, as far as there is room for it. The work is done when the caller polls it.
///
/// # Errors
/// `Store`.
pub async fn due(ctx: &Context, job: Job) -> Result<Due> {
    reschedule_after_rollback(ctx, job).await?;
    match job {
        Job::Resend => due_commands(ctx).await,
        Job::Poll => due_attempts(ctx).await,
        Job::Refund => due_refunds(ctx).await,
        Job::Statement => due_statements(ctx).await,
    }
}

/// Runs a job for ever: looks for due work every [`crate::Rules::tick_ms`], or, if there was more than could begin, as
/// soon as there is room again. Work that is under way is cancelled when the loop is dropped.
pub async fn run_job(ctx: &Context, job: Job) {
    let mut in_progress = JoinSet::new();
    loop {
        let (is_more, pause) = match due(ctx, job).await {
            Ok(due) => {
                due.work.into_iter().for_each(|work| {
                    in_progress.spawn(work);
                });
                (due.is_more, Duration::from_millis(ctx.rules.tick_ms))
            }
            Err(error) => {
                tracing::warn!(job = job.as_str(), %error, "could not look for due work; looking again");
                (false, AFTER_FAILURE)
            }
        };
        metrics::gauge!("coinwire_due_work_under_way", "job" => job.as_str()).set(in_progress.len() as f64);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Some(_) = in_progress.join_next(), if is_more => {}
        }
        while in_progress.try_join_next().is_some() {}
    }
}

/// Does what is due now, one job after the other, and returns when all of it is done.
///
/// # Errors
/// `Store`.
pub async fn run_due(ctx: &Context) -> Result<()> {
    for job in Job::ALL {
        loop {
            let due = due(ctx, job).await?;
            let is_last = due.work.is_empty() || !due.is_more;
            join_all(due.work).await;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}
