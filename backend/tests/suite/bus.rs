//! The bus on a real broker: the gate, with a login for the backend.

use crate::support::{TestApp, actors::system};
use backend::{
    bus::{Bus, MqttBus, MqttConfig, MqttReader},
    flows::operate::{machine, manufacturer, register_module},
};
use broker::{Authenticate, Broker, ClientIdRule, Grants, Lane, Login, Refusal};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long anything may take before a test gives up.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Lets the backend in, and counts how often. What it may hear is all that modules say, or all but their acks.
#[derive(Default)]
struct Authenticator {
    came: AtomicU32,
    may_hear_acks: AtomicBool,
}

#[async_trait::async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, _: &Login) -> Result<Grants, Refusal> {
        self.came.fetch_add(1, Ordering::Relaxed);
        let acks = self.may_hear_acks.load(Ordering::Relaxed).then_some("m/+/ack");
        Ok(Grants {
            credential: "backend".into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: vec!["m/+/command".into(), "m/+/status".into()],
            subscribe: ["m/+/status", "m/+/pulse"].into_iter().chain(acks).map(String::from).collect(),
            shared: true,
        })
    }
}

/// A broker with this door, and a bus to it.
async fn bus_to(authenticator: Arc<Authenticator>) -> (Broker, MqttBus, MqttReader) {
    let config = broker::Config { listen: vec![([127, 0, 0, 1], 0).into()], ..Default::default() };
    let broker = broker::start(config, authenticator).await.unwrap();
    let (bus, reader) = MqttBus::new(MqttConfig {
        host: "127.0.0.1".into(),
        port: broker.local_addrs()[0].port(),
        client_id: "backend".into(),
        username: "backend".into(),
        password: "any".into(),
        tls: false,
    })
    .unwrap();
    (broker, bus, reader)
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let looking = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

#[tokio::test]
async fn after_an_outage_that_filled_the_client_modules_are_heard() {
    let app = TestApp::start().await;
    let authenticator = Arc::new(Authenticator { may_hear_acks: true.into(), ..Authenticator::default() });
    let (_broker, bus, reader) = bus_to(authenticator).await;
    // Nobody takes these yet, as while the broker is away.
    let mut waiting = 0;
    while bus.publish("m/0123456789/command", vec![0; 64], false, Some(60)).await.is_ok() {
        waiting += 1;
    }
    assert!(waiting > 1_000, "{waiting}");
    tokio::spawn(backend::flows::listen::listen(app.backend.clone(), reader));
    until("the subscriptions", || bus.connected()).await;
    bus.publish("m/0123456789/command", vec![], false, None).await.expect("there is room again");
}

#[tokio::test]
async fn a_refused_subscription_is_no_connection_and_is_tried_again() {
    let app = TestApp::start().await;
    let authenticator = Arc::new(Authenticator::default());
    let (_broker, bus, reader) = bus_to(authenticator.clone()).await;
    tokio::spawn(backend::flows::listen::listen(app.backend.clone(), reader));
    until("a third try", || {
        assert!(!bus.connected(), "it would not hear acks");
        authenticator.came.load(Ordering::Relaxed) >= 3
    })
    .await;
    authenticator.may_hear_acks.store(true, Ordering::Relaxed);
    until("the subscriptions", || bus.connected()).await;
}

fn last(app: &TestApp, topic: &str) -> Option<serde_json::Value> {
    app.bus.on(topic).pop().map(|message| {
        assert!(message.retain, "{topic}");
        serde_json::from_slice(&message.payload).unwrap()
    })
}

#[tokio::test]
async fn after_each_connect_what_is_last_known_is_published_again_and_says_so() {
    let app = TestApp::start().await;
    let maker = manufacturer::add_manufacturer(&app.backend, &system(), "maker", "Maker").await.unwrap();
    let made = register_module::provision_module(&app.backend, &system(), Some(maker)).await.unwrap();
    let unwired = backend::flows::operate::machine::NewMachine {
        operator_id: app.shop.operator_id,
        module: None,
        name: "Bare".into(),
        site: "Hall".into(),
        coin_value_minor: 100,
        prices: vec![],
    };
    let (_, bare) = machine::add_machine(&app.backend, &system(), unwired).await.unwrap();
    let seen_ms = app.now_ms();
    app.deliver(&app.shop.module.coins(&app, 3)).await;
    app.deliver(&app.shop.module.will(&app)).await;
    app.clock.advance(60_000);
    let known = format!("v1/acme/{}/status", app.shop.code);
    let [bare, made] = [format!("v1/acme/{bare}/status"), format!("made/maker/{}/status", made.id)];
    for round in 1..=2 {
        let (_broker, bus, reader) =
            bus_to(Arc::new(Authenticator { may_hear_acks: true.into(), ..Authenticator::default() })).await;
        let before = app.bus.messages().len();
        let reading = tokio::spawn(backend::flows::listen::listen(app.backend.clone(), reader));
        until("the last known facts", || {
            bus.connected()
                && [&known, &bare, &made].iter().all(|topic| app.bus.on(topic).len() >= round)
                && app.bus.messages().len() >= before + 3
        })
        .await;
        let json = last(&app, &known).unwrap();
        assert_eq!(
            (&json["live"], &json["online"], &json["as_of_ms"]),
            (&false.into(), &false.into(), &seen_ms.into())
        );
        assert_eq!((&json["at_ms"], &json["coin_pulses_total"]), (&seen_ms.into(), &3.into()));
        for never_heard in [&bare, &made] {
            let json = last(&app, never_heard).unwrap();
            assert_eq!((&json["live"], &json["online"]), (&false.into(), &false.into()));
            assert!(json["as_of_ms"].is_null(), "{json}");
        }
        reading.abort();
    }
    app.shop.module.reconnect(false);
    app.deliver(&app.shop.module.status(&app, |_| ())).await;
    let json = last(&app, &known).unwrap();
    assert_eq!((&json["live"], &json["as_of_ms"]), (&true.into(), &app.now_ms().into()));
}

/// A module speaks while the last known facts are told: what it said is the last word, whichever came first.
#[tokio::test]
async fn a_live_status_is_never_overtaken_by_an_older_one() {
    let app = TestApp::start().await;
    let authenticator = Arc::new(Authenticator { may_hear_acks: true.into(), ..Authenticator::default() });
    let (broker, bus, reader) = bus_to(authenticator).await;
    let (talker, mut events) = {
        let mut options = rumqttc::v5::MqttOptions::new("talker", "127.0.0.1", broker.local_addrs()[0].port());
        options.set_credentials("module", "any");
        rumqttc::v5::AsyncClient::new(options, 16)
    };
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    tokio::spawn(backend::flows::listen::listen(app.backend.clone(), reader));
    let known = format!("v1/acme/{}/status", app.shop.code);
    for _ in 0..20 {
        let status = app.shop.module.status(&app, |_| ());
        let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
        talker.publish(&status.topic, qos, true, status.payload.clone()).await.unwrap();
    }
    until("the connection", || bus.connected()).await;
    until("the last status", || {
        app.bus.on(&known).len() > 1 && last(&app, &known).is_some_and(|json| json["live"] == true)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(last(&app, &known).unwrap()["live"], true);
}
