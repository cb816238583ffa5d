//! The trade bill: fetched, checked against its hash, read.

use super::server::{Reply, Server, plain, refusal, signed};
use super::*;
use crate::money::{Currency, Money};
use crate::payments::provider::{
    Fact, Paid, Provider, ProviderError, RefundDetails, RefundState, Statement, ToldTrade, TradeState,
};
use crate::payments::wechat::bill::{self, Bill};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use proptest::prelude::*;
use serde_json::{Value, json};

const HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,\
货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,\
手续费,费率,订单金额,申请退款金额,费率备注";
const SUMS: &str = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n\
`2.0,`1.50,`0.50,`0.00,`0.01000,`1.50,`0.50\r\n";
/// 2026-11-23, the day of the tests, by the provider's calendar.
const DAY: i64 = 20_780;

fn line(values: [&str; 27]) -> String {
    values.map(|value| format!("`{value}")).join(",") + "\r\n"
}

fn payment_line() -> String {
    let mut values = [""; 27];
    values[0] = "2026-11-23 12:00:00";
    values[1] = APPID;
    values[2] = MCHID;
    values[5] = "4200001";
    values[6] = "S0001";
    values[9] = "SUCCESS";
    values[11] = "CNY";
    values[20] = "Rocket\\ blue, or red";
    values[21] = "mark";
    values[24] = "1.50";
    values[25] = "0.00";
    line(values)
}

fn refund_line(status: &str) -> String {
    let mut values = [""; 27];
    values[0] = "2026-11-23 13:00:00";
    values[2] = MCHID;
    values[5] = "4200001";
    values[6] = "S0001";
    values[9] = "REFUND";
    values[11] = "CNY";
    values[14] = "503000";
    values[15] = "REF0001";
    values[19] = status;
    values[24] = "0.00";
    values[25] = "0.50";
    line(values)
}

fn payment() -> Fact {
    let amount = Money::new(150, Currency::Cny);
    let paid = Paid { provider_txn_id: "4200001".into(), amount, paid_at_ms: NOW_MS, attach: "mark".into() };
    Fact::Payment { out_trade_no: "S0001".into(), state: TradeState::Paid(paid) }
}

fn refund(state: RefundState) -> Fact {
    let told = RefundDetails {
        trade: ToldTrade::Ours("S0001".into()),
        provider_refund_id: "503000".into(),
        amount_minor: 50,
        is_total: false,
        payment: None,
    };
    Fact::Refund { out_refund_no: "REF0001".into(), state, told: Some(told) }
}

fn whole() -> String {
    format!("\u{feff}{HEADER}\r\n{}{}{SUMS}", payment_line(), refund_line("PROCESSING"))
}

fn read(text: &str) -> Bill {
    bill::read(text, MCHID, None).unwrap()
}

fn sha1(bytes: &[u8]) -> String {
    hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes))
}

/// A provider that offers a bill under that hash, and hands these bytes out.
async fn offering(hash: String, file: Vec<u8>) -> Server {
    Server::deciding(move |own, target| {
        if target.starts_with("/v3/bill/tradebill?") {
            let url = format!("{own}/v3/billdownload/file?token=a%2Fb=&x=1");
            return signed(200, &json!({"hash_type": "SHA1", "hash_value": hash, "download_url": url}).to_string());
        }
        Reply::Answer { status: 200, headers: Vec::new(), body: file.clone() }
    })
    .await
}

#[test]
fn payments_and_refunds_are_read_by_the_columns_names() {
    let bill = read(&whole());
    assert_eq!(bill, Bill { facts: vec![payment(), refund(RefundState::Processing)], unread: 0 });
    // Other columns, in another order.
    let reordered: Vec<&str> = HEADER.split(',').rev().chain(["新增列"]).collect();
    let text = whole();
    let lines = text.lines().skip(1).take(2).map(|line| {
        let values: Vec<&str> = line[1..].split(",`").collect();
        values.into_iter().rev().chain(["new"]).map(|value| format!("`{value}")).collect::<Vec<_>>().join(",")
    });
    let text = format!("{}\n{}\n", reordered.join(","), lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(read(&text), bill);
    for (status, state) in
        [("SUCCESS", RefundState::Done), ("FAIL", RefundState::Closed), ("CHANGE", RefundState::Abnormal)]
    {
        assert_eq!(read(&format!("{HEADER}\n{}", refund_line(status))).facts, [refund(state)]);
    }
}

#[test]
fn a_bill_without_a_column_we_need_is_none() {
    for text in ["", "{}", "<html>", &whole().replace("商户退款单号", "退款单号")] {
        assert!(bill::read(text, MCHID, None).is_err());
    }
}

#[test]
fn lines_that_are_not_understood_are_counted_and_the_others_are_read() {
    let good = payment_line();
    for bad in [
        good.replace("1.50", "1.505"),
        good.replace("`1.50", "`-1.50"),
        good.replace("`CNY", "`yuan"),
        good.replace("SUCCESS", "SOMETHING"),
        good.replace("12:00:00", "noon"),
        good.replace("`S0001", "`"),
        good.replace(MCHID, "1900000000"),
        "`\r\n".into(),
        refund_line("GONE"),
    ] {
        let bill = read(&format!("{HEADER}\r\n{bad}{good}{SUMS}"));
        assert_eq!((bill.unread, bill.facts), (1, vec![payment()]), "{bad}");
    }
    let foreign = read(&format!("{HEADER}\n{}", good.replace("`CNY", "`USD")));
    assert!(matches!(&foreign.facts[..], [Fact::Payment { state: TradeState::PaidUnknownCurrency(_), .. }]));
    let revoked = read(&format!("{HEADER}\n{}", good.replace("SUCCESS", "REVOKED")));
    assert_eq!(revoked, Bill::default());
}

#[test]
fn the_public_vector_is_read() {
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/wechat.json")).unwrap();
    let vector = &vectors["wechat_bill_all"];
    let bytes = BASE64.decode(vector["text_b64"].as_str().unwrap()).unwrap();
    assert_eq!(sha1(&bytes).to_lowercase(), vector["sha1_of_uncompressed"].as_str().unwrap());
    let bill = bill::read(std::str::from_utf8(&bytes).unwrap(), "1921000401", None).unwrap();
    let parsed = vector["parsed"].as_array().unwrap();
    assert_eq!((bill.facts.len(), bill.unread), (parsed.len(), 0));
    for (fact, expected) in bill.facts.iter().zip(parsed) {
        let text = |field: &str| expected[field].as_str().unwrap_or_default();
        match fact {
            Fact::Payment { out_trade_no, state: TradeState::Paid(paid) } => {
                assert_eq!((out_trade_no.as_str(), text("type")), (text("out_trade_no"), "payment"));
                assert_eq!(paid.provider_txn_id, text("transaction_id"));
                assert_eq!(paid.amount.amount_minor, expected["order_fen"].as_i64().unwrap());
            }
            Fact::Refund { out_refund_no, state: RefundState::Done, told: Some(told) } => {
                assert_eq!((told.trade.number(), text("type")), (text("out_trade_no"), "refund"));
                assert_eq!(
                    (out_refund_no.as_str(), told.provider_refund_id.as_str()),
                    (text("out_refund_no"), text("refund_id"))
                );
                assert_eq!(told.amount_minor, expected["refund_fen"].as_i64().unwrap());
            }
            Fact::Payment { .. } | Fact::Refund { .. } | Fact::Dispute(_) => panic!("{fact:?}"),
        }
    }
}

#[tokio::test]
async fn is_fetched_where_the_signed_answer_says() {
    let file = whole().into_bytes();
    let mut server = offering(sha1(&file), file).await;
    let statement = wechat(&server.url).statement(DAY).await.unwrap();
    assert_eq!(statement, Statement::Facts { facts: vec![payment(), refund(RefundState::Processing)], unread: 0 });
    let asked = server.request().await;
    assert_eq!(asked.target, "/v3/bill/tradebill?bill_date=2026-11-23&bill_type=ALL");
    let fetched = server.request().await;
    assert_eq!((fetched.method.as_str(), fetched.target.as_str()), ("GET", "/v3/billdownload/file?token=a%2Fb=&x=1"));
    assert!(fetched.header("authorization").unwrap().starts_with("WECHATPAY2-SHA256-RSA2048 "));
}

#[tokio::test]
async fn of_another_hash_is_not_believed() {
    let mut file = whole().into_bytes();
    let hash = sha1(&file);
    file.extend_from_slice(b" ");
    let server = offering(hash, file).await;
    let refused = wechat(&server.url).statement(DAY).await;
    assert!(matches!(refused, Err(ProviderError::Untrusted(_))), "{refused:?}");
}

#[tokio::test]
async fn that_is_not_there_is_told_apart_from_trouble() {
    for (status, code, expected) in
        [(400, "NO_STATEMENT_EXIST", Statement::Nothing), (400, "STATEMENT_CREATING", Statement::NotYet)]
    {
        let server = Server::start(refusal(status, code)).await;
        assert_eq!(wechat(&server.url).statement(DAY).await.unwrap(), expected, "{code}");
    }
    let server = Server::start(refusal(403, "NO_AUTH")).await;
    assert!(matches!(wechat(&server.url).statement(DAY).await, Err(ProviderError::Refused { .. })));
    for reply in [
        plain(200, r#"{"hash_type":"SHA1","hash_value":"","download_url":"http://127.0.0.1:9/"}"#),
        signed(200, r#"{"hash_type":"SM3","hash_value":"","download_url":"http://127.0.0.1:9/"}"#),
        signed(200, r#"{"hash_type":"SHA1","hash_value":"","download_url":"file:///etc/passwd"}"#),
        signed(200, "{}"),
        refusal(500, "SYSTEM_ERROR"),
    ] {
        let server = Server::start(reply).await;
        let answer = wechat(&server.url).statement(DAY).await;
        assert!(matches!(answer, Err(ProviderError::Unknown(_) | ProviderError::Untrusted(_))), "{answer:?}");
    }
}

#[test]
fn days_are_chinas_and_their_bills_are_ready_at_ten() {
    let wechat = wechat("https://api.mch.weixin.qq.com");
    let calendar = wechat.profile().calendar;
    assert_eq!(calendar.day_of(NOW_MS), DAY);
    // Noon in China: the day began 12 hours before, and its bill is there 10 hours after its end.
    assert_eq!(calendar.ready_ms(DAY), NOW_MS + 22 * 3_600_000);
    assert_eq!(
        (calendar.day_of(NOW_MS - 12 * 3_600_000), calendar.day_of(NOW_MS - 12 * 3_600_000 - 1)),
        (DAY, DAY - 1)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_broken_bill_never_panics(at in any::<prop::sample::Index>(), with in "[\\PC`,\r\n]{0,6}", cut in any::<bool>()) {
        let text = whole();
        let at = text.floor_char_boundary(at.index(text.len()));
        let rest = if cut { "" } else { &text[at..] };
        let _ = bill::read(&format!("{}{with}{rest}", &text[..at]), MCHID, None);
    }
}

#[test]
fn a_partner_reads_the_lines_of_its_merchant_only() {
    let text = whole();
    let line = text.lines().nth(1).unwrap();
    let sub_mchid = line.split(",`").nth(3).unwrap().trim();
    let of = |sub_mchid: &str| bill::read(&format!("{HEADER}\n{line}"), MCHID, Some(sub_mchid)).unwrap();
    assert_eq!((of(sub_mchid).facts.len(), of(sub_mchid).unread), (1, 0));
    assert_eq!((of("1900000110").facts.len(), of("1900000110").unread), (0, 1), "another's is told of");
}
