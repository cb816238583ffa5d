//! Sessions and their ends: wills, takeover, resumption, silence, slowness, revocation, shutdown.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use broker::{Lane, Limits, Version};
use common::{Raw, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{
    MessageExpiryInterval, Properties, Property, Qos, SessionExpiryInterval, WillDelayInterval,
};

fn kept(seconds: u32) -> Properties {
    vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(seconds).unwrap())]
}

fn delay(seconds: u32) -> Properties {
    vec![Property::WillDelayInterval(WillDelayInterval::new(seconds).unwrap())]
}

/// Resumes a session; whether the broker still had it.
async fn resumed5(running: &common::Running, user: &str, id: &str) -> (Raw, bool) {
    let mut raw = Raw::open(running.address).await;
    let connack = raw.connect5(login(user, id).resuming().properties(kept(100)).v5()).await;
    assert_eq!(connack.reason_code() as u8, 0);
    let present = connack.session_present();
    (raw, present)
}

async fn gone(running: &common::Running, id: &str) {
    until("the client is gone", || running.broker.connections().iter().all(|client| client.client_id != id)).await;
}

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks_and_only_then() {
    let running = start().await;
    let at = running.address;
    let mut ben = Raw::client5(at, "ben", "b").await;
    ben.subscribed5("t/will/#", Qos::AtLeastOnce).await;
    let dying = |topic: &str| login("anna", "a").will(topic, "gone", Qos::AtLeastOnce, true);

    let broken = Raw::accepted5(at, dying("t/will/broken").v5()).await;
    drop(broken);
    let will = ben.received5().await;
    assert_eq!(
        (will.topic.as_str(), will.payload.as_slice(), will.qos),
        ("t/will/broken", &b"gone"[..], Qos::AtLeastOnce)
    );

    let mut polite = Raw::accepted5(at, dying("t/will/polite").v5()).await;
    polite.send(&[0xe0, 0]).await;
    polite.closed().await;
    let mut insisting = Raw::accepted5(at, dying("t/will/insisting").v5()).await;
    insisting.send(&[0xe0, 1, 4]).await;
    assert_eq!(ben.received5().await.topic, "t/will/insisting", "and none of the polite one");

    let mut wrong = Raw::open(at).await;
    wrong.connect4(dying("t/will/wrong").v4()).await;
    wrong.send(&[0xff, 0]).await;
    assert_eq!(ben.received5().await.topic, "t/will/wrong");

    // Retained, as asked.
    let mut late = Raw::client5(at, "ben", "late").await;
    late.subscribed5("t/will/broken", Qos::AtLeastOnce).await;
    assert!(late.received5().await.retain);
}

#[tokio::test]
async fn a_wills_life_starts_with_its_publication() {
    let running = start().await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/will", Qos::AtLeastOnce).await;
    let expiry = vec![Property::MessageExpiryInterval(MessageExpiryInterval::new(30).unwrap())];
    let connect = login("anna", "a").will("t/will", "gone", Qos::AtLeastOnce, false).will_properties(expiry.clone());
    drop(Raw::accepted5(running.address, connect.v5()).await);
    assert_eq!(ben.received5().await.properties, expiry);
}

#[tokio::test]
async fn a_takeover_cuts_the_old_and_publishes_its_will_first() {
    let running = start().await;
    let at = running.address;
    let mut backend = Raw::client5(at, "backend", "b").await;
    backend.subscribed5("m/+/status", Qos::AtLeastOnce).await;
    let connect = login("module-one", "one").will("m/one/status", "offline", Qos::AtLeastOnce, true);
    let mut old = Raw::accepted5(at, connect.v5()).await;
    for round in 0..20 {
        let mut new = Raw::accepted5(at, connect.v5()).await;
        assert_eq!(new.publish5("m/one/status", b"online", true, Properties::new()).await, 0);
        assert_eq!(old.closed().await, Some(0x8e), "session taken over");
        assert_eq!(backend.received5().await.payload, b"offline", "round {round}");
        assert_eq!(backend.received5().await.payload, b"online", "round {round}");
        old = new;
    }
    old.subscribed5("m/one/command", Qos::AtLeastOnce).await;
    assert_eq!(backend.publish5("m/one/command", b"go", false, Properties::new()).await, 0);
    assert_eq!(old.received5().await.payload, b"go");
    assert_eq!(running.broker.connections().len(), 2);
}

#[tokio::test]
async fn a_kept_session_queues_and_resumes() {
    let running = start().await;
    let at = running.address;
    let mut anna = Raw::client5(at, "anna", "a").await;
    let mut ben = Raw::accepted5(at, login("ben", "b").properties(kept(100)).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    assert_eq!(anna.publish5("t/1", b"in flight", false, Properties::new()).await, 0);
    let unacknowledged = ben.unacknowledged5().await;
    drop(ben);
    gone(&running, "b").await;
    for number in 2..5 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"queued", false, Properties::new()).await, 0);
    }
    let short = vec![Property::MessageExpiryInterval(MessageExpiryInterval::new(0).unwrap())];
    assert_eq!(anna.publish5("t/expired", b"x", false, short).await, 0);

    let (mut ben, present) = resumed5(&running, "ben", "b").await;
    assert!(present);
    let again = ben.received5().await;
    assert_eq!((again.topic.as_str(), again.dup, again.id), ("t/1", true, unacknowledged.id));
    for number in 2..5 {
        let received = ben.received5().await;
        assert_eq!((received.topic, received.dup), (format!("t/{number}"), false));
    }
    ben.ping().await;
    assert_eq!(anna.publish5("t/live", b"x", false, Properties::new()).await, 0);
    assert_eq!(ben.received5().await.topic, "t/live");
    drop(ben);

    // A clean start ends it; so does a goodbye that says so.
    let mut ben = Raw::accepted5(at, login("ben", "b").properties(kept(100)).v5()).await;
    ben.ping().await;
    ben.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    ben.closed().await;
    assert!(!resumed5(&running, "ben", "b").await.1);
}

#[tokio::test]
async fn a_kept_session_of_3_1_1_resumes_too() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let connect = login("ben", "b").resuming();
    let mut ben = Raw::open(running.address).await;
    assert!(!ben.connect4(connect.v4()).await.session_present());
    assert_eq!(ben.subscribe4("t/#", Qos::AtLeastOnce).await, 1);
    ben.send(&[0xe0, 0]).await;
    ben.closed().await;
    gone(&running, "b").await;
    assert_eq!(anna.publish5("t/x", b"queued", false, Properties::new()).await, 0);
    let mut ben = Raw::open(running.address).await;
    assert!(ben.connect4(connect.v4()).await.session_present());
    assert_eq!(ben.received4().await.payload, b"queued");
}

#[tokio::test]
async fn a_takeover_keeps_a_kept_session() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut old = Raw::accepted5(running.address, login("ben", "b").properties(kept(100)).v5()).await;
    old.subscribed5("t/#", Qos::AtLeastOnce).await;
    let (mut new, present) = resumed5(&running, "ben", "b").await;
    assert!(present);
    assert_eq!(old.closed().await, Some(0x8e));
    assert_eq!(anna.publish5("t/x", b"x", false, Properties::new()).await, 0);
    assert_eq!(new.received5().await.payload, b"x");
}

#[tokio::test]
async fn sessions_end_when_their_time_is_up() {
    let running = start_with(Limits { session_expiry_max: Duration::from_millis(300), ..Limits::default() }).await;
    drop(Raw::accepted5(running.address, login("ben", "b").properties(kept(100)).v5()).await);
    gone(&running, "b").await;
    let ended = async {
        // Each look resumes the session if it is there, so look seldom enough for it to end in between.
        while resumed5(&running, "ben", "b").await.1 {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, ended).await.unwrap();
}

#[tokio::test]
async fn modules_keep_no_session() {
    let running = start().await;
    let mut raw = Raw::open(running.address).await;
    let connack = raw.connect5(login("module-one", "one").resuming().properties(kept(100)).v5()).await;
    assert!(
        connack.props().iter().any(|property| matches!(property, Property::SessionExpiryInterval(at) if at.val() == 0))
    );
    raw.subscribed5("m/one/command", Qos::AtLeastOnce).await;
    drop(raw);
    gone(&running, "one").await;
    let mut raw = Raw::open(running.address).await;
    assert!(!raw.connect4(login("module-one", "one").resuming().v4()).await.session_present());
}

#[tokio::test]
async fn a_delayed_will_waits_and_is_withdrawn_by_a_return() {
    let running = start().await;
    let at = running.address;
    let mut ben = Raw::client5(at, "ben", "b").await;
    ben.subscribed5("t/will", Qos::AtLeastOnce).await;
    let connect = |seconds| {
        login("anna", "a")
            .properties(kept(100))
            .will("t/will", "gone", Qos::AtLeastOnce, false)
            .will_properties(delay(seconds))
    };
    drop(Raw::accepted5(at, connect(100).v5()).await);
    gone(&running, "a").await;
    let (anna, present) = resumed5(&running, "anna", "a").await;
    assert!(present);
    drop(anna);
    gone(&running, "a").await;
    ben.ping().await;
    let began = Instant::now();
    drop(Raw::accepted5(at, connect(1).v5()).await);
    assert_eq!(ben.received5().await.payload, b"gone");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // A clean start ends the session, and so its delay.
    drop(Raw::accepted5(at, connect(100).v5()).await);
    gone(&running, "a").await;
    let _anna = Raw::client5(at, "anna", "a").await;
    assert_eq!(ben.received5().await.payload, b"gone");
}

#[tokio::test]
async fn silence_is_cut_at_one_and_a_half_keep_alives_even_while_messages_flow_out() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let connect = login("ben", "b").keep_alive(1).will("t/will", "silent", Qos::AtLeastOnce, false);
    let mut ben = Raw::accepted5(running.address, connect.v5()).await;
    let began = Instant::now();
    ben.subscribed5("t/x", Qos::AtMostOnce).await;
    // The half-open client: its socket takes everything and it never says a word.
    let publishing = async {
        loop {
            anna.publish5("t/x", b"x", false, Properties::new()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reason = tokio::select! {
        reason = ben.closed() => reason,
        () = publishing => unreachable!("publishes for ever"),
    };
    assert_eq!(reason, Some(0x8d), "keep alive timeout");
    let after = began.elapsed();
    // The upper bound only tells it from the broker's other bounds: a machine that is busy is late.
    assert!(after >= Duration::from_millis(1_500) && after < Duration::from_secs(10), "{after:?}");
}

#[tokio::test]
async fn no_keep_alive_is_bounded_by_the_brokers() {
    let running = start_with(Limits { keep_alive_max_s: 1, ..Limits::default() }).await;
    let mut told = Raw::open(running.address).await;
    let connack = told.connect5(login("anna", "a").keep_alive(0).v5()).await;
    assert!(connack.props().iter().any(|property| matches!(property, Property::ServerKeepAlive(at) if at.val() == 1)));
    let mut old = Raw::open(running.address).await;
    old.connect4(login("anna", "old").keep_alive(0).v4()).await;
    assert_eq!(told.closed().await, Some(0x8d));
    assert_eq!(old.closed().await, None);
}

#[tokio::test]
async fn a_slow_reader_is_cut_and_nobody_else_notices() {
    let limits = Limits { client_queue_messages: 50, client_queue_bytes: 1 << 20, ..Limits::default() };
    let running = start_with(limits).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    let mut slow = Raw::client5(running.address, "ben", "slow").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    slow.subscribed5("t/#", Qos::AtLeastOnce).await;
    let mut published = 0;
    while running.broker.connections().iter().any(|client| client.client_id == "slow") {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, Properties::new()).await, 0);
        ben.received5().await;
        published += 1;
        assert!(published < 10_000, "never cut");
    }
    ben.ping().await;
}

#[tokio::test]
async fn a_client_that_takes_no_byte_is_cut() {
    let running = start_with(Limits { write_stall: Duration::from_millis(500), ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut stuck = Raw::client5(running.address, "ben", "stuck").await;
    stuck.subscribed5("t/#", Qos::AtMostOnce).await;
    // Fills the sockets' buffers, but not the queue.
    for _ in 0..400 {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, Properties::new()).await, 0);
        if running.broker.connections().len() == 1 {
            break;
        }
    }
    gone(&running, "stuck").await;
}

#[tokio::test]
async fn a_full_queue_of_an_absent_client_loses_the_newest() {
    let running = start_with(Limits { client_queue_messages: 3, ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::accepted5(running.address, login("ben", "b").properties(kept(100)).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    drop(ben);
    gone(&running, "b").await;
    // What others have received was offered to his queue too: little comes live when he is back.
    let mut witness = Raw::client5(running.address, "ben", "witness").await;
    witness.subscribed5("t/#", Qos::AtLeastOnce).await;
    for number in 0..500 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"x", false, Properties::new()).await, 0);
        witness.received5().await;
    }
    let (mut ben, _) = resumed5(&running, "ben", "b").await;
    ben.send(&[0xc0, 0]).await;
    let mut topics = Vec::new();
    loop {
        let packet = ben.packet().await.unwrap();
        if packet.packet_type() == 13 {
            break;
        }
        topics.push(packet);
    }
    // Three were queued; a few of the last may have come live.
    assert!((3..100).contains(&topics.len()), "{}", topics.len());
    for (number, packet) in topics.iter().take(3).enumerate() {
        assert!(packet.data_as_slice()[2..].starts_with(format!("t/{number}").as_bytes()));
    }
}

#[tokio::test]
async fn revoking_a_credential_drops_its_connections_and_sessions() {
    let running = start().await;
    let at = running.address;
    let mut ben = Raw::client5(at, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    let connect = login("anna", "1").properties(kept(100)).will("t/will", "gone", Qos::AtLeastOnce, false);
    let mut first = Raw::accepted5(at, connect.v5()).await;
    let mut second = Raw::client4(at, "anna", "2").await;
    drop(Raw::accepted5(at, login("anna", "3").properties(kept(100)).v5()).await);
    gone(&running, "3").await;
    let mut listed: Vec<_> = running.broker.connections();
    listed.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    let shown: Vec<_> = listed
        .iter()
        .map(|client| (client.client_id.as_str(), client.credential.as_str(), client.version, client.lane))
        .collect();
    assert_eq!(
        shown,
        [
            ("1", "anna", Version::V5, Lane::Client),
            ("2", "anna", Version::V311, Lane::Client),
            ("b", "ben", Version::V5, Lane::Client)
        ]
    );
    assert_eq!(running.broker.disconnect("anna"), 2);
    assert_eq!(first.closed().await, Some(0x98), "administrative action");
    assert_eq!(second.closed().await, None);
    assert_eq!(ben.received5().await.payload, b"gone");
    assert_eq!(running.broker.disconnect("anna"), 0);
    assert!(!resumed5(&running, "anna", "1").await.1);
    ben.ping().await;
}

#[tokio::test]
async fn shutdown_says_goodbye_publishes_no_wills_and_waits_for_nobody_stuck() {
    let running = start().await;
    let at = running.address;
    let mut ben = Raw::client5(at, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    let connect = login("anna", "a").will("t/will", "gone", Qos::AtLeastOnce, false);
    let mut anna = Raw::accepted5(at, connect.v5()).await;
    let mut stuck = Raw::client5(at, "ben", "stuck").await;
    stuck.subscribed5("t/#", Qos::AtMostOnce).await;
    for _ in 0..200 {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, Properties::new()).await, 0);
        ben.received5().await;
    }
    let mut idle = Raw::open(at).await;
    let ending = tokio::time::timeout(Duration::from_secs(10), running.broker.shutdown());
    ending.await.expect("it waits for the one that is stuck");
    assert_eq!(anna.closed().await, Some(0x8b));
    assert_eq!(ben.closed().await, Some(0x8b), "and no will before it");
    assert_eq!(idle.closed().await, None);
    assert!(tokio::net::TcpStream::connect(at).await.is_err());
}
