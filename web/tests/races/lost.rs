//! Callbacks that are lost: the provider is asked, however slowly it answers, and in the end its bill tells.

use crate::support::{
    PRICE_MINOR, Provider, TestApp, failed,
    provider::{always, once},
    stage, with_each_provider,
};
use protocol::messages::{Reason, Stage};
use sandbox::Fault;
use std::time::Duration;

with_each_provider!(
    a_lost_callback_is_made_up_by_asking,
    a_payment_that_is_learned_of_too_late_goes_back,
    a_provider_that_does_not_answer_is_asked_less_and_less,
    answers_that_come_slowly_are_waited_for,
);

async fn a_lost_callback_is_made_up_by_asking(provider: Provider) {
    let app = TestApp::start().await;
    always(app.sandbox(), Fault::DropCallback);
    let token = app.order(provider).await;
    app.pay(provider, &token).await;
    app.skip_ms(3_200).await;
    assert_eq!(app.state(&token).await, "paid");
    app.give_credit().await;
    // The callback turns up after all.
    app.sandbox().faults().clear_all();
    let number = app.number(&token).await;
    provider.tell_again(app.sandbox(), &number);
    app.until("it is told", async || provider.told(app.sandbox(), &number) > 0).await;
    app.until("it is kept", async || app.inbox().await.contains_key("nothing_new")).await;
    assert_eq!(app.state(&token).await, "credited");
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

async fn a_payment_that_is_learned_of_too_late_goes_back(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    for fault in [Fault::DropCallback, Fault::FrequencyLimited] {
        always(app.sandbox(), fault);
    }
    app.pay(provider, &token).await;
    // Nobody could tell for over two minutes: the consumer has gone.
    app.pass_ms(200_000, 5_000).await;
    assert_eq!(app.state(&token).await, "awaiting_payment");
    app.sandbox().faults().clear(Fault::FrequencyLimited);
    app.pass_until_state(&token, "paid").await;
    assert_eq!(app.state_and_reason(&token).await, ("paid", "late"));
    let asked = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &app.number(&token).await), PRICE_MINOR);
    app.assert_books().await;
}

async fn a_provider_that_does_not_answer_is_asked_less_and_less(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    for fault in [Fault::DropCallback, Fault::FrequencyLimited] {
        always(app.sandbox(), fault);
    }
    app.pass_ms(10 * 60_000, 2_000).await;
    let in_ten_minutes = provider.questions(app.sandbox());
    app.pass_ms(10 * 60_000, 20_000).await;
    let later = provider.questions(app.sandbox()) - in_ten_minutes;
    assert!((5..=10).contains(&later), "once a minute at most: {later}");
    assert!((10..40).contains(&in_ten_minutes), "{in_ten_minutes}");
    assert_eq!(app.state(&token).await, "awaiting_payment", "never closed on an error");
    app.sandbox().faults().clear_all();
    app.pass_ms(120_000, 20_000).await;
    assert_eq!(app.state(&token).await, "expired");
}

async fn answers_that_come_slowly_are_waited_for(provider: Provider) {
    let app = TestApp::start().await;
    app.sandbox().faults().set_max_delay(Duration::from_millis(300));
    always(app.sandbox(), Fault::SlowAnswer);
    always(app.sandbox(), Fault::DropCallback);
    let token = app.order(provider).await;
    app.pay(provider, &token).await;
    app.pass_until_state(&token, "paid").await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(provider.refund_calls(app.sandbox()), 1, "a slow refund is not asked for twice");
    app.assert_books().await;
}

mod wechat_alone {
    use super::*;

    #[tokio::test]
    async fn a_payment_of_a_closed_order_that_nobody_tells_of_is_in_the_bill() {
        let app = TestApp::start().await;
        let token = app.order(Provider::Wechat).await;
        app.skip_ms(5 * 60_000 + 31_000).await;
        assert_eq!(app.state(&token).await, "expired", "nobody asks about it any more");
        always(app.sandbox(), Fault::DropCallback);
        once(app.sandbox(), Fault::PaidAfterClose);
        app.pay(Provider::Wechat, &token).await;
        app.skip_hours_until(async || app.state(&token).await != "expired").await;
        // Its module, which is asked whether it gave the credit, says nothing.
        app.pass_until_state(&token, "refunded").await;
        assert_eq!(app.state_and_reason(&token).await, ("refunded", "late"));
        assert_eq!(Provider::Wechat.returned_fen(app.sandbox(), &app.number(&token).await), PRICE_MINOR);
        app.assert_books().await;
    }
}
