//! Counts latencies, and the pulses that a counter with fixed delays sees.

use std::fmt;

/// Latencies, for percentiles.
#[derive(Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one, in microseconds.
    pub fn add(&mut self, us: u64) {
        self.0.push(u32::try_from(us).unwrap_or(u32::MAX));
    }

    /// The longest.
    pub fn max_us(&self) -> u64 {
        self.0.iter().max().map_or(0, |us| u64::from(*us))
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        write!(f, "p50 {:.3}  p99 {:.3}  max {:.3} ms  of {}", at(50), at(99), at(100), sorted.len())
    }
}

/// A counter with fixed delays, after openkiosk's settings: a level must stand for 29 ms, and for 110 ms after a pulse
/// no other counts.
pub struct FixedDelays {
    idle_high: bool,
    active_since_us: Option<u64>,
    counted_us: Option<u64>,
    counted: u64,
}

impl FixedDelays {
    const DENOISE_US: u64 = 29_000;
    const DEBOUNCE_US: u64 = 110_000;

    pub fn new(idle_high: bool) -> Self {
        Self { idle_high, active_since_us: None, counted_us: None, counted: 0 }
    }

    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        if level_high != self.idle_high {
            self.active_since_us.get_or_insert(at_us);
            return;
        }
        let Some(stands_us) = self.active_since_us.take().map(|since_us| since_us + Self::DENOISE_US) else { return };
        let ready = self.counted_us.is_none_or(|counted_us| stands_us >= counted_us + Self::DEBOUNCE_US);
        if at_us >= stands_us && ready {
            self.counted += 1;
            self.counted_us = Some(stands_us);
        }
    }

    pub fn counted(&self) -> u64 {
        self.counted
    }
}
