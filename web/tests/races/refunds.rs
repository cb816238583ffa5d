//! Refunds: answers that are lost, numbers that are closed, and money that comes back after it had gone through.

use crate::{
    doubtful::settle,
    support::{
        PRICE_MINOR, Provider, TestApp, failed,
        provider::{always, once},
        with_each_provider,
    },
};
use backend::{ids::SaleToken, jobs, sales::Settlement};
use protocol::messages::Reason;
use sandbox::{Fault, FaultFrequency, RefundStatus};
use std::time::Duration;

with_each_provider!(
    a_refund_whose_answer_is_lost_is_asked_about_and_not_repeated,
    a_refund_that_never_arrived_is_repeated_under_the_same_number,
    an_empty_merchant_account_alarms_and_is_tried_on,
    a_refund_with_a_forged_answer_is_asked_about,
);

/// A sale that is paid and to be refunded: its module failed. Nothing is submitted yet.
async fn failed_sale(app: &TestApp, provider: Provider) -> SaleToken {
    let token = app.paid_sale(provider).await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(app, &credit, failed(0, Reason::Fault))).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    token
}

/// The money went back, once.
async fn assert_back(app: &TestApp, provider: Provider, token: &SaleToken) {
    app.pass_until_state(token, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &app.number(token).await), PRICE_MINOR);
    app.assert_books().await;
}

async fn a_refund_whose_answer_is_lost_is_asked_about_and_not_repeated(provider: Provider) {
    let app = TestApp::start().await;
    let token = failed_sale(&app, provider).await;
    app.sandbox().faults().set_answer_hold(Duration::from_millis(20));
    once(app.sandbox(), Fault::RefundTimeout);
    // Nor is it told.
    always(app.sandbox(), Fault::DropCallback);
    jobs::run_due(&app.backend).await.unwrap();
    assert_eq!(app.state(&token).await, "refund_pending");
    assert_back(&app, provider, &token).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
    assert!(provider.refund_questions(app.sandbox()) >= 1);
}

async fn a_refund_that_never_arrived_is_repeated_under_the_same_number(provider: Provider) {
    let app = TestApp::start().await;
    let token = failed_sale(&app, provider).await;
    once(app.sandbox(), Fault::SystemError);
    jobs::run_due(&app.backend).await.unwrap();
    assert_eq!((provider.refund_calls(app.sandbox()), provider.refund_questions(app.sandbox())), (1, 0));
    app.skip_ms(1_000).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 2);
    assert!(provider.refund_questions(app.sandbox()) >= 1, "it is asked about before it is repeated");
    assert_back(&app, provider, &token).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 2);
}

async fn an_empty_merchant_account_alarms_and_is_tried_on(provider: Provider) {
    let app = TestApp::start().await;
    let token = failed_sale(&app, provider).await;
    app.alarms();
    app.sandbox().faults().set(Fault::NotEnough, FaultFrequency::Times(3));
    app.pass_ms(3_000, 1_000).await;
    let alarms = app.until_alarm("too empty for a refund").await;
    assert!(alarms.iter().all(|alarm| alarm.contains("too empty for a refund")), "{alarms:?}");
    assert_back(&app, provider, &token).await;
}

async fn a_refund_with_a_forged_answer_is_asked_about(provider: Provider) {
    let app = TestApp::start().await;
    let token = failed_sale(&app, provider).await;
    always(app.sandbox(), Fault::DropCallback);
    once(app.sandbox(), Fault::ForgedAnswer);
    jobs::run_due(&app.backend).await.unwrap();
    assert_eq!(app.state(&token).await, "refund_pending", "an answer that proves nothing is not believed");
    assert_back(&app, provider, &token).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
}

mod wechat_alone {
    use super::*;

    fn count(app: &TestApp, status: RefundStatus) -> usize {
        app.sandbox().refunds().iter().filter(|refund| refund.status == status).count()
    }

    #[tokio::test]
    async fn a_refund_that_is_closed_is_tried_under_a_new_number() {
        let app = TestApp::start().await;
        let token = failed_sale(&app, Provider::Wechat).await;
        once(app.sandbox(), Fault::RefundClosed);
        assert_back(&app, Provider::Wechat, &token).await;
        assert_eq!((count(&app, RefundStatus::Closed), count(&app, RefundStatus::Success)), (1, 1));
    }

    #[tokio::test]
    async fn a_refund_that_is_closed_again_and_again_is_put_before_a_person() {
        let app = TestApp::start().await;
        let token = failed_sale(&app, Provider::Wechat).await;
        app.alarms();
        always(app.sandbox(), Fault::RefundClosed);
        for _ in 0..40 {
            app.skip_ms(600_000).await;
        }
        assert_eq!(app.state(&token).await, "review");
        let numbers = count(&app, RefundStatus::Closed);
        assert!((2..=5).contains(&numbers), "a few numbers are tried: {numbers}");
        app.until_alarm("stuck").await;
        assert_eq!(app.books().await["refund_clearing"], -i128::from(PRICE_MINOR), "still owed to the payer");
        // The person saw to it, and has it tried again.
        app.sandbox().faults().clear_all();
        settle(&app, &token, Settlement::Refund).await;
        assert_back(&app, Provider::Wechat, &token).await;
        assert_eq!(count(&app, RefundStatus::Success), 1);
    }

    #[tokio::test]
    async fn a_refund_that_is_stuck_is_put_before_a_person_who_ends_it_at_the_provider() {
        let app = TestApp::start().await;
        let token = failed_sale(&app, Provider::Wechat).await;
        app.alarms();
        once(app.sandbox(), Fault::RefundAbnormal);
        app.pass_until_state(&token, "review").await;
        app.until_alarm("stuck").await;
        assert_eq!(Provider::Wechat.refund_calls(app.sandbox()), 1);
        let number = app.sandbox().refunds()[0].out_refund_no.clone();
        assert!(app.sandbox().settle_refund(&number));
        app.until_state(&token, "refunded").await;
        app.assert_books().await;
    }

    #[tokio::test]
    async fn a_refund_that_fails_after_it_was_done_is_reversed_and_put_before_a_person() {
        let app = TestApp::start().await;
        let token = failed_sale(&app, Provider::Wechat).await;
        app.pass_until_state(&token, "refunded").await;
        app.alarms();
        let number = app.sandbox().refunds()[0].out_refund_no.clone();
        assert!(app.sandbox().bounce_refund(&number));
        app.until("it is told and asked about", async || {
            app.skip_ms(100).await;
            app.state(&token).await == "review"
        })
        .await;
        app.until_alarm("failed later").await;
        let books = app.books().await;
        let price_minor = i128::from(PRICE_MINOR);
        assert_eq!((books["provider_clearing"], books["refund_clearing"]), (price_minor, -price_minor));
        // The person acted at the provider.
        assert!(app.sandbox().settle_refund(&number));
        app.until_state(&token, "refunded").await;
        assert_eq!(Provider::Wechat.refund_calls(app.sandbox()), 1);
        app.assert_books().await;
    }
}
