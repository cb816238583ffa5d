//! The module's clock: unix time as an offset to the uptime, set by the server and by nothing else.

use protocol::{limits::SYNC_ROUND_TRIP_MAX_MS, messages::Sync};

/// A command issued this far ahead of the module's clock, in milliseconds, shows that the clock is behind.
pub const AHEAD_MAX_MS: u64 = 10_000;

/// A clock that was set within this time, in microseconds, is trusted. This is longer than a sync and the repeated
/// command after it take.
const FRESH_US: u64 = 20_000_000;

/// Unix time, once a sync was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    boot_ms: Option<u64>,
    set_us: u64,
}

impl Clock {
    /// Takes a sync that answers something this boot said, if its round trip was short enough.
    pub fn set(&mut self, sync: &Sync, boot: u32, now_us: u64) -> bool {
        let uptime_ms = now_us / 1000;
        let Some(round_trip_ms) = uptime_ms.checked_sub(sync.echo_uptime_ms) else { return false };
        if sync.echo_boot != boot || round_trip_ms > u64::from(SYNC_ROUND_TRIP_MAX_MS) {
            return false;
        }
        let Some(boot_ms) = sync.server_ms.saturating_add(round_trip_ms / 2).checked_sub(uptime_ms) else {
            return false;
        };
        self.boot_ms = Some(boot_ms);
        self.set_us = now_us;
        true
    }

    /// Whether it was set a moment ago. If not, it may be ahead of the server's clock, which may have been set back
    /// since.
    pub fn is_fresh(&self, now_us: u64) -> bool {
        self.boot_ms.is_some() && now_us.saturating_sub(self.set_us) <= FRESH_US
    }

    /// Unix time in milliseconds at the given uptime.
    pub fn unix_ms(&self, at_us: u64) -> Option<u64> {
        self.boot_ms.map(|boot_ms| boot_ms.saturating_add(at_us / 1000))
    }
}
