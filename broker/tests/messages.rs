//! What is published arrives: once, whole, at the right subscribers, with what was said about it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use broker::Limits;
use common::{Raw, find, login, start, start_with};
use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MaximumPacketSize, MessageExpiryInterval, PayloadFormat, PayloadFormatIndicator,
    Properties, Property, Qos, ReceiveMaximum, ResponseTopic, RetainHandling, SubOpts, SubscriptionIdentifier,
    UserProperty, v5_0,
};

fn expiry(seconds: u32) -> Property {
    Property::MessageExpiryInterval(MessageExpiryInterval::new(seconds).unwrap())
}

fn expiry_of(properties: &Properties) -> Option<u32> {
    find(properties, |property| {
        let Property::MessageExpiryInterval(seconds) = property else { return None };
        Some(seconds.val())
    })
}

fn passed_on() -> Properties {
    vec![
        Property::PayloadFormatIndicator(PayloadFormatIndicator::new(PayloadFormat::String).unwrap()),
        Property::ContentType(ContentType::new("text/plain").unwrap()),
        Property::ResponseTopic(ResponseTopic::new("t/answer").unwrap()),
        Property::CorrelationData(CorrelationData::new(b"\0\xff1").unwrap()),
        Property::UserProperty(UserProperty::new("key", "välue").unwrap()),
        Property::UserProperty(UserProperty::new("key", "again").unwrap()),
    ]
}

#[tokio::test]
async fn qos_is_the_lower_of_both_sides() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for (number, subscribed) in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().enumerate() {
        let mut ben = Raw::client5(running.address, "ben", &number.to_string()).await;
        ben.subscribed5("t/x", subscribed).await;
        assert_eq!(anna.publish5("t/x", b"one", false, Properties::new()).await, 0);
        let received = ben.received5().await;
        assert_eq!(received.qos, subscribed.min(Qos::AtLeastOnce));
        assert!(!received.dup && !received.retain);
    }
}

#[tokio::test]
async fn qos_2_is_delivered_once_both_ways() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/x", Qos::ExactlyOnce).await;
    let publish = |dup| {
        let packet = v5_0::Publish::builder().topic_name("t/x").unwrap().qos(Qos::ExactlyOnce).packet_id(7).dup(dup);
        packet.payload(&b"once"[..]).build().unwrap().to_continuous_buffer()
    };
    for dup in [false, true, true] {
        anna.send(&publish(dup)).await;
        assert_eq!(anna.body().await, (5, vec![0, 7]), "PUBREC");
    }
    for code in [&[][..], &[0x92][..]] {
        anna.send(&[0x62, 2, 0, 7]).await;
        let (kind, body) = anna.body().await;
        assert_eq!((kind, &body[..2], &body[2..]), (7, &[0, 7][..], code), "PUBCOMP");
    }
    let received = ben.unacknowledged5().await;
    assert_eq!((received.qos, received.payload.as_slice()), (Qos::ExactlyOnce, &b"once"[..]));
    let [high, low] = received.id.to_be_bytes();
    ben.send(&[0x50, 2, high, low]).await;
    assert_eq!(ben.body().await, (6, vec![high, low]), "PUBREL");
    ben.send(&[0x70, 2, high, low]).await;
    ben.ping().await;
    // Released: the identifier is free for another message.
    anna.send(&publish(false)).await;
    assert_eq!(anna.body().await.0, 5);
    assert_eq!(ben.unacknowledged5().await.payload, b"once");
}

#[tokio::test]
async fn properties_pass_between_versions() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut new = Raw::client5(running.address, "ben", "new").await;
    let mut old = Raw::client4(running.address, "ben", "old").await;
    new.subscribed5("t/#", Qos::AtLeastOnce).await;
    assert_eq!(old.subscribe4("t/#", Qos::AtLeastOnce).await, 1);
    for retain in [false, true] {
        assert_eq!(anna.publish5("t/x", b"said", retain, passed_on()).await, 0);
        let received = new.received5().await;
        assert_eq!((received.payload.as_slice(), &received.properties), (&b"said"[..], &passed_on()));
        let received = old.received4().await;
        assert_eq!((received.topic.as_str(), received.payload.as_slice()), ("t/x", &b"said"[..]));
    }
    let mut later = Raw::client5(running.address, "ben", "later").await;
    later.subscribed5("t/#", Qos::AtLeastOnce).await;
    assert_eq!(later.received5().await.properties, passed_on());
    old.ping().await;
}

#[tokio::test]
async fn a_wildcard_subscriber_is_told_the_right_topics() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/+/x", Qos::AtLeastOnce).await;
    for number in 0..200 {
        let topic = format!("t/{}/x", number % 7);
        assert_eq!(anna.publish5(&topic, topic.as_bytes(), false, Properties::new()).await, 0);
        let received = ben.received5().await;
        assert_eq!((received.topic.as_bytes(), received.topic.as_str()), (received.payload.as_slice(), topic.as_str()));
    }
}

#[tokio::test]
async fn overlapping_subscriptions_bring_a_message_once_with_all_identifiers() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let identified = |number| vec![Property::SubscriptionIdentifier(SubscriptionIdentifier::new(number).unwrap())];
    assert_eq!(anna.subscribe5("t/#", SubOpts::new(), identified(3)).await, [0]);
    assert_eq!(anna.subscribe5("t/+", SubOpts::new().set_qos(Qos::AtLeastOnce), identified(500)).await, [1]);
    assert_eq!(anna.subscribe5("t/other", SubOpts::new(), identified(9)).await, [0]);
    anna.send(&published("t/x", b"1")).await;
    let mut acknowledged = false;
    let mut identifiers = None;
    for _ in 0..2 {
        let packet = anna.packet().await.unwrap();
        match packet.packet_type() {
            4 => acknowledged = true,
            _ => {
                let mqtt_protocol_core::mqtt::connection::PacketData::Publish(data) = packet.data.clone() else {
                    panic!("{packet:?}")
                };
                let publish = v5_0::Publish::parse(packet.flags(), data).unwrap().0;
                assert_eq!(publish.qos(), Qos::AtLeastOnce);
                let found: BTreeSet<u32> = publish
                    .props
                    .iter()
                    .filter_map(|property| {
                        if let Property::SubscriptionIdentifier(number) = property { Some(number.val()) } else { None }
                    })
                    .collect();
                identifiers = Some(found);
            }
        }
    }
    assert!(acknowledged);
    assert_eq!(identifiers, Some(BTreeSet::from([3, 500])));
    anna.ping().await;
}

fn published(topic: &str, payload: &[u8]) -> Vec<u8> {
    let packet = v5_0::Publish::builder().topic_name(topic).unwrap().qos(Qos::AtLeastOnce).packet_id(77);
    packet.payload(payload).build().unwrap().to_continuous_buffer()
}

#[tokio::test]
async fn no_local_and_retain_as_published_are_kept() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    assert_eq!(anna.subscribe5("t/#", SubOpts::new().set_nl(true), Properties::new()).await, [0]);
    assert_eq!(ben.subscribe5("t/#", SubOpts::new().set_rap(true), Properties::new()).await, [0]);
    assert_eq!(anna.publish5("t/x", b"mine", true, Properties::new()).await, 0);
    assert!(ben.received5().await.retain);
    assert_eq!(
        ben.subscribe5("t/#", SubOpts::new().set_rh(RetainHandling::DoNotSendRetained), Properties::new()).await,
        [0]
    );
    assert_eq!(anna.publish5("t/x", b"mine", true, Properties::new()).await, 0);
    assert!(!ben.received5().await.retain);
    anna.ping().await;
}

#[tokio::test]
async fn retained_messages_are_served_replaced_and_cleared() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for (topic, payload) in [("t/1", "old"), ("t/1", "new"), ("t/2", "two"), ("t/3", "three"), ("t/3", "")] {
        assert_eq!(anna.publish5(topic, payload.as_bytes(), true, Properties::new()).await, 0);
    }
    assert_eq!(anna.publish5("t/4", b"not kept", false, Properties::new()).await, 0);
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/+", Qos::AtLeastOnce).await;
    let mut kept = BTreeSet::new();
    for _ in 0..2 {
        let received = ben.received5().await;
        assert!(received.retain);
        kept.insert((received.topic, String::from_utf8(received.payload).unwrap()));
    }
    assert_eq!(kept, BTreeSet::from([("t/1".into(), "new".into()), ("t/2".into(), "two".into())]));
    ben.ping().await;
    // Handling: with every subscription, with a new one, never.
    for (handling, filter, served) in [
        (RetainHandling::SendRetained, "t/1", true),
        (RetainHandling::SendRetained, "t/1", true),
        (RetainHandling::SendRetainedIfNotExists, "t/1", false),
        (RetainHandling::SendRetainedIfNotExists, "t/2", true),
        (RetainHandling::DoNotSendRetained, "t/1/#", false),
    ] {
        assert_eq!(ben.subscribe5(filter, SubOpts::new().set_rh(handling), Properties::new()).await, [0]);
        if served {
            assert_eq!(ben.received5().await.topic, filter);
        }
        ben.ping().await;
    }
    let mut old = Raw::client4(running.address, "ben", "old").await;
    assert_eq!(old.subscribe4("t/1", Qos::AtMostOnce).await, 0);
    let received = old.received4().await;
    assert!(received.retain && received.payload == b"new");
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_subscription_begins_after_what_was_acknowledged_before_it() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/other", Qos::AtLeastOnce).await;
    // What is acknowledged now is still on its way in the core when ben subscribes.
    running.broker.stall_core(Duration::from_millis(300)).await;
    for topic in ["t/never", "t/always", "t/plain"] {
        assert_eq!(anna.publish5(topic, b"before", topic != "t/plain", Properties::new()).await, 0);
    }
    let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
    ben.subscribe5("t/never", options.set_rh(RetainHandling::DoNotSendRetained), vec![]).await;
    ben.subscribe5("t/always", options, vec![]).await;
    let retained = ben.received5().await;
    assert_eq!((retained.topic.as_str(), retained.retain, &*retained.payload), ("t/always", true, &b"before"[..]));
    ben.subscribe5("t/plain", options, vec![]).await;
    // Another in its place goes on where the first was.
    assert_eq!(anna.publish5("t/plain", b"after", false, Properties::new()).await, 0);
    ben.subscribe5("t/plain", options, vec![]).await;
    let next = ben.received5().await;
    assert_eq!((next.topic.as_str(), next.retain, &*next.payload), ("t/plain", false, &b"after"[..]));
    assert_eq!(anna.publish5("t/other", b"last", false, Properties::new()).await, 0);
    assert_eq!(ben.received5().await.topic, "t/other", "nothing came twice");
}

#[tokio::test]
async fn a_thousand_retained_messages_all_arrive() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    for number in 0..1000 {
        assert_eq!(anna.publish5(&format!("t/{number}"), b"kept", true, Properties::new()).await, 0);
    }
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut ben = Raw::client5(running.address, "ben", "b").await;
        ben.subscribed5("t/#", qos).await;
        let mut topics = BTreeSet::new();
        for _ in 0..1000 {
            topics.insert(ben.received5().await.topic);
        }
        assert_eq!(topics.len(), 1000);
        ben.ping().await;
    }
}

#[tokio::test]
async fn retained_messages_are_bounded() {
    let running = start_with(Limits { retained_messages: 1, ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    assert_eq!(anna.publish5("t/1", b"x", true, Properties::new()).await, 0);
    assert_eq!(anna.publish5("t/2", b"x", true, Properties::new()).await, 0x97);
    assert_eq!(anna.publish5("t/1", b"", true, Properties::new()).await, 0);
    assert_eq!(anna.publish5("t/2", b"x", true, Properties::new()).await, 0);
}

#[tokio::test]
async fn expiry_is_passed_on_and_honoured() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    let begun = Instant::now();
    assert_eq!(anna.publish5("t/live", b"x", true, vec![expiry(100)]).await, 0);
    let left_s = expiry_of(&ben.received5().await.properties).unwrap();
    assert!((90..=100).contains(&left_s), "{left_s}");
    let before = Instant::now();
    assert_eq!(anna.publish5("t/short", b"x", true, vec![expiry(1)]).await, 0);
    let after = Instant::now();
    assert_eq!(expiry_of(&ben.received5().await.properties), Some(1));
    assert_eq!(anna.publish5("t/none", b"x", false, vec![expiry(0)]).await, 0);
    ben.ping().await;
    // A subscriber finds the short one until it has expired, however long this test itself takes to look.
    let (life, rounding) = (Duration::from_secs(1), Duration::from_millis(10));
    loop {
        let mut late = Raw::client5(running.address, "ben", "late").await;
        let asked = Instant::now();
        late.subscribed5("t/short", Qos::AtMostOnce).await;
        late.send(&[0xc0, 0]).await;
        if late.packet().await.unwrap().packet_type() != 3 {
            assert!(before.elapsed() + rounding >= life, "gone after {:?}", before.elapsed());
            break;
        }
        assert!(asked < after + life + rounding, "still served {:?} after it", asked - after);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut late = Raw::client5(running.address, "ben", "late").await;
    late.subscribed5("t/live", Qos::AtMostOnce).await;
    let left = u64::from(expiry_of(&late.received5().await.properties).unwrap());
    assert!(left < 100 && left + begun.elapsed().as_secs() + 1 >= 100, "{left} s left after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_clients_own_limits_are_kept() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let limits = vec![
        Property::ReceiveMaximum(ReceiveMaximum::new(2).unwrap()),
        Property::MaximumPacketSize(MaximumPacketSize::new(100).unwrap()),
    ];
    let mut ben = Raw::accepted5(running.address, login("ben", "b").properties(limits).v5()).await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    for payload in [&[1; 10][..], &[2; 200], &[3; 10], &[4; 10]] {
        assert_eq!(anna.publish5("t/x", payload, false, Properties::new()).await, 0);
    }
    let first = ben.unacknowledged5().await;
    let second = ben.unacknowledged5().await;
    assert_eq!((first.payload[0], second.payload[0]), (1, 3), "the long one was left out");
    ben.ping().await;
    ben.send(&[0x40, 2, 0, first.id as u8]).await;
    assert_eq!(ben.unacknowledged5().await.payload[0], 4);
}

#[tokio::test]
async fn packets_beyond_the_limit_are_refused() {
    let running = start_with(Limits { packet_bytes: 1_000, ..Limits::default() }).await;
    let mut raw = Raw::open(running.address).await;
    let connack = raw.connect5(login("anna", "a").v5()).await;
    assert!(
        connack
            .props()
            .iter()
            .any(|property| matches!(property, Property::MaximumPacketSize(size) if size.val() == 1_000))
    );
    assert_eq!(raw.publish5("t/x", &[0; 900], false, Properties::new()).await, 0);
    raw.send(&[0x30, 0xe8, 0x07]).await;
    assert_eq!(raw.closed().await, Some(0x95));
}

#[tokio::test]
async fn round_trips_do_not_wait_for_delayed_acknowledgements() {
    let running = start().await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/x", Qos::AtLeastOnce).await;
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(anna.publish5("t/x", b"ping", false, Properties::new()).await, 0);
        ben.received5().await;
        took.push(began.elapsed());
    }
    took.sort();
    // A delayed acknowledgement takes 40 ms, each time.
    assert!(took[took.len() / 2] < Duration::from_millis(40), "{took:?}");
}

#[tokio::test]
async fn what_the_core_refuses_is_not_retained() {
    let running = start_with(Limits { core_topics: 1, ..Limits::default() }).await;
    let mut anna = Raw::client5(running.address, "anna", "a").await;
    assert_eq!(anna.publish5("t/1", b"x", true, Properties::new()).await, 0);
    assert_eq!(anna.publish5("t/2", b"x", true, Properties::new()).await, 0x97);
    let mut ben = Raw::client5(running.address, "ben", "b").await;
    ben.subscribed5("t/#", Qos::AtLeastOnce).await;
    assert_eq!(ben.received5().await.topic, "t/1");
    ben.ping().await;
}
