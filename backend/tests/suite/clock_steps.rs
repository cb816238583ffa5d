//! The clock is set forward and back: nothing waits for as long as the step, nothing is lost, nothing is given twice.

use crate::support::{Call, Fault, TestApp, app::PRICE_PULSES, done, failed};
use backend::{access::sign_in, jobs};
use protocol::messages::Reason;

const HOUR_MS: i64 = 3_600_000;
/// Steps back while the server was down.
const BACK_MS: [i64; 3] = [-60_000, -8 * HOUR_MS, -30 * 24 * HOUR_MS];

#[tokio::test]
async fn a_credit_under_way_is_sent_at_once_after_a_restart_with_the_clock_set_back() {
    for back_ms in BACK_MS {
        let mut app = TestApp::start().await;
        let token = app.paid_sale().await;
        let first = app.shop.module.credit(&app);
        app.clock.advance(back_ms);
        app.restart().await;
        app.pass_ms(200).await;
        let again = app.shop.module.credit(&app);
        assert_eq!((again.id, again.sequence), (first.id, first.sequence), "it is the same credit");
        let now_ms = u64::try_from(app.now_ms()).unwrap();
        assert!((now_ms - 1_000..=now_ms).contains(&again.issued_ms), "issued anew: {}", again.issued_ms);
        assert_eq!(again.expires_ms - again.issued_ms, 20_000);
        app.deliver(&app.shop.module.ack(&app, &again, done(PRICE_PULSES))).await;
        assert_eq!(app.state(&token).await, "credited");
        app.pass_ms(60_000).await;
        app.assert_books().await;
    }
}

#[tokio::test]
async fn a_silent_module_costs_no_more_time_after_the_clock_was_set_back() {
    for back_ms in BACK_MS {
        let mut app = TestApp::start().await;
        let token = app.paid_sale().await;
        app.clock.advance(back_ms);
        app.restart().await;
        app.pass_ms(31_000).await;
        assert_eq!(app.state(&token).await, "refunded");
        app.assert_books().await;
    }
}

#[tokio::test]
async fn an_unpaid_order_is_asked_about_at_once_and_closed_in_its_time() {
    for back_ms in BACK_MS {
        let mut app = TestApp::start().await;
        let token = app.order().await;
        app.clock.advance(back_ms);
        app.restart().await;
        app.pass_ms(200).await;
        assert!(back_ms > -120_000 || app.bank.called(Call::Query).len() == 1);
        app.pass_ms(8 * 60_000).await;
        assert_eq!(app.state(&token).await, "expired");
    }
}

#[tokio::test]
async fn a_payment_nobody_told_of_is_found_after_the_clock_was_set_back() {
    for back_ms in BACK_MS {
        let mut app = TestApp::start().await;
        let token = app.order().await;
        let paid_at_ms = app.now_ms();
        app.bank.pay(&app.number(&token).await, paid_at_ms);
        app.clock.advance(back_ms);
        app.restart().await;
        app.pass_ms(64_000).await;
        assert_eq!(app.bank.called(Call::Query).len(), 1);
        assert!(["paid", "refunded"].contains(&app.state(&token).await), "{}", app.state(&token).await);
    }
}

#[tokio::test]
async fn a_refund_is_tried_again_at_once_after_the_clock_was_set_back() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.bank.fault(Call::Refund, [Fault::Busy; 6]);
    app.pass_ms(40_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.clock.advance(-8 * HOUR_MS);
    app.restart().await;
    jobs::run_due(&app.backend).await.unwrap();
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;
}

/// The provider goes by its own clock: an order says to it when it ends by the wall clock.
#[tokio::test]
async fn a_wall_clock_that_is_off_makes_no_payment_late() {
    for off_ms in [-HOUR_MS, HOUR_MS] {
        let app = TestApp::start().await;
        let provider_now_ms = app.now_ms();
        app.clock.step_wall(off_ms);
        let token = app.order().await;
        let asked = app.bank.trade(&app.number(&token).await).request;
        assert_eq!(asked.expires_at_ms, provider_now_ms + off_ms + 5 * 60_000);
        let what = app.bank.pay(&app.number(&token).await, provider_now_ms);
        app.callback(&app.notice(&app.number(&token).await, what)).await.unwrap();
        assert_eq!(app.state(&token).await, "paid", "off by {off_ms}");
    }
}

#[tokio::test]
async fn what_is_due_goes_by_the_time_of_the_process_not_by_the_wall_clock() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.clock.step_wall(-24 * HOUR_MS);
    app.pass_ms(1_000).await;
    assert_eq!(app.shop.module.credit(&app).id, credit.id, "sent again after a second");
    app.clock.step_wall(3 * 24 * HOUR_MS);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    let row = app.row(&token).await;
    assert_eq!(row.finished_ms, Some(app.now_ms() + 2 * 24 * HOUR_MS), "people read the wall clock's time");
}

#[tokio::test]
async fn a_session_stored_by_a_clock_that_was_years_ahead_is_over() {
    let app = TestApp::start().await;
    sign_in::save_session(&app.backend, "good", "{}", app.now_ms() + 12 * HOUR_MS).await.unwrap();
    sign_in::save_session(&app.backend, "ahead", "{}", app.now_ms() + 365 * 24 * HOUR_MS).await.unwrap();
    assert!(sign_in::load_session(&app.backend, "good").await.unwrap().is_some());
    assert!(sign_in::load_session(&app.backend, "ahead").await.unwrap().is_none());
    assert!(!sign_in::touch_session(&app.backend, "ahead", app.now_ms() + HOUR_MS).await.unwrap());
}
