//! The module's outgoing messages, their order, and which of them are on their way.
//!
//! Outcomes of credits wait in the journal and coin totals in flash: they are repeated until acknowledged. Other acks
//! are sent once: the server asks again if one is lost.

use heapless::{Deque, Vec};
use protocol::{
    limits::PAYLOAD_MAX_BYTES,
    messages::{Reason, Stage},
    topics::Kind,
};

use crate::coinline::sampler::Burst;

/// Messages on their way at once.
pub const IN_FLIGHT_MAX: usize = 4;
/// How many acks can wait. Beyond that the oldest is dropped, and the server asks again.
pub const ACKS_MAX: usize = 12;
/// How many bursts can wait. Beyond that, new pulses are added to the last one. The running total keeps the booking
/// right.
pub const BURSTS_MAX: usize = 8;

/// A message as published.
pub type Payload = Vec<u8, PAYLOAD_MAX_BYTES>;

/// Names a message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u32);

/// A message to publish at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To hand back when the broker acknowledged it.
    pub token: Token,
    /// Which of the module's topics it goes to.
    pub kind: Kind,
    /// Whether the broker shall retain it.
    pub retain: bool,
    /// CBOR and tag.
    pub payload: Payload,
}

/// An ack before it is stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedAck {
    /// The command's id.
    pub command: u64,
    /// The command's sequence.
    pub sequence: u32,
    /// What is said.
    pub stage: Stage,
    /// Credit pulses given.
    pub pulses: Option<u16>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// With `duplicate`: the stage reached.
    pub first: Option<Stage>,
    /// When it became so, as uptime in microseconds.
    pub at_us: u64,
}

/// What a message on its way was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An ack that is sent once.
    Ack,
    /// The outcome of the credit with this sequence.
    Outcome(u32),
    /// The burst at the head of the queue.
    Burst,
    /// The status.
    Status,
}

/// A burst that waits, with the coin total at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The burst.
    pub burst: Burst,
    /// Coin pulses in all, this burst included.
    pub total: u64,
}

/// The queues.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    acks: Deque<QueuedAck, ACKS_MAX>,
    bursts: Deque<Counted, BURSTS_MAX>,
    in_flight: Vec<(Token, Source), IN_FLIGHT_MAX>,
    next_token: u32,
}

impl Outbox {
    /// Queues an ack.
    pub fn say(&mut self, queued: QueuedAck) {
        if self.acks.is_full() {
            self.acks.pop_front();
        }
        let _ = self.acks.push_back(queued);
    }

    /// Takes the next ack.
    pub fn take_ack(&mut self) -> Option<QueuedAck> {
        self.acks.pop_front()
    }

    /// Queues a burst.
    pub fn count(&mut self, counted: Counted) {
        if let Err(counted) = self.bursts.push_back(counted)
            && let Some(last) = self.bursts.back_mut()
        {
            last.burst.pulses = last.burst.pulses.saturating_add(counted.burst.pulses);
            last.burst.ended_us = counted.burst.ended_us;
            last.total = counted.total;
        }
    }

    /// The burst to send, unless one is on its way.
    pub fn burst(&self) -> Option<Counted> {
        if self.is_in_flight(Source::Burst) { None } else { self.bursts.front().copied() }
    }

    /// Whether such a message is on its way.
    pub fn is_in_flight(&self, source: Source) -> bool {
        self.in_flight.iter().any(|(_, other)| *other == source)
    }

    /// Whether nothing more may be sent for now.
    pub fn is_full(&self) -> bool {
        self.in_flight.is_full()
    }

    /// Whether an ack waits or is on its way.
    pub fn has_acks(&self) -> bool {
        !self.acks.is_empty() || self.is_in_flight(Source::Ack)
    }

    /// Notes a message as on its way.
    pub fn send(&mut self, source: Source) -> Token {
        let token = Token(self.next_token);
        self.next_token = self.next_token.wrapping_add(1);
        let _ = self.in_flight.push((token, source));
        token
    }

    /// The broker has a message; gives what it was made of, if it was still on its way.
    pub fn sent(&mut self, token: Token) -> Option<Source> {
        let index = self.in_flight.iter().position(|(other, _)| *other == token)?;
        let (_, source) = self.in_flight.swap_remove(index);
        if source == Source::Burst {
            self.bursts.pop_front();
        }
        Some(source)
    }

    /// The connection is gone: messages on their way are sent again, except acks that are sent once.
    pub fn disconnect(&mut self) {
        self.acks.clear();
        self.in_flight.clear();
    }
}
