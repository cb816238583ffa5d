//! Orders: made only of what the page showed, once a form, and only for a machine that is ready.

use crate::support::{
    Call, Fault, TestApp,
    actors::{acting_for, system},
    app::{PRICE_MINOR, PRICE_PULSES},
    done,
};
use backend::{
    Error,
    flows::{
        operate::{
            machine::{self, NewMachine},
            price, register_module,
        },
        place_order,
    },
    ids::{PriceId, SaleToken},
    machines::{fleet, shapes::PriceChange},
    sales::readiness::Readiness,
};
use protocol::limits::CREDITS_WAITING_MAX;

fn price(label: &str, amount_minor: i64, pulses: i32) -> PriceChange {
    PriceChange { label: label.into(), amount_minor, pulses }
}

/// Asserts that no sale was made and no provider was asked.
async fn assert_no_order(app: &TestApp) {
    assert_eq!(app.number_of("SELECT COUNT(*) FROM sales").await, 0);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM payment_attempts").await, 0);
    assert!(app.bank.called(Call::Create).is_empty());
}

#[tokio::test]
async fn an_altered_price_makes_no_order() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    for amount_minor in [PRICE_MINOR - 1, 0, -PRICE_MINOR, 1, i64::MAX, i64::MIN] {
        let form = backend::flows::place_order::OrderRequest { amount_minor, ..app.form(&app.shop) };
        assert!(
            matches!(place_order::order(&app.backend, form).await, Err(Error::Conflict("price"))),
            "{amount_minor}"
        );
    }
    let other = app.open_shop("other").await;
    for price_id in [other.price_id, PriceId(0), PriceId(-1), PriceId(i64::MAX)] {
        let form = backend::flows::place_order::OrderRequest { price_id, ..app.form(&app.shop) };
        assert!(matches!(place_order::order(&app.backend, form).await, Err(Error::Conflict("price"))), "{price_id}");
    }
    assert_no_order(&app).await;
}

#[tokio::test]
async fn a_price_changed_after_the_page_was_shown_makes_no_order() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, price("Dearer", 700, 5))
        .await
        .unwrap();
    assert!(matches!(place_order::order(&app.backend, form.clone()).await, Err(Error::Conflict("price"))));
    assert_no_order(&app).await;
    let form = backend::flows::place_order::OrderRequest { amount_minor: 700, ..form };
    let token = place_order::order(&app.backend, form).await.unwrap().token;
    // What is ordered keeps its price.
    price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, price("Cheaper", 100, 1))
        .await
        .unwrap();
    let row = app.row(&token).await;
    assert_eq!((row.view.label.as_str(), row.view.amount.decimal().as_str(), row.view.pulses), ("Dearer", "7.00", 5));
}

#[tokio::test]
async fn a_form_sent_again_is_the_same_sale() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    let first = place_order::order(&app.backend, form.clone()).await.unwrap();
    let second = place_order::order(&app.backend, form.clone()).await.unwrap();
    assert_eq!((&first.token, &first.next), (&second.token, &second.next));
    assert_eq!(app.bank.called(Call::Create).len(), 1);

    // Once it is paid, its own page tells.
    app.callback(&app.pay(&first.token).await).await.unwrap();
    let third = place_order::order(&app.backend, form).await.unwrap();
    assert_eq!(third.token, first.token);
    let url = third.next;
    assert_eq!(url, format!("https://coinwire.test/sale/{}", first.token));
    app.shop.module.credit(&app);
}

#[tokio::test]
async fn a_form_sent_many_times_at_once_is_one_sale() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    let orders = (0..20).map(|_| place_order::order(&app.backend, form.clone()));
    let checkouts = futures_util::future::join_all(orders).await;
    let token = app.only_token().await;
    for checkout in checkouts {
        assert_eq!(checkout.unwrap().token, token);
    }
    assert_eq!(app.bank.called(Call::Create).len(), 1);
    assert_eq!(app.bank.trades().len(), 1);
}

#[tokio::test]
async fn a_form_sent_again_after_the_provider_failed_is_a_new_order() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    app.bank.fault(Call::Create, [Fault::LostAnswer]);
    assert!(matches!(place_order::order(&app.backend, form.clone()).await, Err(Error::Provider(_))));
    // The payer was never sent to that one: it is found out and closed in time.
    let failed = app.only_token().await;
    assert_eq!(app.row(&failed).await.view.reason.as_str(), "provider_silent");
    let again = place_order::order(&app.backend, form.clone()).await.unwrap();
    assert_ne!(again.token, failed);
    assert_eq!(
        place_order::order(&app.backend, form).await.unwrap().token,
        again.token,
        "pressed twice it is still one"
    );
    assert_eq!(app.bank.trades().len(), 2);
}

#[tokio::test]
async fn a_form_whose_sale_is_over_makes_a_new_sale() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    let first = place_order::order(&app.backend, form.clone()).await.unwrap();
    // Not paid in time.
    app.skip_ms(5 * 60_000).await;
    app.make_ready(&app.shop).await;
    assert_eq!(app.row(&first.token).await.view.handoff, None, "it cannot be paid there any more");
    let second = place_order::order(&app.backend, form.clone()).await.unwrap();
    assert_ne!(second.token, first.token);
    let url = &second.next;
    assert!(!url.contains("/sale/"), "{url}");
    assert_eq!(place_order::order(&app.backend, form.clone()).await.unwrap().token, second.token);
    // The price is that of now.
    app.skip_ms(5 * 60_000).await;
    app.make_ready(&app.shop).await;
    price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, price("Dearer", 700, 5))
        .await
        .unwrap();
    assert!(matches!(place_order::order(&app.backend, form).await, Err(Error::Conflict("price"))));
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up_after_the_longest_wait() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    app.bank.fault(Call::Create, [Fault::Held]);
    let wait = async {
        app.bank.holds().await;
        app.clock.slept_on().await;
        let token = app.only_token().await;
        assert_eq!(backend::flows::show_sale::sale(&app.backend, &token).await.unwrap().asking_s, Some(10));
        app.clock.advance(10_000);
        token
    };
    let (order, token) = tokio::join!(place_order::order(&app.backend, app.form(&app.shop)), wait);
    assert!(matches!(order, Err(Error::Provider(_))));
    let view = backend::flows::show_sale::sale(&app.backend, &token).await.unwrap();
    assert_eq!((view.state.as_str(), view.reason.as_str(), view.asking_s), ("created", "provider_silent", None));
}

#[tokio::test]
async fn a_form_we_did_not_make_is_refused() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    for form_key in ["", "short", &"x".repeat(65), "kein formular, glaub mir das: é"] {
        let form = backend::flows::place_order::OrderRequest { form_key: form_key.into(), ..app.form(&app.shop) };
        assert!(
            matches!(place_order::order(&app.backend, form).await, Err(Error::Invalid { field: "form_key", .. })),
            "{form_key}"
        );
    }
    assert_no_order(&app).await;
}

#[tokio::test]
async fn an_unknown_code_is_no_machine() {
    let app = TestApp::start().await;
    let lower = app.shop.code.to_lowercase();
    for code in ["", "NOTACODE", "' OR 1=1 --", "%", &lower, &"A".repeat(10_000)] {
        if code == app.shop.code {
            continue;
        }
        assert!(matches!(app.scan(code).await, Err(Error::NotFound("machine"))), "{code}");
        let form = backend::flows::place_order::OrderRequest { code: code.into(), ..app.form(&app.shop) };
        assert!(matches!(place_order::order(&app.backend, form).await, Err(Error::NotFound("machine"))), "{code}");
    }
    assert!(matches!(
        backend::flows::show_sale::sale(&app.backend, &SaleToken("no such token".into())).await,
        Err(Error::NotFound("sale"))
    ));
    assert_no_order(&app).await;
}

#[tokio::test]
async fn a_machine_that_is_not_ready_takes_no_order() {
    let app = TestApp::start().await;
    app.deliver(&app.shop.module.will(&app)).await;
    let wait = async {
        app.clock.slept_on().await;
        app.clock.advance(2_000);
    };
    let (order, ()) = tokio::join!(place_order::order(&app.backend, app.form(&app.shop)), wait);
    assert!(matches!(order, Err(Error::NotReady(Readiness::Offline))));
    assert_no_order(&app).await;
}

#[tokio::test]
async fn a_module_with_as_many_open_credits_as_it_can_hold_takes_no_more_money() {
    let app = TestApp::start().await;
    for _ in 0..CREDITS_WAITING_MAX {
        app.paid_sale().await;
    }
    // Its answer to the probe still serves; the credits that were paid since have not reached it.
    assert!(matches!(app.try_order().await, Err(Error::NotReady(Readiness::Busy))));
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Busy);
    for credit in app.shop.module.credits(&app).iter().take(2) {
        app.deliver(&app.shop.module.ack(&app, credit, done(PRICE_PULSES))).await;
    }
    app.order().await;
}

#[tokio::test]
async fn a_machine_off_sale_or_not_furnished_is_closed_and_nobody_is_asked() {
    let app = TestApp::start().await;
    let closed = async |code: &str| app.scan(code).await.unwrap().readiness == Readiness::Closed;
    machine::set_active(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, false).await.unwrap();
    assert!(closed(&app.shop.code).await);
    let order = place_order::order(&app.backend, app.form(&app.shop)).await;
    assert!(matches!(order, Err(Error::NotReady(Readiness::Closed))));
    machine::set_active(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, true).await.unwrap();

    let bare = NewMachine {
        operator_id: app.shop.operator_id,
        module: None,
        name: "Bare".into(),
        site: "Attic".into(),
        coin_value_minor: 0,
        prices: vec![price("Ride", 100, 1)],
    };
    let (_, without_module) = machine::add_machine(&app.backend, &system(), bare.clone()).await.unwrap();
    assert!(closed(&without_module).await);
    let module = Some(register_module::provision_module(&app.backend, &system(), None).await.unwrap().id);
    let priceless = NewMachine { module, prices: vec![], ..bare };
    let (_, without_price) = machine::add_machine(&app.backend, &system(), priceless).await.unwrap();
    assert!(closed(&without_price).await);
    assert!(app.shop.module.probes(&app).is_empty());
    assert_no_order(&app).await;
}

#[tokio::test]
async fn wrong_prices_and_machines_are_refused_by_field() {
    let app = TestApp::start().await;
    let machine = NewMachine {
        operator_id: app.shop.operator_id,
        module: None,
        name: "New".into(),
        site: "Hall".into(),
        coin_value_minor: 100,
        prices: vec![],
    };
    let long = "x".repeat(41);
    for (wrong, wrong_field) in [
        (price("", 100, 1), "label"),
        (price(&long, 100, 1), "label"),
        (price("Ride", 0, 1), "amount"),
        (price("Ride", -1, 1), "amount"),
        (price("Ride", 1_000_001, 1), "amount"),
        (price("Ride", 100, 0), "pulses"),
        (price("Ride", 100, 201), "pulses"),
    ] {
        let new = NewMachine { prices: vec![wrong.clone()], ..machine.clone() };
        assert!(
            matches!(machine::add_machine(&app.backend, &system(), new).await, Err(Error::Invalid { field, .. }) if field == wrong_field)
        );
        let changed =
            price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, wrong).await;
        assert!(matches!(changed, Err(Error::Invalid { field, .. }) if field == wrong_field));
    }
    // More than a module that was never set otherwise gives for a credit.
    let beyond = price("Ride", 100, 51);
    let new = NewMachine { prices: vec![beyond.clone()], module: Some(app.shop.module.id), ..machine.clone() };
    let refused = [
        price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, beyond).await,
        machine::add_machine(&app.backend, &system(), new).await.map(|_| ()),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::Invalid { field: "module_pulses", .. })));
    }
    price::change_price(&app.backend, &acting_for(app.shop.operator_id), app.shop.price_id, price("Ride", 100, 50))
        .await
        .unwrap();
    for coin_value_minor in [-1, 1_000_001, i64::MAX] {
        let new = NewMachine { coin_value_minor, ..machine.clone() };
        assert!(matches!(
            machine::add_machine(&app.backend, &system(), new).await,
            Err(Error::Invalid { field: "coin value", .. })
        ));
    }
    let nameless = NewMachine { name: "  ".into(), ..machine.clone() };
    assert!(matches!(
        machine::add_machine(&app.backend, &system(), nameless).await,
        Err(Error::Invalid { field: "name", .. })
    ));
    let wired = NewMachine { module: Some(app.shop.module.id), ..machine };
    assert!(matches!(
        machine::add_machine(&app.backend, &system(), wired).await,
        Err(Error::Invalid { field: "module", .. })
    ));
    assert_eq!(fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap().len(), 1);
}
