//! Confirms the pulses given: tries pairs of width and gap on the machine, the shortest first, and keeps the first that
//! makes it credit each time.
//!
//! A person at the button presses once for each credit seen: one burst asks for [`TIMES`] credits, so that the gap is
//! tried too. A sense input only says that the machine runs: there the machine is started [`TIMES`] times, and with
//! machines that run on a single pulse only the width is tried.
//!
//! Test pulses are counted before they are given. A credit or a coin that comes in between aborts a burst; the burst is
//! restarted afterwards.

use protocol::messages::CoinProfile;

/// How many times in a row a pair must make the machine give credit.
pub const TIMES: u8 = 3;
/// Test pulses of one learning, at most.
pub const TEST_PULSES_MAX: u16 = 360;
/// Confirming takes this long at most, in microseconds.
pub const TRIALS_MAX_US: u64 = 1_800_000_000;
/// A person has this long after a burst to press, in microseconds.
pub const PRESS_WINDOW_US: u64 = 15_000_000;
/// After the last expected press, how long to wait for one more, which would show that the machine credits too much; in
/// microseconds.
pub const PRESS_REST_US: u64 = 3_000_000;
/// The sense input must answer within this long after the last pulse, in microseconds.
pub const SENSE_WINDOW_US: u64 = 5_000_000;

const PAIRS: usize = 12;
/// Widths of 25, 50, 100 and 250 ms with gaps of 50, 100 and 500 ms, the shortest together first; in milliseconds.
const GRID_MS: [(u16, u16); PAIRS] = [
    (25, 50),
    (50, 50),
    (25, 100),
    (50, 100),
    (100, 50),
    (100, 100),
    (250, 50),
    (250, 100),
    (25, 500),
    (50, 500),
    (100, 500),
    (250, 500),
];
/// The widths alone, where no gap can be tried.
const WIDTHS_MS: [u16; 4] = [25, 50, 100, 250];

/// Who says that the machine credited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmer {
    /// The sense input.
    Sense,
    /// A person, by the button.
    Person,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialStep {
    /// Nothing until something happens or is due.
    Wait,
    /// Write the count of test pulses, then call [`Trials::saved`].
    Save,
    /// Give a pulse.
    Pulse {
        /// How wide, in milliseconds.
        width_ms: u16,
        /// How long to rest after it, in milliseconds.
        gap_ms: u16,
    },
    /// The pair on trial makes the machine credit.
    Confirmed,
    /// No pair does.
    Unconfirmed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Resting,
    Saving,
    Pulsing { given: u16 },
    Watching { since_us: u64 },
}

/// The trials.
#[derive(Debug, Clone)]
pub struct Trials {
    confirmer: Confirmer,
    /// Pulses of one credit.
    pulses: u16,
    learned_gap_ms: u16,
    pair: usize,
    /// Starts of the machine seen with this pair.
    round: u8,
    stage: Stage,
    presses: u8,
    pressed_us: u64,
    running: bool,
    sensed: bool,
    counted: u16,
    ends_us: u64,
}

impl Trials {
    /// Begins with the shortest pair. `pulses` make one credit; `running` says whether the machine runs already.
    pub fn new(confirmer: Confirmer, pulses: u16, profile: &CoinProfile, running: bool, now_us: u64) -> Self {
        Self {
            confirmer,
            pulses: pulses.max(1),
            learned_gap_ms: profile.credit_gap_ms,
            pair: 0,
            round: 0,
            stage: Stage::Resting,
            presses: 0,
            pressed_us: 0,
            running,
            sensed: false,
            counted: 0,
            ends_us: now_us.saturating_add(TRIALS_MAX_US),
        }
    }

    /// Width and gap on trial, in milliseconds; `None` past the last pair.
    pub fn pair_ms(&self) -> Option<(u16, u16)> {
        match self.confirmer {
            Confirmer::Sense if self.pulses == 1 => WIDTHS_MS.get(self.pair).map(|width| (*width, self.learned_gap_ms)),
            Confirmer::Sense | Confirmer::Person => GRID_MS.get(self.pair).copied(),
        }
    }

    /// Test pulses so far, those about to be given included.
    pub fn test_pulses(&self) -> u16 {
        self.counted
    }

    /// Whether a person shall press now.
    pub fn awaits_press(&self) -> bool {
        self.confirmer == Confirmer::Person && matches!(self.stage, Stage::Watching { .. })
    }

    /// The button was pressed.
    pub fn pressed(&mut self, now_us: u64) {
        if matches!(self.stage, Stage::Pulsing { .. } | Stage::Watching { .. }) {
            self.presses = self.presses.saturating_add(1);
            self.pressed_us = now_us;
        }
    }

    /// The machine runs, or no longer.
    pub fn sense(&mut self, running: bool) {
        self.running = running;
        self.sensed |= running;
    }

    /// The count of test pulses is in flash.
    pub fn saved(&mut self) {
        if self.stage == Stage::Saving {
            (self.presses, self.sensed) = (0, false);
            self.stage = Stage::Pulsing { given: 0 };
        }
    }

    /// A test pulse was given whole.
    pub fn pulse_given(&mut self) {
        if let Stage::Pulsing { given } = &mut self.stage {
            *given = given.saturating_add(1);
        }
    }

    /// Something else credits the machine, so this burst's result is meaningless.
    pub fn interrupt(&mut self) {
        self.stage = Stage::Resting;
    }

    fn burst(&self) -> u16 {
        match self.confirmer {
            Confirmer::Sense => self.pulses,
            Confirmer::Person => self.pulses.saturating_mul(u16::from(TIMES)),
        }
    }

    fn next_pair(&mut self) -> TrialStep {
        self.pair += 1;
        self.round = 0;
        self.stage = Stage::Resting;
        TrialStep::Wait
    }

    /// What comes next, the line being `free` for a pulse or not. Call again at once after anything but `Wait`.
    pub fn step(&mut self, free: bool, now_us: u64) -> TrialStep {
        let Some((width_ms, gap_ms)) = self.pair_ms().filter(|_| now_us < self.ends_us) else {
            return TrialStep::Unconfirmed;
        };
        match self.stage {
            Stage::Resting if !free || (self.confirmer == Confirmer::Sense && self.running) => TrialStep::Wait,
            Stage::Resting if self.counted.saturating_add(self.burst()) > TEST_PULSES_MAX => TrialStep::Unconfirmed,
            Stage::Resting => {
                self.counted += self.burst();
                self.stage = Stage::Saving;
                TrialStep::Save
            }
            Stage::Saving => TrialStep::Wait,
            Stage::Pulsing { given } if given >= self.burst() => {
                self.stage = Stage::Watching { since_us: now_us };
                TrialStep::Wait
            }
            Stage::Pulsing { .. } if free => TrialStep::Pulse { width_ms, gap_ms },
            Stage::Pulsing { .. } => TrialStep::Wait,
            Stage::Watching { since_us } => self.watch(since_us, now_us),
        }
    }

    fn watch(&mut self, since_us: u64, now_us: u64) -> TrialStep {
        match self.confirmer {
            Confirmer::Sense if self.sensed => {
                self.round += 1;
                self.stage = Stage::Resting;
                if self.round >= TIMES { TrialStep::Confirmed } else { TrialStep::Wait }
            }
            Confirmer::Sense if now_us >= since_us + SENSE_WINDOW_US => self.next_pair(),
            Confirmer::Person if self.presses > TIMES => self.next_pair(),
            Confirmer::Person if self.presses == TIMES => match now_us >= self.rested_us(since_us) {
                true => TrialStep::Confirmed,
                false => TrialStep::Wait,
            },
            Confirmer::Person if now_us >= since_us + PRESS_WINDOW_US => self.next_pair(),
            Confirmer::Sense | Confirmer::Person => TrialStep::Wait,
        }
    }

    fn rested_us(&self, since_us: u64) -> u64 {
        self.pressed_us.max(since_us) + PRESS_REST_US
    }

    /// When [`Trials::step`] is next due, if nothing happens before.
    pub fn deadline_us(&self) -> u64 {
        let due_us = match (self.stage, self.confirmer) {
            (Stage::Watching { since_us }, Confirmer::Sense) => since_us + SENSE_WINDOW_US,
            (Stage::Watching { since_us }, Confirmer::Person) if self.presses == TIMES => self.rested_us(since_us),
            (Stage::Watching { since_us }, Confirmer::Person) => since_us + PRESS_WINDOW_US,
            (Stage::Resting | Stage::Saving | Stage::Pulsing { .. }, _) => u64::MAX,
        };
        due_us.min(self.ends_us)
    }
}
