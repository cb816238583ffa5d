//! Whatever bytes come, before CONNECT or after, the broker stands and serves the others.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::Limits;
use common::{Raw, Running, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{
    Properties, Property, Qos, SubEntry, SubOpts, TopicAlias, UserProperty, v3_1_1, v5_0,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Enough to find what is easy to find, within seconds; raise it by hand to dig deeper.
const ROUNDS: u64 = 1_500;
const SEED: u64 = 0x636f_696e;

/// Sends bytes and closes; what the broker says is of no interest.
async fn throw(raw: &mut Raw, bytes: &[u8]) {
    let _ = raw.stream.write_all(bytes).await;
    let _ = raw.stream.shutdown().await;
    let mut ignored = [0; 1024];
    let draining = async { while matches!(raw.stream.read(&mut ignored).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(WAIT_TIMEOUT, draining).await.expect("the broker never closed");
}

/// A panic in a connection's task would only close that connection: it is counted to be seen.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let standing = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        standing(panic);
    }));
}

async fn stands(running: &Running, at: SocketAddr) {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panicked");
    let mut anna = Raw::client5(at, "anna", "witness").await;
    anna.subscribed5("t/witness", Qos::AtMostOnce).await;
    let packet = v5_0::Publish::builder().topic_name("t/witness").unwrap().payload(&b"x"[..]).build().unwrap();
    anna.send(&packet.to_continuous_buffer()).await;
    assert_eq!(anna.received5().await.topic, "t/witness");
    until("the core is well", || running.broker.healthy()).await;
}

/// One valid packet of each kind, of both versions, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let user = || Property::UserProperty(UserProperty::new("k", "v").unwrap());
    let options = SubOpts::new().set_qos(Qos::ExactlyOnce);
    let entries = || vec![SubEntry::new("t/+/x", options).unwrap(), SubEntry::new("t/#", options).unwrap()];
    let full = login("anna", "id").will("t/will", "w", Qos::ExactlyOnce, true).will_properties(vec![user()]);
    let alias = Property::TopicAlias(TopicAlias::new(3).unwrap());
    let mut all = vec![full.v5().to_continuous_buffer(), full.v4().to_continuous_buffer()];
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let id = (qos != Qos::AtMostOnce).then_some(5_u16);
        let new = v5_0::Publish::builder().topic_name("t/x").unwrap().qos(qos).packet_id(id).retain(true);
        all.push(new.props(vec![user(), alias.clone()]).payload(&b"x"[..]).build().unwrap().to_continuous_buffer());
        let old = v3_1_1::Publish::builder().topic_name("t/x").unwrap().qos(qos).packet_id(id);
        all.push(old.payload(&b"x"[..]).build().unwrap().to_continuous_buffer());
    }
    let subscribe = v5_0::Subscribe::builder().packet_id(6).entries(entries()).props(vec![user()]).build().unwrap();
    all.push(subscribe.to_continuous_buffer());
    all.push(v3_1_1::Subscribe::builder().packet_id(6).entries(entries()).build().unwrap().to_continuous_buffer());
    let unsubscribe = v5_0::Unsubscribe::builder().packet_id(7).entries(vec!["t/#"]).unwrap().build().unwrap();
    all.push(unsubscribe.to_continuous_buffer());
    for kind in [0x40, 0x50, 0x62, 0x70] {
        all.push(vec![kind, 2, 0, 5]);
        all.push(vec![kind, 4, 0, 5, 0x10, 0]);
    }
    all.push(vec![0xc0, 0]);
    all.push(vec![0xe0, 0]);
    all.push(vec![0xf0, 2, 0x18, 0]);
    all
}

fn damaged(rng: &mut StdRng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let mut packet = samples[rng.random_range(0..samples.len())].clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..packet.len());
            match rng.random_range(0..4) {
                0 => packet[at] = rng.random(),
                1 => packet[at] ^= 1 << rng.random_range(0..8),
                2 => packet.truncate(at.max(1)),
                _ => packet.insert(at, rng.random()),
            }
        }
        // Often with a length that fits again, so that the damage gets past the framing.
        if rng.random_bool(0.7) && packet.len() >= 2 && packet.len() < 130 {
            packet[1] = (packet.len() - 2) as u8;
        }
        bytes.extend(packet);
    }
    bytes
}

/// Damage that looks like guessing is to be heard like any other.
fn unguarded() -> Limits {
    Limits { failed_logins_per_address: u32::MAX, failed_logins_per_name: u32::MAX, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_before_connect() {
    count_panics();
    let running = start_with(unguarded()).await;
    let (mut rng, samples) = (StdRng::seed_from_u64(SEED), samples());
    for round in 0..ROUNDS {
        let mut raw = Raw::open(running.address).await;
        let bytes = if round % 3 == 0 {
            let mut noise = vec![0; rng.random_range(1..64)];
            rng.fill(&mut noise[..]);
            noise
        } else {
            damaged(&mut rng, &samples)
        };
        throw(&mut raw, &bytes).await;
    }
    stands(&running, running.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_after_connect() {
    count_panics();
    let running = start_with(unguarded()).await;
    let (mut rng, samples) = (StdRng::seed_from_u64(SEED + 1), samples());
    for round in 0..ROUNDS {
        let id = format!("id{}", rng.random_range(0..4));
        let mut raw = match round % 3 {
            0 => Raw::client4(running.address, "anna", &id).await,
            1 => Raw::client5(running.address, "anna", &id).await,
            _ => Raw::client5(running.address, "module-one", "one").await,
        };
        throw(&mut raw, &damaged(&mut rng, &samples)).await;
    }
    stands(&running, running.address).await;
}

#[tokio::test]
async fn more_unreleased_publishes_than_allowed() {
    let running = start_with(Limits { receive_maximum: 2, ..Limits::default() }).await;
    let mut raw = Raw::client5(running.address, "anna", "a").await;
    for id in 1..=3_u16 {
        let packet = v5_0::Publish::builder().topic_name("t/x").unwrap().qos(Qos::ExactlyOnce).packet_id(id);
        raw.send(&packet.payload(&b"x"[..]).build().unwrap().to_continuous_buffer()).await;
        if id < 3 {
            assert_eq!(raw.body().await.0, 5);
        }
    }
    assert_eq!(raw.closed().await, Some(0x93));
}

#[tokio::test]
async fn protocol_violations_are_named() {
    let running = start().await;
    let connect = login("anna", "a").v5().to_continuous_buffer();
    for (bytes, reason) in [
        (&connect[..], 0x82),
        (b"\x32\x08\0\x03t/x\0\0\0", 0x81),
        (b"\x36\x08\0\x03t/x\0\x01\0", 0x81),
        (b"\x30\x06\0\x03t/+\0", 0x90),
        (b"\x30\x03\0\0\0", 0x90),
        (b"\x80\x03\0\x01\0", 0x81),
        (b"\x82\x09\0\0\0\0\x03t/x\0", 0x81),
        (b"\xf0\0", 0x82),
        (b"\x20\0", 0x82),
        (b"\xc0\xff\xff\xff\xff", 0x81),
    ] {
        let mut raw = Raw::client5(running.address, "anna", "a").await;
        raw.send(bytes).await;
        assert_eq!(raw.closed().await, Some(reason), "{bytes:x?}");
    }
    let many = vec![Property::UserProperty(UserProperty::new("k", "v").unwrap()); 40];
    let mut raw = Raw::client5(running.address, "anna", "a").await;
    let packet = v5_0::Publish::builder().topic_name("t/x").unwrap().props(many).build().unwrap();
    raw.send(&packet.to_continuous_buffer()).await;
    assert_eq!(raw.closed().await, Some(0x97), "too many properties");
}

#[tokio::test]
async fn two_hundred_idle_connections_hold_nobody_up() {
    let running = start().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Raw::open(running.address).await);
    }
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    assert_eq!(anna.publish5("t/x", b"x", false, Properties::new()).await, 0);
    assert!(idle[0].is_open().await, "the client was served only when the idle ones had been cut");
}
