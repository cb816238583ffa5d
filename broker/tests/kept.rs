//! Sessions that outlive a connection: what ends them, what does not, and what was in flight.

#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use broker::Limits;
use common::{Raw, Running, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{
    MessageExpiryInterval, Properties, Property, Qos, ReceiveMaximum, SessionExpiryInterval, SubOpts, v5_0,
};

/// Longer than the supervisor takes to give up a core that sticks.
const STUCK: Duration = Duration::from_secs(6);

fn kept() -> Properties {
    vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(100).unwrap())]
}

async fn resumed(running: &Running, user: &str, id: &str, more: Properties) -> (Raw, bool) {
    let mut raw = Raw::open(running.address).await;
    let properties = kept().into_iter().chain(more).collect();
    let connack = raw.connect5(login(user, id).resuming().properties(properties).v5()).await;
    assert_eq!(connack.reason_code() as u8, 0);
    let present = connack.session_present();
    (raw, present)
}

async fn gone(running: &Running, id: &str) {
    until("the client is gone", || running.broker.connections().iter().all(|client| client.client_id != id)).await;
}

fn once(topic: &str, id: u16, dup: bool) -> Vec<u8> {
    let publish = v5_0::Publish::builder().topic_name(topic).unwrap().qos(Qos::ExactlyOnce).packet_id(id).dup(dup);
    publish.payload(topic.as_bytes()).build().unwrap().to_continuous_buffer()
}

/// Makes the core stick, and publishes until a publisher is held back. Wants a core window of one byte.
async fn stick(running: &Running) -> Raw {
    running.broker.stall_core(STUCK).await;
    let mut filler = Raw::client5(running.address, "ben", "filler").await;
    loop {
        let publishing = filler.publish5("t/filler", b"x", false, vec![]);
        if tokio::time::timeout(Duration::from_millis(300), publishing).await.is_err() {
            return filler;
        }
    }
}

/// Waits until the broker heard of a client after a moment.
async fn heard(running: &Running, id: &str, after: SystemTime) {
    let heard =
        || running.broker.connections().iter().any(|client| client.client_id == id && client.last_packet_at > after);
    until("it was heard", heard).await;
}

#[tokio::test]
async fn a_connection_that_is_ended_leaves_its_session() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::accepted5(running.address, login("ben", "b").properties(kept()).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    let number = running.broker.connections().iter().find(|client| client.client_id == "b").unwrap().number;
    assert!(running.broker.end_connection(number));
    assert_eq!(ben.closed().await, Some(0x98));
    gone(&running, "b").await;
    assert_eq!(anna.publish5("t/away", b"x", false, vec![]).await, 0);
    let (mut ben, present) = resumed(&running, "ben", "b", vec![]).await;
    assert!(present, "the session is there");
    assert_eq!(ben.received5().await.topic, "t/away");
}

#[tokio::test]
async fn a_goodbye_does_not_keep_a_revoked_session() {
    let limits = Limits { core_window_bytes: 1, sessions_per_credential: 1, ..Limits::default() };
    let running = start_with(limits).await;
    let mut anna = Raw::accepted5(running.address, login("anna", "a").properties(kept()).v5()).await;
    anna.ping().await;
    let _held = stick(&running).await;
    // The goodbye waits behind a publish that waits for the core, and is not heard before the revocation.
    let publish = once("t/x", 1, false);
    let goodbye = v5_0::Disconnect::builder()
        .reason_code(mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode::NormalDisconnection);
    let goodbye = goodbye.props(kept()).build().unwrap().to_continuous_buffer();
    let before = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    anna.send(&[publish, goodbye].concat()).await;
    heard(&running, "a", before).await;
    assert_eq!(running.broker.disconnect("anna"), 1);
    gone(&running, "a").await;
    // Its place is free.
    let _other = Raw::client5(running.address, "anna", "other").await;
}

#[tokio::test]
async fn a_publish_of_qos_2_that_waits_over_a_takeover_is_taken_once() {
    let running = start_with(Limits { core_window_bytes: 1, ..Limits::default() }).await;
    let at = running.address;
    let mut reader = Raw::client5(at, "ben", "reader").await;
    reader.subscribed5("t/once/#", Qos::AtLeastOnce).await;
    let mut old = Raw::accepted5(at, login("anna", "a").properties(kept()).v5()).await;
    old.ping().await;
    let _held = stick(&running).await;
    let before = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    old.send(&once("t/once/1", 1, false)).await;
    heard(&running, "a", before).await;
    let (mut new, present) = resumed(&running, "anna", "a", vec![]).await;
    assert!(present);
    new.send(&once("t/once/1", 1, true)).await;
    assert_eq!(new.body().await, (5, vec![0, 1]), "PUBREC");
    new.send(&[0x62, 2, 0, 1]).await;
    assert_eq!(new.body().await, (7, vec![0, 1]), "PUBCOMP");
    assert_eq!(old.closed().await, Some(0x8e));
    new.send(&once("t/once/2", 1, false)).await;
    assert_eq!(new.body().await, (5, vec![0, 1]), "PUBREC");
    assert_eq!(reader.received5().await.topic, "t/once/1");
    assert_eq!(reader.received5().await.topic, "t/once/2");
}

#[tokio::test]
async fn a_core_that_sticks_is_replaced_and_nothing_is_lost_or_comes_twice() {
    let running = start().await;
    let mut reader = Raw::client5(running.address, "ben", "reader").await;
    reader.subscribed5("t/#", Qos::AtLeastOnce).await;
    let mut writer = Raw::client5(running.address, "anna", "writer").await;
    for number in 0..3 {
        assert_eq!(writer.publish5(&format!("t/{number}"), b"x", false, vec![]).await, 0);
    }
    let stuck_for = Duration::from_secs(4);
    running.broker.stall_core(stuck_for).await;
    until("it is noticed", || !running.broker.healthy()).await;
    for number in 3..6 {
        assert_eq!(writer.publish5(&format!("t/{number}"), b"x", false, vec![]).await, 0);
    }
    for number in 0..6 {
        assert_eq!(reader.received5().await.topic, format!("t/{number}"));
    }
    until("it is replaced", || running.broker.healthy()).await;
    // The old connection wakes up, and is not accepted any more.
    tokio::time::sleep(stuck_for).await;
    assert_eq!(writer.publish5("t/last", b"x", false, vec![]).await, 0);
    assert_eq!(reader.received5().await.topic, "t/last");
    reader.ping().await;
}

#[tokio::test]
async fn a_resumed_client_is_sent_no_more_at_once_than_it_takes_now() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::accepted5(running.address, login("ben", "b").properties(kept()).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    for number in 0..5 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"x", false, vec![]).await, 0);
        ben.unacknowledged5().await;
    }
    drop(ben);
    gone(&running, "b").await;
    let two = vec![Property::ReceiveMaximum(ReceiveMaximum::new(2).unwrap())];
    let (mut ben, present) = resumed(&running, "ben", "b", two).await;
    assert!(present);
    let first = [ben.unacknowledged5().await, ben.unacknowledged5().await];
    ben.ping().await;
    for number in 2..5 {
        ben.send(&[0x40, 2, 0, u8::try_from(number - 1).unwrap()]).await;
        let next = ben.unacknowledged5().await;
        assert_eq!((next.topic, next.dup), (format!("t/{number}"), true));
    }
    assert_eq!(first.map(|publish| (publish.topic, publish.dup)), [("t/0".into(), true), ("t/1".into(), true)]);
    ben.ping().await;
}

#[tokio::test]
async fn a_message_of_qos_2_that_was_sent_does_not_expire() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::accepted5(running.address, login("ben", "b").properties(kept()).v5()).await;
    let options = SubOpts::new().set_qos(Qos::ExactlyOnce);
    assert_eq!(ben.subscribe5("t/#", options, vec![]).await, [2]);
    let expiry = vec![Property::MessageExpiryInterval(MessageExpiryInterval::new(1).unwrap())];
    let publish = v5_0::Publish::builder().topic_name("t/x").unwrap().qos(Qos::ExactlyOnce).packet_id(1);
    anna.send(&publish.props(expiry).payload("x").build().unwrap().to_continuous_buffer()).await;
    let sent = ben.unacknowledged5().await;
    drop(ben);
    gone(&running, "b").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (mut ben, _) = resumed(&running, "ben", "b", vec![]).await;
    let again = tokio::time::timeout(WAIT_TIMEOUT, ben.unacknowledged5()).await.unwrap();
    assert_eq!((again.id, again.dup), (sent.id, true));
}

#[tokio::test]
async fn a_first_subscription_waits_for_a_core_that_is_being_replaced() {
    let running = start().await;
    for (number, stuck) in [(0, false), (1, true)] {
        let mut ben = Raw::client5(running.address, "ben", &format!("b{number}")).await;
        if stuck {
            running.broker.stall_core(STUCK).await;
        } else {
            running.broker.kill_core();
        }
        ben.subscribed5("t/#", Qos::AtLeastOnce).await;
        let mut anna = Raw::client5(running.address, "anna", "a").await;
        assert_eq!(anna.publish5("t/x", b"x", false, vec![]).await, 0);
        assert_eq!(ben.received5().await.topic, "t/x");
        until("it is replaced", || running.broker.healthy()).await;
    }
}
