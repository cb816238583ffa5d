//! Rows that are being worked on, so that no work is begun twice.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Notes that a row is being worked on; `None` if it already is, or if the job has too much under way.
    pub(crate) fn begin(&self, job: Job, row: i64, most: usize) -> Option<RowGuard> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_job = rows.range((job, i64::MIN)..=(job, i64::MAX)).count();
        (of_job < most && rows.insert((job, row))).then(|| RowGuard { rows: self.0.clone(), row: (job, row) })
    }
}

/// A row that is being worked on, until dropped.
pub(crate) struct RowGuard {
    rows: Arc<Mutex<BTreeSet<(Job, i64)>>>,
    row: (Job, i64),
}

impl Drop for RowGuard {
    fn drop(&mut self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.row);
    }
}

/// A piece of due work. If it fails, the error is logged and it becomes due again.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A job's due work.
#[derive(Default)]
pub struct Due {
    /// What can begin now.
    pub work: Vec<Work>,
    /// Whether more is due than can begin now.
    pub is_more: bool,
}

/// Rows from before the clock was set back are looked for at the start (a process's own time does not go back) and then
/// at this interval, because another process on the same store may have another clock.
const SCAN_EVERY_MS: i64 = 60_000;

/// When such rows were looked for last.
#[derive(Default)]
pub(crate) struct LastScans(Mutex<BTreeMap<Job, i64>>);

impl LastScans {
    pub(crate) fn is_time(&self, job: Job, now_ms: i64) -> bool {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.get(&job).is_none_or(|last_ms| !(0..SCAN_EVERY_MS).contains(&(now_ms - last_ms)));
        if is_time {
            looked.insert(job, now_ms);
        }
        is_time
    }
}
