//! The server's disk: it fills up, fails and is locked by others; and when the server stops, power may be lost too.

use crate::{
    chance::Chance,
    store::Store,
    world::{Checked, Event, World},
};
use backend::{
    Error,
    db::Db,
    flows::{place_order::Checkout, take_callback::CallbackFailure},
};
use failing_disk::{After, Disk, Fault};

/// The disk under the store, and whether it is failing.
pub(crate) struct StoreDisk {
    disk: Disk,
    is_failing: bool,
}

impl StoreDisk {
    pub fn new() -> Self {
        Self { disk: Disk::new(), is_failing: false }
    }

    pub fn url(&self) -> String {
        self.disk.url()
    }

    /// Whether the store may answer with an error now.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// A copy of what is on it now.
    pub fn copy(&self) -> Disk {
        self.disk.after(After::Kill)
    }

    pub fn mend(&mut self) {
        self.disk.mend();
        self.is_failing = false;
    }
}

impl World {
    /// Plans when the disk fails: a few calls in a row, or all of them for up to a minute.
    pub fn plan_disk(&mut self, chance: &mut Chance) {
        let busy_us = self.options.busy_ms * 1000;
        for _ in 0..self.fault_rates.store_faults {
            let fault = chance.pick(&[Fault::Full, Fault::WriteError, Fault::SyncError, Fault::Locked]);
            let times = chance.pick(&[1, 2, 5, u64::MAX]);
            // How often a lock is tried depends on real time, so it is held until the disk is repaired.
            let times = if fault == Fault::Locked { u64::MAX } else { times };
            let (skip, for_us) = (chance.between(0..=40), chance.between(100_000..=60_000_000));
            self.plan(chance.between(0..=busy_us), Event::DiskFails { fault, skip, times, for_us });
        }
    }

    pub fn disk_fails(&mut self, fault: Fault, skip: u64, times: u64, for_us: u64) {
        if self.faults_stopped_us.is_some() || self.disk.is_failing {
            return;
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("disk: {fault:?} after {skip} calls, {times} times, within {for_us} us"));
        self.disk.disk.fail(fault, skip, times);
        self.disk.is_failing = true;
        self.plan_in(for_us, Event::DiskMends);
    }

    pub fn disk_mends(&mut self) {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("disk: mended"));
        self.disk.mend();
        self.server.touch();
    }

    /// The server went down, and its store is what is on the disk: what was not synced is lost if the power went too.
    pub async fn reopen_store(&mut self) -> Checked {
        let what = if self.net.percent(50) { After::PowerCut } else { After::Kill };
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("disk: as after {what:?}"));
        self.use_disk(self.disk.disk.after(what)).await
    }

    /// The store is what is on this disk from now on.
    pub async fn use_disk(&mut self, disk: Disk) -> Checked {
        self.disk = StoreDisk { disk, is_failing: false };
        let url = self.disk.url();
        self.server.set_db(Db::open(&url).await?);
        self.checker.look_into(Store::open(&url).await?);
        Ok(())
    }

    /// The backend's result, or `None` if its store fails and it reported that.
    pub fn unless_disk_fails<T>(&mut self, outcome: backend::Result<T>) -> Checked<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Error::Store(_)) if self.disk.is_failing => {
                let now_us = self.time.now_us();
                self.trace.note(now_us, format_args!("server: its store fails"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a callback was refused because the store fails.
    pub fn callback_not_stored<T>(&self, outcome: &Result<T, CallbackFailure>) -> bool {
        self.disk.is_failing && matches!(outcome, Err(CallbackFailure::Internal(Error::Store(_))))
    }

    /// Whether an order was refused because the store fails.
    pub fn order_not_stored(&self, outcome: &Result<Checkout, Error>) -> bool {
        self.disk.is_failing && matches!(outcome, Err(Error::Store(_)))
    }
}
