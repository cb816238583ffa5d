//! The button: a short press says "yes, I saw a credit", a long one begins or ends learning.

/// Contacts bounce for less than this after each change, in microseconds.
const DEBOUNCE_US: u64 = 30_000;
/// A press this long, in microseconds, is a long one. It takes effect while the button is still held.
pub const LONG_US: u64 = 3_000_000;

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// Pressed and released.
    Short,
    /// Held for [`LONG_US`].
    Long,
}

/// The button's state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Button {
    down_us: Option<u64>,
    /// The long press was reported already.
    reported: bool,
    changed_us: u64,
}

impl Button {
    /// Takes a change. A short press is reported when the button is released.
    pub fn change(&mut self, pressed: bool, now_us: u64) -> Option<Press> {
        let bounced = self.changed_us > 0 && now_us.saturating_sub(self.changed_us) < DEBOUNCE_US;
        self.changed_us = now_us;
        match (self.down_us, pressed) {
            (None, true) => {
                self.down_us = Some(now_us);
                // The bounce of a press that ended must not count as another press; a press that continues does count.
                self.reported &= bounced;
                None
            }
            (Some(down_us), false) => {
                self.down_us = None;
                let held_us = now_us.saturating_sub(down_us);
                let short = !self.reported && (DEBOUNCE_US..LONG_US).contains(&held_us);
                self.reported |= short;
                short.then_some(Press::Short)
            }
            (Some(_), true) | (None, false) => None,
        }
    }

    /// Lets time pass; a long press is reported here.
    pub fn advance(&mut self, now_us: u64) -> Option<Press> {
        let due_us = self.deadline_us()?;
        if now_us < due_us {
            return None;
        }
        self.reported = true;
        Some(Press::Long)
    }

    /// When [`Button::advance`] is next due.
    pub fn deadline_us(&self) -> Option<u64> {
        self.down_us.filter(|_| !self.reported).map(|down_us| down_us + LONG_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Changes in milliseconds, and the resulting presses.
    fn presses(changes: &[(u64, bool)]) -> Vec<Press> {
        let mut button = Button::default();
        let mut seen = Vec::new();
        for (at_ms, pressed) in changes {
            let at_us = at_ms * 1000;
            seen.extend(
                button.deadline_us().filter(|due_us| *due_us <= at_us).and_then(|due_us| button.advance(due_us)),
            );
            seen.extend(button.change(*pressed, at_us));
        }
        seen
    }

    #[test]
    fn bounce_makes_no_press() {
        let one = [(1000, true), (1001, false), (1002, true), (1200, false), (1201, true), (1203, false)];
        assert_eq!(presses(&one), [Press::Short]);
        assert_eq!(presses(&[(1000, true), (1010, false)]), []);
        let two = [(1000, true), (1200, false), (1400, true), (1600, false)];
        assert_eq!(presses(&two), [Press::Short, Press::Short]);
    }

    #[test]
    fn a_long_press_counts_once_and_is_no_short_one() {
        assert_eq!(presses(&[(1000, true), (9000, false), (9001, true), (9005, false)]), [Press::Long]);
        let then_short = [(1000, true), (5000, false), (6000, true), (6100, false)];
        assert_eq!(presses(&then_short), [Press::Long, Press::Short]);
    }
}
