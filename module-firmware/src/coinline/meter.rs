//! Measures pulses of an unknown acceptor: edges in; widths, gaps, pulses per coin, bounce and noise out.
//!
//! It knows no profile, only the resting level. A pulse is active for at least [`WIDTH_MIN_US`], without a rest of
//! [`REST_US`] in it, and stays unchanged for [`SOLID_US`] at least once; everything else is noise. So pulses and gaps
//! of 20 ms or more are distinguished from bounce of up to 10 ms. No acceptor bounces longer.

use super::sampler::median;
use heapless::Vec;
use protocol::messages::{CoinProfile, Spread};

/// A level that was stable for this long is not bounce by itself, in microseconds.
pub const SOLID_US: u64 = 4_000;
/// A rest this long ends a pulse; a shorter one is bounce, in microseconds.
pub const REST_US: u64 = 10_000;
/// Anything active for less than this, bounce included, is not a pulse, in microseconds.
pub const WIDTH_MIN_US: u64 = 10_000;
/// A line active for longer than this is stuck, in microseconds.
pub const WIDTH_MAX_US: u64 = 1_000_000;
/// A rest of this many widths of the last pulse ends a coin, within the two bounds that follow.
const COIN_END_WIDTHS: u64 = 8;
/// A rest shorter than this is within a coin, in microseconds.
const COIN_END_MIN_US: u64 = 300_000;
/// A rest longer than this ends a coin, in microseconds.
pub const COIN_END_MAX_US: u64 = 1_000_000;
/// Most pulses of one coin.
pub const COIN_PULSES_MAX: u16 = 200;
/// Samples kept for a median; the least and the greatest are of all.
const SAMPLES_MAX: usize = 128;
/// Coins kept for the median of their pulses.
const COINS_MAX: usize = protocol::limits::LEARN_COINS_MAX as usize;
/// Edges of noise for each pulse; more, and the pulses cannot be trusted.
const NOISE_PER_PULSE_MAX: u16 = 8;
/// The least bound on widths, in milliseconds.
const WIDTH_LEAST_MS: u16 = 5;
/// The gap of the pulses given, if the acceptor shows none, in milliseconds.
const CREDIT_GAP_MS: u16 = 100;

/// Why the measurements cannot come from an acceptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasurementFlaw {
    /// Pulses differ too much.
    Uneven,
    /// More noise than pulses, or bounce that cannot be told from pulses.
    Noise,
}

/// Samples of one quantity, in milliseconds or pieces.
#[derive(Debug, Clone, Default)]
struct Samples<const N: usize> {
    kept: Vec<u16, N>,
    min: u16,
    max: u16,
}

impl<const N: usize> Samples<N> {
    fn push(&mut self, sample: u16) {
        self.min = if self.kept.is_empty() { sample } else { self.min.min(sample) };
        self.max = self.max.max(sample);
        // Samples beyond the capacity are left out: the median of the first ones is as good.
        let _ = self.kept.push(sample);
    }

    fn spread(&self) -> Option<Spread> {
        let mut sorted = self.kept.clone();
        (!sorted.is_empty()).then(|| Spread { min: self.min, median: median(&mut sorted), max: self.max })
    }
}

/// A pulse in progress, or one that a bounce may still continue.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start_us: u64,
    end_us: u64,
    /// The first and the last time it was stable.
    solid: Option<(u64, u64)>,
    edges: u16,
}

/// The meter.
#[derive(Debug, Clone)]
pub struct Meter {
    idle_high: bool,
    active: bool,
    since_us: u64,
    candidate: Option<Candidate>,
    coin_pulses: u16,
    /// End and width of the last pulse of the coin in progress.
    last: Option<(u64, u64)>,
    widths_ms: Samples<SAMPLES_MAX>,
    gaps_ms: Samples<SAMPLES_MAX>,
    coins: Samples<COINS_MAX>,
    coins_seen: u8,
    bounce_us: u16,
    noise_edges: u16,
    pulses: u16,
}

fn ms(us: u64) -> u16 {
    u16::try_from((us + 500) / 1000).unwrap_or(u16::MAX)
}

impl Meter {
    /// Begins with a line at rest.
    pub fn new(idle_high: bool, now_us: u64) -> Self {
        Self {
            idle_high,
            active: false,
            since_us: now_us,
            candidate: None,
            coin_pulses: 0,
            last: None,
            widths_ms: Samples::default(),
            gaps_ms: Samples::default(),
            coins: Samples::default(),
            coins_seen: 0,
            bounce_us: 0,
            noise_edges: 0,
            pulses: 0,
        }
    }

    /// Takes an edge. Edges come in order.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        self.advance(at_us);
        let active = level_high != self.idle_high;
        if active == self.active {
            return;
        }
        let stood_us = at_us.saturating_sub(self.since_us);
        if active {
            let fresh = Candidate { start_us: at_us, end_us: at_us, solid: None, edges: 0 };
            self.candidate.get_or_insert(fresh).edges += 1;
        } else if let Some(candidate) = self.candidate.as_mut() {
            candidate.edges = candidate.edges.saturating_add(1);
            candidate.end_us = at_us;
            if stood_us >= SOLID_US {
                candidate.solid = Some((candidate.solid.map_or(self.since_us, |(first_us, _)| first_us), at_us));
            }
        }
        self.active = active;
        self.since_us = at_us;
    }

    /// Lets time pass.
    pub fn advance(&mut self, now_us: u64) {
        if self.active {
            return;
        }
        if let Some(candidate) = self.candidate.filter(|c| now_us >= c.end_us + REST_US) {
            self.candidate = None;
            self.close(&candidate);
        }
        if self.candidate.is_none() && self.coin_end_us().is_some_and(|end_us| now_us >= end_us) {
            self.coins.push(self.coin_pulses);
            self.coins_seen = self.coins_seen.saturating_add(1);
            (self.coin_pulses, self.last) = (0, None);
        }
    }

    fn close(&mut self, candidate: &Candidate) {
        let solid = candidate.solid.filter(|(_, last_us)| last_us - candidate.start_us >= WIDTH_MIN_US);
        let Some((first_us, last_us)) = solid else {
            self.noise_edges = self.noise_edges.saturating_add(candidate.edges);
            return;
        };
        let bounce_us = (first_us - candidate.start_us).max(candidate.end_us - last_us);
        // From the first contact to the final break: bounce belongs to neither width nor gap.
        let width_us = last_us - candidate.start_us;
        self.bounce_us = self.bounce_us.max(u16::try_from(bounce_us).unwrap_or(u16::MAX));
        self.widths_ms.push(ms(width_us));
        if let Some((end_us, _)) = self.last {
            self.gaps_ms.push(ms(candidate.start_us.saturating_sub(end_us)));
        }
        self.last = Some((last_us, width_us));
        self.coin_pulses = self.coin_pulses.saturating_add(1);
        self.pulses = self.pulses.saturating_add(1);
    }

    fn coin_end_us(&self) -> Option<u64> {
        let (end_us, width_us) = self.last?;
        Some(end_us + (width_us * COIN_END_WIDTHS).clamp(COIN_END_MIN_US, COIN_END_MAX_US))
    }

    /// When [`Meter::advance`] is next due, or the line counts as stuck.
    pub fn deadline_us(&self) -> Option<u64> {
        match self.candidate {
            Some(candidate) if self.active => Some(candidate.start_us + WIDTH_MAX_US + 1),
            Some(candidate) => Some(candidate.end_us + REST_US),
            None => self.coin_end_us(),
        }
    }

    /// Whether the line has been active for longer than any pulse.
    pub fn is_stuck(&self, now_us: u64) -> bool {
        self.active && self.candidate.is_some_and(|c| now_us.saturating_sub(c.start_us) > WIDTH_MAX_US)
    }

    /// Whether a coin is coming in.
    pub fn is_busy(&self) -> bool {
        self.candidate.is_some() || self.last.is_some()
    }

    /// Whether more pulses have come in than any coin has.
    pub fn is_flooded(&self) -> bool {
        self.coin_pulses > COIN_PULSES_MAX
    }

    /// The level at rest.
    pub fn idle_high(&self) -> bool {
        self.idle_high
    }

    /// Coins seen completely.
    pub fn coins(&self) -> u8 {
        self.coins_seen
    }

    /// Widths in milliseconds.
    pub fn widths_ms(&self) -> Option<Spread> {
        self.widths_ms.spread()
    }

    /// Gaps within coins, in milliseconds.
    pub fn gaps_ms(&self) -> Option<Spread> {
        self.gaps_ms.spread()
    }

    /// Pulses per coin.
    pub fn coin_pulses(&self) -> Option<Spread> {
        self.coins.spread()
    }

    /// The longest bounce, in microseconds.
    pub fn bounce_us(&self) -> u16 {
        self.bounce_us
    }

    /// Edges that belong to no pulse.
    pub fn noise_edges(&self) -> u16 {
        self.noise_edges
    }

    /// The profile of what was measured: bounds wide enough for an acceptor's tolerance (20 % either way, of which ten
    /// coins may show one end only), and the medians to replay.
    ///
    /// # Errors
    /// The measurements cannot come from an acceptor; [`MeasurementFlaw::Uneven`] also if nothing was measured.
    pub fn profile(&self) -> Result<CoinProfile, MeasurementFlaw> {
        if self.noise_edges > self.pulses.saturating_mul(NOISE_PER_PULSE_MAX) {
            return Err(MeasurementFlaw::Noise);
        }
        let widths = self.widths_ms.spread().ok_or(MeasurementFlaw::Uneven)?;
        let too_uneven = |spread: Spread| u32::from(spread.max) > u32::from(spread.min) * 2 + 10;
        let gaps = self.gaps_ms.spread();
        if too_uneven(widths) || gaps.is_some_and(too_uneven) {
            return Err(MeasurementFlaw::Uneven);
        }
        let bounce_ms = self.bounce_us.div_ceil(1000);
        if u64::from(self.bounce_us) > REST_US {
            return Err(MeasurementFlaw::Noise);
        }
        // The sampler starts a pulse when it is stable and ends it at the last edge, so bounce can shorten a gap, and
        // can shorten or lengthen a width.
        let shortest = gaps.map_or(widths.min, |gaps| gaps.min).saturating_sub(bounce_ms);
        let gap_min_ms = (shortest / 2).clamp(8, 50).max(bounce_ms + 2);
        if gaps.is_some_and(|gaps| gaps.min <= gap_min_ms) {
            return Err(MeasurementFlaw::Noise);
        }
        let (width_min, width_max) = (widths.min.saturating_sub(bounce_ms), widths.max + bounce_ms);
        let burst_end_ms = gaps.map_or(widths.max * 3, |gaps| gaps.max * 2).clamp(150, 2_000).max(gap_min_ms + 1);
        Ok(CoinProfile {
            idle_high: self.idle_high,
            width_min_ms: (width_min - width_min / 3).max(WIDTH_LEAST_MS),
            width_max_ms: width_max + width_max / 2 + 5,
            gap_min_ms,
            burst_end_ms,
            credit_width_ms: widths.median,
            credit_gap_ms: gaps.map_or(widths.median.max(CREDIT_GAP_MS), |gaps| gaps.median),
        })
    }
}
