//! The trouble a test or a demo asks the provider to make.
//!
//! Each fault has a dose: so many times, or a probability. A probability is decided by hashing the seed, the fault and
//! what it would strike (an order, a refund, an attempt), not by drawing from a shared generator: the same seed strikes
//! the same orders whatever order the threads ran in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most copies of one callback that are sent at once.
pub const MAX_DUPLICATES: u32 = 200;
/// Repeated things whose turns are remembered; past that, counting starts afresh.
const MAX_TURNS: usize = 100_000;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A callback's first delivery is sent as several identical requests at once ([`FaultPlan::set_duplicates`]).
    DuplicateCallback,
    /// A callback's delivery waits for up to [`FaultPlan::set_max_delay`], which also reorders callbacks.
    DelayCallback,
    /// A callback's delivery is lost on the way; the next comes by the retry schedule.
    DropCallback,
    /// As [`Fault::DropCallback`], of what tells of a payment; what tells of a refund is delivered.
    DropPaymentCallback,
    /// The payer pays, and the callback is delivered, before the create call is answered.
    CallbackBeforeCreateResponse,
    /// The order is made, and the create call is never answered.
    CreateTimeout,
    /// The refund is made, and the refund call is never answered.
    RefundTimeout,
    /// The callback names another app, under a good signature.
    WrongAppid,
    /// The callback names another merchant, under a good signature.
    WrongMchid,
    /// The callback tells a total of one fen more, under a good signature.
    WrongAmount,
    /// The callback tells another currency, under a good signature. Alipay's notices name none.
    WrongCurrency,
    /// The callback tells of an event that nobody has heard of, under a good signature.
    UnknownEvent,
    /// The callback names an order that the merchant never made, under a good signature.
    UnknownNumber,
    /// Before the callback comes another one, validly signed and sealed by the provider for another merchant.
    ForeignSignature,
    /// Before the callback comes a copy with a valid signature and a time ten minutes old.
    StaleTimestamp,
    /// Before the callback comes a copy with a probing signature (`WECHATPAY/SIGNTEST/..`).
    SignatureProbe,
    /// The provider changes to its other platform key before it sends the callback.
    KeyRotation,
    /// The payer pays one fen less than was asked, and the provider takes it: all it says from then on is of what was paid.
    PaidLess,
    /// A coupon pays for a part, so that `payer_total` is less than `total`.
    Coupon,
    /// A close call is answered that the payer is paying just now (202 USER_PAYING; ACQ.TRADE_STATUS_ERROR), and nothing is
    /// closed.
    CloseBusy,
    /// The payer pays in the moment before a close call is looked at.
    PaidBeforeClose,
    /// A payment that was under way when its order was closed, or expired, goes through.
    PaidAfterClose,
    /// An accepted refund ends ABNORMAL: the money left the merchant and did not reach the payer.
    RefundAbnormal,
    /// An accepted refund ends CLOSED: no money moved.
    RefundClosed,
    /// A refund is refused: the merchant's balance does not cover it.
    NotEnough,
    /// An API call is answered 500 SYSTEM_ERROR, and nothing is done.
    SystemError,
    /// An API call is answered 502 by something that is not WeChat Pay: HTML, unsigned.
    BadGateway,
    /// An API call is answered 429 FREQUENCY_LIMITED.
    FrequencyLimited,
    /// An API call is done, and its answer waits for up to [`FaultPlan::set_max_delay`].
    SlowAnswer,
    /// A successful answer carries a signature that does not verify.
    ForgedAnswer,
    /// The exchange of a code for an openid waits for up to [`FaultPlan::set_max_delay`] before it is answered.
    OauthDelay,
    /// The code is used up, and its exchange is never answered.
    OauthTimeout,
    /// The exchange is answered -1, "system error", and the code stays good.
    OauthBusy,
    /// The browser comes back with a code that was exchanged before, as it does when WeChat repeats a redirect.
    OauthCodeUsed,
    /// The payer pays in the app, and the page is told that the payer cancelled.
    BridgeSaysCancel,
    /// The payer pays in Alipay's app, and the page is told that the payment is being worked on.
    BridgeSaysPending,
    /// The payer pays in Alipay's app, and the page is told that nobody knows whether it was paid.
    BridgeSaysUnknown,
}

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultFrequency {
    /// The next so many times it could.
    Times(u32),
    /// Each time with this probability, 0 to 1, decided by the seed.
    Probability(f64),
}

/// The faults set at present. All methods may be called at any time, from any thread.
#[derive(Debug)]
pub struct FaultPlan {
    seed: u64,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    frequencies: BTreeMap<Fault, FaultFrequency>,
    /// How often a fault was asked about a thing that comes again (by its hash).
    turns: BTreeMap<(Fault, u64), u32>,
    duplicates: u32,
    max_delay: Duration,
    answer_hold: Duration,
}

impl FaultPlan {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan {
            frequencies: BTreeMap::new(),
            turns: BTreeMap::new(),
            duplicates: 2,
            max_delay: Duration::from_secs(1),
            answer_hold: Duration::from_secs(30),
        };
        Self { seed, plan: Mutex::new(plan) }
    }

    /// Sets how often `fault` strikes; it replaces an earlier dose.
    pub fn set(&self, fault: Fault, frequency: FaultFrequency) {
        self.lock().frequencies.insert(fault, frequency);
    }

    /// Ends one fault.
    pub fn clear(&self, fault: Fault) {
        self.lock().frequencies.remove(&fault);
    }

    /// Ends all faults.
    pub fn clear_all(&self) {
        self.lock().frequencies.clear();
    }

    /// How many identical requests [`Fault::DuplicateCallback`] sends at once: 2 at first, kept within 2 and 200.
    pub fn set_duplicates(&self, count: u32) {
        self.lock().duplicates = count.clamp(2, MAX_DUPLICATES);
    }

    /// The longest wait of [`Fault::DelayCallback`], [`Fault::SlowAnswer`] and [`Fault::OauthDelay`]: one second at first. It
    /// is not divided by the speed.
    pub fn set_max_delay(&self, max_delay: Duration) {
        self.lock().max_delay = max_delay;
    }

    /// How long [`Fault::CreateTimeout`], [`Fault::RefundTimeout`] and [`Fault::OauthTimeout`] keep the connection silent
    /// before it is given up: 30 seconds at first. It is not divided by the speed.
    pub fn set_answer_hold(&self, hold: Duration) {
        self.lock().answer_hold = hold;
    }

    pub(crate) fn duplicates(&self) -> u32 {
        self.lock().duplicates
    }

    pub(crate) fn answer_hold(&self) -> Duration {
        self.lock().answer_hold
    }

    /// The wait of one delivery: anything from nothing to the longest, by the seed and the delivery's name.
    pub(crate) fn delay(&self, subject: &str) -> Duration {
        let max = self.lock().max_delay;
        max.mul_f64(unit(hash(self.seed ^ 0x0064_656c_6179, subject)))
    }

    /// Whether `fault` strikes `subject`; a counted dose is used up by it.
    pub(crate) fn is_hit(&self, fault: Fault, subject: &str) -> bool {
        self.lock().is_hit(self.seed, fault, subject)
    }

    /// As [`FaultPlan::is_hit`], for what a merchant repeats unchanged: each turn is decided anew, so that a probable
    /// fault does not strike the same call for ever.
    pub(crate) fn is_hit_this_time(&self, fault: Fault, subject: &str) -> bool {
        let mut plan = self.lock();
        if !plan.frequencies.contains_key(&fault) {
            return false;
        }
        if plan.turns.len() >= MAX_TURNS {
            plan.turns.clear();
        }
        let turn = plan.turns.entry((fault, hash(0, subject))).or_insert(0);
        *turn += 1;
        let subject = format!("{subject}#{turn}");
        plan.is_hit(self.seed, fault, &subject)
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        // A plan is plain data and valid at every step, so a panic elsewhere does not spoil it.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn is_hit(&mut self, seed: u64, fault: Fault, subject: &str) -> bool {
        match self.frequencies.get_mut(&fault) {
            None | Some(FaultFrequency::Times(0)) => false,
            Some(FaultFrequency::Times(left)) => {
                *left -= 1;
                true
            }
            Some(FaultFrequency::Probability(probability)) => {
                unit(hash(seed.wrapping_add((fault as u64 + 1) << 32), subject)) < *probability
            }
        }
    }
}

/// A stable hash of a seed and a text: FNV-1a, finished as splitmix64 does so that close texts part widely.
pub(crate) fn hash(seed: u64, subject: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let mixed = subject.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut z = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash as a number from 0 up to, not including, 1.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_dose_is_used_up() {
        let plan = FaultPlan::new(1);
        assert!(!plan.is_hit(Fault::DropCallback, "a"));
        plan.set(Fault::DropCallback, FaultFrequency::Times(2));
        let struck = (0..5).filter(|_| plan.is_hit(Fault::DropCallback, "a")).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn a_probability_strikes_the_same_subjects_for_the_same_seed_and_about_as_often_as_it_says() {
        let struck = |seed| {
            let plan = FaultPlan::new(seed);
            plan.set(Fault::Coupon, FaultFrequency::Probability(0.3));
            (0..2000).filter(|n| plan.is_hit(Fault::Coupon, &format!("order{n}"))).collect::<Vec<_>>()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        let count = struck(7).len();
        assert!((500..700).contains(&count), "{count} of 2000");
    }

    #[test]
    fn what_is_repeated_is_decided_anew_each_turn() {
        let struck = || {
            let plan = FaultPlan::new(5);
            plan.set(Fault::SystemError, FaultFrequency::Probability(0.5));
            (0..200).filter(|_| plan.is_hit_this_time(Fault::SystemError, "POST /same")).collect::<Vec<_>>()
        };
        assert_eq!(struck(), struck());
        assert!((60..140).contains(&struck().len()), "{} of 200", struck().len());
    }

    #[test]
    fn certain_and_impossible_probabilities_hold() {
        let plan = FaultPlan::new(3);
        plan.set(Fault::Coupon, FaultFrequency::Probability(1.0));
        plan.set(Fault::WrongAmount, FaultFrequency::Probability(0.0));
        assert!((0..100).all(|n| plan.is_hit(Fault::Coupon, &n.to_string())));
        assert!(!(0..100).any(|n| plan.is_hit(Fault::WrongAmount, &n.to_string())));
    }
}
