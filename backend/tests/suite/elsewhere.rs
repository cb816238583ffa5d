//! Refunds that somebody makes at the provider, past us: booked, told, and never given a second time.

use crate::support::{
    Call, Fault, Options, Standing, TestApp, What,
    actors::system,
    app::{PRICE_MINOR, PRICE_PULSES, callback_to},
    done, failed, paid, stage,
};
use backend::{ids::SaleToken, payments::provider::RefundState, sales::takings};
use protocol::messages::{Reason, Stage};

/// A sale that is paid, its refund pending: its module failed. Nothing is submitted yet.
async fn failed_sale(app: &TestApp) -> SaleToken {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, failed(0, Reason::Fault))).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    token
}

async fn credited_sale(app: &TestApp) -> SaleToken {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    token
}

/// Somebody gives back a part of a sale, and the provider tells.
async fn refund(app: &TestApp, token: &SaleToken, number: &str, amount_minor: i64) {
    let trade = app.number(token).await;
    let what = app.bank.refund_outside(&trade, number, amount_minor, app.now_ms());
    app.callback(&app.notice(number, what)).await.unwrap();
}

async fn elsewhere(app: &TestApp, token: &SaleToken) -> (&'static str, Option<String>) {
    let view = app.row(token).await.view;
    (view.state.as_str(), paid(&view.refunded_elsewhere))
}

#[tokio::test]
async fn of_a_credited_sale_are_booked_and_shown_and_it_stays_credited() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    refund(&app, &token, "C1", 200).await;
    assert_eq!(elsewhere(&app, &token).await, ("credited", Some("2.00".into())));
    app.assert_books().await;
    let takings = takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!((takings.mobile.decimal().as_str(), takings.refunded.decimal().as_str()), ("3.00", "2.00"));
    // Told again, and under another event's number: once.
    let trade = app.number(&token).await;
    let again = What::Outside { trade, amount_minor: 200, state: Standing::Done };
    app.callback(&app.notice("C1", again)).await.unwrap();
    // A second one, of the rest.
    refund(&app, &token, "C2", 300).await;
    let row = app.row(&token).await.view;
    assert_eq!(
        (row.state.as_str(), paid(&row.refunded_elsewhere).as_deref(), paid(&row.refunded)),
        ("credited", Some("5.00"), None)
    );
    assert!(!row.served_and_refunded, "the operator wanted it so");
    assert_eq!(app.books().await["operator_payable"], 0);
    app.assert_books().await;
    assert!(app.bank.called(Call::Refund).is_empty());
}

/// A provider that tells of each refund what went back of the payment in all: late, twice, and in another order.
#[tokio::test]
async fn that_are_told_by_their_sum_are_booked_as_what_the_provider_says_of_each() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = &app.number(&token).await;
    app.bank.refund_outside(trade, "C1", 100, app.now_ms());
    let told = async |number, sum_minor, booked: &str| {
        let what = What::ReturnedInAll { trade: trade.clone(), amount_minor: sum_minor };
        app.callback(&app.notice(number, what)).await.unwrap();
        // The provider is asked how much this one was.
        app.pass_ms(1_000).await;
        assert_eq!(elsewhere(&app, &token).await, ("credited", Some(booked.into())), "{number}");
        app.books().await;
    };
    app.bank.refund_outside(trade, "C2", 100, app.now_ms());
    told("C2", 200, "1.00").await;
    app.bank.refund_outside(trade, "C3", 300, app.now_ms());
    told("C3", 500, "4.00").await;
    // Told again, and told late.
    told("C2", 500, "4.00").await;
    told("C1", 100, "5.00").await;
    assert_eq!(app.books().await["operator_payable"], 0);
    app.assert_books().await;
}

/// The provider does not answer just then, so that a guess stands for a while: never more is booked than went back.
#[tokio::test]
async fn that_are_told_by_their_sum_in_another_order_are_never_booked_beyond_it() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = &app.number(&token).await;
    for (number, amount_minor) in [("C1", 50), ("C2", 200), ("C3", 250)] {
        app.bank.refund_outside(trade, number, amount_minor, app.now_ms());
    }
    app.bank.fault(Call::QueryRefund, [Fault::Busy; 3]);
    for (number, sum_minor) in [("C3", 500), ("C2", 250), ("C1", 50)] {
        let what = What::ReturnedInAll { trade: trade.clone(), amount_minor: sum_minor };
        app.callback(&app.notice(number, what)).await.unwrap();
        assert_eq!(elsewhere(&app, &token).await, ("credited", Some("5.00".into())), "{number}");
    }
    assert_eq!(app.books().await["operator_payable"], 0);
    app.pass_ms(60_000).await;
    app.assert_books().await;
    assert_eq!(app.alarms(), [""; 0], "a guess that was wrong is nothing for a person");
}

/// Ours may have reached the provider, so that the sum is taken to have it in; it had not.
#[tokio::test]
async fn that_are_of_more_than_was_guessed_end_ours_and_with_it_the_sale() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    let trade = &app.number(&token).await;
    app.bank.fault(Call::Refund, [Fault::LostCall]);
    app.pass_ms(300).await;
    app.bank.refund_outside(trade, "C1", PRICE_MINOR, app.now_ms());
    let what = What::ReturnedInAll { trade: trade.clone(), amount_minor: PRICE_MINOR };
    app.callback(&app.notice("C1", what)).await.unwrap();
    assert_eq!(app.state(&token).await, "refund_pending");
    app.pass_ms(5_000).await;
    assert_eq!(elsewhere(&app, &token).await, ("refunded", Some("5.00".into())));
    app.assert_books().await;
}

/// A guess was counted in what was lost by a sale that was served and refunded: it is corrected there too.
#[tokio::test]
async fn that_are_of_less_than_was_guessed_are_less_of_a_loss() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let trade = &app.number(&token).await;
    let credit = app.shop.module.credit(&app);
    // Of the first nobody tells.
    app.bank.refund_outside(trade, "C1", 100, app.now_ms());
    app.bank.refund_outside(trade, "C2", 150, app.now_ms());
    app.bank.fault(Call::QueryRefund, [Fault::Busy; 7]);
    let what = What::ReturnedInAll { trade: trade.clone(), amount_minor: 250 };
    app.callback(&app.notice("C2", what)).await.unwrap();
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    app.pass_ms(200_000).await;
    let went_back_minor = 150 + app.bank.refunds()[0].request.refund_minor;
    assert_eq!(app.books().await["loss"], i128::from(went_back_minor));
}

#[tokio::test]
async fn ours_keeps_its_amount_if_a_sum_is_told_with_its_number() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let trade = app.number(&token).await;
    let in_all = |amount_minor| What::ReturnedInAll { trade: trade.clone(), amount_minor };
    app.bank.refund_outside(&trade, "C1", 200, app.now_ms());
    app.callback(&app.notice("C1", in_all(200))).await.unwrap();
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.pass_ms(1_000).await;
    let ours = app.bank.refunds()[0].request.clone();
    assert_eq!(ours.refund_minor, 300);
    app.callback(&app.notice(&ours.numbers.out_refund_no, in_all(PRICE_MINOR))).await.unwrap();
    let row = app.row(&token).await.view;
    assert_eq!((paid(&row.refunded), paid(&row.refunded_elsewhere)), (Some("3.00".into()), Some("2.00".into())));
    app.assert_books().await;
}

#[tokio::test]
async fn while_the_credit_is_on_its_way_do_not_stop_it() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    refund(&app, &token, "C1", PRICE_MINOR).await;
    assert_eq!(app.state(&token).await, "paid");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(elsewhere(&app, &token).await, ("credited", Some("5.00".into())));
    app.assert_books().await;
}

#[tokio::test]
async fn of_a_sale_whose_credit_then_fails_leave_only_the_rest_to_be_refunded() {
    for (returned_minor, ours_minor) in [(200, Some(300)), (PRICE_MINOR, None)] {
        let app = TestApp::start().await;
        let token = app.paid_sale().await;
        refund(&app, &token, "C1", returned_minor).await;
        let credit = app.shop.module.credit(&app);
        app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
        app.pass_ms(1_000).await;
        assert_eq!(app.state(&token).await, "refunded");
        let ours = app.bank.refunds().first().map(|refund| refund.request.refund_minor);
        assert_eq!(ours, ours_minor);
        app.assert_books().await;
    }
}

#[tokio::test]
async fn reduce_or_cancel_ours_that_is_not_yet_submitted() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    refund(&app, &token, "C1", 200).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.pass_ms(1_000).await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded).as_deref()), ("refunded", Some("3.00")));
    assert_eq!(paid(&row.refunded_elsewhere).as_deref(), Some("2.00"));
    assert_eq!(app.bank.refunds()[0].request.refund_minor, 300);
    app.assert_books().await;

    let token = failed_sale(&app).await;
    refund(&app, &token, "C2", PRICE_MINOR).await;
    let row = app.row(&token).await.view;
    assert_eq!(
        (row.state.as_str(), paid(&row.refunded), paid(&row.refunded_elsewhere).as_deref()),
        ("refunded", None, Some("5.00"))
    );
    app.pass_ms(60_000).await;
    assert_eq!(app.bank.called(Call::Refund).len(), 1, "of the first sale");
    app.assert_books().await;
}

#[tokio::test]
async fn count_towards_the_remainder_that_is_owed() {
    let app = TestApp::start_with(Options { refund_remainder: true, ..Options::default() }).await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    refund(&app, &token, "C1", 200).await;
    app.deliver(&app.shop.module.ack(&app, &credit, failed(2, Reason::PowerLost))).await;
    app.pass_ms(1_000).await;
    // 3 of 5 pulses were not given: 3.00 are owed, 2.00 are back.
    assert_eq!(app.bank.refunds()[0].request.refund_minor, 100);
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.books().await["operator_payable"], -200);
    app.assert_books().await;
}

#[tokio::test]
async fn that_make_the_provider_refuse_ours_end_it_once_they_are_known() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    let trade = app.number(&token).await;
    // Nobody tells of it, and the provider refuses ours: there is less left than we ask for.
    let what = app.bank.refund_outside(&trade, "C1", 200, app.now_ms());
    app.pass_ms(10_000).await;
    assert_eq!((app.state(&token).await, app.bank.refunds().len()), ("refund_pending", 0));
    app.callback(&app.notice("C1", what)).await.unwrap();
    app.pass_ms(1_000).await;
    let numbers = app.bank.called(Call::Refund);
    assert_ne!(numbers.first(), numbers.last(), "another amount is another refund");
    assert_eq!(app.bank.refunds()[0].request.refund_minor, 300);
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;
}

#[tokio::test]
async fn settle_a_payment_of_a_wrong_amount_when_it_is_back_whole() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    let what = What::Paid { txn: "T1".into(), amount_minor: 700, paid_at_ms: app.now_ms(), attach: String::new() };
    app.callback(&app.notice(&number, what)).await.unwrap();
    assert_eq!(app.state(&token).await, "review");
    for (refund, amount_minor, state) in [("C1", 300, "review"), ("C2", 400, "refunded")] {
        let what = What::Outside { trade: number.clone(), amount_minor, state: Standing::Done };
        app.callback(&app.notice(refund, what)).await.unwrap();
        assert_eq!(app.state(&token).await, state);
    }
    let books = app.books().await;
    assert_eq!((books["suspense"], books["provider_clearing"], books["refund_clearing"]), (0, 0, 0));
    assert!(!books.contains_key("operator_payable"), "it never was the operator's: {books:?}");
}

#[tokio::test]
async fn told_before_the_payment_are_booked_with_it_and_buy_no_credit() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    let paid = app.bank.pay(&number, app.now_ms());
    app.events();
    refund(&app, &token, "C1", 200).await;
    assert_eq!(elsewhere(&app, &token).await, ("paid", Some("2.00".into())));
    assert_eq!(app.alarms().len(), 1);
    // The payment is told after all.
    app.callback(&app.notice(&number, paid)).await.unwrap();
    // The module is asked, and cannot give it any more.
    let asked = app.shop.module.credits(&app).remove(0);
    assert!(asked.expires_ms < u64::try_from(app.now_ms()).unwrap());
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.refunds()[0].request.refund_minor, 300, "what is left goes back too: nobody was served");
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn under_way_are_asked_about_until_they_are_through() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    let trade = app.number(&token).await;
    let what = app.bank.begin_outside(&trade, "C1", PRICE_MINOR, app.now_ms());
    app.callback(&app.notice("C1", what)).await.unwrap();
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.bank.move_outside("C1", RefundState::Done);
    app.pass_ms(10_000).await;
    assert_eq!(elsewhere(&app, &token).await, ("refunded", Some("5.00".into())));
    assert!(app.bank.called(Call::Refund).is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn that_come_to_nothing_are_taken_out_of_the_books_and_put_before_a_person() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    let trade = app.number(&token).await;
    let what = app.bank.begin_outside(&trade, "C1", PRICE_MINOR, app.now_ms());
    app.callback(&app.notice("C1", what)).await.unwrap();
    app.events();
    app.bank.move_outside("C1", RefundState::Closed);
    app.pass_ms(10_000).await;
    assert_eq!(elsewhere(&app, &token).await, ("review", None));
    assert!(!app.alarms().is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn of_a_payment_that_nobody_knows_are_kept_as_orphans() {
    let app = TestApp::start().await;
    app.events();
    let what = What::Outside { trade: "SNOBODYKNOWS".into(), amount_minor: 100, state: Standing::Done };
    app.callback(&app.notice("C1", what)).await.unwrap();
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'orphan'").await, 1);
    assert_eq!(app.alarms().len(), 1);
    assert!(app.books().await.is_empty());
}

#[tokio::test]
async fn of_one_operator_do_not_touch_another() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let token = credited_sale(&app).await;
    let what = What::Outside { trade: app.number(&token).await, amount_minor: 200, state: Standing::Done };
    let notice = app.bank.notice(&other.account.merchant, "C1", what);
    callback_to(&app.backend, &other.account_token, &notice.signed(&other.account.key)).await.unwrap();
    assert_eq!(elsewhere(&app, &token).await, ("credited", None));
}

#[tokio::test]
async fn one_of_ours_that_failed_after_it_was_done_is_reversed_and_put_before_a_person() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let number = app.bank.called(Call::Refund)[0].clone();
    app.events();
    app.bank.move_refund(&number, RefundState::Abnormal);
    app.callback(&app.notice(&number, What::RefundAbnormal)).await.unwrap();
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "review");
    assert!(app.alarms().iter().any(|alarm| alarm.contains(&number)));
    let books = app.books().await;
    assert_eq!((books["provider_clearing"], books["refund_clearing"]), (500, -500));
    // The person acted.
    app.bank.move_refund(&number, RefundState::Done);
    app.callback(&app.notice(&number, What::RefundDone)).await.unwrap();
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;
}

#[tokio::test]
async fn of_a_second_payment_end_its_refund_and_leave_the_sale_alone() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let first = app.number(&token).await;
    app.bank.copy_trade(&first, "SSECOND");
    let sql = "INSERT INTO payment_attempts (sale_id, account_id, out_trade_no, state, amount_minor, currency, \
               created_ms, expires_ms, polls) SELECT sale_id, account_id, 'SSECOND', 'pending', amount_minor, \
               currency, created_ms, expires_ms, polls FROM payment_attempts";
    sea_orm::ConnectionTrait::execute_unprepared(app.db.read(), sql).await.unwrap();
    app.bank.move_trade("SSECOND", backend::payments::provider::TradeState::NotPaid);
    app.bank.fault(Call::Refund, [Fault::Busy]);
    let paid = app.bank.pay("SSECOND", app.now_ms());
    app.callback(&app.notice("SSECOND", paid)).await.unwrap();
    let what = app.bank.refund_outside("SSECOND", "C1", PRICE_MINOR, app.now_ms());
    app.callback(&app.notice("C1", what)).await.unwrap();
    app.pass_ms(10_000).await;
    assert_eq!(app.state(&token).await, "credited");
    assert!(app.bank.refunds().is_empty());
    app.assert_books().await;
}
