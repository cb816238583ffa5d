//! Payment by a QR code: the scan, and the page behind it.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::TradeKind;
use scraper::{Html, Selector};
use serde_json::Value;
use support::{Client, Receiver, config};
use url::Url;

const NOTIFY: &str = "http://127.0.0.1:9/notify";

fn order(client: &Client, number: &str, notify_url: &str) -> Value {
    let mut order = client.order(number, 1234, notify_url);
    order.as_object_mut().unwrap().remove("scene_info");
    order
}

async fn code(client: &Client, order: &Value) -> String {
    let created = client.call("POST", "/v3/pay/transactions/native", Some(order.clone())).await;
    assert_eq!(created.status, 200, "{}", created.text);
    created.json()["code_url"].as_str().unwrap().to_owned()
}

fn address(client: &Client, code: &str) -> Url {
    Url::parse_with_params(&format!("{}/native/scan", client.base_url), [("code", code)]).unwrap()
}

/// Sends the page's form as its button says.
async fn press(client: &Client, page: &Url, html: &str, button: &str) -> reqwest::Response {
    let attribute = |selector: &str, name: &str| {
        let selector = Selector::parse(selector).unwrap();
        Html::parse_document(html).select(&selector).next().unwrap().value().attr(name).unwrap().to_owned()
    };
    let form = [("prepay_id", attribute("input[name=prepay_id]", "value")), ("decision", attribute(button, "value"))];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let action = page.join(&attribute("form", "action")).unwrap();
    client.http.post(action).body(body).send().await.unwrap()
}

#[tokio::test]
async fn a_person_scans_leaves_scans_again_and_pays() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    let order = order(&client, "native0001", &receiver.url);
    let first = code(&client, &order).await;
    let second = code(&client, &order).await;
    assert_ne!(first, second, "each call gives a fresh code");
    let page = address(&client, &first);
    // The app's own browser is no hindrance here, as it is for H5 payment.
    let shown = client.http.get(page.clone()).header("User-Agent", "MicroMessenger/8.0").send().await.unwrap();
    assert_eq!(shown.status(), 200);
    let html = shown.text().await.unwrap();
    assert!(html.contains("12.34") && html.contains(&client.merchant.mchid), "{html}");
    assert_eq!(press(&client, &page, &html, "button.no").await.status(), 200);
    let view = sandbox.order("native0001").unwrap();
    assert_eq!((view.kind, view.trade_state, view.declined), (TradeKind::Native, "NOTPAY", 1));

    let page = address(&client, &second);
    let html = client.http.get(page.clone()).send().await.unwrap().text().await.unwrap();
    assert_eq!(press(&client, &page, &html, "button.yes").await.status(), 200);
    let told = receiver.wait_for(1).await[0].open(&client.merchant);
    assert_eq!((told["trade_type"].as_str(), told["out_trade_no"].as_str()), (Some("NATIVE"), Some("native0001")));
    let again = client.http.get(address(&client, &first)).send().await.unwrap();
    assert!(again.text().await.unwrap().contains("paid already"));
}

#[tokio::test]
async fn other_texts_and_ended_orders_lead_nowhere() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let status = async |address: Url| client.http.get(address).send().await.unwrap().status().as_u16();
    let scanned = code(&client, &order(&client, "native0001", NOTIFY)).await;
    assert_eq!(status(Url::parse(&format!("{}/native/scan", client.base_url)).unwrap()).await, 200, "the scanner");
    assert_eq!(status(address(&client, "https://shop.example/")).await, 400);
    assert_eq!(status(address(&client, "weixin://wxpay/bizpayurl?pr=JyC91EIz1")).await, 404);
    let h5 = client.create(&client.order("native0002", 100, NOTIFY)).await.json();
    let prepay_id = h5["h5_url"].as_str().unwrap().split_once("prepay_id=wx").unwrap().1.to_owned();
    assert_eq!(status(address(&client, &format!("weixin://wxpay/bizpayurl?pr={prepay_id}"))).await, 404);
    assert_eq!(client.close("native0001").await.status, 204);
    assert_eq!(status(address(&client, &scanned)).await, 410);
}
