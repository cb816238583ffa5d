//! Callbacks under every fault: when they come, how often, and what they say.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sandbox::{Config, Fault, FaultFrequency, RefundStatus, Sandbox};
use serde_json::json;
use support::{Client, Receiver, config, now_s, until};

/// A sandbox with one order of 1,000 fen that is told to `receiver`.
async fn with_order(receiver: &Receiver) -> (Sandbox, Client) {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(client.create(&client.order("call000001", 1000, &receiver.url)).await.status, 200);
    (sandbox, client)
}

#[tokio::test]
async fn a_refused_callback_comes_again_until_it_is_accepted() {
    let receiver = Receiver::deciding(Box::new(|_, before| [500, 404, 202, 301, 200][before.min(4)])).await;
    let (sandbox, client) = with_order(&receiver).await;
    sandbox.approve("call000001").unwrap();
    let taken = receiver.wait_for(5).await;
    until("it is accepted", || sandbox.order("call000001").unwrap().callback_accepted).await;
    let counts = sandbox.callbacks();
    assert_eq!((counts.sent, counts.accepted, counts.refused), (5, 1, 4));
    let distinct = |header: &str| taken.iter().map(|one| one.header(header).to_owned()).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct("wechatpay-nonce"), 5, "each delivery is signed anew");
    assert!(taken.iter().all(|one| one.verifies(&client.merchant)));
    assert!(taken.iter().all(|one| one.json()["id"] == taken[0].json()["id"]));
    assert!(taken.iter().all(|one| one.open(&client.merchant) == taken[0].open(&client.merchant)));
}

#[tokio::test]
async fn the_schedule_is_the_providers_divided_by_the_speed_and_ends() {
    let receiver = Receiver::answering(503).await;
    // 86,640 s of schedule in 4.3 s.
    let sandbox = sandbox::start(Config { speed: 20_000.0, ..config() }).await.unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(client.create(&client.order("call000001", 100, &receiver.url)).await.status, 200);
    let start = Instant::now();
    sandbox.approve("call000001").unwrap();
    let taken = receiver.wait_for(16).await;
    assert!(start.elapsed() >= Duration::from_millis(4_000), "{:?}", start.elapsed());
    let gap = |n: usize| taken[n + 1].at - taken[n].at;
    // The last two gaps are 6 h, that of the fourth 3 min.
    assert!(gap(14) >= Duration::from_millis(1_000) && gap(13) >= Duration::from_millis(1_000));
    assert!(gap(3) < gap(14));
    until("it is given up", || sandbox.callbacks().refused == 16).await;
    assert!(!sandbox.order("call000001").unwrap().callback_accepted);
}

#[tokio::test]
async fn an_unreachable_merchant_is_called_again() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    assert_eq!(client.create(&client.order("call000002", 100, "http://127.0.0.1:9/notify")).await.status, 200);
    sandbox.approve("call000002").unwrap();
    until("three calls fail", || sandbox.callbacks().unreachable >= 3).await;
}

#[tokio::test]
async fn duplicates_come_fifty_at_once() {
    let receiver = Receiver::answering_together(204, 50).await;
    let (sandbox, _) = with_order(&receiver).await;
    sandbox.faults().set_duplicates(50);
    sandbox.faults().set(Fault::DuplicateCallback, FaultFrequency::Times(1));
    sandbox.approve("call000001").unwrap();
    let taken = receiver.wait_for(50).await;
    until("all are counted", || sandbox.callbacks().accepted == 50).await;
    assert!(taken.iter().all(|one| one.body == taken[0].body));
    assert_eq!(sandbox.order("call000001").unwrap().callbacks_sent, 50);
}

#[tokio::test]
async fn a_dropped_callback_comes_by_the_schedule() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, _) = with_order(&receiver).await;
    sandbox.faults().set(Fault::DropCallback, FaultFrequency::Times(2));
    sandbox.approve("call000001").unwrap();
    receiver.wait_for(1).await;
    until("it is accepted", || sandbox.order("call000001").unwrap().callback_accepted).await;
    let counts = sandbox.callbacks();
    assert_eq!((counts.dropped, counts.sent), (2, 1));
}

#[tokio::test]
async fn delays_reorder_callbacks() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    sandbox.faults().set_max_delay(Duration::from_millis(300));
    sandbox.faults().set(Fault::DelayCallback, FaultFrequency::Probability(1.0));
    let numbers: Vec<_> = (0..10).map(|n| format!("delay0000{n}")).collect();
    for number in &numbers {
        assert_eq!(client.create(&client.order(number, 100, &receiver.url)).await.status, 200);
    }
    numbers.iter().for_each(|number| sandbox.approve(number).unwrap());
    let taken = receiver.wait_for(10).await;
    let came: Vec<_> = taken.iter().map(|one| one.open(&client.merchant)["out_trade_no"].clone()).collect();
    assert_ne!(came, numbers.iter().map(|number| json!(number)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_callback_may_come_before_the_create_answer() {
    let receiver = Receiver::answering(204).await;
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    sandbox.faults().set(Fault::CallbackBeforeCreateResponse, FaultFrequency::Times(1));
    let created = client.create(&client.order("call000001", 100, &receiver.url)).await;
    assert_eq!((created.status, receiver.count()), (200, 1));
    assert_eq!(client.query("call000001").await.json()["trade_state"], "SUCCESS");
}

#[tokio::test]
async fn work_may_be_done_and_never_answered() {
    let receiver = Receiver::answering(204).await;
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    sandbox.faults().set(Fault::CreateTimeout, FaultFrequency::Times(1));
    let order = client.order("call000001", 100, &receiver.url);
    let draft = client.draft("POST", "/v3/pay/transactions/h5", order.to_string());
    let lost = client.request(&draft).timeout(Duration::from_secs(3)).send().await;
    assert!(lost.unwrap_err().is_timeout());
    assert_eq!(client.query("call000001").await.json()["trade_state"], "NOTPAY");
    assert_eq!(client.create(&order).await.status, 200);
    sandbox.approve("call000001").unwrap();

    sandbox.faults().set(Fault::RefundTimeout, FaultFrequency::Times(1));
    sandbox.faults().set_answer_hold(Duration::from_millis(10));
    let refund = client.refund("call000001", "r1", 100, 100);
    let given_up = client.ask_refund(&refund).await;
    assert_eq!((given_up.status, given_up.header("wechatpay-signature")), (504, ""));
    assert_eq!(sandbox.refunds().len(), 1);
    assert_eq!(client.ask_refund(&refund).await.status, 200);
    assert_eq!(sandbox.refunds().len(), 1);
}

#[tokio::test]
async fn lies_come_under_a_good_signature() {
    for (fault, pointer) in
        [(Fault::WrongAppid, "/appid"), (Fault::WrongMchid, "/mchid"), (Fault::WrongAmount, "/amount/total")]
    {
        let receiver = Receiver::deciding(Box::new(|_, before| if before == 0 { 400 } else { 204 })).await;
        let (sandbox, client) = with_order(&receiver).await;
        sandbox.faults().set(fault, FaultFrequency::Times(1));
        sandbox.approve("call000001").unwrap();
        let taken = receiver.wait_for(2).await;
        assert!(taken.iter().all(|one| one.verifies(&client.merchant)));
        let (lie, truth) = (taken[0].open(&client.merchant), taken[1].open(&client.merchant));
        assert_ne!(lie.pointer(pointer), truth.pointer(pointer), "{fault:?}");
        let mut corrected = lie.clone();
        *corrected.pointer_mut(pointer).unwrap() = truth.pointer(pointer).unwrap().clone();
        assert_eq!(corrected, truth, "{fault:?} changes nothing else");
    }
}

#[tokio::test]
async fn decoys_come_before_the_callback_and_are_counted_when_they_are_believed() {
    // This merchant believes the first one only.
    let receiver = Receiver::deciding(Box::new(|_, before| if before == 1 || before == 2 { 401 } else { 200 })).await;
    let (sandbox, client) = with_order(&receiver).await;
    for fault in [Fault::ForeignSignature, Fault::StaleTimestamp, Fault::SignatureProbe] {
        sandbox.faults().set(fault, FaultFrequency::Times(1));
    }
    sandbox.approve("call000001").unwrap();
    let taken = receiver.wait_for(4).await;
    until("all are counted", || sandbox.callbacks().accepted == 1).await;
    let counts = sandbox.callbacks();
    assert_eq!((counts.decoys_sent, counts.decoys_accepted, counts.sent), (3, 1, 1));
    let foreign = sandbox.second_merchant().unwrap();
    assert!(taken[0].verifies(&foreign) && !taken[0].verifies(&client.merchant));
    assert_eq!(taken[0].open(&foreign)["mchid"], foreign.mchid);
    let age_s = now_s() - taken[1].header("wechatpay-timestamp").parse::<i64>().unwrap();
    assert!(age_s >= 600 && taken[1].verifies(&client.merchant));
    assert!(taken[2].header("wechatpay-signature").starts_with("WECHATPAY/SIGNTEST/"));
    assert!(taken[3].verifies(&client.merchant));
}

#[tokio::test]
async fn the_signing_key_can_be_chosen_and_rotated() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    let [(certificate, _), (public_key, _)] = client.merchant.platform_keys.as_slice() else { panic!() };
    assert!(public_key.starts_with("PUB_KEY_ID_"));
    assert!(certificate.len() == 40 && certificate.bytes().all(|byte| b"0123456789ABCDEF".contains(&byte)));
    assert_eq!(client.query("call000001").await.header("wechatpay-serial"), public_key);
    assert!(sandbox.select_signing_key(certificate) && !sandbox.select_signing_key("none"));
    assert_eq!(client.query("call000001").await.header("wechatpay-serial"), certificate);
    sandbox.faults().set(Fault::KeyRotation, FaultFrequency::Times(1));
    sandbox.approve("call000001").unwrap();
    let taken = receiver.wait_for(1).await;
    assert_eq!(taken[0].header("wechatpay-serial"), public_key);
    assert!(taken[0].verifies(&client.merchant));
}

#[tokio::test]
async fn a_coupon_pays_a_part_and_gets_its_part_back() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    sandbox.faults().set(Fault::Coupon, FaultFrequency::Times(1));
    sandbox.approve("call000001").unwrap();
    let told = receiver.wait_for(1).await[0].open(&client.merchant);
    assert_eq!((&told["amount"]["total"], &told["amount"]["payer_total"]), (&json!(1000), &json!(800)));
    assert_eq!(told["promotion_detail"][0]["amount"], 200);
    let refund = client.ask_refund(&client.refund("call000001", "r1", 500, 1000)).await.json();
    assert_eq!((&refund["amount"]["refund"], &refund["amount"]["payer_refund"]), (&json!(500), &json!(400)));
}

#[tokio::test]
async fn refunds_may_be_refused_closed_or_stuck() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    sandbox.approve("call000001").unwrap();
    receiver.wait_for(1).await;
    let ask = |number: &str| {
        let mut refund = client.refund("call000001", number, 1000, 1000);
        refund["notify_url"] = json!(receiver.url);
        refund
    };
    sandbox.faults().set(Fault::NotEnough, FaultFrequency::Times(1));
    client.ask_refund(&ask("r1")).await.refused(403, "NOT_ENOUGH");
    assert!(sandbox.refunds().is_empty());

    sandbox.faults().set(Fault::RefundClosed, FaultFrequency::Times(1));
    assert_eq!(client.ask_refund(&ask("r1")).await.json()["status"], "PROCESSING");
    let taken = receiver.wait_for(2).await;
    assert_eq!(taken[1].json()["event_type"], "REFUND.CLOSED");
    assert_eq!(client.ask_refund(&ask("r1")).await.json()["status"], "CLOSED");
    assert_eq!(client.query("call000001").await.json()["trade_state"], "SUCCESS");

    sandbox.faults().set(Fault::RefundAbnormal, FaultFrequency::Times(1));
    assert_eq!(client.ask_refund(&ask("r2")).await.json()["status"], "PROCESSING");
    let taken = receiver.wait_for(3).await;
    assert_eq!(taken[2].open(&client.merchant)["refund_status"], "ABNORMAL");
    client.ask_refund(&ask("r3")).await.refused(400, "INVALID_REQUEST");
    assert!(sandbox.settle_refund("r2"));
    let taken = receiver.wait_for(4).await;
    assert_eq!(taken[3].json()["event_type"], "REFUND.SUCCESS");
    assert_eq!(sandbox.refund("r2").unwrap().status, RefundStatus::Success);
}

#[tokio::test]
async fn calls_may_fail_without_being_done() {
    let receiver = Receiver::answering(204).await;
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let order = client.order("call000001", 100, &receiver.url);
    sandbox.faults().set(Fault::SystemError, FaultFrequency::Times(1));
    client.create(&order).await.refused(500, "SYSTEM_ERROR");
    sandbox.faults().set(Fault::FrequencyLimited, FaultFrequency::Times(1));
    client.create(&order).await.refused(429, "FREQUENCY_LIMITED");
    sandbox.faults().set(Fault::BadGateway, FaultFrequency::Times(1));
    let answer = client.create(&order).await;
    assert_eq!((answer.status, answer.header("wechatpay-signature")), (502, ""));
    assert!(sandbox.orders().is_empty());
    sandbox.faults().set(Fault::ForgedAnswer, FaultFrequency::Times(1));
    let draft = client.draft("POST", "/v3/pay/transactions/h5", order.to_string());
    let forged = client.send(&draft).await;
    assert_eq!(forged.status, 200);
    assert!(!client.answer_verifies(&forged));
    sandbox.faults().set(Fault::SystemError, FaultFrequency::Probability(1.0));
    sandbox.faults().clear_all();
    assert_eq!(client.create(&order).await.status, 200);
}

#[tokio::test]
async fn associated_data_is_sometimes_empty_and_unknown_fields_are_there() {
    let receiver = Receiver::answering(204).await;
    let (sandbox, client) = with_order(&receiver).await;
    let mut seen = BTreeSet::new();
    for n in 0..64 {
        let number = format!("extra{n:05}");
        assert_eq!(client.create(&client.order(&number, 100, &receiver.url)).await.status, 200);
        sandbox.approve(&number).unwrap();
        let callback = receiver.wait_for(n + 1).await.remove(n);
        seen.insert(callback.json()["resource"]["associated_data"].as_str().unwrap().to_owned());
        assert!(callback.open(&client.merchant).get("a_field_of_next_year").is_some());
        if seen.len() == 2 {
            return;
        }
    }
    panic!("of 64 callbacks none or all had empty associated data: {seen:?}");
}
