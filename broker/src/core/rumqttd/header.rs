//! A header before the payload, for what the router does not carry.
//!
//! A local link of the router carries neither a publisher's QoS nor its retain flag, and counts a message's age in
//! whole seconds only. So the gate sends QoS, retain flag, origin, expiry and properties in its own header, in front of
//! the payload. (The router bounds its logs by the bytes of topics and payloads, and counts nothing else.) Both ends
//! are in this process, so the format is private to this file.
//!
//! ```text
//! position u64 | flags (bits 0-1 QoS, 2 retain, 3 has expiry) | origin u64 | expiry in ms on the process's clock u64 |
//! length of the properties u32 | properties, encoded | payload
//! ```

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use mqtt_protocol_core::mqtt::packet::{Property, Qos};
use rumqttd::protocol::{Packet, Publish};

use crate::message::Message;

const RETAIN: u8 = 0b0100;
const EXPIRES: u8 = 0b1000;
const POSITION_BYTES: usize = 8;
const FIXED_BYTES: usize = POSITION_BYTES + 1 + 8 + 8 + 4;
/// What a message costs the core in addition to topic and payload, roughly, in bytes.
const OVERHEAD_BYTES: usize = 512;

/// Instants are sent through the core as milliseconds since this one.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// A message packed for the core.
pub(super) struct Envelope {
    topic: Bytes,
    /// Header and payload.
    body: Vec<u8>,
}

impl Envelope {
    pub fn new(message: &Message) -> Envelope {
        let mut body = vec![0; POSITION_BYTES];
        let mut flags = message.qos as u8;
        if message.retain {
            flags |= RETAIN;
        }
        if message.expires_at.is_some() {
            flags |= EXPIRES;
        }
        body.put_u8(flags);
        body.put_u64(message.origin);
        let expiry = message.expires_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(epoch()));
        body.put_u64(u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
        let properties: Vec<Vec<u8>> = message.properties.iter().map(Property::to_continuous_buffer).collect();
        let properties_bytes = properties.iter().map(Vec::len).sum::<usize>();
        body.put_u32(u32::try_from(properties_bytes).expect("they came in a packet, which is shorter"));
        for property in properties {
            body.put_slice(&property);
        }
        body.put_slice(&message.payload);
        Envelope { topic: Bytes::copy_from_slice(message.topic.as_bytes()), body }
    }

    /// What it costs the core, in bytes.
    pub fn cost_bytes(&self) -> u64 {
        (self.topic.len() + self.body.len() + OVERHEAD_BYTES) as u64
    }

    /// The packet for the router; `position` is the cost of all messages up to this one.
    pub fn packet(&mut self, position: u64) -> Packet {
        self.body[..POSITION_BYTES].copy_from_slice(&position.to_be_bytes());
        super::router::packet(self.topic.clone(), Bytes::copy_from_slice(&self.body))
    }
}

/// The message behind a publish and its position, or `None` if it has no header (a probe).
pub(super) fn unpack(publish: Publish) -> Option<(u64, Message)> {
    let mut body = publish.payload;
    if body.len() < FIXED_BYTES {
        return None;
    }
    let position = body.get_u64();
    let flags = body.get_u8();
    let origin = body.get_u64();
    let expiry_ms = body.get_u64();
    let properties_bytes = body.get_u32() as usize;
    if body.len() < properties_bytes {
        return None;
    }
    let mut properties = body.split_to(properties_bytes);
    let mut parsed = Vec::new();
    while properties.has_remaining() {
        let (property, length) = Property::parse(&properties).ok()?;
        properties.advance(length);
        parsed.push(property);
    }
    let message = Message {
        topic: std::str::from_utf8(&publish.topic).ok()?.into(),
        payload: body,
        qos: Qos::try_from(flags & 0b0011).ok()?,
        retain: flags & RETAIN != 0,
        origin,
        expires_at: (flags & EXPIRES != 0).then(|| epoch() + Duration::from_millis(expiry_ms)),
        properties: parsed.into(),
    };
    Some((position, message))
}
