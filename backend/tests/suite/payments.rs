//! Attempts: what is found out by asking, what is closed, what comes too late or twice.

use crate::support::{
    Call, Fault, TestApp, What,
    app::{PRICE_MINOR, PRICE_PULSES},
    done, paid, stage,
};
use backend::{
    Error,
    ids::SaleToken,
    payments::provider::{ProviderError, TradeState},
};
use protocol::messages::Stage;
use sea_orm::ConnectionTrait;

/// An order whose creation at the provider met a fault: gives the sale's token.
async fn order_meeting(app: &TestApp, fault: Fault) -> (SaleToken, ProviderError) {
    app.bank.fault(Call::Create, [fault]);
    let Err(Error::Provider(error)) = app.try_order().await else { panic!("the provider's trouble is told") };
    (app.only_token().await, error)
}

#[tokio::test]
async fn a_lost_callback_is_made_up_by_asking() {
    let app = TestApp::start().await;
    let token = app.order().await;
    app.pay(&token).await;
    app.pass_ms(3_200).await;
    assert_eq!(app.state(&token).await, "paid");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    // The callback turns up after all.
    let number = app.number(&token).await;
    let what = What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    app.callback(&app.notice(&number, what)).await.unwrap();
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_paid_by_asking() {
    let app = TestApp::start().await;
    let (token, error) = order_meeting(&app, Fault::LostAnswer).await;
    assert!(matches!(error, ProviderError::Unknown(_)));
    assert_eq!(app.state(&token).await, "created");
    app.pay(&token).await;
    app.pass_ms(3_200).await;
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn an_order_that_never_arrived_ends_unpaid() {
    let app = TestApp::start().await;
    let (token, _) = order_meeting(&app, Fault::LostCall).await;
    app.pass_ms(5 * 60_000).await;
    assert_eq!(app.state(&token).await, "created", "it may still be on its way");
    assert!(app.bank.called(Call::Close).is_empty());
    app.pass_ms(2 * 60_000).await;
    assert_eq!(app.state(&token).await, "expired");
    let asked = app.bank.called(Call::Query).len();
    app.pass_ms(10 * 60_000).await;
    assert_eq!(app.bank.called(Call::Query).len(), asked, "nobody asks about what is over");
    app.assert_books().await;
}

#[tokio::test]
async fn a_refused_order_is_over_at_once() {
    let app = TestApp::start().await;
    let (token, error) = order_meeting(&app, Fault::Refused).await;
    assert!(error.to_string().contains("not like this"));
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("expired", "order_refused"));
    app.pass_ms(10_000).await;
    assert!(app.bank.called(Call::Query).is_empty());
}

#[tokio::test]
async fn what_nobody_pays_is_closed_at_the_provider() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.pass_ms(5 * 60_000 + 29_000).await;
    assert_eq!(app.state(&token).await, "awaiting_payment");
    assert!(app.bank.called(Call::Close).is_empty());
    app.pass_ms(62_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("expired", "not_paid"));
    assert_eq!(app.bank.trade(&number).state, TradeState::Closed);
    // First every few seconds, then less and less: bounded, over five and a half minutes.
    assert!((10..30).contains(&app.bank.called(Call::Query).len()), "{}", app.bank.called(Call::Query).len());
}

#[tokio::test]
async fn is_asked_about_sooner_while_somebody_looks() {
    let app = TestApp::start().await;
    let token = app.order().await;
    app.pass_ms(4 * 60_000).await;
    let asked = app.bank.called(Call::Query).len();
    for _ in 0..4 {
        backend::flows::show_sale::sale(&app.backend, &token).await.unwrap();
        app.pass_ms(2_600).await;
    }
    assert_eq!(app.bank.called(Call::Query).len(), asked + 4);
}

#[tokio::test]
async fn money_that_comes_after_the_end_goes_back() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.pass_ms(7 * 60_000).await;
    assert_eq!(app.state(&token).await, "expired");
    // The provider took it all the same.
    app.bank.move_trade(&number, TradeState::NotPaid);
    app.callback(&app.pay(&token).await).await.unwrap();
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("paid", "late"));
    let asked = app.shop.module.credit(&app);
    assert!(asked.expires_ms < u64::try_from(app.now_ms()).unwrap(), "nobody waits for this credit: it is a question");
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "late"));
    let refunds = app.bank.refunds();
    assert_eq!((refunds.len(), refunds[0].request.refund_minor), (1, PRICE_MINOR));
    app.assert_books().await;
}

#[tokio::test]
async fn money_that_is_learned_of_too_late_goes_back() {
    let app = TestApp::start().await;
    let token = app.order().await;
    app.pay(&token).await;
    app.bank.fault(Call::Query, [Fault::Busy; 11]);
    // Nobody could tell for over two minutes: the consumer has gone.
    app.pass_ms(200_000).await;
    assert_eq!(app.state(&token).await, "paid");
    // Its module, which is asked whether it gave it, says nothing.
    app.pass_ms(40_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "late"));
    app.assert_books().await;
}

#[tokio::test]
async fn what_is_paid_between_asking_and_closing_is_credited() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.pass_ms(5 * 60_000 + 29_000).await;
    app.bank.fault(Call::Query, [Fault::Held]);
    let pay = async {
        // The provider looked, and its answer is on its way.
        app.bank.holds().await;
        app.bank.pay(&number, app.now_ms());
        app.bank.release();
    };
    tokio::join!(app.pass_ms(62_000), pay);
    assert_eq!(app.bank.called(Call::Close).len(), 1, "closing told that it was too late");
    app.pass_ms(20_400).await;
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn a_second_attempt_that_is_paid_too_goes_back_and_the_sale_goes_its_way() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let first = app.number(&token).await;
    // No page makes a second attempt yet; the store and the deciders know of them.
    let columns =
        "sale_id, account_id, state, amount_minor, currency, payer_ip, handoff, created_ms, expires_ms, polls";
    let copy = format!(
        "INSERT INTO payment_attempts ({columns}, out_trade_no) SELECT {columns}, 'SSECOND' FROM payment_attempts"
    );
    app.db.read().execute_unprepared(&copy).await.unwrap();

    let paid = |number: &str| What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    app.bank.copy_trade(&first, "SSECOND");
    app.bank.pay(&first, app.now_ms());
    app.bank.pay("SSECOND", app.now_ms());
    app.callback(&app.notice(&first, paid(&first))).await.unwrap();
    app.callback(&app.notice("SSECOND", paid("SSECOND"))).await.unwrap();
    app.callback(&app.notice("SSECOND", paid("SSECOND"))).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Received))).await;
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");

    assert_eq!(app.books().await["provider_clearing"], 2 * i128::from(PRICE_MINOR));
    app.pass_ms(400).await;
    let refunds = app.bank.refunds();
    assert_eq!((refunds.len(), refunds[0].request.numbers.trade.out_trade_no.as_str()), (1, "SSECOND"));
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.refunded), ("credited", None), "its own money stays");
    app.assert_books().await;
}

#[tokio::test]
async fn refunded_at_the_provider_before_we_knew_is_put_before_a_person_until_the_statement_tells() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.events();
    app.bank.pay(&number, app.now_ms());
    app.bank.refund_outside(&number, "C1", PRICE_MINOR, app.now_ms());
    app.pass_ms(10_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("review", "refunded_elsewhere"));
    assert_eq!(app.books().await["provider_clearing"], i128::from(PRICE_MINOR), "it was paid");
    let alarms = app.alarms();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains(&token.0));
    assert!(app.shop.module.credits(&app).is_empty());
    app.next_statement().await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), paid(&row.view.refunded_elsewhere).as_deref()), ("refunded", Some("5.00")));
    assert!(app.bank.called(Call::Refund).is_empty());
    app.assert_books().await;
}
