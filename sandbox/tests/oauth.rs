//! Who a payer is: the browser's way over the authorization, and the exchange of its code.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sandbox::{Config, Fault, FaultFrequency, Merchant, Sandbox};
use serde_json::Value;
use support::{Client, config};
use url::Url;

const AGENT: &str = "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50";
const BACK: &str = "https://shop.example/pay/identity?sale=1&lang=zh";

/// A person's browser: it has its own cookies and follows no redirect by itself.
struct Browser {
    base: String,
    http: reqwest::Client,
    cookie: Option<String>,
}

impl Browser {
    fn new(sandbox: &Sandbox) -> Self {
        Self { base: sandbox.public_url().to_owned(), http: Client::new(sandbox).http, cookie: None }
    }

    async fn get(&mut self, address: Url) -> reqwest::Response {
        let mut request = self.http.get(address).header("User-Agent", AGENT);
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", format!("other=1; {cookie}"));
        }
        let answer = request.send().await.unwrap();
        if let Some(set) = answer.headers().get("set-cookie") {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        answer
    }

    fn address(&self, parameters: &[(&str, &str)]) -> Url {
        Url::parse_with_params(&format!("{}/connect/oauth2/authorize", self.base), parameters).unwrap()
    }

    /// The way through the authorization; the code with which the browser came back.
    async fn code(&mut self, appid: &str) -> String {
        let address = self.address(&good(appid));
        let answer = self.get(address).await;
        assert_eq!(answer.status(), 302);
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert!(back.as_str().starts_with(&format!("{BACK}&code=")), "{back}");
        let value = |name: &str| back.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned();
        assert_eq!(value("state"), "a1B2");
        value("code")
    }
}

fn good(appid: &str) -> [(&str, &str); 5] {
    [("appid", appid), ("redirect_uri", BACK), ("response_type", "code"), ("scope", "snsapi_base"), ("state", "a1B2")]
}

async fn exchange(sandbox: &Sandbox, query: &[(&str, &str)]) -> Value {
    let address = Url::parse_with_params(&format!("{}/sns/oauth2/access_token", sandbox.base_url()), query).unwrap();
    let answer = Client::new(sandbox).http.get(address).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, "text/plain"));
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn exchange_code(sandbox: &Sandbox, merchant: &Merchant, code: &str) -> Value {
    let query = [
        ("appid", merchant.appid.as_str()),
        ("secret", &merchant.app_secret),
        ("code", code),
        ("grant_type", "authorization_code"),
    ];
    exchange(sandbox, &query).await
}

/// That an answer says what the published one says, and has the same fields.
fn as_published(answer: &Value, case: usize) {
    let vectors: Value = serde_json::from_str(include_str!("vectors/wechat.json")).unwrap();
    let published = vectors["wechat_oauth_answers"]["cases"][case]["body"].as_str().unwrap();
    let published: Value = serde_json::from_str(published).unwrap();
    let (found, wanted) = (answer.as_object().unwrap(), published.as_object().unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    assert_eq!((&answer["errcode"], &answer["scope"]), (&published["errcode"], &published["scope"]));
    let sentence =
        |value: &Value| value["errmsg"].as_str().map(|text| text.split(", rid: ").next().unwrap().to_owned());
    assert_eq!(sentence(answer), sentence(&published));
}

#[tokio::test]
async fn a_browser_is_one_person_and_a_code_works_once() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let merchant = sandbox.merchant();
    let (mut first, mut second) = (Browser::new(&sandbox), Browser::new(&sandbox));
    let code = first.code(&merchant.appid).await;
    let answer = exchange_code(&sandbox, &merchant, &code).await;
    as_published(&answer, 0);
    let openid = answer["openid"].as_str().unwrap().to_owned();
    // The browser may use its address twice (WeChat repeats redirects, and people go back); the code is used up.
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 1);
    let code = first.code(&merchant.appid).await;
    assert_eq!(exchange_code(&sandbox, &merchant, &code).await["openid"], openid.as_str());
    let code = second.code(&merchant.appid).await;
    assert_ne!(exchange_code(&sandbox, &merchant, &code).await["openid"], openid.as_str());
    // Towards another app the same person is called otherwise.
    let other = sandbox.second_merchant().unwrap();
    let code = first.code(&other.appid).await;
    assert_ne!(exchange_code(&sandbox, &other, &code).await["openid"], openid.as_str());
}

#[tokio::test]
async fn the_exchange_says_what_is_wrong_and_spends_no_code_on_it() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let (merchant, other) = (sandbox.merchant(), sandbox.second_merchant().unwrap());
    assert_eq!(merchant.app_secret.len(), 32);
    assert_ne!(merchant.app_secret, other.app_secret);
    let code = Browser::new(&sandbox).code(&merchant.appid).await;
    as_published(&exchange_code(&sandbox, &merchant, "021unknown").await, 2);
    as_published(&exchange_code(&sandbox, &other, &code).await, 2);
    let wrong_secret = Merchant { app_secret: other.app_secret.clone(), ..merchant.clone() };
    as_published(&exchange_code(&sandbox, &wrong_secret, &code).await, 4);
    let wrong_app = Merchant { appid: "wx0000000000000000".into(), ..merchant.clone() };
    as_published(&exchange_code(&sandbox, &wrong_app, &code).await, 5);
    let whole = [
        ("appid", merchant.appid.as_str()),
        ("secret", &merchant.app_secret),
        ("code", &code),
        ("grant_type", "authorization_code"),
    ];
    for (place, errcode) in [(0, 41002), (1, 41004), (2, 41008), (3, 40002)] {
        let mut query = whole.to_vec();
        query.remove(place);
        assert_eq!(exchange(&sandbox, &query).await["errcode"], errcode);
    }
    as_published(&exchange(&sandbox, &whole).await, 0);
}

#[tokio::test]
async fn the_authorization_refuses_what_it_would_not_send_back() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let merchant = sandbox.merchant();
    let mut browser = Browser::new(&sandbox);
    let long = "a".repeat(129);
    for (place, value) in [
        (0, "wx0000000000000000"),
        (1, "/pay/identity"),
        (1, "ftp://shop.example/"),
        (1, "javascript:alert(1)"),
        (1, "https://somebody@shop.example/"),
        (1, ""),
        (2, "token"),
        (3, "snsapi_login"),
        (4, "a-b"),
        (4, &long),
    ] {
        let mut parameters = good(&merchant.appid);
        parameters[place].1 = value;
        let address = browser.address(&parameters);
        assert_eq!(browser.get(address).await.status(), 400, "{parameters:?}");
    }
    let mut disordered = good(&merchant.appid);
    disordered.swap(2, 3);
    let address = browser.address(&disordered);
    assert_eq!(browser.get(address).await.status(), 400, "WeChat wants its order");
    // Without a state it comes back empty.
    let address = browser.address(&good(&merchant.appid)[..4]);
    let answer = browser.get(address.clone()).await;
    assert!(answer.headers()["location"].to_str().unwrap().ends_with("&state="));
    sandbox.set_oauth_domains(&["other.example"]);
    assert_eq!(browser.get(address.clone()).await.status(), 400);
    sandbox.set_oauth_domains(&["other.example", "shop.example"]);
    assert_eq!(browser.get(address.clone()).await.status(), 302);
    let outside = browser.http.get(address).header("User-Agent", "Mozilla/5.0").send().await.unwrap();
    assert_eq!(outside.status(), 403, "only WeChat knows who it is");
}

#[tokio::test]
async fn the_exchange_can_be_busy_slow_or_silent_and_a_code_can_come_used() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let merchant = sandbox.merchant();
    let mut browser = Browser::new(&sandbox);
    let faults = sandbox.faults();
    let code = browser.code(&merchant.appid).await;
    faults.set(Fault::OauthBusy, FaultFrequency::Times(1));
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 7);
    faults.set(Fault::OauthDelay, FaultFrequency::Times(1));
    faults.set_max_delay(Duration::from_millis(20));
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 0);

    let code = browser.code(&merchant.appid).await;
    faults.set(Fault::OauthTimeout, FaultFrequency::Times(1));
    faults.set_answer_hold(Duration::from_millis(20));
    let query = [
        ("appid", merchant.appid.as_str()),
        ("secret", &merchant.app_secret),
        ("code", &code),
        ("grant_type", "authorization_code"),
    ];
    let address = Url::parse_with_params(&format!("{}/sns/oauth2/access_token", sandbox.base_url()), query).unwrap();
    assert_eq!(browser.http.get(address).send().await.unwrap().status(), 504);
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 1);

    faults.set(Fault::OauthCodeUsed, FaultFrequency::Times(1));
    let code = browser.code(&merchant.appid).await;
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 1);
    let code = browser.code(&merchant.appid).await;
    as_published(&exchange_code(&sandbox, &merchant, &code).await, 0);
}

#[tokio::test]
async fn people_and_the_secret_outlive_a_restart_also_of_an_account_from_before() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Config { data_dir: Some(folder.path().to_path_buf()), ..config() };
    let sandbox = sandbox::start(kept.clone()).await.unwrap();
    let merchant = sandbox.merchant();
    let mut browser = Browser::new(&sandbox);
    let code = browser.code(&merchant.appid).await;
    let openid = exchange_code(&sandbox, &merchant, &code).await["openid"].clone();
    sandbox.shutdown().await;

    let file = folder.path().join("wechat-merchant-0.json");
    let mut stored: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(stored["app_secret"], merchant.app_secret.as_str());
    stored.as_object_mut().unwrap().remove("app_secret");
    std::fs::write(&file, stored.to_string()).unwrap();
    let sandbox = sandbox::start(kept).await.unwrap();
    assert_eq!(sandbox.merchant().app_secret, merchant.app_secret);
    let stored: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(stored["app_secret"], merchant.app_secret.as_str());
    browser.base = sandbox.public_url().to_owned();
    let code = browser.code(&merchant.appid).await;
    assert_eq!(exchange_code(&sandbox, &merchant, &code).await["openid"], openid);
}
