//! Attempts to sign in: guessing is slow, and locks nobody out.
//!
//! An address has so many attempts in a minute. A member who got in from an address lately has attempts of their own there:
//! somebody who guesses behind the same gateway does not keep them out. Failures with one e-mail address, from wherever,
//! are answered late once there are many; the right password is answered at once. Whether the member exists makes no
//! difference to any of it. The message broker holds logins by the same rules (`broker/src/failures.rs`).

use super::limits::{Limiter, limit_key};
use crate::{config::Limits, failure::Failure};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How late a failure is answered once an e-mail address had too many.
const FAILURE_DELAY: Duration = Duration::from_secs(3);
/// How long a member is known at an address after getting in.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Members known at a time. Beyond, those whose time has passed make room, or the next is not noted.
const KNOWN_MAX: usize = 20_000;

/// A member at an address.
type Who = (IpAddr, String);

/// What is counted.
pub(crate) struct SignIns {
    from_address: Limiter<IpAddr>,
    of_known: Limiter<Who>,
    failures: Limiter<String>,
    known: Mutex<HashMap<Who, Instant>>,
}

impl SignIns {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            from_address: Limiter::per_minute(limits.sign_ins_per_minute),
            of_known: Limiter::per_minute(limits.sign_ins_per_email_per_minute),
            failures: Limiter::per_minute(limits.sign_ins_per_email_per_minute),
            known: Mutex::default(),
        }
    }

    /// Whether an attempt is heard.
    ///
    /// # Errors
    /// If there were too many from its address.
    pub(crate) fn attempt(&self, address: IpAddr, email: &str, now: Instant) -> Result<(), Failure> {
        let who = (limit_key(address), email.to_lowercase());
        let is_known = self.known.lock().get(&who).is_some_and(|at| now < *at + KNOWN_FOR);
        if is_known { self.of_known.check(&who) } else { self.from_address.check(&who.0) }
    }

    /// Notes a failure, and tells how late it is to be answered.
    pub(crate) fn failed(&self, email: &str) -> Duration {
        match self.failures.check(&email.to_lowercase()) {
            Ok(()) => Duration::ZERO,
            Err(_) => FAILURE_DELAY,
        }
    }

    /// Notes who got in, and where.
    pub(crate) fn succeeded(&self, address: IpAddr, email: &str, now: Instant) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, at| now < *at + KNOWN_FOR);
        }
        if known.len() < KNOWN_MAX {
            known.insert((limit_key(address), email.to_lowercase()), now);
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
    fn whoever_guesses_at_a_name_slows_down_failures_and_keeps_nobody_out() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        assert_eq!(sign_ins.failed("owner@example.com"), Duration::ZERO);
        assert_eq!(sign_ins.failed("Owner@Example.com"), Duration::ZERO);
        assert_eq!(sign_ins.failed("owner@example.com"), FAILURE_DELAY);
        assert_eq!(sign_ins.failed("other@example.com"), Duration::ZERO);
        assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_ok(), "it is still heard");
    }

    #[test]
    fn whoever_is_known_at_an_address_is_not_kept_out_by_others_there_and_may_not_guess_without_end() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        sign_ins.succeeded(HERE, "Owner@example.com", now);
        for _ in 0..3 {
            assert!(sign_ins.attempt(HERE, "other@example.com", now).is_ok());
        }
        assert!(sign_ins.attempt(HERE, "other@example.com", now).is_err());
        for _ in 0..2 {
            assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_ok());
        }
        assert!(sign_ins.attempt(HERE, "owner@example.com", now).is_err());
        assert!(sign_ins.attempt(THERE, "owner@example.com", now).is_ok());
        assert!(sign_ins.attempt(HERE, "owner@example.com", now + KNOWN_FOR).is_err(), "not known any more");
    }

    #[test]
    fn known_members_take_no_memory_without_end() {
        let (sign_ins, now) = (sign_ins(), Instant::now());
        for number in 0..2 * KNOWN_MAX {
            sign_ins.succeeded(HERE, &number.to_string(), now);
        }
        assert_eq!(sign_ins.known.lock().len(), KNOWN_MAX);
        sign_ins.succeeded(HERE, "later", now + KNOWN_FOR);
        assert_eq!(sign_ins.known.lock().len(), 1);
    }
}
