//! The light's patterns: one for each state, the most urgent state first.
//!
//! docs/MODULE.md has the table for people. A pattern is a function of the uptime alone, so it keeps no state; it says
//! when it changes next. The normal state (connected, no fault) is constant.

use protocol::messages::faults;

/// One flash of a group, and the dark after it, in milliseconds.
const FLASH_MS: u64 = 200;
/// The dark after a group of flashes, in milliseconds.
const PAUSE_MS: u64 = 1_600;

/// The states that the light can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LightSignal {
    /// Somebody looks for this module.
    Locate,
    /// Learning: listening to the line at rest; insert no coin.
    LearnQuiet,
    /// Learning: insert the next coin.
    LearnCoin,
    /// Learning: a coin is being read, or test pulses are given; wait.
    LearnBusy,
    /// Learning: press the button once for each credit that the machine shows.
    LearnPress,
    /// Learning is finished: the profile is stored.
    LearnStored,
    /// Learning failed: no profile.
    LearnFailed,
    /// A number of flashes: a fault that prevents credits, see [`fault_flashes`].
    Fault(u8),
    /// A credit is being given.
    Crediting,
    /// No session with the server.
    NoNetwork,
    /// The module is locked.
    Locked,
    /// Connected, no fault.
    AllWell,
}

/// Flashes for the first blocking fault among the bits, if there is one.
pub fn fault_flashes(bits: u32) -> Option<u8> {
    let shown =
        [(faults::COIN_LINE_STUCK, 2), (faults::FLASH, 3), (faults::MACHINE_SILENT, 4), (faults::SUPPLY_LOW, 5)];
    shown.into_iter().find(|(fault, _)| bits & fault != 0).map(|(_, flashes)| flashes)
}

impl LightSignal {
    /// How the light blinks: the parts of a period in milliseconds, alternately lit and dark, starting lit. A single
    /// part lasts for ever.
    fn parts(self) -> (u64, u64) {
        match self {
            LightSignal::Locate => (100, 100),
            LightSignal::LearnQuiet => (1_000, 1_000),
            LightSignal::LearnCoin => (500, 500),
            LightSignal::LearnPress => (200, 200),
            LightSignal::LearnStored => (900, 100),
            LightSignal::LearnFailed => (100, 900),
            LightSignal::Crediting => (250, 250),
            LightSignal::NoNetwork => (100, 3_900),
            LightSignal::Locked => (3_900, 100),
            LightSignal::LearnBusy | LightSignal::AllWell => (1, 0),
            LightSignal::Fault(_) => (FLASH_MS, FLASH_MS),
        }
    }

    /// Whether the light is lit at uptime `now_us`, and when that changes; `None` for never.
    pub fn at(self, now_us: u64) -> (bool, Option<u64>) {
        let (on_ms, off_ms) = self.parts();
        if off_ms == 0 {
            return (true, None);
        }
        let now_ms = now_us / 1000;
        let until = |ms: u64| Some((now_ms + ms) * 1000);
        let (period_ms, flashing_ms) = if let LightSignal::Fault(flashes) = self {
            let flashing_ms = (on_ms + off_ms) * u64::from(flashes);
            (flashing_ms + PAUSE_MS, flashing_ms)
        } else {
            (on_ms + off_ms, on_ms + off_ms)
        };
        let into_ms = now_ms % period_ms;
        if into_ms >= flashing_ms {
            return (false, until(period_ms - into_ms));
        }
        let part_ms = into_ms % (on_ms + off_ms);
        if part_ms < on_ms {
            return (true, until(on_ms - part_ms));
        }
        // The dark behind the last flash of a group goes over into the pause.
        match into_ms + (on_ms + off_ms - part_ms) {
            end_ms if end_ms >= flashing_ms => (false, until(period_ms - into_ms)),
            end_ms => (false, until(end_ms - into_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Lit and dark times over two periods, followed only by what the pattern says of its next change.
    fn watch(sign: LightSignal, until_ms: u64) -> Vec<(bool, u64)> {
        let (mut now_us, mut seen) = (0, Vec::new());
        while now_us < until_ms * 1000 {
            let (lit, next_us) = sign.at(now_us);
            let next_us = next_us.unwrap();
            assert!(next_us > now_us);
            // In between it does not change.
            assert_eq!(sign.at(next_us - 1).0, lit);
            assert_ne!(sign.at(next_us).0, lit);
            seen.push((lit, (next_us - now_us) / 1000));
            now_us = next_us;
        }
        seen
    }

    #[test]
    fn the_patterns_are_those_of_the_document() {
        assert_eq!(watch(LightSignal::NoNetwork, 4_000), [(true, 100), (false, 3_900)]);
        assert_eq!(watch(LightSignal::Locate, 200), [(true, 100), (false, 100)]);
        let two = [(true, 200), (false, 200), (true, 200), (false, 1_800)];
        assert_eq!(watch(LightSignal::Fault(2), 2_400), two);
        assert_eq!(watch(LightSignal::Fault(2), 4_800), [two, two].concat());
        assert_eq!(watch(LightSignal::Fault(5), 3_600).len(), 10);
    }

    #[test]
    fn a_module_that_is_well_needs_no_waking() {
        assert_eq!(LightSignal::AllWell.at(123), (true, None));
        assert_eq!(LightSignal::LearnBusy.at(0), (true, None));
    }

    #[test]
    fn only_blocking_faults_are_shown() {
        assert_eq!(fault_flashes(faults::BAD_SIGNATURES), None);
        for bit in 0..32 {
            assert_eq!(fault_flashes(1 << bit).is_some(), faults::BLOCKING & 1 << bit != 0);
        }
    }
}
