//! The simulated machine: it counts pulses on its coin input, if they are as wide and as far apart as it wants them,
//! and says that it runs for a while after each, unless it is faulty.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// A pulse must be at least this wide, and so far from the one before, in microseconds.
const WIDTH_MIN_US: u64 = 20_000;
const GAP_MIN_US: u64 = 20_000;
/// It runs for so long after a pulse, in microseconds.
const RUN_US: u64 = 2_000_000;

/// A machine. Coin and credit outputs are tied to its one coin input.
#[derive(Debug)]
pub struct Machine {
    pulses: u64,
    /// Pulses it did not take: too short, or too close.
    refused: u64,
    active_since_us: Option<u64>,
    ended_us: Option<u64>,
    too_close: bool,
    runs_until_us: u64,
    faulty: bool,
    file: Option<PathBuf>,
}

impl Machine {
    /// A machine whose count is kept in a file, or in memory.
    pub fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let pulses = match &file {
            Some(path) if path.exists() => fs::read_to_string(path)?.trim().parse().unwrap_or(0),
            _ => 0,
        };
        Ok(Self {
            pulses,
            refused: 0,
            active_since_us: None,
            ended_us: None,
            too_close: false,
            runs_until_us: 0,
            faulty: false,
            file,
        })
    }

    /// Its coin input at a time.
    pub fn input(&mut self, active: bool, at_us: u64) {
        match (active, self.active_since_us) {
            (true, None) => {
                self.active_since_us = Some(at_us);
                self.too_close = self.ended_us.is_some_and(|ended_us| at_us.saturating_sub(ended_us) < GAP_MIN_US);
            }
            (false, Some(since_us)) => {
                self.active_since_us = None;
                self.ended_us = Some(at_us);
                if self.too_close || at_us.saturating_sub(since_us) < WIDTH_MIN_US {
                    self.refused += 1;
                } else {
                    self.pulses += 1;
                    if !self.faulty {
                        self.runs_until_us = at_us + RUN_US;
                    }
                    self.keep();
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Makes it take pulses without starting, or work normally again.
    pub fn set_faulty(&mut self, faulty: bool) {
        self.faulty = faulty;
    }

    /// Until when it runs, as its sense output shows.
    pub fn runs_until_us(&self) -> u64 {
        self.runs_until_us
    }

    /// Pulses counted since it was new.
    pub fn pulses(&self) -> u64 {
        self.pulses
    }

    /// Pulses it did not take.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn keep(&self) {
        let Some(path) = &self.file else { return };
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let kept = options.open(path).and_then(|mut file| write!(file, "{}", self.pulses));
        if let Err(error) = kept {
            tracing::warn!(%error, "a virtual machine's count could not be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_pulses_that_are_wide_and_apart() {
        let mut machine = Machine::open(None).unwrap();
        for (active, at_ms) in [(true, 100), (false, 150), (true, 155), (false, 205), (true, 300), (false, 305)] {
            machine.input(active, at_ms * 1000);
        }
        assert_eq!((machine.pulses(), machine.refused()), (1, 2));
    }

    #[test]
    fn runs_after_a_pulse_unless_it_is_faulty() {
        let mut machine = Machine::open(None).unwrap();
        machine.set_faulty(true);
        machine.input(true, 100_000);
        machine.input(false, 150_000);
        assert_eq!((machine.pulses(), machine.runs_until_us()), (1, 0));
        machine.set_faulty(false);
        machine.input(true, 200_000);
        machine.input(false, 250_000);
        assert_eq!((machine.pulses(), machine.runs_until_us()), (2, 250_000 + RUN_US));
    }
}
