//! Probes and clock syncs that modules have not answered yet. They are kept in memory only: they change nothing stored,
//! and the caller simply asks again.

use crate::sales::readiness::Readiness;
use protocol::ModuleId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many modules' probes are kept; beyond that, the oldest answers are forgotten.
const PROBES_MAX: usize = 100_000;

/// What is known of a module's probes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probe {
    /// The id of the probe that waits for an answer, or was answered last.
    pub command: u64,
    /// When it was sent (unix milliseconds).
    pub asked_ms: i64,
    /// What was answered, and when.
    pub answer: Option<(Readiness, i64)>,
}

/// Whether something asked at `asked_ms` was asked since `not_since_ms`. A time in the future is from before our clock
/// was set back, and must not block further requests until then.
fn asked_recently(asked_ms: i64, now_ms: i64, not_since_ms: i64) -> bool {
    asked_ms > not_since_ms && asked_ms <= now_ms
}

/// A clock sync that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingSync {
    /// The command's id.
    pub command: u64,
    /// When it was sent (unix milliseconds).
    pub asked_ms: i64,
    /// The known boot of the module, if it must prove that it is in an earlier one.
    pub known_boot: Option<i64>,
}

#[derive(Default)]
struct Open {
    probes: BTreeMap<ModuleId, watch::Sender<Probe>>,
    /// Syncs on their way, the newest of each module.
    syncs: BTreeMap<ModuleId, PendingSync>,
}

/// Questions on their way.
#[derive(Default)]
pub(crate) struct PendingQueries(Mutex<Open>);

impl PendingQueries {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about a module's probes, and a way to wait for more.
    pub fn probe(&self, module: ModuleId) -> watch::Receiver<Probe> {
        let mut open = self.open();
        if open.probes.len() >= PROBES_MAX && !open.probes.contains_key(&module) {
            open.probes.retain(|_, probe| probe.receiver_count() > 0);
        }
        open.probes.entry(module).or_insert_with(|| watch::Sender::new(Probe::default())).subscribe()
    }

    /// Notes that a probe is sent, unless one was sent since `not_since_ms`. True if the caller shall send it.
    pub fn ask(&self, module: ModuleId, command: u64, now_ms: i64, not_since_ms: i64) -> bool {
        let mut open = self.open();
        let probe = open.probes.entry(module).or_insert_with(|| watch::Sender::new(Probe::default()));
        probe.send_if_modified(|probe| {
            let shall = !asked_recently(probe.asked_ms, now_ms, not_since_ms);
            if shall {
                *probe = Probe { command, asked_ms: now_ms, answer: None };
            }
            shall
        })
    }

    /// A module answered; false if this was no probe of ours.
    pub fn answered(&self, module: ModuleId, command: u64, readiness: Readiness, now_ms: i64) -> bool {
        let open = self.open();
        let Some(probe) = open.probes.get(&module) else { return false };
        probe.send_if_modified(|probe| {
            let ours = probe.command == command;
            if ours {
                probe.answer = Some((readiness, now_ms));
            }
            ours
        })
    }

    /// Discards the cached answer.
    pub fn forget(&self, module: ModuleId) {
        self.open().probes.remove(&module);
    }

    /// Notes that a sync is sent, unless one was sent since `not_since_ms`. True if the caller shall send it.
    pub fn sync(&self, module: ModuleId, sync: PendingSync, not_since_ms: i64) -> bool {
        let mut open = self.open();
        let lately = |last: &PendingSync| asked_recently(last.asked_ms, sync.asked_ms, not_since_ms);
        if open.syncs.get(&module).is_some_and(lately) {
            return false;
        }
        open.syncs.insert(module, sync);
        true
    }

    /// A module answered; returns its newest sync if this was the answer to it.
    pub fn synced(&self, module: ModuleId, command: u64) -> Option<PendingSync> {
        let mut open = self.open();
        open.syncs.get(&module).filter(|sync| sync.command == command)?;
        open.syncs.remove(&module)
    }
}
