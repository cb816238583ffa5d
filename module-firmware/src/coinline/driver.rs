//! One credit on its way into the machine: pulses, each journaled, then confirmed by the machine's sense input where it
//! is wired.
//!
//! The driver only counts and judges; the pulses' timing is the relay's, the record the journal's.

/// A credit that cannot continue (endless coins, a stuck line) is given up after this long, in microseconds.
pub const STALL_MAX_US: u64 = 30_000_000;
/// The machine's sense input must answer within this long after the last pulse, in microseconds.
pub const SENSE_TIMEOUT_US: u64 = 5_000_000;

/// What comes next for a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Give a pulse now.
    Pulse,
    /// Nothing until the given uptime, or until something happens.
    Wait {
        /// When to ask again at the latest, in microseconds.
        until_us: u64,
    },
    /// All pulses given, and the machine runs, if a sense input can tell.
    Done,
    /// All pulses given, but the machine did not start.
    Silent,
    /// It could not continue for [`STALL_MAX_US`].
    Stalled,
}

/// A credit being given.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    sequence: u32,
    asked: u16,
    given: u16,
    needs_sense: bool,
    sensed: bool,
    /// The last time of any progress.
    moved_us: u64,
}

impl Driver {
    /// A credit of `asked` pulses, none given yet.
    pub fn new(sequence: u32, asked: u16, needs_sense: bool, now_us: u64) -> Self {
        Self { sequence, asked, given: 0, needs_sense, sensed: false, moved_us: now_us }
    }

    /// The command's sequence.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Pulses given so far.
    pub fn given(&self) -> u16 {
        self.given
    }

    /// A pulse was given completely.
    pub fn pulse_given(&mut self, now_us: u64) {
        self.given += 1;
        self.moved_us = now_us;
    }

    /// The machine says that it runs.
    pub fn sensed(&mut self) {
        self.sensed = true;
    }

    /// What comes next, the line being `free` for a pulse or not.
    pub fn step(&self, free: bool, now_us: u64) -> Step {
        if self.given < self.asked {
            let until_us = self.moved_us + STALL_MAX_US;
            return match free {
                true => Step::Pulse,
                false if now_us >= until_us => Step::Stalled,
                false => Step::Wait { until_us },
            };
        }
        let until_us = self.moved_us + SENSE_TIMEOUT_US;
        match self.needs_sense && !self.sensed {
            false => Step::Done,
            true if now_us >= until_us => Step::Silent,
            true => Step::Wait { until_us },
        }
    }
}
