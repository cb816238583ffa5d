//! How many files and sockets this process may have open at once, and how they are shared. If they run out, pages and
//! database queries fail. So clients from outside may use only a share of them.

use crate::config::Settings;
use anyhow::{Context, Result};

/// Reserved for the store and for calls to providers.
const OTHERS: u64 = 256;

/// Raises the limit as far as the system allows, and returns it.
pub fn raise_limit() -> Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")
}

/// The settings, with connections and live pages held to their shares of so many files.
pub fn within(limit: u64, settings: &Settings) -> Settings {
    let wanted = Shares {
        mqtt_connections: settings.mqtt_listen.map_or(0, |_| settings.mqtt_connections),
        http_connections: settings.http_connections,
        live_streams: settings.live_streams,
    };
    let shares = wanted.within(limit);
    let say = |name, wanted: usize, share: usize| {
        if share < wanted {
            tracing::warn!(
                "{name} is {wanted}, and is held to {share}: this process may have {limit} files and sockets open at once. \
                Let it have more (LimitNOFILE in a systemd unit, ulimit -Hn in a shell), or set {name} lower."
            );
        }
    };
    say("mqtt_connections", wanted.mqtt_connections, shares.mqtt_connections);
    say("http_connections", wanted.http_connections as usize, shares.http_connections as usize);
    say("live_streams", wanted.live_streams as usize, shares.live_streams as usize);
    let mut settings = settings.clone();
    settings.mqtt_connections = settings.mqtt_connections.min(shares.mqtt_connections);
    settings.http_connections = shares.http_connections;
    // However few there are, no single address may use them all.
    let half = shares.http_connections.div_ceil(2);
    settings.http_connections_per_address = settings.http_connections_per_address.min(half);
    settings.live_streams = shares.live_streams;
    settings
}

/// What clients from outside can hold open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    mqtt_connections: usize,
    /// Includes those of live pages.
    http_connections: u32,
    live_streams: u32,
}

impl Shares {
    /// Unchanged, if there is room for all. Otherwise HTTP, whose connections are short, gets a quarter of what there
    /// is for both, or what MQTT does not need. Live pages, which also work without a stream, leave a quarter of HTTP's
    /// share to others.
    fn within(self, limit: u64) -> Self {
        let for_both = limit - OTHERS.min(limit / 8);
        let wanted = u64::try_from(self.mqtt_connections).unwrap_or(u64::MAX);
        let http = u64::from(self.http_connections).min(for_both.saturating_sub(wanted).max(for_both / 4));
        let mqtt_connections = wanted.min(for_both - http);
        let http_connections = u32::try_from(http).unwrap_or(u32::MAX);
        Self {
            mqtt_connections: usize::try_from(mqtt_connections).unwrap_or(usize::MAX),
            http_connections,
            live_streams: self.live_streams.min(http_connections - http_connections / 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: u64, mqtt_connections: usize, http_connections: u32, live_streams: u32) -> (usize, u32, u32) {
        let shares = Shares { mqtt_connections, http_connections, live_streams }.within(limit);
        (shares.mqtt_connections, shares.http_connections, shares.live_streams)
    }

    #[test]
    fn limits_that_fit_are_kept() {
        let all = (19_000, 12_000, 9_000);
        assert_eq!(shares(1 << 20, 19_000, 12_000, 9_000), all);
        assert_eq!(shares(u64::MAX, 19_000, 12_000, 9_000), all);
        assert_eq!(shares(31_256, 19_000, 12_000, 9_000), all);
    }

    #[test]
    fn limits_that_do_not_fit_are_shared_and_leave_room_for_others() {
        assert_eq!(shares(1_024, 19_000, 12_000, 9_000), (672, 224, 168));
        assert_eq!(shares(20_000, 19_000, 12_000, 9_000), (14_808, 4_936, 3_702));
        // What one does not need, the other gets.
        assert_eq!(shares(20_000, 1_000, 30_000, 10_000), (1_000, 18_744, 10_000));
        assert_eq!(shares(20_000, 19_000, 100, 10_000), (19_000, 100, 75));
        assert_eq!(shares(20_000, 0, 100, 50), (0, 100, 50));
        assert_eq!(shares(0, 19_000, 100, 100), (0, 0, 0));
    }
}
