//! The state of learning: in flash, in memory, on the light.

use crate::{
    coinline::learner::{Ask, Learner},
    settings::Bytes,
    store::VALUE_MAX_BYTES,
};
use minicbor::{Decoder, Encode, encode::write::Cursor};
use protocol::{
    fields,
    messages::{CoinProfile, LearnFailure, LearnStage, Learned},
};

/// How long the light shows how learning ended, in microseconds.
pub const RESULT_SHOWN_US: u64 = 10_000_000;

/// The state of learning in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub(crate) struct Record {
    /// Sequence of the newest learn command.
    #[n(0)]
    pub(crate) sequence: u32,
    /// Sequence of the settings whose profile `profile` replaces.
    #[n(1)]
    pub(super) settings: u32,
    /// A profile that was learned.
    #[n(2)]
    pub(super) profile: Option<CoinProfile>,
    /// Its progress, or how it ended; none if a command stopped learning that had not begun.
    #[n(3)]
    pub(super) learned: Option<Learned>,
}

impl Record {
    pub(super) fn to_bytes(self) -> Option<Bytes> {
        let mut room = [0; VALUE_MAX_BYTES];
        let mut cursor = Cursor::new(&mut room[..]);
        minicbor::encode(self, &mut cursor).ok()?;
        let length = cursor.position();
        Bytes::from_slice(room.get(..length)?).ok()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut record = Self { sequence: 0, settings: 0, profile: None, learned: None };
        fields::map(&mut Decoder::new(bytes), 4, fields::bits([0, 1]), &mut |number, d| {
            match number {
                0 => record.sequence = fields::number(d)?,
                1 => record.settings = fields::number(d)?,
                2 => record.profile = fields::optional(d, Decoder::decode)?,
                _ => record.learned = fields::optional(d, Decoder::decode)?,
            }
            Ok(())
        })
        .ok()?;
        record.profile.is_none_or(|profile| profile.is_valid()).then_some(record)
    }
}

/// What to do once a record is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum AfterWrite {
    /// A command is answered, and a learning begins or ends.
    Execute { command: u64, ask: Option<Ask> },
    /// The button began it.
    Begin(Ask),
    /// Test pulses may be given.
    Try,
    /// It is over.
    End,
}

/// The state of learning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learning {
    pub(super) record: Option<Record>,
    pub(super) staged: Option<(Record, AfterWrite)>,
    pub(super) learner: Option<Learner>,
    /// What the status says of it.
    pub(super) reported: Option<Learned>,
    /// No status with it was acknowledged yet.
    pub(crate) unreported: bool,
    pub(super) ended_us: Option<u64>,
}

impl Learning {
    /// Restores the state from flash; learning that was in progress ended with the restart.
    pub(crate) fn restore(&mut self, bytes: &[u8]) {
        let Some(mut record) = Record::from_bytes(bytes) else { return };
        if let Some(learned) = record.learned.as_mut()
            && !matches!(learned.stage, LearnStage::Stored | LearnStage::Failed)
        {
            learned.stage = LearnStage::Failed;
            learned.failure = Some(LearnFailure::Restarted);
        }
        self.reported = record.learned;
        self.unreported = self.reported.is_some();
        self.record = Some(record);
    }

    /// The profile learned, if it belongs to the settings in force.
    pub(crate) fn profile(&self, settings_sequence: u32) -> Option<CoinProfile> {
        self.record.filter(|record| record.settings == settings_sequence)?.profile
    }

    /// Sequence of the newest learn command.
    pub(crate) fn newest(&self) -> u32 {
        self.staged.map(|(record, _)| record).or(self.record).map_or(0, |record| record.sequence)
    }

    /// Whether the command with the newest sequence is not obeyed yet.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.staged, Some((_, AfterWrite::Execute { .. })))
    }

    /// The value to write.
    pub(crate) fn unwritten(&self) -> Option<Bytes> {
        self.staged?.0.to_bytes()
    }

    /// What a status says of it.
    pub(crate) fn reported(&self) -> Option<Learned> {
        self.reported
    }

    /// The learner, while it learns.
    pub(crate) fn learner(&self) -> Option<&Learner> {
        self.learner.as_ref()
    }

    /// The learner, while it learns.
    pub(crate) fn learner_mut(&mut self) -> Option<&mut Learner> {
        self.learner.as_mut()
    }

    /// How the last learning ended, while the light says so, and until when.
    pub(crate) fn shown(&self, now_us: u64) -> Option<(bool, u64)> {
        let until_us = self.ended_us?.saturating_add(RESULT_SHOWN_US);
        let stored = self.reported.is_some_and(|learned| learned.stage == LearnStage::Stored);
        (now_us < until_us).then_some((stored, until_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::messages::Spread;

    #[test]
    fn the_largest_record_fits_and_comes_back() {
        let ms = u16::MAX;
        let profile =
            CoinProfile { width_max_ms: 2000, burst_end_ms: 2000, width_min_ms: 1999, ..CoinProfile::default() };
        let profile = CoinProfile { gap_min_ms: 1999, credit_width_ms: 2000, credit_gap_ms: 2000, ..profile };
        let spread = Some(Spread { min: ms, median: ms, max: ms });
        let learned = Learned {
            stage: LearnStage::Stored,
            command: u32::MAX,
            coins: u8::MAX,
            coins_asked: u8::MAX,
            failure: Some(LearnFailure::Unknown(u8::MAX)),
            profile: Some(profile),
            widths_ms: spread,
            gaps_ms: spread,
            coin_pulses: spread,
            bounce_us: ms,
            noise_edges: ms,
            test_pulses: ms,
            confirmed: Some(true),
        };
        let record = Record { sequence: u32::MAX, settings: u32::MAX, profile: Some(profile), learned: Some(learned) };
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::from_bytes(&bytes), Some(record));
        for cut in 0..bytes.len() {
            assert_eq!(Record::from_bytes(&bytes[..cut]), None);
        }
    }
}
