//! What is due: commands to be sent again (`resend`), payments to be asked about (`poll`), refunds (`refund`).
//!
//! Each job is a loop of its own ([`Backend::run_job`]) with a bound of its own, so that none waits for another: a command
//! is never late because a provider is slow. A loop begins what is due and does not wait for it to end. Jobs that call
//! providers take turns by merchant account and go through its bulkhead (`payments/bulkhead.rs`).
//!
//! A row is put off before it is worked on, under the condition that it is still due at the time that was read: whoever
//! else works on the same store finds it put off. A row that is due later than its longest wait was stored before the
//! clock was set back, and is due now (`set_back`).

mod accounts;
mod poll;
mod refund;
mod resend;
pub(crate) mod set_back;

use crate::{Backend, Result};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::JoinSet;

/// A loop that could not look for due work looks again after this long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A kind of due work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Commands are sent again, or given up.
    Resend,
    /// Providers are asked what became of payments.
    Poll,
    /// Refunds are submitted and followed up.
    Refund,
}

impl Job {
    /// All of them.
    pub const ALL: [Job; 3] = [Job::Resend, Job::Poll, Job::Refund];

    /// The word for it, in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Job::Resend => "resend",
            Job::Poll => "poll",
            Job::Refund => "refund",
        }
    }
}

/// A piece of due work. What goes wrong with it is logged, and it is due again.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is due of a job.
#[derive(Default)]
pub struct Due {
    /// What can begin now.
    pub work: Vec<Work>,
    /// Whether more is due than can begin now.
    pub is_more: bool,
}

/// Rows that are worked on in this process.
#[derive(Default)]
pub(crate) struct UnderWay(Arc<Mutex<BTreeSet<(Job, i64)>>>);

impl UnderWay {
    /// Notes that a row is worked on; nothing if it is already, or if the job has too much under way.
    fn begin(&self, job: Job, row: i64, most: usize) -> Option<Begun> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_job = rows.range((job, i64::MIN)..=(job, i64::MAX)).count();
        (of_job < most && rows.insert((job, row))).then(|| Begun { rows: self.0.clone(), row: (job, row) })
    }
}

/// A row that is worked on; over when dropped.
struct Begun {
    rows: Arc<Mutex<BTreeSet<(Job, i64)>>>,
    row: (Job, i64),
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.row);
    }
}

impl Backend {
    /// Takes what is due of a job, as far as there is room for it. The work is done by whoever polls it.
    pub async fn due(&self, job: Job) -> Result<Due> {
        self.bring_forward(job).await?;
        match job {
            Job::Resend => self.due_commands().await,
            Job::Poll => self.due_attempts().await,
            Job::Refund => self.due_refunds().await,
        }
    }

    /// Does a job for ever: looks for due work every [`crate::Rules::tick_ms`], and as soon as there is room again if there
    /// was more than could begin. Work that is under way ends when the loop is dropped.
    pub async fn run_job(&self, job: Job) {
        let mut under_way = JoinSet::new();
        loop {
            let (is_more, pause) = match self.due(job).await {
                Ok(due) => {
                    due.work.into_iter().for_each(|work| {
                        under_way.spawn(work);
                    });
                    (due.is_more, Duration::from_millis(self.rules.tick_ms))
                }
                Err(error) => {
                    tracing::warn!(job = job.as_str(), %error, "could not look for due work; looking again");
                    (false, AFTER_FAILURE)
                }
            };
            metrics::gauge!("coinwire_due_work_under_way", "job" => job.as_str()).set(under_way.len() as f64);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(_) = under_way.join_next(), if is_more => {}
            }
            while under_way.try_join_next().is_some() {}
        }
    }

    /// Does what is due now, one job after the other, and returns when all of it is done.
    pub async fn run_due(&self) -> Result<()> {
        for job in Job::ALL {
            loop {
                let due = self.due(job).await?;
                let is_last = due.work.is_empty() || !due.is_more;
                join_all(due.work).await;
                if is_last {
                    break;
                }
            }
        }
        Ok(())
    }

    fn work_max(&self) -> usize {
        usize::try_from(self.rules.batch_rows).unwrap_or(usize::MAX)
    }
}
