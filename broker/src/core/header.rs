//! What the router does not carry, packed beside the payload.
//!
//! A local link of the router knows neither a publisher's QoS nor its retain flag, and would age a message by whole
//! seconds only. So the gate sends QoS, retain flag, origin, expiry and properties as a header of its own, in the place of
//! the correlation data (cheap to clone), and leaves the payload alone. Both ends are this process: the format is private
//! to this file.
//!
//! ```text
//! position u64 | flags (bits 0-1 QoS, 2 retain, 3 has expiry) | origin u64 | expiry in ms on the process's clock u64 |
//! properties, encoded
//! ```

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use mqtt_protocol_core::mqtt::packet::{Property, Qos};
use rumqttd::protocol::{Packet, PublishProperties};

use super::router::Forwarded;
use crate::message::Message;

const RETAIN: u8 = 0b0100;
const EXPIRES: u8 = 0b1000;
const POSITION_BYTES: usize = 8;
const FIXED_BYTES: usize = POSITION_BYTES + 1 + 8 + 8;
/// What a message costs the core beside topic and payload, roughly, in bytes.
const OVERHEAD_BYTES: usize = 512;

/// Instants cross the core as milliseconds since this one.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// A message packed for the core.
pub(super) struct Envelope {
    topic: Bytes,
    payload: Bytes,
    header: Vec<u8>,
}

impl Envelope {
    pub fn new(message: &Message) -> Envelope {
        let mut header = vec![0; POSITION_BYTES];
        let mut flags = message.qos as u8;
        if message.retain {
            flags |= RETAIN;
        }
        if message.expires_at.is_some() {
            flags |= EXPIRES;
        }
        header.put_u8(flags);
        header.put_u64(message.origin);
        let expiry = message.expires_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(epoch()));
        header.put_u64(u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
        for property in &message.properties {
            header.put_slice(&property.to_continuous_buffer());
        }
        Envelope { topic: Bytes::copy_from_slice(message.topic.as_bytes()), payload: message.payload.clone(), header }
    }

    /// What it costs the core, in bytes.
    pub fn cost_bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len() + self.header.len() + OVERHEAD_BYTES) as u64
    }

    /// The packet for the router; `position` is the cost of all messages up to this one.
    pub fn packet(&mut self, position: u64) -> Packet {
        self.header[..POSITION_BYTES].copy_from_slice(&position.to_be_bytes());
        let header = Bytes::copy_from_slice(&self.header);
        let properties = PublishProperties { correlation_data: Some(header), ..PublishProperties::default() };
        super::router::packet(self.topic.clone(), self.payload.clone(), Some(properties))
    }
}

/// The position of a publish, or `None` if it has no header (a probe).
pub(super) fn position(forwarded: &Forwarded) -> Option<u64> {
    let header = forwarded.properties.as_ref()?.correlation_data.as_ref()?;
    header.first_chunk().map(|position| u64::from_be_bytes(*position))
}

/// The message behind a publish, or `None` if it has no header (a probe).
pub(super) fn from_core(forwarded: Forwarded) -> Option<Message> {
    let publish = forwarded.publish;
    let mut header = forwarded.properties?.correlation_data?;
    if header.len() < FIXED_BYTES {
        return None;
    }
    header.advance(POSITION_BYTES);
    let flags = header.get_u8();
    let origin = header.get_u64();
    let expiry_ms = header.get_u64();
    let mut parsed = Vec::new();
    while header.has_remaining() {
        let (property, length) = Property::parse(&header).ok()?;
        header.advance(length);
        parsed.push(property);
    }
    Some(Message {
        topic: std::str::from_utf8(&publish.topic).ok()?.into(),
        payload: publish.payload,
        qos: Qos::try_from(flags & 0b0011).ok()?,
        retain: flags & RETAIN != 0,
        origin,
        expires_at: (flags & EXPIRES != 0).then(|| epoch() + Duration::from_millis(expiry_ms)),
        properties: parsed.into(),
    })
}
