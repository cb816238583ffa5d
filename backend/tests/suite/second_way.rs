//! A payer orders, does not pay, and picks another way: the first order is closed before there is a second, and whatever was
//! paid is served once or goes back.

use crate::{
    provider_seam::{app_with_kiosk, kiosk_config},
    support::{Call, Fault, TestApp, app::PRICE_PULSES, done, stage},
};
use backend::{
    flows::{
        follow_order::{self, Awaited},
        place_order::{self, Checkout, OrderRequest},
        take_callback,
    },
    ids::SaleToken,
};
use protocol::messages::Stage;

const BANK: &str = "bank.page";
const KIOSK: &str = "kiosk.checkout";

/// Orders by a way, in place of another order if one is named.
async fn order_by(app: &TestApp, way: &str, instead_of: Option<&SaleToken>) -> Checkout {
    app.make_ready(&app.shop).await;
    let form = OrderRequest { way: Some(way.into()), instead_of: instead_of.cloned(), ..app.form(&app.shop) };
    place_order::order(&app.backend, form).await.unwrap()
}

/// A sale is paid at the kiosk, which tells of it.
async fn pay_at_kiosk(app: &TestApp, account: &str, token: &SaleToken) {
    let callback = app.kiosk.pay(&kiosk_config(), &app.number(token).await, app.now_ms());
    take_callback::callback(&app.backend, "kiosk", account, callback.raw()).await.unwrap();
    assert_eq!(app.state(token).await, "paid");
}

async fn sales(app: &TestApp) -> i64 {
    app.number_of("SELECT COUNT(*) FROM sales").await
}

async fn open_attempts(app: &TestApp) -> i64 {
    app.number_of("SELECT COUNT(*) FROM payment_attempts WHERE state IN ('created', 'pending')").await
}

#[tokio::test]
async fn another_way_with_the_same_form_closes_the_first() {
    let (app, _) = app_with_kiosk().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    let by = |way: &str| OrderRequest { way: Some(way.into()), ..form.clone() };
    let first = place_order::order(&app.backend, by(BANK)).await.unwrap();
    let again = place_order::order(&app.backend, by(BANK)).await.unwrap();
    assert_eq!((again.token, sales(&app).await), (first.token.clone(), 1), "the same way is the same order");
    let number = app.number(&first.token).await;

    let second = place_order::order(&app.backend, by(KIOSK)).await.unwrap();
    assert_eq!(app.bank.called(Call::Close), [number]);
    assert_eq!(app.state(&first.token).await, "expired");
    assert_eq!(app.state(&second.token).await, "awaiting_payment");
    assert_eq!((sales(&app).await, open_attempts(&app).await), (2, 1));
    let again = place_order::order(&app.backend, by(KIOSK)).await.unwrap();
    assert_eq!((again.token, sales(&app).await), (second.token, 2));
}

#[tokio::test]
async fn an_order_of_this_machine_that_was_left_is_closed_and_no_other() {
    let (app, account) = app_with_kiosk().await;
    let first = app.order().await;
    let nobodys = SaleToken("NOBODYS0000000000000".into());
    let beside = order_by(&app, KIOSK, Some(&nobodys)).await.token;
    assert_eq!((app.state(&first).await, open_attempts(&app).await), ("awaiting_payment", 2));
    let instead = order_by(&app, KIOSK, Some(&first)).await.token;
    assert_eq!(app.state(&first).await, "expired");
    assert_eq!(app.state(&beside).await, "awaiting_payment");
    // Who was served and buys again closes nothing.
    pay_at_kiosk(&app, &account, &instead).await;
    let more = order_by(&app, BANK, Some(&instead)).await.token;
    assert_eq!((app.state(&instead).await, app.state(&more).await), ("paid", "awaiting_payment"));
}

#[tokio::test]
async fn an_order_that_is_paid_already_is_the_one_that_is_meant() {
    let (app, _) = app_with_kiosk().await;
    let first = app.order().await;
    let callback = app.pay(&first).await;
    // The callback is late, and asking tells.
    let same = order_by(&app, KIOSK, Some(&first)).await;
    assert_eq!(same.token, first);
    assert_eq!(same.next, format!("https://coinwire.test/sale/{first}"));
    assert_eq!((app.state(&first).await, sales(&app).await), ("paid", 1));
    app.callback(&callback).await.unwrap();
    assert_eq!(app.shop.module.credits(&app).len(), 1);
}

#[tokio::test]
async fn an_order_that_is_being_paid_is_kept() {
    let (app, _) = app_with_kiosk().await;
    let first = app.order().await;
    app.bank.fault(Call::Close, [Fault::Busy]);
    let same = order_by(&app, KIOSK, Some(&first)).await;
    assert_eq!((same.token, sales(&app).await), (first.clone(), 1));
    let callback = app.pay(&first).await;
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&first).await, "paid");
}

#[tokio::test]
async fn a_form_that_was_answered_with_the_first_order_leads_there_however_late_it_is_asked_for() {
    let (app, _) = app_with_kiosk().await;
    let first = app.order().await;
    app.bank.fault(Call::Close, [Fault::Busy]);
    app.make_ready(&app.shop).await;
    let form = OrderRequest { way: Some(KIOSK.into()), instead_of: Some(first.clone()), ..app.form(&app.shop) };
    // The payer's browser was told to wait meanwhile.
    place_order::order(&app.backend, form.clone()).await.unwrap();
    let awaited = Awaited { form_key: &form.form_key, way: Some(KIOSK), leaves_another: true };
    let found = follow_order::await_order(&app.backend, awaited).await.unwrap().unwrap();
    assert_eq!((found.token, sales(&app).await), (first.clone(), 1));
    // The same once it is paid, also where the form is sent again.
    let callback = app.pay(&first).await;
    app.callback(&callback).await.unwrap();
    let found = follow_order::await_order(&app.backend, awaited).await.unwrap().unwrap();
    assert_eq!(found.next, format!("https://coinwire.test/sale/{first}"));
    let again = place_order::order(&app.backend, form.clone()).await.unwrap();
    assert_eq!((again.token, sales(&app).await), (first.clone(), 1));
    // Once it is served, the form buys another.
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let more = place_order::order(&app.backend, form).await.unwrap();
    assert_eq!((app.state(&first).await, app.state(&more.token).await), ("credited", "awaiting_payment"));
}

#[tokio::test]
async fn a_payment_that_arrives_while_the_provider_is_asked_keeps_the_first() {
    let (app, _) = app_with_kiosk().await;
    let first = app.order().await;
    app.bank.fault(Call::Query, [Fault::Held]);
    let meanwhile = async {
        app.bank.holds().await;
        let callback = app.pay(&first).await;
        app.callback(&callback).await.unwrap();
        // The answer is of before, and the order can no longer be closed.
        app.bank.fault(Call::Close, [Fault::LostCall]);
        app.bank.release();
    };
    let (kept, ()) = tokio::join!(order_by(&app, KIOSK, Some(&first)), meanwhile);
    assert_eq!((kept.token, sales(&app).await), (first.clone(), 1));
    assert_eq!(app.state(&first).await, "paid");
}

#[tokio::test]
async fn where_the_first_cannot_be_closed_for_sure_it_is_polled_on_and_its_money_goes_back() {
    let (app, account) = app_with_kiosk().await;
    for fault in [Fault::LostCall, Fault::Refused] {
        let first = app.order().await;
        app.bank.fault(Call::Close, [fault]);
        let second = order_by(&app, KIOSK, Some(&first)).await.token;
        assert_eq!((app.state(&first).await, app.state(&second).await), ("expired", "awaiting_payment"));
        // Both are paid, and of the first no callback comes.
        app.pay(&first).await;
        pay_at_kiosk(&app, &account, &second).await;
        let credit = app.shop.module.credit(&app);
        app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
        app.pass_ms(20_000).await;
        // The module is only asked whether it gave the first: the payer has another by now.
        for asked in app.shop.module.credits(&app) {
            app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
        }
        app.pass_ms(60_000).await;
        assert_eq!((app.state(&first).await, app.state(&second).await), ("refunded", "credited"), "{fault:?}");
        app.assert_books().await;
    }
}
