//! Daily statements: what nobody told is found in them, once, and what fits no order is kept.

use crate::support::{
    Call, Fault, TestApp, What,
    app::{PRICE_MINOR, PRICE_PULSES},
    bank::day_of,
    done, paid, stage,
};
use backend::{
    ids::SaleToken,
    jobs,
    money::{Currency, Money},
    payments::provider::{Fact, Paid, RefundDetails, RefundState, ToldTrade, TradeState},
};
use protocol::messages::Stage;
use sea_orm::ConnectionTrait;

const HOUR_MS: i64 = 3_600_000;

async fn run_sql(app: &TestApp, sql: &str) {
    app.db.read().execute_unprepared(sql).await.unwrap();
}

async fn credited_sale(app: &TestApp) -> SaleToken {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, done(PRICE_PULSES))).await;
    token
}

/// The module is asked about a payment that became known late, and did not give the credit.
async fn say_not_given(app: &TestApp) {
    let asked = app.shop.module.credits(app).pop().unwrap();
    app.deliver(&app.shop.module.ack(app, &asked, stage(Stage::Expired))).await;
}

/// Lets the time pass in which an order can be paid.
async fn go_unpaid(app: &TestApp) {
    for _ in 0..14 {
        app.skip_ms(30_000).await;
    }
}

fn payment_of_nobody(number: &str, at_ms: i64) -> Fact {
    let amount = Money::new(PRICE_MINOR, Currency::Cny);
    let paid =
        Paid { provider_txn_id: format!("T{number}"), amount, paid_at_ms: at_ms, attach: "somebody's mark".into() };
    Fact::Payment { out_trade_no: number.into(), state: TradeState::Paid(paid) }
}

#[tokio::test]
async fn tell_of_refunds_that_were_made_at_the_provider() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    app.bank.refund_outside(&trade, "C2", 150, app.now_ms());
    app.next_statement().await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded_elsewhere).as_deref()), ("credited", Some("2.50")));
    // The statement is never brought up to date: the refunds are asked about.
    assert_eq!(app.bank.called(Call::QueryRefund), ["C1", "C2"]);
    app.assert_books().await;
    let counted = "SELECT facts * 100 + learned * 10 + orphans FROM statements WHERE learned > 0";
    assert_eq!(app.number_of(counted).await, 320);
}

#[tokio::test]
async fn tell_of_payments_that_nobody_told() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    go_unpaid(&app).await;
    assert_eq!(app.state(&token).await, "expired");
    // The provider took it all the same, and its callback is lost.
    app.bank.move_trade(&number, TradeState::NotPaid);
    app.bank.pay(&number, app.now_ms());
    app.next_statement().await;
    say_not_given(&app).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), row.reason.as_str()), ("refunded", "late"));
    app.assert_books().await;
}

#[tokio::test]
async fn tell_of_a_payment_and_its_refund_together() {
    for (returned_minor, ours) in [(PRICE_MINOR, None), (200, Some(300))] {
        let app = TestApp::start().await;
        let token = app.order().await;
        let number = app.number(&token).await;
        go_unpaid(&app).await;
        app.bank.move_trade(&number, TradeState::NotPaid);
        app.bank.pay(&number, app.now_ms());
        app.bank.refund_outside(&number, "C1", returned_minor, app.now_ms());
        app.next_statement().await;
        if ours.is_some() {
            assert_eq!(app.state(&token).await, "paid");
            say_not_given(&app).await;
        }
        app.pass_ms(1_000).await;
        assert_eq!(app.state(&token).await, "refunded");
        // Never asked for more than is left.
        let asked = app.bank.refunds().first().map(|refund| refund.request.refund_minor);
        assert_eq!((asked, app.bank.called(Call::Refund).len()), (ours, ours.into_iter().count()));
        app.assert_books().await;
    }
}

#[tokio::test]
async fn of_a_later_day_tell_of_a_refund_whose_payment_we_missed() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    go_unpaid(&app).await;
    app.bank.move_trade(&number, TradeState::NotPaid);
    app.bank.pay(&number, app.now_ms());
    // No word of the payment in the statement of its day.
    app.bank.move_trade(&number, TradeState::Closed);
    app.next_statement().await;
    assert_eq!(app.state(&token).await, "expired");
    app.bank.move_trade(&number, TradeState::NotPaid);
    app.bank.pay(&number, app.now_ms() - 48 * HOUR_MS);
    app.bank.refund_outside(&number, "C1", PRICE_MINOR, app.now_ms());
    app.next_statement().await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded_elsewhere).as_deref()), ("refunded", Some("5.00")));
    app.assert_books().await;
}

#[tokio::test]
async fn keep_what_fits_no_order_and_alarm_once() {
    let app = TestApp::start().await;
    let today = day_of(app.now_ms());
    for number in ["X1", "X2", "X3"] {
        app.bank.also_states(today, payment_of_nobody(number, app.now_ms()));
    }
    let told = RefundDetails {
        trade: ToldTrade::Ours("X1".into()),
        provider_refund_id: "B1".into(),
        amount_minor: 100,
        is_total: false,
        payment: None,
    };
    let refund = Fact::Refund { out_refund_no: "R1".into(), state: RefundState::Done, told: Some(told) };
    app.bank.also_states(today, refund);
    app.events();
    app.next_statement().await;
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'orphan'").await, 4);
    let alarms = app.alarms();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains("4 facts") && alarms[0].contains("payment X1"), "{alarms:?}");
    assert!(app.books().await.is_empty());
}

#[tokio::test]
async fn are_read_once_a_day_and_each_day() {
    let app = TestApp::start().await;
    credited_sale(&app).await;
    let first = day_of(app.now_ms());
    for _ in 0..10 * 24 {
        app.skip_ms(HOUR_MS).await;
    }
    let read: Vec<i64> = app.bank.called(Call::Statement).iter().map(|day| day.parse().unwrap()).collect();
    let days: Vec<i64> = (first..=first + 8).collect();
    assert!(days.iter().all(|day| read.contains(day)), "{read:?}");
    assert_eq!(read.iter().filter(|day| **day == first).count(), 1, "that had something to tell");
    // A day without a statement is asked for during some hours.
    assert!(read.len() < 60, "{}", read.len());
    let open = "SELECT COUNT(*) FROM statements WHERE due_ms IS NOT NULL";
    assert_eq!(app.number_of(open).await, 1);
}

#[tokio::test]
async fn that_were_missed_are_made_up_for_after_a_restart() {
    let mut app = TestApp::start().await;
    let token = credited_sale(&app).await;
    app.next_statement().await;
    let trade = app.number(&token).await;
    let reads = app.bank.called(Call::Statement).len();
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    // Away for five days.
    app.clock.advance(5 * 24 * HOUR_MS);
    app.restart().await;
    for _ in 0..8 {
        app.skip_ms(200).await;
    }
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
    assert!(app.bank.called(Call::Statement).len() >= reads + 5);
    app.assert_books().await;
}

#[tokio::test]
async fn of_days_that_a_clock_ahead_has_passed_over_are_read_once_it_is_right() {
    for ahead_ms in [8 * HOUR_MS, 30 * 24 * HOUR_MS, 400 * 24 * HOUR_MS] {
        let mut app = TestApp::start().await;
        let token = credited_sale(&app).await;
        let trade = app.number(&token).await;
        app.next_statement().await;
        app.clock.step_wall(ahead_ms);
        app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
        // By this clock there is no statement of today, nor of the days that follow.
        for _ in 0..40 {
            app.pass_ms(200).await;
        }
        app.clock.step_wall(-ahead_ms);
        app.restart().await;
        app.next_statement().await;
        let row = app.row(&token).await.view;
        assert_eq!(paid(&row.refunded_elsewhere).as_deref(), Some("1.00"), "{ahead_ms} ms ahead");
        let open = "SELECT COUNT(*) FROM statements WHERE due_ms IS NOT NULL";
        assert_eq!(app.number_of(open).await, 1);
        app.assert_books().await;
    }
}

#[tokio::test]
async fn begin_today_if_the_account_was_made_by_a_clock_that_was_ahead() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    // As if it had been made, and looked at first, with the clock ten days ahead.
    let ahead_ms = app.now_ms() + 10 * 24 * HOUR_MS;
    let day = day_of(ahead_ms);
    run_sql(&app, &format!("UPDATE merchant_accounts SET created_ms = {ahead_ms}")).await;
    run_sql(&app, &format!("UPDATE statements SET read_ms = {ahead_ms} WHERE day = 0")).await;
    run_sql(&app, &format!("UPDATE statements SET day = {day}, due_ms = 0 WHERE due_ms IS NOT NULL")).await;
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    app.next_statement().await;
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
}

#[tokio::test]
async fn of_an_account_made_in_1970_are_not_asked_for_day_by_day() {
    let app = TestApp::start().await;
    let today = day_of(app.now_ms());
    run_sql(&app, "UPDATE statements SET day = 3, due_ms = 0 WHERE due_ms IS NOT NULL").await;
    app.bank.fault(Call::Statement, [Fault::Refused; 1]);
    app.events();
    for _ in 0..100 {
        app.pass_ms(200).await;
    }
    let read: Vec<i64> = app.bank.called(Call::Statement).iter().map(|day| day.parse().unwrap()).collect();
    assert!(read.len() < 200 && read.contains(&(today - 60)), "{read:?}");
    assert_eq!(app.alarms().len(), 1);
}

#[tokio::test]
async fn that_cannot_be_had_are_asked_for_again_and_a_person_is_told_in_the_end() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    app.bank.fault(Call::Statement, [Fault::LostCall; 14]);
    app.events();
    for _ in 0..100 {
        app.skip_ms(HOUR_MS).await;
    }
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
    let alarms = app.alarms();
    assert_eq!(alarms.iter().filter(|alarm| alarm.contains("daily statement")).count(), 1, "{alarms:?}");
}

#[tokio::test]
async fn are_left_for_another_time_if_the_provider_fails_in_the_middle() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    app.bank.fault(Call::QueryRefund, [Fault::LostAnswer]);
    app.next_statement().await;
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
    assert_eq!(app.bank.called(Call::QueryRefund).len(), 2);
}

#[tokio::test]
async fn two_servers_read_one_once() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    let other = app.another(crate::support::app::SECRET_KEY);
    for _ in 0..20 {
        app.clock.advance(3 * HOUR_MS);
        let (one, two) = tokio::join!(jobs::run_due(&app.backend), jobs::run_due(&other));
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
    app.assert_books().await;
}

#[tokio::test]
async fn with_lines_that_nobody_can_read_alarm() {
    let app = TestApp::start().await;
    app.bank.states_unread(3);
    app.events();
    app.next_statement().await;
    assert!(app.alarms().iter().any(|alarm| alarm.starts_with("3 lines")));
}

#[tokio::test]
async fn what_was_told_before_is_no_news() {
    let app = TestApp::start().await;
    let token = credited_sale(&app).await;
    let trade = app.number(&token).await;
    let what = app.bank.refund_outside(&trade, "C1", 100, app.now_ms());
    app.callback(&app.notice("C1", what)).await.unwrap();
    app.next_statement().await;
    assert_eq!(paid(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("1.00"));
    assert!(app.bank.called(Call::QueryRefund).is_empty());
    assert_eq!(app.number_of("SELECT COUNT(*) FROM statements WHERE learned > 0").await, 0);
    let number = app.number(&token).await;
    let what = What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    app.callback(&app.notice(&number, what)).await.unwrap();
    app.assert_books().await;
}
