//! Modules whose credentials are disabled.

use crate::support::TestApp;
use backend::{
    Error,
    live::LiveKind,
    modules::{Admission, Disabled},
    sales::Readiness,
};
use protocol::ModuleId;

#[tokio::test]
async fn a_disabled_module_is_not_admitted_and_sells_nothing_until_it_is_enabled() {
    let app = TestApp::start().await;
    let (shop, module) = (&app.shop, &app.shop.module);
    let password = module.secret.mqtt_password(module.id);
    let admission = async || app.backend.admit_module(module.id, password.as_bytes()).await.unwrap();
    app.make_ready(shop).await;
    app.events();

    app.backend.set_disabled(shop.operator_id, shop.machine_id, true).await.unwrap();
    assert_eq!(admission().await, Admission::Disabled);
    assert_eq!(
        app.backend.admit_module(module.id, b"guess").await.unwrap(),
        Admission::Unknown,
        "no word to strangers"
    );
    let disabled = Disabled { module: module.id, since_ms: app.now_ms() };
    assert_eq!(app.backend.disabled_modules().await.unwrap(), [disabled]);
    let events = app.events();
    assert!(events.iter().any(|event| event.what == LiveKind::Module), "{events:?}");
    let view = app.backend.remote(shop.operator_id, shop.machine_id).await.unwrap().row.module.unwrap();
    assert_eq!((view.disabled_ms, view.online), (Some(disabled.since_ms), false));

    // What it says before its connection ends makes it no better.
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(matches!(app.try_order().await, Err(Error::NotReady(Readiness::Closed))));

    // Again changes nothing.
    app.clock.advance(5_000);
    app.backend.set_module_disabled(module.id, true).await.unwrap();
    assert_eq!(app.backend.disabled_modules().await.unwrap(), [disabled]);

    app.backend.set_disabled(shop.operator_id, shop.machine_id, false).await.unwrap();
    assert_eq!(admission().await, Admission::Admitted);
    assert!(app.backend.disabled_modules().await.unwrap().is_empty());
    app.make_ready(shop).await;
    app.order().await;
}

#[tokio::test]
async fn a_sale_paid_before_its_module_is_disabled_goes_back() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    app.backend.set_module_disabled(app.shop.module.id, true).await.unwrap();
    app.pass_ms(60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;
}

#[tokio::test]
async fn nobody_disables_anothers_module_or_one_that_is_not_there() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let foreign = app.backend.set_disabled(other.operator_id, app.shop.machine_id, true).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
    let nobody = app.backend.set_module_disabled(ModuleId::from_bits(1), true).await;
    assert!(matches!(nobody, Err(Error::NotFound("module"))), "{nobody:?}");
    assert!(app.backend.disabled_modules().await.unwrap().is_empty());
}
