//! The line to the machine's coin input, shared by coins and credits.
//!
//! A coin pulse is passed on directly when the line is free. When a credit pulse (or the gap after it) is in the way,
//! the coin pulse is owed and given later with the profile's credit width and gap. Coins come first: no credit pulse
//! starts while a coin pulse is passed or owed. No two pulses ever touch.

use protocol::messages::CoinProfile;

/// With this many owed coin pulses the acceptor is inhibited until the machine has caught up.
pub const OWED_INHIBIT: u16 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Rest,
    /// A coin pulse is being passed; it began on the output at `since_us`.
    Coin {
        since_us: u64,
    },
    /// The coin pulse's end is known.
    CoinEnd {
        until_us: u64,
    },
    /// An owed coin pulse is given.
    Owed {
        until_us: u64,
    },
    /// A credit pulse is given, or a test pulse, which has its own rest after it.
    Credit {
        until_us: u64,
        gap_us: u64,
    },
}

/// What the relay finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// A credit pulse was given completely.
    CreditPulse,
}

/// The state of the line to the machine.
#[derive(Debug, Clone)]
pub struct Relay {
    width_us: u64,
    gap_us: u64,
    coin_gap_us: u64,
    line: Line,
    /// The line is free for a passed coin, and for a pulse of our own, from these times on.
    coin_free_us: u64,
    own_free_us: u64,
    owed: u16,
    /// The coin pulse now coming in could not be passed.
    held: bool,
}

impl Relay {
    /// A resting line.
    pub fn new(profile: &CoinProfile) -> Self {
        let us = |ms: u16| u64::from(ms) * 1000;
        Self {
            width_us: us(profile.credit_width_ms),
            gap_us: us(profile.credit_gap_ms),
            coin_gap_us: us(profile.gap_min_ms.min(profile.credit_gap_ms)) / 2,
            line: Line::Rest,
            coin_free_us: 0,
            own_free_us: 0,
            owed: 0,
            held: false,
        }
    }

    /// Takes a new profile; what is owed stays owed.
    pub fn set_profile(&mut self, profile: &CoinProfile) {
        let fresh = Self::new(profile);
        (self.width_us, self.gap_us, self.coin_gap_us) = (fresh.width_us, fresh.gap_us, fresh.coin_gap_us);
    }

    /// A coin pulse begins.
    pub fn coin_begins(&mut self, now_us: u64) {
        if self.line == Line::Rest && self.owed == 0 && now_us >= self.coin_free_us {
            self.line = Line::Coin { since_us: now_us };
            self.held = false;
        } else {
            self.held = true;
        }
    }

    /// A pulse that may not be a coin is not passed directly; if it counts in the end, it is owed.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The coin pulse ended; `counted` says whether it was one by the profile.
    pub fn coin_ends(&mut self, now_us: u64, width_us: u64, counted: bool) {
        if let Line::Coin { since_us } = self.line {
            // The output keeps the input's width even if the beginning was late.
            self.line = Line::CoinEnd { until_us: now_us.max(since_us + width_us) };
        } else if self.held && counted {
            self.owed = self.owed.saturating_add(1);
        }
        self.held = false;
    }

    /// The coin line is stuck: the pulse being passed is cut off.
    pub fn coin_stuck(&mut self, now_us: u64) {
        if matches!(self.line, Line::Coin { .. }) {
            self.rest(now_us);
        }
        self.held = false;
    }

    /// Whether a credit pulse may start now, as far as this line goes.
    pub fn is_free(&self, now_us: u64) -> bool {
        self.line == Line::Rest && self.owed == 0 && now_us >= self.own_free_us
    }

    /// Starts a credit pulse; call only when [`Relay::is_free`].
    pub fn give_credit_pulse(&mut self, now_us: u64) {
        self.line = Line::Credit { until_us: now_us + self.width_us, gap_us: self.gap_us };
    }

    /// Starts a test pulse of the given width and rest after it; call only when [`Relay::is_free`].
    pub fn give_test_pulse(&mut self, width_ms: u16, gap_ms: u16, now_us: u64) {
        let us = |ms: u16| u64::from(ms) * 1000;
        self.line = Line::Credit { until_us: now_us + us(width_ms), gap_us: us(gap_ms) };
    }

    /// Lets time pass.
    pub fn advance(&mut self, now_us: u64) -> Option<RelayEvent> {
        match self.line {
            Line::CoinEnd { until_us } if now_us >= until_us => {
                self.rest(now_us);
                self.coin_free_us = now_us + self.coin_gap_us;
            }
            Line::Owed { until_us } if now_us >= until_us => {
                self.owed = self.owed.saturating_sub(1);
                self.rest(now_us);
            }
            Line::Credit { until_us, gap_us } if now_us >= until_us => {
                self.rest_for(gap_us, now_us);
                return Some(RelayEvent::CreditPulse);
            }
            Line::Rest if self.owed > 0 && now_us >= self.own_free_us => {
                self.line = Line::Owed { until_us: now_us + self.width_us };
            }
            Line::Rest | Line::Coin { .. } | Line::CoinEnd { .. } | Line::Owed { .. } | Line::Credit { .. } => {}
        }
        None
    }

    fn rest(&mut self, now_us: u64) {
        self.rest_for(self.gap_us, now_us);
    }

    fn rest_for(&mut self, gap_us: u64, now_us: u64) {
        self.line = Line::Rest;
        self.own_free_us = now_us + gap_us;
        self.coin_free_us = now_us + gap_us;
    }

    /// When [`Relay::advance`] or a waiting credit pulse is next due.
    pub fn deadline_us(&self, now_us: u64) -> Option<u64> {
        match self.line {
            Line::CoinEnd { until_us } | Line::Owed { until_us } | Line::Credit { until_us, .. } => Some(until_us),
            Line::Rest if self.owed > 0 || now_us < self.own_free_us => Some(self.own_free_us),
            Line::Rest | Line::Coin { .. } => None,
        }
    }

    /// Whether the coin output is active.
    pub fn coin_active(&self) -> bool {
        matches!(self.line, Line::Coin { .. } | Line::CoinEnd { .. } | Line::Owed { .. })
    }

    /// Whether the credit output is active.
    pub fn credit_active(&self) -> bool {
        matches!(self.line, Line::Credit { .. })
    }

    /// Coin pulses counted and not yet given to the machine.
    pub fn owed(&self) -> u16 {
        self.owed
    }
}
