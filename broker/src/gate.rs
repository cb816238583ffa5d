//! What all connections share: sessions, retained messages, the core, and how messages pass between them.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::auth::Authenticate;
use crate::config::Limits;
use crate::core::{Core, CoreError};
use crate::failures::FailedLogins;
use crate::measure::Meters;
use crate::message::Message;
use crate::refusals::Refusals;
use crate::retained::{Retained, RetainedCursor};
use crate::routes::Routes;
use crate::session::{Group, GroupKey, Groups, Membership, Recipient, Session, Sessions, TooManyGroups, Will};
use crate::slots::ConnectionSlots;
use crate::topic::{Filter, disjoint_cover};

/// Why a publish was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// A limit of the broker is reached (retained messages, distinct topics).
    Quota,
    /// The core is busy or gone.
    Unavailable,
}

impl From<CoreError> for PublishError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::TooManyTopics => PublishError::Quota,
            CoreError::Unavailable => PublishError::Unavailable,
        }
    }
}

/// The gate.
pub(crate) struct Gate {
    pub limits: Limits,
    pub auth: Arc<dyn Authenticate>,
    pub core: Arc<dyn Core>,
    pub sessions: Sessions,
    pub retained: Retained,
    groups: Groups,
    /// When the broker was started.
    pub begun: Instant,
    pub device_topics: Filter,
    /// The session that gets each device's topic.
    devices: RwLock<HashMap<Box<str>, Arc<Session>>>,
    /// The routes of all other messages.
    routes: Arc<Routes<Recipient>>,
    /// How often devices publish, by credential, so that reconnecting does not reset the count.
    pub publish_rates: DefaultKeyedRateLimiter<Box<str>>,
    pub meters: Meters,
    pub slots: Arc<ConnectionSlots>,
    pub failed_logins: FailedLogins,
    pub refusals: Refusals,
    connection_numbers: AtomicU64,
    /// The broker is ending: say goodbye.
    pub closing: CancellationToken,
    /// Time is up.
    pub aborted: CancellationToken,
    pub tasks: TaskTracker,
}

impl Gate {
    pub fn new(limits: Limits, device_topics: Filter, auth: Arc<dyn Authenticate>, core: Arc<dyn Core>) -> Gate {
        Gate {
            auth,
            core,
            sessions: Sessions::new(&limits),
            retained: Retained::new(&limits),
            groups: Groups::new(limits.shared_groups, limits.shared_groups_per_credential),
            begun: Instant::now(),
            device_topics,
            devices: RwLock::default(),
            routes: Arc::default(),
            publish_rates: RateLimiter::keyed(Quota::per_minute(
                NonZeroU32::new(limits.device_publishes_per_minute).unwrap_or(NonZeroU32::MIN),
            )),
            meters: Meters::new(),
            slots: Arc::new(ConnectionSlots::new(&limits)),
            failed_logins: FailedLogins::new(&limits),
            refusals: Refusals::default(),
            connection_numbers: AtomicU64::new(1),
            closing: CancellationToken::new(),
            aborted: CancellationToken::new(),
            tasks: TaskTracker::new(),
            limits,
        }
    }

    pub fn connection_number(&self) -> u64 {
        self.connection_numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a message that was checked against its publisher's grants: keeps it if it is retained, and hands it to the
    /// core.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let message = Arc::new(message);
        if !message.retain {
            return self.core.publish(&message, &|| {}).await.map_err(PublishError::from);
        }
        if !self.retained.has_room(&message) {
            warn!(topic = %message.topic, "no room for another retained message");
            return Err(PublishError::Quota);
        }
        // Stored once the core has it, and before anybody can begin a walk: see `Gate::begin`.
        let keep = || {
            if self.retained.store(&message).is_err() {
                warn!(topic = %message.topic, "other retained messages have just used the room for this one");
            }
        };
        self.core.publish(&message, &keep).await.map_err(PublishError::from)
    }

    /// The start of a new subscription in a session that already has its routes: the core's position, and a walk
    /// through the retained messages. Messages retained so far come from the walk, and messages published from now on
    /// from the core; at this moment no message is between the core and the retained messages.
    pub fn begin(&self, filter: Filter) -> (u64, RetainedCursor) {
        self.between_handovers(|position| (position, self.retained.cursor(filter)))
    }

    /// Runs a function while no message is being handed to the core, with the position of the last one that was.
    fn between_handovers<T>(&self, what: impl FnOnce(u64) -> T) -> T {
        let (mut what, mut done) = (Some(what), None);
        self.core.between_handovers(&mut |position| done = what.take().map(|what| what(position)));
        done.expect("the core calls what it is given, once")
    }

    /// Publishes the will of a broken connection.
    pub async fn publish_will(&self, will: Will) {
        let mut message = will.message;
        message.expires_at = will.expiry.map(|life| Instant::now() + life);
        self.meters.wills.increment(1);
        if let Err(error) = self.publish(message).await {
            warn!(?error, "a will was not published");
        }
    }

    /// Routes what is published to `topic` to a device. A later device takes over.
    pub fn route_device(&self, topic: &str, session: &Arc<Session>) {
        self.devices.write().insert(topic.into(), session.clone());
    }

    /// Removes the route, if it led to this device.
    pub fn unroute_device(&self, topic: &str, session: &Arc<Session>) {
        let mut devices = self.devices.write();
        if devices.get(topic).is_some_and(|routed| Arc::ptr_eq(routed, session)) {
            devices.remove(topic);
        }
    }

    /// Delivers the messages that come through the core to their recipients, until the broker ends.
    pub async fn serve(self: Arc<Self>) {
        let take = |position, message| self.dispatch(position, &message);
        let serving = self.core.run(&take);
        tokio::select! {
            () = serving => {}
            () = self.closing.cancelled() => {}
        }
    }

    fn dispatch(&self, position: u64, message: &Arc<Message>) {
        let device = self.devices.read().get(&message.topic).cloned();
        if let Some(device) = device {
            self.deliver(&device, position, message);
        }
        for recipient in self.routes.recipients(&message.topic) {
            match recipient {
                Recipient::Session(session) => {
                    if let Some(session) = session.upgrade() {
                        self.deliver(&session, position, message);
                    }
                }
                Recipient::Group(group) => {
                    if let Some(group) = group.upgrade() {
                        self.meters.dropped.increment(group.take(position, message));
                    }
                }
            }
        }
    }

    /// Hands a message, with its position in the core, to a session if one of its subscriptions matches.
    pub fn deliver(&self, session: &Session, position: u64, message: &Arc<Message>) {
        if session.deliver(position, message) {
            self.meters.dropped.increment(1);
            debug!(client = %session.key.client_id, "queue full");
        }
    }

    /// Makes sure that a client-lane session has routes for all that it may subscribe to. Messages published after this
    /// returns reach the session if a subscription matches.
    ///
    /// The routes are the credential's grants, joined until none overlap, and not the client's filters. So their cost
    /// is bounded by the grants, and overlapping subscriptions do not deliver a message twice.
    pub fn route(&self, session: &Arc<Session>, owner: u64) {
        let filters = session_grants(session);
        let mut state = session.state();
        let is_led = state.route.as_ref().is_some_and(|route| route.has_filters(&filters));
        // If it was taken over in the meantime, the session may have ended.
        if is_led || state.owner != owner {
            return;
        }
        state.route = Some(self.routes.add_route(filters, &Recipient::Session(Arc::downgrade(session))));
    }

    /// Makes a session a member of a group of shared subscriptions. Messages published after this returns reach one of
    /// the group's members.
    pub fn share(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: &str,
        filter: &Filter,
    ) -> Result<Membership, TooManyGroups> {
        let key = GroupKey { credential: session.key.credential.clone(), name: name.into(), filter: filter.clone() };
        let since = self.between_handovers(|position| position);
        let add_route =
            |group: &Arc<Group>| self.routes.add_route(vec![filter.clone()], &Recipient::Group(Arc::downgrade(group)));
        let (membership, new) = self.groups.join(key, session, since, add_route)?;
        if let Some(group) = new {
            let gate = self.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = gate.closing.cancelled() => {}
                    () = group.redeliver_loop(|lost| gate.meters.dropped.increment(lost)) => {}
                }
            });
        }
        Ok(membership)
    }
}

/// What a session may subscribe to: its grants, joined until none overlap.
fn session_grants(session: &Session) -> Vec<Filter> {
    let state = session.state();
    // The broker's own statistics do not pass through the core.
    let granted: Vec<_> = state.rules.subscribe_grants().iter().filter(|grant| !grant.is_system()).collect();
    disjoint_cover(&granted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ClientIdRule, Grants, Lane, Login, Refusal, Rules, Version};
    use crate::codec::Qos;
    use crate::core::RumqttdCore;
    use std::time::Duration;

    use crate::session::{Attach, Attached, ConnectionInfo, Subscription};

    struct Nobody;

    #[async_trait::async_trait]
    impl Authenticate for Nobody {
        async fn authenticate(&self, _: &Login) -> Result<Grants, Refusal> {
            Err(Refusal::NotAuthorized)
        }
    }

    fn attached(gate: &Gate, lane: Lane, filter: &str) -> Arc<Session> {
        let bounds = gate.limits.topic_bounds();
        let grants = Grants {
            credential: filter.to_owned(),
            lane,
            client_id: ClientIdRule::Any,
            publish: vec![],
            subscribe: vec![filter.to_owned()],
            shared: false,
        };
        let attach = Attach {
            owner: 1,
            info: ConnectionInfo {
                number: 1,
                client_id: "id".into(),
                credential: filter.to_owned(),
                peer: ([127, 0, 0, 1], 1).into(),
                version: Version::V5,
                lane,
                connected_at: std::time::SystemTime::now(),
                last_packet_at: std::time::SystemTime::now(),
                round_trip: None,
            },
            rules: Arc::new(Rules::new(grants, bounds).unwrap()),
            clean_start: true,
            expiry: Duration::ZERO,
            will: None,
            revocations: gate.sessions.revocations(),
        };
        let Attached::Ready { session, .. } = gate.sessions.attach(attach) else { panic!("not attached") };
        session.state().subscriptions.push(Subscription {
            filter: Filter::parse(filter, bounds).unwrap(),
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
            membership: None,
            since: 0,
        });
        session
    }

    async fn publish_until_delivered(gate: &Gate, topic: &str, session: &Session) {
        let publishing = async {
            loop {
                let message = Message {
                    topic: topic.into(),
                    payload: bytes::Bytes::new(),
                    qos: Qos::AtMostOnce,
                    retain: false,
                    origin: 0,
                    expires_at: None,
                    properties: Box::default(),
                };
                gate.publish(message).await.unwrap();
                if tokio::time::timeout(Duration::from_millis(50), session.wake.notified()).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), publishing).await.expect("nothing was delivered");
    }

    #[tokio::test]
    async fn both_lanes_go_on_when_the_core_was_replaced() {
        let limits = Limits::default();
        let device_topics = Filter::parse("m/+/command", limits.topic_bounds()).unwrap();
        let core = RumqttdCore::start(&limits).await.unwrap();
        let gate = Arc::new(Gate::new(limits, device_topics, Arc::new(Nobody), core.clone()));
        gate.tasks.spawn(gate.clone().serve());
        let client = attached(&gate, Lane::Client, "t/#");
        gate.route(&client, 1);
        let device = attached(&gate, Lane::Device, "m/one/command");
        gate.route_device("m/one/command", &device);
        for _ in 0..2 {
            publish_until_delivered(&gate, "t/x", &client).await;
            publish_until_delivered(&gate, "m/one/command", &device).await;
            core.kill();
        }
        publish_until_delivered(&gate, "t/x", &client).await;
        publish_until_delivered(&gate, "m/one/command", &device).await;
        gate.closing.cancel();
    }
}
