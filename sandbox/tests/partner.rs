//! A merchant that sells for its sub-merchants as a service provider.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{Fault, FaultFrequency, Sandbox};
use serde_json::{Value, json};
use support::{Answer, Client, Receiver, config, until};

const NOTIFY: &str = "http://127.0.0.1:9/notify";
const SUB: &str = "1900000001";
const PARTNER: &str = "/v3/pay/partner/transactions";

fn order(client: &Client, sandbox: &Sandbox, number: &str, notify_url: &str) -> Value {
    let mut order = client.order(number, 100, notify_url);
    let fields = order.as_object_mut().unwrap();
    for (direct, partner) in [("appid", "sp_appid"), ("mchid", "sp_mchid")] {
        let value = fields.remove(direct).unwrap();
        fields.insert(partner.to_owned(), value);
    }
    fields.remove("scene_info");
    order["sub_mchid"] = json!(SUB);
    order["payer"] = json!({"sp_openid": sandbox.new_openid().unwrap()});
    order
}

async fn create(client: &Client, kind: &str, order: &Value) -> Answer {
    client.call("POST", &format!("{PARTNER}/{kind}"), Some(order.clone())).await
}

async fn query(client: &Client, what: &str, sub_mchid: &str) -> Answer {
    let path = format!("{PARTNER}/{what}?sp_mchid={}&sub_mchid={sub_mchid}", client.merchant.mchid);
    client.call("GET", &path, None).await
}

#[tokio::test]
async fn a_sub_merchants_order_is_paid_told_and_refunded_by_the_service_provider() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    let order = order(&client, &sandbox, "partner001", &receiver.url);
    let created = create(&client, "jsapi", &order).await;
    assert!(created.json()["prepay_id"].as_str().unwrap().starts_with("wx"), "{}", created.text);
    let queried = query(&client, "out-trade-no/partner001", SUB).await.json();
    assert_eq!((&queried["trade_state"], &queried["sub_mchid"]), (&json!("NOTPAY"), &json!(SUB)));
    sandbox.approve("partner001").unwrap();
    assert_eq!(sandbox.order("partner001").unwrap().sub_mchid.as_deref(), Some(SUB));

    let told = receiver.wait_for(1).await[0].open(&client.merchant);
    let parties = |told: &Value| {
        let names = ["appid", "mchid", "sp_appid", "sp_mchid", "sub_mchid"];
        names.map(|name| told.get(name).map(|value| value.as_str().unwrap().to_owned()))
    };
    let (sp_appid, sp_mchid) = (client.merchant.appid.clone(), client.merchant.mchid.clone());
    let all = [None, None, Some(sp_appid), Some(sp_mchid.clone()), Some(SUB.to_owned())];
    assert_eq!(parties(&told), all);
    assert_eq!(told["payer"], order["payer"]);
    let queried = query(&client, &format!("id/{}", told["transaction_id"].as_str().unwrap()), SUB).await.json();
    assert_eq!(parties(&queried), all);
    assert_eq!((&queried["trade_state"], &queried["payer"]), (&json!("SUCCESS"), &order["payer"]));

    let mut refund = client.refund("partner001", "refund01", 100, 100);
    refund["notify_url"] = json!(receiver.url);
    client.ask_refund(&refund).await.refused(404, "RESOURCE_NOT_EXISTS");
    refund["sub_mchid"] = json!("1900000002");
    client.ask_refund(&refund).await.refused(404, "RESOURCE_NOT_EXISTS");
    refund["sub_mchid"] = json!(SUB);
    assert_eq!(client.ask_refund(&refund).await.status, 200);
    let notice = receiver.wait_for(2).await[1].open(&client.merchant);
    assert_eq!(parties(&notice), [None, None, None, Some(sp_mchid), Some(SUB.to_owned())]);
    assert_eq!(notice["refund_status"], "SUCCESS");
    client.query_refund("refund01").await.refused(404, "RESOURCE_NOT_EXISTS");
    assert_eq!(client.query_refund(&format!("refund01?sub_mchid={SUB}")).await.json()["status"], "SUCCESS");
    client.query_refund("refund01?sub_mchid=1900000009").await.refused(403, "NO_AUTH");
}

#[tokio::test]
async fn each_kind_is_made_and_closed_for_a_sub_merchant() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let mut native = order(&client, &sandbox, "partner001", NOTIFY);
    native["sub_appid"] = json!("wx0123456789abcdef");
    native.as_object_mut().unwrap().remove("payer");
    assert!(create(&client, "native", &native).await.json()["code_url"].is_string());
    assert_eq!(query(&client, "out-trade-no/partner001", SUB).await.json()["sub_appid"], "wx0123456789abcdef");
    let mut h5 = native.clone();
    h5["out_trade_no"] = json!("partner002");
    h5["scene_info"] = json!({"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}});
    let created = create(&client, "h5", &h5).await.json();
    let page = client.http.get(created["h5_url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(SUB), "the payer sees who gets the money: {page}");
    let close = async |sub_mchid: &str| {
        let body = json!({"sp_mchid": client.merchant.mchid, "sub_mchid": sub_mchid});
        client.call("POST", &format!("{PARTNER}/out-trade-no/partner002/close"), Some(body)).await
    };
    close("1900000002").await.refused(404, "ORDER_NOT_EXIST");
    close("1900000009").await.refused(403, "NO_AUTH");
    assert_eq!(close(SUB).await.status, 204);
    assert_eq!(query(&client, "out-trade-no/partner002", SUB).await.json()["trade_state"], "CLOSED");
}

#[tokio::test]
async fn the_parties_must_fit_and_direct_calls_do_not_see_these_orders() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let good = order(&client, &sandbox, "partner001", NOTIFY);
    let mut wrong = good.clone();
    wrong["sub_mchid"] = json!("1900000009");
    create(&client, "jsapi", &wrong).await.refused(403, "NO_AUTH");
    for (field, value) in [
        ("sp_mchid", json!("1999999999")),
        ("mchid", json!(client.merchant.mchid)),
        ("payer", json!({"openid": "o1"})),
        ("payer", json!({"sub_openid": "o1"})),
        ("payer", json!({"sp_openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"})),
        ("sub_mchid", json!(null)),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        create(&client, "jsapi", &wrong).await.refused(400, "PARAM_ERROR");
    }
    let mut wrong = good.clone();
    wrong["sp_appid"] = json!("wx0000000000000000");
    create(&client, "jsapi", &wrong).await.refused(400, "APPID_MCHID_NOT_MATCH");
    assert!(sandbox.orders().is_empty());

    assert_eq!(create(&client, "jsapi", &good).await.status, 200);
    let mut other = good.clone();
    other["sub_mchid"] = json!("1900000002");
    create(&client, "jsapi", &other).await.refused(403, "OUT_TRADE_NO_USED");
    client.query("partner001").await.refused(404, "ORDER_NOT_EXIST");
    client.close("partner001").await.refused(404, "ORDER_NOT_EXIST");
    query(&client, "out-trade-no/partner001", "1900000002").await.refused(404, "ORDER_NOT_EXIST");
    query(&client, "out-trade-no/partner001", "1900000009").await.refused(403, "NO_AUTH");
    let path = format!("{PARTNER}/out-trade-no/partner001?sub_mchid={SUB}");
    client.call("GET", &path, None).await.refused(400, "PARAM_ERROR");
    assert_eq!(client.create(&client.order("partner002", 100, NOTIFY)).await.status, 200);
    query(&client, "out-trade-no/partner002", SUB).await.refused(404, "ORDER_NOT_EXIST");
    // The list is the test's to change.
    sandbox.set_sub_merchants(&["1900000009"]);
    query(&client, "out-trade-no/partner001", SUB).await.refused(403, "NO_AUTH");
    query(&client, "out-trade-no/partner001", "1900000009").await.refused(404, "ORDER_NOT_EXIST");
}

#[tokio::test]
async fn a_wrong_party_in_a_callback_stands_in_the_service_providers_field() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    assert_eq!(create(&client, "jsapi", &order(&client, &sandbox, "partner001", &receiver.url)).await.status, 200);
    sandbox.faults().set(Fault::WrongMchid, FaultFrequency::Times(1));
    sandbox.approve("partner001").unwrap();
    let told = receiver.wait_for(1).await[0].open(&client.merchant);
    assert_eq!((&told["sp_mchid"], told.get("mchid")), (&json!("1999999999"), None));
    until("it is accepted", || sandbox.order("partner001").unwrap().callback_accepted).await;
}
