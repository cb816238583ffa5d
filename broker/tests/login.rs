//! Who gets in, under which name, and what those who do not are told.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use broker::{Config, Limits, StartError};
use common::{Raw, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{AuthenticationMethod, Property, Qos, v3_1_1, v5_0};

async fn refused4(address: std::net::SocketAddr, connect: v3_1_1::Connect) -> u8 {
    let mut raw = Raw::open(address).await;
    let code = raw.connect4(connect).await.return_code() as u8;
    assert_eq!(raw.closed().await, None);
    code
}

async fn refused5(address: std::net::SocketAddr, connect: v5_0::Connect) -> u8 {
    let mut raw = Raw::open(address).await;
    let code = raw.connect5(connect).await.reason_code() as u8;
    assert_eq!(raw.closed().await, None);
    code
}

#[tokio::test]
async fn refusals_carry_the_right_code_in_both_versions() {
    let running = start().await;
    let at = running.address;
    for (user, code4, code5) in [("nobody", 4, 0x86), ("banned", 5, 0x87), ("down", 3, 0x88)] {
        assert_eq!(refused4(at, login(user, "x").v4()).await, code4, "{user}");
        assert_eq!(refused5(at, login(user, "x").v5()).await, code5, "{user}");
    }
    for wrong in [login("anna", "x").password("wrong"), login("anna", "x").anonymous()] {
        assert_eq!(refused4(at, wrong.v4()).await, 4);
        assert_eq!(refused5(at, wrong.v5()).await, 0x86);
    }
    let method = AuthenticationMethod::new("SCRAM").unwrap();
    let connect = login("anna", "x").properties(vec![Property::AuthenticationMethod(method)]);
    assert_eq!(refused5(at, connect.v5()).await, 0x8c);
}

#[tokio::test]
async fn other_versions_are_told_so() {
    let running = start().await;
    for connect in [&b"\x10\x0c\0\x04MQTT\x07\x02\0\x3c\0\0"[..], &b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01x"[..]] {
        let mut raw = Raw::open(running.address).await;
        raw.send(connect).await;
        assert_eq!(raw.body().await, (2, vec![0, 1]));
        raw.closed().await;
    }
}

#[tokio::test]
async fn a_client_identifier_is_bound_to_its_credential() {
    let running = start().await;
    let at = running.address;
    assert_eq!(refused4(at, login("module-one", "two").v4()).await, 2);
    assert_eq!(refused5(at, login("module-one", "two").v5()).await, 0x85);
    assert_eq!(refused5(at, login("pre", "other").v5()).await, 0x85);
    assert_eq!(refused5(at, login("anna", "a\u{1}").v5()).await, 0x85);
    assert_eq!(refused5(at, login("anna", &"a".repeat(129)).v5()).await, 0x85);
    Raw::client5(at, "pre", "pre-1").await;
    Raw::client5(at, "module-one", "one").await;
}

#[tokio::test]
async fn the_same_identifier_of_another_credential_is_another_session() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "same").await;
    let mut ben = Raw::client5(running.address, "ben", "same").await;
    anna.ping().await;
    ben.ping().await;
    assert_eq!(running.broker.connections().len(), 2);
}

#[tokio::test]
async fn an_empty_identifier_is_assigned() {
    let running = start().await;
    let at = running.address;
    let assigned = |connack: v5_0::Connack| {
        connack.props().iter().find_map(|property| {
            if let Property::AssignedClientIdentifier(id) = property { Some(id.val().to_owned()) } else { None }
        })
    };
    let mut raw = Raw::open(at).await;
    let id = assigned(raw.connect5(login("anna", "").v5()).await).unwrap();
    assert_eq!(running.broker.connections()[0].client_id, id);
    let mut prefixed = Raw::open(at).await;
    assert!(assigned(prefixed.connect5(login("pre", "").v5()).await).unwrap().starts_with("pre-"));
    let mut exact = Raw::open(at).await;
    assert_eq!(assigned(exact.connect5(login("module-one", "").v5()).await).unwrap(), "one");
    let mut named = Raw::open(at).await;
    assert_eq!(assigned(named.connect5(login("anna", "named").v5()).await), None);
    Raw::client4(at, "anna", "").await;
    assert_eq!(refused4(at, login("anna", "").resuming().v4()).await, 2);
}

#[tokio::test]
async fn a_will_that_is_not_granted_is_left_out_and_the_client_connected() {
    let running = start().await;
    let at = running.address;
    let mut observer = Raw::client5(at, "observer", "o").await;
    observer.subscribed5("#", Qos::AtMostOnce).await;
    let will = |topic| login("anna", "x").will(topic, "w", Qos::AtMostOnce, false);
    for topic in ["v1/op/x", "homeassistant/status", "m/one/status", "é", "t/é", "$SYS/broker/connection/x/state"] {
        // Each breaks off, as whoever has a will of its own does not: it would be published.
        assert_eq!(Raw::open(at).await.connect5(will(topic).v5()).await.reason_code() as u8, 0, "{topic}");
        assert_eq!(Raw::open(at).await.connect4(will(topic).v4()).await.return_code() as u8, 0, "{topic}");
    }
    // A module's is no exception: it connects, and nobody hears its will.
    let stolen = login("module-one", "one").will("m/two/status", "w", Qos::AtLeastOnce, true);
    assert_eq!(Raw::open(at).await.connect5(stolen.v5()).await.reason_code() as u8, 0);
    // What is against the protocol is refused.
    for topic in ["t/+", ""] {
        assert_eq!(refused5(at, will(topic).v5()).await, 0x90, "{topic}");
        assert_eq!(refused4(at, will(topic).v4()).await, 5, "{topic}");
    }
    until("all are gone", || running.broker.connections().len() == 1).await;
    drop(Raw::accepted5(at, will("t/will").v5()).await);
    assert_eq!(observer.received5().await.topic, "t/will", "and nothing before it");
    assert!(running.broker.healthy());
}

#[tokio::test]
async fn silent_connections_are_closed_and_delay_nobody() {
    let running = start_with(Limits { connect_timeout: Duration::from_secs(5), ..Limits::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(Raw::open(running.address).await);
    }
    let mut half = Raw::open(running.address).await;
    half.send(&[0x10, 0x20, 0]).await;
    Raw::client5(running.address, "anna", "quick").await;
    assert!(idle[0].is_open().await, "the client was served only when the idle ones had been cut");
    for mut raw in idle {
        assert_eq!(raw.closed().await, None);
    }
    assert_eq!(half.closed().await, None);
}

#[tokio::test]
async fn connections_are_bounded_and_freed() {
    let running = start_with(Limits { connections: 2, ..Limits::default() }).await;
    let first = Raw::client5(running.address, "anna", "1").await;
    let _second = Raw::client5(running.address, "anna", "2").await;
    let mut third = Raw::open(running.address).await;
    assert_eq!(third.closed().await, None);
    drop(first);
    until("the first is gone", || running.broker.connections().len() == 1).await;
    let connecting = async {
        loop {
            let mut raw = Raw::open(running.address).await;
            raw.send(&login("anna", "4").v5().to_continuous_buffer()).await;
            if raw.packet().await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, connecting).await.unwrap();
}

#[tokio::test]
async fn sessions_of_a_credential_are_bounded() {
    let running = start_with(Limits { sessions_per_credential: 1, ..Limits::default() }).await;
    let _first = Raw::client5(running.address, "anna", "1").await;
    assert_eq!(refused5(running.address, login("anna", "2").v5()).await, 0x97);
    assert_eq!(refused4(running.address, login("anna", "2").v4()).await, 3);
    Raw::client5(running.address, "ben", "1").await;
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let running = start().await;
    let config = Config { listen: vec![running.address], ..Config::default() };
    let Err(error) = broker::start(config, std::sync::Arc::new(common::Logins)).await else { panic!("started") };
    assert!(matches!(error, StartError::Listen { address, .. } if address == running.address));
    assert!(error.to_string().contains(&running.address.to_string()));
    let config = Config { device_topics: "m/#/command".into(), ..Config::default() };
    assert!(matches!(
        broker::start(config, std::sync::Arc::new(common::Logins)).await,
        Err(StartError::DeviceTopics { .. })
    ));
}

/// MQTT 5 allows it (section 3.1.2.9); the library that reads packets does not.
#[tokio::test]
async fn a_password_without_a_user_name_is_refused_as_such() {
    let running = start().await;
    let mut raw = Raw::open(running.address).await;
    let body = [&b"\0\x04MQTT\x05\x42\0\x3c\0\0\x01x\0\x02"[..], common::PASSWORD.as_bytes()].concat();
    raw.send(&[&[0x10, body.len() as u8][..], &body].concat()).await;
    let (kind, body) = raw.body().await;
    assert_eq!((kind, body[1]), (2, 0x86));
}
