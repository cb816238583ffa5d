//! Orders whose creation does not go as it should, and what a payer is handed over to.

use crate::support::{
    Provider, TestApp,
    phone::Phone,
    provider::{Standing, once},
    store, with_each_provider,
};
use backend::{
    Error,
    clock::SystemRandom,
    ids::SaleToken,
    payments::{
        Providers, RealProviders,
        method::Handoff,
        provider::{PaymentRequest, ProviderError},
    },
};
use sandbox::Fault;
use std::{sync::Arc, time::Duration};
use url::Url;

with_each_provider!(
    an_order_whose_answer_is_lost_is_asked_about_by_its_number_and_ends_unpaid,
    the_stored_request_again_gives_a_fresh_code_for_the_same_order,
    the_address_that_was_handed_over_can_be_opened_again,
);

/// An order that the provider made, and whose answer is lost. Gives the sale's token.
async fn unanswered_order(app: &TestApp, provider: Provider) -> SaleToken {
    app.sandbox().faults().set_answer_hold(Duration::from_millis(20));
    once(app.sandbox(), Fault::CreateTimeout);
    let Err(Error::Provider(ProviderError::Unknown(_))) = app.try_order(provider.by_code()).await else {
        panic!("the provider's silence is told")
    };
    app.newest().await
}

async fn an_order_whose_answer_is_lost_is_asked_about_by_its_number_and_ends_unpaid(provider: Provider) {
    let app = TestApp::start().await;
    let token = unanswered_order(&app, provider).await;
    assert_eq!(app.state_and_reason(&token).await, ("created", "provider_silent"));
    let number = app.number(&token).await;
    app.pass_ms(300_000, 10_000).await;
    assert_eq!(app.state(&token).await, "created", "until its end it can be paid");
    app.pass_ms(120_000, 10_000).await;
    assert_eq!(app.state_and_reason(&token).await, ("expired", "not_paid"));
    assert_eq!(provider.orders(app.sandbox()), 1, "nothing is ordered twice");
    assert!(provider.questions(app.sandbox()) > 5);
    let asked = app.sandbox().calls();
    assert!(asked.iter().filter(|call| !call.contains("native")).all(|call| call.contains(&number)), "{asked:?}");
    provider.pay(app.sandbox(), &number).unwrap_err();
    app.assert_books().await;
}

async fn the_stored_request_again_gives_a_fresh_code_for_the_same_order(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    let number = app.number(&token).await;
    let Some(Handoff::Code { text: first }) = app.row(&token).await.view.handoff else { panic!("a code is shown") };
    // What was stored is what is sent, to the letter.
    let sql = format!("SELECT request FROM payment_attempts WHERE out_trade_no = '{number}'");
    let stored: String = store::rows(app.db.read(), &sql).await[0].try_get_by_index(0).unwrap();
    let request: PaymentRequest = serde_json::from_str(&stored).unwrap();
    let providers = RealProviders::new(app.clock.clone(), Arc::new(SystemRandom)).unwrap();
    let opened = providers.open(provider.word(), &provider.account(app.sandbox())).unwrap();
    let Handoff::Code { text: second } = opened.create(&request).await.unwrap().handoff else { panic!("a code") };
    assert_ne!(first, second);
    let phone = Phone::new("test");
    let scan = match provider {
        Provider::Wechat => "native/scan",
        Provider::Alipay => "alipay/scan",
    };
    let scan = format!("{}/{scan}", app.sandbox().base_url());
    for code in [first, second] {
        let page = phone.open(&Url::parse_with_params(&scan, [("code", code)]).unwrap()).await;
        assert!(page.status == 200 && page.text.contains(&number), "{}", page.text);
        if app.state(&token).await == "awaiting_payment" {
            phone.press(&page, Some(("decision", "decline"))).await;
        }
    }
    app.pay(provider, &token).await;
    app.until_state(&token, "paid").await;
    app.give_credit().await;
    app.assert_books().await;
}

async fn the_address_that_was_handed_over_can_be_opened_again(provider: Provider) {
    let app = TestApp::start().await;
    let checkout = app.try_order(provider.by_page()).await.unwrap();
    let (token, address) = (checkout.token, Url::parse(&checkout.next).unwrap());
    let number = app.number(&token).await;
    let phone = Phone::new("test");
    // The payer looks, goes back, and comes again shortly before the end.
    assert_eq!(phone.open(&address).await.status, 200);
    app.skip_ms(280_000).await;
    assert_eq!(app.state(&token).await, "awaiting_payment");
    let page = phone.open(&address).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let paid = phone.press(&page, Some(("decision", "approve"))).await;
    let back = paid.location.expect("the browser comes back");
    assert!(back.as_str().starts_with(&format!("{}/sale/{token}", app.url)), "{back}");
    app.until_state(&token, "paid").await;
    app.give_credit().await;
    assert_eq!(app.standing(provider, &token).await, Standing::Paid);
    assert_eq!(phone.open(&back).await.status, 200);
    assert!(!phone.open(&address).await.has("button.yes"), "it is paid: {number}");
    app.assert_books().await;
}

mod wechat_alone {
    use super::*;

    #[tokio::test]
    async fn a_callback_before_the_create_answer_is_not_undone_by_it() {
        let app = TestApp::start().await;
        once(app.sandbox(), Fault::CallbackBeforeCreateResponse);
        let token = app.order(Provider::Wechat).await;
        assert_eq!(app.state(&token).await, "paid");
        app.give_credit().await;
        app.skip_ms(10_000).await;
        assert_eq!(app.state(&token).await, "credited");
        assert!(app.shop.module.credits(&app).is_empty());
        app.assert_books().await;
    }

    #[tokio::test]
    async fn a_callback_before_the_create_answer_that_is_lost_credits() {
        let app = TestApp::start().await;
        once(app.sandbox(), Fault::CallbackBeforeCreateResponse);
        let token = unanswered_order(&app, Provider::Wechat).await;
        assert_eq!(app.state(&token).await, "paid");
        app.give_credit().await;
        assert_eq!(app.state(&token).await, "credited");
        app.assert_books().await;
    }
}

mod alipay_alone {
    use super::*;

    #[tokio::test]
    async fn a_trade_that_is_not_there_before_the_scan_can_be_paid_until_the_end() {
        let app = TestApp::start().await;
        let token = app.order(Provider::Alipay).await;
        app.pass_ms(290_000, 10_000).await;
        assert_eq!(app.standing(Provider::Alipay, &token).await, Standing::NotThere);
        assert!(Provider::Alipay.questions(app.sandbox()) > 5, "it said each time that there is none");
        assert_eq!(app.state(&token).await, "awaiting_payment");
        app.pay(Provider::Alipay, &token).await;
        app.until_state(&token, "paid").await;
        app.give_credit().await;
        assert_eq!(app.state(&token).await, "credited");
        app.assert_books().await;
    }

    #[tokio::test]
    async fn a_trade_that_is_not_there_is_over_only_past_its_end() {
        let app = TestApp::start().await;
        let token = app.order(Provider::Alipay).await;
        app.pass_ms(320_000, 10_000).await;
        assert_eq!(app.state(&token).await, "awaiting_payment", "clocks may differ a little");
        app.pass_ms(80_000, 10_000).await;
        assert_eq!(app.state_and_reason(&token).await, ("expired", "not_paid"));
        assert_eq!(app.standing(Provider::Alipay, &token).await, Standing::NotThere);
        app.assert_books().await;
    }
}
