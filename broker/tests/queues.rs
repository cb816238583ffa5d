//! Bounds of what waits for clients: in bytes, of one, of a credential, of all.

#![allow(clippy::unwrap_used)]

mod common;

use broker::Limits;
use common::{Raw, Running, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{
    Properties, Property, Qos, SessionExpiryInterval, SubEntry, SubOpts, UserProperty, v5_0,
};
use tokio::time::timeout;

fn kept() -> Properties {
    vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(100).unwrap())]
}

/// Leaves a session behind that subscribes to a filter.
async fn away(running: &Running, user: &str, id: &str, filter: &str) {
    let mut raw = Raw::accepted5(running.address, login(user, id).properties(kept()).v5()).await;
    raw.subscribed5(filter, Qos::AtLeastOnce).await;
    drop(raw);
    until("it is away", || running.broker.connections().iter().all(|client| client.client_id != id)).await;
}

/// Waits until the broker says that so many messages were dropped in all: then every queue has had its turn, however late.
async fn dropped(running: &Running, count: usize) {
    let mut observer = Raw::client5(running.address, "observer", "eye").await;
    observer.subscribed5("$SYS/broker/publish/messages/dropped", Qos::AtMostOnce).await;
    let count = count.to_string();
    let saying = async {
        // It says so every 10 s.
        while !matches!(timeout(WAIT_TIMEOUT / 2, observer.received5()).await, Ok(said) if said.payload == count.as_bytes())
        {
        }
    };
    timeout(3 * WAIT_TIMEOUT, saying).await.expect("other messages were dropped");
}

/// How many messages wait for it.
async fn waiting(running: &Running, user: &str, id: &str) -> usize {
    let mut raw = Raw::open(running.address).await;
    assert!(raw.connect5(login(user, id).resuming().properties(kept()).v5()).await.session_present());
    let mut count = 0;
    raw.send(&[0xc0, 0]).await;
    // Messages that fit the buffers come before the answer; others after acknowledgements.
    let mut answered = false;
    loop {
        let packet = match answered {
            false => raw.packet().await,
            true => match timeout(std::time::Duration::from_secs(1), raw.packet()).await {
                Ok(packet) => packet,
                Err(_) => return count,
            },
        };
        match packet.expect("the broker closed").packet_type() {
            3 => count += 1,
            _ => answered = true,
        }
    }
}

#[tokio::test]
async fn a_message_counts_with_its_properties() {
    let running = start_with(Limits { client_queue_bytes: 200_000, ..Limits::default() }).await;
    away(&running, "ben", "b", "t/#").await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for _ in 0..20 {
        let long = UserProperty::new("key", "x".repeat(30_000).as_str()).unwrap();
        assert_eq!(anna.publish5("t/x", b"", false, vec![Property::UserProperty(long)]).await, 0);
    }
    dropped(&running, 14).await;
    assert_eq!(waiting(&running, "ben", "b").await, 6);
}

#[tokio::test]
async fn a_retained_message_counts_with_its_properties() {
    let at = start_with(Limits { retained_bytes: 100_000, ..Limits::default() }).await.address;
    let mut anna = Raw::client5(at, "anna", "a").await;
    let long = || vec![Property::UserProperty(UserProperty::new("key", "x".repeat(30_000).as_str()).unwrap())];
    for number in 0..3 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"x", true, long()).await, 0);
    }
    assert_eq!(anna.publish5("t/3", b"x", true, long()).await, 0x97);
}

#[tokio::test]
async fn queues_of_offline_clients_disconnect_no_connected_client() {
    let running = start_with(Limits { queued_bytes: 200_000, ..Limits::default() }).await;
    away(&running, "ben", "b", "t/#").await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for _ in 0..10 {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, vec![]).await, 0);
    }
    dropped(&running, 4).await;
    let mut there = Raw::client5(running.address, "ben", "there").await;
    there.subscribed5("t/#", Qos::AtLeastOnce).await;
    for _ in 0..10 {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, vec![]).await, 0);
        assert_eq!(there.received5().await.payload.len(), 30_000);
    }
    dropped(&running, 14).await;
    assert_eq!(waiting(&running, "ben", "b").await, 6);
}

#[tokio::test]
async fn a_credentials_queues_are_bounded_together_and_take_nothing_from_others() {
    let running = start_with(Limits { credential_queue_bytes: 200_000, ..Limits::default() }).await;
    for (user, id) in [("ben", "1"), ("ben", "2"), ("observer", "o")] {
        away(&running, user, id, "t/#").await;
    }
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for _ in 0..5 {
        assert_eq!(anna.publish5("t/x", &[0; 30_000], false, vec![]).await, 0);
    }
    dropped(&running, 4).await;
    assert_eq!(waiting(&running, "ben", "1").await + waiting(&running, "ben", "2").await, 6);
    assert_eq!(waiting(&running, "observer", "o").await, 5);
}

#[tokio::test]
async fn places_are_kept_for_credentials_that_have_no_session() {
    let limits = Limits { client_sessions: 3, client_sessions_for_first: 1, ..Limits::default() };
    let running = start_with(limits).await;
    away(&running, "ben", "1", "t/#").await;
    away(&running, "ben", "2", "t/#").await;
    let third = Raw::open(running.address).await.connect5(login("ben", "3").v5()).await;
    assert_eq!(third.reason_code() as u8, 0x97);
    let _backend = Raw::client5(running.address, "backend", "backend").await;
    // A client with a session may start a new one.
    let _again = Raw::client5(running.address, "ben", "2").await;
    let anna = Raw::open(running.address).await.connect5(login("anna", "a").v5()).await;
    assert_eq!(anna.reason_code() as u8, 0x97, "all are taken");
}

#[tokio::test]
async fn a_subscribe_has_no_more_entries_than_a_client_subscriptions() {
    let at = start_with(Limits { subscriptions: 3, ..Limits::default() }).await.address;
    let subscribe = |count: usize| {
        let entries: Vec<_> = (0..count).map(|_| SubEntry::new("t/#", SubOpts::new()).unwrap()).collect();
        v5_0::Subscribe::builder().packet_id(1).entries(entries).build().unwrap().to_continuous_buffer()
    };
    let mut anna = Raw::client5(at, "anna", "a").await;
    anna.send(&subscribe(3)).await;
    assert_eq!(anna.body().await.0, 9, "SUBACK");
    anna.send(&subscribe(4)).await;
    assert_eq!(anna.closed().await, Some(0x97));
}

#[tokio::test]
async fn retained_messages_are_looked_up_when_they_are_sent() {
    let running = start_with(Limits { client_in_flight: 1, ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for number in 1..=3 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"old", true, vec![]).await, 0);
    }
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    let first = ben.unacknowledged5().await;
    for number in 1..=3 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"new", true, vec![]).await, 0);
    }
    ben.send(&[0x40, 2, 0, u8::try_from(first.id).unwrap()]).await;
    for number in 1..=3 {
        let live = ben.received5().await;
        assert_eq!((live.topic, &live.payload[..], live.retain), (format!("t/{number}"), &b"new"[..], false));
    }
    ben.ping().await;
}

#[tokio::test]
async fn all_retained_messages_come_however_many_do_not_match() {
    let running = start().await;
    let mut observer = Raw::client5(running.address, "observer", "o").await;
    for number in 0..3_000 {
        let topic = format!("r/{number}/{}", if number % 500 == 0 { "yes" } else { "no" });
        assert_eq!(observer.publish5(&topic, b"x", true, vec![]).await, 0);
    }
    for filter in ["r/+/yes", "+/+/yes"] {
        let mut reader = Raw::client5(running.address, "observer", "reader").await;
        reader.subscribed5(filter, Qos::AtLeastOnce).await;
        for _ in 0..6 {
            assert!(reader.received5().await.topic.ends_with("yes"));
        }
        reader.ping().await;
    }
}
