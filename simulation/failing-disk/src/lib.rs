//! A disk in memory for SQLite that fails on request, and that can lose its power.
//!
//! It is a VFS of SQLite's: [`Disk::url`] names a database on it, and SQLite's own code does the rest (pages, write-ahead
//! log, locks, shared memory between connections). A write counts as kept only once it is synced: [`Disk::after`] makes
//! the disk as the next process finds it, after a kill or after a power cut.
//!
//! It does not model folders (making and removing files is durable at once) or decaying bits.
//!
//! - `file`: what a file holds, what of it is synced, and who has which lock; no unsafe code.
//! - `vfs`: the C functions that SQLite calls.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod file;
mod vfs;

use file::{File, Files};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How a call fails. Each is of one kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A write finds no room.
    Full,
    /// A write fails half way.
    WriteError,
    /// A sync fails: what was written may be kept or not.
    SyncError,
    /// A read fails.
    ReadError,
    /// Another process has the lock to write.
    Locked,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Full, Self::WriteError, Self::SyncError, Self::ReadError, Self::Locked];

    fn call(self) -> Call {
        match self {
            Self::Full | Self::WriteError => Call::Write,
            Self::SyncError => Call::Sync,
            Self::ReadError => Call::Read,
            Self::Locked => Call::WriteLock,
        }
    }
}

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Read,
    Write,
    Sync,
    WriteLock,
}

/// What a new process finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The process was killed: the system still writes all it was given.
    Kill,
    /// The power was cut: what was not synced is lost.
    PowerCut,
}

/// Calls that are to fail: `times` of them, after `skip` that do not.
struct Plan {
    fault: Fault,
    skip: u64,
    times: u64,
}

#[derive(Default)]
pub(crate) struct Inner {
    files: Mutex<Files>,
    plan: Mutex<Option<Plan>>,
    calls: Mutex<BTreeMap<Call, u64>>,
    failed: AtomicU64,
}

/// Disks by their number, which is part of the names of their files.
static DISKS: Mutex<BTreeMap<u64, Arc<Inner>>> = Mutex::new(BTreeMap::new());

/// A disk. What is open on it stays usable when it is dropped.
pub struct Disk {
    number: u64,
    inner: Arc<Inner>,
}

impl Disk {
    /// An empty one on which nothing fails.
    pub fn new() -> Self {
        Self::with(Files::default())
    }

    fn with(files: Files) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        vfs::register();
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::new(Inner { files: Mutex::new(files), ..Inner::default() });
        lock(&DISKS).insert(number, inner.clone());
        Self { number, inner }
    }

    /// The URL of the database on it.
    pub fn url(&self) -> String {
        format!("sqlite:///failing-disk/{}/coinwire.db?mode=rwc&vfs={}", self.number, vfs::NAME)
    }

    /// Makes `times` calls fail from now on, after `skip` calls of the same kind that succeed.
    pub fn fail(&self, fault: Fault, skip: u64, times: u64) {
        *lock(&self.inner.plan) = Some(Plan { fault, skip, times });
    }

    /// Ends all failures.
    pub fn mend(&self) {
        *lock(&self.inner.plan) = None;
    }

    /// Calls so far that this fault could have hit.
    pub fn calls(&self, fault: Fault) -> u64 {
        lock(&self.inner.calls).get(&fault.call()).copied().unwrap_or(0)
    }

    /// Calls that have failed.
    pub fn failed(&self) -> u64 {
        self.inner.failed.load(Ordering::SeqCst)
    }

    /// A copy of the disk as the next process finds it. This disk continues as if nothing had happened.
    pub fn after(&self, what: After) -> Self {
        let files = lock(&self.inner.files);
        let copy = |file: &Arc<Mutex<File>>| Arc::new(Mutex::new(lock(file).after(what)));
        Self::with(files.iter().map(|(name, file)| (name.clone(), copy(file))).collect())
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        lock(&DISKS).remove(&self.number);
    }
}

impl Inner {
    /// Counts a call, and returns the fault planned for it.
    pub(crate) fn meets(&self, call: Call) -> Option<Fault> {
        *lock(&self.calls).entry(call).or_default() += 1;
        let mut plan = lock(&self.plan);
        let plan = plan.as_mut().filter(|plan| plan.fault.call() == call)?;
        if plan.skip > 0 {
            plan.skip -= 1;
            return None;
        }
        plan.times = plan.times.checked_sub(1)?;
        self.failed.fetch_add(1, Ordering::SeqCst);
        Some(plan.fault)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk of a file, and the file's name on it.
pub(crate) fn find(path: &str) -> Option<(Arc<Inner>, String)> {
    let (number, name) = path.strip_prefix("/failing-disk/")?.split_once('/')?;
    let inner = lock(&DISKS).get(&number.parse().ok()?).cloned()?;
    Some((inner, name.to_owned()))
}
