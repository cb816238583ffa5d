//! The coin line: [`sampler`] reads it, [`relay`] passes it on to the machine, [`driver`] gives credits between;
//! [`learner`] finds out how it behaves ([`meter`]) and what the machine takes ([`trial`]).

pub mod driver;
pub mod learner;
pub mod meter;
pub mod relay;
pub mod sampler;
pub mod trial;

use heapless::Deque;
use protocol::messages::CoinProfile;
use relay::{Relay, RelayEvent};
use sampler::{Burst, LineEvent, Sampler};

/// Finished bursts that can wait for the core to take them; it takes them at each call.
const BURSTS_MAX: usize = 4;

/// Sampler and relay together.
#[derive(Debug, Clone)]
pub struct CoinLine {
    profile: CoinProfile,
    sampler: Sampler,
    relay: Relay,
    /// The line was active when it began to be read: that is not passed on as it comes, for it may be no coin but a line
    /// read wrong. If it proves to be a coin, it is owed.
    missed: bool,
    counted: u32,
    bursts: Deque<Burst, BURSTS_MAX>,
    stuck: bool,
    noise_before: u64,
}

impl CoinLine {
    /// Begins with the coin line's present level.
    pub fn new(profile: &CoinProfile, level_high: bool, now_us: u64) -> Self {
        Self {
            profile: *profile,
            missed: level_high != profile.idle_high,
            sampler: Sampler::new(profile, level_high, now_us),
            relay: Relay::new(profile),
            counted: 0,
            bursts: Deque::new(),
            stuck: false,
            noise_before: 0,
        }
    }

    /// Takes a new profile. A pulse in progress is read anew by it, and goes on to the machine if it was on its way; what
    /// was counted and what is owed stays.
    pub fn set_profile(&mut self, profile: &CoinProfile, now_us: u64) {
        if *profile == self.profile {
            return;
        }
        self.profile = *profile;
        self.noise_before += self.sampler.noise_edges();
        self.sampler = self.sampler.read_anew(profile);
        self.missed = !self.sampler.rests();
        if !self.missed {
            self.relay.coin_stuck(now_us);
        }
        self.relay.set_profile(profile);
        self.stuck = false;
    }

    /// Takes an edge of the coin line; the time of processing is the edge's own.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        self.run(at_us, |sampler, event| sampler.edge(at_us, level_high, event));
    }

    /// Lets time pass; tells of a credit pulse that was given whole.
    pub fn advance(&mut self, now_us: u64) -> Option<RelayEvent> {
        self.run(now_us, |sampler, event| sampler.advance(now_us, event));
        self.relay.advance(now_us)
    }

    fn run(&mut self, now_us: u64, step: impl FnOnce(&mut Sampler, &mut dyn FnMut(LineEvent))) {
        let Self { sampler, relay, missed, counted, bursts, stuck, .. } = self;
        step(sampler, &mut |event| match event {
            LineEvent::Active { again: false } if *missed => relay.hold(),
            LineEvent::Active { again: false } => relay.coin_begins(now_us),
            LineEvent::Active { again: true } => {}
            LineEvent::Idle { width_us, counted: now_counted } => {
                *missed = false;
                *counted += u32::from(now_counted);
                relay.coin_ends(now_us, width_us, now_counted);
            }
            LineEvent::BurstEnd(burst) => {
                if bursts.is_full() {
                    // Only the event is lost, which the running total makes up.
                    bursts.pop_front();
                }
                let _ = bursts.push_back(burst);
            }
            LineEvent::Stuck => {
                *stuck = true;
                relay.coin_stuck(now_us);
            }
            LineEvent::Freed => *stuck = false,
        });
    }

    /// Pulses counted since the last call.
    pub fn take_counted(&mut self) -> u32 {
        core::mem::take(&mut self.counted)
    }

    /// The next burst that ended.
    pub fn take_burst(&mut self) -> Option<Burst> {
        self.bursts.pop_front()
    }

    /// Whether the line stays active for longer than any pulse.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Whether a credit pulse may start now: no coin is coming in, passed or owed.
    pub fn is_free(&self, now_us: u64) -> bool {
        self.sampler.is_quiet() && self.relay.is_free(now_us)
    }

    /// Starts a credit pulse; call only when [`CoinLine::is_free`].
    pub fn give_credit_pulse(&mut self, now_us: u64) {
        self.relay.give_credit_pulse(now_us);
    }

    /// Starts a test pulse of the given width and rest after it; call only when [`CoinLine::is_free`].
    pub fn give_test_pulse(&mut self, width_ms: u16, gap_ms: u16, now_us: u64) {
        self.relay.give_test_pulse(width_ms, gap_ms, now_us);
    }

    /// The line's present level as last handed in.
    pub fn level_high(&self) -> bool {
        self.sampler.level_high()
    }

    /// Edges since boot that fit no profile.
    pub fn noise_edges(&self) -> u64 {
        self.noise_before + self.sampler.noise_edges()
    }

    /// The line to the machine.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// When [`CoinLine::advance`] is next due.
    pub fn deadline_us(&self, now_us: u64) -> Option<u64> {
        [self.sampler.deadline_us(), self.relay.deadline_us(now_us)].into_iter().flatten().min()
    }
}
