//! Whether a merchant account's provider is called at all: one that does not answer is not called for a while. Pure.

use crate::Rules;

/// A circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Breaker {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls go through. Counts the unanswered calls in a row.
    Closed { failures: u32 },
    /// Calls are refused until then; the next one after that is a probe.
    Open { until_ms: i64, openings: i32 },
    /// One call is let through to see whether the provider answers again.
    Probing { openings: i32 },
}

impl Default for State {
    fn default() -> Self {
        State::Closed { failures: 0 }
    }
}

/// How a call may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// As usual.
    Free,
    /// As the one that shows whether the provider answers again.
    Probe,
}

impl Breaker {
    /// How a call would begin now; `None` if it may not.
    pub fn entry(&self, rules: &Rules, now_ms: i64) -> Option<Entry> {
        match self.state {
            State::Closed { .. } => Some(Entry::Free),
            State::Open { until_ms, .. } => {
                // A time further off than the longest pause was stored before the clock was set back.
                let waits = (1..=rules.breaker_max_ms).contains(&(until_ms - now_ms));
                (!waits).then_some(Entry::Probe)
            }
            State::Probing { .. } => None,
        }
    }

    /// A call begins, as [`Breaker::entry`] said.
    pub fn began(&mut self, entry: Entry) {
        if let (Entry::Probe, State::Open { openings, .. }) = (entry, self.state) {
            self.state = State::Probing { openings };
        }
    }

    /// The provider answered, even if it refused.
    pub fn answered(&mut self) {
        self.state = State::default();
    }

    /// The provider gave no answer. True if calls are refused from now on and were not before.
    pub fn failed(&mut self, rules: &Rules, now_ms: i64) -> bool {
        let open = |openings: i32| State::Open {
            until_ms: now_ms + Rules::backoff_ms(rules.breaker_first_ms, rules.breaker_max_ms, openings),
            openings,
        };
        match self.state {
            State::Closed { failures } if failures + 1 < rules.breaker_failures => {
                self.state = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                self.state = open(0);
                true
            }
            State::Probing { openings } => {
                self.state = open(openings.saturating_add(1));
                false
            }
            // This call began before calls were refused.
            State::Open { .. } => false,
        }
    }

    /// The probing call ended without a result; the next call may probe.
    pub fn abandoned(&mut self, now_ms: i64) {
        if let State::Probing { openings } = self.state {
            self.state = State::Open { until_ms: now_ms, openings };
        }
    }

    /// Whether calls are refused, or tried one at a time.
    pub fn is_tripped(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { breaker_failures: 3, breaker_first_ms: 1_000, breaker_max_ms: 4_000, ..Rules::default() }
    }

    fn opened(rules: &Rules) -> Breaker {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(rules, 0) && !breaker.failed(rules, 0) && breaker.failed(rules, 0));
        breaker
    }

    #[test]
    fn opens_after_several_calls_without_an_answer_in_a_row() {
        let rules = rules();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed(&rules, 0) && !breaker.failed(&rules, 0));
            breaker.answered();
        }
        assert_eq!(breaker.entry(&rules, 0), Some(Entry::Free));
        let breaker = opened(&rules);
        assert!(breaker.is_tripped());
        assert_eq!(breaker.entry(&rules, 999), None);
        assert_eq!(breaker.entry(&rules, 1_000), Some(Entry::Probe));
    }

    #[test]
    fn lets_one_call_through_and_waits_longer_each_time_it_is_not_answered() {
        let rules = rules();
        let mut breaker = opened(&rules);
        let mut now_ms = 1_000;
        for wait_ms in [2_000, 4_000, 4_000] {
            breaker.began(breaker.entry(&rules, now_ms).unwrap());
            assert_eq!(breaker.entry(&rules, now_ms), None, "one at a time");
            breaker.failed(&rules, now_ms);
            assert_eq!(breaker.entry(&rules, now_ms + wait_ms - 1), None);
            now_ms += wait_ms;
        }
        breaker.began(breaker.entry(&rules, now_ms).unwrap());
        breaker.answered();
        assert_eq!((breaker.entry(&rules, now_ms), breaker.is_tripped()), (Some(Entry::Free), false));
    }

    #[test]
    fn an_answer_to_an_older_call_closes_it_and_an_older_failure_changes_nothing() {
        let rules = rules();
        let mut breaker = opened(&rules);
        let before = breaker;
        assert!(!breaker.failed(&rules, 500));
        assert_eq!(breaker, before);
        breaker.answered();
        assert_eq!(breaker.entry(&rules, 500), Some(Entry::Free));
    }

    #[test]
    fn a_probe_that_is_abandoned_leaves_its_place_to_the_next() {
        let rules = rules();
        let mut breaker = opened(&rules);
        breaker.began(breaker.entry(&rules, 1_000).unwrap());
        breaker.abandoned(1_500);
        assert_eq!(breaker.entry(&rules, 1_500), Some(Entry::Probe));
    }

    #[test]
    fn is_not_open_for_longer_than_the_longest_wait_when_the_clock_is_set_back() {
        let rules = rules();
        let breaker = opened(&rules);
        assert_eq!(breaker.entry(&rules, -3_600_000), Some(Entry::Probe));
    }
}
