//! Orders and refunds through their states: what may be repeated, what may not, what a restart keeps.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{Config, Fault, FaultFrequency, PayError, RefundStatus, StartError};
use serde_json::json;
use std::time::Duration;
use support::{Client, Receiver, config, now_s, rfc3339, until};

const NOTIFY: &str = "http://127.0.0.1:9/notify";

#[tokio::test]
async fn creating_again_is_the_same_order_and_changing_it_is_refused() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let order = client.order("state00001", 100, NOTIFY);
    let first = client.create(&order).await.json();
    assert_eq!(client.create(&order).await.json(), first);
    for (field, value) in [("amount", json!({"total": 101, "currency": "CNY"})), ("description", json!("other"))] {
        let mut changed = order.clone();
        changed[field] = value;
        client.create(&changed).await.refused(403, "OUT_TRADE_NO_USED");
    }
    let mut native = order.clone();
    native.as_object_mut().unwrap().remove("scene_info");
    client.call("POST", "/v3/pay/transactions/native", Some(native)).await.refused(403, "OUT_TRADE_NO_USED");
    sandbox.approve("state00001").unwrap();
    client.create(&order).await.refused(400, "ORDER_PAID");
    assert_eq!(sandbox.orders().len(), 1);
}

#[tokio::test]
async fn closing_is_repeatable_and_no_paid_order_is_closed() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let order = client.order("state00001", 100, NOTIFY);
    let h5_url = client.create(&order).await.json()["h5_url"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let closed = client.close("state00001").await;
        assert_eq!((closed.status, closed.text.as_str()), (204, ""));
    }
    assert_eq!(client.query("state00001").await.json()["trade_state"], "CLOSED");
    client.create(&order).await.refused(400, "ORDER_CLOSED");
    assert_eq!(sandbox.approve("state00001"), Err(PayError::Closed));
    assert_eq!(client.http.get(&h5_url).send().await.unwrap().status(), 410);

    assert_eq!(client.create(&client.order("state00002", 100, NOTIFY)).await.status, 200);
    sandbox.approve("state00002").unwrap();
    assert_eq!(sandbox.approve("state00002"), Err(PayError::AlreadyPaid));
    client.close("state00002").await.refused(400, "ORDER_PAID");
    assert_eq!(client.query("state00002").await.json()["trade_state"], "SUCCESS");
}

#[tokio::test]
async fn an_order_ends_at_its_time() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let mut order = client.order("state00001", 100, NOTIFY);
    order["time_expire"] = json!(rfc3339(now_s() + 600));
    assert_eq!(client.create(&order).await.status, 200);
    sandbox.advance(Duration::from_secs(601));
    assert_eq!(sandbox.approve("state00001"), Err(PayError::Closed));
    // What cannot be paid any more is not closed by that: only by its merchant, or after seven days.
    assert_eq!(sandbox.order("state00001").unwrap().trade_state, "NOTPAY");
    sandbox.advance(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(sandbox.order("state00001").unwrap().trade_state, "CLOSED");
}

#[tokio::test]
async fn a_payment_under_way_goes_through_after_the_end() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    for number in ["state00001", "state00002"] {
        assert_eq!(client.create(&client.order(number, 100, NOTIFY)).await.status, 200);
    }
    assert_eq!(client.close("state00001").await.status, 204);
    sandbox.faults().set(Fault::PaidAfterClose, FaultFrequency::Times(1));
    sandbox.approve("state00001").unwrap();
    assert_eq!(client.query("state00001").await.json()["trade_state"], "SUCCESS");

    sandbox.faults().set(Fault::CloseBusy, FaultFrequency::Times(1));
    let busy = client.close("state00002").await;
    assert_eq!((busy.status, busy.code().as_str()), (202, "USER_PAYING"));
    client.verify_answer(&busy);
    sandbox.faults().set(Fault::PaidBeforeClose, FaultFrequency::Times(1));
    client.close("state00002").await.refused(400, "ORDER_PAID");
}

#[tokio::test]
async fn declining_leaves_the_order_payable_and_returns_the_browser() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let created = client.create(&client.order("state00001", 100, NOTIFY)).await.json();
    let h5_url = created["h5_url"].as_str().unwrap();
    let (page, prepay_id) = h5_url.split_once("?prepay_id=").unwrap();
    let post = |decision: &str, back: &str| {
        let fields = [("prepay_id", prepay_id), ("redirect_url", back), ("decision", decision)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        client.http.post(page).body(body).send()
    };
    let declined = post("decline", "https://example.com/back?a=1&b=2").await.unwrap();
    assert_eq!(declined.status(), 303);
    assert_eq!(declined.headers()["location"], "https://example.com/back?a=1&b=2");
    let view = sandbox.order("state00001").unwrap();
    assert_eq!((view.trade_state, view.declined), ("NOTPAY", 1));
    assert_eq!(post("perhaps", "").await.unwrap().status(), 400);
    // No way back but to the web: a script's address is dropped.
    let approved = post("approve", "javascript:alert(1)").await.unwrap();
    assert_eq!(approved.status(), 200);
    assert!(!approved.text().await.unwrap().contains("javascript"));
    assert_eq!(sandbox.order("state00001").unwrap().trade_state, "SUCCESS");
    let again = post("approve", "https://example.com/back").await.unwrap();
    assert_eq!(again.status(), 200);
    assert!(again.text().await.unwrap().contains("https://example.com/back"));
    assert_eq!(client.http.get(format!("{page}?prepay_id=wx1")).send().await.unwrap().status(), 404);
    assert_eq!(client.http.get(page).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn the_page_escapes_what_the_merchant_wrote() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let mut order = client.order("state00001", 100, NOTIFY);
    order["description"] = json!("<script>alert('1')</script> & \"2\"");
    let created = client.create(&order).await.json();
    let h5_url = created["h5_url"].as_str().unwrap();
    let inside = client.http.get(h5_url).header("User-Agent", "Mozilla/5.0 MicroMessenger/8.0").send().await.unwrap();
    assert_eq!(inside.status(), 403, "H5 payment is refused inside WeChat");
    let page = client.http.get(h5_url).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;2&quot;"));
}

#[tokio::test]
async fn refunds_are_capped_and_repeatable() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(client.create(&client.order("state00001", 100, NOTIFY)).await.status, 200);
    sandbox.approve("state00001").unwrap();
    let part = client.refund("state00001", "r1", 60, 100);
    let first = client.ask_refund(&part).await.json();
    assert_eq!(first["status"], "PROCESSING");
    assert_eq!(client.ask_refund(&part).await.json()["refund_id"], first["refund_id"]);
    client.ask_refund(&client.refund("state00001", "r1", 61, 100)).await.refused(400, "INVALID_REQUEST");
    client.ask_refund(&client.refund("state00001", "r2", 41, 100)).await.refused(400, "INVALID_REQUEST");
    assert_eq!(client.ask_refund(&client.refund("state00001", "r2", 40, 100)).await.status, 200);
    client.ask_refund(&client.refund("state00001", "r3", 1, 100)).await.refused(400, "INVALID_REQUEST");
    until("both refunds succeed", || sandbox.refunds().iter().all(|one| one.status == RefundStatus::Success)).await;
    assert_eq!(client.ask_refund(&part).await.json()["status"], "SUCCESS");
    assert!(!sandbox.settle_refund("r1"));
    assert_eq!(sandbox.refunds().iter().map(|one| one.refund_fen).sum::<i64>(), 100);
}

#[tokio::test]
async fn at_most_fifty_refunds_are_made_of_one_order() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(client.create(&client.order("state00001", 100, NOTIFY)).await.status, 200);
    sandbox.approve("state00001").unwrap();
    for number in 0..50 {
        let refund = client.refund("state00001", &format!("r{number}"), 1, 100);
        assert_eq!(client.ask_refund(&refund).await.status, 200);
    }
    client.ask_refund(&client.refund("state00001", "r50", 1, 100)).await.refused(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn concurrent_payments_and_refunds_of_one_order_count_once() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let client = Client::new(&sandbox);
    let receiver = Receiver::answering(200).await;
    assert_eq!(client.create(&client.order("state00001", 100, &receiver.url)).await.status, 200);
    let paid = (0..20).filter(|_| sandbox.approve("state00001").is_ok()).count();
    assert_eq!(paid, 1);
    let refunds: Vec<_> = (0..10).map(|n| client.refund("state00001", &format!("r{n}"), 30, 100)).collect();
    let asked = futures_util::future::join_all(refunds.iter().map(|refund| client.ask_refund(refund))).await;
    assert_eq!(asked.iter().filter(|answer| answer.status == 200).count(), 3);
    until("the callback is accepted", || sandbox.order("state00001").unwrap().callback_accepted).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_second_start_goes_on_where_the_first_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Config { data_dir: Some(folder.path().join("provider")), ..config() };
    let (refusing, receiver) = (Receiver::answering(500).await, Receiver::answering(204).await);

    // The next delivery is 3 s away: time enough to stop before it.
    let sandbox = sandbox::start(Config { speed: 5.0, ..kept.clone() }).await.unwrap();
    let client = Client::new(&sandbox);
    let (merchant, second) = (sandbox.merchant(), sandbox.second_merchant().unwrap());
    assert_eq!(client.create(&client.order("state00001", 100, &refusing.url)).await.status, 200);
    assert_eq!(client.create(&client.order("state00002", 200, &receiver.url)).await.status, 200);
    sandbox.approve("state00001").unwrap();
    sandbox.approve("state00002").unwrap();
    let mut refund = client.refund("state00002", "r1", 200, 200);
    refund["notify_url"] = json!(receiver.url);
    assert_eq!(client.ask_refund(&refund).await.status, 200);
    until("one callback is refused, the other accepted", || {
        sandbox.callbacks().refused >= 1 && sandbox.order("state00002").unwrap().callback_accepted
    })
    .await;
    until("the refusal is written down", || sandbox.order("state00001").unwrap().callbacks_sent >= 1).await;
    let sent_before = sandbox.order("state00001").unwrap().callbacks_sent;
    let taken = sandbox::start(kept.clone()).await;
    assert!(matches!(taken, Err(StartError::InUse { .. })));
    sandbox.shutdown().await;

    let sandbox = sandbox::start(kept.clone()).await.unwrap();
    let client = Client::new(&sandbox);
    assert_eq!(sandbox.merchant().merchant_private_key_pem, merchant.merchant_private_key_pem);
    assert_eq!(sandbox.merchant().platform_keys, merchant.platform_keys);
    assert_eq!(sandbox.second_merchant().unwrap().api_v3_key, second.api_v3_key);
    assert_eq!(client.query("state00001").await.json()["trade_state"], "SUCCESS");
    client.create(&client.order("state00002", 201, &receiver.url)).await.refused(403, "OUT_TRADE_NO_USED");
    until("the refund under way ends", || sandbox.refund("r1").unwrap().status == RefundStatus::Success).await;
    let told = receiver.wait_for(2).await;
    assert_eq!(told[1].json()["event_type"], "REFUND.SUCCESS");
    assert!(told[1].verifies(&merchant));
    until("the owed callback comes again", || sandbox.order("state00001").unwrap().callbacks_sent > sent_before).await;
    let deliveries = refusing.taken();
    assert_eq!(deliveries[0].json()["id"], deliveries[1].json()["id"]);
    assert_eq!(receiver.count(), 2, "what was accepted was sent again");
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_and_any_other_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Config { data_dir: Some(folder.path().to_path_buf()), ..config() };
    let sandbox = sandbox::start(kept.clone()).await.unwrap();
    let client = Client::new(&sandbox);
    for number in ["state00001", "state00002"] {
        assert_eq!(client.create(&client.order(number, 100, NOTIFY)).await.status, 200);
    }
    sandbox.shutdown().await;
    let journal = folder.path().join("wechat-journal.jsonl");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() - 10]).unwrap();
    let sandbox = sandbox::start(kept.clone()).await.unwrap();
    assert_eq!(sandbox.orders().len(), 1);
    sandbox.shutdown().await;
    std::fs::write(&journal, [b"{}\n", whole.as_slice()].concat()).unwrap();
    let damaged = sandbox::start(kept).await;
    assert!(matches!(damaged, Err(StartError::Malformed { line: 1, .. })));
}

#[tokio::test]
async fn a_bad_configuration_is_told() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let taken = sandbox::start(Config { listen: sandbox.local_addr(), ..config() }).await;
    assert!(matches!(taken, Err(StartError::Listen { .. })));
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(sandbox::start(Config { speed, ..config() }).await, Err(StartError::Speed(_))));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let unusable = Config { data_dir: Some(file.path().to_path_buf()), ..config() };
    assert!(matches!(sandbox::start(unusable).await, Err(StartError::Data { .. })));
}
