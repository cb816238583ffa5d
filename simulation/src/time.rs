//! Simulated time: one for all, as microseconds from the start; the server's clock may be set off from it.

use backend::clock::Clock;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
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
    parked: AtomicBool,
    wake_us: AtomicU64,
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

    /// Sets the server's clock off by so much more.
    pub fn shift_server_ms(&self, by_ms: i64) {
        self.server_offset_ms.fetch_add(by_ms, Relaxed);
    }

    /// When, in simulated microseconds, the server's clock will show `unix_ms`; now if it has.
    pub fn when_us(&self, unix_ms: i64) -> u64 {
        let from_start_ms = unix_ms - START_UNIX_MS - self.server_offset_ms.load(Relaxed);
        u64::try_from(from_start_ms).unwrap_or(0).saturating_mul(1000).max(self.now_us())
    }

    /// Whether a call of the backend's that is being polled waits for simulated time; and until when.
    pub fn take_parked(&self) -> Option<u64> {
        self.parked.swap(false, Relaxed).then(|| self.wake_us.load(Relaxed))
    }

    /// Completes so many milliseconds later.
    pub fn sleep_ms(self: &Arc<Self>, ms: u64) -> Sleep {
        Sleep { time: self.clone(), until_us: self.now_us() + ms * 1000 }
    }
}

/// Waits for simulated time. Wakes nobody: the driver polls whatever is parked when its time has come.
pub struct Sleep {
    time: Arc<Time>,
    until_us: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.time.now_us() >= self.until_us {
            return Poll::Ready(());
        }
        self.time.wake_us.store(self.until_us, Relaxed);
        self.time.parked.store(true, Relaxed);
        Poll::Pending
    }
}

/// The server's clock.
pub struct ServerClock(pub Arc<Time>);

impl Clock for ServerClock {
    fn now_ms(&self) -> i64 {
        self.0.true_ms() + self.0.server_offset_ms.load(Relaxed)
    }

    fn sleep_ms(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.0.sleep_ms(ms))
    }
}
