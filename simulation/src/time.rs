//! Simulated time: one for all, as microseconds from the start; the server's wall clock may be set off from it.

use backend::clock::{Clock, MonotonicClock};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

/// Unix time at which each simulation starts, in milliseconds: 2026-11-23 09:00 in China.
pub const START_UNIX_MS: i64 = 1_795_395_600_000;

/// The time. Moved by the driver alone.
#[derive(Default)]
pub struct Time {
    now_us: AtomicU64,
    server_offset_ms: AtomicI64,
    /// The sleeps that were met since it was asked last, and until when each lasts.
    asleep: Mutex<BTreeMap<u64, u64>>,
    sleeps: AtomicU64,
}

impl Time {
    /// Microseconds from the start.
    pub fn now_us(&self) -> u64 {
        self.now_us.load(Relaxed)
    }

    /// Moves on to a later time.
    pub fn set_us(&self, now_us: u64) {
        debug_assert!(now_us >= self.now_us(), "time does not run backwards");
        self.now_us.store(now_us, Relaxed);
    }

    /// Unix milliseconds by a clock that is right: the provider's.
    pub fn true_ms(&self) -> i64 {
        START_UNIX_MS + i64::try_from(self.now_us() / 1000).expect("a simulation is shorter than 290,000 years")
    }

    /// Sets the server's wall clock off by so much more.
    pub fn shift_server_ms(&self, by_ms: i64) {
        self.server_offset_ms.fetch_add(by_ms, Relaxed);
    }

    /// By how much the server's wall clock is ahead.
    pub fn server_offset_ms(&self) -> i64 {
        self.server_offset_ms.load(Relaxed)
    }

    /// Until when the call that was just polled waits, if it waits for simulated time: the first of all it sleeps for.
    pub fn take_wait_until(&self) -> Option<u64> {
        std::mem::take(&mut *self.asleep()).into_values().min()
    }

    fn asleep(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes so many milliseconds later.
    pub fn sleep_ms(self: &Arc<Self>, ms: u64) -> Sleep {
        let number = self.sleeps.fetch_add(1, Relaxed);
        Sleep { time: self.clone(), number, until_us: self.now_us() + ms * 1000 }
    }
}

/// Waits for simulated time. It wakes nobody: the driver polls parked calls when their time has come.
pub struct Sleep {
    time: Arc<Time>,
    number: u64,
    until_us: u64,
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.asleep().remove(&self.number);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.time.now_us() >= self.until_us {
            return Poll::Ready(());
        }
        self.time.asleep().insert(self.number, self.until_us);
        Poll::Pending
    }
}

/// The clock of one run of the server: its own time begins at what the wall clock says.
pub struct ServerClock {
    time: Arc<Time>,
    monotonic: Mutex<MonotonicClock>,
}

impl ServerClock {
    /// A server starts.
    pub fn new(time: Arc<Time>) -> Self {
        let monotonic = Mutex::new(MonotonicClock::new(wall_us(&time), elapsed_us(&time)));
        Self { time, monotonic }
    }
}

fn elapsed_us(time: &Time) -> i64 {
    i64::try_from(time.now_us()).expect("a simulation is shorter than 290,000 years")
}

fn wall_us(time: &Time) -> i64 {
    START_UNIX_MS * 1000 + elapsed_us(time) + time.server_offset_ms() * 1000
}

impl Clock for ServerClock {
    fn now_ms(&self) -> i64 {
        let mut monotonic = self.monotonic.lock().unwrap_or_else(PoisonError::into_inner);
        monotonic.at(wall_us(&self.time), elapsed_us(&self.time)).div_euclid(1000)
    }

    fn wall_ms(&self) -> i64 {
        wall_us(&self.time).div_euclid(1000)
    }

    fn stepped_ms(&self) -> Option<i64> {
        self.monotonic.lock().unwrap_or_else(PoisonError::into_inner).stepped_ms()
    }

    fn sleep_ms(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.time.sleep_ms(ms))
    }
}
