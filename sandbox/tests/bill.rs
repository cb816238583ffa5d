//! The daily bill, of days that the journal is moved back to.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use chrono::{Duration, NaiveDate};
use sandbox::{Config, Fault, FaultFrequency, RefundStatus};
use serde_json::Value;
use support::{Answer, Client, config, until};

const TWO_DAYS_MS: i64 = 2 * 24 * 3600 * 1000;

/// Moves every time of the journal two days back, as if the sandbox had run then.
fn move_back(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_i64() {
                    Some(time_ms) if name.ends_with("_ms") => *field = (time_ms - TWO_DAYS_MS).into(),
                    _ => move_back(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_back),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

async fn bytes(client: &Client, path: &str) -> (u16, Vec<u8>) {
    let draft = client.draft("GET", path, String::new());
    let response = client.request(&draft).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

fn path_of(offer: &Answer, client: &Client) -> String {
    offer.json()["download_url"].as_str().unwrap().strip_prefix(&client.base_url).unwrap().to_owned()
}

fn sha1(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes))
}

#[tokio::test]
async fn the_bill_of_a_past_day_tells_payments_and_refunds_in_yuan() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Config { data_dir: Some(folder.path().to_path_buf()), ..config() };
    let sandbox = sandbox::start(kept.clone()).await.unwrap();
    let client = Client::new(&sandbox);
    sandbox.faults().set(Fault::Coupon, FaultFrequency::Times(1));
    for (number, total_fen) in [("bill000001", 1050), ("bill000002", 500), ("bill000003", 700)] {
        let created = client.create(&client.order(number, total_fen, "http://127.0.0.1:9/notify")).await;
        assert_eq!(created.status, 200);
    }
    sandbox.approve("bill000001").unwrap();
    sandbox.approve("bill000002").unwrap();
    let success_time = client.query("bill000001").await.json()["success_time"].as_str().unwrap().to_owned();
    let paid_day: NaiveDate = success_time[..10].parse().unwrap();
    assert_eq!(client.ask_refund(&client.refund("bill000002", "back1", 200, 500)).await.status, 200);
    until("the refund succeeds", || sandbox.refund("back1").unwrap().status == RefundStatus::Success).await;
    client
        .call("GET", &format!("/v3/bill/tradebill?bill_date={paid_day}"), None)
        .await
        .refused(400, "NO_STATEMENT_EXIST");
    sandbox.shutdown().await;

    let journal = folder.path().join("wechat-journal.jsonl");
    let moved: String = std::fs::read_to_string(&journal)
        .unwrap()
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            move_back(&mut record);
            format!("{record}\n")
        })
        .collect();
    std::fs::write(&journal, moved).unwrap();

    let sandbox = sandbox::start(kept).await.unwrap();
    let client = Client::new(&sandbox);
    let day = paid_day - Duration::days(2);
    let offer = client.call("GET", &format!("/v3/bill/tradebill?bill_date={day}&bill_type=ALL"), None).await;
    assert_eq!(offer.json()["hash_type"], "SHA1", "{}", offer.text);
    let (status, plain) = bytes(&client, &path_of(&offer, &client)).await;
    assert_eq!((status, sha1(&plain)), (200, offer.json()["hash_value"].as_str().unwrap().to_owned()));
    let text = String::from_utf8(plain.clone()).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + 3 + 2, "{text}");
    assert!(lines[..4].iter().all(|line| line.len() == 27), "{text}");
    let column = |name: &str| lines[0].iter().position(|found| found.trim_start_matches('\u{feff}') == name).unwrap();
    let number = column("商户订单号");
    let paid = lines.iter().find(|line| line.get(number) == Some(&"`bill000001")).unwrap();
    assert_eq!((paid[column("订单金额")], paid[column("代金券金额")]), ("`10.50", "`2.10"));
    assert_eq!((paid[column("交易状态")], paid[column("手续费")]), ("`SUCCESS", "`0.06"));
    let back = lines.iter().find(|line| line.get(column("商户退款单号")) == Some(&"`back1")).unwrap();
    assert_eq!((back[column("申请退款金额")], back[column("退款状态")]), ("`2.00", "`SUCCESS"));
    assert_eq!(lines[5][..3], ["`3", "`15.50", "`2.00"]);

    let offer = client.call("GET", &format!("/v3/bill/tradebill?bill_date={day}&tar_type=GZIP"), None).await;
    let (_, packed) = bytes(&client, &path_of(&offer, &client)).await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    let refunds = client.call("GET", &format!("/v3/bill/tradebill?bill_date={day}&bill_type=REFUND"), None).await;
    let (_, refunds) = bytes(&client, &path_of(&refunds, &client)).await;
    assert_eq!(String::from_utf8(refunds).unwrap().lines().count(), 1 + 1 + 2);

    let path = format!("/v3/bill/tradebill?bill_date={day}&bill_type=ALL&sub_mchid=1900000001");
    let of_sub_merchant = client.call("GET", &path, None).await;
    let (_, of_sub_merchant) = bytes(&client, &path_of(&of_sub_merchant, &client)).await;
    assert_eq!(
        String::from_utf8(of_sub_merchant).unwrap().lines().count(),
        1 + 2,
        "all were sold by the merchant itself"
    );
    client.call("GET", &path.replace("1900000001", "x"), None).await.refused(400, "PARAM_ERROR");

    for query in ["", "?bill_date=2018-6-8", "?bill_date=2018-13-01", &format!("?bill_date={day}&bill_type=SOME")] {
        client.call("GET", &format!("/v3/bill/tradebill{query}"), None).await.refused(400, "PARAM_ERROR");
    }
    let unsigned = client.http.get(format!("{}{}", client.base_url, path_of(&offer, &client))).send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    assert_eq!(bytes(&client, "/v3/billdownload/file?token=x").await.0, 400);
}
