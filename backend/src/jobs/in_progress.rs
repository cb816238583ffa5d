//! What is being worked on, so that nothing is begun twice.

use crate::Context;
use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

/// A kind of due work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Commands are sent again, or given up.
    Resend,
    /// Providers are asked what became of payments.
    Poll,
    /// Refunds are submitted and followed up.
    Refund,
    /// Providers' daily statements are read.
    Statement,
}

impl Job {
    /// All of them.
    pub const ALL: [Job; 4] = [Job::Resend, Job::Poll, Job::Refund, Job::Statement];

    /// The word for it, in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Job::Resend => "resend",
            Job::Poll => "poll",
            Job::Refund => "refund",
            Job::Statement => "statement",
        }
    }
}

/// Rows that are worked on in this process.
#[derive(Default)]
pub(crate) struct InProgress(Arc<Mutex<BTreeSet<(Job, i64)>>>);

impl InProgress {
    /// Notes that a row is worked on; nothing if it is already, or if the job has too much under way.
    pub(crate) fn begin(&self, job: Job, row: i64, most: usize) -> Option<RowGuard> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_job = rows.range((job, i64::MIN)..=(job, i64::MAX)).count();
        (of_job < most && rows.insert((job, row))).then(|| RowGuard { rows: self.0.clone(), row: (job, row) })
    }
}

/// A row that is worked on; over when dropped.
pub(crate) struct RowGuard {
    rows: Arc<Mutex<BTreeSet<(Job, i64)>>>,
    row: (Job, i64),
}

impl Drop for RowGuard {
    fn drop(&mut self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.row);
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

pub(crate) fn work_max(ctx: &Context) -> usize {
    usize::try_from(ctx.rules.batch_rows).unwrap_or(usize::MAX)
}
