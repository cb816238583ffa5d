//! Scan, order, pay, watch.

use crate::support::{Credit, Site, system};
use backend::{ids::SaleToken, jobs, sales::views};

#[tokio::test]
async fn a_ready_machine_shows_its_prices() {
    let site = Site::open().await;
    let browser = site.browser();
    let page = browser.get(&format!("/s/{}", site.shop.code)).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.all("h1"), ["Carousel"]);
    assert_eq!(page.all(".price-amount"), ["¥1.00", "¥2.50"]);
    assert_eq!(page.attributes("form", "action"), vec![format!("/s/{}/order", site.shop.code); 2]);
    assert!(!browser.has_cookies(), "a consumer needs none");
    // The whole page: itself and what it names, in at most three requests and 30 KiB.
    let mut bytes = page.text.len();
    let mut requests = 1;
    for path in page.attributes("link[rel=stylesheet]", "href").into_iter().chain(page.attributes("script[src]", "src"))
    {
        let asset = browser.get(&path).await;
        assert_eq!(asset.status, 200);
        assert!(asset.header("cache-control").contains("immutable"));
        bytes += asset.text.len();
        requests += 1;
    }
    assert!(requests <= 3 && bytes <= 30 * 1024, "{requests} requests, {bytes} bytes");
}

#[tokio::test]
async fn a_machine_that_cannot_credit_takes_no_order() {
    let site = Site::open_with_short_waits().await;
    let browser = site.browser();
    let path = format!("/s/{}", site.shop.code);
    let ready = browser.get(&path).await;
    site.field.disconnect(&site.shop.module).await;
    let page = browser.get(&path).await;
    assert_eq!(page.all("[role=status]"), ["Offline"]);
    assert!(!page.has("form"), "no pay button");
    assert_eq!(page.attributes("a.button", "href"), std::slice::from_ref(&path));
    // A page opened before it went offline.
    let answer = browser.submit(&ready, 0).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.all("[role=status]"), ["Offline"]);
    assert_eq!(site.field.order_count(), 0);
    assert!(
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().is_empty()
    );
    // Switching language leads back to the page, not to the form's address.
    assert_eq!(answer.attributes("a.switch", "href"), [format!("{path}?lang=zh")]);
}

#[tokio::test]
async fn a_module_that_does_not_answer_is_not_ready() {
    let site = Site::open_with_short_waits().await;
    site.field.silence_module(&site.shop.module);
    let page = site.browser().get(&format!("/s/{}", site.shop.code)).await;
    assert_eq!(page.all("[role=status]"), ["Not answering"]);
}

#[tokio::test]
async fn unknown_codes_and_tokens_are_told_in_words() {
    let site = Site::open().await;
    let mut browser = site.browser();
    for (path, heading) in [
        ("/s/NOPE", "We do not know this machine"),
        ("/sale/NOPE", "We do not know this sale"),
        ("/sale/NOPE/events", "We do not know this sale"),
        ("/nowhere", "There is nothing here"),
    ] {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.all("h1")), (404, vec![heading.to_owned()]), "{path}");
        assert_eq!(page.all("code").last().unwrap(), page.header("x-request-id"), "{path}");
    }
    let long = browser.get(&format!("/s/{}", "A".repeat(2000))).await;
    assert_eq!(long.status, 404);
    browser.language = "zh-CN,zh;q=0.9".into();
    assert_eq!(browser.get("/s/NOPE").await.all("h1"), ["没有找到这台设备"]);
}

#[tokio::test]
async fn an_order_leads_to_the_provider_and_twice_is_once() {
    let site = Site::open().await;
    let browser = site.browser();
    let page = browser.get(&format!("/s/{}", site.shop.code)).await;
    let first = browser.submit(&page, 1).await;
    assert_eq!(first.status, 303);
    assert!(first.location().starts_with("https://bank.example/pay/"), "{}", first.location());
    assert_eq!(site.field.last_order().amount.amount_minor, 250);
    let again = browser.submit(&page, 1).await;
    assert_eq!((again.status, again.location()), (303, first.location()));
    assert_eq!(
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().len(),
        1
    );
    // The policy lets the form's answer lead there.
    assert!(page.header("content-security-policy").contains("form-action 'self' https: http:"));
}

#[tokio::test]
async fn a_changed_price_is_shown_and_not_charged() {
    let site = Site::open().await;
    let browser = site.browser();
    let page = browser.get(&format!("/s/{}", site.shop.code)).await;
    let (action, mut fields) = crate::support::Browser::form(&page, 0);
    for (name, value) in &mut fields {
        if name == "amount_minor" {
            *value = "1".into();
        }
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = browser.post_plain(&action, &[], &fields).await;
    assert_eq!(answer.status, 409);
    assert!(answer.all("[role=alert]")[0].contains("price has changed"));
    assert_eq!(answer.all(".price-amount"), ["¥1.00", "¥2.50"]);
    assert_eq!(site.field.order_count(), 0);
    // The page that answers can be used to order.
    assert_eq!(browser.submit(&answer, 0).await.status, 303);
}

#[tokio::test]
async fn forms_that_make_no_sense_are_refused() {
    let site = Site::open().await;
    let browser = site.browser();
    let path = format!("/s/{}/order", site.shop.code);
    let page = browser.get(&format!("/s/{}", site.shop.code)).await;
    for fields in [
        vec![],
        vec![("price_id", "x"), ("amount_minor", "100"), ("form_key", "0123456789ABCDEF")],
        vec![("price_id", "1"), ("amount_minor", "99999999999999999999"), ("form_key", "0123456789ABCDEF")],
        vec![("price_id", "1"), ("amount_minor", "100"), ("form_key", "short")],
    ] {
        let answer = browser.post(&path, &page, &fields).await;
        assert!(matches!(answer.status, 400 | 409 | 422), "{fields:?}: {}", answer.status);
        assert_eq!(answer.all("h1").len(), 1);
    }
    let unknown = browser.post(
        "/s/NOPE/order",
        &page,
        &[("price_id", "1"), ("amount_minor", "1"), ("form_key", "0123456789ABCDEF")],
    );
    assert_eq!(unknown.await.status, 404);
    assert_eq!(site.field.order_count(), 0);
}

#[tokio::test]
async fn a_provider_that_does_not_play_along_costs_nothing() {
    let site = Site::open().await;
    site.field.take_provider_down();
    let browser = site.browser();
    let page = browser.get(&format!("/s/{}", site.shop.code)).await;
    let answer = browser.submit(&page, 0).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.all("h1"), ["No money was taken"]);
    assert_eq!(answer.attributes("a.button", "href")[0], format!("/s/{}", site.shop.code));
}

#[tokio::test]
async fn the_sale_page_follows_the_sale_to_its_end() {
    let site = Site::open().await;
    let token = site.order().await;
    let browser = site.browser();
    let path = format!("/sale/{token}");
    let page = browser.get(&path).await;
    assert_eq!(page.all("h1"), ["Waiting for your payment"]);
    assert!(page.attributes("a.button", "href")[0].starts_with("https://bank.example/pay/"));
    assert!(page.text.contains("<noscript><meta http-equiv=\"refresh\""));
    let events = page.attributes("[data-events]", "data-events")[0].clone();
    let mut live = browser.stream(&events).await;
    live.until("data-state=\"awaiting_payment\"").await;
    assert_eq!(site.pay().await.status, 204);
    live.until("data-state=\"credited\"").await;
    live.until("event: end").await;
    live.until_end().await;
    let done = browser.get(&path).await;
    assert_eq!(done.all("h1"), ["All done – enjoy!"]);
    assert!(done.has(".receipt") && !done.has("[data-events]") && !done.text.contains("http-equiv=\"refresh\""));
    assert_eq!(done.all(".receipt code"), [token]);
}

#[tokio::test]
async fn a_credit_that_fails_is_refunded_and_the_page_says_so() {
    let site = Site::open().await;
    site.field.credits(Credit::Fail);
    let token = site.order().await;
    let browser = site.browser();
    let mut live = browser.stream(&format!("/sale/{token}/events")).await;
    assert_eq!(site.pay().await.status, 204);
    live.until("data-state=\"refund_pending\"").await;
    while backend::flows::show_sale::sale(&site.backend, &SaleToken(token.clone())).await.unwrap().state.as_str()
        != "refunded"
    {
        jobs::run_due(&site.backend).await.unwrap();
        tokio::task::yield_now().await;
    }
    live.until("data-state=\"refunded\"").await;
    live.until_end().await;
    let page = browser.get(&format!("/sale/{token}")).await;
    assert_eq!(page.all("h1"), ["Refunded"]);
    assert!(page.text.contains("The machine reported that it could not give the whole credit."));
}
