//! Time that moves when a test says so, and randomness from a seed.

use backend::clock::{Clock, Random};
use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};
use tokio::sync::watch;

/// When every test begins: 2026-11-23, noon in China.
pub const START_MS: i64 = 1_795_406_400_000;

/// A clock that stands still until it is moved.
pub struct ManualClock {
    now_ms: watch::Sender<i64>,
    wall_ahead_ms: AtomicI64,
    sleepers: watch::Sender<usize>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::starting_at(START_MS)
    }
}

impl ManualClock {
    /// A clock that shows this time.
    pub fn starting_at(unix_ms: i64) -> Self {
        let (now_ms, sleepers) = (watch::Sender::new(unix_ms), watch::Sender::new(0));
        Self { now_ms, wall_ahead_ms: AtomicI64::new(0), sleepers }
    }

    /// Moves the clock. Backwards too: clocks do that.
    pub fn advance(&self, ms: i64) {
        self.now_ms.send_modify(|now_ms| *now_ms += ms);
    }

    /// Sets the wall clock forward or back while the process's own time continues.
    pub fn step_wall(&self, ms: i64) {
        self.wall_ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Completes once somebody sleeps by this clock.
    pub async fn slept_on(&self) {
        self.sleepers.subscribe().wait_for(|sleepers| *sleepers > 0).await.unwrap();
    }
}

/// Counts a sleeper as long as it sleeps.
struct Asleep(watch::Sender<usize>);

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.send_modify(|sleepers| *sleepers -= 1);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        *self.now_ms.borrow()
    }

    fn wall_ms(&self) -> i64 {
        self.now_ms() + self.wall_ahead_ms.load(Ordering::Relaxed)
    }

    fn sleep_ms(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until_ms = self.now_ms() + i64::try_from(ms).unwrap();
        let mut now_ms = self.now_ms.subscribe();
        self.sleepers.send_modify(|sleepers| *sleepers += 1);
        let asleep = Asleep(self.sleepers.clone());
        Box::pin(async move {
            let _asleep = asleep;
            // An error means that the clock is gone, and with it the test.
            let _ = now_ms.wait_for(|now_ms| *now_ms >= until_ms).await;
        })
    }
}

/// The same numbers in every run (SplitMix64).
pub struct SeededRandom(AtomicU64);

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}
