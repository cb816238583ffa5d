//! Edges in, coin pulses out.
//!
//! A level counts once it has been stable for the settling time (a quarter of the shortest width or gap of the profile,
//! 4 ms at most), so bounce and glitches shorter than that are ignored. Settled levels are then checked against the
//! profile. All times are those of the edges, so a late caller changes nothing.

use protocol::messages::CoinProfile;

/// Longest settling time, in microseconds, so that coins are relayed within 5 ms.
pub const SETTLE_MAX_US: u64 = 4_000;
/// Shortest settling time, in microseconds.
pub const SETTLE_MIN_US: u64 = 250;
/// Widths and gaps remembered of a burst for the medians.
pub const BURST_SAMPLES: usize = 15;
/// A burst is closed at this many pulses even if no pause came.
pub const BURST_PULSES_MAX: u16 = 200;

/// What the coin line did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEvent {
    /// The line settled active. `again` if it continues a pulse that was already counted (a bounce).
    Active {
        /// Whether this belongs to a pulse already counted.
        again: bool,
    },
    /// The line settled idle after a pulse.
    Idle {
        /// How long it was active, in microseconds.
        width_us: u64,
        /// Whether it now counts as a coin pulse.
        counted: bool,
    },
    /// The burst is over, after the time without a pulse that ends it.
    BurstEnd(Burst),
    /// The line has been active for longer than any pulse.
    Stuck,
    /// The line is idle again after being stuck.
    Freed,
}

/// Coin pulses that came together: one coin, or a few inserted quickly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Pulses counted.
    pub pulses: u16,
    /// Median width in milliseconds.
    pub width_ms: u16,
    /// Median gap in milliseconds; 0 for a single pulse.
    pub gap_ms: u16,
    /// Uptime at the end of the last pulse, in microseconds.
    pub ended_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    idle_high: bool,
    settle_us: u64,
    width_min_us: u64,
    width_max_us: u64,
    gap_min_us: u64,
    burst_end_us: u64,
}

impl Bounds {
    fn new(profile: &CoinProfile) -> Self {
        let us = |ms: u16| u64::from(ms) * 1000;
        let shortest_us = us(profile.width_min_ms.min(profile.gap_min_ms));
        Self {
            idle_high: profile.idle_high,
            settle_us: (shortest_us / 4).clamp(SETTLE_MIN_US, SETTLE_MAX_US),
            width_min_us: us(profile.width_min_ms),
            width_max_us: us(profile.width_max_ms),
            gap_min_us: us(profile.gap_min_ms),
            burst_end_us: us(profile.burst_end_ms),
        }
    }
}

/// The pulse in progress, or the last one while a bounce may still continue it.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start_us: u64,
    counted: bool,
}

#[derive(Debug, Clone)]
struct Gathering {
    pulses: u16,
    widths_ms: heapless::Vec<u16, BURST_SAMPLES>,
    gaps_ms: heapless::Vec<u16, BURST_SAMPLES>,
    ended_us: u64,
}

/// The state of the coin line as read so far.
#[derive(Debug, Clone)]
pub struct Sampler {
    bounds: Bounds,
    now_us: u64,
    raw_active: bool,
    raw_since_us: u64,
    active: bool,
    idle_since_us: u64,
    candidate: Option<Candidate>,
    stuck: bool,
    gathering: Option<Gathering>,
    /// Edges of glitches not yet known to be bounce or noise, and the last one's time.
    fragments: u32,
    fragment_us: u64,
    noise_edges: u64,
}

impl Sampler {
    /// Begins with the line's present level. A line active at the start is a pulse whose beginning was missed.
    pub fn new(profile: &CoinProfile, level_high: bool, now_us: u64) -> Self {
        let bounds = Bounds::new(profile);
        Self {
            raw_active: level_high != bounds.idle_high,
            bounds,
            now_us,
            raw_since_us: now_us,
            active: false,
            idle_since_us: 0,
            candidate: None,
            stuck: false,
            gathering: None,
            fragments: 0,
            fragment_us: 0,
            noise_edges: 0,
        }
    }

    /// Restarts with another profile, keeping the line's last state.
    pub fn restarted(&self, profile: &CoinProfile) -> Self {
        let mut anew = Self::new(profile, self.level_high(), self.now_us);
        let begun_us = self.candidate.filter(|candidate| self.active && !candidate.counted).map(|c| c.start_us);
        anew.raw_since_us = begun_us.unwrap_or(self.raw_since_us);
        anew
    }

    /// Takes an edge: the line has `level_high` from `at_us` on. Edges come in order; one from the past is treated as
    /// if it came now.
    pub fn edge(&mut self, at_us: u64, level_high: bool, event: &mut dyn FnMut(LineEvent)) {
        let at_us = at_us.max(self.now_us);
        self.advance(at_us, event);
        let active = level_high != self.bounds.idle_high;
        if active == self.raw_active {
            return;
        }
        self.raw_active = active;
        self.raw_since_us = at_us;
        if active == self.active {
            self.fragments = self.fragments.saturating_add(2);
            self.fragment_us = at_us;
        }
    }

    /// Lets time pass up to `now_us`, no edge having come since the last one handed in.
    pub fn advance(&mut self, now_us: u64, event: &mut dyn FnMut(LineEvent)) {
        self.now_us = self.now_us.max(now_us);
        let now_us = self.now_us;
        if self.raw_active != self.active && now_us >= self.raw_since_us + self.bounds.settle_us {
            self.settle(event);
        }
        if let Some(candidate) = self.candidate
            && self.active
            && self.raw_active
            && !self.stuck
            && now_us - candidate.start_us > self.bounds.width_max_us
        {
            self.stuck = true;
            event(LineEvent::Stuck);
        }
        if !self.active && !self.raw_active {
            if self.fragments > 0 && now_us >= self.fragment_us + self.bounds.gap_min_us {
                self.noise_edges = self.noise_edges.saturating_add(u64::from(self.fragments));
                self.fragments = 0;
            }
            if self.gathering.as_ref().is_some_and(|g| now_us >= g.ended_us + self.bounds.burst_end_us) {
                self.end_burst(event);
            }
        }
    }

    fn settle(&mut self, event: &mut dyn FnMut(LineEvent)) {
        let at_us = self.raw_since_us;
        self.active = self.raw_active;
        if self.fragments > 0 && at_us >= self.fragment_us + self.bounds.gap_min_us {
            self.noise_edges = self.noise_edges.saturating_add(u64::from(self.fragments));
        }
        self.fragments = 0;
        if self.active {
            let gap_us = at_us.saturating_sub(self.idle_since_us);
            let bounced = self.candidate.filter(|_| gap_us < self.bounds.gap_min_us);
            let candidate = bounced.unwrap_or(Candidate { start_us: at_us, counted: false });
            self.candidate = Some(candidate);
            event(LineEvent::Active { again: candidate.counted });
            return;
        }
        let previous_end_us = self.idle_since_us;
        self.idle_since_us = at_us;
        let Some(candidate) = self.candidate.as_mut() else { return };
        let width_us = at_us.saturating_sub(candidate.start_us);
        let fits = (self.bounds.width_min_us..=self.bounds.width_max_us).contains(&width_us);
        let counted = fits && !candidate.counted && !self.stuck;
        let start_us = candidate.start_us;
        if counted {
            candidate.counted = true;
        } else if !candidate.counted {
            self.noise_edges = self.noise_edges.saturating_add(2);
        }
        event(LineEvent::Idle { width_us, counted });
        if self.stuck {
            self.stuck = false;
            self.candidate = None;
            event(LineEvent::Freed);
        }
        if counted {
            self.gather(start_us, at_us, previous_end_us, event);
        } else if let Some(gathering) = self.gathering.as_mut() {
            // A bounce of a counted pulse delays the burst's end.
            gathering.ended_us = at_us;
        }
    }

    fn gather(&mut self, start_us: u64, end_us: u64, previous_end_us: u64, event: &mut dyn FnMut(LineEvent)) {
        if self.gathering.as_ref().is_some_and(|g| start_us >= g.ended_us + self.bounds.burst_end_us) {
            self.end_burst(event);
        }
        let ms = |us: u64| u16::try_from((us + 500) / 1000).unwrap_or(u16::MAX);
        match self.gathering.as_mut() {
            Some(gathering) => {
                gathering.pulses += 1;
                gathering.ended_us = end_us;
                // Samples beyond the capacity are left out: the median of the first ones is as good.
                let _ = gathering.widths_ms.push(ms(end_us - start_us));
                let _ = gathering.gaps_ms.push(ms(start_us.saturating_sub(previous_end_us)));
            }
            None => {
                let mut widths_ms = heapless::Vec::new();
                let _ = widths_ms.push(ms(end_us - start_us));
                self.gathering =
                    Some(Gathering { pulses: 1, widths_ms, gaps_ms: heapless::Vec::new(), ended_us: end_us });
            }
        }
        if self.gathering.as_ref().is_some_and(|g| g.pulses >= BURST_PULSES_MAX) {
            self.end_burst(event);
        }
    }

    fn end_burst(&mut self, event: &mut dyn FnMut(LineEvent)) {
        if let Some(mut gathering) = self.gathering.take() {
            event(LineEvent::BurstEnd(Burst {
                pulses: gathering.pulses,
                width_ms: median(&mut gathering.widths_ms),
                gap_ms: median(&mut gathering.gaps_ms),
                ended_us: gathering.ended_us,
            }));
        }
    }

    /// When [`Sampler::advance`] is next due, if no edge comes before.
    pub fn deadline_us(&self) -> Option<u64> {
        let settle = (self.raw_active != self.active).then_some(self.raw_since_us + self.bounds.settle_us);
        let stuck = match self.candidate {
            Some(c) if self.active && self.raw_active && !self.stuck => Some(c.start_us + self.bounds.width_max_us + 1),
            _ => None,
        };
        let rests = !self.active && !self.raw_active;
        let burst = self.gathering.as_ref().filter(|_| rests).map(|g| g.ended_us + self.bounds.burst_end_us);
        let noise = (rests && self.fragments > 0).then_some(self.fragment_us + self.bounds.gap_min_us);
        [settle, stuck, burst, noise].into_iter().flatten().min()
    }

    /// Whether the line is at rest and no burst is under way, so that a credit does not disturb a coin.
    pub fn is_quiet(&self) -> bool {
        !self.raw_active && !self.active && self.gathering.is_none()
    }

    /// Whether the line rests at this moment.
    pub fn rests(&self) -> bool {
        !self.raw_active && !self.active
    }

    /// Edges so far that fit no profile.
    pub fn noise_edges(&self) -> u64 {
        self.noise_edges
    }

    /// The line's present level as last handed in: true for high.
    pub fn level_high(&self) -> bool {
        self.raw_active != self.bounds.idle_high
    }
}

pub(crate) fn median(samples_ms: &mut [u16]) -> u16 {
    // Only a few values, so insertion sort is enough, with a tenth of the code of the library's sort.
    for end in 1..samples_ms.len() {
        for at in (1..=end).rev() {
            if samples_ms.get(at) >= samples_ms.get(at - 1) {
                break;
            }
            samples_ms.swap(at, at - 1);
        }
    }
    samples_ms.get(samples_ms.len() / 2).copied().unwrap_or(0)
}
