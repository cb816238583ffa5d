//! How many files and sockets this process may have open at once, and whose they are. Where they run out, nobody gets
//! one: no page, no query. So what strangers can hold open has its share, and no more.

use crate::config::Settings;
use anyhow::{Context, Result};

/// Kept for the store, calls to providers and ordinary requests.
const OTHERS: u64 = 512;

/// Raises the limit as far as the system lets this process, and gives it.
pub fn raise_limit() -> Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")
}

/// The settings, with MQTT connections and live pages held to their shares of so many files.
pub fn within(limit: u64, settings: &Settings) -> Settings {
    let wanted = Shares {
        mqtt_connections: settings.mqtt_listen.map_or(0, |_| settings.mqtt_connections),
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
    say("live_streams", wanted.live_streams as usize, shares.live_streams as usize);
    let mut settings = settings.clone();
    settings.mqtt_connections = settings.mqtt_connections.min(shares.mqtt_connections);
    settings.live_streams = shares.live_streams;
    settings
}

/// What strangers can hold open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    mqtt_connections: usize,
    live_streams: u32,
}

impl Shares {
    /// As they are, if there is room for all. Otherwise live pages, which do without, are left an eighth of what there is
    /// for both, or what MQTT connections do not need of it.
    fn within(self, limit: u64) -> Self {
        let for_both = limit - OTHERS.min(limit / 4);
        let wanted = u64::try_from(self.mqtt_connections).unwrap_or(u64::MAX);
        let live_streams = u64::from(self.live_streams).min(for_both.saturating_sub(wanted).max(for_both / 8));
        let mqtt_connections = wanted.min(for_both - live_streams);
        Self {
            mqtt_connections: usize::try_from(mqtt_connections).unwrap_or(usize::MAX),
            live_streams: u32::try_from(live_streams).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: u64, mqtt_connections: usize, live_streams: u32) -> (usize, u32) {
        let shares = Shares { mqtt_connections, live_streams }.within(limit);
        (shares.mqtt_connections, shares.live_streams)
    }

    #[test]
    fn whoever_fits_has_all_it_wants() {
        assert_eq!(shares(1 << 20, 19_000, 10_000), (19_000, 10_000));
        assert_eq!(shares(u64::MAX, 19_000, 10_000), (19_000, 10_000));
        assert_eq!(shares(29_512, 19_000, 10_000), (19_000, 10_000));
    }

    #[test]
    fn where_there_is_not_enough_each_has_a_share_and_others_are_left_theirs() {
        assert_eq!(shares(1_024, 19_000, 10_000), (672, 96));
        assert_eq!(shares(20_000, 19_000, 10_000), (17_052, 2_436));
        // What one does not need, the other has.
        assert_eq!(shares(20_000, 1_000, 20_000), (1_000, 18_488));
        assert_eq!(shares(20_000, 19_000, 100), (19_000, 100));
        assert_eq!(shares(20_000, 0, 100), (0, 100));
        assert_eq!(shares(0, 19_000, 100), (0, 0));
    }
}
