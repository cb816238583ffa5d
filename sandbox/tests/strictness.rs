//! What the provider refuses, each with its code. Every case spoils one thing of a request that is good otherwise.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Client, Draft, config, now_s, rfc3339};

const NOTIFY: &str = "http://127.0.0.1:9/notify";

fn h5(client: &Client) -> Draft {
    client.draft("POST", "/v3/pay/transactions/h5", client.order("strict0001", 100, NOTIFY).to_string())
}

fn replace(draft: &mut Draft, header: &str, by: Option<&str>) {
    draft.headers.iter_mut().filter(|(name, _)| *name == header).for_each(|(_, value)| *value = by.map(str::to_owned));
}

#[tokio::test]
async fn a_request_that_does_not_prove_its_sender_changes_nothing() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    type Spoil = fn(&mut Draft);
    let cases: [(&str, Spoil); 10] = [
        ("another scheme", |draft| draft.scheme = "WECHATPAY2-SM2-WITH-SM3"),
        ("an unknown merchant", |draft| draft.mchid = "1999999999".to_owned()),
        ("another serial", |draft| draft.serial = "00".to_owned()),
        ("no base64", |draft| draft.signature = Some("###".to_owned())),
        ("a signature of nothing", |draft| draft.signature = Some("AAAA".to_owned())),
        ("a body changed after signing", |draft| {
            draft.body_sent = Some(draft.body.replace(r#""total":100"#, r#""total":1"#))
        }),
        ("a body with other blanks", |draft| draft.body_sent = Some(draft.body.replace("\":", "\": "))),
        ("a time too old", |draft| draft.timestamp = now_s() - 310),
        ("a time too new", |draft| draft.timestamp = now_s() + 310),
        ("a nonce too long", |draft| draft.nonce = "n".repeat(33)),
    ];
    for (what, spoil) in cases {
        let mut draft = h5(&client);
        spoil(&mut draft);
        let answer = client.send(&draft).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "SIGN_ERROR"), "{what}: {}", answer.text);
        assert_eq!(answer.header("wechatpay-signature"), "", "{what}: signed for a stranger");
    }
    let bare = client.http.post(format!("{}/v3/pay/transactions/h5", client.base_url)).body("{}").send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert!(sandbox.orders().is_empty());

    // A forged request must not use the nonce up; the good one does.
    let mut forged = h5(&client);
    forged.signature = Some("AAAA".to_owned());
    client.send(&forged).await.refused(401, "SIGN_ERROR");
    forged.signature = None;
    assert_eq!(client.send(&forged).await.status, 200);
    client.send(&forged).await.refused(401, "SIGN_ERROR");
}

#[tokio::test]
async fn another_merchants_key_does_not_open_this_merchants_orders() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let first = Client::new(&sandbox);
    let other = sandbox.second_merchant().unwrap();
    assert_ne!(other.mchid, first.merchant.mchid);
    assert_ne!(other.api_v3_key, first.merchant.api_v3_key);
    let second = Client::of(other, &sandbox);
    assert_eq!(first.create(&first.order("strict0001", 100, NOTIFY)).await.status, 200);
    second.query("strict0001").await.refused(404, "ORDER_NOT_EXIST");
    let path = format!("/v3/pay/transactions/out-trade-no/strict0001?mchid={}", first.merchant.mchid);
    second.call("GET", &path, None).await.refused(400, "PARAM_ERROR");
    second.create(&first.order("strict0002", 100, NOTIFY)).await.refused(400, "PARAM_ERROR");
    let mut posing = h5(&second);
    posing.mchid = first.merchant.mchid.clone();
    posing.serial = first.merchant.merchant_serial.clone();
    second.send(&posing).await.refused(401, "SIGN_ERROR");
    second.ask_refund(&second.refund("strict0001", "r1", 1, 100)).await.refused(404, "RESOURCE_NOT_EXISTS");
    // The same number is another order with another merchant.
    assert_eq!(second.create(&second.order("strict0001", 100, NOTIFY)).await.status, 200);
}

#[tokio::test]
async fn headers_that_api_v3_asks_for_are_required() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    // The HTTP client of this test adds `Accept: */*` by itself where there is none.
    for (header, by) in [("User-Agent", None), ("Accept", Some("text/html")), ("Content-Type", None)] {
        let mut draft = h5(&client);
        replace(&mut draft, header, by);
        let answer = client.send(&draft).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_REQUEST"), "{header}: {}", answer.text);
    }
    let mut draft = h5(&client);
    draft.headers.push(("Wechatpay-Serial", Some("PUB_KEY_ID_0000".to_owned())));
    client.send(&draft).await.refused(400, "PARAM_ERROR");
    // Each of the platform's keys answers when it is named.
    for (name, _) in &client.merchant.platform_keys {
        let mut draft = client.draft("GET", "/v3/certificates", String::new());
        draft.headers.push(("Wechatpay-Serial", Some(name.clone())));
        let answer = client.send(&draft).await;
        assert_eq!((answer.status, answer.header("wechatpay-serial")), (200, name.as_str()));
        client.verify_answer(&answer);
    }
    client.call("GET", "/v3/no/such/thing", None).await.refused(404, "RESOURCE_NOT_EXISTS");
    client.call("PATCH", "/v3/pay/transactions/h5", None).await.refused(404, "RESOURCE_NOT_EXISTS");
    let large = json!({"mchid": "x".repeat(70_000)});
    client.call("POST", "/v3/pay/transactions/h5", Some(large)).await.refused(400, "PARAM_ERROR");
}

#[tokio::test]
async fn each_field_of_an_order_is_checked() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let good = client.order("strict0001", 100, NOTIFY);
    let long_url = format!("http://example.com/{}", "a".repeat(250));
    let cases: Vec<(&str, Value)> = vec![
        ("/mchid", json!("1999999999")),
        ("/mchid", json!(19)),
        ("/description", json!("")),
        ("/description", json!("长".repeat(128))),
        ("/description", json!("a\nb")),
        ("/out_trade_no", json!("short")),
        ("/out_trade_no", json!("a".repeat(33))),
        ("/out_trade_no", json!("strict 0001")),
        ("/out_trade_no", json!("严格严格严格")),
        ("/time_expire", json!(rfc3339(now_s() - 1))),
        ("/time_expire", json!(rfc3339(now_s() + 8 * 24 * 3600))),
        ("/time_expire", json!("2030-01-01 00:00:00+08:00")),
        ("/time_expire", json!("2030-01-01T00:00:00")),
        ("/time_expire", json!("2030-01-01T00:00:00.5+08:00")),
        ("/time_expire", json!(1_900_000_000)),
        ("/notify_url", json!("http://example.com/notify?sale=1")),
        ("/notify_url", json!("http://example.com/notify#x")),
        ("/notify_url", json!("ftp://example.com/notify")),
        ("/notify_url", json!("/notify")),
        ("/notify_url", json!(long_url)),
        ("/amount/total", json!(0)),
        ("/amount/total", json!(-1)),
        ("/amount/total", json!(1.0)),
        ("/amount/total", json!("100")),
        ("/amount/total", json!(100_000_001)),
        ("/amount/currency", json!("USD")),
        ("/amount", json!({"currency": "CNY"})),
        ("/amount", json!({"total": 100, "currency": "CNY", "payer_total": 100})),
        ("/scene_info", json!(null)),
        ("/scene_info", json!({"payer_client_ip": "203.0.113.7"})),
        ("/scene_info/payer_client_ip", json!("phone")),
        ("/scene_info/h5_info/type", json!("wap")),
        ("/attach", json!("a".repeat(129))),
        ("/payer", json!({"openid": "o1"})),
        ("/sub_mchid", json!("1900000001")),
    ];
    for (pointer, value) in cases {
        let mut bad = good.clone();
        match bad.pointer_mut(pointer) {
            Some(field) => *field = value.clone(),
            None => bad[&pointer[1..]] = value.clone(),
        }
        let answer = client.create(&bad).await;
        let found = (answer.status, answer.code());
        assert_eq!(found, (400, "PARAM_ERROR".to_owned()), "{pointer} = {value}: {}", answer.text);
    }
    let mut bad = good.clone();
    bad["appid"] = json!("wx0000000000000000");
    client.create(&bad).await.refused(400, "APPID_MCHID_NOT_MATCH");
    for missing in ["appid", "mchid", "description", "out_trade_no", "notify_url", "amount"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(missing);
        client.create(&bad).await.refused(400, "PARAM_ERROR");
    }
    for text in ["", "{", "[]", r#"{"mchid":"1","mchid":"1"}"#, "\u{feff}{}"] {
        let mut draft = client.draft("POST", "/v3/pay/transactions/h5", text.to_owned());
        draft.headers.retain(|(name, _)| *name != "Content-Type");
        draft.headers.push(("Content-Type", Some("application/json".to_owned())));
        client.send(&draft).await.refused(400, "PARAM_ERROR");
    }
    assert!(sandbox.orders().is_empty());
    assert_eq!(client.create(&good).await.status, 200);
}

#[tokio::test]
async fn the_other_kinds_have_their_own_fields_and_answers() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let mut order = client.order("strict0001", 100, NOTIFY);
    order.as_object_mut().unwrap().remove("scene_info");
    let native = client.call("POST", "/v3/pay/transactions/native", Some(order.clone())).await;
    assert!(native.json()["code_url"].as_str().unwrap().starts_with("weixin://wxpay/bizpayurl?pr="));
    order["out_trade_no"] = json!("strict0002");
    client.call("POST", "/v3/pay/transactions/jsapi", Some(order.clone())).await.refused(400, "PARAM_ERROR");
    // An openid is taken only if this provider gave it out for this app.
    order["payer"] = json!({"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"});
    client.call("POST", "/v3/pay/transactions/jsapi", Some(order.clone())).await.refused(400, "PARAM_ERROR");
    let other = Client::of(sandbox.second_merchant().unwrap(), &sandbox);
    order["payer"] = json!({"openid": sandbox.new_openid().unwrap()});
    let mut others = order.clone();
    others["appid"] = json!(other.merchant.appid);
    others["mchid"] = json!(other.merchant.mchid);
    other.call("POST", "/v3/pay/transactions/jsapi", Some(others)).await.refused(400, "OPENID_MISMATCH");
    let jsapi = client.call("POST", "/v3/pay/transactions/jsapi", Some(order.clone())).await;
    assert!(jsapi.json()["prepay_id"].as_str().unwrap().starts_with("wx"));
    sandbox.approve("strict0002").unwrap();
    let queried = client.query("strict0002").await.json();
    assert_eq!((queried["trade_type"].as_str(), &queried["payer"]), (Some("JSAPI"), &order["payer"]));
}

#[tokio::test]
async fn queries_closes_and_refunds_are_checked_too() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    client.query("strict0001").await.refused(404, "ORDER_NOT_EXIST");
    client.close("strict0001").await.refused(404, "ORDER_NOT_EXIST");
    client.query_refund("none").await.refused(404, "RESOURCE_NOT_EXISTS");
    assert_eq!(client.create(&client.order("strict0001", 100, NOTIFY)).await.status, 200);
    let path = "/v3/pay/transactions/out-trade-no/strict0001";
    for query in ["", "?mchid=", "?mchid=1&x=2", "?sub_mchid=1"] {
        client.call("GET", &format!("{path}{query}"), None).await.refused(400, "PARAM_ERROR");
    }
    for body in [json!({}), json!({"mchid": "1999999999"}), json!({"mchid": client.merchant.mchid, "x": 1})] {
        client.call("POST", &format!("{path}/close"), Some(body)).await.refused(400, "PARAM_ERROR");
    }
    client.ask_refund(&client.refund("strict0001", "r1", 100, 100)).await.refused(400, "INVALID_REQUEST");
    sandbox.approve("strict0001").unwrap();
    let good = client.refund("strict0001", "r1", 100, 100);
    let param = ["PARAM_ERROR"; 9];
    let cases = [
        ("/amount/refund", json!(0)),
        ("/amount/refund", json!(0.5)),
        ("/amount/currency", json!("USD")),
        ("/out_refund_no", json!("")),
        ("/out_refund_no", json!("a b")),
        ("/reason", json!("长".repeat(81))),
        ("/notify_url", json!("http://example.com/?a=1")),
        ("/transaction_id", json!("42000")),
        ("/unknown", json!(1)),
    ];
    for ((pointer, value), code) in cases.into_iter().zip(param) {
        let mut bad = good.clone();
        match bad.pointer_mut(pointer) {
            Some(field) => *field = value,
            None => bad[&pointer[1..]] = value,
        }
        client.ask_refund(&bad).await.refused(400, code);
    }
    client.ask_refund(&client.refund("strict0001", "r1", 100, 101)).await.refused(400, "INVALID_REQUEST");
    client.ask_refund(&client.refund("strict0001", "r1", 101, 100)).await.refused(400, "INVALID_REQUEST");
    assert!(sandbox.refunds().is_empty());
}
