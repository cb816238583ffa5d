//! Attempts to sign in: guessing is slow, but locks nobody out.
//!
//! An address may make a limited number of attempts in a minute. A member who signed in from an address lately has
//! separate attempts there, so that an attacker behind the same gateway does not lock the member out. Failures with one
//! e-mail address, from any address, are answered late once there are many; the right password is answered at once. All
//! this is the same whether or not the member exists. The message broker has the same rules for logins
//! (`broker/src/failures.rs`).

use crate::{config::Limits, failure::Failure, guard::limits::limit_key};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long the answer to a failure is delayed once an e-mail address had too many.
const FAILURE_DELAY: Duration = Duration::from_secs(3);
/// How long a member is known at an address after signing in.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// The time over which attempts and failures are counted, from the first one.
const WINDOW: Duration = Duration::from_secs(60);
/// How many addresses, names and members are kept at a time. Beyond that, expired entries make room, or the new one is
/// not kept, so that a flood of addresses does not use unlimited memory.
const ENTRIES_MAX: usize = 20_000;
/// How often expired entries are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A member at an address.
type MemberAddress = (IpAddr, String);

/// What is counted.
pub(crate) struct SignIns {
    from_address: Windows<IpAddr>,
    of_known: Windows<MemberAddress>,
    failures: Windows<String>,
    known: Mutex<ExpiringMap<MemberAddress, ()>>,
}

impl SignIns {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            from_address: Windows::new(limits.sign_ins_per_minute),
            of_known: Windows::new(limits.sign_ins_per_email_per_minute),
            failures: Windows::new(limits.sign_ins_per_email_per_minute),
            known: Mutex::new(ExpiringMap::new(KNOWN_FOR)),
        }
    }

    /// Whether an attempt is allowed.
    ///
    /// # Errors
    /// If there were too many from its address.
    pub(crate) fn attempt(&self, address: IpAddr, email: &str, now: Instant) -> Result<(), Failure> {
        let who = (limit_key(address), email.to_lowercase());
        let is_known = self.known.lock().get(&who, now).is_some();
        let counted = if is_known { self.of_known.count(who, now) } else { self.from_address.count(who.0, now) };
        counted.map_err(|wait| Failure::TooMany { retry_after_s: wait.as_secs() + 1 })
    }

    /// Notes a failure, and returns how long its answer must be delayed.
    pub(crate) fn failed(&self, email: &str, now: Instant) -> Duration {
        match self.failures.count(email.to_lowercase(), now) {
            Ok(()) => Duration::ZERO,
            Err(_) => FAILURE_DELAY,
        }
    }

    /// Notes who signed in, and from which address.
    pub(crate) fn succeeded(&self, address: IpAddr, email: &str, now: Instant) {
        self.known.lock().note((limit_key(address), email.to_lowercase()), (), now);
    }
}

/// Counts of each key by itself, in a window that begins with the first.
struct Windows<K> {
    /// 0 is no limit.
    max: u32,
    counts: Mutex<ExpiringMap<K, u32>>,
}

impl<K: Hash + Eq> Windows<K> {
    fn new(max: u32) -> Self {
        Self { max, counts: Mutex::new(ExpiringMap::new(WINDOW)) }
    }

    /// Counts one. If there were too many, the error is how long the window still lasts.
    fn count(&self, key: K, now: Instant) -> Result<(), Duration> {
        if self.max == 0 {
            return Ok(());
        }
        let mut counts = self.counts.lock();
        match counts.get(&key, now) {
            None => counts.note(key, 1, now),
            Some((began, count)) if *count >= self.max => return Err((*began + WINDOW).saturating_duration_since(now)),
            Some((_, count)) => *count += 1,
        }
        Ok(())
    }
}

/// What is remembered for each key, for a limited time.
struct ExpiringMap<K, V> {
    lasts: Duration,
    of: HashMap<K, (Instant, V)>,
    /// When expired entries were last removed.
    swept_at: Option<Instant>,
}

impl<K: Hash + Eq, V> ExpiringMap<K, V> {
    fn new(lasts: Duration) -> Self {
        Self { lasts, of: HashMap::new(), swept_at: None }
    }

    fn get(&mut self, key: &K, now: Instant) -> Option<&mut (Instant, V)> {
        self.of.get_mut(key).filter(|(at, _)| now < *at + self.lasts)
    }

    /// Notes it, if there is room.
    fn note(&mut self, key: K, value: V, now: Instant) {
        // Not at every attempt of a flood, since that would cost more than it saves.
        let is_due = self.swept_at.is_none_or(|at| now >= at + SWEEP_EVERY);
        if self.of.len() >= ENTRIES_MAX && is_due {
            self.swept_at = Some(now);
            self.of.retain(|_, (at, _)| now < *at + self.lasts);
        }
        if self.of.len() < ENTRIES_MAX || self.of.contains_key(&key) {
            self.of.insert(key, (now, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn sign_ins() -> SignIns {
        SignIns::new(&Limits { sign_ins_per_minute: 3, sign_ins_per_email_per_minute: 2, ..Limits::default() })
    }

    #[test]
    fn guessing_at_a_name_delays_failures_and_locks_nobody_out() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        for (email, late) in [
            ("owner@example.com", Duration::ZERO),
            ("Owner@Example.com", Duration::ZERO),
            ("owner@example.com", FAILURE_DELAY),
            ("other@example.com", Duration::ZERO),
        ] {
            assert_eq!(sign_ins.failed(email, now), late, "{email}");
        }
        assert_eq!(sign_ins.failed("owner@example.com", now + WINDOW), Duration::ZERO);
        assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_ok(), "it is still heard");
    }

    #[test]
    fn a_member_known_at_an_address_is_not_locked_out_by_others_and_cannot_guess_forever() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        sign_ins.succeeded(HERE, "Owner@example.com", now);
        for _ in 0..3 {
            assert!(sign_ins.attempt(HERE, "other@example.com", now).is_ok());
        }
        let Err(Failure::TooMany { retry_after_s }) = sign_ins.attempt(HERE, "other@example.com", now) else {
            panic!("the fourth is heard")
        };
        assert_eq!(retry_after_s, WINDOW.as_secs() + 1);
        for _ in 0..2 {
            assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_ok());
        }
        assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_err());
        assert!(sign_ins.attempt(THERE, "owner@example.com", now).is_ok());
        assert!(sign_ins.attempt(HERE, "owner@example.com", now + WINDOW).is_ok(), "the next minute");
        for _ in 0..3 {
            assert!(sign_ins.attempt(HERE, "owner@example.com", now + KNOWN_FOR).is_ok());
        }
        assert!(sign_ins.attempt(HERE, "owner@example.com", now + KNOWN_FOR).is_err(), "not known any more");
    }

    #[test]
    fn nothing_takes_memory_without_end() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        for number in 0..2 * ENTRIES_MAX {
            sign_ins.succeeded(HERE, &number.to_string(), now);
            sign_ins.failed(&number.to_string(), now);
        }
        assert_eq!(sign_ins.failures.counts.lock().of.len(), ENTRIES_MAX);
        sign_ins.failed("later", now + WINDOW);
        assert_eq!(sign_ins.failures.counts.lock().of.len(), 1);
        assert_eq!(sign_ins.known.lock().of.len(), ENTRIES_MAX);
        sign_ins.succeeded(HERE, "later", now + KNOWN_FOR);
        assert_eq!(sign_ins.known.lock().of.len(), 1);
    }
}
