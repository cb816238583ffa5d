//! Learns a coin line: listens to it at rest, samples coins, derives a profile, and confirms the pulses given.
//!
//! A state machine without pins: edges, button presses, the sense input and the time are handed in, and
//! [`Learner::step`] says what to do next. During learning, coins still reach the machine and the totals, read by the
//! profile given with [`Step::Line`]: first a wide one for the resting level found, then the derived one. Nothing
//! learned is in force before [`Step::Stored`] is written.

use super::{
    meter::{MeasurementFlaw, Meter, SOLID_US},
    trial::{Confirmer, TrialStep, Trials},
};
use protocol::messages::{CoinProfile, LearnFailure, LearnStage, Learned, Spread};

/// How long the line must rest before the first coin, in microseconds.
pub const QUIET_US: u64 = 3_000_000;
/// Edges that may come while it rests: noise.
pub const QUIET_EDGES_MAX: u16 = 60;
/// How long the line may take to come to rest, in microseconds.
pub const QUIET_MAX_US: u64 = 60_000_000;
/// The next coin must come within this long, in microseconds.
pub const COIN_WAIT_US: u64 = 60_000_000;

/// Parameters of learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Sequence of the command; 0 for the button.
    pub command: u32,
    /// Coins to sample.
    pub coins: u8,
    /// Who confirms; `None` for nobody.
    pub confirmer: Option<Confirmer>,
    /// Pulses that make the machine give one credit; 0 for those of the smallest coin.
    pub test_pulses: u8,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something happens or is due.
    Wait,
    /// Read the line by this profile from now on.
    Line(CoinProfile),
    /// Write the count of test pulses, then call [`Learner::saved`].
    Save,
    /// Give a test pulse.
    Pulse {
        /// The pulse width, in milliseconds.
        width_ms: u16,
        /// How long to rest after it, in milliseconds.
        gap_ms: u16,
    },
    /// Learned: write this profile; it is in force once it is written.
    Stored(CoinProfile),
    /// Learning failed.
    Failed(LearnFailure),
}

/// The line before the first coin.
#[derive(Debug, Clone, Copy)]
struct Rest {
    began_us: u64,
    high: bool,
    raw_high: bool,
    raw_since_us: u64,
    /// Since when the line rests, and the edges since then.
    since_us: u64,
    edges: u16,
}

impl Rest {
    fn edge(&mut self, at_us: u64, level_high: bool) {
        self.advance(at_us);
        if level_high != self.raw_high {
            self.raw_high = level_high;
            self.raw_since_us = at_us;
            self.edges = self.edges.saturating_add(1);
        }
    }

    fn advance(&mut self, now_us: u64) {
        if self.raw_high != self.high && now_us >= self.raw_since_us + SOLID_US {
            // The line changed: the rest starts again, at the other level.
            (self.high, self.since_us, self.edges) = (self.raw_high, self.raw_since_us, 0);
        }
        if self.edges > QUIET_EDGES_MAX {
            (self.since_us, self.edges) = (now_us, 0);
        }
    }

    fn is_over(&self, now_us: u64) -> bool {
        self.raw_high == self.high && now_us >= self.since_us + QUIET_US
    }

    fn deadline_us(&self) -> u64 {
        let next_us = match self.raw_high == self.high {
            true => self.since_us + QUIET_US,
            false => self.raw_since_us + SOLID_US,
        };
        next_us.min(self.began_us + QUIET_MAX_US)
    }
}

#[derive(Debug, Clone)]
enum Phase {
    Quiet(Rest),
    Sampling { coin_us: u64 },
    Confirming { profile: CoinProfile, trials: Trials },
}

/// A learning in progress.
#[derive(Debug, Clone)]
pub struct Learner {
    ask: Ask,
    /// The profile from before.
    before: CoinProfile,
    phase: Phase,
    meter: Meter,
    quiet_edges: u16,
    running: bool,
}

impl Learner {
    /// Begins, with the line's present level, the profile in force, and whether the machine runs.
    pub fn new(ask: Ask, before: &CoinProfile, level_high: bool, running: bool, now_us: u64) -> Self {
        let rest = Rest {
            began_us: now_us,
            high: level_high,
            raw_high: level_high,
            raw_since_us: now_us,
            since_us: now_us,
            edges: 0,
        };
        Self {
            ask,
            before: *before,
            phase: Phase::Quiet(rest),
            meter: Meter::new(level_high, now_us),
            quiet_edges: 0,
            running,
        }
    }

    /// Takes an edge of the coin line.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        match &mut self.phase {
            Phase::Quiet(rest) => rest.edge(at_us, level_high),
            Phase::Sampling { .. } => self.meter.edge(at_us, level_high),
            Phase::Confirming { .. } => {}
        }
    }

    /// The button was pressed.
    pub fn pressed(&mut self, now_us: u64) {
        if let Phase::Confirming { trials, .. } = &mut self.phase {
            trials.pressed(now_us);
        }
    }

    /// The machine runs, or no longer.
    pub fn sense(&mut self, running: bool) {
        self.running = running;
        if let Phase::Confirming { trials, .. } = &mut self.phase {
            trials.sense(running);
        }
    }

    /// The count of test pulses is in flash.
    pub fn saved(&mut self) {
        if let Phase::Confirming { trials, .. } = &mut self.phase {
            trials.saved();
        }
    }

    /// A test pulse was given completely.
    pub fn pulse_given(&mut self) {
        if let Phase::Confirming { trials, .. } = &mut self.phase {
            trials.pulse_given();
        }
    }

    /// A coin or a credit goes to the machine.
    pub fn interrupt(&mut self) {
        if let Phase::Confirming { trials, .. } = &mut self.phase {
            trials.interrupt();
        }
    }

    /// What comes next; `free` says whether the line to the machine is free for a test pulse. Call again at once after
    /// anything but [`Step::Wait`], and drop the learner after [`Step::Stored`] and [`Step::Failed`].
    pub fn step(&mut self, free: bool, now_us: u64) -> Step {
        match &mut self.phase {
            Phase::Quiet(rest) => {
                rest.advance(now_us);
                if rest.is_over(now_us) {
                    self.quiet_edges = rest.edges;
                    self.meter = Meter::new(rest.high, now_us);
                    let line = wide_profile(rest.high, &self.before);
                    self.phase = Phase::Sampling { coin_us: now_us };
                    return Step::Line(line);
                }
                match now_us >= rest.began_us + QUIET_MAX_US {
                    true => Step::Failed(LearnFailure::Noise),
                    false => Step::Wait,
                }
            }
            Phase::Sampling { .. } => self.sample(now_us),
            Phase::Confirming { profile, trials } => match trials.step(free, now_us) {
                TrialStep::Wait => Step::Wait,
                TrialStep::Save => Step::Save,
                TrialStep::Pulse { width_ms, gap_ms } => Step::Pulse { width_ms, gap_ms },
                TrialStep::Confirmed => {
                    let (credit_width_ms, credit_gap_ms) =
                        trials.pair_ms().unwrap_or((profile.credit_width_ms, profile.credit_gap_ms));
                    Step::Stored(CoinProfile { credit_width_ms, credit_gap_ms, ..*profile })
                }
                TrialStep::Unconfirmed => Step::Failed(LearnFailure::Unconfirmed),
            },
        }
    }

    fn sample(&mut self, now_us: u64) -> Step {
        let coins = self.meter.coins();
        self.meter.advance(now_us);
        let Phase::Sampling { coin_us } = &mut self.phase else { return Step::Wait };
        if self.meter.coins() != coins {
            *coin_us = now_us;
        }
        if self.meter.is_stuck(now_us) {
            return Step::Failed(LearnFailure::LineStuck);
        }
        if self.meter.is_flooded() {
            return Step::Failed(LearnFailure::Noise);
        }
        if self.meter.coins() >= self.ask.coins {
            return self.derive(now_us);
        }
        if now_us < *coin_us + COIN_WAIT_US {
            return Step::Wait;
        }
        // A line that is always active looks like one at rest, until coins fail to change it.
        let silent = self.meter.widths_ms().is_none();
        Step::Failed(match silent && self.meter.idle_high() != self.before.idle_high {
            true => LearnFailure::LineStuck,
            false => LearnFailure::NoCoins,
        })
    }

    fn derive(&mut self, now_us: u64) -> Step {
        let profile = match self.meter.profile() {
            Ok(profile) => profile,
            Err(MeasurementFlaw::Uneven) => return Step::Failed(LearnFailure::Uneven),
            Err(MeasurementFlaw::Noise) => return Step::Failed(LearnFailure::Noise),
        };
        let Some(confirmer) = self.ask.confirmer else { return Step::Stored(profile) };
        let pulses = match self.ask.test_pulses {
            0 => self.meter.coin_pulses().map_or(1, |pulses| pulses.min),
            pulses => u16::from(pulses),
        };
        let pulses = pulses.min(u16::from(protocol::limits::LEARN_TEST_PULSES_MAX));
        let trials = Trials::new(confirmer, pulses, &profile, self.running, now_us);
        self.phase = Phase::Confirming { profile, trials };
        Step::Line(profile)
    }

    /// When [`Learner::step`] is next due, if nothing happens before.
    pub fn deadline_us(&self) -> u64 {
        match &self.phase {
            Phase::Quiet(rest) => rest.deadline_us(),
            Phase::Sampling { coin_us } => self.meter.deadline_us().unwrap_or(u64::MAX).min(coin_us + COIN_WAIT_US),
            Phase::Confirming { trials, .. } => trials.deadline_us(),
        }
    }

    /// Whether the line shall be left alone: no coin shall come.
    pub fn wants_rest(&self) -> bool {
        matches!(self.phase, Phase::Quiet(_))
    }

    /// Whether test pulses are tried: no sale shall begin.
    pub fn is_confirming(&self) -> bool {
        matches!(self.phase, Phase::Confirming { .. })
    }

    /// Whether a coin is being read, or test pulses are given.
    pub fn is_busy(&self) -> bool {
        match &self.phase {
            Phase::Quiet(_) => false,
            Phase::Sampling { .. } => self.meter.is_busy(),
            Phase::Confirming { trials, .. } => !trials.awaits_press(),
        }
    }

    /// What is asked for.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Its progress, and what it measured.
    pub fn learned(&self) -> Learned {
        let (stage, profile, test_pulses) = match &self.phase {
            Phase::Quiet(_) => (LearnStage::Quiet, None, 0),
            Phase::Sampling { .. } => (LearnStage::Sampling, None, 0),
            Phase::Confirming { profile, trials } => {
                let (credit_width_ms, credit_gap_ms) =
                    trials.pair_ms().unwrap_or((profile.credit_width_ms, profile.credit_gap_ms));
                let profile = CoinProfile { credit_width_ms, credit_gap_ms, ..*profile };
                (LearnStage::Confirming, Some(profile), trials.test_pulses())
            }
        };
        // Medians cost some sorting: only once all is sampled.
        let sampled = |of: fn(&Meter) -> Option<Spread>| {
            if stage == LearnStage::Confirming { of(&self.meter) } else { None }
        };
        Learned {
            stage,
            command: self.ask.command,
            coins: self.meter.coins(),
            coins_asked: self.ask.coins,
            failure: None,
            profile,
            widths_ms: sampled(Meter::widths_ms),
            gaps_ms: sampled(Meter::gaps_ms),
            coin_pulses: sampled(Meter::coin_pulses),
            bounce_us: self.meter.bounce_us(),
            noise_edges: self.quiet_edges.saturating_add(self.meter.noise_edges()),
            test_pulses,
            confirmed: None,
        }
    }

    /// The final result: as [`Learner::learned`], with all measurements and the stored `profile`.
    pub fn stored(&self, profile: &CoinProfile) -> Learned {
        Learned {
            stage: LearnStage::Stored,
            profile: Some(*profile),
            confirmed: Some(self.is_confirming()),
            ..self.measured()
        }
    }

    /// The final result: failed.
    pub fn failed(&self, failure: LearnFailure) -> Learned {
        let profile = match &self.phase {
            Phase::Confirming { profile, .. } => Some(*profile),
            Phase::Quiet(_) | Phase::Sampling { .. } => None,
        };
        Learned { stage: LearnStage::Failed, failure: Some(failure), profile, ..self.measured() }
    }

    fn measured(&self) -> Learned {
        Learned {
            widths_ms: self.meter.widths_ms(),
            gaps_ms: self.meter.gaps_ms(),
            coin_pulses: self.meter.coin_pulses(),
            ..self.learned()
        }
    }
}

/// The profile for counting and relaying coins while they are sampled, matching what the meter reads. Owed coin pulses
/// are given as before.
fn wide_profile(idle_high: bool, before: &CoinProfile) -> CoinProfile {
    CoinProfile { idle_high, width_min_ms: 10, width_max_ms: 1_000, gap_min_ms: 10, burst_end_ms: 1_000, ..*before }
}
