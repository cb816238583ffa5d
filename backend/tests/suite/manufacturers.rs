//! Manufacturers: their tools read how their modules are, and nothing else.

use crate::support::{TestApp, actors::system, module::TestModule};
use backend::{
    Error,
    access::{
        manufacturers,
        sign_in::{self, MqttReading, PasswordOwners},
    },
    flows::operate::{manufacturer, register_module},
    ids::ManufacturerId,
};
use protocol::messages::faults;
use serde_json::{Value, json};

#[tokio::test]
async fn a_tool_reads_its_manufacturers_topics_with_its_password() {
    let app = TestApp::start().await;
    let boards = manufacturer::add_manufacturer(&app.backend, &system(), "boards", "Boards & Sons").await.unwrap();
    manufacturer::add_manufacturer(&app.backend, &system(), "rival", "Rival").await.unwrap();
    let tool = async |slug: &str, password: &str| {
        manufacturers::manufacturers_tool(&app.backend, slug, password).await.unwrap()
    };
    assert_eq!(tool("boards", "").await, None, "it has no password yet");

    manufacturer::set_tool_password(&app.backend, &system(), boards, "a bench in Shenzhen").await.unwrap();
    let MqttReading { filters, fingerprint } = tool("boards", "a bench in Shenzhen").await.unwrap();
    assert_eq!(filters, ["made/boards/#"]);
    for (slug, password) in
        [("boards", "another bench"), ("rival", "a bench in Shenzhen"), ("nobody", ""), ("boards ", "")]
    {
        assert_eq!(tool(slug, password).await, None, "{slug} {password}");
    }

    // A new password is another fingerprint; who has none has no fingerprint.
    let owners = PasswordOwners { tools: vec!["boards".into(), "rival".into()], ..Default::default() };
    let before = sign_in::fingerprints(&app.backend, owners.clone()).await.unwrap().tools;
    assert_eq!(before, [("boards".to_owned(), fingerprint)].into());
    manufacturer::set_tool_password(&app.backend, &system(), boards, "a bench in Dongguan").await.unwrap();
    assert_ne!(sign_in::fingerprints(&app.backend, owners).await.unwrap().tools, before);
}

#[tokio::test]
async fn what_makes_no_manufacturer_is_refused_by_field() {
    let app = TestApp::start().await;
    manufacturer::add_manufacturer(&app.backend, &system(), "boards", "Boards").await.unwrap();
    for (slug, name, field) in [("boards", "Again", "slug"), ("b/#", "Boards", "slug"), ("more", " ", "name")] {
        let refused = manufacturer::add_manufacturer(&app.backend, &system(), slug, name).await;
        assert!(matches!(&refused, Err(Error::Invalid { field: found, .. }) if *found == field), "{refused:?}");
    }
    assert!(matches!(
        manufacturer::set_tool_password(&app.backend, &system(), ManufacturerId(9), "long enough").await,
        Err(Error::NotFound("manufacturer"))
    ));
    assert!(matches!(
        manufacturer::set_tool_password(&app.backend, &system(), ManufacturerId(1), "short").await,
        Err(Error::Invalid { field: "password", .. })
    ));
    let unknown = register_module::provision_module(&app.backend, &system(), Some(ManufacturerId(9))).await;
    assert!(matches!(unknown, Err(Error::NotFound("manufacturer"))), "{unknown:?}");
}

#[tokio::test]
async fn it_is_told_how_its_modules_are_and_nothing_of_money() {
    let app = TestApp::start().await;
    let boards = manufacturer::add_manufacturer(&app.backend, &system(), "boards", "Boards").await.unwrap();
    let made = TestModule::new(register_module::provision_module(&app.backend, &system(), Some(boards)).await.unwrap());
    let topic = format!("made/boards/{}/status", made.id);
    let status = made.status(&app, |status| {
        status.firmware = "1.2.3";
        status.faults = faults::SUPPLY_LOW;
        status.totals.coin_pulses = 77;
    });
    app.deliver(&status).await;
    // A repeat is not published again, nor is another manufacturer's module.
    app.deliver(&status).await;
    app.deliver(&app.shop.module.status(&app, |_| ())).await;
    let told = app.bus.on(&topic);
    assert_eq!(told.len(), 1);
    assert!(told[0].retain);
    let told: Value = serde_json::from_slice(&told[0].payload).unwrap();
    let wanted = json!({
        "v": 1, "at_ms": app.now_ms(), "online": true, "firmware": "1.2.3", "boot": 1, "signal_csq": 20,
        "supply_mv": told["supply_mv"], "faults": ["supply_low"], "settings_version": 0,
        "live": true, "as_of_ms": app.now_ms(),
    });
    assert_eq!(told, wanted);
    assert!(app.bus.messages().iter().all(|message| !message.topic.starts_with("made/") || message.topic == topic));
}
