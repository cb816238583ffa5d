//! Calls: what goes over the wire, and what each answer means.

use super::server::{Received, Reply, Server, plain, refusal, signed};
use super::*;
use crate::money::{Currency, Money};
use crate::payments::method::Handoff;
use crate::payments::provider::{
    CloseOutcome, Created, Paid, PaymentRequest, Provider, ProviderError, RefundAnswer, RefundNumbers, RefundRequest,
    RefundState, TradeNumbers, TradeState,
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const TRADE: &str = "CW2026112312345678";
const H5_URL: &str =
    "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016121516420242444321&package=1";

pub(super) fn payment() -> PaymentRequest {
    PaymentRequest {
        out_trade_no: TRADE.into(),
        method: "h5".into(),
        description: "摇摇车 3 分钟".into(),
        amount: Money::new(100, Currency::Cny),
        expires_at_ms: NOW_MS + 300_999,
        payer_ip: "::ffff:203.0.113.7".parse().unwrap(),
        payer: None,
        notify_url: "https://pay.example.com/callbacks/wechat/1".into(),
        return_url: "https://pay.example.com/sale/1?a=b&c=d".into(),
        attach: "mark".into(),
    }
}

pub(super) fn trade(out_trade_no: &str) -> TradeNumbers {
    TradeNumbers { out_trade_no: out_trade_no.into(), reference: None, provider_txn_id: None }
}

pub(super) fn refund_numbers(out_refund_no: &str) -> RefundNumbers {
    RefundNumbers { trade: trade(TRADE), out_refund_no: out_refund_no.into(), reference: None }
}

pub(super) fn refund() -> RefundRequest {
    RefundRequest {
        numbers: refund_numbers("R-1@a"),
        refund_minor: 40,
        total_minor: 100,
        currency: Currency::Cny,
        reason: "机器没有启动".into(),
        notify_url: "https://pay.example.com/callbacks/wechat/1".into(),
    }
}

fn transaction(state: &str) -> Value {
    json!({
        "appid": APPID, "mchid": MCHID, "out_trade_no": TRADE, "trade_state": state, "trade_state_desc": "描述",
        "transaction_id": "4200001", "success_time": "2026-11-23T12:00:00+08:00", "promotion_detail": [],
        "amount": {"total": 100, "payer_total": 80, "currency": "CNY", "payer_currency": "CNY"},
        "attach": "mark",
    })
}

pub(super) fn refund_answer(status: &str) -> Value {
    json!({
        "refund_id": "503000", "out_refund_no": "R-1@a", "transaction_id": "4200001", "out_trade_no": TRADE,
        "channel": "ORIGINAL", "status": status, "amount": {"total": 100, "refund": 40, "currency": "CNY"},
    })
}

/// Checks a request's signature as the provider does, and gives its body.
pub(super) fn check_signature(request: &Received) -> Value {
    let authorization = request.header("authorization").unwrap();
    let fields = authorization.strip_prefix("WECHATPAY2-SHA256-RSA2048 ").unwrap();
    let field = |name: &str| {
        let start = fields.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
        fields[start..].split_once('"').unwrap().0
    };
    assert_eq!((field("mchid"), field("serial_no")), (MCHID, MERCHANT_SERIAL));
    assert_eq!((field("timestamp"), field("nonce_str")), (NOW_S.to_string().as_str(), "5a".repeat(16).as_str()));
    let head = format!("{}\n{}\n{NOW_S}\n{}\n", request.method, request.target, field("nonce_str"));
    let message = [head.as_bytes(), &request.body, b"\n"].concat();
    let (key, _) = signing::VerifyingKey::from_pem(&public_pem(&keys().merchant)).unwrap();
    assert!(key.verify(&message, field("signature")), "the signature is not of what was sent");
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("wechatpay-serial"), Some(PLATFORM_KEY_ID));
    assert!(request.header("user-agent").unwrap().starts_with("coinwire/"));
    if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap() }
}

async fn query_with(reply: Reply) -> Result<TradeState, ProviderError> {
    let server = Server::start(reply).await;
    wechat(&server.url).query(&trade(TRADE)).await
}

async fn close_with(reply: Reply) -> Result<CloseOutcome, ProviderError> {
    let server = Server::start(reply).await;
    wechat(&server.url).close(&trade(TRADE)).await
}

async fn refund_with(reply: Reply) -> Result<RefundAnswer, ProviderError> {
    let server = Server::start(reply).await;
    wechat(&server.url).refund(&refund()).await
}

#[track_caller]
pub(super) fn refused_with<T: std::fmt::Debug>(answer: Result<T, ProviderError>, expected: &str) {
    match answer {
        Err(ProviderError::Refused { code, .. }) => assert_eq!(code, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn create_sends_the_documented_order_and_gives_the_way_to_pay() {
    let mut server = Server::start(signed(200, &json!({"h5_url": H5_URL}).to_string())).await;
    let created = wechat(&server.url).create(&payment()).await.unwrap();
    let url = format!("{H5_URL}&redirect_url=https%3A%2F%2Fpay.example.com%2Fsale%2F1%3Fa%3Db%26c%3Dd");
    assert_eq!(created, Created { handoff: Handoff::Redirect { url }, reference: None });
    let request = server.request().await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v3/pay/transactions/h5"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let expected = json!({
        "appid": APPID, "mchid": MCHID, "description": "摇摇车 3 分钟", "out_trade_no": TRADE,
        "time_expire": "2026-11-23T12:05:00+08:00", "notify_url": "https://pay.example.com/callbacks/wechat/1",
        "amount": {"total": 100, "currency": "CNY"},
        "scene_info": {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}, "attach": "mark",
    });
    assert_eq!(check_signature(&request), expected);
}

#[tokio::test]
async fn long_texts_are_cut_between_characters() {
    let mut server = Server::start(signed(200, &json!({"h5_url": H5_URL}).to_string())).await;
    let request = PaymentRequest { description: "車".repeat(60), ..payment() };
    wechat(&server.url).create(&request).await.unwrap();
    assert_eq!(check_signature(&server.request().await)["description"], "車".repeat(42), "126 of 127 bytes");

    let mut server = Server::start(signed(200, &refund_answer("SUCCESS").to_string())).await;
    let request = RefundRequest { reason: "車".repeat(60), ..refund() };
    wechat(&server.url).refund(&request).await.unwrap();
    assert_eq!(check_signature(&server.request().await)["reason"], "車".repeat(26), "78 of 80 bytes");
}

#[tokio::test]
async fn what_breaks_a_documented_limit_is_never_sent() {
    let server = Server::start(signed(200, &json!({"h5_url": H5_URL}).to_string())).await;
    let wechat = wechat(&server.url);
    let payments: [fn(&mut PaymentRequest); 16] = [
        |p| p.method = "jsapi".into(),
        |p| p.out_trade_no = "12345".into(),
        |p| p.out_trade_no = "1".repeat(33),
        |p| p.out_trade_no = "CW/../../etc".into(),
        |p| p.out_trade_no = "CW123456车".into(),
        |p| p.amount = Money::new(100, Currency::Eur),
        |p| p.amount.amount_minor = 0,
        |p| p.amount.amount_minor = -1,
        |p| p.amount.amount_minor = 1 << 31,
        |p| p.description = "  ".into(),
        |p| p.expires_at_ms = NOW_MS,
        |p| p.expires_at_ms = i64::MAX,
        |p| p.notify_url = "https://pay.example.com/callback?sale=1".into(),
        |p| p.notify_url = format!("https://pay.example.com/{}", "a".repeat(255)),
        |p| p.notify_url = "/callback".into(),
        |p| p.return_url = "javascript:alert(1)".into(),
    ];
    for change in payments {
        let mut request = payment();
        change(&mut request);
        refused_with(wechat.create(&request).await, NOT_SENT);
    }
    let refunds: [fn(&mut RefundRequest); 8] = [
        |r| r.numbers.trade.out_trade_no = "1".into(),
        |r| r.numbers.out_refund_no = String::new(),
        |r| r.numbers.out_refund_no = "1".repeat(65),
        |r| r.numbers.out_refund_no = "a b".into(),
        |r| r.refund_minor = 0,
        |r| r.refund_minor = 101,
        |r| r.currency = Currency::Eur,
        |r| r.notify_url = "https://pay.example.com/callback#a".into(),
    ];
    for change in refunds {
        let mut request = refund();
        change(&mut request);
        refused_with(wechat.refund(&request).await, NOT_SENT);
    }
    refused_with(wechat.query(&trade("a?b=c&d")).await, NOT_SENT);
    refused_with(wechat.close(&trade("")).await, NOT_SENT);
    refused_with(wechat.query_refund(&refund_numbers("../x")).await, NOT_SENT);
    assert_eq!(server.waiting(), 0);
}

#[tokio::test]
async fn production_shows_https_addresses_only() {
    let wechat = wechat("https://api.mch.weixin.qq.com");
    let changes: [fn(&mut PaymentRequest); 2] =
        [|p| p.notify_url = "http://a.example/n".into(), |p| p.return_url = "http://a.example/".into()];
    for change in changes {
        let mut request = payment();
        change(&mut request);
        refused_with(wechat.create(&request).await, NOT_SENT);
    }
}

#[tokio::test]
async fn query_tells_the_states_apart() {
    let amount = Money::new(100, Currency::Cny);
    let paid = Paid { provider_txn_id: "4200001".into(), amount, paid_at_ms: NOW_MS, attach: "mark".into() };
    for (state, expected) in [
        ("SUCCESS", TradeState::Paid(paid.clone())),
        ("REFUND", TradeState::Refunded(paid)),
        ("NOTPAY", TradeState::NotPaid),
        ("USERPAYING", TradeState::NotPaid),
        ("PAYERROR", TradeState::NotPaid),
        ("CLOSED", TradeState::Closed),
        ("REVOKED", TradeState::Closed),
    ] {
        let mut server = Server::start(signed(200, &transaction(state).to_string())).await;
        assert_eq!(wechat(&server.url).query(&trade(TRADE)).await.unwrap(), expected, "{state}");
        let request = server.request().await;
        assert_eq!(request.method, "GET");
        assert_eq!(request.target, format!("/v3/pay/transactions/out-trade-no/{TRADE}?mchid={MCHID}"));
        check_signature(&request);
    }
    let bare = json!({"appid": APPID, "mchid": MCHID, "out_trade_no": TRADE, "trade_state": "NOTPAY"});
    assert_eq!(query_with(signed(200, &bare.to_string())).await.unwrap(), TradeState::NotPaid);
    let odd = query_with(signed(200, &transaction("SOMETHING").to_string())).await;
    assert!(matches!(odd, Err(ProviderError::Unknown(_))), "{odd:?}");
}

#[tokio::test]
async fn only_a_missing_order_is_not_found() {
    assert_eq!(query_with(refusal(404, "ORDER_NOT_EXIST")).await.unwrap(), TradeState::NotFound);
    refused_with(query_with(refusal(404, "MCH_NOT_EXISTS")).await, "MCH_NOT_EXISTS");
    let server_fault = query_with(refusal(500, "ORDER_NOT_EXIST")).await;
    assert!(matches!(server_fault, Err(ProviderError::Unknown(_))), "{server_fault:?}");
    let html = query_with(plain(404, "<html>not here</html>")).await;
    assert!(matches!(html, Err(ProviderError::Unknown(_))), "{html:?}");
}

#[tokio::test]
async fn an_answer_about_another_trade_is_not_believed() {
    for (field, other) in [("out_trade_no", "CW2026112300000000"), ("mchid", "1900000000"), ("appid", "wx0")] {
        let mut answer = transaction("SUCCESS");
        answer[field] = other.into();
        let state = query_with(signed(200, &answer.to_string())).await;
        assert!(matches!(state, Err(ProviderError::Untrusted(_))), "{field}: {state:?}");
    }
    let mut answer = refund_answer("SUCCESS");
    answer["out_refund_no"] = "R-2".into();
    let state = refund_with(signed(200, &answer.to_string())).await;
    assert!(matches!(state, Err(ProviderError::Untrusted(_))), "{state:?}");
}

#[tokio::test]
async fn a_bar_in_a_number_is_signed_as_it_is_sent() {
    let number = "CW|2026*11-23_1";
    let mut answer = transaction("NOTPAY");
    answer["out_trade_no"] = number.into();
    let mut server = Server::start(signed(200, &answer.to_string())).await;
    assert_eq!(wechat(&server.url).query(&trade(number)).await.unwrap(), TradeState::NotPaid);
    let request = server.request().await;
    assert_eq!(request.target, format!("/v3/pay/transactions/out-trade-no/CW%7C2026*11-23_1?mchid={MCHID}"));
    check_signature(&request);
}

#[tokio::test]
async fn close_says_whether_the_order_can_still_be_paid() {
    let mut server = Server::start(signed(204, "")).await;
    assert_eq!(wechat(&server.url).close(&trade(TRADE)).await.unwrap(), CloseOutcome::Closed);
    let request = server.request().await;
    assert_eq!(request.target, format!("/v3/pay/transactions/out-trade-no/{TRADE}/close"));
    assert_eq!(check_signature(&request), json!({"mchid": MCHID}));
    for code in ["ORDERPAID", "ORDER_PAID"] {
        assert_eq!(close_with(refusal(400, code)).await.unwrap(), CloseOutcome::AlreadyPaid);
    }
    assert_eq!(close_with(refusal(400, "ORDER_CLOSED")).await.unwrap(), CloseOutcome::Closed);
    refused_with(close_with(refusal(404, "ORDER_NOT_EXIST")).await, "ORDER_NOT_EXIST");
    let paying = close_with(signed(202, r#"{"code":"USER_PAYING"}"#)).await;
    assert!(matches!(paying, Err(ProviderError::Busy(_))), "{paying:?}");
    let odd = close_with(signed(200, "{}")).await;
    assert!(matches!(odd, Err(ProviderError::Unknown(_))), "{odd:?}");
    let unsigned = close_with(plain(204, "")).await;
    assert!(matches!(unsigned, Err(ProviderError::Untrusted(_))), "{unsigned:?}");
}

#[tokio::test]
async fn refunds_are_asked_for_and_asked_after() {
    let states = [
        ("PROCESSING", RefundState::Processing),
        ("SUCCESS", RefundState::Done),
        ("CLOSED", RefundState::Closed),
        ("ABNORMAL", RefundState::Abnormal),
    ];
    for (status, expected) in states {
        let mut server = Server::start(signed(200, &refund_answer(status).to_string())).await;
        let wechat = wechat(&server.url);
        let answer = wechat.refund(&refund()).await.unwrap();
        assert_eq!((answer.state, answer.reference.as_deref()), (expected, Some("503000")));
        let known = wechat.query_refund(&refund_numbers("R-1@a")).await.unwrap();
        assert_eq!((known.state, known.amount_minor), (expected, Some(40)));
        let asked = server.request().await;
        assert_eq!(asked.target, "/v3/refund/domestic/refunds");
        let expected = json!({
            "out_trade_no": TRADE, "out_refund_no": "R-1@a", "reason": "机器没有启动",
            "notify_url": "https://pay.example.com/callbacks/wechat/1",
            "amount": {"refund": 40, "total": 100, "currency": "CNY"},
        });
        assert_eq!(check_signature(&asked), expected);
        let asked_after = server.request().await;
        assert_eq!(asked_after.target, "/v3/refund/domestic/refunds/R-1@a");
        check_signature(&asked_after);
    }
    let server = Server::start(refusal(404, "RESOURCE_NOT_EXISTS")).await;
    assert_eq!(wechat(&server.url).query_refund(&refund_numbers("R-1@a")).await.unwrap(), RefundState::NotFound.into());
    refused_with(refund_with(refusal(404, "RESOURCE_NOT_EXISTS")).await, "RESOURCE_NOT_EXISTS");
    let short = refund_with(refusal(403, "NOT_ENOUGH")).await;
    assert!(matches!(short, Err(ProviderError::InsufficientBalance)), "{short:?}");
    let mut more = refund_answer("SUCCESS");
    more["amount"]["refund"] = json!(100);
    let answer = refund_with(signed(200, &more.to_string())).await.unwrap();
    assert_eq!(answer.amount_minor, Some(100), "asked for before, under the same number");
    more["amount"]["total"] = json!(200);
    let other = refund_with(signed(200, &more.to_string())).await;
    assert!(matches!(other, Err(ProviderError::Unknown(_))), "{other:?}");
}

#[tokio::test]
async fn answers_that_are_not_surely_the_providers_are_not_believed() {
    let body = transaction("SUCCESS").to_string();
    let bytes = body.as_bytes();
    let good = platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, bytes);
    let mut probe = good.clone();
    probe[3].1 = format!("WECHATPAY/SIGNTEST/{}", probe[3].1);
    let cases = [
        ("unsigned", Vec::new()),
        ("half signed", good[..3].to_vec()),
        ("another's key", platform_headers(&keys().stranger, PLATFORM_KEY_ID, NOW_S, bytes)),
        ("an unknown key", platform_headers(&keys().stranger, STRANGER_KEY_ID, NOW_S, bytes)),
        ("another body", platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, b"{}")),
        ("old", platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S - 301, bytes)),
        ("from the future", platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S + 301, bytes)),
        ("a probe", probe),
    ];
    for (case, headers) in cases {
        let state = query_with(Reply::Answer { status: 200, headers, body: body.clone().into() }).await;
        assert!(matches!(state, Err(ProviderError::Untrusted(_))), "{case}: {state:?}");
    }
    assert!(query_with(Reply::Answer { status: 200, headers: good, body: body.into() }).await.is_ok());
}

#[tokio::test]
async fn what_proves_nothing_is_unknown() {
    let away =
        |status| Reply::Answer { status, headers: vec![("location".into(), "/elsewhere".into())], body: Vec::new() };
    let cases = [
        ("system error", refusal(500, "SYSTEM_ERROR")),
        ("system error, odd status", refusal(400, "SYSTEM_ERROR")),
        ("bad gateway", plain(502, "<html>502</html>")),
        ("refusal without a code", plain(400, "{}")),
        ("empty refusal", plain(403, "")),
        ("redirect", away(302)),
        ("permanent redirect", away(308)),
        ("hang up", Reply::HangUp),
        ("no JSON", signed(200, "hello")),
        ("empty", signed(200, "")),
        ("too long", signed(200, &format!("{}{}", transaction("SUCCESS"), " ".repeat(MAX_RESPONSE_BYTES)))),
        ("accepted only", signed(202, &transaction("SUCCESS").to_string())),
    ];
    for (case, reply) in cases {
        let mut server = Server::start(reply).await;
        let state = wechat(&server.url).query(&trade(TRADE)).await;
        assert!(matches!(state, Err(ProviderError::Unknown(_))), "{case}: {state:?}");
        server.request().await;
        assert_eq!(server.waiting(), 0, "{case}: sent once, and nowhere else");
    }
}

#[tokio::test]
async fn a_client_that_follows_redirects_is_found_out() {
    let elsewhere = Server::start(signed(200, &transaction("SUCCESS").to_string())).await;
    let away = vec![("location".into(), format!("{}/x", elsewhere.url))];
    let server = Server::start(Reply::Answer { status: 302, headers: away, body: Vec::new() }).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let wechat = WechatPay::new(account(&server.url), http, Arc::new(|| NOW_MS), Arc::new(|| NONCE)).unwrap();
    let state = wechat.query(&trade(TRADE)).await;
    assert!(matches!(state, Err(ProviderError::Unknown(_))), "{state:?}");
}

#[tokio::test]
async fn nobody_there_is_unknown() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let state = wechat(&url).query(&trade(TRADE)).await;
    assert!(matches!(&state, Err(ProviderError::Unknown(why)) if why.starts_with("no connection")), "{state:?}");
}

#[tokio::test]
async fn silence_ends_at_the_time_limit() {
    let mut server = Server::start(Reply::Silence).await;
    let wechat = wechat(&server.url).with_call_timeout(Duration::from_millis(200));
    let started = std::time::Instant::now();
    let state = wechat.create(&payment()).await;
    assert!(matches!(&state, Err(ProviderError::Unknown(why)) if why.starts_with("no answer in time")), "{state:?}");
    assert!(started.elapsed() < CALL_TIMEOUT, "the account's own limit counts");
    server.request().await;
}

#[tokio::test]
async fn refusals_keep_the_providers_code() {
    for (status, code) in [(400, "PARAM_ERROR"), (401, "SIGN_ERROR"), (403, "OUT_TRADE_NO_USED"), (403, "NOT_ENOUGH")] {
        let server = Server::start(refusal(status, code)).await;
        refused_with(wechat(&server.url).create(&payment()).await, code);
    }
    for (status, code) in [(429, "FREQUENCY_LIMITED"), (403, "FREQUENCY_LIMITED"), (429, "ANYTHING")] {
        let busy = refund_with(refusal(status, code)).await;
        assert!(matches!(busy, Err(ProviderError::Busy(_))), "{busy:?}");
    }
    let long = "车".repeat(1000);
    let Err(ProviderError::Refused { message, .. }) =
        query_with(plain(400, &json!({"code": "PARAM_ERROR", "message": long}).to_string())).await
    else {
        panic!("not refused");
    };
    assert_eq!(message, "车".repeat(85), "255 of 256 bytes");
}

#[tokio::test]
async fn an_address_to_pay_at_must_be_one() {
    for bad in ["", "weixin", "javascript:alert(1)", "//wx.tenpay.com/"] {
        let server = Server::start(signed(200, &json!({"h5_url": bad}).to_string())).await;
        let handoff = wechat(&server.url).create(&payment()).await;
        assert!(matches!(handoff, Err(ProviderError::Unknown(_))), "{bad}: {handoff:?}");
    }
}
