//! The coin line: [`sampler`] reads it once it has [settled](settling), [`relay`] passes it on to the machine,
//! [`driver`] gives credits in between; [`learner`] learns how it behaves ([`meter`]) and which pulses the machine
//! accepts ([`trial`]).

pub mod driver;
pub mod learner;
pub mod meter;
pub mod relay;
pub mod sampler;
pub mod settling;
pub mod trial;

use heapless::Deque;
use protocol::messages::CoinProfile;
use relay::{Relay, RelayEvent};
use sampler::{Burst, LineEvent, Sampler};
use settling::Settling;

/// How many finished bursts can wait for the core, which takes them at each call.
const BURSTS_MAX: usize = 4;

/// Sampler and relay together.
#[derive(Debug, Clone)]
pub struct CoinLine {
    profile: CoinProfile,
    /// Until it ends, no edge reaches the sampler.
    settling: Option<Settling>,
    sampler: Sampler,
    relay: Relay,
    /// The line was active when reading began. Such a pulse is not passed on directly, because it may be a wrongly read
    /// line and not a coin. If it proves to be a coin, it is owed.
    missed: bool,
    counted: u32,
    bursts: Deque<Burst, BURSTS_MAX>,
    stuck: bool,
    noise_before: u64,
}

impl CoinLine {
    /// Starts at power-on, with the coin line's current level. Nothing is counted for `settle_us`.
    pub fn new(profile: &CoinProfile, settle_us: u64, level_high: bool, now_us: u64) -> Self {
        Self {
            profile: *profile,
            settling: Some(Settling::new(settle_us, level_high, now_us)),
            missed: level_high != profile.idle_high,
            sampler: Sampler::new(profile, level_high, now_us),
            relay: Relay::new(profile),
            counted: 0,
            bursts: Deque::new(),
            stuck: false,
            noise_before: 0,
        }
    }

    /// Takes a new profile. A pulse in progress is read again by it, and continues to the machine if it was being
    /// passed. Counts and owed pulses are kept.
    pub fn set_profile(&mut self, profile: &CoinProfile, now_us: u64) {
        if *profile == self.profile {
            return;
        }
        self.profile = *profile;
        self.stuck = false;
        if self.settling.is_some() {
            self.relay.set_profile(profile);
            return;
        }
        self.noise_before += self.sampler.noise_edges();
        self.sampler = self.sampler.restarted(profile);
        self.missed = !self.sampler.rests();
        if !self.missed {
            self.relay.coin_stuck(now_us);
        }
        self.relay.set_profile(profile);
    }

    /// Takes another time to settle, counted from power-on; it changes nothing once that is over.
    pub fn set_settle_us(&mut self, settle_us: u64) {
        if let Some(settling) = self.settling.as_mut() {
            settling.set_duration(settle_us);
        }
    }

    /// The acceptor had power before this module started, so its line can be trusted from the start.
    pub fn skip_settling(&mut self) {
        if let Some(settling) = self.settling.take() {
            self.start_reading(&settling, settling.level_since_us());
        }
    }

    /// Whether the line is not counted yet, because it is still settling after power-on.
    pub fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// Reads the line from now on, beginning with the level it has.
    fn start_reading(&mut self, settling: &Settling, now_us: u64) {
        self.noise_before += u64::from(settling.edges());
        self.sampler = Sampler::new(&self.profile, settling.level_high(), now_us);
        self.missed = !self.sampler.rests();
        self.stuck = false;
    }

    /// Lets the line settle up to `now_us`.
    fn settle(&mut self, now_us: u64) {
        let Some(settling) = self.settling else { return };
        if let Some(ended_us) = settling.ends_us(&self.profile).filter(|ends_us| now_us >= *ends_us) {
            self.settling = None;
            self.start_reading(&settling, ended_us);
        } else {
            self.stuck = settling.stuck_us(&self.profile).is_some_and(|stuck_us| now_us >= stuck_us);
        }
    }

    /// Takes an edge of the coin line; the time of processing is the edge's own.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        self.settle(at_us);
        if let Some(settling) = self.settling.as_mut() {
            settling.edge(at_us, level_high);
            return self.settle(at_us);
        }
        self.run(at_us, |sampler, event| sampler.edge(at_us, level_high, event));
    }

    /// Lets time pass; reports when a credit pulse was given completely.
    pub fn advance(&mut self, now_us: u64) -> Option<RelayEvent> {
        self.settle(now_us);
        if self.settling.is_none() {
            self.run(now_us, |sampler, event| sampler.advance(now_us, event));
        }
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
                    // Only the event is lost; the running total still includes it.
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

    /// Whether a credit pulse may start now: the line has settled, and no coin is coming in, passed or owed.
    pub fn is_free(&self, now_us: u64) -> bool {
        self.settling.is_none() && self.sampler.is_quiet() && self.relay.is_free(now_us)
    }

    /// Starts a credit pulse; call only when [`CoinLine::is_free`].
    pub fn give_credit_pulse(&mut self, now_us: u64) {
        self.relay.give_credit_pulse(now_us);
    }

    /// Starts a test pulse of the given width and rest after it; call only when [`CoinLine::is_free`].
    pub fn give_test_pulse(&mut self, width_ms: u16, gap_ms: u16, now_us: u64) {
        self.relay.give_test_pulse(width_ms, gap_ms, now_us);
    }

    /// The line's level as last handed in.
    pub fn level_high(&self) -> bool {
        self.settling.map_or(self.sampler.level_high(), |settling| settling.level_high())
    }

    /// Edges since boot that fit no profile, or came before the line had settled.
    pub fn noise_edges(&self) -> u64 {
        let unsettled = self.settling.map_or(0, |settling| settling.edges());
        self.noise_before + self.sampler.noise_edges() + u64::from(unsettled)
    }

    /// The line to the machine.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// When [`CoinLine::advance`] is next due.
    pub fn deadline_us(&self, now_us: u64) -> Option<u64> {
        let line_us = match &self.settling {
            Some(settling) => {
                let stuck_us = settling.stuck_us(&self.profile).filter(|_| !self.stuck);
                settling.ends_us(&self.profile).or(stuck_us)
            }
            None => self.sampler.deadline_us(),
        };
        [line_us, self.relay.deadline_us(now_us)].into_iter().flatten().min()
    }
}
