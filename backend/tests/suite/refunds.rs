//! Refunds: exactly one a cause, whatever the provider does with it, and never for what was served if that is known in time.

use crate::support::{
    Call, Fault, Options, TestApp, What,
    actors::system,
    app::{PRICE_MINOR, PRICE_PULSES},
    done, duplicate, failed, paid, stage,
};
use backend::{Rules, flows::place_order, ids::SaleToken, jobs, payments::provider::RefundState, sales::takings};
use protocol::messages::{Reason, Stage};

/// A sale that is paid and to be refunded: its module failed. Nothing is submitted yet.
async fn failed_sale(app: &TestApp) -> SaleToken {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, failed(0, Reason::Fault))).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    token
}

#[tokio::test]
async fn a_failed_credit_is_refunded_whole() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    let books = app.books().await;
    assert_eq!((books["refund_clearing"], books["operator_payable"]), (-i128::from(PRICE_MINOR), 0));
    jobs::run_due(&app.backend).await.unwrap();
    let row = app.row(&token).await;
    assert_eq!(
        (row.view.state.as_str(), row.view.reason.as_str(), row.view.at_rest),
        ("refunded", "module_failed", true)
    );
    assert_eq!(paid(&row.view.refunded).as_deref(), Some("5.00"));
    let asked = app.bank.refunds().remove(0).request;
    assert_eq!((asked.refund_minor, asked.total_minor), (PRICE_MINOR, PRICE_MINOR));
    assert_eq!(asked.numbers.trade.out_trade_no, app.number(&token).await);
    assert!(asked.reason.len() <= 80, "providers take so many bytes");
    app.assert_books().await;
    let takings = takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!(
        (takings.sales, takings.mobile.decimal().as_str(), takings.refunded.decimal().as_str()),
        (0, "0.00", "5.00")
    );
    app.skip_ms(24 * 3_600_000).await;
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
}

#[tokio::test]
async fn unanswered_or_busy_is_asked_again_under_the_same_number() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.fault(Call::Refund, [Fault::LostCall, Fault::Busy, Fault::Refused, Fault::LostAnswer]);
    app.pass_ms(20_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let numbers = app.bank.called(Call::Refund);
    // After the fifth question the answer that was lost is found.
    assert_eq!((numbers.len(), app.bank.called(Call::QueryRefund).len()), (4, 4));
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn goes_through_though_our_address_changed_in_mid_refund() {
    let mut app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.fault(Call::Refund, [Fault::LostAnswer]);
    jobs::run_due(&app.backend).await.unwrap();
    app.move_to("https://elsewhere.test").await;
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.refunds().len(), 1);
}

#[tokio::test]
async fn waits_longer_and_longer_between_tries() {
    let app = TestApp::start().await;
    failed_sale(&app).await;
    app.bank.fault(Call::Refund, [Fault::Busy; 5]);
    let (start_ms, mut tried_ms) = (app.now_ms(), vec![]);
    while app.now_ms() < start_ms + 16_000 {
        jobs::run_due(&app.backend).await.unwrap();
        while tried_ms.len() < app.bank.called(Call::Refund).len() {
            tried_ms.push(app.now_ms() - start_ms);
        }
        app.clock.advance(200);
    }
    assert_eq!(tried_ms, [0, 1_000, 3_000, 7_000, 15_000]);
}

#[tokio::test]
async fn under_way_is_asked_about_until_it_is_done() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Processing]);
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    let number = app.bank.called(Call::Refund)[0].clone();
    assert!(app.bank.called(Call::QueryRefund).iter().all(|asked| *asked == number));
    app.bank.move_refund(&number, RefundState::Done);
    app.pass_ms(10_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn is_over_when_the_provider_reports_it_and_repeats_change_nothing() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Processing]);
    jobs::run_due(&app.backend).await.unwrap();
    let number = app.bank.called(Call::Refund)[0].clone();
    app.bank.move_refund(&number, RefundState::Done);
    for _ in 0..2 {
        app.callback(&app.notice(&number, What::RefundDone)).await.unwrap();
    }
    // Out of order: an older state comes last.
    app.callback(&app.notice(&number, What::RefundClosed)).await.unwrap();
    app.callback(&app.notice(&number, What::RefundAbnormal)).await.unwrap();
    assert_eq!(app.state(&token).await, "refunded");
    app.pass_ms(60_000).await;
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn reported_before_the_answer_stands() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Processing]);
    app.bank.fault(Call::Refund, [Fault::Held]);
    let faster = async {
        app.bank.holds().await;
        let number = app.bank.called(Call::Refund)[0].clone();
        app.bank.move_refund(&number, RefundState::Done);
        app.callback(&app.notice(&number, What::RefundDone)).await.unwrap();
        app.bank.release();
    };
    let (due, ()) = tokio::join!(jobs::run_due(&app.backend), faster);
    due.unwrap();
    assert_eq!(app.state(&token).await, "refunded");
    app.pass_ms(60_000).await;
    assert!(app.bank.called(Call::QueryRefund).is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn closed_by_the_provider_is_tried_under_a_new_number() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Closed, RefundState::Done]);
    app.pass_ms(10_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let numbers = app.bank.called(Call::Refund);
    assert_eq!(numbers.len(), 2);
    assert_ne!(numbers[0], numbers[1]);
    app.assert_books().await;
}

#[tokio::test]
async fn closed_once_after_a_long_time_under_way_is_tried_with_a_new_number() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Processing, RefundState::Done]);
    for _ in 0..30 {
        app.skip_ms(600_000).await;
    }
    let number = app.bank.called(Call::Refund)[0].clone();
    assert!(app.bank.called(Call::QueryRefund).len() > 12, "it was asked about often");
    app.bank.move_refund(&number, RefundState::Closed);
    for _ in 0..3 {
        app.skip_ms(600_000).await;
    }
    assert_eq!((app.state(&token).await, app.bank.called(Call::Refund).len()), ("refunded", 2));
    app.assert_books().await;
}

#[tokio::test]
async fn an_old_answer_about_a_closed_number_does_not_move_the_new_one() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Processing, RefundState::Processing]);
    jobs::run_due(&app.backend).await.unwrap();
    let old = app.bank.called(Call::Refund)[0].clone();
    app.bank.move_refund(&old, RefundState::Closed);
    // A slow answer says `closed` of the old number. Meanwhile a callback said so too, and another server went on.
    app.bank.fault(Call::QueryRefund, [Fault::Held]);
    app.clock.advance(10_000);
    let meanwhile = async {
        app.bank.holds().await;
        app.callback(&app.notice(&old, What::RefundClosed)).await.unwrap();
        app.clock.advance(10_000);
        jobs::run_due(&app.another(crate::support::app::SECRET_KEY)).await.unwrap();
        assert_eq!(app.bank.called(Call::Refund).len(), 2);
        app.bank.release();
    };
    let (due, ()) = tokio::join!(jobs::run_due(&app.backend), meanwhile);
    due.unwrap();
    let new = app.bank.called(Call::Refund)[1].clone();
    app.bank.move_refund(&new, RefundState::Done);
    app.pass_ms(60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.called(Call::Refund).len(), 2, "no third number: that would pay twice");
    app.assert_books().await;
}

#[tokio::test]
async fn an_empty_merchant_account_alarms_the_operator_and_is_tried_on() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.events();
    app.bank.fault(Call::Refund, [Fault::Balance; 20]);
    app.pass_ms(2_000).await;
    let alarms = app.alarms();
    assert!(!alarms.is_empty() && alarms.iter().all(|alarm| alarm.contains("too empty for a refund")), "{alarms:?}");
    for _ in 0..25 {
        app.skip_ms(600_000).await;
    }
    assert_eq!(app.state(&token).await, "refunded", "however long it takes");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn refused_for_good_is_put_before_a_person_and_can_still_be_done() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.events();
    app.bank.fault(Call::Refund, [Fault::Refused; 12]);
    for _ in 0..20 {
        app.skip_ms(600_000).await;
    }
    assert_eq!(app.bank.called(Call::Refund).len(), 12);
    assert_eq!(app.state(&token).await, "review");
    assert!(app.alarms().iter().any(|alarm| alarm.contains("stuck")));
    assert_eq!(app.books().await["refund_clearing"], -i128::from(PRICE_MINOR), "still owed to the consumer");
    // A person saw to it at the provider.
    let number = app.bank.called(Call::Refund)[0].clone();
    app.callback(&app.notice(&number, What::RefundDone)).await.unwrap();
    assert_eq!(app.state(&token).await, "refunded");
}

#[tokio::test]
async fn stuck_at_the_provider_is_put_before_a_person() {
    let app = TestApp::start().await;
    let token = failed_sale(&app).await;
    app.bank.refunds_become([RefundState::Abnormal]);
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "review");
    app.pass_ms(60_000).await;
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
}

#[tokio::test]
async fn done_before_it_is_submitted_takes_it_back() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    // Somebody else's order keeps the tick busy at the provider, between giving the credit up and asking for the refund.
    app.pass_ms(27_000).await;
    app.make_ready(&app.shop).await;
    let waiting = place_order::order(&app.backend, app.form(&app.shop)).await.unwrap().token;
    app.clock.advance(4_000);
    app.bank.fault(Call::Query, [Fault::Held]);
    let meanwhile = async {
        app.bank.holds().await;
        assert_eq!(app.state(&token).await, "refund_pending");
        app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
        assert_eq!(app.state(&token).await, "credited");
        app.bank.release();
    };
    let (due, ()) = tokio::join!(jobs::run_due(&app.backend), meanwhile);
    due.unwrap();
    app.pass_ms(60_000).await;
    assert!(app.bank.called(Call::Refund).is_empty());
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str(), paid(&row.view.refunded)), ("credited", "", None));
    assert!(!row.view.served_and_refunded);
    assert_eq!(app.state(&waiting).await, "awaiting_payment");
    app.assert_books().await;
}

#[tokio::test]
async fn done_after_it_was_submitted_is_a_loss_of_the_operators() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.bank.refunds_become([RefundState::Processing]);
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.events();
    for _ in 0..3 {
        app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    }
    let row = app.row(&token).await;
    assert_eq!(
        (row.view.state.as_str(), row.view.served_and_refunded, row.view.pulses_given),
        ("refund_pending", true, 5)
    );
    assert_eq!(app.alarms().len(), 1);
    assert_eq!(app.books().await["loss"], i128::from(PRICE_MINOR));

    let number = app.bank.called(Call::Refund)[0].clone();
    app.bank.move_refund(&number, RefundState::Done);
    app.pass_ms(10_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.served_and_refunded), ("refunded", true));
    assert_eq!(app.books().await["loss"], i128::from(PRICE_MINOR));
    app.assert_books().await;
}

#[tokio::test]
async fn done_after_it_went_through_is_a_loss_once() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    // The module was out of reach for hours and says now what it did then.
    app.skip_ms(5 * 3_600_000).await;
    for _ in 0..2 {
        app.deliver(&app.shop.module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    }
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.served_and_refunded), ("refunded", true));
    let books = app.books().await;
    assert_eq!((books["loss"], books["operator_payable"]), (i128::from(PRICE_MINOR), -i128::from(PRICE_MINOR)));
    app.assert_books().await;
}

#[tokio::test]
async fn a_partly_given_credit_goes_back_whole_by_the_operators_rule() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(2, Reason::PowerLost))).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.pulses_given), ("refunded", 2));
    assert_eq!(app.bank.refunds()[0].request.refund_minor, PRICE_MINOR);
    app.assert_books().await;
}

#[tokio::test]
async fn a_partly_given_credit_leaves_the_remainder_by_the_operators_rule() {
    for word in [failed_word as fn(&mut protocol::messages::Ack), done_word] {
        let app = TestApp::start_with(Options { refund_remainder: true, ..Options::default() }).await;
        let token = app.paid_sale().await;
        let credit = app.shop.module.credit(&app);
        app.deliver(&app.shop.module.ack(&app, &credit, word)).await;
        app.pass_ms(1_000).await;
        let row = app.row(&token).await;
        assert_eq!((row.view.state.as_str(), row.view.pulses_given), ("refunded", 2));
        assert_eq!(paid(&row.view.refunded).as_deref(), Some("3.00"));
        let asked = app.bank.refunds().remove(0).request;
        assert_eq!((asked.refund_minor, asked.total_minor), (300, PRICE_MINOR));
        assert_eq!(app.books().await["operator_payable"], -200);
        app.assert_books().await;
    }
}

fn failed_word(ack: &mut protocol::messages::Ack) {
    failed(2, Reason::PowerLost)(ack);
}

/// `done` with fewer pulses than were asked for counts as failed.
fn done_word(ack: &mut protocol::messages::Ack) {
    done(2)(ack);
}

#[tokio::test]
async fn nothing_given_goes_back_whole_by_either_rule() {
    let app = TestApp::start_with(Options { refund_remainder: true, ..Options::default() }).await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Expired))).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "module_expired"));
    assert_eq!(app.bank.refunds()[0].request.refund_minor, PRICE_MINOR);
    app.assert_books().await;
}

#[tokio::test]
async fn many_are_worked_off_in_batches() {
    let rules = Rules { batch_rows: 4, ..Rules::default() };
    let app = TestApp::start_with(Options { rules, ..Options::default() }).await;
    let mut tokens = vec![];
    for _ in 0..10 {
        tokens.push(failed_sale(&app).await);
    }
    app.pass_ms(2_000).await;
    for token in &tokens {
        assert_eq!(app.state(token).await, "refunded");
    }
    assert_eq!(app.bank.refunds().len(), 10);
    app.assert_books().await;
}
