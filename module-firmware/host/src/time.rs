//! The time driver behind `embassy-time`, for any number of tasks: the stock ones have too few slots or want their own
//! executor. One alarm a task, the earliest it asked for: a task that is woken asks again for what is still to come.

use embassy_time_driver::Driver;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// The alarm thread looks this often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Alarms {
    /// By the waker's data, which names the task.
    of: HashMap<usize, (u64, Waker)>,
    due: BTreeSet<(u64, usize)>,
}

impl Alarms {
    fn set(&mut self, at_us: u64, waker: &Waker) {
        let task = waker.data() as usize;
        if let Some((earlier_us, known)) = self.of.get(&task)
            && *earlier_us <= at_us
            && known.will_wake(waker)
        {
            return;
        }
        if let Some((was_us, _)) = self.of.insert(task, (at_us, waker.clone())) {
            self.due.remove(&(was_us, task));
        }
        self.due.insert((at_us, task));
    }

    fn take_due(&mut self, now_us: u64) -> BTreeMap<usize, Waker> {
        let mut woken = BTreeMap::new();
        while let Some(&(at_us, task)) = self.due.first()
            && at_us <= now_us
        {
            self.due.pop_first();
            if let Some((_, waker)) = self.of.remove(&task) {
                woken.insert(task, waker);
            }
        }
        woken
    }
}

struct Shared {
    begun: Instant,
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn alarms(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    thread::Builder::new().name("module alarms".into()).spawn(ring).expect("a thread can be started");
    Shared { begun: Instant::now(), alarms: Mutex::default(), changed: Condvar::new() }
});

/// Wakes whoever is due, for ever.
fn ring() {
    let shared = &*SHARED;
    let mut alarms = shared.alarms();
    loop {
        let now_us = shared.now_us();
        let due = alarms.take_due(now_us);
        if !due.is_empty() {
            drop(alarms);
            due.into_values().for_each(Waker::wake);
            alarms = shared.alarms();
            continue;
        }
        let wait = alarms.due.first().map_or(LONGEST_SLEEP, |(at_us, _)| Duration::from_micros(at_us - now_us));
        alarms = shared.changed.wait_timeout(alarms, wait.min(LONGEST_SLEEP)).unwrap_or_else(PoisonError::into_inner).0;
    }
}

struct HostDriver;

impl Driver for HostDriver {
    fn now(&self) -> u64 {
        SHARED.now_us()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let mut alarms = SHARED.alarms();
        let first = alarms.due.first().copied();
        alarms.set(at, waker);
        if alarms.due.first().copied() != first {
            SHARED.changed.notify_one();
        }
    }
}

embassy_time_driver::time_driver_impl!(static DRIVER: HostDriver = HostDriver);

/// Microseconds since this process first looked.
pub fn now_us() -> u64 {
    SHARED.now_us()
}
