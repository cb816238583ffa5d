//! Failed logins, counted by address and by user name, so that guessing is slow but locks nobody out.
//!
//! An address may fail a limited number of times in a minute. A login in progress counts as failed until it succeeds;
//! otherwise many guesses at once would all be checked. A user who recently logged in from an address has a separate
//! count there, so that an attacker behind the same carrier's gateway does not lock that user out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::slots::limit_key;

/// The time over which failures are counted, from the first one.
const WINDOW: Duration = Duration::from_secs(60);
/// How long a user is known at an address after a login.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How many addresses, names, and users known at an address are counted at a time. Beyond that, expired entries make
/// room, or the new one is not counted, so that a flood of addresses does not use unlimited memory.
const COUNTED_MAX: usize = 20_000;

/// Counts of failed logins.
pub(crate) struct FailedLogins {
    counts: Mutex<Counts>,
    address_max: u32,
    /// By user known at an address.
    known_max: u32,
}

#[derive(Default)]
struct Counts {
    addresses: Windows<IpAddr>,
    names: Windows<Box<str>>,
    known: HashMap<Known, Instant>,
    /// Failures of those.
    of_known: Windows<Known>,
}

type Known = (IpAddr, Box<str>);

/// A login that is being decided. It counts as failed until it is dropped; after [`Attempt::failed`] it stays counted.
pub(crate) struct Attempt<'a> {
    logins: &'a FailedLogins,
    who: Known,
    /// Which count it is in.
    is_known: bool,
    settled: bool,
}

impl FailedLogins {
    pub fn new(limits: &Limits) -> FailedLogins {
        FailedLogins {
            counts: Mutex::default(),
            address_max: limits.failed_logins_per_address,
            known_max: limits.failed_logins_per_name,
        }
    }

    /// Begins to decide a login; `None` when there were too many failures.
    pub fn attempt(&self, address: IpAddr, name: &str, now: Instant) -> Option<Attempt<'_>> {
        let address = limit_key(address);
        let who: Known = (address, name.into());
        let mut counts = self.counts.lock();
        let is_known = counts.known.get(&who).is_some_and(|at| now < *at + KNOWN_FOR);
        let heard = if is_known {
            let heard = counts.of_known.count(&who, now) < self.known_max;
            heard.then(|| counts.of_known.add(who.clone(), now))
        } else {
            let heard = counts.addresses.count(&address, now) < self.address_max;
            heard.then(|| counts.addresses.add(address, now))
        };
        heard?;
        Some(Attempt { logins: self, who, is_known, settled: false })
    }

    /// Counts a failure for a name, and returns how many there were in its window.
    pub fn failed_name(&self, name: &str, now: Instant) -> u32 {
        self.counts.lock().names.add(name.into(), now)
    }

    /// Removes expired counts.
    pub fn sweep(&self, now: Instant) {
        let mut counts = self.counts.lock();
        counts.addresses.sweep(now);
        counts.names.sweep(now);
        counts.of_known.sweep(now);
        counts.known.retain(|_, at| now < *at + KNOWN_FOR);
    }
}

impl Attempt<'_> {
    /// The password was wrong.
    pub fn failed(mut self) {
        self.settled = true;
    }

    /// The password was right: the user is known here from now on.
    pub fn succeeded(self, now: Instant) {
        let mut counts = self.logins.counts.lock();
        if counts.known.len() < COUNTED_MAX || counts.known.contains_key(&self.who) {
            counts.known.insert(self.who.clone(), now);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut counts = self.logins.counts.lock();
        if self.is_known {
            counts.of_known.take_back(&self.who);
        } else {
            counts.addresses.take_back(&self.who.0);
        }
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
            self.sweep(now);
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

    fn take_back(&mut self, key: &K) {
        if let Some((_, count)) = self.0.get_mut(key) {
            *count = count.saturating_sub(1);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, (began, _)| now < *began + WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn logins() -> FailedLogins {
        let limits = Limits { failed_logins_per_address: 3, failed_logins_per_name: 2, ..Limits::default() };
        FailedLogins::new(&limits)
    }

    #[test]
    fn an_address_has_so_many_failures_until_the_window_has_passed() {
        let (logins, start) = (logins(), Instant::now());
        for name in ["anna", "ben", "anna"] {
            logins.attempt(HERE, name, start).unwrap().failed();
        }
        assert!(logins.attempt(HERE, "carl", start + WINDOW / 2).is_none());
        assert!(logins.attempt([10, 0, 0, 1].into(), "anna", start).is_some());
        assert!(logins.attempt(HERE, "carl", start + WINDOW).is_some());
    }

    #[test]
    fn what_is_under_way_counts_until_it_is_over() {
        let (logins, start) = (logins(), Instant::now());
        let under_way: Vec<_> = (0..3).map(|_| logins.attempt(HERE, "anna", start).unwrap()).collect();
        assert!(logins.attempt(HERE, "ben", start).is_none());
        drop(under_way);
        assert!(logins.attempt(HERE, "ben", start).is_some());
    }

    #[test]
    fn a_known_user_is_not_locked_out_by_others_and_cannot_guess_forever() {
        let (logins, start) = (logins(), Instant::now());
        logins.attempt(HERE, "anna", start).unwrap().succeeded(start);
        for _ in 0..3 {
            logins.attempt(HERE, "ben", start).unwrap().failed();
        }
        assert!(logins.attempt(HERE, "ben", start).is_none());
        for _ in 0..2 {
            logins.attempt(HERE, "anna", start).unwrap().failed();
        }
        assert!(logins.attempt(HERE, "anna", start).is_none());
        assert!(logins.attempt(HERE, "anna", start + WINDOW).is_some());
    }

    #[test]
    fn names_are_counted_and_forgotten() {
        let (logins, start) = (logins(), Instant::now());
        assert_eq!(logins.failed_name("anna", start), 1);
        assert_eq!(logins.failed_name("anna", start), 2);
        assert_eq!(logins.failed_name("anna", start + WINDOW), 1);
        for number in 0..2 * COUNTED_MAX {
            logins.failed_name(&number.to_string(), start + WINDOW);
        }
        assert_eq!(logins.counts.lock().names.0.len(), COUNTED_MAX);
        logins.sweep(start + 2 * WINDOW);
        assert_eq!(logins.counts.lock().names.0.len(), 0);
    }
}
