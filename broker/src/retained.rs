//! Retained messages, kept by the gate: the core would serve a new subscriber only a part of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use crate::config::Limits;
use crate::message::Message;
use crate::topic::Filter;

/// The retained message of each topic, bounded in number and bytes.
pub(crate) struct Retained {
    kept: RwLock<Kept>,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Kept {
    messages: HashMap<Box<str>, Arc<Message>>,
    bytes: usize,
}

/// The bound is reached: the message was not kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Retained {
    pub fn new(limits: &Limits) -> Retained {
        Retained {
            kept: RwLock::new(Kept::default()),
            messages_max: limits.retained_messages,
            bytes_max: limits.retained_bytes,
        }
    }

    /// Keeps a message in place of its topic's last one; an empty payload clears the topic.
    pub fn store(&self, message: &Arc<Message>) -> Result<(), Full> {
        let mut kept = self.kept.write();
        let replaced = kept.messages.get(&message.topic).map_or(0, |old| old.cost_bytes());
        if message.payload.is_empty() {
            kept.messages.remove(&message.topic);
            kept.bytes -= replaced;
            return Ok(());
        }
        let bytes = kept.bytes - replaced + message.cost_bytes();
        let grows = usize::from(replaced == 0);
        if kept.messages.len() + grows > self.messages_max || bytes > self.bytes_max {
            return Err(Full);
        }
        kept.messages.insert(message.topic.clone(), message.clone());
        kept.bytes = bytes;
        Ok(())
    }

    /// The live messages within a filter.
    pub fn matching(&self, filter: &Filter, now: Instant) -> Vec<Arc<Message>> {
        let kept = self.kept.read();
        let live = |message: &&Arc<Message>| !message.expired(now);
        if filter.is_literal() {
            return kept.messages.get(filter.as_str()).filter(live).cloned().into_iter().collect();
        }
        kept.messages.values().filter(live).filter(|message| filter.matches(&message.topic)).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.read().messages.len()
    }

    /// Drops what has expired; returns how many are left.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut kept = self.kept.write();
        let mut freed = 0;
        kept.messages.retain(|_, message| {
            let expired = message.expired(now);
            if expired {
                freed += message.cost_bytes();
            }
            !expired
        });
        kept.bytes -= freed;
        kept.messages.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::topic::TopicBounds;
    use bytes::Bytes;
    use mqtt_protocol_core::mqtt::packet::Qos;
    use std::time::Duration;

    fn message(topic: &str, payload: &'static str, expires_at: Option<Instant>) -> Arc<Message> {
        Arc::new(Message {
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: Qos::AtMostOnce,
            retain: true,
            origin: 1,
            expires_at,
            properties: Box::default(),
        })
    }

    fn count(retained: &Retained, filter: &str, now: Instant) -> usize {
        let filter = Filter::parse(filter, TopicBounds { length: 64, levels: 8 }).unwrap();
        retained.matching(&filter, now).len()
    }

    #[test]
    fn the_bounds_hold_and_clearing_makes_room() {
        let retained = Retained::new(&Limits { retained_messages: 2, ..Limits::default() });
        let now = Instant::now();
        retained.store(&message("a/1", "x", None)).unwrap();
        retained.store(&message("a/2", "x", None)).unwrap();
        assert_eq!(retained.store(&message("a/3", "x", None)), Err(Full));
        retained.store(&message("a/2", "y", None)).unwrap();
        retained.store(&message("a/1", "", None)).unwrap();
        retained.store(&message("a/3", "x", None)).unwrap();
        assert_eq!(count(&retained, "a/+", now), 2);
        assert_eq!(count(&retained, "a/1", now), 0);

        let bytes = message("a/1", "x", None).cost_bytes();
        let retained = Retained::new(&Limits { retained_bytes: bytes, ..Limits::default() });
        retained.store(&message("a/1", "x", None)).unwrap();
        assert_eq!(retained.store(&message("a/1", "xx", None)), Err(Full));
    }

    #[test]
    fn expired_messages_are_not_served_and_swept() {
        let retained = Retained::new(&Limits::default());
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        retained.store(&message("a", "x", Some(later))).unwrap();
        retained.store(&message("b", "x", None)).unwrap();
        assert_eq!(count(&retained, "#", now), 2);
        assert_eq!(count(&retained, "a", later), 0);
        assert_eq!(retained.sweep(later), 1);
        assert_eq!(retained.kept.read().bytes, message("b", "x", None).cost_bytes());
    }
}
