//! Shared subscriptions, and the broker's own figures.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use broker::Limits;
use common::{Raw, WAIT_TIMEOUT, login, start, start_with, until};
use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, SessionExpiryInterval, SubOpts, v5_0};

const GROUP: &str = "$share/workers/t/#";

fn kept() -> Properties {
    vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(60).unwrap())]
}

/// Anna's client of that name, with the session it had.
async fn resumed(at: SocketAddr, id: &str) -> Raw {
    let mut raw = Raw::open(at).await;
    let connack = raw.connect5(login("anna", id).resuming().properties(kept()).v5()).await;
    assert!(connack.session_present());
    raw
}

async fn publish(raw: &mut Raw, number: usize) {
    assert_eq!(raw.publish5("t/job", number.to_string().as_bytes(), false, vec![]).await, 0);
}

fn number(payload: &[u8]) -> usize {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_message_goes_to_one_member_and_all_have_their_turn() {
    let at = start().await.address;
    let mut workers = vec![Raw::client5(at, "anna", "w0").await, Raw::client5(at, "anna", "w1").await];
    for worker in &mut workers {
        worker.subscribed5(GROUP, Qos::AtLeastOnce).await;
    }
    let mut old = Raw::client4(at, "anna", "w2").await;
    assert_eq!(old.subscribe4(GROUP, Qos::AtLeastOnce).await, 1, "3.1.1 may share too");
    let mut ben = Raw::client5(at, "ben", "ben").await;
    for job in 0..30 {
        publish(&mut ben, job).await;
    }
    let mut done = BTreeSet::new();
    for worker in &mut workers {
        for _ in 0..10 {
            done.insert(number(&worker.received5().await.payload));
        }
        worker.ping().await;
    }
    for _ in 0..10 {
        done.insert(number(&old.received4().await.payload));
    }
    assert_eq!(done.len(), 30, "each once");
}

#[tokio::test]
async fn another_credentials_group_of_the_same_name_is_another_group() {
    let at = start().await.address;
    let mut anna = Raw::client5(at, "anna", "x").await;
    anna.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut ben = Raw::client5(at, "ben", "x").await;
    ben.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut publisher = Raw::client5(at, "anna", "publisher").await;
    for job in 0..4 {
        publish(&mut publisher, job).await;
        assert_eq!(number(&anna.received5().await.payload), job);
        assert_eq!(number(&ben.received5().await.payload), job);
    }
}

#[tokio::test]
async fn what_a_member_did_not_take_goes_to_another_when_it_ends() {
    let running = start_with(Limits { client_in_flight: 2, ..Limits::default() }).await;
    let at = running.address;
    let mut lazy = Raw::client5(at, "anna", "lazy").await;
    lazy.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut ben = Raw::client5(at, "ben", "ben").await;
    for job in 0..6 {
        publish(&mut ben, job).await;
    }
    for _ in 0..2 {
        lazy.unacknowledged5().await;
    }
    let mut busy = Raw::client5(at, "anna", "busy").await;
    busy.subscribed5(GROUP, Qos::AtLeastOnce).await;
    drop(lazy);
    let mut done = BTreeSet::new();
    for _ in 0..6 {
        done.insert(number(&busy.received5().await.payload));
    }
    assert_eq!(done.len(), 6, "both that were in flight and those that were queued");
}

#[tokio::test]
async fn a_member_that_is_away_gets_nothing_while_others_are_there() {
    let running = start().await;
    let at = running.address;
    let mut away = Raw::accepted5(at, login("anna", "away").properties(kept()).v5()).await;
    away.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut here = Raw::client5(at, "anna", "here").await;
    here.subscribed5(GROUP, Qos::AtLeastOnce).await;
    drop(away);
    until("it is away", || running.broker.connections().len() == 1).await;
    let mut ben = Raw::client5(at, "ben", "ben").await;
    for job in 0..4 {
        publish(&mut ben, job).await;
        assert_eq!(number(&here.received5().await.payload), job);
    }
    // Nobody is here: it is kept for who will be back.
    drop(here);
    until("it is gone", || running.broker.connections().len() == 1).await;
    publish(&mut ben, 4).await;
    let mut raw = resumed(at, "away").await;
    assert_eq!(number(&raw.received5().await.payload), 4);
    // And it is a member as before.
    publish(&mut ben, 5).await;
    assert_eq!(number(&raw.received5().await.payload), 5);
}

/// The only member of a group, with a session that is kept, leaves with a message unacknowledged: the router would die.
#[tokio::test]
async fn the_only_member_may_disconnect_with_a_message_unacknowledged_and_return() {
    let running = start().await;
    let at = running.address;
    let mut only = Raw::accepted5(at, login("anna", "only").properties(kept()).v5()).await;
    only.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut ben = Raw::client5(at, "ben", "ben").await;
    publish(&mut ben, 0).await;
    only.unacknowledged5().await;
    drop(only);
    until("it is gone", || running.broker.connections().len() == 1).await;
    let mut raw = resumed(at, "only").await;
    let again = raw.received5().await;
    assert!(again.dup && number(&again.payload) == 0);
    until("the core is well", || running.broker.healthy()).await;
}

#[tokio::test]
async fn what_stands_behind_the_group_is_held_against_the_grants() {
    let at = start_with(Limits { shared_groups: 2, ..Limits::default() }).await.address;
    let mut anna = Raw::client5(at, "anna", "a").await;
    for (filter, code) in [("$share/g/wo/#", 0x87), ("$share/g/#", 0x87), ("$share/g/$SYS/#", 0x8f)] {
        assert_eq!(anna.subscribe5(filter, SubOpts::new(), vec![]).await, [code], "{filter}");
    }
    let mut module = Raw::client5(at, "module-one", "one").await;
    assert_eq!(module.subscribe5("$share/g/m/one/command", SubOpts::new(), vec![]).await, [0x9e]);
    for group in ["a", "b"] {
        anna.subscribed5(&format!("$share/{group}/t/#"), Qos::AtMostOnce).await;
    }
    assert_eq!(anna.subscribe5("$share/c/t/#", SubOpts::new(), vec![]).await, [0x97], "too many groups");
    let id = anna.id();
    let packet = v5_0::Unsubscribe::builder().packet_id(id).entries(vec!["$share/a/t/#"]).unwrap().build().unwrap();
    anna.send(&packet.to_continuous_buffer()).await;
    assert_eq!(anna.body().await, (11, vec![0, id as u8, 0, 0]));
    anna.subscribed5("$share/c/t/#", Qos::AtMostOnce).await;
    // No Local makes no sense of a shared subscription (MQTT 5 section 3.8.3.1).
    anna.send(&[&[0x82, 18, 0, 1, 0, 0, 12], &b"$share/g/t/#"[..], &[0b101]].concat()).await;
    assert_eq!(anna.closed().await, Some(0x82));
}

#[tokio::test]
async fn statistics_are_published_only_to_clients_granted_them() {
    let running = start().await;
    let at = running.address;
    let mut anna = Raw::client5(at, "anna", "a").await;
    assert_eq!(anna.subscribe5("$SYS/#", SubOpts::new(), vec![]).await, [0x87]);
    let mut observer = Raw::client5(at, "observer", "o").await;
    // A wildcard at the first level does not mean them.
    observer.subscribed5("#", Qos::AtMostOnce).await;
    observer.ping().await;
    observer.subscribed5("$SYS/broker/clients/+", Qos::AtMostOnce).await;
    let mut figures = BTreeSet::new();
    let reading = async {
        while figures.len() < 2 {
            let figure = observer.received5().await;
            let value: u64 = String::from_utf8(figure.payload).unwrap().parse().unwrap();
            assert!(value <= 3);
            figures.insert(figure.topic);
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT + Duration::from_secs(5), reading).await.unwrap();
    assert!(figures.contains("$SYS/broker/clients/connected") && figures.contains("$SYS/broker/clients/total"));
    // Nobody publishes there.
    assert_eq!(observer.publish5("$SYS/broker/version", b"mine", true, vec![]).await, 0x90);
}

#[tokio::test]
async fn a_group_gets_what_its_filter_matches_and_a_credential_has_so_many() {
    let at = start_with(Limits { shared_groups_per_credential: 2, ..Limits::default() }).await.address;
    let mut anna = Raw::client5(at, "anna", "a").await;
    anna.subscribed5("$share/g/t/+/yes", Qos::AtLeastOnce).await;
    anna.subscribed5("$share/g/t/other", Qos::AtLeastOnce).await;
    let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
    assert_eq!(anna.subscribe5("$share/g/t/third", options, vec![]).await, [0x97]);
    let mut ben = Raw::client5(at, "ben", "b").await;
    ben.subscribed5("$share/g/t/third", Qos::AtLeastOnce).await;
    for topic in ["t/1/no", "t/1/yes", "t/2/no", "t/2/yes"] {
        assert_eq!(ben.publish5(topic, b"x", false, vec![]).await, 0);
    }
    for topic in ["t/1/yes", "t/2/yes"] {
        assert_eq!(anna.received5().await.topic, topic);
    }
    anna.ping().await;
}

/// All queues are full: one member is cut for it, and the others keep what they have.
#[tokio::test]
async fn a_group_of_slow_members_loses_one_at_a_time() {
    let limits = Limits { client_queue_messages: 3, client_in_flight: 1, ..Limits::default() };
    let running = start_with(limits).await;
    let at = running.address;
    let mut workers = vec![];
    for id in ["w0", "w1", "w2"] {
        let mut worker = Raw::accepted5(at, login("anna", id).properties(kept()).v5()).await;
        worker.subscribed5(GROUP, Qos::AtLeastOnce).await;
        workers.push(worker);
    }
    let mut ben = Raw::client5(at, "ben", "ben").await;
    // One in flight and three in the queue, for each; the next finds no room anywhere.
    for job in 0..3 {
        publish(&mut ben, job).await;
    }
    for worker in &mut workers {
        worker.unacknowledged5().await;
    }
    for job in 3..13 {
        publish(&mut ben, job).await;
    }
    let workers_left = || running.broker.connections().iter().filter(|client| client.credential == "anna").count();
    until("one is cut", || workers_left() == 2).await;
    ben.ping().await;
    assert_eq!(workers_left(), 2);
}

/// A member with a session that is kept has to disconnect; what comes until it is gone waits for it.
#[tokio::test]
async fn what_comes_while_the_only_member_goes_is_kept_for_it() {
    let running = start().await;
    let at = running.address;
    let mut only = Raw::accepted5(at, login("anna", "only").properties(kept()).v5()).await;
    only.subscribed5(GROUP, Qos::AtLeastOnce).await;
    let mut ben = Raw::client5(at, "ben", "ben").await;
    let number_of = |id: &str| {
        let connections = running.broker.connections();
        connections.iter().find(|client| client.client_id == id).map(|client| client.number)
    };
    for job in 0..20 {
        let told = number_of("only").expect("it is connected");
        assert!(running.broker.end_connection(told));
        publish(&mut ben, job).await;
        until("it is gone", || number_of("only").is_none()).await;
        only = resumed(at, "only").await;
        assert_eq!(number(&only.received5().await.payload), job);
        // Its acknowledgement is heard.
        only.ping().await;
    }
}
