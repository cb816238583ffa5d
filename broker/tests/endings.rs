//! Connections that end: who gives way, what the client is told, and that it can read it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use broker::Limits;
use common::{Raw, login, start, start_with};
use mqtt_protocol_core::mqtt::packet::{Property, Qos, ResponseTopic, TopicAlias};

#[tokio::test]
async fn sockets_that_say_nothing_keep_nobody_out() {
    let of_all = Limits { connections: 3, ..Limits::default() };
    let arriving = Limits { arriving: 3, ..Limits::default() };
    let of_address = Limits { arriving_per_address: 3, ..Limits::default() };
    for limits in [of_all, arriving, of_address] {
        let at = start_with(limits).await.address;
        let mut silent = Vec::new();
        for _ in 0..3 {
            silent.push(Raw::open(at).await);
        }
        let mut module = Raw::client5(at, "module-one", "one").await;
        assert_eq!(silent.remove(0).closed().await, None, "the oldest gave way");
        for _ in 0..10 {
            silent.push(Raw::open(at).await);
        }
        let _other = Raw::client5(at, "module-two", "two").await;
        module.ping().await;
    }
}

#[tokio::test]
async fn whoever_has_logged_in_gives_way_to_nobody() {
    let at = start_with(Limits { connections: 2, ..Limits::default() }).await.address;
    let mut there = [Raw::client5(at, "anna", "1").await, Raw::client5(at, "anna", "2").await];
    assert_eq!(Raw::open(at).await.closed().await, None);
    for raw in &mut there {
        raw.ping().await;
    }
}

#[tokio::test]
async fn a_connect_that_is_too_long_is_told_so() {
    let at = start_with(Limits { packet_bytes: 1_024, ..Limits::default() }).await.address;
    let long = login("anna", &"x".repeat(5_000));
    assert_eq!(Raw::open(at).await.connect5(long.v5()).await.reason_code() as u8, 0x95);
    let mut old = Raw::open(at).await;
    old.send(&long.v4().to_continuous_buffer()).await;
    assert!(old.packet().await.is_none(), "3.1.1 has no code for it");
}

#[tokio::test]
async fn a_login_that_takes_too_long_is_told_so() {
    let at = start_with(Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() }).await.address;
    assert_eq!(Raw::open(at).await.connect5(login("endless", "s").v5()).await.reason_code() as u8, 0x88);
    assert_eq!(Raw::open(at).await.connect4(login("endless", "s").v4()).await.return_code() as u8, 3);
}

#[tokio::test]
async fn a_login_under_way_is_told_that_the_broker_ends() {
    let running = start().await;
    let mut new = Raw::open(running.address).await;
    let mut old = Raw::open(running.address).await;
    let ending = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        running.broker.shutdown().await;
    };
    let (new, old, ()) =
        tokio::join!(new.connect5(login("endless", "5").v5()), old.connect4(login("endless", "4").v4()), ending);
    assert_eq!((new.reason_code() as u8, old.return_code() as u8), (0x88, 3));
}

#[tokio::test]
async fn a_reason_is_read_though_the_client_was_still_sending() {
    let at = start().await.address;
    for _ in 0..20 {
        let mut anna = Raw::client5(at, "anna", "a").await;
        let malformed = [&[0xf8, 0][..], &[0; 300_000]].concat();
        anna.send(&malformed).await;
        assert_eq!(anna.closed().await, Some(0x81));
    }
}

#[tokio::test]
async fn bytes_of_a_packet_keep_nobody_alive() {
    let at = start().await.address;
    let mut anna = Raw::accepted5(at, login("anna", "a").keep_alive(1).v5()).await;
    // A publish of 100 bytes, of which one comes at a time.
    anna.send(&[0x30, 100]).await;
    for _ in 0..80 {
        if let Ok(packet) = tokio::time::timeout(Duration::from_millis(250), anna.packet()).await {
            let packet = packet.unwrap();
            assert_eq!((packet.packet_type(), packet.data_as_slice()[0]), (14, 0x8d));
            return;
        }
        // It may have closed by then.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut anna.stream, &[0]).await;
    }
    panic!("20 s after its last packet it is still there");
}

#[tokio::test]
async fn an_alias_for_a_topic_that_is_too_long_is_none() {
    let at = start_with(Limits { topic_bytes: 16, ..Limits::default() }).await.address;
    let alias = || vec![Property::TopicAlias(TopicAlias::new(1).unwrap())];
    let mut anna = Raw::client5(at, "anna", "a").await;
    assert_eq!(anna.publish5("t/x", b"x", false, alias()).await, 0);
    assert_eq!(anna.publish5("t/xxxxxxxxxxxxxxxxxxxx", b"x", false, alias()).await, 0x90);
    // QoS 0, no topic, alias 1: it means neither topic any more.
    anna.send(b"\x30\x06\0\0\x03\x23\0\x01").await;
    assert_eq!(anna.closed().await, Some(0x82));
}

#[tokio::test]
async fn a_wills_response_topic_has_no_wildcards() {
    let at = start().await.address;
    let answered = |topic: &str| vec![Property::ResponseTopic(ResponseTopic::new(topic).unwrap())];
    let will = |topic| login("anna", "a").will("t/will", "x", Qos::AtLeastOnce, false).will_properties(answered(topic));
    let _good = Raw::accepted5(at, will("t/answer").v5()).await;
    assert_eq!(Raw::open(at).await.connect5(will("t/#").v5()).await.reason_code() as u8, 0x82);
}
