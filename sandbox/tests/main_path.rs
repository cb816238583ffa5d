//! A sale as the merchant lives it: create, pay on the page, callback, query, refund.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{RefundStatus, TradeKind};
use scraper::{Html, Selector};
use serde_json::json;
use support::{Client, Receiver, config, until};

fn attribute(html: &str, selector: &str, attribute: &str) -> String {
    let selector = Selector::parse(selector).unwrap();
    let page = Html::parse_document(html);
    let element = page.select(&selector).next().unwrap_or_else(|| panic!("no {selector:?} in {html}"));
    element.value().attr(attribute).unwrap().to_owned()
}

#[tokio::test]
async fn an_order_is_paid_on_the_page_told_and_refunded() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;

    let created = client.create(&client.order("sale000001", 1234, &receiver.url)).await;
    assert_eq!(created.status, 200, "{}", created.text);
    let h5_url = created.json()["h5_url"].as_str().unwrap().to_owned();
    let queried = client.query("sale000001").await.json();
    assert_eq!(queried["trade_state"], "NOTPAY");
    assert!(queried.get("transaction_id").is_none());

    // The browser goes to the page, with the way back appended, and the payer approves by the plain form.
    let back = "http://127.0.0.1:9/s/abc?sale=1&lang=zh";
    let address = url::Url::parse_with_params(&h5_url, [("redirect_url", back)]).unwrap();
    let page = client.http.get(address.clone()).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let html = page.text().await.unwrap();
    for shown in ["12.34", "摇摇车 3 次 100%", &client.merchant.mchid, "沙箱", "sandbox", "确认支付", "Cancel"]
    {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    assert!(!html.contains("<script"));
    let form = [
        ("prepay_id", attribute(&html, "input[name=prepay_id]", "value")),
        ("redirect_url", attribute(&html, "input[name=redirect_url]", "value")),
        ("decision", attribute(&html, "button.yes", "value")),
    ];
    let action = address.join(&attribute(&html, "form", "action")).unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let post = client.http.post(action).header("Content-Type", "application/x-www-form-urlencoded").body(body);
    let decided = post.send().await.unwrap();
    assert_eq!(decided.status(), 303);
    assert_eq!(decided.headers()["location"], back);

    let callback = receiver.wait_for(1).await.remove(0);
    assert!(callback.verifies(&client.merchant));
    assert_eq!(callback.header("wechatpay-signature-type"), "WECHATPAY2-SHA256-RSA2048");
    let body = callback.json();
    assert_eq!(body["event_type"], "TRANSACTION.SUCCESS");
    assert_eq!(body["resource_type"], "encrypt-resource");
    assert_eq!(body["summary"], "支付成功");
    let told = callback.open(&client.merchant);
    assert_eq!(told["out_trade_no"], "sale000001");
    assert_eq!(told["trade_state"], "SUCCESS");
    assert_eq!(told["trade_type"], "MWEB");
    assert_eq!((&told["amount"]["total"], &told["amount"]["payer_total"]), (&json!(1234), &json!(1234)));
    assert_eq!(
        (told["appid"].as_str(), told["mchid"].as_str()),
        (Some(client.merchant.appid.as_str()), Some(client.merchant.mchid.as_str()))
    );

    let queried = client.query("sale000001").await.json();
    assert_eq!(queried["trade_state"], "SUCCESS");
    assert_eq!(queried["transaction_id"], told["transaction_id"]);
    assert!(queried["success_time"].as_str().unwrap().ends_with("+08:00"));
    let by_id =
        format!("/v3/pay/transactions/id/{}?mchid={}", told["transaction_id"].as_str().unwrap(), client.merchant.mchid);
    assert_eq!(client.call("GET", &by_id, None).await.json(), queried);

    let mut refund = client.refund("sale000001", "refund01", 1234, 1234);
    refund["notify_url"] = json!(receiver.url);
    let asked = client.ask_refund(&refund).await;
    assert_eq!((asked.status, asked.json()["status"].as_str()), (200, Some("PROCESSING")), "{}", asked.text);
    let callback = receiver.wait_for(2).await.remove(1);
    assert!(callback.verifies(&client.merchant));
    assert_eq!(callback.json()["event_type"], "REFUND.SUCCESS");
    let told = callback.open(&client.merchant);
    assert_eq!((told["refund_status"].as_str(), told["out_refund_no"].as_str()), (Some("SUCCESS"), Some("refund01")));
    assert!(told.get("status").is_none());
    let refunded = client.query_refund("refund01").await.json();
    assert_eq!((refunded["status"].as_str(), &refunded["amount"]["refund"]), (Some("SUCCESS"), &json!(1234)));
    assert!(refunded["success_time"].is_string());
    assert_eq!(client.query("sale000001").await.json()["trade_state"], "REFUND");

    until("both callbacks are accepted", || sandbox.callbacks().accepted == 2).await;
    let view = sandbox.order("sale000001").unwrap();
    assert_eq!((view.kind, view.trade_state, view.callbacks_sent), (TradeKind::H5, "REFUND", 1));
    assert_eq!(sandbox.refund("refund01").unwrap().status, RefundStatus::Success);
    sandbox.shutdown().await;
}
