//! Disputes: the payer's bank takes the money back. It is booked, no refund goes out on top, and a person is told.

use crate::support::{
    Call, Standing, TestApp, What,
    app::{PRICE_MINOR, PRICE_PULSES},
    done, failed,
};
use backend::ids::SaleToken;
use protocol::messages::Reason;

/// The fee of a dispute, in minor units.
const FEE_MINOR: i64 = 150;

async fn dispute(app: &TestApp, token: &SaleToken, fee_minor: i64, state: Standing) {
    let trade = app.number(token).await;
    let taken_minor = if state == Standing::Won { 0 } else { PRICE_MINOR };
    app.bank.dispute("D1", taken_minor, fee_minor);
    let what = What::Dispute { trade, amount_minor: PRICE_MINOR, fee_minor, state };
    app.callback(&app.notice("D1", what)).await.unwrap();
}

async fn credited_sale(app: &TestApp) -> SaleToken {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, done(PRICE_PULSES))).await;
    token
}

async fn shown(app: &TestApp, token: &SaleToken) -> (&'static str, String) {
    let view = app.row(token).await.view;
    (view.state.as_str(), view.dispute.as_str().to_owned())
}

#[tokio::test]
async fn that_are_lost_are_a_loss_with_a_fee() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    app.events();
    dispute(&app, &token, FEE_MINOR, Standing::Opened).await;
    assert_eq!(shown(&app, &token).await, ("credited", "opened".into()));
    assert_eq!(app.alarms().len(), 1);
    let books = app.books().await;
    assert_eq!((books["held"], books["fees"], books["provider_clearing"]), (500, 150, -150));
    app.assert_books().await;
    for _ in 0..2 {
        dispute(&app, &token, FEE_MINOR, Standing::Lost).await;
    }
    // Out of order: an older state comes last.
    dispute(&app, &token, FEE_MINOR, Standing::Opened).await;
    app.bank.dispute("D1", PRICE_MINOR, FEE_MINOR);
    assert_eq!(shown(&app, &token).await, ("credited", "lost".into()));
    assert_eq!(app.alarms().len(), 1, "a repeat alarms nobody");
    let books = app.books().await;
    assert_eq!((books["held"], books["fees"], books["loss"]), (0, 150, 500));
    app.assert_books().await;
    app.pass_ms(60_000).await;
    assert!(app.bank.called(Call::Refund).is_empty());
}

#[tokio::test]
async fn that_are_won_bring_the_money_back_and_perhaps_the_fee() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    dispute(&app, &token, FEE_MINOR, Standing::Opened).await;
    dispute(&app, &token, 0, Standing::Won).await;
    assert_eq!(shown(&app, &token).await, ("credited", "won".into()));
    let books = app.books().await;
    assert_eq!((books["held"], books["fees"], books["provider_clearing"]), (0, 0, 500));
    app.assert_books().await;
}

#[tokio::test]
async fn hold_a_refund_back_until_they_are_decided() {
    for (state, refunds) in [(Standing::Lost, 0), (Standing::Won, 1)] {
        let app = TestApp::start().await;
        let token = app.paid_sale().await;
        let credit = app.shop.module.credit(&app);
        app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
        dispute(&app, &token, 0, Standing::Opened).await;
        for _ in 0..20 {
            app.skip_ms(30_000).await;
        }
        assert!(app.bank.called(Call::Refund).is_empty(), "the payer's bank has the money");
        assert_eq!(shown(&app, &token).await, ("refund_pending", "opened".into()));
        dispute(&app, &token, 0, state).await;
        app.pass_ms(1_000).await;
        assert_eq!(app.state(&token).await, "refunded", "{state:?}");
        assert_eq!(app.bank.refunds().len(), refunds, "{state:?}");
        app.assert_books().await;
    }
}

#[tokio::test]
async fn opened_before_the_credit_failed_hold_its_refund_back_too() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    dispute(&app, &token, 0, Standing::Opened).await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.pass_ms(60_000).await;
    assert!(app.bank.called(Call::Refund).is_empty());
    // The module was late to say that it had credited: the refund is not needed.
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let state = app.state(&token).await;
    dispute(&app, &token, 0, Standing::Lost).await;
    app.pass_ms(60_000).await;
    assert!(app.bank.called(Call::Refund).is_empty(), "{state}");
    app.assert_books().await;
}

#[tokio::test]
async fn told_only_when_they_are_decided_are_booked_whole() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    dispute(&app, &token, FEE_MINOR, Standing::Lost).await;
    assert_eq!(shown(&app, &token).await, ("credited", "lost".into()));
    let books = app.books().await;
    assert_eq!((books["held"], books["fees"], books["loss"]), (0, 150, 500));
    app.assert_books().await;
}

#[tokio::test]
async fn of_a_payment_that_nobody_knows_are_kept_as_orphans() {
    let app = TestApp::start().await;
    app.events();
    let what = What::Dispute { trade: "SNOBODYKNOWS".into(), amount_minor: 100, fee_minor: 0, state: Standing::Opened };
    app.callback(&app.notice("D1", what)).await.unwrap();
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'orphan'").await, 1);
    assert_eq!(app.alarms().len(), 1);
    assert!(app.books().await.is_empty());
}
