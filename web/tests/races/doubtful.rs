//! What is authentic and does not fit: another amount, currency, app or merchant, a number or an event that nobody knows.

use crate::support::{
    PRICE_MINOR, Provider, TestApp,
    actors::acting_for,
    provider::{always, once},
    with_each_provider,
};
use backend::{
    flows::operate::sale::{ManualActionRequest, perform_manual_action},
    ids::SaleToken,
    sales::{ManualAction, Settlement},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use sandbox::Fault;

with_each_provider!(
    another_amount_is_put_before_a_person_and_what_was_paid_goes_back,
    another_amount_that_is_only_told_is_no_credit,
    another_app_is_kept_and_acknowledged_and_the_payment_is_found_by_asking,
    another_merchant_is_kept_and_acknowledged_and_the_payment_is_found_by_asking,
    an_unknown_number_is_an_orphan_with_an_alarm,
    an_unknown_event_is_kept_acknowledged_and_counted,
    what_the_provider_did_not_sign_is_refused_and_the_real_one_credits,
);

pub async fn settle(app: &TestApp, token: &SaleToken, how: Settlement) {
    let request = ManualActionRequest {
        token: token.clone(),
        key: format!("settle {how:?}"),
        act: ManualAction::Settle(how),
        reason: "the test says so".into(),
        decided_by: None,
    };
    perform_manual_action(&app.backend, &acting_for(app.shop.operator_id), request).await.unwrap();
}

async fn another_amount_is_put_before_a_person_and_what_was_paid_goes_back(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.alarms();
    once(app.sandbox(), Fault::PaidLess);
    app.pay(provider, &token).await;
    app.until_state(&token, "review").await;
    assert_eq!(app.state_and_reason(&token).await, ("review", "wrong_amount"));
    assert_eq!(app.until_alarm("another amount").await.len(), 1);
    assert!(app.shop.module.credits(&app).is_empty());
    let books = app.books().await;
    assert_eq!(
        (books["suspense"], books["provider_clearing"]),
        (1 - i128::from(PRICE_MINOR), i128::from(PRICE_MINOR - 1))
    );
    settle(&app, &token, Settlement::Refund).await;
    app.pass_until_state(&token, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &app.number(&token).await), PRICE_MINOR - 1);
    assert_eq!(app.books().await["provider_clearing"], 0);
    assert!(app.is_at_rest().await);
}

async fn another_amount_that_is_only_told_is_no_credit(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    once(app.sandbox(), Fault::WrongAmount);
    app.pay(provider, &token).await;
    app.until_state(&token, "review").await;
    provider.tell_again(app.sandbox(), &app.number(&token).await);
    app.until("it was told again", async || provider.told(app.sandbox(), &app.number(&token).await) >= 2).await;
    app.skip_ms(60_000).await;
    assert_eq!(app.state_and_reason(&token).await, ("review", "wrong_amount"));
    assert!(app.shop.module.credits(&app).is_empty());
    app.books().await;
}

async fn another_app_is_kept_and_acknowledged_and_the_payment_is_found_by_asking(provider: Provider) {
    foreign(provider, Fault::WrongAppid).await;
}

async fn another_merchant_is_kept_and_acknowledged_and_the_payment_is_found_by_asking(provider: Provider) {
    foreign(provider, Fault::WrongMchid).await;
}

async fn foreign(provider: Provider, fault: Fault) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.alarms();
    once(app.sandbox(), fault);
    app.pay(provider, &token).await;
    until_kept(&app, "foreign").await;
    assert_eq!(app.state(&token).await, "awaiting_payment");
    assert_eq!(app.until_alarm("concerns another merchant").await.len(), 1);
    found_by_asking(&app, provider, &token).await;
}

/// The callback is kept, with that outcome, and acknowledged.
async fn until_kept(app: &TestApp, outcome: &str) {
    app.until("the callback is kept", async || app.inbox().await.contains_key(outcome)).await;
    assert_eq!(app.inbox().await, [(outcome.to_owned(), 1)].into());
    assert!(app.books().await.is_empty());
}

/// The payment is found by asking, and credited once. It is not told again, since it was acknowledged.
async fn found_by_asking(app: &TestApp, provider: Provider, token: &SaleToken) {
    let number = app.number(token).await;
    let is_accepted = async || match provider {
        Provider::Wechat => app.sandbox().order(&number).unwrap().callback_accepted,
        Provider::Alipay => app.sandbox().alipay_trade(&number).unwrap().notices_taken == 1,
    };
    app.until("the callback was acknowledged", is_accepted).await;
    app.skip_ms(3_200).await;
    assert_eq!(app.state(token).await, "paid");
    app.give_credit().await;
    assert_eq!(provider.told(app.sandbox(), &number), 1);
    app.assert_books().await;
}

async fn an_unknown_number_is_an_orphan_with_an_alarm(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.alarms();
    once(app.sandbox(), Fault::UnknownNumber);
    app.pay(provider, &token).await;
    until_kept(&app, "orphan").await;
    assert_eq!(app.until_alarm("fits no order").await.len(), 1);
    found_by_asking(&app, provider, &token).await;
}

async fn an_unknown_event_is_kept_acknowledged_and_counted(provider: Provider) {
    let recorder = PrometheusBuilder::new().build_recorder();
    // This test's thread only, which is the thread that everything of it runs on.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.alarms();
    once(app.sandbox(), Fault::UnknownEvent);
    app.pay(provider, &token).await;
    until_kept(&app, "not_understood").await;
    assert_eq!(app.until_alarm("was not understood").await.len(), 1);
    let counted = recorder.handle().render();
    assert!(counted.lines().any(|line| line == "coinwire_callbacks_not_understood_total 1"), "{counted}");
    found_by_asking(&app, provider, &token).await;
}

async fn what_the_provider_did_not_sign_is_refused_and_the_real_one_credits(provider: Provider) {
    let app = TestApp::start().await;
    for fault in [Fault::ForeignSignature, Fault::StaleTimestamp, Fault::SignatureProbe] {
        always(app.sandbox(), fault);
    }
    app.paid_sale(provider).await;
    app.give_credit().await;
    assert_eq!(app.sandbox().callbacks().decoys_accepted, 0);
    assert_eq!(app.inbox().await, [("applied".to_owned(), 1)].into());
    app.assert_books().await;
}

mod wechat_alone {
    use super::*;

    #[tokio::test]
    async fn another_currency_is_put_before_a_person() {
        let app = TestApp::start().await;
        let token = app.order(Provider::Wechat).await;
        app.alarms();
        once(app.sandbox(), Fault::WrongCurrency);
        app.pay(Provider::Wechat, &token).await;
        app.until_state(&token, "review").await;
        assert_eq!(app.state_and_reason(&token).await, ("review", "wrong_amount"));
        assert_eq!(app.until_alarm("another amount").await.len(), 1);
        assert!(app.shop.module.credits(&app).is_empty());
        let sql = "SELECT COUNT(*) FROM ledger_entries WHERE currency = 'HKD' AND account = 'suspense'";
        assert_eq!(crate::support::books::number_of(app.db.read(), sql).await, 1);
        // A person gave it back at the provider, or settled it otherwise.
        settle(&app, &token, Settlement::Keep).await;
        assert_eq!(app.state(&token).await, "settled");
        app.books().await;
    }
}
