//! Modules whose credentials are disabled.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
};
use backend::{
    Error,
    flows::operate::{disable_module, module},
    live::LiveKind,
    machines::remote,
    modules::{Admission, Disabled, admission},
    sales::readiness::Readiness,
};
use protocol::ModuleId;

#[tokio::test]
async fn a_disabled_module_is_not_admitted_and_sells_nothing_until_it_is_enabled() {
    let app = TestApp::start().await;
    let (shop, module) = (&app.shop, &app.shop.module);
    let password = module.secret.mqtt_password(module.id);
    let admission = async || admission::admit_module(&app.backend, module.id, password.as_bytes()).await.unwrap();
    app.make_ready(shop).await;
    app.events();

    module::set_disabled(&app.backend, &acting_for(shop.operator_id), shop.machine_id, true).await.unwrap();
    assert_eq!(admission().await, Admission::Disabled);
    assert_eq!(
        admission::admit_module(&app.backend, module.id, b"guess").await.unwrap(),
        Admission::Unknown,
        "no word to strangers"
    );
    let disabled = Disabled { module: module.id, since_ms: app.now_ms() };
    assert_eq!(admission::disabled_modules(&app.backend).await.unwrap(), [disabled]);
    let events = app.events();
    assert!(events.iter().any(|event| event.what == LiveKind::Module), "{events:?}");
    let view =
        remote::remote(&app.backend, &acting_for(shop.operator_id), shop.machine_id).await.unwrap().row.module.unwrap();
    assert_eq!((view.disabled_ms, view.online), (Some(disabled.since_ms), false));

    // What it says before its connection ends makes it no better.
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(matches!(app.try_order().await, Err(Error::NotReady(Readiness::Closed))));

    // Again changes nothing.
    app.clock.advance(5_000);
    disable_module::set_module_disabled(&app.backend, &system(), module.id, true).await.unwrap();
    assert_eq!(admission::disabled_modules(&app.backend).await.unwrap(), [disabled]);

    module::set_disabled(&app.backend, &acting_for(shop.operator_id), shop.machine_id, false).await.unwrap();
    assert_eq!(admission().await, Admission::Admitted);
    assert!(admission::disabled_modules(&app.backend).await.unwrap().is_empty());
    app.make_ready(shop).await;
    app.order().await;
}

#[tokio::test]
async fn a_sale_paid_before_its_module_is_disabled_goes_back() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    disable_module::set_module_disabled(&app.backend, &system(), app.shop.module.id, true).await.unwrap();
    app.pass_ms(60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;
}

#[tokio::test]
async fn nobody_disables_anothers_module_or_one_that_is_not_there() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let foreign = module::set_disabled(&app.backend, &acting_for(other.operator_id), app.shop.machine_id, true).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
    let nobody = disable_module::set_module_disabled(&app.backend, &system(), ModuleId::from_bits(1), true).await;
    assert!(matches!(nobody, Err(Error::NotFound("module"))), "{nobody:?}");
    assert!(admission::disabled_modules(&app.backend).await.unwrap().is_empty());
}
