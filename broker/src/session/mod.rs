//! A client's session: its subscriptions, what is on its way to it, its will. It may outlive a connection, and passes
//! from one connection to the next.

mod outbox;
mod registry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use outbox::{Delivery, Outbox, OutboxBounds, Window};
pub(crate) use registry::{Attach, Attached, Key, Sessions};

use crate::auth::{Lane, Rules, Version};
use crate::codec::{DisconnectReasonCode, Qos};
use crate::message::Message;
use crate::topic::Filter;

/// A live connection, for people to look at.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The client identifier in use.
    pub client_id: String,
    /// The name of the credential.
    pub credential: String,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The protocol version.
    pub version: Version,
    /// How it is served.
    pub lane: Lane,
    /// Since when.
    pub connected_at: SystemTime,
}

/// One subscription of a session.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub filter: Filter,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
}

/// A will that waits for its connection to break.
#[derive(Debug)]
pub(crate) struct Will {
    pub message: Message,
    /// The message's life starts when it is published.
    pub expiry: Option<Duration>,
    pub delay: Duration,
}

/// The feed of a client-lane session, and how to end it.
pub(crate) struct FeedHandle {
    pub filters: Vec<Filter>,
    pub stop: CancellationToken,
}

impl Drop for FeedHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A session; shared by the registry, the connection that owns it, and its feed.
pub(crate) struct Session {
    /// Unique for the life of the process.
    pub number: u64,
    pub key: Key,
    pub bounds: OutboxBounds,
    /// Wakes the owning connection: there is something to send, or it has to go.
    pub wake: Notify,
    state: Mutex<State>,
}

/// What changes in a session.
pub(crate) struct State {
    /// Number of the connection that owns the session; 0 when none does.
    pub owner: u64,
    pub info: Option<ConnectionInfo>,
    /// Why the owner has to go.
    pub kick: Option<DisconnectReasonCode>,
    pub rules: Arc<Rules>,
    pub subscriptions: Vec<Subscription>,
    pub outbox: Outbox,
    /// QoS 2 publishes from the client that it has not released yet.
    pub received: Vec<u16>,
    pub will: Option<Will>,
    /// When the will of a broken connection is due.
    pub will_due: Option<Instant>,
    /// How long the session outlives its connection.
    pub expiry: Duration,
    /// When it ends; set while no connection owns it.
    pub ends_at: Option<Instant>,
    pub feed: Option<FeedHandle>,
    /// Messages dropped because the queue was full.
    pub dropped: u64,
}

impl Session {
    pub fn new(number: u64, key: Key, bounds: OutboxBounds, rules: Arc<Rules>) -> Session {
        Session {
            number,
            key,
            bounds,
            wake: Notify::new(),
            state: Mutex::new(State {
                owner: 0,
                info: None,
                kick: None,
                rules,
                subscriptions: Vec::new(),
                outbox: Outbox::default(),
                received: Vec::new(),
                will: None,
                will_due: None,
                expiry: Duration::ZERO,
                ends_at: None,
                feed: None,
                dropped: 0,
            }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Queues a message if a subscription matches; true if the queue had no room for it. A connected client whose queue
    /// is full reads too slowly and is cut; a session without a connection loses the message, which is counted.
    pub fn deliver(&self, message: Arc<Message>) -> bool {
        let mut state = self.state();
        let Some(delivery) = state.delivery(message, self.number) else { return false };
        if state.owner == 0 && delivery.qos == Qos::AtMostOnce {
            // What may be lost is not kept for who is away.
            return false;
        }
        let overflow = state.outbox.push(delivery, self.bounds).is_err();
        if overflow {
            state.dropped += 1;
            if state.owner != 0 && state.kick.is_none() {
                state.kick = Some(DisconnectReasonCode::QuotaExceeded);
            }
        }
        if state.owner != 0 {
            self.wake.notify_one();
        }
        overflow
    }
}

impl State {
    /// How a message goes to this session, if a subscription matches.
    fn delivery(&self, message: Arc<Message>, own_number: u64) -> Option<Delivery> {
        let mut qos = None;
        let mut retain = false;
        let mut identifiers = Vec::new();
        for subscription in &self.subscriptions {
            let own = subscription.no_local && message.origin == own_number;
            if own || !subscription.filter.matches(&message.topic) {
                continue;
            }
            qos = qos.max(Some(subscription.qos));
            retain |= subscription.retain_as_published && message.retain;
            identifiers.extend(subscription.identifier);
        }
        let qos = qos?.min(message.qos);
        Some(Delivery { message, qos, retain, identifiers: identifiers.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ClientIdRule, Grants};
    use crate::topic::TopicBounds;

    #[test]
    fn who_is_away_is_kept_what_may_not_be_lost_within_bounds() {
        let bounds = TopicBounds { length: 64, levels: 8 };
        let grants = Grants {
            credential: "anna".into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: vec![],
            subscribe: vec!["t/#".into()],
        };
        let key = Key { credential: "anna".into(), client_id: "a".into() };
        let rules = Arc::new(Rules::new(grants, bounds).unwrap());
        let session = Session::new(1, key, OutboxBounds { messages: 2, bytes: 10_000 }, rules);
        session.state().subscriptions.push(Subscription {
            filter: Filter::parse("t/#", bounds).unwrap(),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        });
        let deliver = |topic: &str, qos| {
            session.deliver(Arc::new(Message {
                topic: topic.into(),
                payload: bytes::Bytes::new(),
                qos,
                retain: false,
                origin: 2,
                expires_at: None,
                properties: Box::default(),
            }))
        };
        assert!(!deliver("other", Qos::AtLeastOnce), "matches nothing");
        for _ in 0..5 {
            assert!(!deliver("t/x", Qos::AtMostOnce), "not kept");
        }
        assert!(!deliver("t/1", Qos::AtLeastOnce) && !deliver("t/2", Qos::ExactlyOnce));
        assert!(deliver("t/3", Qos::AtLeastOnce), "no room");
        assert_eq!(session.state().dropped, 1);
        assert_eq!(session.state().kick, None);
        // Connected, it is cut for the same.
        session.state().owner = 9;
        assert!(deliver("t/4", Qos::AtMostOnce));
        assert_eq!(session.state().kick, Some(DisconnectReasonCode::QuotaExceeded));
    }
}
