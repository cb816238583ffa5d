//! The process's own time: a pure function of two clock readings.

/// If the wall clock is ahead by more than this, it was obviously wrong before (a computer that booted in 1970 and got
/// the time later), and the process's time is stepped to it.
const STEP_THRESHOLD_US: i64 = 24 * 3_600_000_000;

/// Smaller differences are slewed: the process's time runs faster or slower by one part in this many until both agree.
const SLEW_DIVISOR: i64 = 10;

/// Time that never goes back. It runs on a monotonic clock (the time since the machine booted) and is slewed towards
/// the wall clock: if the wall clock is set by an hour, waits are a tenth shorter or longer for ten hours instead of an
/// hour longer at once.
#[derive(Debug, Clone)]
pub struct MonotonicClock {
    now_us: i64,
    elapsed_us: i64,
    /// Elapsed time that was too short for a correction of a whole microsecond.
    rest_us: i64,
    followed_us: Option<i64>,
}

impl MonotonicClock {
    /// Starts at the wall clock's time.
    pub fn new(wall_us: i64, elapsed_us: i64) -> Self {
        Self { now_us: wall_us, elapsed_us, rest_us: 0, followed_us: None }
    }

    /// The time to which it was last stepped, in unix milliseconds.
    pub fn stepped_ms(&self) -> Option<i64> {
        self.followed_us.map(|us| us.div_euclid(1000))
    }

    /// The time now, in unix microseconds. `elapsed_us` comes from a monotonic clock.
    pub fn at(&mut self, wall_us: i64, elapsed_us: i64) -> i64 {
        let passed_us = elapsed_us.saturating_sub(self.elapsed_us).max(0);
        self.elapsed_us = self.elapsed_us.max(elapsed_us);
        self.now_us = self.now_us.saturating_add(passed_us);
        let ahead_us = wall_us.saturating_sub(self.now_us);
        if ahead_us > STEP_THRESHOLD_US {
            self.now_us = wall_us;
            self.followed_us = Some(wall_us);
            return self.now_us;
        }
        let counted_us = self.rest_us.saturating_add(passed_us);
        let most_us = counted_us / SLEW_DIVISOR;
        self.rest_us = counted_us % SLEW_DIVISOR;
        // Slower too: at most by what has passed since the last reading, so that it never goes back.
        self.now_us = self.now_us.saturating_add(ahead_us.clamp(-most_us.min(passed_us), most_us));
        self.now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * S;
    const START: i64 = 1_800_000_000 * S;

    /// Lets time pass in small steps, with a wall clock that is off by the given time.
    fn pass(monotonic: &mut MonotonicClock, from_us: i64, for_us: i64, off_us: i64) -> i64 {
        let mut last_us = i64::MIN;
        for elapsed_us in (from_us..=from_us + for_us).step_by(7_777_777) {
            let now_us = monotonic.at(START + elapsed_us + off_us, elapsed_us);
            assert!(now_us >= last_us, "time went back");
            last_us = now_us;
        }
        monotonic.at(START + from_us + for_us + off_us, from_us + for_us)
    }

    #[test]
    fn a_wall_clock_that_is_set_back_is_not_followed_back() {
        let mut monotonic = MonotonicClock::new(START, 0);
        assert_eq!(pass(&mut monotonic, 0, 60 * S, 0), START + 60 * S);
        let now_us = pass(&mut monotonic, 60 * S, 10 * S, -HOUR);
        assert_eq!(now_us, START + 69 * S, "waits get a tenth longer, not an hour");
        let now_us = pass(&mut monotonic, 70 * S, 11 * HOUR, -HOUR);
        assert_eq!(now_us, START + 70 * S + 10 * HOUR, "in the end both agree");
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_is_followed_slowly() {
        let mut monotonic = MonotonicClock::new(START, 0);
        assert_eq!(pass(&mut monotonic, 0, 10 * S, HOUR), START + 11 * S);
        assert_eq!(pass(&mut monotonic, 10 * S, 11 * HOUR, HOUR), START + 10 * S + 12 * HOUR);
    }

    #[test]
    fn a_machine_that_started_in_1970_takes_the_right_time_at_once_and_keeps_it() {
        let mut monotonic = MonotonicClock::new(5 * S, 0);
        assert_eq!(monotonic.stepped_ms(), None);
        assert_eq!(monotonic.at(START, 10 * S), START);
        assert_eq!(monotonic.stepped_ms(), Some(START / 1000));
        assert_eq!(monotonic.at(5 * S, 20 * S), START + 9 * S, "and does not go back to 1970");
    }

    #[test]
    fn reading_often_or_seldom_makes_no_difference() {
        let mut often = MonotonicClock::new(START, 0);
        for elapsed_us in 0..S {
            often.at(START + HOUR + elapsed_us, elapsed_us);
        }
        assert_eq!(often.at(START + HOUR + S, S), START + S + S / 10);
        let mut seldom = MonotonicClock::new(START, 0);
        assert_eq!(seldom.at(START + HOUR + S, S), START + S + S / 10);
    }

    #[test]
    fn an_elapsed_time_that_goes_back_is_no_reason_to_go_back() {
        let mut monotonic = MonotonicClock::new(START, 100 * S);
        let now_us = monotonic.at(START + S, 101 * S);
        assert_eq!(monotonic.at(START + S, 50 * S), now_us);
        assert!(monotonic.at(START + 2 * S, 102 * S) > now_us);
    }
}
