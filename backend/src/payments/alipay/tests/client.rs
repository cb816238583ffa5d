//! Calls: what goes over the wire, and what each answer means.

use super::server::{Received, Reply, Server, check_signature, plain, refusal, signed, signed_by};
use super::*;
use crate::money::{Currency, Money};
use crate::payments::http::CALL_TIMEOUT;
use crate::payments::method::{Handoff, Invocation, Method, Payer};
use crate::payments::provider::{
    CloseOutcome, Created, Paid, PaymentRequest, Provider, ProviderError, RefundAnswer, RefundNumbers, RefundRequest,
    RefundState, TradeNumbers, TradeState,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const TRADE: &str = "CW2026112312345678";
const TRADE_NO: &str = "2026112322001468450512505578";
const QR: &str = "https://qr.alipay.com/bax03206ug0kulveltqc80a8";

fn payment(method: &str) -> PaymentRequest {
    PaymentRequest {
        out_trade_no: TRADE.into(),
        method: method.into(),
        description: "摇摇车 3 分钟".into(),
        amount: Money::new(105, Currency::Cny),
        expires_at_ms: NOW_MS + 300_999,
        payer_ip: "203.0.113.7".parse().unwrap(),
        payer: Some(Payer { scope: APP_ID.into(), id: "user 2088102534368455".into() }),
        notify_url: "https://pay.example.com/callbacks/alipay/1".into(),
        return_url: "https://pay.example.com/sale/1?a=b&c=d".into(),
        attach: "1.mark".into(),
    }
}

fn trade(out_trade_no: &str) -> TradeNumbers {
    TradeNumbers { out_trade_no: out_trade_no.into(), reference: None, provider_txn_id: None }
}

fn refund_numbers(out_refund_no: &str) -> RefundNumbers {
    RefundNumbers { trade: trade(TRADE), out_refund_no: out_refund_no.into(), reference: None }
}

pub fn refund_of(numbers: RefundNumbers, refund_minor: i64) -> RefundRequest {
    RefundRequest {
        numbers,
        refund_minor,
        total_minor: 105,
        currency: Currency::Cny,
        reason: "机器没有启动".into(),
        notify_url: "https://pay.example.com/callbacks/alipay/1".into(),
    }
}

fn refund() -> RefundRequest {
    refund_of(refund_numbers("R1"), 40)
}

fn trade_answer(status: &str) -> Value {
    json!({
        "code": "10000", "msg": "Success", "out_trade_no": TRADE, "trade_no": TRADE_NO, "trade_status": status,
        "total_amount": "1.05", "buyer_pay_amount": "0.00", "receipt_amount": "0.00",
    })
}

fn paid_answer(status: &str) -> Value {
    let mut answer = trade_answer(status);
    answer["send_pay_date"] = "2026-11-23 11:59:59".into();
    answer
}

fn refund_answer(fund_change: &str) -> Value {
    json!({
        "code": "10000", "msg": "Success", "out_trade_no": TRADE, "trade_no": TRADE_NO, "fund_change": fund_change,
        "refund_fee": "1.05",
    })
}

fn refund_found() -> Value {
    json!({
        "code": "10000", "msg": "Success", "out_trade_no": TRADE, "out_request_no": "R1", "trade_no": TRADE_NO,
        "refund_status": "REFUND_SUCCESS", "refund_amount": "0.40", "total_amount": "1.05",
    })
}

fn paid() -> Paid {
    let amount = Money::new(105, Currency::Cny);
    Paid { provider_txn_id: TRADE_NO.into(), amount, paid_at_ms: NOW_MS - 1_000, attach: String::new() }
}

async fn query_with(reply: Reply) -> Result<TradeState, ProviderError> {
    let server = Server::start(reply).await;
    alipay(&server.url).query(&trade(TRADE)).await
}

async fn close_with(replies: impl IntoIterator<Item = Reply>) -> Result<CloseOutcome, ProviderError> {
    let server = Server::replying(replies).await;
    alipay(&server.url).close(&trade(TRADE)).await
}

async fn refund_with(replies: impl IntoIterator<Item = Reply>) -> Result<RefundAnswer, ProviderError> {
    let server = Server::replying(replies).await;
    alipay(&server.url).refund(&refund()).await
}

#[track_caller]
fn refused_with<T: std::fmt::Debug>(answer: Result<T, ProviderError>, expected: &str) {
    match answer {
        Err(ProviderError::Refused { code, .. }) => assert_eq!(code, expected),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unknown<T: std::fmt::Debug>(answer: Result<T, ProviderError>, case: &str) {
    assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{case}: {answer:?}");
}

#[track_caller]
fn untrusted<T: std::fmt::Debug>(answer: Result<T, ProviderError>, case: &str) {
    assert!(matches!(answer, Err(ProviderError::Untrusted(_))), "{case}: {answer:?}");
}

#[tokio::test]
async fn a_page_order_is_an_address_and_no_call() {
    let server = Server::start(Reply::HangUp).await;
    let created = alipay(&server.url).create(&payment("wap")).await.unwrap();
    let (Handoff::Redirect { url }, None) = (&created.handoff, &created.reference) else { panic!("{created:?}") };
    let url = url::Url::parse(url).unwrap();
    assert_eq!(format!("http://{}", url.authority()), server.url);
    assert_eq!(url.path(), "/gateway.do");
    assert!(!url.query().unwrap().contains('+'), "blanks are %20");
    let parameters: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    check_signature(&parameters);
    assert_eq!(parameters["method"], "alipay.trade.wap.pay");
    assert_eq!(parameters["notify_url"], "https://pay.example.com/callbacks/alipay/1");
    assert_eq!(parameters["return_url"], "https://pay.example.com/sale/1?a=b&c=d");
    let expected = json!({
        "out_trade_no": TRADE, "total_amount": "1.05", "subject": "摇摇车 3 分钟", "product_code": "QUICK_WAP_WAY",
        "seller_id": SELLER_ID, "time_expire": "2026-11-23 12:05:00", "passback_params": "1.mark",
        "quit_url": "https://pay.example.com/sale/1?a=b&c=d",
    });
    assert_eq!(serde_json::from_str::<Value>(&parameters["biz_content"]).unwrap(), expected);
    assert_eq!(server.waiting(), 0);
    assert_eq!(alipay(&server.url).create(&payment("wap")).await.unwrap(), created, "the same again");
}

fn expected_order() -> Value {
    json!({
        "out_trade_no": TRADE, "total_amount": "1.05", "subject": "摇摇车 3 分钟", "seller_id": SELLER_ID,
        "time_expire": "2026-11-23 12:05:00", "passback_params": "1.mark",
    })
}

#[tokio::test]
async fn a_code_order_gives_a_code() {
    let content = json!({"code": "10000", "msg": "Success", "out_trade_no": TRADE, "qr_code": QR});
    let mut server = Server::start(signed("trade.precreate", &content)).await;
    let created = alipay(&server.url).create(&payment("code")).await.unwrap();
    assert_eq!(created, Created { handoff: Handoff::Code { text: QR.into() }, reference: None });
    let request = server.request().await;
    assert!(request.head.starts_with("POST /gateway.do?charset=utf-8 HTTP/1.1\r\n"), "{}", request.head);
    let head = request.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-www-form-urlencoded;charset=utf-8"), "{head}");
    assert!(head.contains("user-agent: coinwire/"), "{head}");
    assert_eq!(request.content("alipay.trade.precreate"), expected_order());
    assert_eq!(request.parameters()["notify_url"], "https://pay.example.com/callbacks/alipay/1");

    for bad in ["", "bax", "javascript:alert(1)", &format!("{QR}{}", "a".repeat(1024))] {
        let content = json!({"code": "10000", "msg": "Success", "out_trade_no": TRADE, "qr_code": bad});
        let server = Server::start(signed("trade.precreate", &content)).await;
        unknown(alipay(&server.url).create(&payment("code")).await, bad);
    }
}

#[tokio::test]
async fn a_bridge_order_gives_a_call_of_the_app() {
    let content = json!({"code": "10000", "msg": "Success", "out_trade_no": TRADE, "trade_no": TRADE_NO});
    let mut server = Server::start(signed("trade.create", &content)).await;
    for (id, field, value) in [
        ("user 2088102534368455", "buyer_id", "2088102534368455"),
        ("open 0746nEbU_-x1", "buyer_open_id", "0746nEbU_-x1"),
    ] {
        let payer = Some(Payer { scope: APP_ID.into(), id: id.into() });
        let created = alipay(&server.url).create(&PaymentRequest { payer, ..payment("bridge") }).await.unwrap();
        let handoff = Handoff::Invoke(Invocation {
            bridge: "AlipayJSBridge".into(),
            function: "call".into(),
            action: "tradePay".into(),
            parameters: BTreeMap::from([("tradeNO".into(), TRADE_NO.into())]),
        });
        assert_eq!(created, Created { handoff, reference: Some(TRADE_NO.into()) });
        let mut expected = expected_order();
        expected["product_code"] = "JSAPI_PAY".into();
        expected["op_app_id"] = OP_APP_ID.into();
        expected[field] = value.into();
        assert_eq!(server.request().await.content("alipay.trade.create"), expected);
    }
    let nobody = [
        None,
        Some(Payer { scope: "2021000000000000".into(), id: "user 2088102534368455".into() }),
        Some(Payer { scope: APP_ID.into(), id: "2088102534368455".into() }),
    ];
    for payer in nobody {
        let request = PaymentRequest { payer, ..payment("bridge") };
        refused_with(alipay(&server.url).create(&request).await, NOT_SENT);
    }
    let without = alipay_of(&Account { op_app_id: None, ..account(&server.url) }).unwrap();
    refused_with(without.create(&payment("bridge")).await, NOT_SENT);
    assert_eq!(server.waiting(), 0);
}

#[tokio::test]
async fn an_order_that_was_paid_before_is_not_given_up() {
    for method in ["code", "bridge"] {
        let node = if method == "code" { "trade.precreate" } else { "trade.create" };
        let server = Server::start(refusal(node, "40004", "ACQ.TRADE_HAS_SUCCESS")).await;
        unknown(alipay(&server.url).create(&payment(method)).await, method);
        let server = Server::start(refusal(node, "40004", "ACQ.TRADE_HAS_CLOSE")).await;
        refused_with(alipay(&server.url).create(&payment(method)).await, "ACQ.TRADE_HAS_CLOSE");
    }
}

#[tokio::test]
async fn titles_are_cut_and_lose_what_is_excluded() {
    let server = Server::start(Reply::HangUp).await;
    for (description, subject) in [("A/B = C&D\n", "A B   C D".to_owned()), (&*"車".repeat(100), "車".repeat(85))] {
        let request = PaymentRequest { description: description.into(), ..payment("wap") };
        let created = alipay(&server.url).create(&request).await.unwrap();
        let Handoff::Redirect { url } = created.handoff else { panic!() };
        let parameters: BTreeMap<String, String> = url::Url::parse(&url).unwrap().query_pairs().into_owned().collect();
        let content: Value = serde_json::from_str(&parameters["biz_content"]).unwrap();
        assert_eq!(content["subject"], subject);
    }
}

#[tokio::test]
async fn what_breaks_a_documented_limit_is_never_sent() {
    let server = Server::start(Reply::HangUp).await;
    let alipay = alipay(&server.url);
    let payments: [fn(&mut PaymentRequest); 17] = [
        |p| p.method = "app".into(),
        |p| p.out_trade_no = String::new(),
        |p| p.out_trade_no = "1".repeat(65),
        |p| p.out_trade_no = "CW-1".into(),
        |p| p.out_trade_no = "CW123456车".into(),
        |p| p.amount = Money::new(100, Currency::Eur),
        |p| p.amount.amount_minor = 0,
        |p| p.amount.amount_minor = -1,
        |p| p.amount.amount_minor = 10_000_000_001,
        |p| p.description = " / ".into(),
        |p| p.attach = "a b".into(),
        |p| p.attach = "1".repeat(513),
        |p| p.expires_at_ms = NOW_MS,
        |p| p.expires_at_ms = i64::MAX,
        |p| p.notify_url = "https://pay.example.com/callback?sale=1".into(),
        |p| p.notify_url = format!("https://pay.example.com/{}", "a".repeat(256)),
        |p| p.return_url = "javascript:alert(1)".into(),
    ];
    for method in ["wap", "code", "bridge"] {
        for change in payments {
            let mut request = payment(method);
            change(&mut request);
            refused_with(alipay.create(&request).await, NOT_SENT);
        }
    }
    let refunds: [fn(&mut RefundRequest); 7] = [
        |r| r.numbers.trade.out_trade_no = "a b".into(),
        |r| r.numbers.out_refund_no = String::new(),
        |r| r.numbers.out_refund_no = "1".repeat(65),
        |r| r.refund_minor = 0,
        |r| r.refund_minor = 106,
        |r| r.total_minor = 10_000_000_001,
        |r| r.currency = Currency::Eur,
    ];
    for change in refunds {
        let mut request = refund();
        change(&mut request);
        refused_with(alipay.refund(&request).await, NOT_SENT);
    }
    refused_with(alipay.query(&trade("a?b")).await, NOT_SENT);
    refused_with(alipay.close(&trade("")).await, NOT_SENT);
    refused_with(alipay.query_refund(&refund_numbers("a b")).await, NOT_SENT);
    assert_eq!(server.waiting(), 0);
    // Without a sandbox only https is shown to anybody.
    let alipay = super::alipay("https://openapi.alipay.com");
    let request = PaymentRequest { return_url: "http://a.example/".into(), ..payment("wap") };
    refused_with(alipay.create(&request).await, NOT_SENT);
}

#[tokio::test]
async fn query_tells_the_states_apart() {
    let mut returned = paid_answer("TRADE_SUCCESS");
    returned["refund_fee"] = "0.40".into();
    let mut received = trade_answer("TRADE_CLOSED");
    received["receipt_amount"] = "1.05".into();
    let untimed = Paid { paid_at_ms: NOW_MS, ..paid() };
    for (answer, expected) in [
        (trade_answer("WAIT_BUYER_PAY"), TradeState::NotPaid),
        (paid_answer("TRADE_SUCCESS"), TradeState::Paid(paid())),
        (trade_answer("TRADE_SUCCESS"), TradeState::Paid(untimed.clone())),
        (paid_answer("TRADE_FINISHED"), TradeState::Paid(paid())),
        (returned, TradeState::Refunded(paid())),
        (trade_answer("TRADE_CLOSED"), TradeState::Closed),
        (paid_answer("TRADE_CLOSED"), TradeState::Refunded(paid())),
        (received, TradeState::Refunded(untimed)),
    ] {
        let mut server = Server::start(signed("trade.query", &answer)).await;
        assert_eq!(alipay(&server.url).query(&trade(TRADE)).await.unwrap(), expected, "{answer}");
        assert_eq!(server.request().await.content("alipay.trade.query"), json!({"out_trade_no": TRADE}));
    }
    for (field, bad) in [
        ("trade_status", "TRADE_PENDING"),
        ("trade_no", ""),
        ("total_amount", "1.050"),
        ("total_amount", "0.00"),
        ("send_pay_date", "yesterday"),
    ] {
        let mut answer = paid_answer("TRADE_SUCCESS");
        answer[field] = bad.into();
        unknown(query_with(signed("trade.query", &answer)).await, field);
    }
    let mut number = paid_answer("TRADE_SUCCESS");
    number["total_amount"] = json!(1.05);
    unknown(query_with(signed("trade.query", &number)).await, "an amount that is a number");
}

#[tokio::test]
async fn only_a_missing_trade_is_not_found() {
    let missing = refusal("trade.query", "40004", "ACQ.TRADE_NOT_EXIST");
    assert_eq!(query_with(missing).await.unwrap(), TradeState::NotFound);
    for (code, sub_code) in [
        ("40004", "ACQ.INVALID_PARAMETER"),
        ("40002", "isv.invalid-app-id"),
        ("40001", "isv.missing-method"),
        ("40006", "isv.insufficient-isv-permissions"),
    ] {
        refused_with(query_with(refusal("trade.query", code, sub_code)).await, sub_code);
    }
    for (code, sub_code) in [
        ("20000", "isp.unknow-error"),
        ("20000", "aop.unknow-error"),
        ("20000", "ACQ.TRADE_NOT_EXIST"),
        ("40004", "ACQ.SYSTEM_ERROR"),
        ("40004", "aop.ACQ.SYSTEM_ERROR"),
        ("40002", "isp.unknow-error"),
        ("50000", ""),
        ("", ""),
    ] {
        unknown(query_with(refusal("trade.query", code, sub_code)).await, sub_code);
    }
    let busy = query_with(refusal("trade.query", "40005", "isv.app-call-limited")).await;
    assert!(matches!(busy, Err(ProviderError::Busy(_))), "{busy:?}");
}

#[tokio::test]
async fn the_gateways_own_refusals_count_if_they_are_signed() {
    let content =
        r#"{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature","sub_msg":"无效签名"}"#;
    refused_with(query_with(signed_by(&keys().alipay, "error_response", content)).await, "isv.invalid-signature");
    for reply in [
        signed_by(&keys().stranger, "error_response", content),
        plain(200, &format!("{{\"error_response\":{content}}}")),
    ] {
        let answer = query_with(reply).await;
        let Err(ProviderError::Unknown(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.contains("isv.invalid-signature"), "it is told to who reads the log: {why}");
    }
    // A gateway's refusal is none of a trade, whatever it says.
    let content = r#"{"code":"10000","out_trade_no":"1","trade_status":"TRADE_SUCCESS"}"#;
    unknown(query_with(signed_by(&keys().alipay, "error_response", content)).await, "good and refused");
}

#[tokio::test]
async fn an_answer_about_another_trade_is_not_believed() {
    let mut answer = paid_answer("TRADE_SUCCESS");
    answer["out_trade_no"] = "CW2026112300000000".into();
    untrusted(query_with(signed("trade.query", &answer)).await, "query");
    let closed = json!({"code": "10000", "msg": "Success", "out_trade_no": "CW0"});
    untrusted(close_with([signed("trade.close", &closed)]).await, "close");
    let mut answer = refund_answer("Y");
    answer["out_trade_no"] = "CW0".into();
    untrusted(refund_with([signed("trade.refund", &answer)]).await, "refund");
    for field in ["out_trade_no", "out_request_no"] {
        let mut answer = refund_found();
        answer[field] = "X".into();
        let server = Server::start(signed("trade.fastpay.refund.query", &answer)).await;
        untrusted(alipay(&server.url).query_refund(&refund_numbers("R1")).await, field);
    }
    for (method, node) in [("code", "trade.precreate"), ("bridge", "trade.create")] {
        let content = json!({"code": "10000", "out_trade_no": "CW0", "qr_code": QR, "trade_no": TRADE_NO});
        let server = Server::start(signed(node, &content)).await;
        untrusted(alipay(&server.url).create(&payment(method)).await, method);
    }
}

#[tokio::test]
async fn close_says_whether_the_order_can_still_be_paid() {
    let closed = json!({"code": "10000", "msg": "Success", "out_trade_no": TRADE, "trade_no": TRADE_NO});
    let mut server = Server::start(signed("trade.close", &closed)).await;
    assert_eq!(alipay(&server.url).close(&trade(TRADE)).await.unwrap(), CloseOutcome::Closed);
    assert_eq!(server.request().await.content("alipay.trade.close"), json!({"out_trade_no": TRADE}));

    let refuse = |sub_code| refusal("trade.close", "40004", sub_code);
    assert_eq!(close_with([refuse("ACQ.TRADE_HAS_SUCCESS")]).await.unwrap(), CloseOutcome::AlreadyPaid);
    refused_with(close_with([refuse("ACQ.TRADE_NOT_EXIST")]).await, "ACQ.TRADE_NOT_EXIST");
    unknown(close_with([refuse("ACQ.SYSTEM_ERROR")]).await, "system error");
    // For the others it is asked what it is then.
    for sub_code in ["ACQ.TRADE_HAS_CLOSE", "ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID"] {
        let then = |answer: Value| [refuse(sub_code), signed("trade.query", &answer)];
        assert_eq!(close_with(then(trade_answer("TRADE_CLOSED"))).await.unwrap(), CloseOutcome::Closed);
        for status in ["TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"] {
            assert_eq!(close_with(then(paid_answer(status))).await.unwrap(), CloseOutcome::AlreadyPaid, "{status}");
        }
        let waiting = close_with(then(trade_answer("WAIT_BUYER_PAY"))).await;
        assert!(matches!(waiting, Err(ProviderError::Busy(_))), "{waiting:?}");
        unknown(close_with([refuse(sub_code), Reply::HangUp]).await, "no answer to the question");
    }
}

#[tokio::test]
async fn refunds_are_asked_for_and_asked_after() {
    let mut server = Server::start(signed("trade.refund", &refund_answer("Y"))).await;
    assert_eq!(alipay(&server.url).refund(&refund()).await.unwrap(), RefundState::Done.into());
    let expected = json!({
        "out_trade_no": TRADE, "refund_amount": "0.40", "out_request_no": "R1", "refund_reason": "机器没有启动",
    });
    assert_eq!(server.request().await.content("alipay.trade.refund"), expected);
    assert_eq!(server.waiting(), 0);

    let done = RefundAnswer { amount_minor: Some(40), ..RefundState::Done.into() };
    let mut server = Server::start(signed("trade.fastpay.refund.query", &refund_found())).await;
    assert_eq!(alipay(&server.url).query_refund(&refund_numbers("R1")).await.unwrap(), done);
    let asked = server.request().await.content("alipay.trade.fastpay.refund.query");
    assert_eq!(asked, json!({"out_trade_no": TRADE, "out_request_no": "R1"}));

    // A repeat, and one that is not decided: it is asked about at once.
    for fund_change in ["N", ""] {
        let again = signed("trade.refund", &refund_answer(fund_change));
        let found = refund_with([again.clone(), signed("trade.fastpay.refund.query", &refund_found())]).await;
        assert_eq!(found.unwrap(), done);
        let nothing = signed("trade.fastpay.refund.query", &json!({"code": "10000", "msg": "Success"}));
        assert_eq!(refund_with([again.clone(), nothing]).await.unwrap(), RefundState::NotFound.into());
        unknown(refund_with([again, Reply::HangUp]).await, "no answer to the question");
    }
}

#[tokio::test]
async fn refusals_of_refunds_are_told_apart() {
    let refuse = |sub_code| [refusal("trade.refund", "40004", sub_code)];
    let short = refund_with(refuse("ACQ.SELLER_BALANCE_NOT_ENOUGH")).await;
    assert!(matches!(short, Err(ProviderError::InsufficientBalance)), "{short:?}");
    for sub_code in [
        "ACQ.TRADE_NOT_EXIST",
        "ACQ.TRADE_HAS_FINISHED",
        "ACQ.REASON_TRADE_BEEN_FREEZEN",
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
        "ACQ.DISCORDANT_REPEAT_REQUEST",
    ] {
        refused_with(refund_with(refuse(sub_code)).await, sub_code);
    }
    unknown(refund_with(refuse("ACQ.SYSTEM_ERROR")).await, "system error");
    let query = |content: Value| async move {
        let server = Server::start(signed("trade.fastpay.refund.query", &content)).await;
        alipay(&server.url).query_refund(&refund_numbers("R1")).await
    };
    let missing = json!({"code": "40004", "msg": "Business Failed", "sub_code": "TRADE_NOT_EXIST", "sub_msg": ""});
    assert_eq!(query(missing).await.unwrap(), RefundState::NotFound.into());
    for (field, bad) in [("refund_status", "REFUND_FAIL"), ("refund_amount", "0.4")] {
        let mut answer = refund_found();
        answer[field] = bad.into();
        unknown(query(answer).await, field);
    }
}

#[tokio::test]
async fn answers_that_are_not_surely_alipays_are_not_believed() {
    let content = paid_answer("TRADE_SUCCESS").to_string();
    let node = "alipay_trade_query_response";
    let good = sign(&keys().alipay, content.as_bytes());
    for (case, reply) in [
        ("unsigned", plain(200, &format!("{{\"{node}\":{content}}}"))),
        ("an empty signature", plain(200, &format!("{{\"{node}\":{content},\"sign\":\"\"}}"))),
        ("another's key", signed_by(&keys().stranger, node, &content)),
        ("our own key", signed_by(&keys().app, node, &content)),
        (
            "another text",
            plain(200, &format!("{{\"{node}\":{},\"sign\":\"{good}\"}}", content.replace("1.05", "9.05"))),
        ),
        ("a blank more", plain(200, &format!("{{\"{node}\":{},\"sign\":\"{good}\"}}", content.replacen(',', ", ", 1)))),
    ] {
        untrusted(query_with(reply).await, case);
    }
    // Both keys of a rotation are.
    for key in [&keys().alipay, &keys().next] {
        let answer = query_with(signed_by(key, node, &content)).await;
        assert_eq!(answer.unwrap(), TradeState::Paid(paid()));
    }
}

#[tokio::test]
async fn in_certificate_mode_requests_and_answers_name_certificates() {
    let content = paid_answer("TRADE_SUCCESS").to_string();
    let answer = |key: &KeyPair, number: &str| {
        let sign = sign(key, content.as_bytes());
        let node = "alipay_trade_query_response";
        plain(200, &format!("{{\"{node}\":{content},\"alipay_cert_sn\":\"{number}\",\"sign\":\"{sign}\"}}"))
    };
    let number = |key| signing::Certificate::from_pem(&certificate_pem(key)).unwrap().number;
    let query = |reply| async {
        let server = Server::start(reply).await;
        let answer = alipay_of(&certified(&server.url)).unwrap().query(&trade(TRADE)).await;
        (answer, server)
    };
    let (answered, mut server) = query(answer(&keys().alipay, &number(&keys().alipay))).await;
    assert_eq!(answered.unwrap(), TradeState::Paid(paid()));
    let parameters = server.request().await.parameters();
    assert_eq!(parameters["app_cert_sn"].len(), 32);
    assert_eq!(parameters["alipay_root_cert_sn"], "687b59193f3f462dd5336e5abf83c5d8_02941eef3187dddf3d3b83462e1dfcf6");
    let (answered, _) = query(answer(&keys().next, &number(&keys().next))).await;
    assert_eq!(answered.unwrap(), TradeState::Paid(paid()));
    let (answered, _) = query(answer(&keys().stranger, "7513daaaa48aa3ba2e4018d84402479c")).await;
    let Err(ProviderError::Untrusted(why)) = answered else { panic!("{answered:?}") };
    assert!(why.contains("7513daaaa48aa3ba2e4018d84402479c"), "{why}");
}

#[tokio::test]
async fn what_proves_nothing_is_unknown() {
    let content = paid_answer("TRADE_SUCCESS");
    let Reply::Answer { body, .. } = signed("trade.query", &content) else { panic!() };
    let good = String::from_utf8(body).unwrap();
    let away = Reply::Answer { status: 302, headers: "location: /elsewhere\r\n".into(), body: Vec::new() };
    let cases = [
        ("bad gateway", plain(502, "<html>502</html>")),
        ("signed, but with another status", plain(500, &good)),
        ("redirect", away),
        ("hang up", Reply::HangUp),
        ("no JSON", plain(200, "hello")),
        ("empty", plain(200, "")),
        ("no UTF-8", Reply::Answer { status: 200, headers: String::new(), body: vec![0xff, 0xfe] }),
        ("too long", plain(200, &format!("{good}{}", " ".repeat(MAX_RESPONSE_BYTES)))),
        ("another method's", signed("trade.close", &content)),
        ("twice", plain(200, &format!("{},{}", good.trim_end_matches('}'), &good[1..]))),
        ("no object", signed_by(&keys().alipay, "alipay_trade_query_response", "[1]")),
        ("no code", signed("trade.query", &json!({"out_trade_no": TRADE, "trade_status": "TRADE_SUCCESS"}))),
    ];
    for (case, reply) in cases {
        let mut server = Server::start(reply).await;
        unknown(alipay(&server.url).query(&trade(TRADE)).await, case);
        server.request().await;
        assert_eq!(server.waiting(), 0, "{case}: sent once, and nowhere else");
    }
}

#[tokio::test]
async fn nobody_there_is_unknown() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let state = alipay(&url).query(&trade(TRADE)).await;
    assert!(matches!(&state, Err(ProviderError::Unknown(why)) if why.starts_with("no connection")), "{state:?}");
}

#[tokio::test]
async fn silence_ends_at_the_time_limit() {
    let mut server = Server::start(Reply::Silence).await;
    let alipay = alipay(&server.url).with_call_timeout(Duration::from_millis(200));
    let started = std::time::Instant::now();
    let state = alipay.create(&payment("code")).await;
    assert!(matches!(&state, Err(ProviderError::Unknown(why)) if why.starts_with("no answer in time")), "{state:?}");
    assert!(started.elapsed() < CALL_TIMEOUT, "the account's own limit counts");
    server.request().await;
}

fn bridge(alipay: &Alipay) -> Method {
    alipay.profile().methods.iter().find(|method| method.word == "bridge").unwrap().clone()
}

fn back(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn identity_with(reply: Reply) -> (Result<Payer, ProviderError>, Received) {
    let mut server = Server::start(reply).await;
    let alipay = alipay(&server.url);
    let back = back(&[("app_id", APP_ID), ("auth_code", "4b203fe6c11548bcabd8da5bb087a83b"), ("state", "X")]);
    let answer = alipay.exchange_identity(&bridge(&alipay), &back).await;
    (answer, server.request().await)
}

#[tokio::test]
async fn who_pays_is_told_once_asked() {
    let alipay = alipay("https://openapi.alipay.com");
    let url = alipay.identity_url(&bridge(&alipay), "https://pay.example.com/identity", "X1").unwrap();
    assert_eq!(
        url,
        "https://openauth.alipay.com/oauth2/publicAppAuthorize.htm?app_id=2021000122671080&scope=auth_base\
         &redirect_uri=https%3A%2F%2Fpay.example.com%2Fidentity&state=X1"
    );
    assert_eq!(alipay.identity_url(&alipay.profile().methods[0], "https://pay.example.com/identity", "X1"), None);

    for (content, id) in [
        (json!({"user_id": "2088102534368455", "access_token": "a", "expires_in": 3600}), "user 2088102534368455"),
        (json!({"open_id": "0746nEbU_-x1", "access_token": "a"}), "open 0746nEbU_-x1"),
        (json!({"code": "10000", "user_id": "2088102534368455", "open_id": "0746"}), "user 2088102534368455"),
    ] {
        let (answer, asked) = identity_with(signed("system.oauth.token", &content)).await;
        assert_eq!(answer.unwrap(), Payer { scope: APP_ID.into(), id: id.into() });
        let parameters = asked.parameters();
        assert_eq!(parameters["method"], "alipay.system.oauth.token");
        assert_eq!(parameters["grant_type"], "authorization_code");
        assert_eq!(parameters["code"], "4b203fe6c11548bcabd8da5bb087a83b");
        assert!(!parameters.contains_key("biz_content"));
    }
    for content in [json!({}), json!({"user_id": ""}), json!({"user_id": "a b"}), json!({"alipay_user_id": "1"})] {
        let case = content.to_string();
        unknown(identity_with(signed("system.oauth.token", &content)).await.0, &case);
    }
}

#[tokio::test]
async fn a_code_that_was_used_is_refused() {
    let content =
        r#"{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.code-invalid","sub_msg":"授权码code无效"}"#;
    let (answer, _) = identity_with(plain(200, &format!("{{\"error_response\":{content}}}"))).await;
    refused_with(answer, "isv.code-invalid");
    let (answer, _) = identity_with(signed_by(&keys().alipay, "error_response", content)).await;
    refused_with(answer, "isv.code-invalid");
    let busy =
        r#"{"error_response":{"code":"20000","msg":"Service Currently Unavailable","sub_code":"isp.unknow-error"}}"#;
    unknown(identity_with(plain(200, busy)).await.0, "not well");

    let server = Server::start(Reply::HangUp).await;
    let alipay = alipay(&server.url);
    let long = "1".repeat(129);
    for bad in [
        &[][..],
        &[("code", "1")],
        &[("auth_code", "")],
        &[("auth_code", "a b")],
        &[("auth_code", &long)],
        &[("auth_code", "1"), ("app_id", "2021000000000000")],
    ] {
        refused_with(alipay.exchange_identity(&bridge(&alipay), &back(bad)).await, NOT_SENT);
    }
    let other = &alipay.profile().methods[0];
    refused_with(alipay.exchange_identity(other, &back(&[("auth_code", "1")])).await, NOT_SENT);
    assert_eq!(server.waiting(), 0);
}

#[tokio::test]
async fn there_are_no_statements_yet() {
    let alipay = alipay("https://openapi.alipay.com");
    assert!(!alipay.profile().has_statements);
    refused_with(alipay.statement(20_000).await, NOT_SENT);
}
