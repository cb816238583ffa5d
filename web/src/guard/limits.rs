//! Rate limits.

use crate::{config::Limits, failure::Failure};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

/// After this many checks, keys without recent requests are removed, so that memory stays bounded.
const CHECKS_BETWEEN_SWEEPS: u32 = 4096;

/// The limits in force.
pub(crate) struct RateLimits {
    pub(crate) scans: Limiter<IpAddr>,
    pub(crate) orders: Limiter<IpAddr>,
}

impl RateLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            scans: Limiter::per_minute(limits.scans_per_minute),
            orders: Limiter::per_minute(limits.orders_per_minute),
        }
    }
}

/// A separate limit for each key.
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn per_minute(rate: u32) -> Self {
        let limiter = NonZeroU32::new(rate).map(|rate| RateLimiter::keyed(Quota::per_minute(rate)));
        Self { limiter, checks: AtomicU32::new(0) }
    }

    /// Counts one request.
    pub(crate) fn check(&self, key: &K) -> Result<(), Failure> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_SWEEPS == CHECKS_BETWEEN_SWEEPS - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(limiter.clock().now());
            Failure::TooMany { retry_after_s: wait.as_secs() + 1 }
        })
    }
}

/// The key for limiting an address. For IPv6 it is the /64, since a client owns a whole one.
pub(crate) fn limit_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_one_key_and_not_another() {
        let limiter = Limiter::per_minute(2);
        assert!(limiter.check(&"a").is_ok());
        assert!(limiter.check(&"a").is_ok());
        let Err(Failure::TooMany { retry_after_s }) = limiter.check(&"a") else { panic!("the third is let through") };
        assert!((1..=31).contains(&retry_after_s), "{retry_after_s}");
        assert!(limiter.check(&"b").is_ok());
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let limiter = Limiter::per_minute(0);
        assert!((0..1000).all(|_| limiter.check(&"a").is_ok()));
    }

    #[test]
    fn counts_a_home_network_as_one() {
        let key = |text: &str| limit_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
