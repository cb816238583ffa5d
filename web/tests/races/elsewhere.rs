//! Money that goes back past us, in the provider's console; and what a trade says of itself since.

use crate::support::{
    PRICE_MINOR, Provider, TestApp,
    provider::{Standing, always},
    stage, with_each_provider,
};
use backend::{ids::SaleToken, money::PaidMoney};
use protocol::messages::Stage;
use sandbox::Fault;

with_each_provider!(
    a_part_then_the_rest_of_a_credited_sale_is_booked_and_it_stays_credited,
    a_part_of_a_sale_whose_credit_fails_leaves_only_the_rest_to_us,
    the_whole_that_is_told_before_the_payment_is_booked_with_it_and_buys_no_credit,
    a_part_that_is_told_before_the_payment_buys_no_credit_and_the_rest_goes_back,
    a_trade_that_says_refunded_when_asked_was_paid_and_buys_no_credit,
    what_a_trade_says_after_our_refund_is_no_second_payment,
);

/// What went back of a sale elsewhere, as its page says it.
async fn returned(app: &TestApp, token: &SaleToken) -> Option<String> {
    let returned = app.row(token).await.view.refunded_elsewhere;
    returned.as_ref().and_then(PaidMoney::known).map(|money| money.decimal())
}

/// Waits until that much is booked as gone back elsewhere. Alipay's sums are asked about one by one.
async fn until_returned(app: &TestApp, token: &SaleToken, yuan: &str) {
    app.until("what went back is booked", async || {
        app.skip_ms(100).await;
        returned(app, token).await.as_deref() == Some(yuan)
    })
    .await;
}

async fn a_part_then_the_rest_of_a_credited_sale_is_booked_and_it_stays_credited(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.credited_sale(provider).await;
    let number = app.number(&token).await;
    provider.refund_in_console(app.sandbox(), &number, 200, true);
    until_returned(&app, &token, "2.00").await;
    provider.refund_in_console(app.sandbox(), &number, 300, true);
    until_returned(&app, &token, "5.00").await;
    let view = app.row(&token).await.view;
    assert_eq!((view.state.as_str(), view.refunded, view.served_and_refunded), ("credited", None, false));
    assert_eq!(provider.refund_calls(app.sandbox()), 0);
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

async fn a_part_of_a_sale_whose_credit_fails_leaves_only_the_rest_to_us(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.paid_sale(provider).await;
    let number = app.number(&token).await;
    provider.refund_in_console(app.sandbox(), &number, 200, true);
    until_returned(&app, &token, "2.00").await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Expired))).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &number), PRICE_MINOR);
    let view = app.row(&token).await.view;
    assert_eq!(view.refunded.as_ref().and_then(PaidMoney::known).map(|money| money.decimal()).as_deref(), Some("3.00"));
    app.assert_books().await;
}

/// An order that is paid, of which nothing is heard: a fault swallows it. Gives it, and its number.
async fn paid_and_unheard(app: &TestApp, provider: Provider, fault: Fault) -> (SaleToken, String) {
    let token = app.order(provider).await;
    let number = app.number(&token).await;
    app.alarms();
    always(app.sandbox(), fault);
    app.pay(provider, &token).await;
    (token, number)
}

async fn the_whole_that_is_told_before_the_payment_is_booked_with_it_and_buys_no_credit(provider: Provider) {
    let app = TestApp::start().await;
    let (token, number) = paid_and_unheard(&app, provider, Fault::DropPaymentCallback).await;
    provider.refund_in_console(app.sandbox(), &number, PRICE_MINOR, true);
    app.until_state(&token, "refunded").await;
    assert_eq!(returned(&app, &token).await.as_deref(), Some("5.00"));
    app.until_alarm("money went back at the provider").await;
    told_after_all(&app, provider, &token).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert!(app.shop.module.credits(&app).is_empty());
    assert_eq!(provider.refund_calls(app.sandbox()), 0);
    app.assert_books().await;
}

async fn a_part_that_is_told_before_the_payment_buys_no_credit_and_the_rest_goes_back(provider: Provider) {
    let app = TestApp::start().await;
    let (token, number) = paid_and_unheard(&app, provider, Fault::DropPaymentCallback).await;
    provider.refund_in_console(app.sandbox(), &number, 200, true);
    app.until("the refund is booked", async || returned(&app, &token).await.is_some()).await;
    app.until_alarm("money went back at the provider").await;
    told_after_all(&app, provider, &token).await;
    // The module is asked whether it gave it, and cannot give it any more.
    let asked = app.next_credit().await;
    assert!(asked.expires_ms < u64::try_from(app.now_ms()).unwrap());
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &number), PRICE_MINOR);
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

/// What was lost on its way comes now, again and again.
async fn told_after_all(app: &TestApp, provider: Provider, token: &SaleToken) {
    let number = app.number(token).await;
    app.sandbox().faults().clear_all();
    let before = provider.told(app.sandbox(), &number);
    provider.tell_again(app.sandbox(), &number);
    app.until("it is told", async || provider.told(app.sandbox(), &number) > before).await;
    app.skip_ms(1_000).await;
}

async fn a_trade_that_says_refunded_when_asked_was_paid_and_buys_no_credit(provider: Provider) {
    let app = TestApp::start().await;
    let (token, number) = paid_and_unheard(&app, provider, Fault::DropCallback).await;
    provider.refund_in_console(app.sandbox(), &number, PRICE_MINOR, true);
    assert_eq!(app.standing(provider, &token).await, Standing::Returned);
    app.skip_ms(3_200).await;
    assert_eq!(app.state_and_reason(&token).await, ("review", "refunded_elsewhere"));
    app.until_alarm("money went back at the provider").await;
    assert!(app.shop.module.credits(&app).is_empty());
    assert_eq!(app.books().await["provider_clearing"], i128::from(PRICE_MINOR), "it was paid");
    // How much went back is told by the provider after all, or by the bill.
    match provider {
        Provider::Wechat => app.next_statement().await,
        Provider::Alipay => told_after_all(&app, provider, &token).await,
    }
    app.until_state(&token, "refunded").await;
    assert_eq!(returned(&app, &token).await.as_deref(), Some("5.00"));
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

async fn what_a_trade_says_after_our_refund_is_no_second_payment(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.paid_sale(provider).await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Expired))).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(app.standing(provider, &token).await, Standing::Returned);
    told_after_all(&app, provider, &token).await;
    if provider == Provider::Wechat {
        app.next_statement().await;
    }
    assert_eq!(app.state(&token).await, "refunded");
    assert!(app.shop.module.credits(&app).is_empty());
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
    app.assert_books().await;
}

mod alipay_alone {
    use super::*;

    #[tokio::test]
    async fn trade_finished_is_no_second_payment() {
        for returned_fen in [0, 200] {
            let app = TestApp::start().await;
            let token = app.credited_sale(Provider::Alipay).await;
            let number = app.number(&token).await;
            if returned_fen > 0 {
                Provider::Alipay.refund_in_console(app.sandbox(), &number, returned_fen, true);
                until_returned(&app, &token, "2.00").await;
            }
            let before = Provider::Alipay.told(app.sandbox(), &number);
            app.sandbox().finish_alipay(&number).unwrap();
            app.until("it is told", async || Provider::Alipay.told(app.sandbox(), &number) > before).await;
            app.skip_ms(60_000).await;
            assert_eq!(app.state(&token).await, "credited");
            assert!(app.shop.module.credits(&app).is_empty());
            app.assert_books().await;
        }
    }
}

mod wechat_alone {
    use super::*;

    #[tokio::test]
    async fn a_refund_that_nobody_tells_of_is_in_the_bill() {
        let app = TestApp::start().await;
        let token = app.credited_sale(Provider::Wechat).await;
        let number = app.number(&token).await;
        Provider::Wechat.refund_in_console(app.sandbox(), &number, 200, false);
        app.next_statement().await;
        assert_eq!(returned(&app, &token).await.as_deref(), Some("2.00"));
        assert_eq!(app.state(&token).await, "credited");
        app.assert_books().await;
    }
}
