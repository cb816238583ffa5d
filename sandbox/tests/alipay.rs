//! Alipay's side: the main path of a payment, what is refused, and notices.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::{Config, Fault, FaultFrequency};
use serde_json::json;
use support::alipay::{Desk, NOTIFY, Parameters, Shop, decoded};
use support::{config, until};

const REFUND: &str = "alipay.trade.refund";
const REFUND_QUERY: &str = "alipay.trade.fastpay.refund.query";

#[tokio::test]
async fn a_browser_comes_pays_and_goes_back_and_the_merchant_gives_money_back() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    assert!(shop.account.app_id.starts_with("2021") && shop.account.seller_id.starts_with("2088"));
    assert_eq!((shop.account.app_id.len(), shop.account.seller_id.len()), (16, 16));
    let desk = Desk::saying(&["success"]).await;
    let (status, html) = shop.open(&shop.page(&shop.order("wap1", "12.34"), &desk.url)).await;
    assert!(status == 200 && html.contains("12.34") && html.contains("http://shop.example/quit"), "{html}");
    // The page alone makes no trade, while it can be paid.
    shop.query("wap1").await.refused("40004", "ACQ.TRADE_NOT_EXIST");
    shop.call("alipay.trade.close", json!({"out_trade_no": "wap1"})).await.refused("40004", "ACQ.TRADE_NOT_EXIST");

    let back = url::Url::parse(&shop.press(&html, "approve").await.unwrap()).unwrap();
    let mut told = decoded(back.query().unwrap());
    assert_eq!((told.remove("token").as_deref(), back.path()), (Some("1"), "/sale"), "the merchant's own stays");
    assert!(shop.is_told_by_alipay(&told), "{told:?}");
    assert_eq!((told["out_trade_no"].as_str(), told["total_amount"].as_str()), ("wap1", "12.34"));

    let notice = desk.wait_for(1).await.remove(0);
    assert!(shop.is_told_by_alipay(&notice), "{notice:?}");
    for (name, value) in [
        ("trade_status", "TRADE_SUCCESS"),
        ("notify_type", "trade_status_sync"),
        ("app_id", &shop.account.app_id),
        ("seller_id", &shop.account.seller_id),
        ("out_trade_no", "wap1"),
        ("total_amount", "12.34"),
        ("subject", "摇摇车 3 次 100%"),
        ("passback_params", "attached"),
        ("sign_type", "RSA2"),
    ] {
        assert_eq!(notice[name], value, "{name}");
    }
    let paid = shop.query("wap1").await;
    assert_eq!(
        (&paid.good()["trade_status"], &paid.content["trade_no"]),
        (&json!("TRADE_SUCCESS"), &json!(notice["trade_no"]))
    );
    assert!(paid.content["send_pay_date"].is_string());
    shop.call("alipay.trade.close", json!({"out_trade_no": "wap1"})).await.refused("40004", "ACQ.TRADE_HAS_SUCCESS");

    let refund =
        |number: &str, yuan: &str| json!({"out_trade_no": "wap1", "refund_amount": yuan, "out_request_no": number});
    let first = shop.call(REFUND, refund("r1", "2.34")).await;
    assert_eq!((&first.good()["fund_change"], &first.content["refund_fee"]), (&json!("Y"), &json!("2.34")));
    assert_eq!(shop.call(REFUND, refund("r1", "2.34")).await.good()["fund_change"], "N", "once");
    shop.call(REFUND, refund("r1", "2.35")).await.refused("40004", "ACQ.DISCORDANT_REPEAT_REQUEST");
    shop.call(REFUND, refund("r2", "10.01")).await.refused("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL");
    sandbox.faults().set(Fault::NotEnough, FaultFrequency::Times(1));
    shop.call(REFUND, refund("r2", "10.00")).await.refused("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH");
    let about = |number: &str| json!({"out_trade_no": "wap1", "out_request_no": number});
    assert_eq!(shop.call(REFUND_QUERY, about("r2")).await.good().get("refund_status"), None);
    assert_eq!(shop.call(REFUND, refund("r2", "10.00")).await.good()["refund_fee"], "12.34");
    let known = shop.call(REFUND_QUERY, about("r2")).await;
    assert_eq!(
        (&known.good()["refund_status"], &known.content["refund_amount"]),
        (&json!("REFUND_SUCCESS"), &json!("10.00"))
    );
    assert_eq!(shop.query("wap1").await.good()["trade_status"], "TRADE_CLOSED");
    let mut told: Vec<_> = desk.wait_for(3).await.split_off(1);
    told.sort_by_key(|told| told["out_biz_no"].clone());
    let said =
        |told: &Parameters| (told["trade_status"].clone(), told["refund_fee"].clone(), told["out_biz_no"].clone());
    assert_eq!(said(&told[0]), ("TRADE_SUCCESS".into(), "2.34".into(), "r1".into()));
    assert_eq!(said(&told[1]), ("TRADE_CLOSED".into(), "12.34".into(), "r2".into()));
    assert!(told.iter().all(|told| shop.is_told_by_alipay(told)));
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_scan_makes_a_trade_which_is_declined_closed_or_paid() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let scanned = async |code: &str| {
        let url = format!("{}/alipay/scan", shop.account.base_url);
        shop.open(url::Url::parse_with_params(&url, [("code", code)]).unwrap().as_str()).await
    };
    let order = shop.order("code1", "1.05");
    let code = shop.code(&order, NOTIFY).await;
    assert!(code.starts_with("https://qr.alipay.com/"), "{code}");
    shop.query("code1").await.refused("40004", "ACQ.TRADE_NOT_EXIST");
    assert_eq!(scanned("https://shop.example/").await.0, 400);
    let (status, html) = scanned(&code).await;
    assert!(status == 200 && html.contains("1.05"), "{html}");
    assert_eq!(shop.query("code1").await.good()["trade_status"], "WAIT_BUYER_PAY");
    assert_eq!(shop.press(&html, "decline").await, None);
    assert_eq!(sandbox.alipay_trade("code1").unwrap().declined, 1);
    let mut other = order.clone();
    other["total_amount"] = json!("1.06");
    shop.call("alipay.trade.precreate", other).await.refused("40004", "ACQ.CONTEXT_INCONSISTENT");
    shop.call("alipay.trade.close", json!({"out_trade_no": "code1"})).await.good();
    assert_eq!(shop.query("code1").await.good()["trade_status"], "TRADE_CLOSED");
    assert_eq!(scanned(&code).await.0, 410);
    shop.call("alipay.trade.precreate", order).await.refused("40004", "ACQ.TRADE_HAS_CLOSE");

    let code = shop.code(&shop.order("code2", "1.05"), NOTIFY).await;
    sandbox.approve_alipay("code2").unwrap();
    assert!(scanned(&code).await.1.contains("paid already"));
    shop.call("alipay.trade.precreate", shop.order("code2", "1.05")).await.refused("40004", "ACQ.TRADE_HAS_SUCCESS");
}

#[tokio::test]
async fn an_order_ends_by_its_own_time() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let mut order = shop.order("late1", "1.00");
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(8) + chrono::TimeDelta::seconds(2);
    order["time_expire"] = json!(soon.format("%Y-%m-%d %H:%M:%S").to_string());
    shop.open(&shop.page(&order, NOTIFY)).await;
    sandbox.decline_alipay("late1").unwrap();
    assert_eq!(shop.query("late1").await.good()["trade_status"], "WAIT_BUYER_PAY");
    until("the order to end", || sandbox.alipay_trade("late1").unwrap().trade_status == "TRADE_CLOSED").await;
    sandbox.approve_alipay("late1").unwrap_err();
    assert_eq!(shop.query("late1").await.good()["trade_status"], "TRADE_CLOSED");
    assert_eq!(shop.open(&shop.page(&order, NOTIFY)).await.0, 400);
}

#[tokio::test]
async fn each_wrong_parameter_is_refused_and_changes_nothing() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let order = shop.order("strict1", "1.00");
    let precreate = "alipay.trade.precreate";
    // Signed well, but wrong.
    for (name, value, code, sub_code) in [
        ("app_id", "2021000000000000", "40002", "isv.invalid-app-id"),
        ("app_id", "", "40001", "isv.missing-app-id"),
        ("charset", "", "40001", "isv.missing-charset"),
        ("sign_type", "RSA", "40002", "isv.invalid-signature-type"),
        ("sign_type", "", "40001", "isv.missing-signature-type"),
        ("timestamp", "2026-11-29T15:04:05", "40002", "isv.invalid-timestamp"),
        ("timestamp", "2026-11-29 15:04", "40002", "isv.invalid-timestamp"),
        ("timestamp", "", "40001", "isv.missing-timestamp"),
        ("version", "2.0", "40002", "isv.invalid-parameter"),
        ("format", "XML", "40002", "isv.invalid-format"),
        ("biz_content", "", "40001", "isv.missing-parameter"),
        ("biz_content", "{", "40002", "isv.invalid-parameter"),
        ("method", "alipay.trade.nothing", "40002", "isv.invalid-method"),
        ("method", "", "40001", "isv.missing-method"),
    ] {
        let mut parameters = shop.parameters(precreate, &order);
        if name == "charset" {
            // The address says it, too.
            let url = format!("{}/gateway.do", shop.account.base_url);
            parameters.remove("charset");
            shop.sign(&mut parameters);
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
            shop.read(&shop.open(&format!("{url}?{query}")).await.1).refused(code, sub_code);
            continue;
        }
        parameters.insert(name.into(), value.into());
        shop.sign(&mut parameters);
        let answer = shop.send(&parameters).await;
        answer.refused(code, sub_code);
        // The gateway signs what it can name the method of.
        assert_eq!((answer.is_signed, answer.node == "error_response"), (name != "method", name == "method"));
    }
    // Changed after it was signed.
    for (name, value) in
        [("biz_content", "{}"), ("notify_url", NOTIFY), ("timestamp", "2026-11-29 15:04:05"), ("sign", "x")]
    {
        let mut parameters = shop.parameters(precreate, &order);
        shop.sign(&mut parameters);
        parameters.insert(name.into(), value.into());
        shop.send(&parameters).await.refused("40002", "isv.invalid-signature");
    }
    for (field, value, sub_code) in [
        ("out_trade_no", json!("with-hyphen"), "ACQ.INVALID_PARAMETER"),
        ("out_trade_no", json!("x".repeat(65)), "ACQ.INVALID_PARAMETER"),
        ("total_amount", json!("0.00"), "ACQ.TOTAL_FEE_EXCEED"),
        ("total_amount", json!("1.001"), "ACQ.TOTAL_FEE_EXCEED"),
        ("subject", json!("a&b"), "ACQ.INVALID_PARAMETER"),
        ("product_code", json!("QUICK_WAP_WAY"), "ACQ.INVALID_PARAMETER"),
        ("seller_id", json!("2088000000000000"), "ACQ.INVALID_PARAMETER"),
        ("time_expire", json!("2020-01-01 00:00:00"), "ACQ.INVALID_PARAMETER"),
        ("time_expire", json!("10m"), "ACQ.INVALID_PARAMETER"),
    ] {
        let mut wrong = order.clone();
        wrong[field] = value;
        shop.call(precreate, wrong.clone()).await.refused("40004", sub_code);
        // No call: the payer sees it.
        if field != "product_code" {
            assert_eq!(shop.open(&shop.page(&wrong, NOTIFY)).await.0, 400, "{field}");
        }
    }
    let page = shop.page(&order, NOTIFY);
    assert_eq!(shop.open(&page.replace("strict1", "strict2")).await.0, 400, "changed after it was signed");
    assert!(sandbox.alipay_trade("strict1").is_none());
}

#[tokio::test]
async fn a_notice_comes_until_the_answer_is_the_one_word_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config { data_dir: Some(dir.path().to_path_buf()), speed: 100_000.0, ..config() };
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let desk = Desk::saying(&["fail", "success\n", "SUCCESS", "{\"code\":\"success\"}", "success"]).await;
    shop.code(&shop.order("tell1", "5.00"), &desk.url).await;
    sandbox.approve_alipay("tell1").unwrap();
    let told = desk.wait_for(5).await;
    let first = told[0]["notify_id"].clone();
    assert!(told.iter().all(|told| told["notify_id"] == first && shop.is_told_by_alipay(told)));
    until("the last to be taken", || sandbox.alipay_trade("tell1").unwrap().notices_taken == 1).await;
    assert_eq!(sandbox.alipay_trade("tell1").unwrap().notices_sent, 5);
    sandbox.shutdown().await;

    let sandbox = sandbox::start(config()).await.unwrap();
    assert_eq!(sandbox.alipay().app_private_key_pem, shop.account.app_private_key_pem, "the keys stay");
    let given = sandbox.refund_alipay_in_console("tell1", 200).unwrap();
    let told = desk.wait_for(6).await.remove(5);
    assert_eq!((told["out_biz_no"].as_str(), told["refund_fee"].as_str()), (given.as_str(), "2.00"));
    sandbox.refund_alipay_in_console("tell1", 301).unwrap_err();
    sandbox.finish_alipay("tell1").unwrap();
    assert_eq!(desk.wait_for(7).await.remove(6)["trade_status"], "TRADE_FINISHED");
    sandbox.refund_alipay_in_console("tell1", 1).unwrap_err();
    sandbox.shutdown().await;
}

#[tokio::test]
async fn trouble_is_made_as_asked() {
    let sandbox = sandbox::start(Config { speed: 100_000.0, ..config() }).await.unwrap();
    let shop = Shop::new(&sandbox);
    let faults = sandbox.faults();
    faults.set_answer_hold(std::time::Duration::from_millis(1));
    let desk = Desk::saying(&["fail", "success"]).await;
    shop.code(&shop.order("fault1", "5.00"), &desk.url).await;
    for fault in [Fault::ForeignSignature, Fault::DropCallback, Fault::WrongAmount] {
        faults.set(fault, FaultFrequency::Times(1));
    }
    sandbox.approve_alipay("fault1").unwrap();
    let told = desk.wait_for(2).await;
    assert!(!shop.is_told_by_alipay(&told[0]), "by another key");
    assert!(shop.is_told_by_alipay(&told[1]), "{:?}", told[1]);
    assert_eq!(told[1]["total_amount"], "5.01");

    faults.set(Fault::SystemError, FaultFrequency::Times(1));
    shop.query("fault1").await.refused("20000", "aop.unknow-error");
    faults.set(Fault::ForgedAnswer, FaultFrequency::Times(1));
    assert!(!shop.query("fault1").await.is_signed);
    faults.set(Fault::RefundTimeout, FaultFrequency::Times(1));
    let refund = json!({"out_trade_no": "fault1", "refund_amount": "1.00", "out_request_no": "r1"});
    let mut parameters = shop.parameters(REFUND, &refund);
    shop.sign(&mut parameters);
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
    assert_eq!(shop.open(&format!("{}/gateway.do?{query}", shop.account.base_url)).await.0, 504);
    assert_eq!(sandbox.alipay_trade("fault1").unwrap().refunded_fen, 100);
    assert_eq!(shop.call(REFUND, refund).await.good()["fund_change"], "N");
}

#[tokio::test]
async fn a_person_gives_money_back_by_the_page() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    shop.code(&shop.order("console1", "5.00"), NOTIFY).await;
    sandbox.approve_alipay("console1").unwrap();
    let console = format!("{}/alipay/console", shop.account.base_url);
    assert!(shop.open(&console).await.1.contains("console1"));
    let post = |yuan: &str| shop.http.post(&console).body(format!("out_trade_no=console1&yuan={yuan}")).send();
    for wrong in ["", "x", "5.01"] {
        assert_eq!(post(wrong).await.unwrap().status(), 400, "{wrong}");
    }
    assert_eq!(post("5.00").await.unwrap().status(), 303);
    assert_eq!(sandbox.alipay_trade("console1").unwrap().trade_status, "TRADE_CLOSED");
}
