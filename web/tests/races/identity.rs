//! A payer within WeChat: who pays is asked once, whatever the browser does, and the page calls the app.

use crate::support::{
    Provider, TestApp,
    phone::{Page, Phone},
};
use sandbox::Fault;
use serde_json::Value;
use url::Url;

const IN_WECHAT: &str = "Mozilla/5.0 (iPhone) MicroMessenger/8.0.40";

mod wechat_alone {
    use super::*;

    fn machine_page(app: &TestApp) -> Url {
        Url::parse(&format!("{}/s/{}", app.url, app.shop.code)).unwrap()
    }

    /// How often a code was exchanged for a payer.
    fn exchanges(app: &TestApp) -> usize {
        app.sandbox().calls().iter().filter(|call| call.contains("/sns/oauth2/access_token")).count()
    }

    /// What the sale's page hands to the app.
    async fn invocation(phone: &Phone, sale: &Url) -> Value {
        let page = phone.open(sale).await;
        let call = page.attribute("button[data-invoke]", "data-invoke").expect("a button calls the app");
        serde_json::from_str::<Value>(&call).unwrap()["parameters"].clone()
    }

    /// The payer pays in the app; what it answers.
    async fn pay_in_app(app: &TestApp, phone: &Phone, parameters: &Value) -> Page {
        let address = Url::parse(&format!("{}/bridge/pay?decision=approve", app.sandbox().public_url())).unwrap();
        phone.post_json(&address, parameters.to_string()).await
    }

    #[tokio::test]
    async fn the_oauth_redirect_twice_and_back_exchanges_once_and_pays() {
        let app = TestApp::start().await;
        app.make_ready().await;
        let phone = Phone::new(IN_WECHAT);
        let met = phone.follow(&machine_page(&app)).await;
        let page = &met[0];
        assert!(page.status == 200 && page.has("form[method=post]"), "{}", page.text);
        assert!(!page.address.as_str().contains("code="), "a clean address: {}", page.address);
        assert_eq!(exchanges(&app), 1);
        // The redirect comes twice; then the user goes back to where the code is in the address.
        let back = met.iter().find(|page| page.address.path() == "/identity").expect("the browser came back");
        for _ in 0..2 {
            let again = phone.follow(&back.address).await;
            assert!(again[0].status == 200 && again[0].has("form[method=post]"), "{}", again[0].text);
            assert!(!again[0].has("[role=alert]"), "who pays stays known: {}", again[0].text);
        }
        assert_eq!(exchanges(&app), 1, "a code is exchanged once");
        assert_eq!(phone.follow(&machine_page(&app)).await[0].status, 200);
        assert_eq!(exchanges(&app), 1, "a cookie remembers who pays");

        let ordered = phone.press(page, None).await;
        let sale = ordered.location.expect("the sale's page");
        let parameters = invocation(&phone, &sale).await;
        let paid = pay_in_app(&app, &phone, &parameters).await;
        assert!(paid.text.contains("get_brand_wcpay_request:ok"), "{}", paid.text);
        let token = app.newest().await;
        app.until_state(&token, "paid").await;
        app.give_credit().await;
        assert_eq!(app.state(&token).await, "credited");
        app.assert_books().await;
    }

    #[tokio::test]
    async fn a_code_that_was_used_leads_back_to_the_page_and_not_in_circles() {
        let app = TestApp::start().await;
        app.make_ready().await;
        let phone = Phone::new(IN_WECHAT);
        crate::support::provider::once(app.sandbox(), Fault::OauthCodeUsed);
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        assert!(page.status == 200 && page.has("[role=alert]"), "{}", page.text);
        assert_eq!(exchanges(&app), 1);
        // The next visit asks anew.
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        assert!(page.status == 200 && !page.has("[role=alert]"), "{}", page.text);
        assert_eq!(exchanges(&app), 2);
    }

    #[tokio::test]
    async fn a_page_that_is_looked_at_again_hands_over_anew_and_the_order_is_the_same() {
        let app = TestApp::start().await;
        app.make_ready().await;
        let phone = Phone::new(IN_WECHAT);
        let page = phone.follow(&machine_page(&app)).await.remove(0);
        let sale = phone.press(&page, None).await.location.expect("the sale's page");
        let first = invocation(&phone, &sale).await;
        app.skip_ms(240_000).await;
        let second = invocation(&phone, &sale).await;
        assert_eq!(first["package"], second["package"], "one order");
        assert_ne!((&first["timeStamp"], &first["paySign"]), (&second["timeStamp"], &second["paySign"]));
        // The app says that the payer cancelled, and the money moved.
        crate::support::provider::once(app.sandbox(), Fault::BridgeSaysCancel);
        let paid = pay_in_app(&app, &phone, &second).await;
        assert!(paid.text.contains(":cancel"), "{}", paid.text);
        let again = pay_in_app(&app, &phone, &first).await;
        assert!(!again.text.contains(":ok"), "an order is paid once: {}", again.text);
        let token = app.newest().await;
        app.until_state(&token, "paid").await;
        app.give_credit().await;
        assert_eq!(app.state(&token).await, "credited");
        assert_eq!(Provider::Wechat.refund_calls(app.sandbox()), 0);
        app.assert_books().await;
    }
}
