//! The time after power-on in which the coin line is not counted. An acceptor on the same supply starts at the same
//! time and changes its line while starting. Such changes are not coins, however long they take.
//!
//! It lasts for the time in the settings, and then until the line has been at rest for [`REST_US`], so that a pulse
//! that began in this time is over before the first one counts. So a coin is never counted in part.

use protocol::messages::CoinProfile;

/// It does not end before the line has been at rest for so long, in microseconds,
pub const REST_US: u64 = 500_000;
/// unless the line finds no such rest for so long beyond the time that was set: then any rest will do.
pub const RESTLESS_MAX_US: u64 = 30_000_000;

/// A coin line that is not trusted yet.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    from_us: u64,
    lasts_us: u64,
    level_high: bool,
    level_since_us: u64,
    edges: u32,
}

impl Settling {
    /// Starts with the line's current level.
    pub fn new(lasts_us: u64, level_high: bool, now_us: u64) -> Self {
        Self { from_us: now_us, lasts_us, level_high, level_since_us: now_us, edges: 0 }
    }

    /// Takes another duration, counted from the same start.
    pub fn set_duration(&mut self, lasts_us: u64) {
        self.lasts_us = lasts_us;
    }

    /// Takes an edge.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        if level_high != self.level_high {
            self.level_high = level_high;
            self.level_since_us = at_us.max(self.level_since_us);
            self.edges = self.edges.saturating_add(1);
        }
    }

    /// When it ends, if the line stays as it is; never while the line is active.
    pub fn ends_us(&self, profile: &CoinProfile) -> Option<u64> {
        let until_us = self.from_us.saturating_add(self.lasts_us);
        let rested_us = self.level_since_us.saturating_add(REST_US).min(until_us.saturating_add(RESTLESS_MAX_US));
        (self.level_high == profile.idle_high).then_some(until_us.max(rested_us).max(self.level_since_us))
    }

    /// When the line counts as stuck, if it stays as it is: active beyond the time that was set, and for longer than any
    /// pulse.
    pub fn stuck_us(&self, profile: &CoinProfile) -> Option<u64> {
        let until_us = self.from_us.saturating_add(self.lasts_us);
        let too_long_us = self.level_since_us.saturating_add(u64::from(profile.width_max_ms) * 1000 + 1);
        (self.level_high != profile.idle_high).then_some(until_us.max(too_long_us))
    }

    /// The line's level as last handed in.
    pub fn level_high(&self) -> bool {
        self.level_high
    }

    /// Since when the line has that level.
    pub fn level_since_us(&self) -> u64 {
        self.level_since_us
    }

    /// Edges so far: all of them are noise.
    pub fn edges(&self) -> u32 {
        self.edges
    }
}
