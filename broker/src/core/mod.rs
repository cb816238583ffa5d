//! The core: what carries a message from the gate's publishers to the gate's subscribers.
//!
//! The interface is small, so that another core (an MQTT cluster) can stand in its place: [`Core::publish`],
//! [`Core::open`] for a [`Feed`] of the messages within some filters, [`Core::healthy`]. The one there is runs rumqttd's
//! router in process, over local links ([`router`]), probes it every second and replaces it when it is gone.

mod header;
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
use header::Envelope;
use router::{Link, Router};

/// How often the core is probed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A probe not back within this counts as missed.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);
/// Missed probes in a row after which the core is replaced.
const PROBES_MISSED: u32 = 2;
/// How long a link may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a publisher that is held back looks again.
const RETRY_EVERY: Duration = Duration::from_millis(1);
/// The probe's topic: no client can publish or name it, since it is not printable.
const PROBE_TOPIC: &str = "\u{1}probe";

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
    running: RwLock<Arc<Running>>,
    /// The number of the running generation; changes when the core was replaced.
    generation: watch::Sender<u64>,
    healthy: AtomicBool,
    topics: Mutex<Topics>,
    window_bytes: u64,
    wait: Duration,
    links: usize,
}

struct Running {
    router: Router,
    publisher: Mutex<Publisher>,
    /// The position up to which the tail has seen.
    seen: Arc<AtomicU64>,
    _tail: AbortOnDropHandle<()>,
}

struct Publisher {
    link: Link,
    /// The cost of all messages handed over, in bytes.
    sent: u64,
}

/// Hashes of the topics seen, since the router keeps an entry for each and never frees it.
struct Topics {
    seen: HashSet<u64>,
    hasher: RandomState,
    limit: usize,
}

impl Core {
    /// Starts the core. Links for `limits.client_sessions` feeds and the gate's own are provided for.
    pub async fn start(limits: &Limits) -> Result<Arc<Core>, CoreError> {
        let links = limits.client_sessions + 16;
        let running = Running::start(links).await?;
        Ok(Arc::new(Core {
            running: RwLock::new(Arc::new(running)),
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

    /// Hands a message over. Waits while the core is behind or being replaced, within the configured bound.
    pub async fn publish(&self, message: &Message) -> Result<(), CoreError> {
        self.count_topic(&message.topic)?;
        let mut envelope = Envelope::new(message);
        let deadline = Instant::now() + self.wait;
        while !self.running().push(&mut envelope, self.window_bytes) {
            if Instant::now() >= deadline {
                return Err(CoreError::Unavailable);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Ok(())
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
    /// published after this returned are in it.
    pub async fn open(&self, filters: &[Filter]) -> Result<Feed, CoreError> {
        let generation = *self.generation.borrow();
        let mut link = self.running().router.link().await?;
        link.subscribe(filters.iter().map(Filter::as_str))?;
        let expected = filters.iter().map(|filter| (filter.clone(), None)).collect();
        Ok(Feed { link, generation, expected })
    }

    /// The number of the running generation.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Waits until a generation later than `seen` is running.
    pub async fn next_generation(&self, seen: u64) {
        // The sender lives as long as `self`: this cannot fail.
        let _ = self.generation.subscribe().wait_for(|now| *now > seen).await;
    }

    /// Kills the router: it slices the first byte off a topic, and a multibyte character there ends its thread.
    #[cfg(test)]
    pub fn kill(&self) {
        let poison = router::packet("é".into(), Bytes::new(), None);
        assert!(self.running().publisher.lock().link.push(poison).is_ok());
    }

    fn running(&self) -> Arc<Running> {
        self.running.read().clone()
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

    /// Returns when the running core is gone: its link ended, or it missed its probes.
    async fn watch_running(&self) {
        let running = self.running();
        let Ok(mut link) = running.router.link().await else { return };
        if link.subscribe([PROBE_TOPIC].into_iter()).is_err() {
            return;
        }
        let mut missed = 0;
        while missed < PROBES_MISSED {
            if let Ok(None) = tokio::time::timeout(PROBE_EVERY, link.next()).await {
                return;
            }
            let probe = router::packet(Bytes::from_static(PROBE_TOPIC.as_bytes()), Bytes::new(), None);
            if running.publisher.lock().link.push(probe).is_err() {
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
        match Running::start(self.links).await {
            Ok(running) => {
                *self.running.write() = Arc::new(running);
                self.topics.lock().seen.clear();
                self.generation.send_modify(|generation| *generation += 1);
                info!("the core runs again");
            }
            Err(error) => {
                error!(%error, "the core did not start; trying again");
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }
}

impl Running {
    async fn start(links: usize) -> Result<Running, CoreError> {
        let router = Router::start(links);
        let publisher = Mutex::new(Publisher { link: router.link().await?, sent: 0 });
        let seen = Arc::new(AtomicU64::new(0));
        // The tail is a feed of everything. It is read as every feed is, so how far behind it is tells how far behind they
        // are; publishers are held back by it, before the router's logs roll on under a feed.
        let mut link = router.link().await?;
        link.subscribe(["#"].into_iter())?;
        let mark = seen.clone();
        let tail = tokio::spawn(async move {
            while let Some(forwarded) = link.next().await {
                if let Some(position) = header::position(&forwarded) {
                    mark.store(position, Ordering::Relaxed);
                }
            }
        });
        Ok(Running { router, publisher, seen, _tail: AbortOnDropHandle::new(tail) })
    }

    /// Hands a message to the router; false when it is too far behind, or gone (and about to be replaced).
    fn push(&self, envelope: &mut Envelope, window_bytes: u64) -> bool {
        let mut publisher = self.publisher.lock();
        if publisher.sent.saturating_sub(self.seen.load(Ordering::Relaxed)) >= window_bytes {
            return false;
        }
        let position = publisher.sent + envelope.cost_bytes();
        let taken = publisher.link.push(envelope.packet(position)).is_ok();
        if taken {
            publisher.sent = position;
        }
        taken
    }
}

/// The messages within some filters, from the moment it was opened.
pub(crate) struct Feed {
    link: Link,
    generation: u64,
    /// The filters, and the next place in the log of each.
    expected: Vec<(Filter, Option<u64>)>,
}

impl Feed {
    /// The next message, or `None` when the core under this feed is gone: open another after
    /// [`Core::next_generation`].
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let forwarded = self.link.next().await?;
            let offset = forwarded.offset;
            if let Some(message) = header::from_core(forwarded) {
                self.look_for_loss(&message.topic, offset);
                return Some(message);
            }
        }
    }

    /// Notices when the router's log rolled on under this feed. Publishers are held back so that it does not.
    fn look_for_loss(&mut self, topic: &str, offset: Option<u64>) {
        let Some(offset) = offset else { return };
        let log = self.expected.iter_mut().find(|(filter, _)| filter.matches(topic));
        let Some((filter, expected)) = log else { return };
        let lost = expected.map_or(0, |expected| offset.saturating_sub(expected));
        *expected = Some(offset + 1);
        if lost > 0 {
            metrics::counter!("broker_core_lost_total").increment(lost);
            error!(filter = filter.as_str(), lost, "a feed fell behind the core");
        }
    }

    /// The generation of the core this feed is of.
    pub fn generation(&self) -> u64 {
        self.generation
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
        core.publish(&message("b/a")).await.unwrap();
        core.publish(&sent).await.unwrap();
        let received = feed.next().await.unwrap();
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
                publisher.publish(&Message { origin: number, ..message("a/b") }).await.unwrap();
            }
        });
        for number in 0..5_000 {
            assert_eq!(feed.next().await.unwrap().origin, number);
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
                    core.publish(&Message { origin, payload: payload.clone(), ..message("a/b") }).await.unwrap();
                }
            });
        }
        let mut next = [0; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * EACH {
            let received = tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap().unwrap();
            let publisher = (received.origin / EACH) as usize;
            assert_eq!(received.origin % EACH, next[publisher], "publisher {publisher}");
            next[publisher] += 1;
        }
    }

    #[tokio::test]
    async fn distinct_topics_are_bounded() {
        let core = Core::start(&Limits { core_topics: 2, ..Limits::default() }).await.unwrap();
        core.publish(&message("a")).await.unwrap();
        core.publish(&message("b")).await.unwrap();
        core.publish(&message("a")).await.unwrap();
        assert_eq!(core.publish(&message("c")).await, Err(CoreError::TooManyTopics));
    }

    #[tokio::test]
    async fn a_dead_core_is_noticed_and_replaced() {
        let core = Core::start(&Limits::default()).await.unwrap();
        let supervisor = tokio::spawn(core.clone().supervise(CancellationToken::new()));
        let mut feed = core.open(&[filter("a/#")]).await.unwrap();
        core.kill();
        assert!(feed.next().await.is_none(), "the feed ends with its core");
        core.next_generation(feed.generation()).await;
        let mut feed = core.open(&[filter("a/#")]).await.unwrap();
        core.publish(&message("a/b")).await.unwrap();
        assert_eq!(&*feed.next().await.unwrap().topic, "a/b");
        while !core.healthy() {
            tokio::task::yield_now().await;
        }
        supervisor.abort();
    }
}
