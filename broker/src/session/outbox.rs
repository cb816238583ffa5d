//! Messages on their way to one client: retained messages for new subscriptions, the queue, and messages that await
//! acknowledgement.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Group;
use crate::auth::Version;
use crate::codec::Qos;
use crate::codec::encode::{self, Outgoing};
use crate::message::Message;
use crate::retained::{Retained, RetainedCursor, Step};
use crate::topic::Filter;

/// How many retained topics one [`Outbox::fill`] looks at, so that a wide filter does not take too long at a time.
const STEPS_MAX: usize = 1_000;

/// A message, and how it is sent to this client.
pub(crate) struct Delivery {
    pub message: Arc<Message>,
    /// The lower of the publisher's and the subscription's.
    pub qos: Qos,
    pub retain: bool,
    /// Identifiers of the subscriptions it matched.
    pub identifiers: Box<[u32]>,
    /// The group of a shared message: if this client does not take the message in the end, it goes back to the group.
    pub group: Option<Weak<Group>>,
}

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxBounds {
    pub messages: usize,
    pub bytes: usize,
}

/// The total size of several queues: of all, or of one credential's.
pub(crate) struct Queued {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Queued {
    pub fn new(bytes_max: usize) -> Queued {
        Queued { messages: AtomicUsize::new(0), bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Messages waiting.
    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes().saturating_add(bytes) <= self.bytes_max
    }

    /// Counts a message if there is room for it.
    fn take(&self, bytes: usize) -> bool {
        let sum = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if taken {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Counts a message for which room will be made.
    fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The queue is full: the message was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Whether a client is connected to take queued messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Connected,
    Away,
}

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
    /// There are more retained topics to look at, and no other event will report it.
    pub more: bool,
}

/// Retained messages to be sent for a subscription.
pub(crate) struct Replay {
    pub cursor: RetainedCursor,
    /// The subscription's.
    pub qos: Qos,
    pub identifier: Option<u32>,
}

struct InFlight {
    id: u16,
    delivery: Delivery,
    /// QoS 2: the client has it, and a PUBREL was sent.
    released: bool,
    /// When it, or its PUBREL, was sent on this connection; `None` if it must still be sent.
    sent: Option<Instant>,
}

/// Messages on the way to one client, oldest first.
pub(crate) struct Outbox {
    bounds: OutboxBounds,
    /// Of all outboxes of the credential together; `None` if it has only one.
    of_credential: Option<Arc<Queued>>,
    /// Of all outboxes together.
    all: Arc<Queued>,
    /// At most one for each subscription.
    replays: VecDeque<Replay>,
    queue: VecDeque<Delivery>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
}

impl Outbox {
    pub fn new(bounds: OutboxBounds, of_credential: Option<Arc<Queued>>, all: Arc<Queued>) -> Outbox {
        Outbox {
            bounds,
            of_credential,
            all,
            replays: VecDeque::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight: VecDeque::new(),
            last_id: 0,
        }
    }

    /// Whether a message would be queued for a connected client.
    pub fn has_room(&self, message: &Message) -> bool {
        let bytes = message.cost_bytes();
        let fits = self.queue.len() < self.bounds.messages && self.queued_bytes + bytes <= self.bounds.bytes;
        fits && self.of_credential.as_ref().is_none_or(|own| own.has_room(bytes))
    }

    /// Whether more than half of a limit is used.
    pub fn is_half_full(&self) -> bool {
        self.queue.len() > self.bounds.messages / 2 || self.queued_bytes > self.bounds.bytes / 2
    }

    /// Queues a message.
    pub fn push(&mut self, delivery: Delivery, presence: Presence) -> Result<(), Overflow> {
        let bytes = delivery.message.cost_bytes();
        if !self.has_room(&delivery.message) || self.of_credential.as_ref().is_some_and(|own| !own.take(bytes)) {
            return Err(Overflow);
        }
        match presence {
            Presence::Connected => self.all.add(bytes),
            Presence::Away if self.all.take(bytes) => {}
            Presence::Away => {
                if let Some(own) = &self.of_credential {
                    own.give_back(1, bytes);
                }
                return Err(Overflow);
            }
        }
        self.queued_bytes += bytes;
        self.queue.push_back(delivery);
        Ok(())
    }

    /// Schedules retained messages, ahead of the queue. They replace those still to be sent for the same filter.
    pub fn replay(&mut self, replay: Replay) {
        self.keep_replays(|filter| *filter != replay.cursor.filter);
        self.replays.push_back(replay);
    }

    /// Cancels retained messages of all other filters.
    pub fn keep_replays(&mut self, keep: impl Fn(&Filter) -> bool) {
        self.replays.retain(|replay| keep(&replay.cursor.filter));
    }

    /// Writes packets into `out` until it holds `full_bytes`, the window is full, or there is no more.
    pub fn fill(
        &mut self,
        out: &mut Vec<u8>,
        full_bytes: usize,
        window: Window,
        retained: &Retained,
        now: Instant,
    ) -> Filled {
        let mut filled = Filled::default();
        let Some(mut awaited) = self.repeat(out, full_bytes, window, now, &mut filled) else { return filled };
        let mut steps = STEPS_MAX;
        while out.len() < full_bytes {
            let next = self.replays.front().map(|replay| replay.qos).or(self.queue.front().map(|next| next.qos));
            let Some(qos) = next else { break };
            if qos != Qos::AtMostOnce && awaited >= usize::from(window.in_flight) {
                break;
            }
            let delivery = match self.replays.front_mut() {
                Some(replay) => match retained.next(&mut replay.cursor, now, &mut steps) {
                    Step::Message(message) => replay.delivery(message),
                    Step::Later => {
                        filled.more = true;
                        break;
                    }
                    Step::End => {
                        self.replays.pop_front();
                        continue;
                    }
                },
                None => match self.pop() {
                    Some(delivery) => delivery,
                    None => break,
                },
            };
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
                awaited += 1;
                self.in_flight.push_back(InFlight { id, delivery, released: false, sent: Some(now) });
            }
        }
        if self.queue.is_empty() && self.replays.is_empty() {
            // An idle client does not keep memory for an earlier burst.
            self.queue.shrink_to(0);
            self.replays.shrink_to(0);
        }
        filled
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        let bytes = delivery.message.cost_bytes();
        self.queued_bytes -= bytes;
        self.give_back(1, bytes);
        Some(delivery)
    }

    fn give_back(&self, messages: usize, bytes: usize) {
        for shared in self.of_credential.iter().chain([&self.all]) {
            shared.give_back(messages, bytes);
        }
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

    /// PUBACK; returns how long it took, or `None` if no QoS 1 message with this identifier is in flight.
    pub fn acknowledged(&mut self, id: u16, now: Instant) -> Option<Duration> {
        let message = self.remove(|message| message.id == id && message.delivery.qos == Qos::AtLeastOnce)?;
        message.sent.map(|sent| now.saturating_duration_since(sent))
    }

    /// PUBREC. False if no QoS 2 message with this identifier is in flight; otherwise a PUBREL is due, unless it
    /// failed.
    pub fn received(&mut self, id: u16, failed: bool, now: Instant) -> bool {
        if failed {
            return self.remove(|message| message.id == id && message.delivery.qos == Qos::ExactlyOnce).is_some();
        }
        let found = self.in_flight.iter_mut().find(|message| message.id == id);
        match found {
            Some(message) if message.delivery.qos == Qos::ExactlyOnce => {
                message.released = true;
                message.sent = Some(now);
                true
            }
            _ => false,
        }
    }

    /// PUBCOMP. False if no message with this identifier was released.
    pub fn completed(&mut self, id: u16) -> bool {
        self.remove(|message| message.id == id && message.released).is_some()
    }

    fn remove(&mut self, which: impl FnMut(&InFlight) -> bool) -> Option<InFlight> {
        let at = self.in_flight.iter().position(which)?;
        self.in_flight.remove(at)
    }

    /// A new connection begins: messages in flight must be sent again.
    pub fn reconnected(&mut self) {
        for message in &mut self.in_flight {
            message.sent = None;
        }
    }

    /// Writes again what was in flight when the last connection ended, as far as the window allows. Returns how many
    /// messages await acknowledgement once all are repeated.
    fn repeat(
        &mut self,
        out: &mut Vec<u8>,
        full_bytes: usize,
        window: Window,
        now: Instant,
        filled: &mut Filled,
    ) -> Option<usize> {
        let mut awaited = self.in_flight.iter().filter(|message| message.sent.is_some()).count();
        let mut at = 0;
        while let Some(message) = self.in_flight.get_mut(at) {
            if message.sent.is_none() {
                if out.len() >= full_bytes || awaited >= usize::from(window.in_flight) {
                    return None;
                }
                if message.released {
                    encode::pubrel(out, window.version, message.id, true);
                } else {
                    let delivery = &message.delivery;
                    // A message of QoS 2 that was sent does not expire (MQTT 5 section 4.3.3).
                    let expired = delivery.qos == Qos::AtLeastOnce && delivery.message.expired(now);
                    if expired || !write(out, delivery, message.id, true, window, now) {
                        filled.dropped += 1;
                        self.in_flight.remove(at);
                        continue;
                    }
                    filled.sent += 1;
                }
                message.sent = Some(now);
                awaited += 1;
            }
            at += 1;
        }
        Some(awaited)
    }
}

impl Replay {
    fn delivery(&self, message: Arc<Message>) -> Delivery {
        Delivery {
            qos: self.qos.min(message.qos),
            message,
            retain: true,
            identifiers: self.identifier.into_iter().collect(),
            group: None,
        }
    }
}

impl Drop for Outbox {
    /// The session has ended: shared messages that it did not take go back to their groups.
    fn drop(&mut self) {
        self.give_back(self.queue.len(), self.queued_bytes);
        // A QoS 2 message that was sent may have arrived, and must not go to another client (MQTT 5 section 4.8.2).
        let unheard = self.in_flight.drain(..).filter(|message| message.delivery.qos == Qos::AtLeastOnce);
        for delivery in unheard.map(|message| message.delivery).chain(self.queue.drain(..)) {
            if let Some(group) = delivery.group.and_then(|group| group.upgrade()) {
                group.give_back(delivery.message);
            }
        }
    }
}

fn write(out: &mut Vec<u8>, delivery: &Delivery, id: u16, dup: bool, window: Window, now: Instant) -> bool {
    // The rest of its life, rounded up, so that it is never "forever" by mistake, and never zero even if repeated too
    // late.
    let expiry_s = delivery.message.expires_at.map(|at| {
        let left_ms = at.saturating_duration_since(now).as_millis();
        u32::try_from(left_ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
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
    use crate::config::Limits;
    use bytes::Bytes;

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
        Delivery { message: Arc::new(message), qos, retain: false, identifiers: Box::default(), group: None }
    }

    fn outbox() -> Outbox {
        Outbox::new(BOUNDS, None, Arc::new(Queued::new(usize::MAX)))
    }

    #[test]
    fn queues_together_are_bounded_and_give_back_what_they_held() {
        let message = || delivery(Qos::AtLeastOnce, 1, None);
        let one = message().message.cost_bytes();
        let (all, own) = (Arc::new(Queued::new(3 * one)), Arc::new(Queued::new(3 * one)));
        let mut first = Outbox::new(BOUNDS, Some(own.clone()), all.clone());
        let mut second = Outbox::new(BOUNDS, Some(own.clone()), all.clone());
        for _ in 0..2 {
            first.push(message(), Presence::Connected).unwrap();
        }
        second.push(message(), Presence::Away).unwrap();
        assert_eq!(second.push(message(), Presence::Connected), Err(Overflow), "the credential has no more");
        // Another credential's outbox, whose client is away, has what is left of the total: nothing.
        let mut others = Outbox::new(BOUNDS, Some(Arc::new(Queued::new(3 * one))), all.clone());
        assert_eq!(others.push(message(), Presence::Away), Err(Overflow));
        others.push(message(), Presence::Connected).unwrap();
        assert_eq!((all.messages(), all.bytes()), (4, 4 * one));
        fill(&mut first, Instant::now());
        second.push(message(), Presence::Away).unwrap();
        drop((second, others));
        assert_eq!((all.messages(), all.bytes()), (0, 0));
        assert_eq!((own.messages(), own.bytes()), (0, 0));
    }

    fn fill(outbox: &mut Outbox, now: Instant) -> Filled {
        outbox.fill(&mut Vec::new(), 10_000, WINDOW, &Retained::new(&Limits::default()), now)
    }

    #[test]
    fn the_queue_and_the_window_are_bounded() {
        let (mut outbox, now) = (outbox(), Instant::now());
        for _ in 0..4 {
            outbox.push(delivery(Qos::AtLeastOnce, 1, None), Presence::Connected).unwrap();
        }
        assert_eq!(outbox.push(delivery(Qos::AtMostOnce, 1, None), Presence::Connected), Err(Overflow));
        assert_eq!(fill(&mut outbox, now), Filled { sent: 2, dropped: 0, more: false });
        assert!(
            outbox.acknowledged(9, now).is_none() && !outbox.received(1, false, now),
            "not in flight, not of QoS 2"
        );
        assert_eq!(
            outbox.acknowledged(2, now + Duration::from_millis(7)),
            Some(Duration::from_millis(7)),
            "in any order"
        );
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 0, more: false });
        assert!(outbox.acknowledged(1, now).is_some() && outbox.acknowledged(3, now).is_some());
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 0, more: false });
        assert_eq!(outbox.push(delivery(Qos::AtMostOnce, 1_000, None), Presence::Connected), Err(Overflow));
        assert_eq!(outbox.queued_bytes, 0);
    }

    #[test]
    fn expired_and_oversized_messages_are_dropped() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.push(delivery(Qos::AtLeastOnce, 1, Some(now)), Presence::Connected).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 200, None), Presence::Connected).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 1, Some(now + Duration::from_secs(1))), Presence::Connected).unwrap();
        assert_eq!(fill(&mut outbox, now), Filled { sent: 1, dropped: 2, more: false });
    }

    #[test]
    fn what_was_in_flight_is_sent_again_as_a_duplicate() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.push(delivery(Qos::ExactlyOnce, 1, None), Presence::Connected).unwrap();
        outbox.push(delivery(Qos::AtLeastOnce, 1, None), Presence::Connected).unwrap();
        fill(&mut outbox, now);
        assert!(outbox.received(1, false, now));
        outbox.reconnected();
        let mut out = Vec::new();
        outbox.fill(&mut out, 10_000, WINDOW, &Retained::new(&Limits::default()), now);
        assert_eq!(out[..4], [0x62, 2, 0, 1], "PUBREL 1");
        assert_eq!(out[4], 0x3a, "PUBLISH, DUP, QoS 1");
        assert!(outbox.completed(1) && !outbox.completed(1));
    }

    #[test]
    fn identifiers_go_round_and_skip_what_is_in_flight() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.last_id = u16::MAX - 1;
        for _ in 0..2 {
            outbox.push(delivery(Qos::AtLeastOnce, 1, None), Presence::Connected).unwrap();
        }
        fill(&mut outbox, now);
        assert!(outbox.acknowledged(u16::MAX, now).is_some() && outbox.acknowledged(1, now).is_some());
    }
}
