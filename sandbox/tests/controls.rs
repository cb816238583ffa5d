//! What a test makes the provider do beside the faults, and faults of what is told.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{Fault, FaultFrequency, RefundStatus};
use support::{Client, Receiver, config, until};

#[tokio::test]
async fn what_was_told_is_told_again_as_it_was() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    client.create(&client.order("again00001", 100, &receiver.url)).await;
    assert!(!sandbox.repeat_callback("again00001"), "nothing was told yet");
    sandbox.approve("again00001").unwrap();
    receiver.wait_for(1).await;
    until("it was taken", || sandbox.order("again00001").unwrap().callback_accepted).await;
    assert!(sandbox.repeat_callback("again00001"));
    let told = receiver.wait_for(2).await;
    assert_eq!(told[0].json()["id"], told[1].json()["id"]);
    assert_eq!(told[0].open(&client.merchant), told[1].open(&client.merchant));
}

#[tokio::test]
async fn a_refund_that_was_done_comes_back_and_can_be_ended_again() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    client.create(&client.order("again00001", 100, &receiver.url)).await;
    sandbox.approve("again00001").unwrap();
    client.ask_refund(&client.refund("again00001", "r1", 100, 100)).await;
    assert!(!sandbox.bounce_refund("r2"));
    until("it is done", || sandbox.refund("r1").unwrap().status == RefundStatus::Success).await;
    assert!(sandbox.bounce_refund("r1"));
    assert_eq!(client.query_refund("r1").await.json()["status"], "ABNORMAL");
    assert!(!sandbox.bounce_refund("r1"), "it is not done any more");
    assert!(sandbox.settle_refund("r1"));
    assert_eq!(client.query_refund("r1").await.json()["status"], "SUCCESS");
}

#[tokio::test]
async fn an_odd_callback_carries_a_good_signature() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let odd = [
        (Fault::WrongCurrency, "odd000000001", "/amount/currency", "HKD"),
        (Fault::UnknownNumber, "odd000000002", "/out_trade_no", "200000000ddo"),
    ];
    for (fault, number, field, value) in odd {
        let receiver = Receiver::answering(204).await;
        client.create(&client.order(number, 100, &receiver.url)).await;
        sandbox.faults().set(fault, FaultFrequency::Times(1));
        sandbox.approve(number).unwrap();
        let told = receiver.wait_for(1).await.remove(0);
        assert!(told.verifies(&client.merchant));
        assert_eq!(told.open(&client.merchant).pointer(field).unwrap(), value);
    }
    let receiver = Receiver::answering(204).await;
    client.create(&client.order("odd000000003", 100, &receiver.url)).await;
    sandbox.faults().set(Fault::UnknownEvent, FaultFrequency::Times(1));
    sandbox.approve("odd000000003").unwrap();
    let told = receiver.wait_for(1).await.remove(0);
    assert!(told.verifies(&client.merchant));
    assert_eq!(told.json()["event_type"], "TRANSACTION.RECONSIDERED");
}

#[tokio::test]
async fn what_is_paid_less_is_told_and_refunded_as_what_was_paid() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(204).await;
    client.create(&client.order("less000001", 100, &receiver.url)).await;
    sandbox.faults().set(Fault::PaidLess, FaultFrequency::Times(1));
    sandbox.approve("less000001").unwrap();
    let told = receiver.wait_for(1).await.remove(0).open(&client.merchant);
    assert_eq!(told["amount"]["total"], 99);
    client.ask_refund(&client.refund("less000001", "r1", 100, 100)).await.refused(400, "INVALID_REQUEST");
    assert_eq!(client.ask_refund(&client.refund("less000001", "r1", 99, 99)).await.status, 200);
    let calls = sandbox.calls();
    assert_eq!(calls.iter().filter(|call| *call == "POST /v3/refund/domestic/refunds").count(), 2, "{calls:?}");
}
