//! The cap on credit pulses per minute.
//!
//! A credit is held back before its first pulse, never in the middle. The minute slides in steps: the cap holds over
//! any minute, and pulses are freed at most one step later than a minute after they began.

/// Steps of the minute.
const STEPS: usize = 12;
/// One step, in microseconds.
const STEP_US: u64 = 60_000_000 / STEPS as u64;

/// Credit pulses begun lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Pulses begun in the newest step, and in those before it: one more step than a minute has, as the oldest is not
    /// over yet.
    steps: [u32; STEPS + 1],
    newest: u64,
}

impl Budget {
    fn at(&self, now_us: u64) -> Self {
        let now = (now_us / STEP_US).max(self.newest);
        let mut steps = [0; STEPS + 1];
        let passed = usize::try_from(now - self.newest).unwrap_or(usize::MAX).min(steps.len());
        for (to, from) in steps[passed..].iter_mut().zip(self.steps) {
            *to = from;
        }
        Self { steps, newest: now }
    }

    /// Whether `pulses` may begin now under a cap of `cap` a minute.
    pub fn has_room(&self, pulses: u16, cap: u16, now_us: u64) -> bool {
        let spent: u32 = self.at(now_us).steps.iter().sum();
        spent.saturating_add(u32::from(pulses)) <= u32::from(cap)
    }

    /// Records that `pulses` begin now.
    pub fn spend(&mut self, pulses: u16, now_us: u64) {
        *self = self.at(now_us);
        self.steps[0] = self.steps[0].saturating_add(u32::from(pulses));
    }

    /// When there may be more room than now.
    pub fn next_us(&self, now_us: u64) -> u64 {
        (now_us / STEP_US + 1) * STEP_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_than_the_cap_and_no_pulse_is_held_for_ever() {
        let mut budget = Budget::default();
        let mut begun = std::vec::Vec::new();
        let mut now_us = 1_234_567;
        while now_us < 600_000_000 {
            if budget.has_room(3, 10, now_us) {
                budget.spend(3, now_us);
                begun.push(now_us);
            } else {
                let next_us = budget.next_us(now_us);
                assert!(next_us > now_us);
                now_us = next_us - 700_000;
            }
            now_us += 700_000;
        }
        for at_us in &begun {
            let minute = begun.iter().filter(|other| (*at_us..at_us + 60_000_000).contains(other)).count();
            assert!(minute <= 3, "{minute} credits of 3 pulses in a minute");
        }
        assert!(begun.len() >= 3 * 8, "{} credits in ten minutes", begun.len());
        assert!(!budget.has_room(11, 10, u64::MAX), "larger than the cap");
        assert!(budget.has_room(10, 10, u64::MAX));
    }
}
