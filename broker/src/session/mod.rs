//! A client's session: its subscriptions, the messages on their way to it, and its will. It may outlive a connection,
//! and passes from one connection to the next.

mod outbox;
mod registry;
mod shared;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) use outbox::{Delivery, Outbox, OutboxBounds, Presence, Queued, Replay, Window};
pub(crate) use registry::{Attach, Attached, Key, Sessions};
pub(crate) use shared::{Group, GroupKey, Groups, Membership, TooManyGroups};

use crate::auth::{Lane, Rules, Version};
use crate::codec::{DisconnectReasonCode, Qos};
use crate::message::Message;
use crate::routes::Route;
use crate::topic::{self, Filter};

/// A live connection, for people to look at.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Unique for the life of the process; see [`crate::Broker::end_connection`].
    pub number: u64,
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
    /// When it last sent a packet.
    pub last_packet_at: SystemTime,
    /// How long it took to acknowledge the last message of QoS 1.
    pub round_trip: Option<Duration>,
}

/// A route's recipient.
#[derive(Debug, Clone)]
pub(crate) enum Recipient {
    /// One of its subscriptions may match.
    Session(Weak<Session>),
    /// The group's filter may match.
    Group(Weak<Group>),
}

/// One subscription of a session.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub filter: Filter,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
    /// The group of a shared subscription, through which its messages come.
    pub membership: Option<Arc<Membership>>,
    /// The core's position when it was made. Messages from before may still be on their way and are not meant for it.
    pub since: u64,
}

impl Subscription {
    /// Whether it has this text, as written in SUBSCRIBE and UNSUBSCRIBE.
    pub fn is(&self, text: &str) -> bool {
        match (&self.membership, topic::shared(text)) {
            (None, None) => self.filter.as_str() == text,
            (Some(membership), Some(Ok((group, filter)))) => {
                membership.group_name() == group && self.filter.as_str() == filter
            }
            _ => false,
        }
    }
}

/// A will that waits for its connection to break.
#[derive(Debug)]
pub(crate) struct Will {
    pub message: Message,
    /// The message's life starts when it is published.
    pub expiry: Option<Duration>,
    pub delay: Duration,
}

/// A session; shared by the registry and the connection that owns it.
pub(crate) struct Session {
    /// Unique for the life of the process.
    pub number: u64,
    pub key: Key,
    /// Wakes the owning connection: there is something to send, or it has to end.
    pub wake: Notify,
    /// When the client last sent a packet, in milliseconds since 1970.
    last_packet_ms: AtomicU64,
    state: Mutex<State>,
}

/// What changes in a session.
pub(crate) struct State {
    /// Number of the connection that owns the session; 0 when none does.
    pub owner: u64,
    pub info: Option<ConnectionInfo>,
    /// Why the owner has to end.
    pub kick: Option<DisconnectReasonCode>,
    /// Its credential was revoked: it ends with its connection and cannot be resumed.
    pub revoked: bool,
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
    /// The routes of a client-lane session that has subscribed.
    pub route: Option<Route<Recipient>>,
    /// Messages dropped because the queue was full.
    pub dropped: u64,
    /// The client came back to a queue that was more than half full, and has not caught up yet. It is not cut when the
    /// queue fills up in this time; otherwise it could never catch up.
    pub catching_up: bool,
    /// How long the client took to acknowledge the last message of QoS 1.
    pub round_trip: Option<Duration>,
}

impl Session {
    pub fn new(number: u64, key: Key, outbox: Outbox, rules: Arc<Rules>) -> Session {
        Session {
            number,
            key,
            wake: Notify::new(),
            last_packet_ms: AtomicU64::new(0),
            state: Mutex::new(State {
                owner: 0,
                info: None,
                kick: None,
                revoked: false,
                rules,
                subscriptions: Vec::new(),
                outbox,
                received: Vec::new(),
                will: None,
                will_due: None,
                expiry: Duration::ZERO,
                ends_at: None,
                route: None,
                dropped: 0,
                catching_up: false,
                round_trip: None,
            }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The client sent a packet.
    pub fn note_packet(&self) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_packet_ms.store(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Its connection, if it has one.
    pub fn connection(&self) -> Option<ConnectionInfo> {
        let state = self.state();
        let info = state.info.clone()?;
        let last_packet_at =
            SystemTime::UNIX_EPOCH + Duration::from_millis(self.last_packet_ms.load(Ordering::Relaxed));
        Some(ConnectionInfo {
            last_packet_at: last_packet_at.max(info.connected_at),
            round_trip: state.round_trip,
            ..info
        })
    }

    /// Returns, with the reason, once a connection has to end.
    pub async fn disconnect_requested(&self, owner: u64) -> DisconnectReasonCode {
        loop {
            // Registered before the check, so that a notification in between is not missed.
            let woken = self.wake.notified();
            if let Some(code) = self.state().disconnect_reason(owner) {
                return code;
            }
            woken.await;
        }
    }

    /// Queues a message, with its position in the core, if a subscription matches; true if the queue had no room for
    /// it. A connected client whose queue is full reads too slowly and is cut; a session without a connection loses the
    /// message, which is counted.
    pub fn deliver(&self, position: u64, message: &Arc<Message>) -> bool {
        let mut state = self.state();
        let Some(delivery) = state.delivery(position, message, self.number) else { return false };
        if state.owner == 0 && delivery.qos == Qos::AtMostOnce {
            // QoS 0 messages are not kept for absent clients.
            return false;
        }
        !self.queue(&mut state, delivery)
    }

    /// Queues a delivery if there is room. A client without room that is connected and not catching up is cut.
    fn queue(&self, state: &mut State, delivery: Delivery) -> bool {
        let presence = if state.owner == 0 { Presence::Away } else { Presence::Connected };
        let taken = state.outbox.push(delivery, presence).is_ok();
        if !taken {
            state.dropped += 1;
            if state.owner != 0 && state.kick.is_none() && !state.catching_up {
                state.kick = Some(DisconnectReasonCode::QuotaExceeded);
            }
        }
        if state.owner != 0 {
            self.wake.notify_one();
        }
        taken
    }
}

impl State {
    /// Why a connection has to end, if it has to: another connection owns the session, or its end was requested.
    pub fn disconnect_reason(&self, owner: u64) -> Option<DisconnectReasonCode> {
        if self.owner == owner { self.kick } else { Some(DisconnectReasonCode::SessionTakenOver) }
    }

    /// How a message goes to this session, if a subscription matches.
    fn delivery(&self, position: u64, message: &Arc<Message>, own_number: u64) -> Option<Delivery> {
        let mut qos = None;
        let mut retain = false;
        let mut identifiers = Vec::new();
        for subscription in &self.subscriptions {
            let own = subscription.no_local && message.origin == own_number;
            let early = position <= subscription.since;
            if subscription.membership.is_some() || own || early || !subscription.filter.matches(&message.topic) {
                continue;
            }
            qos = qos.max(Some(subscription.qos));
            retain |= subscription.retain_as_published && message.retain;
            identifiers.extend(subscription.identifier);
        }
        let qos = qos?.min(message.qos);
        Some(Delivery { message: message.clone(), qos, retain, identifiers: identifiers.into(), group: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ClientIdRule, Grants};
    use crate::topic::TopicBounds;

    const BOUNDS: TopicBounds = TopicBounds { length: 64, levels: 8 };

    fn session() -> Session {
        let grants = Grants {
            credential: "anna".into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: vec![],
            subscribe: vec!["t/#".into()],
            shared: false,
        };
        let key = Key { credential: "anna".into(), client_id: "a".into() };
        let rules = Arc::new(Rules::new(grants, BOUNDS).unwrap());
        let outbox = Outbox::new(OutboxBounds { messages: 2, bytes: 10_000 }, None, Arc::new(Queued::new(10_000)));
        Session::new(1, key, outbox, rules)
    }

    /// Work done on behalf of a connection (waiting for the core, for example) ends when the connection has to end.
    #[tokio::test]
    async fn a_waiting_connection_is_disconnected_when_revoked_or_taken_over() {
        let session = session();
        session.state().owner = 1;
        let mut waiting = std::pin::pin!(session.disconnect_requested(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        session.state().kick = Some(DisconnectReasonCode::AdministrativeAction);
        session.wake.notify_one();
        assert_eq!(waiting.await, DisconnectReasonCode::AdministrativeAction);
        session.state().owner = 2;
        assert_eq!(session.disconnect_requested(1).await, DisconnectReasonCode::SessionTakenOver);
    }

    #[test]
    fn an_offline_session_keeps_reliable_messages_within_bounds() {
        let session = session();
        session.state().subscriptions.push(Subscription {
            filter: Filter::parse("t/#", BOUNDS).unwrap(),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
            membership: None,
            since: 0,
        });
        let deliver = |topic: &str, qos| {
            let message = Message {
                topic: topic.into(),
                payload: bytes::Bytes::new(),
                qos,
                retain: false,
                origin: 2,
                expires_at: None,
                properties: Box::default(),
            };
            session.deliver(1, &Arc::new(message))
        };
        assert!(!deliver("other", Qos::AtLeastOnce), "matches nothing");
        for _ in 0..5 {
            assert!(!deliver("t/x", Qos::AtMostOnce), "not kept");
        }
        assert!(!deliver("t/1", Qos::AtLeastOnce) && !deliver("t/2", Qos::ExactlyOnce));
        assert!(deliver("t/3", Qos::AtLeastOnce), "no room");
        assert_eq!(session.state().dropped, 1);
        assert_eq!(session.state().kick, None);
        // A client that is catching up still loses the newest messages.
        session.state().owner = 9;
        session.state().catching_up = true;
        assert!(deliver("t/4", Qos::AtLeastOnce));
        assert_eq!(session.state().dropped, 2);
        assert_eq!(session.state().kick, None);
        // A connected client is cut for the same reason.
        session.state().catching_up = false;
        assert!(deliver("t/5", Qos::AtMostOnce));
        assert_eq!(session.state().kick, Some(DisconnectReasonCode::QuotaExceeded));
    }
}
