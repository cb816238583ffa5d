//! Ways to pay: what a payer is offered where the page is seen, who pays, and how the payer is handed over.

use crate::support::{Answer, Browser, PUBLIC_URL, Site, system};
use backend::{
    flows::operate::merchant,
    payments::{accounts, provider::RawCallback},
    sales::views,
};
use fake_providers::kiosk::{ASKS_AT, Config};
use serde_json::Value;

const IN_ALIPAY: &str = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile AlipayClient/10.5.96";
const IN_WECHAT: &str = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile MicroMessenger/8.0.50";

fn config() -> Config {
    Config { has_statements: true, shop: "sunny".into(), app: "app of sunny".into(), key: "key of sunny".into() }
}

/// A site whose operator has an account at the kiosk too; gives the account's token.
async fn site_with_kiosk() -> (Site, String) {
    let site = Site::open().await;
    let operator_id = site.shop.operator_id;
    let account =
        merchant::set_merchant_account(&site.backend, &system(), operator_id, "kiosk", &config().json()).await.unwrap();
    (site, account)
}

fn browser_in(site: &Site, app: &str) -> Browser {
    let mut browser = site.browser();
    browser.user_agent = app.into();
    browser
}

async fn scan(site: &Site, browser: &Browser) -> Answer {
    browser.get(&format!("/s/{}", site.shop.code)).await
}

/// The path of an address of ours.
fn ours(address: &str) -> &str {
    address.strip_prefix(PUBLIC_URL).unwrap_or(address)
}

/// The number and the token of the newest sale.
async fn newest(site: &Site) -> (String, String) {
    let row =
        views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap().remove(0);
    (row.out_trade_no.unwrap(), row.view.token.to_string())
}

async fn tell(site: &Site, path: &str, callback: RawCallback<'_>) -> Answer {
    let headers: Vec<(&str, &str)> = callback.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    site.browser().raw_post(path, &headers, callback.body.to_vec()).await
}

#[tokio::test]
async fn within_an_app_who_pays_is_asked_first_and_the_page_calls_the_app() {
    let (site, account) = site_with_kiosk().await;
    let browser = browser_in(&site, IN_ALIPAY);
    let asked = scan(&site, &browser).await;
    assert!(asked.status == 303 && asked.location().starts_with(ASKS_AT), "{} {}", asked.status, asked.location());
    let back = site.field.kiosk.say_who(asked.location(), "payer 7");
    let clean = browser.get(ours(&back)).await;
    assert_eq!((clean.status, clean.location()), (303, format!("/s/{}?way=kiosk.app", site.shop.code).as_str()));

    // Known from here on.
    let page = browser.get(clean.location()).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(!page.has("[role=alert]"));
    let ordered = browser.submit(&page, 0).await;
    let (number, token) = newest(&site).await;
    assert_eq!(ours(ordered.location()), format!("/sale/{token}"));
    assert_eq!(site.field.kiosk.request(&number).payer.unwrap().id, "payer 7");
    let sale = browser.get(&format!("/sale/{token}")).await;
    let calls = sale.attributes("button[data-invoke]", "data-invoke");
    let call: Value = serde_json::from_str(&calls[0]).unwrap();
    assert_eq!(
        (&call["bridge"], &call["function"], &call["action"]),
        (&"KioskBridge".into(), &"call".into(), &"pay".into())
    );
    assert_eq!(call["parameters"]["order"], site.field.kiosk.reference(&number).as_str());
    assert_eq!(sale.all("button[data-invoke]"), ["Pay ¥1.00 now"]);
    let scripts = sale.attributes("script[src]", "src");
    let script = scripts.iter().find(|src| src.contains("pay.")).expect("the script that calls the app");
    assert_eq!(browser.get(script).await.status, 200);

    let callback = site.field.kiosk.pay(&config(), &number, site.backend.now_ms());
    let answer = tell(&site, &format!("/callbacks/kiosk/{account}"), callback.raw()).await;
    assert_eq!((answer.status, answer.header("content-type"), &*answer.text), (200, "text/plain", "thanks"));
    let sale = browser.get(&format!("/sale/{token}")).await;
    assert!(!sale.has("button[data-invoke]"), "{}", sale.text);
}

#[tokio::test]
async fn coming_back_twice_or_unasked_exchanges_nothing_and_never_goes_in_circles() {
    let (site, _) = site_with_kiosk().await;
    let code = &site.shop.code;
    let browser = browser_in(&site, IN_ALIPAY);
    let asked = scan(&site, &browser).await;
    let back = site.field.kiosk.say_who(asked.location(), "payer 7");
    browser.get(ours(&back)).await;
    // The browser comes back twice, or somebody presses back: what is known stays known.
    let again = browser.get(ours(&back)).await;
    assert_eq!(again.location(), format!("/s/{code}?asked=1"));
    let page = browser.get(again.location()).await;
    assert!(page.has("form") && !page.has("[role=alert]"), "{}", page.text);

    // What another browser was asked for is nothing here; nor is a state that was made up, nor a code that was used.
    let other = browser_in(&site, IN_ALIPAY);
    let theirs = scan(&site, &other).await;
    let mine = site.field.kiosk.say_who(theirs.location(), "payer 8");
    let stranger = browser_in(&site, IN_ALIPAY);
    for path in [
        ours(&mine),
        "/identity?state=made-up",
        "/identity",
        "/identity?state=0123456789ABCDEFGHJKMNPQRS//evil.example",
    ] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.location().starts_with("/s/") && !stranger.has_cookies(), "{path}: {}", answer.location());
    }
    // Without cookies it is not asked again by itself; the page says what is the matter, and a press asks anew.
    let page = stranger.get(&format!("/s/{code}?asked=1")).await;
    assert!(page.all("[role=alert]")[0].contains("has not told us who is paying"), "{}", page.text);
    let pressed = stranger.submit(&page, 0).await;
    assert!(pressed.location().starts_with(ASKS_AT), "{} {}", pressed.status, pressed.location());
    assert!(site.field.kiosk.called(fake_providers::bank::Call::Create).is_empty());

    // An answer that the provider does not take leads back to the page, which says so.
    let state = url::Url::parse(pressed.location()).unwrap();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let refused = stranger.get(&format!("/identity?kiosk_code=used&state={state}")).await;
    assert_eq!(refused.location(), format!("/s/{code}?way=kiosk.app&asked=1"));
}

#[tokio::test]
async fn a_browser_that_comes_back_twice_at_once_is_known_by_the_one_exchange() {
    let (site, _) = site_with_kiosk().await;
    let browser = browser_in(&site, IN_ALIPAY);
    let asked = scan(&site, &browser).await;
    let back = site.field.kiosk.say_who(asked.location(), "payer 7");
    // The first answer is dropped: the browser has gone on to the second.
    let cookie = browser.cookie("cw_asked").unwrap();
    let first = browser.get(ours(&back)).await;
    browser.set_cookie("cw_asked", &cookie);
    browser.forget("cw_payer");
    let second = browser.get(ours(&back)).await;
    assert_eq!((first.location(), browser.cookie("cw_payer").is_some()), (second.location(), true));
    assert_eq!(second.location(), format!("/s/{}?way=kiosk.app", site.shop.code));
}

#[tokio::test]
async fn another_way_can_be_picked_and_a_code_is_shown() {
    let (site, _) = site_with_kiosk().await;
    let mut browser = site.browser();
    let page = scan(&site, &browser).await;
    assert_eq!(page.attributes("form input[name=way]", "value"), ["wechat.page", "wechat.page"]);
    let links = page.attributes(".ways a", "href");
    assert_eq!(page.all(".ways a"), ["Another payment provider", "Another payment provider (with a code to scan)"]);
    browser.language = "zh".into();
    assert_eq!(scan(&site, &browser).await.all(".ways a"), ["其他支付平台", "其他支付平台（扫码支付）"]);
    browser.language = "en".into();

    // The account that was there first.
    let page = scan(&site, &browser).await;
    let answer = browser.submit(&page, 0).await;
    assert!(answer.location().starts_with("https://bank.example/pay/"), "{}", answer.location());
    // A code to scan.
    let page = browser.get(&links[1]).await;
    let answer = browser.submit(&page, 0).await;
    let (_, token) = newest(&site).await;
    assert_eq!(ours(answer.location()), format!("/sale/{token}"));
    let sale = browser.get(ours(answer.location())).await;
    assert!(sale.has(".code-to-scan svg"), "{}", sale.text);
    assert!(!sale.has("script[src*=pay]") && !sale.has("a[rel=external]"));

    // A way that is not there is the best one; one that went away while the page was open is no order.
    let page = browser.get(&format!("/s/{}?way=nobody.page", site.shop.code)).await;
    assert_eq!(page.attributes("form input[name=way]", "value")[0], "wechat.page");
    let picked = browser.get(&links[0]).await;
    let all = accounts::merchant_accounts(&site.backend, &system(), None).await.unwrap();
    let kiosk = all.iter().find(|row| row.provider == "kiosk").unwrap().account_id;
    merchant::switch_account(&site.backend, &system(), kiosk, false).await.unwrap();
    let gone = browser.submit(&picked, 0).await;
    assert_eq!(gone.status, 409);
    assert_eq!(gone.attributes("form input[name=way]", "value")[0], "wechat.page", "what is offered now");
}

#[tokio::test]
async fn where_no_way_works_the_page_says_where_one_does() {
    let (site, _) = site_with_kiosk().await;
    let mut browser = browser_in(&site, IN_WECHAT);
    let page = scan(&site, &browser).await;
    assert!(!page.has("form[action$=order]"));
    assert_eq!(page.all("main li"), ["Alipay", "your phone's browser"]);
    browser.language = "zh".into();
    assert_eq!(scan(&site, &browser).await.all("main li"), ["支付宝", "手机浏览器"]);
}

#[tokio::test]
async fn callbacks_are_answered_in_the_providers_manner_at_its_own_address() {
    let (site, account) = site_with_kiosk().await;
    let callback = site.field.kiosk.event(&config(), "raffle", &[]);
    let taken = tell(&site, &format!("/callbacks/kiosk/{account}"), callback.raw()).await;
    assert_eq!((taken.status, &*taken.text), (200, "thanks"));
    let forged = Config { key: "another".into(), ..config() };
    let forged = site.field.kiosk.event(&forged, "raffle", &[]);
    let refused = tell(&site, &format!("/callbacks/kiosk/{account}"), forged.raw()).await;
    assert_eq!((refused.status, &*refused.text), (200, "pardon"));
    for elsewhere in [format!("/callbacks/wechat/{account}"), format!("/callbacks/kiosk/{}", site.shop.account)] {
        assert_eq!(tell(&site, &elsewhere, callback.raw()).await.status, 404, "{elsewhere}");
    }
}

#[tokio::test]
async fn a_merchants_domain_file_is_served_and_no_other() {
    let site = Site::open().await;
    let browser = site.browser();
    let answer = browser.get("/MP_verify_a1B2.txt").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "a1B2"));
    for other in ["/MP_verify_other.txt", "/MP_verify_.txt", "/MP_verify_a1B2.txt.bak", "/mp_verify_a1B2.txt"] {
        assert_eq!(browser.get(other).await.status, 404, "{other}");
    }
}
