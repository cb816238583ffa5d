//! Payment inside Alipay: who a payer is, a trade for that payer, the app's checks, and what the page is told.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sandbox::{Fault, FaultFrequency, Sandbox};
use serde_json::{Value, json};
use support::alipay::{Answer, Desk, NOTIFY, Shop, decoded};
use support::{ask_bridge, config};

const IN_ALIPAY: &str = "Mozilla/5.0 (Linux) AliApp(AP/10.5.96.8000) AlipayClient/10.5.96.8000";
const TOKEN: &str = "alipay.system.oauth.token";
const CREATE: &str = "alipay.trade.create";
const BACK: &str = "http://shop.example/identity?kept=1";

/// An answer to a browser: status, where it is sent, its cookie, and the text.
struct Seen {
    status: u16,
    location: String,
    cookie: Option<String>,
    text: String,
}

/// Opens the page that says who a payer is, with these parameters changed.
async fn authorize(shop: &Shop, changed: &[(&str, Option<&str>)], agent: &str, cookie: Option<&str>) -> Seen {
    let mut parameters: Vec<(&str, &str)> = vec![
        ("app_id", &shop.account.app_id),
        ("scope", "auth_base"),
        ("redirect_uri", BACK),
        ("state", "abcXYZ123+/="),
    ];
    for (name, value) in changed {
        parameters.retain(|(known, _)| known != name);
        parameters.extend(value.map(|value| (*name, value)));
    }
    let url = format!("{}/oauth2/publicAppAuthorize.htm", shop.account.auth_url);
    let mut request = shop.http.get(url::Url::parse_with_params(&url, parameters).unwrap()).header("User-Agent", agent);
    if let Some(cookie) = cookie {
        request = request.header("Cookie", cookie);
    }
    let answer = request.send().await.unwrap();
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (location, cookie) = (header("location").unwrap_or_default(), header("set-cookie"));
    let cookie = cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned());
    Seen { status: answer.status().as_u16(), location, cookie, text: answer.text().await.unwrap() }
}

/// A browser comes back from Alipay: its code, and its cookie.
async fn asked(shop: &Shop, cookie: Option<&str>) -> (String, String) {
    let seen = authorize(shop, &[], IN_ALIPAY, cookie).await;
    assert_eq!(seen.status, 302, "{}", seen.text);
    let back = url::Url::parse(&seen.location).unwrap();
    (decoded(back.query().unwrap())["auth_code"].clone(), seen.cookie.unwrap())
}

async fn exchange(shop: &Shop, code: &str) -> Answer {
    exchange_as(shop, &[("grant_type", "authorization_code"), ("code", code)]).await
}

async fn exchange_as(shop: &Shop, own: &[(&str, &str)]) -> Answer {
    let mut parameters = shop.parameters(TOKEN, &json!({}));
    parameters.remove("biz_content");
    parameters.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    shop.sign(&mut parameters);
    shop.send(&parameters).await
}

/// An order for a buyer.
fn order(shop: &Shop, number: &str, buyer_id: &str) -> Value {
    let mut order = shop.order(number, "1.05");
    order["product_code"] = json!("JSAPI_PAY");
    order["op_app_id"] = json!(shop.account.op_app_id);
    order["buyer_id"] = json!(buyer_id);
    order
}

async fn create(shop: &Shop, order: &Value, notify_url: &str) -> Answer {
    let mut parameters = shop.parameters(CREATE, order);
    parameters.insert("notify_url".into(), notify_url.into());
    shop.sign(&mut parameters);
    shop.send(&parameters).await
}

async fn created(shop: &Shop, sandbox: &Sandbox, number: &str) -> String {
    let (buyer, _) = sandbox.new_alipay_buyer().unwrap();
    create(shop, &order(shop, number, &buyer), NOTIFY).await.good()["trade_no"].as_str().unwrap().to_owned()
}

/// What the script asks, and what it is told.
async fn bridge(shop: &Shop, parameters: &Value, decision: &str, cookie: Option<&str>) -> Value {
    let query = if decision.is_empty() { String::new() } else { format!("?decision={decision}") };
    ask_bridge(&shop.http, &format!("{}/bridge/alipay{query}", shop.account.base_url), parameters, cookie).await
}

fn number(trade_no: &str) -> Value {
    json!({"tradeNO": trade_no})
}

#[tokio::test]
async fn a_code_names_the_payer_once_and_the_same_browser_is_the_same_payer() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let seen = authorize(&shop, &[], IN_ALIPAY, None).await;
    assert_eq!(seen.status, 302, "{}", seen.text);
    let back = url::Url::parse(&seen.location).unwrap();
    let told = decoded(back.query().unwrap());
    assert_eq!((back.host_str(), back.path(), told["kept"].as_str()), (Some("shop.example"), "/identity", "1"));
    for (name, value) in [("app_id", shop.account.app_id.as_str()), ("scope", "auth_base"), ("state", "abcXYZ123+/=")] {
        assert_eq!(told[name], value, "{name}");
    }

    let answer = exchange(&shop, &told["auth_code"]).await;
    assert!(answer.is_signed && answer.node == "alipay_system_oauth_token_response", "{}", answer.content);
    assert_eq!((answer.content.get("code"), answer.content.get("open_id")), (None, None));
    let user = answer.content["user_id"].as_str().unwrap().to_owned();
    assert!(user.len() == 16 && user.starts_with("2088"), "{user}");
    for code in [told["auth_code"].as_str(), "abcdefghijklmnopqrstuvwxyz012345", ""] {
        let again = exchange(&shop, code).await;
        again.refused("40002", "isv.code-invalid");
        assert!(again.is_signed && again.node == "error_response", "{}", again.node);
    }

    let (code, cookie) = asked(&shop, seen.cookie.as_deref()).await;
    assert_eq!(Some(&cookie), seen.cookie.as_ref());
    assert_eq!(exchange(&shop, &code).await.content["user_id"], user, "the same person");
    let (code, _) = asked(&shop, None).await;
    assert_ne!(exchange(&shop, &code).await.content["user_id"], user, "somebody else");
    let (code, _) = asked(&shop, Some(&cookie)).await;
    sandbox.advance(Duration::from_secs(300));
    exchange(&shop, &code).await.refused("40002", "isv.code-invalid");
    // As newer apps are told.
    sandbox.tell_alipay_open_ids(true);
    let (code, _) = asked(&shop, Some(&cookie)).await;
    let answer = exchange(&shop, &code).await;
    assert!(answer.content.get("user_id").is_none() && answer.content["open_id"].is_string(), "{}", answer.content);
}

#[tokio::test]
async fn who_pays_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || sandbox::Config { data_dir: Some(dir.path().to_path_buf()), ..config() };
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let (code, cookie) = asked(&shop, None).await;
    let user = exchange(&shop, &code).await.content["user_id"].clone();
    let trade_no =
        create(&shop, &order(&shop, "kept1", user.as_str().unwrap()), NOTIFY).await.good()["trade_no"].clone();
    sandbox.shutdown().await;

    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let (code, _) = asked(&shop, Some(&cookie)).await;
    assert_eq!(exchange(&shop, &code).await.content["user_id"], user);
    let told = bridge(&shop, &json!({"tradeNO": trade_no}), "approve", Some(&cookie)).await;
    assert_eq!(told["resultCode"], "9000", "{told}");
}

#[tokio::test]
async fn a_wrong_question_of_who_pays_is_shown_and_sends_nobody_back() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    for (name, value) in [
        ("app_id", Some("2021000000000000")),
        ("app_id", None),
        ("scope", Some("auth_user")),
        ("scope", None),
        ("redirect_uri", Some("shop.example/identity")),
        ("redirect_uri", Some("alipays://shop.example")),
        ("redirect_uri", None),
        ("state", Some("with space")),
        ("state", Some("a-b_c")),
        ("appid", Some("2021000000000000")),
    ] {
        let seen = authorize(&shop, &[(name, value)], IN_ALIPAY, None).await;
        assert_eq!((seen.status, seen.location.as_str()), (400, ""), "{name} {value:?}");
    }
    let long = "a".repeat(101);
    assert_eq!(authorize(&shop, &[("state", Some(&long))], IN_ALIPAY, None).await.status, 400);
    assert_eq!(authorize(&shop, &[("state", None)], IN_ALIPAY, None).await.status, 302);
    assert_eq!(authorize(&shop, &[], "Mozilla/5.0 (iPhone)", None).await.status, 403);
    sandbox.set_alipay_oauth_domains(&["pay.example"]);
    assert_eq!(authorize(&shop, &[], IN_ALIPAY, None).await.status, 400);
    sandbox.set_alipay_oauth_domains(&["shop.example"]);
    let (code, _) = asked(&shop, None).await;

    for own in [vec![("code", code.as_str())], vec![("grant_type", "refresh_token"), ("code", &code)]] {
        exchange_as(&shop, &own).await.refused("40002", "isv.grant-type-invalid");
    }
    // As if it were business content.
    let content = json!({"grant_type": "authorization_code", "code": code});
    shop.call(TOKEN, content).await.refused("40002", "isv.grant-type-invalid");
    assert!(exchange(&shop, &code).await.content["user_id"].is_string(), "the code is still good");
}

#[tokio::test]
async fn the_exchange_has_its_troubles() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let faults = sandbox.faults();
    faults.set(Fault::OauthBusy, FaultFrequency::Times(1));
    let (code, cookie) = asked(&shop, None).await;
    exchange(&shop, &code).await.refused("20000", "aop.unknow-error");
    assert!(exchange(&shop, &code).await.content["user_id"].is_string(), "it stayed good");
    faults.set(Fault::OauthCodeUsed, FaultFrequency::Times(1));
    let (code, _) = asked(&shop, Some(&cookie)).await;
    exchange(&shop, &code).await.refused("40002", "isv.code-invalid");
}

#[tokio::test]
async fn a_trade_for_a_buyer_is_there_at_once_and_is_paid_in_the_app() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let desk = Desk::saying(&["success"]).await;
    let (code, cookie) = asked(&shop, None).await;
    let user = exchange(&shop, &code).await.content["user_id"].as_str().unwrap().to_owned();
    let order = order(&shop, "app1", &user);
    let answer = create(&shop, &order, &desk.url).await;
    assert_eq!(answer.good()["out_trade_no"], "app1");
    let trade_no = answer.content["trade_no"].as_str().unwrap().to_owned();
    let known = shop.query("app1").await;
    assert_eq!(
        (&known.good()["trade_status"], &known.content["buyer_user_id"]),
        (&json!("WAIT_BUYER_PAY"), &json!(user))
    );
    assert_eq!(create(&shop, &order, &desk.url).await.good()["trade_no"], trade_no, "the same trade");

    let shown = bridge(&shop, &number(&trade_no), "", Some(&cookie)).await;
    assert_eq!((&shown["cashier"]["total_fen"], &shown["cashier"]["description"]), (&json!(105), &order["subject"]));
    for (decision, code) in [("decline", "6001"), ("no-network", "6002"), ("leave", "99"), ("perhaps", "4000")] {
        assert_eq!(bridge(&shop, &number(&trade_no), decision, Some(&cookie)).await["resultCode"], code);
    }
    let trade = sandbox.alipay_trade("app1").unwrap();
    assert_eq!((trade.trade_status, trade.declined), ("WAIT_BUYER_PAY", 1));
    assert_eq!(bridge(&shop, &number(&trade_no), "approve", Some(&cookie)).await["resultCode"], "9000");
    let notice = desk.wait_for(1).await.remove(0);
    assert!(shop.is_told_by_alipay(&notice), "{notice:?}");
    assert_eq!((&notice["buyer_id"], &notice["trade_no"]), (&user, &trade_no));
    assert_eq!(bridge(&shop, &number(&trade_no), "approve", Some(&cookie)).await["resultCode"], "4000", "once");
    create(&shop, &order, &desk.url).await.refused("40004", "ACQ.TRADE_HAS_SUCCESS");
    let refund = json!({"out_trade_no": "app1", "refund_amount": "1.05", "out_request_no": "r1"});
    assert_eq!(shop.call("alipay.trade.refund", refund).await.good()["fund_change"], "Y");
}

#[tokio::test]
async fn a_wrong_trade_for_a_buyer_is_refused_and_there_is_none() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let (user, open) = sandbox.new_alipay_buyer().unwrap();
    let (other, _) = sandbox.new_alipay_buyer().unwrap();
    let good = order(&shop, "wrong1", &user);
    for (field, value, sub_code) in [
        ("op_app_id", json!(null), "ACQ.INVALID_PARAMETER"),
        ("op_app_id", json!(shop.account.app_id), "ACQ.ACCESS_FORBIDDEN"),
        ("buyer_id", json!(null), "ACQ.INVALID_PARAMETER"),
        ("buyer_id", json!("2088000000000000"), "ACQ.INVALID_PARAMETER"),
        ("buyer_id", json!(open), "ACQ.INVALID_PARAMETER"),
        ("buyer_open_id", json!(open), "ACQ.INVALID_PARAMETER"),
        ("product_code", json!("QUICK_WAP_WAY"), "ACQ.INVALID_PARAMETER"),
        ("product_code", json!(null), "ACQ.INVALID_PARAMETER"),
        ("total_amount", json!("0.00"), "ACQ.TOTAL_FEE_EXCEED"),
        ("time_expire", json!("2020-01-01 00:00:00"), "ACQ.INVALID_PARAMETER"),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        create(&shop, &wrong, NOTIFY).await.refused("40004", sub_code);
    }
    assert!(sandbox.alipay_trade("wrong1").is_none());
    // Other methods know no buyer.
    let mut precreate = good.clone();
    precreate["product_code"] = json!("FACE_TO_FACE_PAYMENT");
    shop.call("alipay.trade.precreate", precreate).await.refused("40004", "ACQ.INVALID_PARAMETER");

    let mut by_open_id = good.clone();
    by_open_id.as_object_mut().unwrap().remove("buyer_id");
    by_open_id["buyer_open_id"] = json!(open);
    create(&shop, &by_open_id, NOTIFY).await.good();
    let mut changed = good.clone();
    changed["total_amount"] = json!("1.06");
    create(&shop, &changed, NOTIFY).await.refused("40004", "ACQ.CONTEXT_INCONSISTENT");
    create(&shop, &order(&shop, "wrong1", &other), NOTIFY).await.refused("40004", "ACQ.TRADE_BUYER_NOT_MATCH");
    shop.call("alipay.trade.close", json!({"out_trade_no": "wrong1"})).await.good();
    create(&shop, &good, NOTIFY).await.refused("40004", "ACQ.TRADE_HAS_CLOSE");
}

#[tokio::test]
async fn what_the_app_would_refuse_fails_and_changes_nothing() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let (_, stranger) = asked(&shop, None).await;
    let trade_no = created(&shop, &sandbox, "app1").await;
    shop.code(&shop.order("code1", "1.05"), NOTIFY).await;
    sandbox.decline_alipay("code1").unwrap();
    let of_code = sandbox.alipay_trade("code1").unwrap().trade_no;
    for (what, wrong, cookie) in [
        ("nothing", json!(null), None),
        ("a number", json!({"tradeNO": 1}), None),
        ("the merchant's number", number("app1"), None),
        ("a trade that is paid by a code", number(&of_code), None),
        ("something besides", json!({"tradeNO": trade_no, "bizType": "x"}), None),
        ("another buyer's", number(&trade_no), Some(stranger.as_str())),
    ] {
        for decision in ["", "approve"] {
            let told = bridge(&shop, &wrong, decision, cookie).await;
            assert_eq!(told["resultCode"], "4000", "{what}");
            assert!(!told["memo"].as_str().unwrap().is_empty(), "{what}");
        }
    }
    assert_eq!(sandbox.alipay_trade("app1").unwrap().trade_status, "WAIT_BUYER_PAY");
    shop.call("alipay.trade.close", json!({"out_trade_no": "app1"})).await.good();
    assert_eq!(bridge(&shop, &number(&trade_no), "", None).await["memo"], "the order is closed");
}

#[tokio::test]
async fn the_page_can_be_told_something_else_than_what_came_of_it() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    for (fault, name, code) in [
        (Fault::BridgeSaysCancel, "told1", "6001"),
        (Fault::BridgeSaysPending, "told2", "8000"),
        (Fault::BridgeSaysUnknown, "told3", "6004"),
    ] {
        let trade_no = created(&shop, &sandbox, name).await;
        sandbox.faults().set(fault, FaultFrequency::Times(1));
        assert_eq!(bridge(&shop, &number(&trade_no), "approve", None).await["resultCode"], code);
        assert_eq!(sandbox.alipay_trade(name).unwrap().trade_status, "TRADE_SUCCESS");
    }
    // And a create call that is not answered has made its trade.
    sandbox.faults().set_answer_hold(Duration::from_millis(1));
    sandbox.faults().set(Fault::CreateTimeout, FaultFrequency::Times(1));
    let (buyer, _) = sandbox.new_alipay_buyer().unwrap();
    let order = order(&shop, "lost1", &buyer);
    let mut parameters = shop.parameters(CREATE, &order);
    shop.sign(&mut parameters);
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
    assert_eq!(shop.open(&format!("{}/gateway.do?{query}", shop.account.base_url)).await.0, 504);
    let made = sandbox.alipay_trade("lost1").unwrap();
    assert_eq!(made.trade_status, "WAIT_BUYER_PAY");
    assert_eq!(create(&shop, &order, NOTIFY).await.good()["trade_no"], made.trade_no);
}

#[tokio::test]
async fn the_script_is_there_for_pages_of_any_origin() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let address = format!("{}/bridge/alipay.js", sandbox.public_url());
    let script = shop.http.get(address).send().await.unwrap();
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    let text = script.text().await.unwrap();
    for part in ["AlipayJSBridgeReady", "tradePay", "bridge-pay", "bridge-cancel", "bridge-no-network", "AlipayClient"]
    {
        assert!(text.contains(part), "{part}");
    }
}
