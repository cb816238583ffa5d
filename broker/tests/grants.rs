//! What a client may publish and read, and that nothing else passes.

#![allow(clippy::unwrap_used)]

mod common;

use broker::Limits;
use common::{Raw, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, SubOpts, TopicAlias, v3_1_1, v5_0};

fn alias(number: u16) -> Properties {
    vec![Property::TopicAlias(TopicAlias::new(number).unwrap())]
}

fn publish4(topic: &str, qos: Qos) -> Vec<u8> {
    let id = (qos != Qos::AtMostOnce).then_some(1);
    let packet = v3_1_1::Publish::builder().topic_name(topic).unwrap().qos(qos).packet_id(id).payload(&b"x"[..]);
    packet.build().unwrap().to_continuous_buffer()
}

fn publish5(topic: &str, qos: Qos, properties: Properties) -> Vec<u8> {
    let id = (qos != Qos::AtMostOnce).then_some(1);
    let packet = v5_0::Publish::builder().topic_name(topic).unwrap().qos(qos).packet_id(id).props(properties);
    packet.payload(&b"x"[..]).build().unwrap().to_continuous_buffer()
}

#[tokio::test]
async fn publishes_outside_the_grants_go_nowhere() {
    let running = start().await;
    let at = running.address;
    let mut backend = Raw::client5(at, "backend", "b").await;
    for filter in ["m/#", "v1/#", "wo/#"] {
        backend.subscribed5(filter, Qos::AtLeastOnce).await;
    }
    let mut anna = Raw::client5(at, "anna", "a").await;
    for topic in ["v1/op/x", "m/one/status", "ro/x", "T/x", "t"] {
        let code = anna.publish5(topic, b"x", false, Properties::new()).await;
        assert_eq!(code, if topic == "t" { 0 } else { 0x87 }, "{topic}");
    }
    for topic in ["t/é", "é", "t/\u{7f}", "$SYS/x"] {
        assert_eq!(anna.publish5(topic, b"x", false, Properties::new()).await, 0x90, "{topic}");
    }
    // QoS 0 is dropped; QoS 2 is answered by PUBREC.
    anna.send(&publish5("v1/op/x", Qos::AtMostOnce, Properties::new())).await;
    anna.ping().await;
    anna.send(&publish5("v1/op/x", Qos::ExactlyOnce, Properties::new())).await;
    assert_eq!(anna.body().await, (5, vec![0, 1, 0x87]));
    // 3.1.1 cannot be told: it is disconnected, and not acknowledged.
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut old = Raw::client4(at, "anna", "old").await;
        old.send(&publish4("v1/op/x", qos)).await;
        assert!(old.packet().await.is_none(), "{qos:?}");
        let mut old = Raw::client4(at, "anna", "old").await;
        old.send(&publish4("é", qos)).await;
        assert!(old.packet().await.is_none(), "{qos:?}");
    }
    // Who says on its will's topic that it is there is not cut for it, as the will was not; but for any other.
    for topic in ["homeassistant/status", "$SYS/broker/connection/bridge/state"] {
        let mut bridge = Raw::open(at).await;
        let connect = login("reader", "bridge").will(topic, "offline", Qos::AtLeastOnce, true);
        assert_eq!(bridge.connect4(connect.v4()).await.return_code() as u8, 0);
        bridge.send(&publish4(topic, Qos::AtMostOnce)).await;
        bridge.send(&publish4(topic, Qos::AtLeastOnce)).await;
        assert_eq!(bridge.body().await.0, 4, "a PUBACK");
        bridge.send(&publish4(topic, Qos::ExactlyOnce)).await;
        assert_eq!(bridge.body().await.0, 5, "a PUBREC");
        bridge.send(&publish4("v1/op/x", Qos::AtLeastOnce)).await;
        assert!(bridge.packet().await.is_none(), "no topic of others");
    }
    assert_eq!(anna.publish5("wo/x", b"seen", false, Properties::new()).await, 0);
    assert_eq!(backend.received5().await.payload, b"seen", "and nothing before it");
    until("the core is well", || running.broker.healthy()).await;
}

#[tokio::test]
async fn the_topic_behind_an_alias_is_held_against_the_grants() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    assert_eq!(anna.publish5("t/1", b"1", false, alias(1)).await, 0);
    assert_eq!(anna.publish5("v1/x", b"no", false, alias(2)).await, 0x87);
    assert_eq!(anna.publish5("t/3", b"3", false, alias(16)).await, 0);
    for (number, code) in [(1, 0), (2, 0x87), (16, 0)] {
        let id = anna.id();
        let packet = v5_0::Publish::builder().qos(Qos::AtLeastOnce).packet_id(id).props(alias(number));
        anna.send(&packet.payload(&b"again"[..]).build().unwrap().to_continuous_buffer()).await;
        let (_, body) = anna.body().await;
        assert_eq!(body.get(2).copied().unwrap_or(0), code, "alias {number}");
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let received = ben.received5().await;
        assert!(received.properties.is_empty(), "an alias is not passed on");
        seen.push(received.topic);
    }
    assert_eq!(seen, ["t/1", "t/3", "t/1", "t/3"]);
    // Unknown, and beyond what was offered.
    for (number, reason) in [(9, 0x82), (17, 0x94)] {
        let mut raw = Raw::client5(running.address, "anna", "alias").await;
        let packet = v5_0::Publish::builder().props(alias(number)).payload(&b"x"[..]).build().unwrap();
        raw.send(&packet.to_continuous_buffer()).await;
        assert_eq!(raw.closed().await, Some(reason));
    }
}

#[tokio::test]
async fn subscriptions_must_lie_inside_a_grant() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut old = Raw::client4(running.address, "anna", "old").await;
    for (filter, code) in [
        ("t/#", 1),
        ("t/+/x", 1),
        ("ro/a", 1),
        ("wo/a", 0x87),
        ("#", 0x87),
        ("+/a", 0x87),
        ("v1/#", 0x87),
        ("m/one/command", 0x87),
        ("$share/g/t/x", 1),
        ("$SYS/#", 0x87),
        ("$other/#", 0x8f),
        ("t/#/x", 0x8f),
        ("t/x+", 0x8f),
        ("t/é", 0x8f),
    ] {
        let codes = anna.subscribe5(filter, SubOpts::new().set_qos(Qos::AtLeastOnce), Properties::new()).await;
        assert_eq!(codes, [code], "{filter}");
        let code4 = if code == 1 { 1 } else { 0x80 };
        assert_eq!(old.subscribe4(filter, Qos::AtLeastOnce).await, code4, "{filter}");
    }
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let running = start_with(Limits { subscriptions: 2, ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for (filter, code) in [("t/1", 0), ("t/2", 0), ("t/3", 0x97), ("t/2", 0)] {
        assert_eq!(anna.subscribe5(filter, SubOpts::new(), Properties::new()).await, [code], "{filter}");
    }
}

#[tokio::test]
async fn modules_reach_only_their_own_topics() {
    let running = start().await;
    let at = running.address;
    let mut backend = Raw::client5(at, "backend", "b").await;
    backend.subscribed5("m/#", Qos::AtLeastOnce).await;
    let mut one = Raw::client5(at, "module-one", "one").await;
    let mut two = Raw::client4(at, "module-two", "two").await;
    for filter in ["m/two/command", "m/+/command", "m/one/+", "m/one/status", "m/#", "#", "m/two/status"] {
        assert_eq!(one.subscribe5(filter, SubOpts::new(), Properties::new()).await, [0x87], "{filter}");
    }
    one.subscribed5("m/one/command", Qos::AtLeastOnce).await;
    assert_eq!(two.subscribe4("m/two/command", Qos::AtLeastOnce).await, 1);
    for topic in ["m/two/status", "m/one/command", "m/two/command", "v1/x"] {
        assert_eq!(one.publish5(topic, b"x", false, Properties::new()).await, 0x87, "{topic}");
    }
    assert_eq!(one.publish5("m/one/status", b"fine", false, Properties::new()).await, 0);
    assert_eq!(backend.received5().await.topic, "m/one/status", "and nothing before it");
    // Each command to the module it addresses, and to nobody else.
    assert_eq!(backend.publish5("m/one/command", b"1", false, Properties::new()).await, 0);
    assert_eq!(backend.received5().await.topic, "m/one/command");
    assert_eq!(backend.publish5("m/two/command", b"2", false, Properties::new()).await, 0);
    assert_eq!(backend.received5().await.topic, "m/two/command");
    let received = one.received5().await;
    assert_eq!((received.topic.as_str(), received.payload.as_slice()), ("m/one/command", &b"1"[..]));
    let received = two.received4().await;
    assert_eq!((received.topic.as_str(), received.payload.as_slice()), ("m/two/command", &b"2"[..]));
    one.ping().await;
    two.ping().await;
}
