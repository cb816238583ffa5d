//! Forms that lay open: overnight, or while somebody signed in or out. They do nothing by themselves, and are one press
//! from going on.

use crate::support::{Browser, EMAIL, PASSWORD, Site, config, system};
use backend::machines::{fleet, remote};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A token that the site made 13 hours ago, for a session or for nobody.
fn old_token(site: &Site, session: &str) -> String {
    let made = (site.backend.now_ms() - 13 * 3_600_000).to_be_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(&config().csrf_key).unwrap();
    mac.update(b"coinwire form\0");
    mac.update(&made);
    mac.update(session.as_bytes());
    format!("{}.{}", BASE64.encode(made), BASE64.encode(mac.finalize().into_bytes()))
}

fn session(browser: &Browser) -> String {
    browser.cookie("cw_session").unwrap()
}

#[tokio::test]
async fn signing_in_works_in_a_second_tab_too() {
    let site = Site::open().await;
    let browser = site.browser();
    let first = browser.get("/sign-in").await;
    let second = browser.get("/sign-in").await;
    let fields = [("email", EMAIL), ("password", PASSWORD), ("next", "/operator/sales")];
    assert_eq!(browser.post("/sign-in", &second, &fields).await.status, 303);
    let answer = browser.post("/sign-in", &first, &fields).await;
    assert_eq!((answer.status, answer.location()), (303, "/operator/sales"));
    assert_eq!(browser.get("/operator/sales").await.status, 200);
}

#[tokio::test]
async fn an_old_sign_in_keeps_the_address_and_never_the_password() {
    let site = Site::open().await;
    let browser = site.browser();
    for token in [old_token(&site, ""), "nonsense".into(), String::new()] {
        let fields = [("csrf", token.as_str()), ("email", EMAIL), ("password", PASSWORD), ("next", "/operator/sales")];
        let answer = browser.post_plain("/sign-in", &[], &fields).await;
        assert_eq!(answer.status, 403);
        assert!(answer.all("[role=alert]")[0].contains("enter the password once more"));
        assert_eq!(answer.attributes("input[name=email]", "value"), [EMAIL]);
        assert!(!answer.text.contains(PASSWORD));
        assert!(browser.cookie("cw_session").is_none(), "nobody is signed in by it");
        let again = browser.post("/sign-in", &answer, &[("email", EMAIL), ("password", PASSWORD)]).await;
        assert_eq!(again.status, 303);
        browser.post("/sign-out", &browser.get("/operator").await, &[]).await;
        browser.forget("cw_session");
    }
}

#[tokio::test]
async fn an_order_does_not_depend_on_who_is_signed_in() {
    let site = Site::open().await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    let sign_in = browser.get("/sign-in").await;
    browser.post("/sign-in", &sign_in, &[("email", EMAIL), ("password", PASSWORD)]).await;
    let answer = browser.submit(&scan, 0).await;
    assert!(answer.status == 303 && answer.location().starts_with("https://bank.example/"), "{}", answer.status);
}

#[tokio::test]
async fn a_price_pressed_on_an_old_page_shows_the_prices_of_now() {
    let site = Site::open().await;
    let browser = site.browser();
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    let (action, fields) = Browser::form(&scan, 0);
    let token = old_token(&site, "");
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), if name == "csrf" { token.as_str() } else { value.as_str() }))
        .collect();
    for headers in [vec![], vec![("origin", "null")], vec![("sec-fetch-site", "cross-site")]] {
        let answer = browser.post_plain(&action, &headers, &fields).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.all("[role=alert]")[0].contains("open for a long time"));
        assert_eq!(answer.all(".price-amount"), ["¥1.00", "¥2.50"]);
        assert_eq!(site.field.order_count(), 0, "nothing is ordered by it");
    }
    let answer = browser.post_plain(&action, &[], &fields).await;
    assert_eq!(browser.submit(&answer, 0).await.status, 303, "one press goes on");
    assert_eq!(site.field.order_count(), 1);
}

#[tokio::test]
async fn a_members_old_form_keeps_what_was_typed_and_is_sent_with_one_press() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let machine = format!("/operator/machines/{}", site.shop.machine_id);
    let price = format!("{machine}/prices/{}", site.shop.price_id);
    let another = site.operator().await.get("/operator").await.csrf();
    for token in [old_token(&site, &session(&browser)), another] {
        let typed = [("csrf", token.as_str()), ("label", "Two rides & more"), ("amount", "1.50"), ("pulses", "2")];
        let answer = browser.post_plain(&price, &[], &typed).await;
        assert_eq!((answer.status, answer.all("h1")), (403, vec!["Please press once more".into()]));
        assert!(answer.has("nav a[href=\"/operator/sales\"]"), "in the operator's pages");
        assert!(answer.all("dd").contains(&"Two rides & more".to_owned()), "what was typed is shown");
        assert!(answer.attributes("main a", "href").contains(&machine), "or back to the page");
        let view = fleet::machine(&site.backend, &system(), site.shop.machine_id).await.unwrap();
        assert_eq!(view.prices[0].label, "One ride", "nothing is done by it");
        // The first form of the page signs out.
        assert_eq!(browser.submit(&answer, 1).await.status, 303);
        let view = fleet::machine(&site.backend, &system(), site.shop.machine_id).await.unwrap();
        assert!(view.prices.iter().any(|price| price.label == "Two rides & more"));
        let back = [("label", "One ride"), ("amount", "1"), ("pulses", "1")];
        browser.post(&price, &browser.get(&machine).await, &back).await;
    }
}

#[tokio::test]
async fn signed_out_elsewhere_leads_to_sign_in_and_back_to_the_form() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let machine = format!("/operator/machines/{}", site.shop.machine_id);
    let page = browser.get(&machine).await;
    browser.post("/sign-out", &page, &[]).await;
    let answer = browser.post(&format!("{machine}/active"), &page, &[("on", "false")]).await;
    assert_eq!(answer.status, 303);
    let form = browser.get(answer.location()).await;
    assert_eq!(form.attributes("input[name=next]", "value"), std::slice::from_ref(&machine));
    assert!(fleet::machine(&site.backend, &system(), site.shop.machine_id).await.unwrap().row.active);
    let (_, fields) = Browser::form(&form, 0);
    let next = fields.iter().find(|(name, _)| name == "next").unwrap().1.clone();
    let fields = [("email", EMAIL), ("password", PASSWORD), ("next", next.as_str())];
    assert_eq!(browser.post("/sign-in", &form, &fields).await.location(), machine);
}

#[tokio::test]
async fn signing_out_works_on_an_old_page() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let token = old_token(&site, &session(&browser));
    let out = browser.post_plain("/sign-out", &[], &[("csrf", &token)]).await;
    assert_eq!((out.status, out.location()), (303, "/sign-in"));
    assert_eq!(browser.get("/operator").await.status, 303);
}

#[tokio::test]
async fn restart_disable_and_disconnect_ask_before_they_act() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = format!("/operator/machines/{}/module", site.shop.machine_id);
    let page = browser.get(&path).await;
    let view = || async { remote::remote(&site.backend, &system(), site.shop.machine_id).await.unwrap() };
    for (form, fields, title) in [
        ("remote-actions", [("remote_action", "restart")], "Restart the module of Carousel?"),
        ("credential", [("disabled", "true")], "Disable the module of Carousel?"),
    ] {
        let asked = browser.post(&format!("{path}/{form}"), &page, &fields).await;
        assert_eq!((asked.status, asked.all("h1")), (200, vec![title.into()]));
        assert!(asked.attributes("main a", "href").contains(&path), "it can be left");
        let view_now = view().await;
        assert!(view_now.remote_actions.is_empty() || form == "credential", "nothing is done yet");
        assert!(view_now.row.module.unwrap().disabled_ms.is_none(), "nothing is done yet");
        // An old answer to the question is asked again, since it may be another's by now.
        let old = old_token(&site, &session(&browser));
        let sure = [fields[0], ("sure", "yes"), ("csrf", &old)];
        let stale = browser.post_plain(&format!("{path}/{form}"), &[], &sure).await;
        assert_eq!(stale.status, 403);
        assert_eq!(browser.submit(&stale, 1).await.all("h1"), [title]);
        assert!(view().await.row.module.unwrap().disabled_ms.is_none());
        let done = browser.submit(&asked, 1).await;
        assert_eq!(done.status, 303, "{form}");
    }
    let module = view().await.row.module.unwrap();
    assert!(module.disabled_ms.is_some());
    assert_eq!(view().await.remote_actions.len(), 1);
    // What gives back does not ask.
    assert_eq!(browser.post(&format!("{path}/credential"), &page, &[("disabled", "false")]).await.status, 303);
}
