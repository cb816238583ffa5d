//! Orders that take a while, that are pressed twice, and pages that are used again.

use crate::support::{Answer, Browser, Site, system};
use backend::{
    Rules,
    flows::operate::operator::{self, OperatorChange},
    sales::views,
};

/// A site that answers orders soon, whatever they wait for. Waits themselves are longer than any machine takes.
async fn fast_answering_site() -> Site {
    let rules = Rules { order_answer_ms: 50, probe_wait_ms: 20_000, order_wait_ms: 60_000, ..Rules::default() };
    Site::open_under(rules, |_| ()).await
}

fn path_of(url: &str) -> &str {
    url.strip_prefix("http://pay.example").unwrap_or(url)
}

/// Where an answer leads by itself: by redirect, or by the page's own refresh.
fn leads_to(answer: &Answer) -> String {
    if answer.status == 303 {
        return path_of(answer.location()).to_owned();
    }
    let refresh = answer.attributes("head > meta[http-equiv=refresh]", "content");
    assert_eq!(refresh.len(), 1, "the page moves on by itself: {}", answer.text);
    refresh[0].strip_prefix("0;url=").unwrap().to_owned()
}

/// Goes on from the answer to an order until there is a sale; gives its page's path.
async fn sale_page(browser: &Browser, mut answer: Answer) -> String {
    loop {
        let next = leads_to(&answer);
        if next.starts_with("/sale/") {
            return next;
        }
        answer = browser.get(&next).await;
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_on_a_page_that_says_how_long() {
    let site = fast_answering_site().await;
    let mut browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    site.field.hold_provider(true);
    let sale = sale_page(&browser, browser.submit(&scan, 0).await).await;
    for (language, words) in [("en", "at most 60 seconds"), ("zh", "最多需要 60 秒")] {
        browser.language = language.into();
        let page = browser.get(&sale).await;
        assert!(page.text.contains(words), "{language}: {}", page.text);
        assert_eq!(leads_to(&page), format!("{sale}/pay"));
    }
    // The second press of the same form is the same sale, and does not lose the way to pay.
    assert_eq!(sale_page(&browser, browser.submit(&scan, 0).await).await, sale);
    let release = async {
        site.field.hold_provider(false);
    };
    let pay_path = format!("{sale}/pay");
    let (paying, ()) = tokio::join!(browser.get(&pay_path), release);
    assert_eq!(paying.status, 303);
    assert!(paying.location().starts_with("https://bank.example/pay/"), "{}", paying.location());
    assert_eq!(site.field.order_count(), 1);
    assert_eq!(
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().len(),
        1
    );
    // Back from there, the page stays, and offers to pay and to choose again at once.
    browser.language = "en".into();
    let page = browser.get(&sale).await;
    assert_eq!(page.all("h1"), ["Waiting for your payment"]);
    assert_eq!(page.all("main a.button"), ["Pay ¥1.00 now", "Choose again"]);
    assert_eq!(page.attributes("main a.button", "href")[1], format!("/s/{}", site.shop.code));
    assert!(!page.has("head > meta[http-equiv=refresh]"));
}

#[tokio::test]
async fn an_order_goes_on_when_the_payer_leaves() {
    let site = fast_answering_site().await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    site.field.hold_provider(true);
    let sale = sale_page(&browser, browser.submit(&scan, 0).await).await;
    site.field.hold_provider(false);
    // Nobody asks for it; the page has the way to pay all the same.
    while !browser.get(&sale).await.has("a[rel=external]") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up_in_the_time_stated() {
    let rules = Rules { order_answer_ms: 20_000, order_wait_ms: 200, probe_wait_ms: 20_000, ..Rules::default() };
    let site = Site::open_under(rules, |_| ()).await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    site.field.hold_provider(true);
    let answer = browser.submit(&scan, 0).await;
    assert_eq!((answer.status, answer.all("h1")), (502, vec!["No money was taken".into()]));
    let rows = views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap();
    let page = browser.get(&format!("/sale/{}", rows[0].view.token)).await;
    assert_eq!(page.all("h1"), ["No money was taken"]);
    assert!(page.text.contains("did not answer in time"));
    assert_eq!(page.all("main a.button"), ["Choose again"]);
    // The same page, pressed again, is another order.
    site.field.hold_provider(false);
    let again = browser.submit(&scan, 0).await;
    assert!(again.location().starts_with("https://bank.example/pay/"), "{}", again.location());
    assert_eq!(
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn a_provider_that_refuses_after_a_while_leads_back_to_the_prices() {
    let site = fast_answering_site().await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    site.field.hold_provider(true);
    let sale = sale_page(&browser, browser.submit(&scan, 0).await).await;
    site.field.refuse_orders();
    site.field.hold_provider(false);
    let back = browser.get(&format!("{sale}/pay")).await;
    assert_eq!(path_of(back.location()), sale);
    let page = browser.get(&sale).await;
    assert_eq!(
        (page.all("h1"), page.all("main a.button")),
        (vec!["No money was taken".into()], vec!["Choose again".into()])
    );
}

#[tokio::test]
async fn a_module_that_is_slow_to_answer_is_waited_for_on_a_page() {
    let base = Rules { order_answer_ms: 50, probe_wait_ms: 1_000, ..Rules::default() };
    // Each order asks the module anew.
    let rules = Rules { probe_fresh_ms: 0, probe_spacing_ms: 0, ..base };
    let site = Site::open_under(rules, |_| ()).await;
    let browser = site.browser();
    let scan = loop {
        let page = browser.get(&format!("/s/{}", site.shop.code)).await;
        if page.has("form") {
            break page;
        }
    };
    site.field.silence_module(&site.shop.module);
    let answer = browser.submit(&scan, 0).await;
    assert_eq!((answer.status, answer.all("h1")), (202, vec!["One moment, please".into()]));
    assert!(answer.text.contains("at most 11 seconds"), "{}", answer.text);
    let next = browser.get(&leads_to(&answer)).await;
    assert_eq!((next.status, next.location()), (303, format!("/s/{}", site.shop.code).as_str()));
    assert_eq!(site.field.order_count(), 0);
}

#[tokio::test]
async fn a_page_that_back_brings_buys_another_ride() {
    let site = Site::open().await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    let mut seen = vec![];
    for ride in 1..=3 {
        let first = browser.submit(&scan, 0).await;
        assert!(first.location().starts_with("https://bank.example/pay/"), "ride {ride}: {}", first.location());
        assert!(!seen.contains(&first.location().to_owned()), "ride {ride} is an order of its own");
        // Pressed twice it is still one.
        assert_eq!(browser.submit(&scan, 0).await.location(), first.location());
        seen.push(first.location().to_owned());
        assert_eq!(site.pay().await.status, 204);
        let token = views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap()[0]
            .view
            .token
            .clone();
        while backend::flows::show_sale::sale(&site.backend, &token).await.unwrap().state.as_str() != "credited" {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().len(),
        3
    );
}

#[tokio::test]
async fn whom_to_turn_to_is_on_the_payers_pages() {
    let site = Site::open().await;
    let browser = site.browser();
    let scan = format!("/s/{}", site.shop.code);
    assert!(browser.get(&scan).await.text.contains("Ask Sunny Rides at the place where the machine is"));
    let change = OperatorChange { contact: Some(" 400-123 4567 ".into()), ..OperatorChange::default() };
    operator::change_operator(&site.backend, &system(), site.shop.operator_id, change).await.unwrap();
    let sale = format!("/sale/{}", site.order().await);
    for path in [&scan, &sale] {
        let page = browser.get(path).await;
        assert_eq!(page.attributes("main a[href^=tel]", "href"), ["tel:4001234567"], "{path}");
    }
}
