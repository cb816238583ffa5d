//! The bus on a real broker: the gate, with a login for the backend.

use crate::support::TestApp;
use backend::bus::{Bus, MqttBus, MqttConfig, MqttReader};
use broker::{Authenticate, Broker, ClientIdRule, Grants, Lane, Login, Refusal};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the backend in, and counts how often. What it may hear is all that modules say, or all but their acks.
#[derive(Default)]
struct Door {
    came: AtomicU32,
    may_hear_acks: AtomicBool,
}

#[async_trait::async_trait]
impl Authenticate for Door {
    async fn authenticate(&self, _: &Login) -> Result<Grants, Refusal> {
        self.came.fetch_add(1, Ordering::Relaxed);
        let acks = self.may_hear_acks.load(Ordering::Relaxed).then_some("m/+/ack");
        Ok(Grants {
            credential: "backend".into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: vec!["m/+/command".into()],
            subscribe: ["m/+/status", "m/+/pulse"].into_iter().chain(acks).map(String::from).collect(),
            shared: true,
        })
    }
}

/// A broker with this door, and a bus to it.
async fn bus_to(door: Arc<Door>) -> (Broker, MqttBus, MqttReader) {
    let config = broker::Config { listen: vec![([127, 0, 0, 1], 0).into()], ..Default::default() };
    let broker = broker::start(config, door).await.unwrap();
    let (bus, reader) = MqttBus::new(MqttConfig {
        host: "127.0.0.1".into(),
        port: broker.local_addrs()[0].port(),
        client_id: "backend".into(),
        username: "backend".into(),
        password: "any".into(),
        tls: false,
    });
    (broker, bus, reader)
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let looking = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

#[tokio::test]
async fn after_an_outage_that_filled_the_client_modules_are_heard() {
    let app = TestApp::start().await;
    let door = Arc::new(Door { may_hear_acks: true.into(), ..Door::default() });
    let (_broker, bus, reader) = bus_to(door).await;
    // Nobody takes these yet, as while the broker is away.
    let mut waiting = 0;
    while bus.publish("m/0123456789/command", vec![0; 64], false, Some(60)).await.is_ok() {
        waiting += 1;
    }
    assert!(waiting > 1_000, "{waiting}");
    tokio::spawn(reader.run(app.backend.clone()));
    until("the subscriptions", || bus.connected()).await;
    bus.publish("m/0123456789/command", vec![], false, None).await.expect("there is room again");
}

#[tokio::test]
async fn a_refused_subscription_is_no_connection_and_is_tried_again() {
    let app = TestApp::start().await;
    let door = Arc::new(Door::default());
    let (_broker, bus, reader) = bus_to(door.clone()).await;
    tokio::spawn(reader.run(app.backend.clone()));
    until("a third try", || {
        assert!(!bus.connected(), "it would not hear acks");
        door.came.load(Ordering::Relaxed) >= 3
    })
    .await;
    door.may_hear_acks.store(true, Ordering::Relaxed);
    until("the subscriptions", || bus.connected()).await;
}
