//! The core: what carries a message from the gate's publishers to the gate's subscribers.
//!
//! The interface is small, so that another core (an MQTT cluster) can stand in its place: [`Core::publish`],
//! [`Core::open`] for a [`Feed`] of the messages within some filters, [`Core::healthy`]. The one there is runs rumqttd's
//! router in process, over local links ([`router`]), probes it every second and replaces it when it is gone.
//!
//! Nothing that was taken is lost with a router: the last messages are kept here ([`recent`]) under their positions, and
//! a feed that goes over to the next router first takes from there what it had not seen.

mod feed;
mod header;
mod recent;
mod router;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::config::Limits;
use crate::message::Message;
use crate::topic::Filter;
pub(crate) use feed::Feed;
use header::Envelope;
use recent::Recent;
use router::{Link, Router};

/// How often the core is probed.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A probe not back within this counts as missed.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Missed probes in a row after which the core is replaced.
const PROBES_MISSED: u32 = 2;
/// How long a link may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a publisher that is held back looks again.
const RETRY_EVERY: Duration = Duration::from_millis(1);
/// How long to wait before a router that did not start is tried again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The probe's topic: no client can publish or name it, since it is not printable.
const PROBE_TOPIC: &str = "\u{1}probe";
/// How much of what was published is kept for feeds that go over to another router, in windows of publishers. One is on
/// its way in the old router, the others are for what is published before the last feed has gone over.
const RECENT_WINDOWS: u64 = 4;

/// Why the core did not take a message or open a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CoreError {
    #[error("the core is busy or gone")]
    Unavailable,
    #[error("too many distinct topics")]
    TooManyTopics,
}

/// The in-process core and its supervisor.
pub(crate) struct Core {
    router: RwLock<Arc<Router>>,
    publisher: Mutex<Publisher>,
    /// The number of the running generation; changes when the core was replaced.
    generation: watch::Sender<u64>,
    healthy: AtomicBool,
    topics: Mutex<Topics>,
    window_bytes: u64,
    wait: Duration,
    links: usize,
}

/// The one way in.
struct Publisher {
    link: Link,
    /// The position of the last message taken: the cost of all messages up to it, in bytes.
    sent: u64,
    recent: Recent,
    tail: Tail,
    /// The position that the last router was seen to have given out when it was replaced: what came after may be missing
    /// from feeds that have not gone over yet.
    unsure_from: u64,
}

/// A feed of everything. It is read as every feed is, so how far behind it is tells how far behind they are; publishers
/// are held back by it, before the router's logs roll on under a feed.
struct Tail {
    /// The position up to which it has seen.
    seen: Arc<AtomicU64>,
    /// Its link ended: the router is gone.
    ended: CancellationToken,
    _reading: AbortOnDropHandle<()>,
}

/// Hashes of the topics seen, since the router keeps an entry for each and never frees it.
struct Topics {
    seen: HashSet<u64>,
    hasher: RandomState,
    limit: usize,
}

impl Core {
    /// Starts the core. Links for `limits.client_sessions` and `limits.shared_groups` feeds and the gate's own are provided
    /// for.
    pub async fn start(limits: &Limits) -> Result<Arc<Core>, CoreError> {
        let links = limits.client_sessions + limits.shared_groups + 16;
        let router = Router::start(links);
        let publisher = Publisher {
            link: router.link().await?,
            sent: 0,
            recent: Recent::new(RECENT_WINDOWS * limits.core_window_bytes),
            tail: Tail::start(&router).await?,
            unsure_from: u64::MAX,
        };
        Ok(Arc::new(Core {
            router: RwLock::new(Arc::new(router)),
            publisher: Mutex::new(publisher),
            generation: watch::Sender::new(1),
            healthy: AtomicBool::new(true),
            topics: Mutex::new(Topics { seen: HashSet::new(), hasher: RandomState::new(), limit: limits.core_topics }),
            window_bytes: limits.core_window_bytes,
            wait: limits.core_wait,
            links,
        }))
    }

    /// Whether the last probe came back.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Hands a message over, and calls `taken` when it was, before any other message is. Waits while the core is behind or
    /// being replaced, within the configured bound.
    pub async fn publish(&self, message: &Arc<Message>, taken: impl Fn()) -> Result<(), CoreError> {
        self.count_topic(&message.topic)?;
        let mut envelope = Envelope::new(message);
        let deadline = Instant::now() + self.wait;
        loop {
            {
                let mut publisher = self.publisher.lock();
                if publisher.push(message, &mut envelope, self.window_bytes) {
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

    /// Does something while no message is being handed over, given the position of the last one that was.
    pub fn between_publishes<T>(&self, what: impl FnOnce(u64) -> T) -> T {
        let publisher = self.publisher.lock();
        what(publisher.sent)
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

    /// Opens a feed of all messages within `filters`, which must not overlap (each message then comes once). Messages
    /// published after this returned are in it. Waits while the core is being replaced, within the configured bound.
    pub async fn open(self: &Arc<Self>, filters: &[Filter]) -> Result<Feed, CoreError> {
        Feed::open(self.clone(), filters).await
    }

    /// Kills the router: it slices the first byte off a topic, and a multibyte character there ends its thread.
    #[cfg(debug_assertions)]
    pub fn kill(&self) {
        let poison = router::packet("é".into(), Bytes::new());
        let _ = self.publisher.lock().link.push(poison);
    }

    /// Makes the router stick for so long; returns when it does, or is gone.
    #[cfg(debug_assertions)]
    pub async fn stall(&self, duration: Duration) {
        let Ok(mut link) = self.router().link().await else { return };
        let (sticks, stuck) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || link.hold_router(duration, sticks));
        let _ = stuck.await;
    }

    fn router(&self) -> Arc<Router> {
        self.router.read().clone()
    }

    /// Probes the core until `closing`, reports on it, and replaces it when it is gone.
    pub async fn supervise(self: Arc<Self>, closing: CancellationToken) {
        let supervising = async {
            loop {
                self.watch_running().await;
                self.report(false);
                self.replace().await;
            }
        };
        tokio::select! {
            () = supervising => {}
            () = closing.cancelled() => {}
        }
    }

    /// Returns when the running core is gone: a link of it ended, or it missed its probes.
    async fn watch_running(&self) {
        let ended = self.publisher.lock().tail.ended.clone();
        tokio::select! {
            // At any moment, even before the probe has a link: one to a router that dies just then never opens.
            () = ended.cancelled() => {}
            () = self.probe() => {}
        }
    }

    /// Returns when the running core does not answer its probes.
    async fn probe(&self) {
        let opening = async {
            let mut link = self.router().link().await?;
            link.subscribe([PROBE_TOPIC].into_iter()).await?;
            Ok::<_, CoreError>(link)
        };
        // A core that sticks before it is watched is given up as soon as one that sticks later.
        let patience = (PROBE_EVERY + PROBE_TIMEOUT) * PROBES_MISSED;
        let Ok(Ok(mut link)) = tokio::time::timeout(patience, opening).await else { return };
        let mut missed = 0;
        while missed < PROBES_MISSED {
            if let Ok(None) = tokio::time::timeout(PROBE_EVERY, link.next()).await {
                return;
            }
            let probe = router::packet(Bytes::from_static(PROBE_TOPIC.as_bytes()), Bytes::new());
            if self.publisher.lock().link.push(probe).is_err() {
                return;
            }
            match tokio::time::timeout(PROBE_TIMEOUT, link.next()).await {
                Ok(Some(_)) => missed = 0,
                Ok(None) => return,
                Err(_) => {
                    missed += 1;
                    warn!(missed, "the core did not answer its probe");
                }
            }
            self.report(missed == 0);
        }
    }

    fn report(&self, alive: bool) {
        self.healthy.store(alive, Ordering::Relaxed);
        metrics::gauge!("broker_core_up").set(if alive { 1.0 } else { 0.0 });
    }

    async fn replace(&self) {
        error!("replacing the core");
        metrics::counter!("broker_core_restarts_total").increment(1);
        if let Err(error) = self.go_over(Router::start(self.links)).await {
            error!(%error, "the core did not start; trying again");
            tokio::time::sleep(RESTART_PAUSE).await;
            return;
        }
        self.report(true);
        info!("the core runs again");
    }

    async fn go_over(&self, router: Router) -> Result<(), CoreError> {
        let link = router.link().await?;
        let tail = Tail::start(&router).await?;
        *self.router.write() = Arc::new(router);
        {
            let mut publisher = self.publisher.lock();
            publisher.unsure_from = publisher.tail.seen.load(Ordering::Relaxed);
            // What the old router had on its way is no longer on its way: feeds take it from what is kept.
            tail.seen.fetch_max(publisher.sent, Ordering::Relaxed);
            publisher.tail = tail;
            publisher.link = link;
        }
        self.topics.lock().seen.clear();
        self.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }
}

impl Publisher {
    /// Hands a message to the router; false when it is too far behind, or gone (and about to be replaced).
    fn push(&mut self, message: &Arc<Message>, envelope: &mut Envelope, window_bytes: u64) -> bool {
        if self.sent.saturating_sub(self.tail.seen.load(Ordering::Relaxed)) >= window_bytes {
            return false;
        }
        let position = self.sent + envelope.cost_bytes();
        let taken = self.link.push(envelope.packet(position)).is_ok();
        if taken {
            self.sent = position;
            self.recent.push(position, message.clone());
        }
        taken
    }
}

impl Tail {
    async fn start(router: &Router) -> Result<Tail, CoreError> {
        let seen = Arc::new(AtomicU64::new(0));
        let mut link = router.link().await?;
        link.subscribe(["#"].into_iter()).await?;
        let mark = seen.clone();
        let ended = CancellationToken::new();
        let ending = ended.clone().drop_guard();
        let reading = tokio::spawn(async move {
            let _ending = ending;
            while let Some(forwarded) = link.next().await {
                if let Some(position) = header::position(&forwarded) {
                    mark.fetch_max(position, Ordering::Relaxed);
                }
            }
        });
        Ok(Tail { seen, ended, _reading: AbortOnDropHandle::new(reading) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::topic::TopicBounds;
    use mqtt_protocol_core::mqtt::packet::{Property, Qos, UserProperty};

    fn filter(text: &str) -> Filter {
        Filter::parse(text, TopicBounds { length: 64, levels: 8 }).unwrap()
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
        let core = Core::start(&Limits::default()).await.unwrap();
        let mut feed = core.open(&[filter("a/#")]).await.unwrap();
        let sent = message("a/b");
        core.publish(&Arc::new(message("b/a")), || {}).await.unwrap();
        core.publish(&Arc::new(sent.clone()), || {}).await.unwrap();
        let (_, received) = feed.next().await;
        assert_eq!((&received.topic, &received.payload), (&sent.topic, &sent.payload));
        assert_eq!((received.qos, received.retain, received.origin), (sent.qos, sent.retain, sent.origin));
        assert_eq!(received.properties, sent.properties);
        let skew = received.expires_at.unwrap().max(sent.expires_at.unwrap())
            - received.expires_at.unwrap().min(sent.expires_at.unwrap());
        assert!(skew < Duration::from_millis(2), "{skew:?}");
    }

    #[tokio::test]
    async fn more_than_a_links_buffer_comes_through_in_order() {
        let core = Core::start(&Limits::default()).await.unwrap();
        let mut feed = core.open(&[filter("#")]).await.unwrap();
        let publisher = core.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..5_000_u64 {
                publisher.publish(&Arc::new(Message { origin: number, ..message("a/b") }), || {}).await.unwrap();
            }
        });
        for number in 0..5_000 {
            assert_eq!(feed.next().await.1.origin, number);
        }
        publishing.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flood_many_times_the_log_loses_nothing() {
        const PUBLISHERS: u64 = 4;
        const EACH: u64 = 2_000;
        let core = Core::start(&Limits::default()).await.unwrap();
        let mut feed = core.open(&[filter("#")]).await.unwrap();
        for publisher in 0..PUBLISHERS {
            let core = core.clone();
            tokio::spawn(async move {
                let payload = Bytes::from(vec![0; 20_000]);
                for number in 0..EACH {
                    let origin = publisher * EACH + number;
                    core.publish(&Arc::new(Message { origin, payload: payload.clone(), ..message("a/b") }), || {})
                        .await
                        .unwrap();
                }
            });
        }
        let mut next = [0; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * EACH {
            let (_, received) = tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap();
            let publisher = (received.origin / EACH) as usize;
            assert_eq!(received.origin % EACH, next[publisher], "publisher {publisher}");
            next[publisher] += 1;
        }
    }

    #[tokio::test]
    async fn distinct_topics_are_bounded() {
        let core = Core::start(&Limits { core_topics: 2, ..Limits::default() }).await.unwrap();
        core.publish(&Arc::new(message("a")), || {}).await.unwrap();
        core.publish(&Arc::new(message("b")), || {}).await.unwrap();
        core.publish(&Arc::new(message("a")), || {}).await.unwrap();
        assert_eq!(core.publish(&Arc::new(message("c")), || {}).await, Err(CoreError::TooManyTopics));
    }

    /// The router is killed again and again while messages go through: every one that was taken comes, once, in order, by
    /// whichever of the feed's filters.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_core_that_dies_takes_no_message_with_it() {
        const MESSAGES: u64 = 30_000;
        let core = Core::start(&Limits::default()).await.unwrap();
        let supervisor = tokio::spawn(core.clone().supervise(CancellationToken::new()));
        let mut feed = core.open(&[filter("a/#"), filter("b/+")]).await.unwrap();
        let killer = core.clone();
        let killing = tokio::spawn(async move {
            for generation in 1..=5 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                killer.kill();
                killer.generation.subscribe().wait_for(|now| *now > generation).await.unwrap();
            }
        });
        let publisher = core.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..MESSAGES {
                let topic = ["a/b", "b/c", "c/d"][number as usize % 3];
                publisher.publish(&Arc::new(Message { origin: number, ..message(topic) }), || {}).await.unwrap();
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        let mut next = [0, 1];
        for _ in 0..MESSAGES * 2 / 3 {
            let come = tokio::time::timeout(Duration::from_secs(10), feed.next()).await;
            let (_, received) = come.expect("one is lost");
            let way = usize::from(received.topic.starts_with('b'));
            assert_eq!(received.origin, next[way], "{}", received.topic);
            next[way] += 3;
        }
        publishing.await.unwrap();
        killing.await.unwrap();
        supervisor.abort();
    }

    // A core that sticks is noticed by its probes alone.
    const _: () = assert!((PROBE_EVERY.as_millis() + PROBE_TIMEOUT.as_millis()) * PROBES_MISSED as u128 <= 2_000);

    #[tokio::test]
    async fn a_core_that_dies_at_any_moment_is_replaced() {
        let core = Core::start(&Limits::default()).await.unwrap();
        let mut feed = core.open(&[filter("a/#")]).await.unwrap();
        let supervisor = tokio::spawn(core.clone().supervise(CancellationToken::new()));
        let mut generation = core.generation.subscribe();
        // Before it is watched, while the probe's link is opened, and later.
        for (number, pause_us) in [0, 0, 20, 50, 100, 200, 500, 1_000, 10_000, 700_000].into_iter().enumerate() {
            tokio::time::sleep(Duration::from_micros(pause_us)).await;
            core.kill();
            let replaced = generation.wait_for(|now| *now == 2 + number as u64);
            tokio::time::timeout(Duration::from_secs(10), replaced).await.expect("it was not replaced").unwrap();
            core.publish(&Arc::new(message("a/b")), || {}).await.unwrap();
            assert_eq!(&*feed.next().await.1.topic, "a/b");
        }
        assert!(core.healthy());
        supervisor.abort();
    }
}
