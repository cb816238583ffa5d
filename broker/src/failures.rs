//! Failed logins, counted by address and by user name, so that guessing is slow and locks nobody out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures are counted over this long from the first.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses, and names, counted at a time. Beyond, those whose window has passed make room, or the new one goes
/// uncounted: a flood of addresses must not cost memory without end.
const COUNTED_MAX: usize = 20_000;

/// Counts of failed logins.
#[derive(Default)]
pub(crate) struct FailedLogins {
    addresses: Mutex<Windows<IpAddr>>,
    names: Mutex<Windows<Box<str>>>,
}

impl FailedLogins {
    /// Failures from an address in its window.
    pub fn of_address(&self, address: IpAddr, now: Instant) -> u32 {
        self.addresses.lock().count(&address, now)
    }

    /// Counts a failure, and gives how many there were to that name in its window.
    pub fn failed(&self, address: IpAddr, name: Option<&str>, now: Instant) -> u32 {
        self.addresses.lock().add(address, now);
        self.names.lock().add(name.unwrap_or_default().into(), now)
    }
}

struct Windows<K>(HashMap<K, (Instant, u32)>);

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Windows(HashMap::new())
    }
}

impl<K: Hash + Eq> Windows<K> {
    fn count(&self, key: &K, now: Instant) -> u32 {
        self.0.get(key).filter(|(began, _)| now < *began + WINDOW).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, key: K, now: Instant) -> u32 {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (began, _)| now < *began + WINDOW);
            if self.0.len() >= COUNTED_MAX {
                return 1;
            }
        }
        let (began, count) = self.0.entry(key).or_insert((now, 0));
        if now >= *began + WINDOW {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn counts_by_address_and_by_name_until_the_window_has_passed() {
        let (failed, start) = (FailedLogins::default(), Instant::now());
        assert_eq!(failed.of_address(HERE, start), 0);
        assert_eq!(failed.failed(HERE, Some("anna"), start), 1);
        assert_eq!(failed.failed(HERE, Some("ben"), start), 1);
        let elsewhere = [10, 0, 0, 1].into();
        assert_eq!(failed.failed(elsewhere, Some("anna"), start + WINDOW / 2), 2);
        assert_eq!(failed.of_address(HERE, start + WINDOW / 2), 2);
        assert_eq!(failed.of_address(HERE, start + WINDOW), 0);
        assert_eq!(failed.failed(HERE, Some("anna"), start + WINDOW), 1);
    }

    #[test]
    fn a_flood_of_names_costs_bounded_memory() {
        let (failed, start) = (FailedLogins::default(), Instant::now());
        for number in 0..2 * COUNTED_MAX {
            failed.failed(HERE, Some(&number.to_string()), start);
        }
        assert_eq!(failed.names.lock().0.len(), COUNTED_MAX);
        failed.failed(HERE, Some("late"), start + WINDOW);
        assert_eq!(failed.names.lock().0.len(), 1);
    }
}
