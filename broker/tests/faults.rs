//! What breaks rumqttd when clients reach it directly, sent to the gate. Each fault is a test; those that were written
//! where they belong by their subject stand there:
//!
//! | Fault of rumqttd alone | Test |
//! | --- | --- |
//! | its router dies of a topic or will that starts with a multibyte character | [`topics_that_start_with_a_multibyte_character`] |
//! | .. of a `$share` group's only member that leaves with a message unacknowledged | `shared::the_only_member_may_disconnect_with_a_message_unacknowledged_and_return` |
//! | .. of a flood to oneself and a hasty goodbye | [`a_client_that_floods_itself_and_disconnects_at_once`] |
//! | its listener dies of invalid identifiers, resets with one identifier, a retry at the connection limit | [`identifiers_and_resets_that_kill_a_listener`], [`retries_at_the_connection_limit`] |
//! | one idle connection blocks a TLS or WebSocket listener | `transports::handshakes_that_do_not_end_hold_up_nobody_and_are_cut` |
//! | a publish with properties ends a 3.1.1 subscriber's task | `messages::properties_pass_between_versions` |
//! | several topics under one alias | `messages::a_wildcard_subscriber_is_told_the_right_topics` |
//! | acknowledged and lost once the log rolls under a slow subscriber | [`the_log_rolls_on_under_a_slow_subscriber`], and `loss` |
//! | a part of the retained messages only | `messages::a_thousand_retained_messages_all_arrive` |
//! | cost that grows with the square of the fleet; memory for ever of each identifier | [`modules_that_come_and_go_leave_nothing_behind`]; figures in docs/BROKER.md |
//! | round trips of 44 ms | `messages::round_trips_do_not_wait_for_delayed_acknowledgements` |

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use broker::Limits;
use common::{Raw, Running, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{Properties, Qos, v3_1_1, v5_0};
use tokio::net::TcpStream;

/// Messages pass, and the core is the one that was started.
async fn stands(running: &Running) {
    let mut anna = Raw::client5(running.address, "anna", "witness").await;
    anna.subscribed5("t/witness", Qos::AtMostOnce).await;
    let packet = v5_0::Publish::builder().topic_name("t/witness").unwrap().payload(&b"x"[..]).build().unwrap();
    anna.send(&packet.to_continuous_buffer()).await;
    assert_eq!(anna.received5().await.topic, "t/witness");
    until("the core is well", || running.broker.healthy()).await;
}

#[tokio::test]
async fn topics_that_start_with_a_multibyte_character() {
    let running = start().await;
    let at = running.address;
    // One who may publish anything.
    let mut anyone = Raw::client5(at, "observer", "o").await;
    for topic in ["é", "é/x", "\u{1f3a0}", "t/é"] {
        assert_eq!(anyone.publish5(topic, b"x", false, vec![]).await, 0x90, "{topic}");
        let will = login("observer", "w").will(topic, "x", Qos::AtLeastOnce, false);
        assert_eq!(Raw::open(at).await.connect5(will.v5()).await.reason_code() as u8, 0, "{topic}");
        assert_eq!(Raw::open(at).await.connect4(will.v4()).await.return_code() as u8, 0, "{topic}");
        let mut old = Raw::client4(at, "observer", "old").await;
        let packet = v3_1_1::Publish::builder().topic_name(topic).unwrap().payload(&b"x"[..]).build().unwrap();
        old.send(&packet.to_continuous_buffer()).await;
        old.closed().await;
    }
    stands(&running).await;
}

#[tokio::test]
async fn a_client_that_floods_itself_and_disconnects_at_once() {
    let running = start().await;
    for _ in 0..5 {
        let mut raw = Raw::client4(running.address, "anna", "flood").await;
        assert_eq!(raw.subscribe4("t/#", Qos::AtMostOnce).await, 0);
        let packet = v3_1_1::Publish::builder().topic_name("t/x").unwrap().payload(&b"x"[..]).build().unwrap();
        let mut bytes = packet.to_continuous_buffer().repeat(600);
        bytes.extend([0xe0, 0]);
        raw.send(&bytes).await;
        raw.closed().await;
    }
    stands(&running).await;
}

#[tokio::test]
async fn identifiers_and_resets_that_kill_a_listener() {
    let running = start().await;
    let at = running.address;
    for round in 0..50 {
        let stream = TcpStream::connect(at).await.unwrap();
        // An immediate reset instead of an orderly close.
        stream.set_zero_linger().unwrap();
        let mut raw = Raw::open(at).await;
        raw.send(&login("anna", "same").v5().to_continuous_buffer()).await;
        raw.stream.set_zero_linger().unwrap();
        if round % 2 == 0 {
            let _ = raw.packet().await;
        }
        let refused = Raw::open(at).await.connect4(login("module-one", "+#").v4()).await;
        assert_eq!(refused.return_code() as u8, 2);
    }
    Raw::client5(at, "anna", "same").await.ping().await;
    stands(&running).await;
}

#[tokio::test]
async fn retries_at_the_connection_limit() {
    let running = start_with(Limits { connections: 2, ..Limits::default() }).await;
    let at = running.address;
    let first = Raw::client5(at, "anna", "first").await;
    let _second = Raw::client5(at, "anna", "second").await;
    for _ in 0..20 {
        let mut again = Raw::open(at).await;
        again.send(&login("anna", "first").v5().to_continuous_buffer()).await;
        assert_eq!(again.closed().await, None);
    }
    drop(first);
    until("its place is free", || running.broker.connections().len() == 1).await;
    let connecting = async {
        loop {
            let mut raw = Raw::open(at).await;
            raw.send(&login("anna", "first").v5().to_continuous_buffer()).await;
            if raw.packet().await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, connecting).await.unwrap();
}

/// Several times what the router's log of a filter holds goes by while a subscriber reads nothing, within the bounds that
/// it is promised. It then gets all of it.
#[tokio::test]
async fn the_log_rolls_on_under_a_slow_subscriber() {
    const MESSAGES: usize = 600;
    let limits = Limits { client_queue_bytes: 64 << 20, ..Limits::default() };
    let running = start_with(limits).await;
    let mut slow = Raw::client5(running.address, "ben", "slow").await;
    slow.subscribed5("t/#", Qos::AtLeastOnce).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut payload = vec![0; 30_000];
    for number in 0..MESSAGES {
        payload[..2].copy_from_slice(&(number as u16).to_be_bytes());
        assert_eq!(anna.publish5("t/x", &payload, false, Properties::new()).await, 0);
    }
    for number in 0..MESSAGES {
        assert_eq!(slow.received5().await.payload[..2], (number as u16).to_be_bytes());
    }
    stands(&running).await;
}

#[tokio::test]
async fn modules_that_come_and_go_leave_nothing_behind() {
    const MODULES: usize = 1_000;
    let running = start().await;
    for round in 0..2 {
        let mut modules = Vec::new();
        for number in 0..MODULES {
            let id = format!("{round}-{number}");
            let mut module = Raw::client5(running.address, &format!("module-{id}"), &id).await;
            module.subscribed5(&format!("m/{id}/command"), Qos::AtLeastOnce).await;
            modules.push(module);
        }
        let mut backend = Raw::client5(running.address, "backend", "backend").await;
        for (number, module) in modules.iter_mut().enumerate().step_by(97) {
            let topic = format!("m/{round}-{number}/command");
            assert_eq!(backend.publish5(&topic, b"x", false, vec![]).await, 0);
            assert_eq!(module.received5().await.topic, topic);
        }
    }
    until("all are gone", || running.broker.connections().is_empty()).await;
    let mut observer = Raw::client5(running.address, "observer", "o").await;
    observer.subscribed5("$SYS/broker/clients/total", Qos::AtMostOnce).await;
    let counting = async { while observer.received5().await.payload != b"1" {} };
    tokio::time::timeout(WAIT_TIMEOUT + Duration::from_secs(5), counting).await.expect("sessions are left");
}
