//! Settings: how the coin line behaves, and the caps on credits.

use crate::{
    fields,
    limits::{
        CREDIT_PULSES_MAX, CREDIT_PULSES_PER_MINUTE_DEFAULT, CREDIT_PULSES_PER_MINUTE_MAX, KEEPALIVE_DEFAULT_S,
        KEEPALIVE_S, SETTLE_DEFAULT_MS, SETTLE_MS,
    },
};
use minicbor::{Decode, Decoder, Encode, decode};

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// How the coin line behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cbor(map)]
pub struct CoinProfile {
    /// Whether the line is high at rest (normally open contact with pull-up).
    #[n(0)]
    pub idle_high: bool,
    /// A pulse is at least this wide, in milliseconds; shorter is noise.
    #[n(1)]
    pub width_min_ms: u16,
    /// A pulse is at most this wide, in milliseconds; longer is a stuck line.
    #[n(2)]
    pub width_max_ms: u16,
    /// Two pulses have at least this gap, in milliseconds; a shorter one is bounce.
    #[n(3)]
    pub gap_min_ms: u16,
    /// This much rest, in milliseconds, ends a burst.
    #[n(4)]
    pub burst_end_ms: u16,
    /// Width of the pulses given, in milliseconds.
    #[n(5)]
    pub credit_width_ms: u16,
    /// Gap between the pulses given, in milliseconds.
    #[n(6)]
    pub credit_gap_ms: u16,
}

impl Default for CoinProfile {
    /// The most common acceptor: 50 ms pulses, high at rest, wide bounds.
    fn default() -> Self {
        Self {
            idle_high: true,
            width_min_ms: 15,
            width_max_ms: 600,
            gap_min_ms: 15,
            burst_end_ms: 300,
            credit_width_ms: 50,
            credit_gap_ms: 50,
        }
    }
}

impl<'b, C> Decode<'b, C> for CoinProfile {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut profile = Self::default();
        fields::map(d, 7, fields::bits([0, 1, 2, 3, 4, 5, 6]), &mut |number, d| {
            let ms = match number {
                0 => {
                    profile.idle_high = d.bool()?;
                    return Ok(());
                }
                1 => &mut profile.width_min_ms,
                2 => &mut profile.width_max_ms,
                3 => &mut profile.gap_min_ms,
                4 => &mut profile.burst_end_ms,
                5 => &mut profile.credit_width_ms,
                _ => &mut profile.credit_gap_ms,
            };
            *ms = fields::number(d)?;
            Ok(())
        })?;
        Ok(profile)
    }
}

impl CoinProfile {
    /// Whether the numbers fit together: all within 1 to 2000 ms, minimum below maximum.
    pub fn is_valid(&self) -> bool {
        let all = [
            self.width_min_ms,
            self.width_max_ms,
            self.gap_min_ms,
            self.burst_end_ms,
            self.credit_width_ms,
            self.credit_gap_ms,
        ];
        all.iter().all(|ms| (1..=2000).contains(ms))
            && self.width_min_ms < self.width_max_ms
            && self.gap_min_ms < self.burst_end_ms
    }
}

/// A module's complete settings: a newer version replaces an older one completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Settings {
    /// Counts up with each change at the server; from 1.
    #[n(0)]
    pub version: u32,
    /// The coin line.
    #[n(1)]
    pub profile: CoinProfile,
    /// Credits above this many pulses are refused as invalid.
    #[n(2)]
    pub credit_pulses_max: u16,
    /// A status is published at least this often, in seconds.
    #[n(3)]
    pub status_period_s: u16,
    /// Whether a sense input says that the machine runs; then `done` waits for it.
    #[n(4)]
    pub sense: bool,
    /// At most this many credit pulses are begun within any minute; further credits wait. 0 (omitted on the wire) means
    /// four times `credit_pulses_max`, but at least [`CREDIT_PULSES_PER_MINUTE_DEFAULT`].
    #[cbor(n(5), skip_if = "is_zero")]
    pub credit_pulses_per_minute_max: u16,
    /// MQTT keepalive, in seconds, from the next connection on. 0 (omitted on the wire) means [`KEEPALIVE_DEFAULT_S`].
    #[cbor(n(6), skip_if = "is_zero")]
    pub keepalive_s: u16,
    /// How long after power-on the coin line is not counted, in milliseconds, because an acceptor on the same supply
    /// starts too and may change the line. 0 (omitted on the wire) means [`SETTLE_DEFAULT_MS`].
    #[cbor(n(7), skip_if = "is_zero")]
    pub settle_ms: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 0,
            profile: CoinProfile::default(),
            credit_pulses_max: 50,
            status_period_s: 1800,
            sense: false,
            credit_pulses_per_minute_max: 0,
            keepalive_s: 0,
            settle_ms: 0,
        }
    }
}

impl<'b, C> Decode<'b, C> for Settings {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut settings = Self::default();
        fields::map(d, 8, fields::bits([0, 1, 2, 3, 4]), &mut |number, d| {
            match number {
                0 => settings.version = fields::number(d)?,
                1 => settings.profile = d.decode()?,
                2 => settings.credit_pulses_max = fields::number(d)?,
                3 => settings.status_period_s = fields::number(d)?,
                4 => settings.sense = d.bool()?,
                5 => settings.credit_pulses_per_minute_max = fields::number(d)?,
                6 => settings.keepalive_s = fields::number(d)?,
                _ => settings.settle_ms = fields::number(d)?,
            }
            Ok(())
        })?;
        Ok(settings)
    }
}

impl Settings {
    /// Whether every value is within its bounds.
    pub fn is_valid(&self) -> bool {
        self.version > 0
            && self.profile.is_valid()
            && (1..=CREDIT_PULSES_MAX).contains(&self.credit_pulses_max)
            && (10..=43_200).contains(&self.status_period_s)
            && (self.credit_pulses_max..=CREDIT_PULSES_PER_MINUTE_MAX).contains(&self.credit_pulses_per_minute())
            && KEEPALIVE_S.contains(&self.keepalive())
            && SETTLE_MS.contains(&self.settle())
    }

    /// The keepalive in force, in seconds.
    pub fn keepalive(&self) -> u16 {
        if self.keepalive_s == 0 { KEEPALIVE_DEFAULT_S } else { self.keepalive_s }
    }

    /// How long the coin line is not counted after power-on, in milliseconds.
    pub fn settle(&self) -> u16 {
        if self.settle_ms == 0 { SETTLE_DEFAULT_MS } else { self.settle_ms }
    }

    /// The same in microseconds.
    pub fn settle_us(&self) -> u64 {
        u64::from(self.settle()) * 1000
    }

    /// The cap on credit pulses per minute in force. In valid settings it is large enough for the largest credit.
    pub fn credit_pulses_per_minute(&self) -> u16 {
        match self.credit_pulses_per_minute_max {
            0 => self.credit_pulses_max.saturating_mul(4).max(CREDIT_PULSES_PER_MINUTE_DEFAULT),
            cap => cap,
        }
    }
}
