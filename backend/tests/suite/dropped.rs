//! What comes in from the bus and is not believed: dropped, counted, never answered, never a panic.

use crate::support::{
    TestApp,
    app::PRICE_PULSES,
    bus::Message,
    done,
    module::{RawBody, TestModule},
};
use backend::flows::operate::register_module::Provisioned;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use protocol::{ModuleId, ModuleSecret, limits::TAG_BYTES, topics::Kind};

/// How many messages were dropped for a reason.
fn dropped(recorder: &PrometheusRecorder, why: &str) -> u64 {
    let line = format!("coinwire_messages_dropped_total{{why=\"{why}\"}} ");
    let metrics = recorder.handle().render();
    metrics.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

/// Delivers messages, and asserts that each is dropped for that reason and moves nothing.
async fn assert_dropped(app: &TestApp, why: &str, messages: &[Message]) {
    let recorder = PrometheusBuilder::new().build_recorder();
    // This test's thread only, which is the thread that everything of it runs on.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let published = app.bus.messages().len();
    for message in messages {
        app.deliver(message).await;
    }
    assert_eq!(dropped(&recorder, why), messages.len() as u64, "{why}: {}", recorder.handle().render());
    assert_eq!(app.bus.messages().len(), published, "a stranger gets no answer");
    assert!(app.events().is_empty());
}

#[tokio::test]
async fn a_bad_signature() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    app.events();
    let genuine = [
        module.ack(&app, &credit, done(PRICE_PULSES)),
        module.coins(&app, 1),
        module.status(&app, |status| status.signal_csq = Some(1)),
    ];
    let mut forged = vec![];
    for message in &genuine {
        for index in [0, message.payload.len() / 2, message.payload.len() - 1] {
            let mut forgery = message.clone();
            forgery.payload[index] ^= 1;
            forged.push(forgery);
        }
        // Another module's id before the same bytes, and another topic of the same module.
        let other = app.open_shop(&format!("other-{}", forged.len())).await;
        let topic = message.topic.replace(module.id.as_str(), other.module.id.as_str());
        forged.push(Message { topic, ..message.clone() });
        let topic = match message.topic.ends_with("pulse") {
            true => message.topic.replace("pulse", "ack"),
            false => format!("m/{}/pulse", module.id),
        };
        forged.push(Message { topic, ..message.clone() });
    }
    app.events();
    assert_dropped(&app, "signature", &forged).await;
    assert_eq!(app.state(&token).await, "paid");

    for message in &genuine {
        app.deliver(message).await;
    }
    assert_eq!(app.state(&token).await, "credited", "a forgery does not keep the genuine one out");
}

#[tokio::test]
async fn truncated_or_overlong() {
    let app = TestApp::start().await;
    let genuine = app.shop.module.coins(&app, 1);
    app.events();
    let cut = |length: usize| Message { payload: genuine.payload[..length].to_vec(), ..genuine.clone() };
    let short: Vec<Message> = (0..TAG_BYTES).map(cut).collect();
    assert_dropped(&app, "length", &short).await;
    let unsigned: Vec<Message> = (TAG_BYTES..genuine.payload.len()).map(cut).collect();
    assert_dropped(&app, "signature", &unsigned).await;
    let long = Message { payload: vec![0; 64 * 1024], ..genuine.clone() };
    assert_dropped(&app, "length", &[long]).await;
    assert!(app.books().await.is_empty());
}

#[tokio::test]
async fn signed_but_no_message_of_its_topic() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let whole = module.coins(&app, 1);
    let body = &whole.payload[..whole.payload.len() - TAG_BYTES];
    app.events();
    let mut messages = vec![];
    for kind in [Kind::Status, Kind::Pulse, Kind::Ack] {
        // Truncated CBOR, each with a right tag.
        messages.extend((0..body.len()).map(|length| module.seal(kind, &RawBody(body[..length].to_vec()))));
        messages.push(module.seal(kind, &RawBody([body, &[0]].concat())));
        messages.push(module.seal(kind, &RawBody(vec![0x9f; 200])));
        messages.push(module.seal(kind, &RawBody(vec![0xff])));
        messages.push(module.seal(kind, &7_u8));
    }
    assert_dropped(&app, "body", &messages).await;
    assert!(app.books().await.is_empty());
}

#[tokio::test]
async fn of_modules_nobody_registered() {
    let app = TestApp::start().await;
    app.events();
    let stranger = TestModule::new(Provisioned { id: ModuleId::from_bits(5), secret: ModuleSecret::new([5; 32]) });
    let messages = [stranger.status(&app, |_| ()), stranger.coins(&app, 1), stranger.will(&app)];
    assert_dropped(&app, "unknown_module", &messages).await;
}

#[tokio::test]
async fn on_topics_that_are_no_modules() {
    let app = TestApp::start().await;
    let genuine = app.shop.module.coins(&app, 1);
    app.events();
    let id = app.shop.module.id;
    let topics = ["", "m", "m//pulse", "m/0123/pulse", "v1/acme/x/status", "\u{0}", "m/+/ack"];
    let own = [format!("m/{id}/"), format!("m/{id}/pulse/x"), format!("m/{id}/command"), format!("m/{id}/PULSE")];
    let messages: Vec<Message> =
        topics.iter().map(ToString::to_string).chain(own).map(|topic| Message { topic, ..genuine.clone() }).collect();
    assert_dropped(&app, "topic", &messages).await;
}

#[tokio::test]
async fn older_than_what_is_known() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let (status, coins) = (module.status(&app, |_| ()), module.coins(&app, 1));
    app.deliver(&module.status(&app, |_| ())).await;
    app.deliver(&coins).await;
    app.events();
    assert_dropped(&app, "old", &[status, coins]).await;
}
