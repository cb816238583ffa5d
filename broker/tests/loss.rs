//! What was acknowledged is delivered, though clients and the core die all the while.

#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker::Limits;
use common::{PASSWORD, Raw, WAIT_TIMEOUT, login, start_with};
use mqtt_protocol_core::mqtt::packet::{Property, Qos, SessionExpiryInterval};
use rand::Rng;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::task::JoinSet;

/// Set it to 1000000 for the long run: `COINWIRE_LOSS_MESSAGES=1000000 cargo test --workspace --test loss -- --nocapture`.
const MESSAGES: &str = "COINWIRE_LOSS_MESSAGES";
const DEFAULT_MESSAGES: usize = 100_000;
const PUBLISHERS: usize = 4;
/// How long until a client is killed; at random up to twice that.
const LIFE: Duration = Duration::from_millis(700);
/// The core is killed each time that long has passed, and this often at least in the course of the messages.
const CORE_DEATHS: usize = 4;
const CORE_LIFE: Duration = Duration::from_millis(700);
const IN_FLIGHT: u16 = 50;

fn messages() -> usize {
    let asked = std::env::var(MESSAGES).ok();
    asked.map_or(DEFAULT_MESSAGES, |asked| asked.parse().expect("a number of messages"))
}

/// A persistent session, reconnected.
fn client(at: SocketAddr, user: &str, client_id: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(client_id, at.ip().to_string(), at.port());
    options.set_credentials(user, PASSWORD);
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(600));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    AsyncClient::new(options, 2 * usize::from(IN_FLIGHT))
}

fn life() -> tokio::time::Sleep {
    tokio::time::sleep(rand::rng().random_range(LIFE / 4..LIFE * 2))
}

/// Messages that may be on their way: within the bounds of the subscriber's queue, however slow this machine is.
const UNDER_WAY: usize = 20_000;

/// How far it is, and with it how much is under way.
#[derive(Default)]
struct Progress {
    published: AtomicUsize,
    received: AtomicUsize,
}

impl Progress {
    async fn room(&self) {
        while self.published.load(Ordering::Relaxed) > self.received.load(Ordering::Relaxed) + UNDER_WAY {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Publishes `count` numbered messages and dies again and again; what was not acknowledged then is published again by the
/// next life. Returns how many lives it took.
async fn publish_all(at: SocketAddr, publisher: usize, count: usize, progress: Arc<Progress>) -> usize {
    let mut lives = 0;
    let mut acknowledged = 0;
    while acknowledged < count {
        lives += 1;
        let (client, mut events) = client(at, "ben", &format!("publisher{publisher}"));
        // Publishes are acknowledged in order: what this life has handed over and got no word of begins here.
        let first = acknowledged;
        let publishing = async {
            for number in first..count {
                progress.room().await;
                let topic = format!("t/{publisher}");
                client.publish(topic, QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let listening = async {
            while acknowledged < count {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        acknowledged += 1;
                        progress.published.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        tokio::select! {
            () = publishing => {}
            () = listening => {}
            () = life() => {}
        }
    }
    lives
}

/// Receives, and is killed again and again with unacknowledged messages, until it must end. Returns how often it
/// started.
async fn receive_all(
    at: SocketAddr,
    seen: Arc<Vec<Vec<AtomicUsize>>>,
    progress: Arc<Progress>,
    done: Arc<AtomicBool>,
) -> usize {
    let mut lives = 0;
    while !done.load(Ordering::Relaxed) {
        lives += 1;
        let (client, mut events) = client(at, "anna", "subscriber");
        client.subscribe("t/+", QoS::AtLeastOnce).await.unwrap();
        let listening = async {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let publisher: usize = std::str::from_utf8(&publish.topic[2..]).unwrap().parse().unwrap();
                    let number: usize = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
                    if seen[publisher][number].fetch_add(1, Ordering::Relaxed) == 0 {
                        progress.received.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        tokio::select! {
            () = listening => {}
            () = life() => {}
        }
    }
    lives
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_is_delivered_though_clients_and_the_core_are_killed() {
    let each = messages() / PUBLISHERS;
    let running = start_with(Limits::default()).await;
    let at = running.address;
    let seen: Arc<Vec<Vec<AtomicUsize>>> =
        Arc::new((0..PUBLISHERS).map(|_| (0..each).map(|_| AtomicUsize::new(0)).collect()).collect());
    let done = Arc::new(AtomicBool::new(false));
    let progress = Arc::new(Progress::default());
    // The session is there, and subscribed, before anything is published.
    let kept = vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(600).unwrap())];
    let mut first = Raw::accepted5(at, login("anna", "subscriber").properties(kept).v5()).await;
    first.subscribed5("t/+", Qos::AtLeastOnce).await;
    drop(first);
    let subscriber = tokio::spawn(receive_all(at, seen.clone(), progress.clone(), done.clone()));
    let broker = running.broker.clone();
    let so_far = progress.clone();
    let killer = tokio::spawn(async move {
        let mut since = Instant::now();
        for kills in 0.. {
            let due = each * PUBLISHERS / (CORE_DEATHS + 1) * (kills + 1);
            while so_far.published.load(Ordering::Relaxed) < due && since.elapsed() < CORE_LIFE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            broker.kill_core();
            since = Instant::now();
            KILLS.store(kills + 1, Ordering::Relaxed);
        }
    });
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        publishers.spawn(publish_all(at, publisher, each, progress.clone()));
    }
    let mut lives = 0;
    while let Some(publisher) = publishers.join_next().await {
        lives += publisher.unwrap();
    }
    killer.abort();
    let counts = || seen.iter().flatten().map(|count| count.load(Ordering::Relaxed));
    let waiting = async {
        while counts().any(|count| count == 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let complete = tokio::time::timeout(3 * WAIT_TIMEOUT, waiting).await.is_ok();
    done.store(true, Ordering::Relaxed);
    let subscriber_lives = subscriber.await.unwrap();
    let missing = counts().filter(|count| *count == 0).count();
    let again: usize = counts().map(|count| count.saturating_sub(1)).sum();
    println!(
        "{} acknowledged, {missing} not delivered, {again} delivered again; {} deaths of the core, {lives} lives of \
         {PUBLISHERS} publishers, {subscriber_lives} of the subscriber",
        each * PUBLISHERS,
        KILLS.load(Ordering::Relaxed),
    );
    assert!(complete, "{missing} messages are lost");
    assert!(KILLS.load(Ordering::Relaxed) >= CORE_DEATHS, "the core was seldom killed");
}

static KILLS: AtomicUsize = AtomicUsize::new(0);

/// Beyond the bounds of its queue an absent client loses the newest; how many is said. When it comes back it can catch up,
/// though more is published all the while.
#[tokio::test]
async fn beyond_the_bounds_what_is_lost_is_counted() {
    const QUEUE: usize = 100;
    const PUBLISHED: usize = 500;
    let at = start_with(Limits { client_queue_messages: QUEUE, ..Limits::default() }).await.address;
    let kept = vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(100).unwrap())];
    let mut ben = Raw::accepted5(at, login("ben", "b").properties(kept.clone()).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    drop(ben);
    let mut anna = Raw::client5(at, "anna", "a").await;
    // The end of his connection is noticed before anything is published.
    anna.ping().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for number in 0..PUBLISHED {
        assert_eq!(anna.publish5("t/x", number.to_string().as_bytes(), false, vec![]).await, 0);
    }
    let mut observer = Raw::client5(at, "observer", "o").await;
    observer.subscribed5("$SYS/broker/publish/messages/dropped", Qos::AtMostOnce).await;
    let lost = (PUBLISHED - QUEUE).to_string();
    let counting = async { while observer.received5().await.payload != lost.as_bytes() {} };
    tokio::time::timeout(3 * WAIT_TIMEOUT, counting).await.expect("the loss is not said");
    let mut ben = Raw::open(at).await;
    assert!(ben.connect5(login("ben", "b").resuming().properties(kept).v5()).await.session_present());
    for number in 0..QUEUE {
        if number % 10 == 0 {
            assert_eq!(anna.publish5("t/x", b"more", false, vec![]).await, 0);
        }
        assert_eq!(ben.received5().await.payload, number.to_string().as_bytes());
    }
    ben.send(&[0xc0, 0]).await;
    while ben.packet().await.expect("he was cut").packet_type() != 13 {}
}
