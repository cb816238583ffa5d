//! rumqttd's router in process, over one link in and one link out. So the router's state does not grow with the number
//! of clients, and the gate alone decides who gets a message. The router is probed, and replaced when it is gone.
//!
//! No accepted message is lost with a router: messages that it has not delivered yet are also kept here, by position.

mod header;
mod router;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::{Core, CoreError, Take};
use crate::config::Limits;
use crate::message::Message;
use header::Envelope;
use router::{Link, Router};

/// How often the core is probed. A probe that is not back by the next one counts as missed.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Missed probes in a row after which the core is replaced.
const PROBES_MISSED: u32 = 2;
/// How long a link may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a publisher that is held back checks again.
const RETRY_EVERY: Duration = Duration::from_millis(1);
/// How long to wait before trying again to start a router.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The in-process core.
pub(crate) struct RumqttdCore {
    router: RwLock<Arc<Router>>,
    publisher: Mutex<Publisher>,
    /// Taken by [`Core::run`].
    receiver: Mutex<Option<Receiver>>,
    /// The position up to which messages were handed out.
    seen: AtomicU64,
    healthy: AtomicBool,
    topics: Mutex<Topics>,
    window_bytes: u64,
    wait: Duration,
}

/// The one way in.
struct Publisher {
    link: Link,
    /// The position of the last message taken: the cost of all messages up to it, in bytes.
    sent: u64,
    /// Messages under their positions, oldest first: all that were taken and may not have been handed out yet.
    undelivered: VecDeque<(u64, Arc<Message>)>,
}

/// The one way out. Publishers are held back according to its progress, before the router's log discards unread
/// messages.
struct Receiver {
    link: Link,
    /// The next place in the router's log.
    next_offset: Option<u64>,
}

/// Hashes of the topics seen, since the router keeps an entry for each and never frees it.
struct Topics {
    seen: HashSet<u64>,
    hasher: RandomState,
    limit: usize,
}

#[async_trait]
impl Core for RumqttdCore {
    async fn publish(&self, message: &Arc<Message>, taken: &(dyn Fn() + Sync)) -> Result<(), CoreError> {
        self.count_topic(&message.topic)?;
        let mut envelope = Envelope::new(message);
        let deadline = Instant::now() + self.wait;
        loop {
            {
                let mut publisher = self.publisher.lock();
                let seen = self.seen.load(Ordering::Acquire);
                if publisher.sent - seen < self.window_bytes && publisher.push(message, &mut envelope, seen) {
                    taken();
                    return Ok(());
                }
            }
            if Instant::now() >= deadline {
                return Err(CoreError::Unavailable);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    fn between_handovers(&self, what: &mut dyn FnMut(u64)) {
        let publisher = self.publisher.lock();
        what(publisher.sent);
    }

    /// Delivers the router's messages, probes and monitors it, and replaces it when it is gone.
    async fn run(&self, take: &Take<'_>) {
        let mut receiver = self.receiver.lock().take().expect("the core runs once");
        loop {
            self.forward_messages(&mut receiver, take).await;
            self.report(false);
            error!("replacing the core");
            metrics::counter!("broker_core_restarts_total").increment(1);
            receiver = self.replace(take).await;
            self.report(true);
            info!("the core runs again");
        }
    }

    /// Whether the last probe came back.
    fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
}

impl RumqttdCore {
    /// Starts the core.
    ///
    /// # Errors
    /// The router does not start.
    pub async fn start(limits: &Limits) -> Result<Arc<RumqttdCore>, CoreError> {
        let router = Router::start();
        let (link, receiver) = Receiver::open(&router).await?;
        let core = RumqttdCore {
            router: RwLock::new(Arc::new(router)),
            publisher: Mutex::new(Publisher { link, sent: 0, undelivered: VecDeque::new() }),
            receiver: Mutex::new(Some(receiver)),
            seen: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            topics: Mutex::new(Topics { seen: HashSet::new(), hasher: RandomState::new(), limit: limits.core_topics }),
            window_bytes: limits.core_window_bytes,
            wait: limits.core_wait,
        };
        Ok(Arc::new(core))
    }

    fn count_topic(&self, topic: &str) -> Result<(), CoreError> {
        let mut topics = self.topics.lock();
        let hash = topics.hasher.hash_one(topic);
        if !topics.seen.contains(&hash) {
            if topics.seen.len() >= topics.limit {
                return Err(CoreError::TooManyTopics);
            }
            topics.seen.insert(hash);
        }
        Ok(())
    }

    /// Kills the router: it slices the first byte off a topic, and a multibyte character there ends its thread.
    #[cfg(any(test, debug_assertions))]
    pub fn kill(&self) {
        let _ = self.publisher.lock().link.push(router::poison());
    }

    /// Blocks the router for the given time; returns when it is blocked, or gone.
    #[cfg(any(test, debug_assertions))]
    pub async fn stall(&self, duration: Duration) {
        let router = self.router.read().clone();
        let Ok(mut link) = router.link().await else { return };
        let (sticks, stuck) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || link.hold_router(duration, sticks));
        let _ = stuck.await;
    }

    /// Delivers the router's messages until it is gone or does not answer its probes.
    async fn forward_messages(&self, receiver: &mut Receiver, take: &Take<'_>) {
        let mut probes = tokio::time::interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            tokio::select! {
                // Received messages are handled first, so that a late probe answer is not missed under load.
                biased;
                came = receiver.next() => match came {
                    None => return,
                    Some(came) => {
                        if unanswered > 0 {
                            unanswered = 0;
                            self.report(true);
                        }
                        if let Some((position, message)) = came {
                            self.dispatch(position, Arc::new(message), take);
                        }
                    }
                },
                _ = probes.tick() => {
                    if unanswered > 0 {
                        warn!(unanswered, "the core did not answer its probe");
                        self.report(false);
                    }
                    if unanswered >= PROBES_MISSED || self.publisher.lock().link.push(router::probe()).is_err() {
                        return;
                    }
                    unanswered += 1;
                }
            }
            // Other tasks must run too, however much there is to deliver.
            tokio::task::coop::consume_budget().await;
        }
    }

    fn dispatch(&self, position: u64, message: Arc<Message>, take: &Take<'_>) {
        take(position, message);
        self.seen.store(position, Ordering::Release);
    }

    fn report(&self, alive: bool) {
        self.healthy.store(alive, Ordering::Relaxed);
        metrics::gauge!("broker_core_up").set(if alive { 1.0 } else { 0.0 });
    }

    async fn replace(&self, take: &Take<'_>) -> Receiver {
        loop {
            match self.switch_router(take).await {
                Ok(receiver) => return receiver,
                Err(error) => error!(%error, "the core did not start; trying again"),
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    /// Starts another router, and delivers what the old one had not delivered.
    async fn switch_router(&self, take: &Take<'_>) -> Result<Receiver, CoreError> {
        let router = Router::start();
        let (link, receiver) = Receiver::open(&router).await?;
        *self.router.write() = Arc::new(router);
        self.topics.lock().seen.clear();
        let missed = {
            let mut publisher = self.publisher.lock();
            // What is published from now on comes through the new link.
            publisher.link = link;
            let seen = self.seen.load(Ordering::Acquire);
            publisher.undelivered.iter().filter(|(position, _)| *position > seen).cloned().collect::<Vec<_>>()
        };
        for (position, message) in missed {
            self.dispatch(position, message, take);
        }
        Ok(receiver)
    }
}

impl Publisher {
    /// Hands a message to the router; false when it is gone, and about to be replaced.
    fn push(&mut self, message: &Arc<Message>, envelope: &mut Envelope, seen: u64) -> bool {
        let position = self.sent + envelope.cost_bytes();
        let taken = self.link.push(envelope.packet(position)).is_ok();
        if taken {
            self.sent = position;
            while self.undelivered.pop_front_if(|(position, _)| *position <= seen).is_some() {}
            self.undelivered.push_back((position, message.clone()));
        }
        taken
    }
}

impl Receiver {
    /// A link for publishing, and the link that delivers everything published.
    async fn open(router: &Router) -> Result<(Link, Receiver), CoreError> {
        let mut link = router.link().await?;
        link.subscribe_all().await?;
        Ok((router.link().await?, Receiver { link, next_offset: None }))
    }

    /// What comes next: a message and its position, or nothing for a probe; `None` when the router is gone.
    async fn next(&mut self) -> Option<Option<(u64, Message)>> {
        let forwarded = self.link.next().await?;
        self.detect_loss(forwarded.offset);
        Some(header::unpack(forwarded.publish))
    }

    /// Notices when the router's log has discarded messages that the link had not read. Publishers are held back to
    /// prevent this.
    fn detect_loss(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else { return };
        let lost = self.next_offset.map_or(0, |expected| offset.saturating_sub(expected));
        self.next_offset = Some(offset + 1);
        if lost > 0 {
            metrics::counter!("broker_core_lost_total").increment(lost);
            error!(lost, "the gate fell behind the core");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use mqtt_protocol_core::mqtt::packet::{Property, Qos, UserProperty};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio_util::task::AbortOnDropHandle;

    /// Longer than anything here may take.
    const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

    /// A core that runs, and what it hands out.
    struct Running {
        core: Arc<RumqttdCore>,
        out: UnboundedReceiver<(u64, Arc<Message>)>,
        _running: AbortOnDropHandle<()>,
    }

    impl Running {
        async fn start(limits: Limits) -> Running {
            let core = RumqttdCore::start(&limits).await.unwrap();
            let (give, out) = unbounded_channel();
            let runs = core.clone();
            let running = tokio::spawn(async move {
                let take = move |position, message| {
                    let _ = give.send((position, message));
                };
                runs.run(&take).await;
            });
            Running { core, out, _running: AbortOnDropHandle::new(running) }
        }

        async fn next(&mut self) -> Arc<Message> {
            tokio::time::timeout(WAIT_TIMEOUT, self.out.recv()).await.expect("one is lost").unwrap().1
        }
    }

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: Bytes::from_static(b"\x00\xffpayload"),
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: 7,
            expires_at: Some(Instant::now() + Duration::from_secs(60)),
            properties: Box::new([Property::UserProperty(UserProperty::new("key", "välue").unwrap())]),
        }
    }

    #[tokio::test]
    async fn a_message_comes_out_as_it_went_in() {
        let mut running = Running::start(Limits::default()).await;
        let sent = message("a/b");
        running.core.publish(&Arc::new(sent.clone()), &|| {}).await.unwrap();
        let received = running.next().await;
        assert_eq!((&received.topic, &received.payload), (&sent.topic, &sent.payload));
        assert_eq!((received.qos, received.retain, received.origin), (sent.qos, sent.retain, sent.origin));
        assert_eq!(received.properties, sent.properties);
        let skew = received.expires_at.unwrap().max(sent.expires_at.unwrap())
            - received.expires_at.unwrap().min(sent.expires_at.unwrap());
        assert!(skew < Duration::from_millis(2), "{skew:?}");
    }

    #[tokio::test]
    async fn more_than_a_links_buffer_comes_through_in_order() {
        let mut running = Running::start(Limits::default()).await;
        let publisher = running.core.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..5_000_u64 {
                publisher.publish(&Arc::new(Message { origin: number, ..message("a/b") }), &|| {}).await.unwrap();
            }
        });
        for number in 0..5_000 {
            assert_eq!(running.next().await.origin, number);
        }
        publishing.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flood_many_times_the_log_loses_nothing() {
        const PUBLISHERS: u64 = 4;
        const EACH: u64 = 2_000;
        let mut running = Running::start(Limits::default()).await;
        for publisher in 0..PUBLISHERS {
            let core = running.core.clone();
            tokio::spawn(async move {
                let payload = Bytes::from(vec![0; 20_000]);
                for number in 0..EACH {
                    let origin = publisher * EACH + number;
                    let message = Message { origin, payload: payload.clone(), ..message("a/b") };
                    core.publish(&Arc::new(message), &|| {}).await.unwrap();
                }
            });
        }
        let mut next = [0; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * EACH {
            let received = running.next().await;
            let publisher = (received.origin / EACH) as usize;
            assert_eq!(received.origin % EACH, next[publisher], "publisher {publisher}");
            next[publisher] += 1;
        }
    }

    #[tokio::test]
    async fn distinct_topics_are_bounded() {
        let Running { core, .. } = &Running::start(Limits { core_topics: 2, ..Limits::default() }).await;
        core.publish(&Arc::new(message("a")), &|| {}).await.unwrap();
        core.publish(&Arc::new(message("b")), &|| {}).await.unwrap();
        core.publish(&Arc::new(message("a")), &|| {}).await.unwrap();
        assert_eq!(core.publish(&Arc::new(message("c")), &|| {}).await, Err(CoreError::TooManyTopics));
    }

    #[tokio::test]
    async fn what_is_not_handed_out_yet_is_bounded_though_nobody_takes_it() {
        let limits = Limits { core_window_bytes: 10_000, core_wait: Duration::from_millis(50), ..Limits::default() };
        let core = RumqttdCore::start(&limits).await.unwrap();
        let mut taken = 0;
        while core.publish(&Arc::new(message("a")), &|| {}).await.is_ok() {
            taken += 1;
        }
        let cost = Envelope::new(&message("a")).cost_bytes();
        assert_eq!(taken, limits.core_window_bytes.div_ceil(cost));
        assert_eq!(core.publisher.lock().undelivered.len() as u64, taken);
    }

    /// The router is killed again and again while messages go through: every one that was taken comes, once, in order.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_core_that_dies_takes_no_message_with_it() {
        const MESSAGES: u64 = 30_000;
        const ROUTER_KILLS: u64 = 5;
        let mut running = Running::start(Limits::default()).await;
        let core = running.core.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..MESSAGES {
                if number % (MESSAGES / ROUTER_KILLS) == 0 {
                    core.kill();
                }
                core.publish(&Arc::new(Message { origin: number, ..message("a/b") }), &|| {}).await.unwrap();
            }
        });
        for number in 0..MESSAGES {
            assert_eq!(running.next().await.origin, number);
        }
        publishing.await.unwrap();
    }

    // A core that sticks is noticed by its probes alone: one was answered just before it stuck.
    const _: () = assert!(PROBE_EVERY.as_millis() * (PROBES_MISSED as u128 + 1) <= 2_000);

    #[tokio::test]
    async fn a_core_that_dies_at_any_moment_is_replaced() {
        let mut running = Running::start(Limits::default()).await;
        for pause_us in [0, 0, 20, 50, 100, 200, 500, 1_000, 10_000, 700_000] {
            tokio::time::sleep(Duration::from_micros(pause_us)).await;
            running.core.kill();
            running.core.publish(&Arc::new(message("a/b")), &|| {}).await.unwrap();
            assert_eq!(&*running.next().await.topic, "a/b");
        }
        assert!(running.core.healthy());
    }
}
