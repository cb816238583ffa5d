//! A published message as the gate holds it: free of any connection's packet ids, aliases and versions.

use std::time::Instant;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{Property, Qos};

/// A message on its way, retained, or waiting as a will.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Checked topic name.
    pub topic: Box<str>,
    pub payload: Bytes,
    /// As published; a subscription may lower it.
    pub qos: Qos,
    /// The publisher's retain flag.
    pub retain: bool,
    /// Number of the publisher's session (for No Local).
    pub origin: u64,
    /// When it expires.
    pub expires_at: Option<Instant>,
    /// What is passed on unaltered: payload format, content type, response topic, correlation data, user properties.
    pub properties: Box<[Property]>,
}

impl Message {
    /// Its size as counted in queues and in the retained map, in bytes.
    pub fn cost_bytes(&self) -> usize {
        // The constants account for the surrounding structs.
        let properties: usize = self.properties.iter().map(|property| 64 + property.size()).sum();
        64 + self.topic.len() + self.payload.len() + properties
    }

    /// Whether it has expired.
    pub fn expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}
