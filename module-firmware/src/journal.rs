//! The credit journal: what was asked and given, and the outcome; a window of the last credits, and a floor.
//!
//! A slot is one value in flash, so one write replaces a credit's whole record. The floor (the highest sequence ever
//! pushed out of the window) and the running total of credit pulses are part of every record. The greatest value of all
//! slots is valid, and it changes in the same write as the record. So a credit can never be forgotten and given again.

use protocol::{
    limits::CREDIT_WINDOW,
    messages::{Reason, Stage},
};

/// Bytes of a record in flash.
pub const RECORD_BYTES: usize = 30;
const FORMAT: u8 = 1;
/// How many of the newest records are kept whatever their outcome.
const KEPT_OUT_OF_ORDER: usize = CREDIT_WINDOW / 2;

/// The outcome of a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Being given.
    Started,
    /// Given completely.
    Done,
    /// Not given, or only in part.
    Failed(Reason),
    /// Too late; not given.
    Expired,
}

impl Outcome {
    /// The stage as sent on the wire.
    pub fn stage(self) -> Stage {
        match self {
            Outcome::Started => Stage::Received,
            Outcome::Done => Stage::Done,
            Outcome::Failed(_) => Stage::Failed,
            Outcome::Expired => Stage::Expired,
        }
    }

    /// Why it failed.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Started | Outcome::Done | Outcome::Expired => None,
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        self != Outcome::Started
    }
}

/// One credit's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The command's id.
    pub command: u64,
    /// The command's sequence.
    pub sequence: u32,
    /// Pulses known to be given.
    pub given: u16,
    /// Its outcome.
    pub outcome: Outcome,
    /// Whether the broker has acknowledged the outcome.
    pub reported: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    record: Record,
    /// Not in flash yet.
    dirty: bool,
    /// The outcome is in flight to the server.
    reporting: bool,
    /// Uptime of the last change; 0 for an earlier boot.
    at_us: u64,
}

/// The window, as in flash except for records marked dirty.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    slots: [Option<Slot>; CREDIT_WINDOW],
    floor: u32,
    credit_pulses: u64,
    credit_pulses_saved: u64,
}

impl Journal {
    /// Takes a slot as read from flash. A credit that was being given is settled as failed for lost power.
    pub fn restore(&mut self, slot: u8, bytes: &[u8]) {
        let Some((mut record, floor, credit_pulses)) = decode(bytes) else { return };
        self.floor = self.floor.max(floor);
        self.credit_pulses = self.credit_pulses.max(credit_pulses);
        self.credit_pulses_saved = self.credit_pulses;
        let cut = record.outcome == Outcome::Started;
        if cut {
            record.outcome = Outcome::Failed(Reason::PowerLost);
        }
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Some(Slot { record, dirty: cut, reporting: false, at_us: 0 });
        }
    }

    /// The record of a sequence.
    pub fn find(&self, sequence: u32) -> Option<&Record> {
        self.records().find(|record| record.sequence == sequence)
    }

    /// All records of the window.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.slots.iter().flatten().map(|slot| &slot.record)
    }

    /// The record of a command's id, which follows from the payment: a server that forgot the sequence gives another one.
    pub fn find_command(&self, command: u64) -> Option<&Record> {
        self.records().find(|record| record.command == command)
    }

    /// Whether a credit not in the window may be older than it: refused then.
    pub fn is_below_floor(&self, sequence: u32) -> bool {
        sequence <= self.floor
    }

    /// The highest credit sequence known.
    pub fn highest(&self) -> u32 {
        self.slots.iter().flatten().map(|slot| slot.record.sequence).max().unwrap_or(0).max(self.floor)
    }

    /// Credit pulses given in all.
    pub fn credit_pulses(&self) -> u64 {
        self.credit_pulses
    }

    /// Credit pulses given in all, as flash has them.
    pub fn credit_pulses_saved(&self) -> u64 {
        self.credit_pulses_saved
    }

    /// The slot for a new record: a free one, or one whose credit has ended. In the older half of the window, credits
    /// without a pulse are replaced first: they would be refused again anyway, and so refusals, however many, cannot
    /// push out credits that were given. The newer half is kept, so that commands may come out of order.
    fn replaceable(&self) -> Option<usize> {
        let records = || self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?.record)));
        let is_old = |sequence| records().filter(|(_, other)| other.sequence < sequence).count() < KEPT_OUT_OF_ORDER;
        let ended = records().filter(|(_, record)| record.outcome.is_final());
        let oldest = ended.min_by_key(|(_, record)| {
            let gave_nothing = record.given == 0 && is_old(record.sequence);
            (!gave_nothing, record.sequence)
        });
        self.slots.iter().position(Option::is_none).or(oldest.map(|(index, _)| index))
    }

    /// Opens a record in the slot that is least needed; the sequence that was there is then at or below the floor.
    /// False if every slot is still being given, which the limit on running credits rules out.
    pub fn open(&mut self, command: u64, sequence: u32, outcome: Outcome, now_us: u64) -> bool {
        let index = self.replaceable();
        let Some(place) = index.and_then(|index| self.slots.get_mut(index)) else { return false };
        if let Some(evicted) = place {
            self.floor = self.floor.max(evicted.record.sequence);
        }
        let record = Record { command, sequence, given: 0, outcome, reported: false };
        *place = Some(Slot { record, dirty: true, reporting: false, at_us: now_us });
        true
    }

    fn slot_mut(&mut self, sequence: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().flatten().find(|slot| slot.record.sequence == sequence)
    }

    /// Notes one more pulse given.
    pub fn pulse_given(&mut self, sequence: u32, now_us: u64) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.record.given = slot.record.given.saturating_add(1);
            slot.dirty = true;
            slot.at_us = now_us;
            self.credit_pulses += 1;
        }
    }

    /// Settles a credit.
    pub fn close(&mut self, sequence: u32, outcome: Outcome, now_us: u64) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.record.outcome = outcome;
            slot.dirty = true;
            slot.at_us = now_us;
        }
    }

    /// Whether flash has everything known of a sequence.
    pub fn is_durable(&self, sequence: u32) -> bool {
        self.slots.iter().flatten().any(|slot| slot.record.sequence == sequence && !slot.dirty)
    }

    /// The next slot to write, with its bytes. Credits being given come first.
    pub fn unwritten(&self) -> Option<(u8, [u8; RECORD_BYTES])> {
        let dirty = || self.slots.iter().enumerate().filter_map(|(i, slot)| slot.filter(|s| s.dirty).map(|s| (i, s)));
        let (index, slot) = dirty().find(|(_, slot)| !slot.record.outcome.is_final()).or_else(|| dirty().next())?;
        Some((u8::try_from(index).ok()?, encode(&slot.record, self.floor, self.credit_pulses)))
    }

    /// Notes that a slot's bytes are in flash, if they are still what is known.
    pub fn written(&mut self, slot: u8, bytes: &[u8; RECORD_BYTES]) {
        let (floor, credit_pulses) = (self.floor, self.credit_pulses);
        if let Some((_, _, saved)) = decode(bytes) {
            self.credit_pulses_saved = self.credit_pulses_saved.max(saved);
        }
        if let Some(Some(slot)) = self.slots.get_mut(usize::from(slot)) {
            slot.dirty = encode(&slot.record, floor, credit_pulses) != *bytes;
        }
    }

    /// The next outcome that the server has not acknowledged, oldest sequence first. Only durable outcomes are
    /// reported. The exception, when flash fails, are outcomes after which nothing more can be given anyway
    /// (`even_if_dirty`).
    pub fn next_unreported(&self, even_if_dirty: bool) -> Option<(Record, u64)> {
        let ready = |slot: &&Slot| {
            let record = &slot.record;
            record.outcome.is_final() && !record.reported && !slot.reporting && (even_if_dirty || !slot.dirty)
        };
        let slot = self.slots.iter().flatten().filter(ready).min_by_key(|slot| slot.record.sequence)?;
        Some((slot.record, slot.at_us))
    }

    /// Notes that an outcome is on its way to the server.
    pub fn reporting(&mut self, sequence: u32) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.reporting = true;
        }
    }

    /// Notes that the broker has an outcome.
    pub fn reported(&mut self, sequence: u32) {
        if let Some(slot) = self.slot_mut(sequence)
            && slot.reporting
        {
            slot.reporting = false;
            slot.record.reported = true;
            slot.dirty = true;
        }
    }

    /// Notes that all messages on their way are lost.
    pub fn clear_reporting(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.reporting = false);
    }
}

fn encode(record: &Record, floor: u32, credit_pulses: u64) -> [u8; RECORD_BYTES] {
    let (outcome, reason) = match record.outcome {
        Outcome::Started => (1, 0),
        Outcome::Done => (2, 0),
        Outcome::Failed(reason) => (3, reason.code()),
        Outcome::Expired => (4, 0),
    };
    let mut bytes = [0; RECORD_BYTES];
    bytes[0] = FORMAT;
    bytes[1..9].copy_from_slice(&record.command.to_le_bytes());
    bytes[9..13].copy_from_slice(&record.sequence.to_le_bytes());
    bytes[13..15].copy_from_slice(&record.given.to_le_bytes());
    bytes[15] = outcome;
    bytes[16] = reason;
    bytes[17] = u8::from(record.reported);
    bytes[18..22].copy_from_slice(&floor.to_le_bytes());
    bytes[22..30].copy_from_slice(&credit_pulses.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Record, u32, u64)> {
    let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
    let mut rest = bytes.as_slice();
    let format = take::<1>(&mut rest)?[0];
    let command = u64::from_le_bytes(take(&mut rest)?);
    let sequence = u32::from_le_bytes(take(&mut rest)?);
    let given = u16::from_le_bytes(take(&mut rest)?);
    let [outcome, reason, reported] = take(&mut rest)?;
    let floor = u32::from_le_bytes(take(&mut rest)?);
    let credit_pulses = u64::from_le_bytes(take(&mut rest)?);
    let outcome = match outcome {
        1 => Outcome::Started,
        2 => Outcome::Done,
        3 => Outcome::Failed(Reason::from_code(reason)),
        4 => Outcome::Expired,
        _ => return None,
    };
    let record = Record { command, sequence, given, outcome, reported: reported != 0 };
    (format == FORMAT).then_some((record, floor, credit_pulses))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}
