//! What is on its way to one client: replayed retained messages, the queue, and what awaits acknowledgement.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::Version;
use crate::codec::Qos;
use crate::codec::encode::{self, Outgoing};
use crate::message::Message;

/// A message and how it goes to this client.
pub(crate) struct Delivery {
    pub message: Arc<Message>,
    /// The lower of the publisher's and the subscription's.
    pub qos: Qos,
    pub retain: bool,
    /// Identifiers of the subscriptions it matched.
    pub identifiers: Box<[u32]>,
}

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxBounds {
    pub messages: usize,
    pub bytes: usize,
}

/// The queue is full: the message was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// How the connected client takes messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub version: Version,
    /// Messages of QoS 1 and 2 not yet acknowledged, at most.
    pub in_flight: u16,
    pub maximum_packet_bytes: u32,
}

/// What [`Outbox::fill`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filled {
    pub sent: u64,
    /// Expired, or longer than the client takes.
    pub dropped: u64,
}

struct InFlight {
    id: u16,
    delivery: Delivery,
    /// QoS 2: the client has it, and a PUBREL was sent.
    released: bool,
}

/// Messages on the way to one client, oldest first.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Retained messages for new subscriptions: bounded by the retained map, which holds the messages anyway.
    replay: VecDeque<Delivery>,
    queue: VecDeque<Delivery>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
}

impl Outbox {
    /// Queues a message.
    pub fn push(&mut self, delivery: Delivery, bounds: OutboxBounds) -> Result<(), Overflow> {
        let bytes = delivery.message.cost_bytes();
        if self.queue.len() >= bounds.messages || self.queued_bytes + bytes > bounds.bytes {
            return Err(Overflow);
        }
        self.queued_bytes += bytes;
        self.queue.push_back(delivery);
        Ok(())
    }

    /// Queues retained messages, ahead of the queue.
    pub fn replay(&mut self, deliveries: impl Iterator<Item = Delivery>) {
        self.replay.extend(deliveries);
    }

    /// Retained messages still to be sent.
    pub fn replaying(&self) -> usize {
        self.replay.len()
    }

    /// Writes packets into `out` until it holds `full_bytes`, the window is full, or there is no more.
    pub fn fill(&mut self, out: &mut Vec<u8>, full_bytes: usize, window: Window, now: Instant) -> Filled {
        let mut filled = Filled::default();
        while out.len() < full_bytes {
            let next = self.replay.front().or(self.queue.front());
            let Some(next) = next else { break };
            if next.qos != Qos::AtMostOnce && self.in_flight.len() >= usize::from(window.in_flight) {
                break;
            }
            let Some(delivery) = self.pop() else { break };
            if delivery.message.expired(now) {
                filled.dropped += 1;
                continue;
            }
            let id = if delivery.qos == Qos::AtMostOnce { 0 } else { self.free_id() };
            if !write(out, &delivery, id, false, window, now) {
                filled.dropped += 1;
                continue;
            }
            filled.sent += 1;
            if delivery.qos != Qos::AtMostOnce {
                self.in_flight.push_back(InFlight { id, delivery, released: false });
            }
        }
        if self.queue.is_empty() && self.replay.is_empty() {
            // An idle client keeps no room for the burst it once had.
            self.queue.shrink_to(0);
            self.replay.shrink_to(0);
        }
        filled
    }

    fn pop(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.replay.pop_front() {
            return Some(delivery);
        }
        let delivery = self.queue.pop_front()?;
        self.queued_bytes -= delivery.message.cost_bytes();
        Some(delivery)
    }

    /// A packet identifier that is not in flight. There always is one: the window is smaller than their number.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|message| message.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// PUBACK. False when nothing of QoS 1 is in flight under this identifier.
    pub fn acknowledged(&mut self, id: u16) -> bool {
        self.remove(|message| message.id == id && message.delivery.qos == Qos::AtLeastOnce)
    }

    /// PUBREC. False when nothing of QoS 2 is in flight under this identifier; else a PUBREL is due unless it failed.
    pub fn received(&mut self, id: u16, failed: bool) -> bool {
        if failed {
            return self.remove(|message| message.id == id && message.delivery.qos == Qos::ExactlyOnce);
        }
        let found = self.in_flight.iter_mut().find(|message| message.id == id);
        match found {
            Some(message) if message.delivery.qos == Qos::ExactlyOnce => {
                message.released = true;
                true
            }
            _ => false,
        }
    }

    /// PUBCOMP. False when nothing was released under this identifier.
    pub fn completed(&mut self, id: u16) -> bool {
        self.remove(|message| message.id == id && message.released)
    }

    fn remove(&mut self, which: impl FnMut(&InFlight) -> bool) -> bool {
        let at = self.in_flight.iter().position(which);
        at.and_then(|at| self.in_flight.remove(at)).is_some()
    }

    /// Writes again what was in flight when the last connection ended.
    pub fn resend(&mut self, out: &mut Vec<u8>, window: Window, now: Instant) {
        self.in_flight.retain(|message| {
            if message.released {
                encode::pubrel(out, window.version, message.id, true);
                return true;
            }
            !message.delivery.message.expired(now) && write(out, &message.delivery, message.id, true, window, now)
        });
    }
}

fn write(out: &mut Vec<u8>, delivery: &Delivery, id: u16, dup: bool, window: Window, now: Instant) -> bool {
    // What is left of its life, rounded up: never "forever" by mistake and never zero.
    let expiry_s = delivery.message.expires_at.map(|at| {
        let left_ms = at.saturating_duration_since(now).as_millis();
        u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX)
    });
    let outgoing = Outgoing {
        message: &delivery.message,
        id,
        qos: delivery.qos,
        retain: delivery.retain,
        dup,
        expiry_s,
        identifiers: &delivery.identifiers,
    };
    encode::publish(out, window.version, &outgoing, window.maximum_packet_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    const WINDOW: Window = Window { version: Version::V5, in_flight: 2, maximum_packet_bytes: 100 };
    const BOUNDS: OutboxBounds = OutboxBounds { messages: 4, bytes: 1_000 };

    fn delivery(qos: Qos, payload_bytes: usize, expires_at: Option<Instant>) -> Delivery {
        let message = Message {
            topic: "t".into(),
            payload: Bytes::from(vec![7; payload_bytes]),
            qos,
            retain: false,
            origin: 1,
            expires_at,
            properties: Box::default(),
        };
        Delivery { message: Arc::new(message), qos, retain: false, identifiers: Box::default() }
    }

    fn fill(outbox: &mut Outbox, now: Instant) -> Filled {
        outbox.fill(&mut Vec::new(), 10_000, WINDOW, now)
    }

    #[test]
    fn the_queue_and_the_window_are_bounded() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for _ in 0..4 {
            outbox.push(delivery(Qos::AtLeastOnce, 1, None), BOUNDS).unwrap();
        }
        assert_eq!(outbox.push(delivery(Qos::AtMostOnce, 1, None), BOUNDS), Err(Overflow));
        assert_eq!(fill(&mut outbox, now), Filled { sent: 2, dropped: 0 });
        assert!(!outbox.acknowledged(9) && !outbox.received(1, false), "not in flight, not of QoS 2");
        assert!(outbox.acknowledged(2), "in any order");
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 0 });
        assert!(outbox.acknowledged(1) && outbox.acknowledged(3));
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 0 });
        assert_eq!(outbox.push(delivery(Qos::AtMostOnce, 1_000, None), BOUNDS), Err(Overflow));
        assert_eq!(outbox.queued_bytes, 0);
    }

    #[test]
    fn expired_and_oversized_messages_are_dropped() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.push(delivery(Qos::AtLeastOnce, 1, Some(now)), BOUNDS).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 200, None), BOUNDS).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 1, Some(now + Duration::from_secs(1))), BOUNDS).unwrap();
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 2 });
    }

    #[test]
    fn what_was_in_flight_is_sent_again_as_a_duplicate() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.push(delivery(Qos::ExactlyOnce, 1, None), BOUNDS).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 1, None), BOUNDS).unwrap();
        fill(&mut outbox, now);
        assert!(outbox.received(1, false));
        let mut out = Vec::new();
        outbox.resend(&mut out, WINDOW, now);
        assert_eq!(out[..4], [0x62, 2, 0, 1], "PUBREL 1");
        assert_eq!(out[4], 0x3a, "PUBLISH, DUP, QoS 1");
        assert!(outbox.completed(1) && !outbox.completed(1));
    }

    #[test]
    fn identifiers_go_round_and_skip_what_is_in_flight() {
        let (mut outbox, now) = (Outbox { last_id: u16::MAX - 1, ..Outbox::default() }, Instant::now());
        for _ in 0..2 {
            outbox.push(delivery(Qos::AtLeastOnce, 1, None), BOUNDS).unwrap();
        }
        fill(&mut outbox, now);
        assert!(outbox.acknowledged(u16::MAX) && outbox.acknowledged(1));
    }
}
