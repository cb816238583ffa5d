//! The straight way of a sale, and what the world sees of it.

use crate::support::{
    TestApp,
    actors::system,
    app::{PRICE_MINOR, PRICE_PULSES},
    done, stage,
};
use backend::{live::LiveKind, sales::takings};
use protocol::messages::{Action, Stage};

#[tokio::test]
async fn is_ordered_paid_credited_and_booked() {
    let app = TestApp::start().await;
    let module = &app.shop.module;

    let checkout = app.try_order().await.unwrap();
    let token = &checkout.token;
    let number = app.number(token).await;
    assert_eq!(checkout.next, format!("https://bank.test/pay/{number}"));
    assert_eq!(app.state(token).await, "awaiting_payment");
    let asked = app.bank.trade(&number).request;
    assert_eq!(asked.amount.amount_minor, PRICE_MINOR);
    assert_eq!(asked.expires_at_ms, app.now_ms() + 5 * 60_000);
    assert_eq!(asked.notify_url, format!("https://coinwire.test/callbacks/bank/{}", app.shop.account_token));
    assert_eq!(asked.return_url, format!("https://coinwire.test/sale/{token}"));
    assert!(module.credits(&app).is_empty(), "nothing is credited before it is paid");

    let callback = app.pay(token).await;
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(token).await, "paid");
    let credit = module.credit(&app);
    assert_eq!(credit.action, Action::Credit { pulses: PRICE_PULSES });
    assert!(credit.sequence > 0);
    assert_eq!(i64::try_from(credit.issued_ms).unwrap(), app.now_ms());
    assert_eq!(credit.expires_ms - credit.issued_ms, 20_000);
    let message = app.bus.on(&module.command_topic()).pop().unwrap();
    assert_eq!((message.retain, message.expiry_s), (false, Some(30)), "kept by the broker as long as it is repeated");

    app.deliver(&module.ack(&app, &credit, stage(Stage::Received))).await;
    assert_eq!(app.state(token).await, "crediting");
    app.deliver(&module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let row = app.row(token).await;
    assert_eq!((row.view.state.as_str(), row.view.pulses_given, row.view.at_rest), ("credited", 5, true));
    assert_eq!((row.view.reason.as_str(), row.finished_ms), ("", Some(app.now_ms())));
    assert_eq!(row.provider_txn_id, Some(format!("T{number}")));

    let books = app.books().await;
    let earned = i128::from(PRICE_MINOR);
    assert_eq!(books, [("operator_payable".into(), -earned), ("provider_clearing".into(), earned)].into());
    app.assert_books().await;
    let takings = takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!(
        (takings.sales, takings.mobile.decimal().as_str(), takings.refunded.decimal().as_str()),
        (1, "5.00", "0.00")
    );

    // At rest means at rest: nothing is sent, asked or refunded any more.
    let published = app.bus.messages().len();
    app.pass_ms(60_000).await;
    app.skip_ms(24 * 3_600_000).await;
    assert_eq!(app.bus.messages().len(), published);
    assert!(app.bank.refunds().is_empty());
    assert_eq!(app.state(token).await, "credited");
}

#[tokio::test]
async fn is_told_to_pages_and_integrators_step_by_step() {
    let app = TestApp::start().await;
    app.events();
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Received))).await;
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;

    let mut told = vec![];
    for event in app.events() {
        assert_eq!((event.operator_id, event.machine_id), (app.shop.operator_id, Some(app.shop.machine_id)));
        if let LiveKind::Sale { token: of, state } = event.what {
            assert_eq!(of, token);
            told.push(state.as_str());
        }
    }
    assert_eq!(told, ["awaiting_payment", "paid", "crediting", "credited"]);

    let messages = app.bus.on(&format!("v1/acme/{}/sale", app.shop.code));
    let json: Vec<serde_json::Value> =
        messages.iter().map(|message| serde_json::from_slice(&message.payload).unwrap()).collect();
    let states: Vec<&str> = json.iter().map(|json| json["state"].as_str().unwrap()).collect();
    assert_eq!(states, told);
    let last = json.last().unwrap();
    assert_eq!((last["v"].as_i64(), last["sale"].as_str()), (Some(1), Some(token.0.as_str())));
    assert_eq!((last["amount_minor"].as_i64(), last["currency"].as_str()), (Some(500), Some("CNY")));
    assert_eq!((last["pulses"].as_i64(), last["pulses_given"].as_i64()), (Some(5), Some(5)));
    assert!(messages.iter().all(|message| !message.retain));
}

#[tokio::test]
async fn goes_on_while_the_broker_is_away() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.bus.set_down(true);
    assert_eq!(app.backend.unready().await, ["the message broker is not connected"]);
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    app.pass_ms(2_000).await;
    assert!(app.shop.module.credits(&app).is_empty());

    app.bus.set_down(false);
    assert!(app.backend.unready().await.is_empty());
    app.pass_ms(1_000).await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn many_at_once_are_each_credited_once() {
    let app = TestApp::start().await;
    let mut tokens = vec![];
    for _ in 0..40 {
        tokens.push(app.order().await);
    }
    let mut callbacks = vec![];
    for token in &tokens {
        callbacks.push(app.pay(token).await);
    }
    futures_util::future::join_all(callbacks.iter().map(async |callback| app.callback(callback).await.unwrap())).await;
    let mut credits = app.shop.module.credits(&app);
    credits.sort_by_key(|credit| credit.sequence);
    credits.dedup_by_key(|credit| credit.sequence);
    assert_eq!(credits.len(), 40, "numbered without a repeat");
    let acks: Vec<_> = credits.iter().map(|credit| app.shop.module.ack(&app, credit, done(PRICE_PULSES))).collect();
    futures_util::future::join_all(acks.iter().map(|ack| app.deliver(ack))).await;
    for token in &tokens {
        assert_eq!(app.state(token).await, "credited");
    }
    assert_eq!(app.books().await["provider_clearing"], 40 * i128::from(PRICE_MINOR));
    app.assert_books().await;
}
