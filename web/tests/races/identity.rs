//! A payer within the provider's app: who pays is asked once, whatever the browser does, and the page calls the app.

use crate::support::{
    Provider, TestApp,
    phone::{Page, Phone},
    provider::{Standing, alipay_certificate_account, once},
    with_each_provider,
};
use sandbox::Fault;
use serde_json::Value;
use std::time::Duration;
use url::Url;

with_each_provider!(
    the_oauth_redirect_twice_and_back_exchanges_once_and_pays,
    a_code_that_was_used_leads_back_to_the_page_and_not_in_circles,
    an_exchange_that_is_not_answered_leads_back_to_the_page_and_the_next_visit_pays,
    a_page_that_is_looked_at_again_hands_over_the_same_order,
);

mod alipay_alone {
    use super::*;

    const ALIPAY: Provider = Provider::Alipay;

    #[tokio::test]
    async fn a_trade_whose_number_is_lost_ends_unpaid_and_the_next_one_is_paid_in_the_app() {
        let app = TestApp::start().await;
        app.make_ready().await;
        let phone = Phone::new(ALIPAY.app_agent());
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        app.sandbox().faults().set_answer_hold(Duration::from_millis(10));
        once(app.sandbox(), Fault::CreateTimeout);
        assert_eq!(phone.press(&page, None).await.status, 502);
        let lost = app.newest().await;
        assert_eq!(app.standing(ALIPAY, &lost).await, Standing::NotPaid, "there is a trade, whose number nobody has");
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        let sale = ordered(&phone, &page).await;
        let parameters = invocation(&phone, &sale).await;
        let paid = pay_in_app(ALIPAY, &app, &phone, &parameters).await;
        assert!(says_paid(ALIPAY, &paid), "{}", paid.text);
        is_credited(&app).await;
        app.pass_ms(420_000, 10_000).await;
        assert_eq!(app.state_and_reason(&lost).await, ("expired", "not_paid"));
        assert_eq!(app.standing(ALIPAY, &lost).await, Standing::Closed);
        app.assert_books().await;
    }

    #[tokio::test]
    async fn a_payer_who_is_told_by_an_open_id_pays_in_certificate_mode() {
        let app = TestApp::start().await;
        app.make_ready().await;
        let files = app.sandbox().enter_alipay_certificate_mode().unwrap();
        app.enter(ALIPAY, &alipay_certificate_account(app.sandbox(), &files, &[&files.alipay_cert_pem])).await;
        app.sandbox().tell_alipay_open_ids(true);
        let phone = Phone::new(ALIPAY.app_agent());
        // A code that was used is refused by the gateway itself, which signs that by its certificate.
        once(app.sandbox(), Fault::OauthCodeUsed);
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        assert!(page.status == 200 && page.has("[role=alert]"), "{}", page.text);
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        let sale = ordered(&phone, &page).await;
        let parameters = invocation(&phone, &sale).await;
        once(app.sandbox(), Fault::BridgeSaysUnknown);
        let said = pay_in_app(ALIPAY, &app, &phone, &parameters).await;
        assert!(said.text.contains(r#""resultCode":"6004""#), "{}", said.text);
        is_credited(&app).await;
    }
}

fn machine_page(app: &TestApp) -> Url {
    Url::parse(&format!("{}/s/{}", app.url, app.shop.code)).unwrap()
}

/// Presses the button of a price; the sale's page.
async fn ordered(phone: &Phone, page: &Page) -> Url {
    let answer = phone.press(page, None).await;
    answer.location.unwrap_or_else(|| panic!("no sale: {} {}", answer.status, answer.text))
}

/// What the sale's page hands to the app.
async fn invocation(phone: &Phone, sale: &Url) -> Value {
    let page = phone.open(sale).await;
    let call = page.attribute("button[data-invoke]", "data-invoke").expect("a button calls the app");
    serde_json::from_str::<Value>(&call).unwrap()["parameters"].clone()
}

/// The payer pays in the app; what it answers.
async fn pay_in_app(provider: Provider, app: &TestApp, phone: &Phone, parameters: &Value) -> Page {
    let address = format!("{}{}?decision=approve", app.sandbox().public_url(), provider.bridge());
    phone.post_json(&Url::parse(&address).unwrap(), parameters.to_string()).await
}

/// Whether the app says that it was paid.
fn says_paid(provider: Provider, said: &Page) -> bool {
    said.text.contains(match provider {
        Provider::Wechat => "get_brand_wcpay_request:ok",
        Provider::Alipay => r#""resultCode":"9000""#,
    })
}

/// The payment that was just made is told, and credited.
async fn is_credited(app: &TestApp) {
    let token = app.newest().await;
    app.until_state(&token, "paid").await;
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

async fn the_oauth_redirect_twice_and_back_exchanges_once_and_pays(provider: Provider) {
    let app = TestApp::start().await;
    app.make_ready().await;
    let phone = Phone::new(provider.app_agent());
    let met = phone.follow(&machine_page(&app)).await;
    let page = &met[0];
    assert!(page.status == 200 && page.has("form[method=post]"), "{}", page.text);
    assert!(!page.address.as_str().contains("code="), "a clean address: {}", page.address);
    assert_eq!(provider.exchanges(app.sandbox()), 1);
    // The redirect comes twice; then the user goes back to where the code is in the address.
    let back = met.iter().find(|page| page.address.path() == "/identity").expect("the browser came back");
    for _ in 0..2 {
        let again = phone.follow(&back.address).await;
        assert!(again[0].status == 200 && again[0].has("form[method=post]"), "{}", again[0].text);
        assert!(!again[0].has("[role=alert]"), "who pays stays known: {}", again[0].text);
    }
    assert_eq!(provider.exchanges(app.sandbox()), 1, "a code is exchanged once");
    assert_eq!(phone.follow(&machine_page(&app)).await[0].status, 200);
    assert_eq!(provider.exchanges(app.sandbox()), 1, "a cookie remembers who pays");

    let sale = ordered(&phone, page).await;
    let parameters = invocation(&phone, &sale).await;
    let paid = pay_in_app(provider, &app, &phone, &parameters).await;
    assert!(says_paid(provider, &paid), "{}", paid.text);
    is_credited(&app).await;
}

async fn a_code_that_was_used_leads_back_to_the_page_and_not_in_circles(provider: Provider) {
    let app = TestApp::start().await;
    app.make_ready().await;
    let phone = Phone::new(provider.app_agent());
    once(app.sandbox(), Fault::OauthCodeUsed);
    let page = phone.follow(&machine_page(&app)).await.remove(0);
    assert!(page.status == 200 && page.has("[role=alert]"), "{}", page.text);
    assert_eq!(provider.exchanges(app.sandbox()), 1);
    // The next visit asks anew.
    let page = phone.follow(&machine_page(&app)).await.remove(0);
    assert!(page.status == 200 && !page.has("[role=alert]"), "{}", page.text);
    assert_eq!(provider.exchanges(app.sandbox()), 2);
}

async fn an_exchange_that_is_not_answered_leads_back_to_the_page_and_the_next_visit_pays(provider: Provider) {
    let app = TestApp::start().await;
    app.make_ready().await;
    let phone = Phone::new(provider.app_agent());
    app.sandbox().faults().set_answer_hold(Duration::from_millis(10));
    for fault in [Fault::OauthTimeout, Fault::OauthBusy] {
        once(app.sandbox(), fault);
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        assert!(page.status == 200 && page.has("[role=alert]"), "{fault:?}: {}", page.text);
    }
    let page = phone.follow(&machine_page(&app)).await.remove(0);
    assert!(page.status == 200 && !page.has("[role=alert]"), "{}", page.text);
    let sale = ordered(&phone, &page).await;
    let parameters = invocation(&phone, &sale).await;
    let paid = pay_in_app(provider, &app, &phone, &parameters).await;
    assert!(says_paid(provider, &paid), "{}", paid.text);
    is_credited(&app).await;
}

async fn a_page_that_is_looked_at_again_hands_over_the_same_order(provider: Provider) {
    let app = TestApp::start().await;
    app.make_ready().await;
    let phone = Phone::new(provider.app_agent());
    let page = phone.follow(&machine_page(&app)).await.remove(0);
    let sale = ordered(&phone, &page).await;
    let first = invocation(&phone, &sale).await;
    app.skip_ms(240_000).await;
    let second = invocation(&phone, &sale).await;
    match provider {
        Provider::Wechat => {
            assert_eq!(first["package"], second["package"], "one order");
            let signed = |call: &Value| (call["timeStamp"].clone(), call["paySign"].clone());
            assert_ne!(signed(&first), signed(&second), "handed over anew");
        }
        // It carries no signature that grows old.
        Provider::Alipay => assert_eq!(first, second, "one trade"),
    }
    // The app says that the payer cancelled, and the money moved.
    once(app.sandbox(), Fault::BridgeSaysCancel);
    let paid = pay_in_app(provider, &app, &phone, &second).await;
    assert!(paid.status == 200 && !says_paid(provider, &paid), "{}", paid.text);
    let again = pay_in_app(provider, &app, &phone, &first).await;
    assert!(!says_paid(provider, &again), "an order is paid once: {}", again.text);
    is_credited(&app).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 0);
}
