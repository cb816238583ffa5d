//! The public vectors (tests/vectors/alipay.json, with their sources).

use super::super::account::Credentials;
use super::super::answer::Envelope;
use super::super::callback;
use super::super::signing::{Certificate, PublicKey, notice_message, request_message, root_number};
use super::*;
use crate::money::{Currency, Money};
use crate::payments::provider::{
    CallbackContent, CallbackError, Fact, Paid, Provider, RawCallback, RefundDetails, RefundState, ToldTrade,
    TradeNumbers, TradeState,
};
use serde_json::Value;

fn vectors() -> &'static Value {
    static VECTORS: OnceLock<Value> = OnceLock::new();
    VECTORS.get_or_init(|| serde_json::from_str(include_str!("../../../../tests/vectors/alipay.json")).unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Alipay's file of root certificates.
pub fn roots() -> String {
    text(&vectors()["alipay_cert_sn"]["root"]["pem"]).to_owned()
}

fn cases(vector: &str) -> impl Iterator<Item = &'static Value> {
    vectors()[vector]["cases"].as_array().unwrap().iter()
}

fn key_of(vector: &Value) -> PublicKey {
    PublicKey::from_text(text(&vector["public_key_pem"])).unwrap()
}

fn pairs(params: &Value) -> impl Iterator<Item = (&str, &str)> {
    params.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), text(value)))
}

#[test]
fn requests_are_signed_as_documented() {
    let vector = &vectors()["alipay_request_sign"];
    let key = key_of(vector);
    for name in ["wap_pay_public_key_mode", "query_certificate_mode", "oauth_token_has_no_biz_content"] {
        let case = &vector[name];
        let message = request_message(pairs(&case["params"]));
        assert_eq!(message, text(&case["message"]), "{name}");
        assert!(key.verify(message.as_bytes(), text(&case["sign_b64"])), "{name}");
    }
    let case = &vector["wap_pay_public_key_mode"];
    let query = text(&case["get_url_query"]);
    // The order of parameters is free, and JSON objects keep none here: each one must be there as it is encoded.
    let sent = pairs(&case["params"]).filter(|(_, value)| !value.is_empty()).chain([("sign", text(&case["sign_b64"]))]);
    let mut sent: Vec<String> = sent.map(|pair| form::encoded([pair])).collect();
    let mut expected: Vec<&str> = query.split('&').collect();
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected);
}

#[test]
fn certificates_are_numbered_as_documented() {
    let vector = &vectors()["alipay_cert_sn"];
    for name in ["app", "alipay"] {
        let number = Certificate::from_pem(text(&vector[name]["pem"])).unwrap().number;
        assert_eq!(number, text(&vector[name]["sn"]), "{name}");
    }
    assert_eq!(root_number(&roots()).unwrap(), text(&vector["root"]["sn"]));
    // A chain's first certificate counts.
    let chain = format!("{}{}", text(&vector["app"]["pem"]), text(&vector["alipay"]["pem"]));
    assert_eq!(Certificate::from_pem(&chain).unwrap().number, text(&vector["app"]["sn"]));
    // What is no certificate between the roots is passed over.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(root_number(&format!("{broken}{}{broken}", roots())).unwrap(), text(&vector["root"]["sn"]));
    assert_eq!(root_number(broken), None);
    assert_eq!(root_number(""), None);
}

#[test]
fn what_is_signed_of_an_answer_is_its_text() {
    for case in cases("alipay_response_cut") {
        let method = text(&case["node"]).strip_suffix("_response").unwrap();
        let envelope = Envelope::read(text(&case["raw"]), method).unwrap();
        assert_eq!(envelope.content, text(&case["signed_substring"]), "{case}");
        assert_eq!(envelope.sign.as_deref(), Some("P8xrBW=="));
    }
    let key = key_of(&vectors()["alipay_response_signed"]);
    for case in cases("alipay_response_signed") {
        let method = text(&case["node"]).strip_suffix("_response").unwrap();
        let envelope = Envelope::read(text(&case["raw"]), method).unwrap();
        let Some(expected) = case["signed_substring"].as_str() else {
            assert!(envelope.is_gateways && envelope.sign.is_none(), "{case}");
            continue;
        };
        assert_eq!(envelope.content, expected);
        assert_eq!(envelope.sign.as_deref(), case["sign_b64"].as_str());
        assert!(key.verify(expected.as_bytes(), &envelope.sign.unwrap()), "{case}");
    }
    let vector = &vectors()["alipay_sync_response"];
    let envelope = Envelope::read(text(&vector["raw_response"]), "alipay.open.file.upload").unwrap();
    assert_eq!(envelope.content, text(&vector["signed_substring"]));
    assert!(key_of(vector).verify(envelope.content.as_bytes(), &envelope.sign.unwrap()));
}

#[test]
fn an_answer_of_another_form_is_none() {
    let good = r#"{"alipay_trade_query_response":{"code":"1"},"sign":"a"}"#;
    assert!(Envelope::read(good, "alipay.trade.query").is_some());
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"sign":"a"}"#,
        r#"{"alipay_trade_close_response":{},"sign":"a"}"#,
        r#"{"alipay_trade_query_response":{},"sign":1}"#,
        r#"{"alipay_trade_query_response":{},"sign":"a","sign":"a"}"#,
        r#"{"alipay_trade_query_response":{},"alipay_trade_query_response":{},"sign":"a"}"#,
        r#"{"alipay_trade_query_response":{},"error_response":{},"sign":"a"}"#,
        r#"{"alipay_trade_query_response":{},"sign":"a"} "more""#,
        r#"{"alipay_trade_query_response":{"#,
    ] {
        assert!(Envelope::read(bad, "alipay.trade.query").is_none(), "{bad}");
    }
}

/// The signed answers as what they mean, by a server that gives them.
#[tokio::test]
async fn answers_mean_what_the_vectors_say() {
    let key = text(&vectors()["alipay_response_signed"]["public_key_pem"]);
    let numbers = TradeNumbers { out_trade_no: "S0123456789".into(), reference: None, provider_txn_id: None };
    let refund = crate::payments::provider::RefundNumbers {
        trade: numbers.clone(),
        out_refund_no: "R0001".into(),
        reference: None,
    };
    for case in cases("alipay_response_signed") {
        let server = server::Server::start(server::plain(200, text(&case["raw"]))).await;
        let alipay = alipay_of(&Account { alipay_public_keys: vec![key.into()], ..account(&server.url) }).unwrap();
        let meaning = text(&case["meaning"]);
        match text(&case["node"]) {
            "alipay_trade_query_response" | "error_response" => {
                let answer = alipay.query(&numbers).await;
                let expected = match meaning {
                    "paid" => {
                        let amount = Money::new(105, Currency::Cny);
                        let provider_txn_id = "2026112922001".into();
                        TradeState::Paid(Paid { provider_txn_id, amount, paid_at_ms: NOW_MS, attach: String::new() })
                    }
                    "not found" => TradeState::NotFound,
                    "closed" => TradeState::Closed,
                    _ => {
                        let unknown = matches!(answer, Err(crate::payments::provider::ProviderError::Unknown(_)));
                        assert!(unknown, "{case}: {answer:?}");
                        continue;
                    }
                };
                assert_eq!(answer.unwrap(), expected, "{case}");
            }
            "alipay_trade_refund_response" if meaning == "done" => {
                let request = client::refund_of(refund.clone(), 105);
                assert_eq!(alipay.refund(&request).await.unwrap(), RefundState::Done.into());
            }
            // It is asked about, by a server that gives this same answer to that too.
            "alipay_trade_refund_response" => {
                let answer = alipay.refund(&client::refund_of(refund.clone(), 105)).await;
                assert!(matches!(answer, Err(crate::payments::provider::ProviderError::Unknown(_))), "{answer:?}");
            }
            "alipay_trade_fastpay_refund_query_response" => {
                assert_eq!(alipay.query_refund(&refund).await.unwrap(), RefundState::NotFound.into());
            }
            other => panic!("{other}"),
        }
    }
}

/// An account that is told notices of a vector's key.
fn told(vector: &Value, app_id: &str) -> Credentials {
    let public_key = text(&vector["public_key_pem"]).to_owned();
    let account = Account {
        app_id: app_id.into(),
        alipay_public_keys: vec![public_key],
        ..account("https://openapi.alipay.com")
    };
    Credentials::parse(&account).unwrap()
}

fn raw(body: &str) -> RawCallback<'_> {
    RawCallback { headers: &[], body: body.as_bytes() }
}

#[test]
fn a_real_notice_is_understood() {
    let vector = &vectors()["alipay_notify_form"];
    let verified = callback::verify(&told(vector, "2019073166072302"), raw(text(&vector["body"]))).unwrap();
    assert_eq!(verified.event_id, "2019081500222155624068450559358070");
    assert_eq!(verified.plaintext, text(&vector["message"]));
    let paid = Paid {
        provider_txn_id: "2019081522001468450512505578".into(),
        amount: Money::new(10, Currency::Cny),
        paid_at_ms: 1_565_855_784_000,
        attach: String::new(),
    };
    let (out_trade_no, state) = ("20190815155618536-564-57".to_owned(), TradeState::Paid(paid));
    assert_eq!(verified.content, CallbackContent::Facts(vec![Fact::Payment { out_trade_no, state }]));

    let same = &vectors()["alipay_notify_rsa2"];
    let message = notice_message(pairs(&same["params_without_sign"]).chain([("sign", "x"), ("sign_type", "RSA2")]));
    assert_eq!(message, text(&vector["message"]));
    assert!(key_of(same).verify(message.as_bytes(), text(&same["sign"])));
}

/// Notices of another kind have the type of signature within: the rule for trades refuses them.
#[test]
fn a_notice_signed_by_another_rule_is_refused() {
    let vector = &vectors()["alipay_notify_keeps_sign_type"];
    let params = pairs(&vector["params_without_sign"]);
    let body = form::encoded(params.chain([("sign", text(&vector["sign"])), ("sign_type", "RSA2")]));
    let answer = callback::verify(&told(vector, "2017122801303261"), raw(&body));
    assert_eq!(answer.unwrap_err(), CallbackError::Signature);
}

#[test]
fn notices_mean_what_the_vectors_say() {
    let vector = &vectors()["alipay_notify_cases"];
    let account = told(vector, APP_ID);
    let paid = Paid {
        provider_txn_id: "2026112922001468450512505578".into(),
        amount: Money::new(105, Currency::Cny),
        paid_at_ms: 1_795_935_849_000,
        attach: String::new(),
    };
    let payment = |state| Fact::Payment { out_trade_no: "S0123456789".into(), state };
    let refund = |number: &str, amount_minor| {
        let told = RefundDetails {
            trade: ToldTrade::Ours("S0123456789".into()),
            provider_refund_id: number.into(),
            amount_minor,
            is_total: true,
            payment: Some(paid.clone()),
        };
        Fact::Refund { out_refund_no: number.into(), state: RefundState::Done, told: Some(told) }
    };
    for case in cases("alipay_notify_cases") {
        let answer = callback::verify(&account, raw(text(&case["body"])));
        let verified = match (case["accept"].as_bool(), answer) {
            (Some(true), Ok(verified)) => verified,
            (Some(false), Err(error)) => {
                match text(&case["meaning"]) {
                    "signature" => assert_eq!(error, CallbackError::Signature, "{case}"),
                    _ => assert!(matches!(error, CallbackError::Body(_)), "{case}: {error}"),
                }
                continue;
            }
            (_, answer) => panic!("{case}: {answer:?}"),
        };
        if let Some(message) = case["message"].as_str() {
            assert_eq!(verified.plaintext, message);
        }
        let expected = match text(&case["meaning"]) {
            "paid 105 fen" => vec![payment(TradeState::Paid(paid.clone()))],
            "not paid; answer success" => vec![payment(TradeState::NotPaid)],
            "closed" => vec![payment(TradeState::Closed)],
            "refunded 50 fen in all; not a new payment, no credit" => {
                vec![payment(TradeState::Refunded(paid.clone())), refund("R0001", 50)]
            }
            "paid once, refunded whole" => {
                vec![payment(TradeState::Refunded(paid.clone())), refund("R0002", 105)]
            }
            "content fault" => {
                assert!(matches!(verified.content, CallbackContent::NotUnderstood(_)), "{case}");
                continue;
            }
            other => panic!("{other}"),
        };
        assert_eq!(verified.content, CallbackContent::Facts(expected), "{case}");
    }
}
