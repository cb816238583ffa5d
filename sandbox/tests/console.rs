//! Refunds that a person makes in the merchant's console, past the merchant's server.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{RefundStatus, Sandbox};
use support::{Client, Receiver, config, until};

async fn paid(sandbox: &Sandbox, receiver: &Receiver, number: &str, total_fen: i64) -> Client {
    let client = Client::new(sandbox);
    assert_eq!(client.create(&client.order(number, total_fen, &receiver.url)).await.status, 200);
    sandbox.approve(number).unwrap();
    receiver.wait_for(1).await;
    client
}

#[tokio::test]
async fn several_are_made_under_numbers_of_the_providers_and_never_more_than_was_paid() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let receiver = Receiver::answering(204).await;
    let client = paid(&sandbox, &receiver, "console001", 1000).await;
    let told = sandbox.refund_in_console("console001", 300, true).unwrap();
    let untold = sandbox.refund_in_console("console001", 200, false).unwrap();
    assert_ne!(told, untold);
    sandbox.refund_in_console("console001", 501, false).unwrap_err();
    sandbox.refund_in_console("console002", 1, false).unwrap_err();
    until("both go through", || {
        [&told, &untold].iter().all(|number| sandbox.refund(number).unwrap().status == RefundStatus::Success)
    })
    .await;

    let callback = receiver.wait_for(2).await.remove(1);
    assert!(callback.verifies(&client.merchant));
    let notice = callback.open(&client.merchant);
    assert_eq!(notice["out_refund_no"].as_str(), Some(told.as_str()));
    assert_eq!(notice["out_trade_no"], "console001");
    assert_eq!((&notice["amount"]["refund"], &notice["amount"]["total"]), (&300.into(), &1000.into()));
    assert_eq!(sandbox.refund(&untold).unwrap().callbacks_sent, 0, "mostly nobody is told");
    assert_eq!(client.query("console001").await.json()["trade_state"], "REFUND");
    assert_eq!(client.query_refund(&untold).await.json()["amount"]["refund"], 200);
    // The merchant's own refund gets what is left.
    client.ask_refund(&client.refund("console001", "ours1", 1000, 1000)).await.refused(400, "INVALID_REQUEST");
    assert_eq!(client.ask_refund(&client.refund("console001", "ours2", 500, 1000)).await.status, 200);
    assert_eq!(receiver.count(), 2);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_person_makes_one_by_the_page() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let receiver = Receiver::answering(204).await;
    let client = paid(&sandbox, &receiver, "console001", 1050).await;
    let console = format!("{}/console", client.base_url);
    let page = client.http.get(&console).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("console001") && page.contains("10.50") && page.contains("Merchant console"), "{page}");
    let mchid = client.merchant.mchid.as_str();
    let post = |yuan: &str| {
        let form = [("mchid", mchid), ("out_trade_no", "console001"), ("yuan", yuan)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        client.http.post(&console).header("Content-Type", "application/x-www-form-urlencoded").body(body).send()
    };
    for wrong in ["", "x", "-1", "10.51"] {
        assert_eq!(post(wrong).await.unwrap().status(), 400, "{wrong}");
    }
    assert!(sandbox.refunds().is_empty());
    assert_eq!(post("0.50").await.unwrap().status(), 303);
    let refunds = sandbox.refunds();
    assert_eq!((refunds.len(), refunds[0].refund_fen, refunds[0].callbacks_sent), (1, 50, 0));
    let page = client.http.get(&console).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("¥0.50") && page.contains("value=\"10.00\""), "{page}");
    sandbox.shutdown().await;
}
