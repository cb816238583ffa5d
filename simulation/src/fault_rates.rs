//! Fault rates of a seed: each kind of fault has its own rate, often zero.

use crate::chance::Chance;

/// Strengths of the faults. Percentages are of the occasions on which the fault could happen.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultRates {
    /// A message is lost between broker and its reader.
    pub loss: u32,
    /// A message comes twice.
    pub duplicate: u32,
    /// A message is delayed by seconds, and overtaken by others.
    pub delay: u32,
    /// The longest delay, in milliseconds.
    pub delay_max_ms: u64,
    /// A module's connection breaks while it publishes.
    pub link_break: u32,
    /// Longest time without a connection, in milliseconds.
    pub link_down_max_ms: u64,
    /// A module loses power while a credit is being given.
    pub cut_in_credit: u32,
    /// Power cuts at any time, each module.
    pub cuts: u64,
    /// Restarts of the server.
    pub server_restarts: u64,
    /// Jumps of the server's clock.
    pub clock_jumps: u64,
    /// Jumps of each module's timer.
    pub timer_jumps: u64,
    /// Times that the operator locks each module for a while.
    pub locks: u64,
    /// The largest error of a module's crystal, in parts per million.
    pub drift_max_ppm: i64,
    /// A call to the provider fails or gets a wrong answer.
    pub provider: u32,
    /// A callback is lost, late or repeated.
    pub callback: u32,
    /// A call to the provider takes from 0.1 to 30 seconds.
    pub slow: u32,
    /// A call to the provider is never answered.
    pub silent: u32,
    /// Times in which the provider does not answer one merchant account at all.
    pub outages: u64,
    /// Steps of the server's wall clock, of seconds to days.
    pub clock_steps: u64,
    /// Times that the server's disk fails.
    pub store_faults: u64,
    /// Times that the store is put back from a copy; drawn by whoever plans the copies.
    pub restores: u64,
    /// Somebody gives money back in the provider's console.
    pub console: u32,
}

impl FaultRates {
    /// The fault rates of a seed.
    pub fn of(chance: &mut Chance) -> Self {
        let often = [0, 0, 2, 10, 30];
        Self {
            loss: chance.pick(&often),
            duplicate: chance.pick(&often),
            delay: chance.pick(&often),
            delay_max_ms: chance.pick(&[500, 5_000, 60_000]),
            link_break: chance.pick(&[0, 0, 1, 3, 10]),
            link_down_max_ms: chance.pick(&[2_000, 20_000, 120_000]),
            cut_in_credit: chance.pick(&[0, 0, 10, 30]),
            cuts: chance.pick(&[0, 0, 1, 3]),
            server_restarts: chance.pick(&[0, 0, 1, 3]),
            clock_jumps: chance.pick(&[0, 0, 0, 1, 2]),
            timer_jumps: chance.pick(&[0, 0, 0, 1, 2]),
            locks: chance.pick(&[0, 0, 1]),
            drift_max_ppm: chance.pick(&[0, 50, 50, 5_000, 30_000]),
            provider: chance.pick(&[0, 2, 10, 40]),
            callback: chance.pick(&often),
            store_faults: chance.pick(&[0, 0, 1, 4]),
            restores: 0,
            ..Self::default()
        }
    }

    /// With slow providers and a wall clock that is set: from a chance of their own.
    pub fn with_waits(self, chance: &mut Chance) -> Self {
        Self {
            slow: chance.pick(&[0, 0, 5, 30, 80]),
            silent: chance.pick(&[0, 0, 2, 10, 40]),
            outages: chance.pick(&[0, 0, 1, 3]),
            clock_steps: chance.pick(&[0, 0, 1, 3]),
            console: chance.pick(&[0, 0, 5, 20]),
            ..self
        }
    }

    /// All rates zero: nothing fails any more. Crystal errors stay.
    pub fn without_faults(self) -> Self {
        Self { drift_max_ppm: self.drift_max_ppm, ..Self::default() }
    }
}
