//! Time and randomness, handed in: the server's are real, the simulation's come from a seed.
//!
//! There are two times. Everything that is due, expires or is sent to modules uses the process's own time
//! ([`Clock::now_ms`], made by [`MonotonicClock`]), which never goes back. What people read, and what is compared with
//! the clocks of others (the provider's signatures, when a payment was made), uses the wall clock ([`Clock::wall_ms`]).

pub(crate) mod monotonic;

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use monotonic::MonotonicClock;
/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Unix time in milliseconds, by the process's own time: it never goes back, and follows the wall clock slowly.
    fn now_ms(&self) -> i64;
    /// Unix time in milliseconds by the wall clock, which may be set forward or back at any moment.
    fn wall_ms(&self) -> i64 {
        self.now_ms()
    }
    /// When the process's own time was last stepped because the wall clock had been obviously wrong (given in the new
    /// time). Anything older is treated as from before the start of the process.
    fn stepped_ms(&self) -> Option<i64> {
        None
    }
    /// Completes after the given number of milliseconds.
    fn sleep_ms(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The computer's own clock. All instances in a process share one time.
pub struct SystemClock;

static MONOTONIC: Mutex<Option<MonotonicClock>> = Mutex::new(None);

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let mut monotonic = MONOTONIC.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall_us, elapsed_us) = (wall_us(), elapsed_us());
        let now_us = match monotonic.as_mut() {
            Some(monotonic) => monotonic.at(wall_us, elapsed_us),
            None => monotonic.insert(MonotonicClock::new(wall_us, elapsed_us)).at(wall_us, elapsed_us),
        };
        now_us.div_euclid(1000)
    }

    fn stepped_ms(&self) -> Option<i64> {
        MONOTONIC.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.stepped_ms()
    }

    fn wall_ms(&self) -> i64 {
        wall_us().div_euclid(1000)
    }

    fn sleep_ms(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}

/// Unix time in microseconds by the wall clock.
fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds since some moment in the past, including the time the computer was suspended.
#[cfg(target_os = "linux")]
fn elapsed_us() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

/// Microseconds since some moment in the past.
#[cfg(not(target_os = "linux"))]
fn elapsed_us() -> i64 {
    static BEGUN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    i64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// Where randomness comes from.
pub trait Random: Send + Sync {
    /// Fills `bytes` with random bytes, fit for secrets.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives randomness");
    }
}

/// Crockford's base32 in upper case: no I, L, O, U, so that people can read it aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A random text of `chars` characters, five bits each.
pub fn random_text(random: &dyn Random, chars: usize) -> String {
    let mut bytes = vec![0; chars];
    random.fill(&mut bytes);
    text_of(&bytes)
}

/// A character for each byte, by its lowest five bits.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
}

/// A random number that fits a signed 63-bit column and is not zero.
pub fn random_id(random: &dyn Random) -> i64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    (i64::from_be_bytes(bytes) & i64::MAX).max(1)
}
