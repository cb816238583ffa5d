//! Payment inside WeChat: the prepay number, the app's checks, and what the page is told.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{Fault, FaultFrequency, Sandbox};
use serde_json::{Value, json};
use support::{Client, Receiver, ask_bridge, config, now_s};

const NOTIFY: &str = "http://127.0.0.1:9/notify";
const FAIL: &str = "get_brand_wcpay_request:fail";

fn order(client: &Client, sandbox: &Sandbox, number: &str, notify_url: &str) -> Value {
    let mut order = client.order(number, 100, notify_url);
    order.as_object_mut().unwrap().remove("scene_info");
    order["payer"] = json!({"openid": sandbox.new_openid().unwrap()});
    order
}

async fn prepay(client: &Client, order: &Value) -> String {
    let created = client.call("POST", "/v3/pay/transactions/jsapi", Some(order.clone())).await;
    assert_eq!(created.status, 200, "{}", created.text);
    assert_eq!(created.json().as_object().unwrap().len(), 1);
    created.json()["prepay_id"].as_str().unwrap().to_owned()
}

/// What a merchant's page passes to the bridge.
fn parameters(client: &Client, prepay_id: &str) -> Value {
    let (time, nonce, package) = (now_s().to_string(), "5K8264ILTKCH16CQ", format!("prepay_id={prepay_id}"));
    let message = format!("{}\n{time}\n{nonce}\n{package}\n", client.merchant.appid);
    json!({
        "appId": client.merchant.appid, "timeStamp": time, "nonceStr": nonce, "package": package, "signType": "RSA",
        "paySign": client.sign(&message),
    })
}

async fn ask(client: &Client, parameters: &Value, decision: &str, cookie: Option<&str>) -> Value {
    ask_bridge(&client.http, &format!("{}/bridge/pay{decision}", client.base_url), parameters, cookie).await
}

#[tokio::test]
async fn a_payer_pays_in_the_app_and_the_merchant_is_told() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    let order = order(&client, &sandbox, "bridge0001", &receiver.url);
    let parameters = parameters(&client, &prepay(&client, &order).await);
    let shown = ask(&client, &parameters, "", None).await;
    assert_eq!(shown["cashier"]["total_fen"], 100);
    assert_eq!(shown["cashier"]["description"], order["description"]);
    let declined = ask(&client, &parameters, "?decision=decline", None).await;
    assert_eq!(declined, json!({"err_msg": "get_brand_wcpay_request:cancel"}));
    assert_eq!(sandbox.order("bridge0001").unwrap().declined, 1);
    assert_eq!(ask(&client, &parameters, "?decision=perhaps", None).await["err_msg"], FAIL);
    let paid = ask(&client, &parameters, "?decision=approve", None).await;
    assert_eq!(paid, json!({"err_msg": "get_brand_wcpay_request:ok"}));
    let told = receiver.wait_for(1).await[0].open(&client.merchant);
    assert_eq!((&told["trade_type"], &told["payer"]), (&json!("JSAPI"), &order["payer"]));
    assert_eq!(ask(&client, &parameters, "?decision=approve", None).await["err_msg"], FAIL, "once");
    assert_eq!(ask(&client, &parameters, "", None).await["err_msg"], FAIL, "paid");
}

#[tokio::test]
async fn each_call_gives_a_fresh_number_and_the_earlier_ones_still_lead_to_the_order() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let order = order(&client, &sandbox, "bridge0001", NOTIFY);
    let first = prepay(&client, &order).await;
    let second = prepay(&client, &order).await;
    assert_ne!(first, second);
    for prepay_id in [&first, &second] {
        assert!(ask(&client, &parameters(&client, prepay_id), "", None).await["cashier"].is_object());
    }
    let mut another = order.clone();
    another["payer"] = json!({"openid": sandbox.new_openid().unwrap()});
    client.call("POST", "/v3/pay/transactions/jsapi", Some(another)).await.refused(403, "OUT_TRADE_NO_USED");
    assert_eq!(
        ask(&client, &parameters(&client, &first), "?decision=approve", None).await["err_msg"],
        json!("get_brand_wcpay_request:ok")
    );
    client.call("POST", "/v3/pay/transactions/jsapi", Some(order)).await.refused(400, "ORDER_PAID");
    assert_eq!(sandbox.orders().len(), 1);
}

#[tokio::test]
async fn what_the_app_would_refuse_fails_and_changes_nothing() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let prepay_id = prepay(&client, &order(&client, &sandbox, "bridge0001", NOTIFY)).await;
    let good = parameters(&client, &prepay_id);
    let other = Client::of(sandbox.second_merchant().unwrap(), &sandbox);
    let h5 = client.create(&client.order("bridge0002", 100, NOTIFY)).await.json();
    let h5_prepay = h5["h5_url"].as_str().unwrap().split_once("prepay_id=").unwrap().1.to_owned();
    let mut forged = good.clone();
    forged["paySign"] = json!(other.sign("something"));
    for (what, wrong) in [
        ("nothing", json!(null)),
        ("an unknown number", parameters(&client, "wx201410272009395522657a690389285100")),
        ("another kind's number", parameters(&client, &h5_prepay)),
        ("another merchant's page", parameters(&other, &prepay_id)),
        ("another key", forged),
    ] {
        for decision in ["", "?decision=approve"] {
            let answer = ask(&client, &wrong, decision, None).await;
            assert_eq!(answer["err_msg"], FAIL, "{what}");
            assert!(!answer["err_desc"].as_str().unwrap().is_empty(), "{what}");
        }
    }
    let stranger = "sandbox_person=abcdefghijklmnopqrstuvwxyz012345";
    assert_eq!(ask(&client, &good, "?decision=approve", Some(stranger)).await["err_msg"], FAIL, "another user's");
    assert!(sandbox.orders().iter().all(|order| order.trade_state == "NOTPAY"));
    // The number of an order inside WeChat opens no page outside.
    let outside = client.http.get(format!("{}/h5/pay?prepay_id={prepay_id}", client.base_url)).send().await.unwrap();
    assert_eq!(outside.status(), 404);
    assert_eq!(client.close("bridge0001").await.status, 204);
    assert_eq!(ask(&client, &good, "", None).await["err_desc"], "the order is closed");
}

#[tokio::test]
async fn the_page_can_be_told_of_a_payment_that_it_was_cancelled() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let parameters = parameters(&client, &prepay(&client, &order(&client, &sandbox, "bridge0001", NOTIFY)).await);
    sandbox.faults().set(Fault::BridgeSaysCancel, FaultFrequency::Times(1));
    let told = ask(&client, &parameters, "?decision=approve", None).await;
    assert_eq!(told["err_msg"], "get_brand_wcpay_request:cancel");
    assert_eq!(sandbox.order("bridge0001").unwrap().trade_state, "SUCCESS");
}

#[tokio::test]
async fn the_script_and_its_preflight_are_there_for_pages_of_any_origin() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let http = Client::new(&sandbox).http;
    let script = http.get(format!("{}/bridge/wechat.js", sandbox.public_url())).send().await.unwrap();
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    let text = script.text().await.unwrap();
    for part in ["WeixinJSBridgeReady", "getBrandWCPayRequest", "bridge-pay", "bridge-cancel", "MicroMessenger"] {
        assert!(text.contains(part), "{part}");
    }
    let preflight = http
        .request(reqwest::Method::OPTIONS, format!("{}/bridge/pay", sandbox.public_url()))
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-headers"], "content-type");
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example");
}
