//! Retained messages, kept by the gate because the core would serve a new subscriber only a part of them.

use std::collections::BTreeMap;
use std::ops::Bound;
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
    messages: BTreeMap<Box<str>, Entry>,
    bytes: usize,
    /// How many messages were kept so far.
    stored: u64,
}

struct Entry {
    message: Arc<Message>,
    /// Its ordinal among the messages kept.
    number: u64,
}

/// A walk through the messages within a filter, for one subscriber. It holds no messages: each is looked up when its
/// turn comes, so that a client that does not read costs no more memory than this.
pub(crate) struct RetainedCursor {
    pub filter: Filter,
    /// Messages kept later than this reach the subscriber as they are published.
    up_to: u64,
    /// The topic it has reached.
    after: Option<Box<str>>,
}

/// The result of a step of a walk.
pub(crate) enum Step {
    Message(Arc<Message>),
    /// There may be more, but not within the given steps.
    Later,
    End,
}

/// The limit is reached: the message was not kept.
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

    /// Whether a message would be kept.
    pub fn has_room(&self, message: &Message) -> bool {
        message.payload.is_empty() || self.room(&self.kept.read(), message).is_some()
    }

    /// The size of all messages in bytes, if this one replaced its topic's last one; `None` if that exceeds the limits.
    fn room(&self, kept: &Kept, message: &Message) -> Option<usize> {
        let replaced = kept.messages.get(&message.topic).map(|old| old.message.cost_bytes());
        let bytes = kept.bytes - replaced.unwrap_or(0) + message.cost_bytes();
        let count = kept.messages.len() + usize::from(replaced.is_none());
        (count <= self.messages_max && bytes <= self.bytes_max).then_some(bytes)
    }

    /// Keeps a message in place of its topic's last one; an empty payload clears the topic.
    pub fn store(&self, message: &Arc<Message>) -> Result<(), Full> {
        let mut kept = self.kept.write();
        if message.payload.is_empty() {
            if let Some(cleared) = kept.messages.remove(&message.topic) {
                kept.bytes -= cleared.message.cost_bytes();
            }
            return Ok(());
        }
        let bytes = self.room(&kept, message).ok_or(Full)?;
        kept.stored += 1;
        let entry = Entry { message: message.clone(), number: kept.stored };
        kept.messages.insert(message.topic.clone(), entry);
        kept.bytes = bytes;
        Ok(())
    }

    /// Begins a walk through what is kept now.
    pub fn cursor(&self, filter: Filter) -> RetainedCursor {
        RetainedCursor { filter, up_to: self.kept.read().stored, after: None }
    }

    /// The next live message of a walk. Looks at no more than `steps` topics, and subtracts those it looked at.
    pub fn next(&self, cursor: &mut RetainedCursor, now: Instant, steps: &mut usize) -> Step {
        let kept = self.kept.read();
        let prefix = cursor.filter.literal_prefix();
        let from = cursor.after.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let to = if cursor.filter.is_literal() { Bound::Included(prefix) } else { Bound::Unbounded };
        let mut seen = None;
        for (topic, entry) in kept.messages.range::<str, _>((from, to)) {
            if !topic.starts_with(prefix) {
                return Step::End;
            }
            if *steps == 0 {
                cursor.after = seen.or(cursor.after.take());
                return Step::Later;
            }
            *steps -= 1;
            if entry.number <= cursor.up_to && !entry.message.expired(now) && cursor.filter.matches(topic) {
                cursor.after = Some(topic.clone());
                return Step::Message(entry.message.clone());
            }
            seen = Some(topic.clone());
        }
        Step::End
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.read().messages.len()
    }

    /// Drops what has expired; returns how many are left.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut kept = self.kept.write();
        let mut freed = 0;
        kept.messages.retain(|_, entry| {
            let expired = entry.message.expired(now);
            if expired {
                freed += entry.message.cost_bytes();
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
        let mut cursor = retained.cursor(filter);
        let mut found = 0;
        loop {
            match retained.next(&mut cursor, now, &mut 1) {
                Step::Message(_) => found += 1,
                Step::Later => {}
                Step::End => return found,
            }
        }
    }

    #[test]
    fn a_walk_finds_what_was_kept_when_it_began_and_still_is() {
        let retained = Retained::new(&Limits::default());
        let now = Instant::now();
        for topic in ["a", "a/b", "a/b/c", "a-", "b/b"] {
            retained.store(&message(topic, "x", None)).unwrap();
        }
        for (filter, found) in [("a/#", 3), ("#", 5), ("+/b", 2), ("a/b", 1), ("a/+", 1), ("c", 0)] {
            assert_eq!(count(&retained, filter, now), found, "{filter}");
        }
        let mut cursor = retained.cursor(Filter::parse("#", TopicBounds { length: 64, levels: 8 }).unwrap());
        retained.store(&message("a", "", None)).unwrap();
        retained.store(&message("a/b", "later", None)).unwrap();
        retained.store(&message("z", "later", None)).unwrap();
        let mut topics = Vec::new();
        while let Step::Message(message) = retained.next(&mut cursor, now, &mut 100) {
            topics.push(message.topic.clone());
        }
        assert_eq!(topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), ["a-", "a/b/c", "b/b"]);
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
