//! Learning the coin line: its parameters, progress and result.

use crate::{
    fields,
    limits::{LEARN_COINS_MAX, LEARN_COINS_MIN, LEARN_TEST_PULSES_MAX},
    open_enum::open_enum,
    settings::CoinProfile,
};
use minicbor::{Decode, Decoder, Encode, decode};

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Parameters of learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Learn {
    /// Coins to sample: [`LEARN_COINS_MIN`] to [`LEARN_COINS_MAX`], or 0 to end the learning in progress.
    #[n(0)]
    pub coins: u8,
    /// Whether to confirm the pulses by giving some. The sense input, if the settings have one, tells whether the
    /// machine gave credit; otherwise a person does, with the button.
    #[n(1)]
    pub confirm: bool,
    /// Pulses that make the machine give one credit, at most [`LEARN_TEST_PULSES_MAX`]; 0 (left out on the wire) for
    /// those of the smallest coin sampled.
    #[cbor(n(2), skip_if = "is_zero")]
    pub test_pulses: u8,
}

impl<'b, C> Decode<'b, C> for Learn {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut learn = Self { coins: 0, confirm: false, test_pulses: 0 };
        fields::map(d, 3, fields::bits([0, 1]), &mut |number, d| {
            match number {
                0 => learn.coins = fields::number(d)?,
                1 => learn.confirm = d.bool()?,
                _ => learn.test_pulses = fields::number(d)?,
            }
            Ok(())
        })?;
        Ok(learn)
    }
}

impl Learn {
    /// Whether this ends a learning.
    pub fn is_cancel(&self) -> bool {
        self.coins == 0
    }

    /// Whether the numbers are within their bounds.
    pub fn is_valid(&self) -> bool {
        (self.is_cancel() || (LEARN_COINS_MIN..=LEARN_COINS_MAX).contains(&self.coins))
            && self.test_pulses <= LEARN_TEST_PULSES_MAX
    }
}

open_enum! {
    /// The stage of learning.
    LearnStage {
        /// Listening to the line at rest: no coin yet.
        Quiet = 1 => "quiet",
        /// Coins are sampled: `coins` of `coins_asked`.
        Sampling = 2 => "sampling",
        /// The profile is derived; its pulses are being tested on the machine. `profile` has the pulses being tested.
        Confirming = 3 => "confirming",
        /// The profile is in flash and in force, until other settings come.
        Stored = 4 => "stored",
        /// Ended without a profile: see `failure`. The previous profile is in force.
        Failed = 5 => "failed",
    }
}

open_enum! {
    /// Why learning failed.
    LearnFailure {
        /// Too few coins came in time.
        NoCoins = 1 => "no_coins",
        /// The line stays active for longer than any pulse.
        LineStuck = 2 => "line_stuck",
        /// The line does not come to rest, or more noise than pulses came.
        Noise = 3 => "noise",
        /// The pulses differ too much to come from one acceptor.
        Uneven = 4 => "uneven",
        /// None of the pulses tried made the machine give credit each time. `profile` has what was derived.
        Unconfirmed = 5 => "unconfirmed",
        /// A command, or the button, ended it.
        Cancelled = 6 => "cancelled",
        /// The module restarted in the meantime.
        Restarted = 7 => "restarted",
        /// The module is locked, so that no pulses can be tried.
        Locked = 8 => "locked",
        /// A blocking fault; see the status.
        Fault = 9 => "fault",
        /// The result could not be written.
        Flash = 10 => "flash",
        /// Other settings came in the meantime.
        Settings = 11 => "settings",
    }
}

/// The least, the middle and the greatest of what was measured. An array on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode)]
pub struct Spread {
    /// The least.
    #[n(0)]
    pub min: u16,
    /// The median.
    #[n(1)]
    pub median: u16,
    /// The greatest.
    #[n(2)]
    pub max: u16,
}

impl<'b, C> Decode<'b, C> for Spread {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut spread = Self::default();
        fields::array(d, 3, fields::bits([0, 1, 2]), &mut |number, d| {
            let measured = match number {
                0 => &mut spread.min,
                1 => &mut spread.median,
                _ => &mut spread.max,
            };
            *measured = fields::number(d)?;
            Ok(())
        })?;
        Ok(spread)
    }
}

/// The progress of learning, and what it measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Learned {
    /// How far.
    #[n(0)]
    pub stage: LearnStage,
    /// Sequence of the learn command; 0 if the button began it.
    #[cbor(n(1), skip_if = "is_zero")]
    pub command: u32,
    /// Coins sampled so far.
    #[n(2)]
    pub coins: u8,
    /// Coins to sample.
    #[n(3)]
    pub coins_asked: u8,
    /// With `failed`: why.
    #[n(4)]
    pub failure: Option<LearnFailure>,
    /// The profile derived, once all coins are sampled.
    #[n(5)]
    pub profile: Option<CoinProfile>,
    /// Widths of pulses, in milliseconds.
    #[n(6)]
    pub widths_ms: Option<Spread>,
    /// Gaps between the pulses of a coin, in milliseconds; absent if each gave a single one.
    #[n(7)]
    pub gaps_ms: Option<Spread>,
    /// Pulses per coin.
    #[n(8)]
    pub coin_pulses: Option<Spread>,
    /// The longest bounce, in microseconds.
    #[cbor(n(9), skip_if = "is_zero")]
    pub bounce_us: u16,
    /// Edges while no coin came and the line should have been at rest.
    #[cbor(n(10), skip_if = "is_zero")]
    pub noise_edges: u16,
    /// Test pulses given. They are not credits, and not in any total.
    #[cbor(n(11), skip_if = "is_zero")]
    pub test_pulses: u16,
    /// With `stored`: whether the machine was seen to give credit for the pulses of `profile`.
    #[n(12)]
    pub confirmed: Option<bool>,
}

impl<'b, C> Decode<'b, C> for Learned {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut learned = Self {
            stage: LearnStage::Unknown(0),
            command: 0,
            coins: 0,
            coins_asked: 0,
            failure: None,
            profile: None,
            widths_ms: None,
            gaps_ms: None,
            coin_pulses: None,
            bounce_us: 0,
            noise_edges: 0,
            test_pulses: 0,
            confirmed: None,
        };
        fields::map(d, 13, fields::bits([0, 2, 3]), &mut |number, d| {
            match number {
                0 => learned.stage = d.decode()?,
                1 => learned.command = fields::number(d)?,
                2 => learned.coins = fields::number(d)?,
                3 => learned.coins_asked = fields::number(d)?,
                4 => learned.failure = fields::optional(d, Decoder::decode)?,
                5 => learned.profile = fields::optional(d, Decoder::decode)?,
                6 => learned.widths_ms = fields::optional(d, Decoder::decode)?,
                7 => learned.gaps_ms = fields::optional(d, Decoder::decode)?,
                8 => learned.coin_pulses = fields::optional(d, Decoder::decode)?,
                9 => learned.bounce_us = fields::number(d)?,
                10 => learned.noise_edges = fields::number(d)?,
                11 => learned.test_pulses = fields::number(d)?,
                _ => learned.confirmed = fields::optional(d, Decoder::bool)?,
            }
            Ok(())
        })?;
        Ok(learned)
    }
}
