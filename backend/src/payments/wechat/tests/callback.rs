//! Callbacks: what is believed, and every way not to be.

use super::*;
use crate::money::{Currency, Money};
use crate::payments::provider::{
    CallbackContent, CallbackError, Fact, Paid, Provider, RawCallback, RefundDetails, RefundState, ToldTrade,
    TradeState, VerifiedCallback,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const RESOURCE_NONCE: &str = "fdasflkja484";

fn verifier() -> &'static WechatPay {
    static WECHAT: OnceLock<WechatPay> = OnceLock::new();
    WECHAT.get_or_init(|| wechat("https://api.mch.weixin.qq.com"))
}

/// The plaintext of a payment made with a coupon: the payer paid 80 of the 100 fen.
fn transaction() -> Value {
    json!({
        "appid": APPID, "mchid": MCHID, "out_trade_no": "CW2026112312345678", "transaction_id": "4200002026112300001",
        "trade_type": "MWEB", "trade_state": "SUCCESS", "trade_state_desc": "支付成功", "bank_type": "OTHERS",
        "success_time": "2026-11-23T12:00:00+08:00", "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": {"total": 100, "payer_total": 80, "currency": "CNY", "payer_currency": "CNY"},
        "a_new_field": [1, 2.5, "100% + ü"],
    })
}

fn refund(status: &str) -> Value {
    json!({
        "mchid": MCHID, "out_trade_no": "CW2026112312345678", "transaction_id": "4200002026112300001",
        "out_refund_no": "R-1", "refund_id": "503000", "refund_status": status, "user_received_account": "零钱",
        "amount": {"total": 100, "refund": 100, "payer_total": 80, "payer_refund": 80},
    })
}

fn body_of(event_type: &str, associated_data: &str, ciphertext: &str) -> String {
    json!({
        "id": "EV-2026112300001", "create_time": "2026-11-23T12:00:01+08:00", "resource_type": "encrypt-resource",
        "event_type": event_type, "summary": "支付成功",
        "resource": {
            "original_type": "transaction", "algorithm": "AEAD_AES_256_GCM", "ciphertext": ciphertext,
            "associated_data": associated_data, "nonce": RESOURCE_NONCE,
        },
    })
    .to_string()
}

fn body(event_type: &str, plaintext: &Value) -> String {
    let aad = "transaction";
    body_of(event_type, aad, &seal(API_V3_KEY, RESOURCE_NONCE, aad, plaintext.to_string().as_bytes()))
}

fn verify(headers: &[(String, String)], body: &[u8]) -> Result<VerifiedCallback, CallbackError> {
    verifier().verify_callback(RawCallback { headers, body }, NOW_MS)
}

fn verify_signed(body: &[u8]) -> Result<VerifiedCallback, CallbackError> {
    verify(&platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, body), body)
}

fn content_fault(body: &str) -> String {
    match verify_signed(body.as_bytes()) {
        Ok(VerifiedCallback { content: CallbackContent::NotUnderstood(why), .. }) => why,
        other => panic!("{other:?}"),
    }
}

fn only_fact(verified: VerifiedCallback) -> Fact {
    let CallbackContent::Facts(mut facts) = verified.content else { panic!("{verified:?}") };
    assert_eq!(facts.len(), 1, "{facts:?}");
    facts.remove(0)
}

#[test]
fn a_payment_is_understood() {
    let verified = verify_signed(body("TRANSACTION.SUCCESS", &transaction()).as_bytes()).unwrap();
    assert_eq!(verified.event_id, "EV-2026112300001");
    assert_eq!(serde_json::from_str::<Value>(&verified.plaintext).unwrap(), transaction());
    let paid = Paid {
        provider_txn_id: "4200002026112300001".into(),
        amount: Money::new(100, Currency::Cny),
        paid_at_ms: NOW_MS,
        attach: String::new(),
    };
    let fact = Fact::Payment { out_trade_no: "CW2026112312345678".into(), state: TradeState::Paid(paid) };
    assert_eq!(only_fact(verified), fact);
}

#[test]
fn refunds_are_understood() {
    for (status, state) in
        [("SUCCESS", RefundState::Done), ("ABNORMAL", RefundState::Abnormal), ("CLOSED", RefundState::Closed)]
    {
        let verified = verify_signed(body(&format!("REFUND.{status}"), &refund(status)).as_bytes()).unwrap();
        let payment = Paid {
            provider_txn_id: "4200002026112300001".into(),
            amount: Money::new(100, Currency::Cny),
            paid_at_ms: 0,
            attach: String::new(),
        };
        let told = RefundDetails {
            trade: ToldTrade::Ours("CW2026112312345678".into()),
            provider_refund_id: "503000".into(),
            amount_minor: 100,
            is_total: false,
            payment: Some(payment),
        };
        let fact = Fact::Refund { out_refund_no: "R-1".into(), state, told: Some(told) };
        assert_eq!(only_fact(verified), fact);
    }
    // Of a refund that we know, number and state are enough.
    for (pointer, bad) in
        [("/refund_id", json!("")), ("/out_trade_no", json!("1".repeat(65))), ("/amount/refund", json!(0))]
    {
        let mut odd = refund("SUCCESS");
        *odd.pointer_mut(pointer).unwrap() = bad;
        let verified = verify_signed(body("REFUND.SUCCESS", &odd).as_bytes()).unwrap();
        assert!(matches!(only_fact(verified), Fact::Refund { told: None, .. }), "{pointer}");
    }
    content_fault(&body("REFUND.SUCCESS", &refund("CLOSED")));
    content_fault(&body("REFUND.CLOSED", &refund("GONE")));
}

#[test]
fn associated_data_may_be_empty_or_absent() {
    let sealed = seal(API_V3_KEY, RESOURCE_NONCE, "", transaction().to_string().as_bytes());
    let empty = body_of("TRANSACTION.SUCCESS", "", &sealed);
    assert!(verify_signed(empty.as_bytes()).is_ok());
    assert!(verify_signed(empty.replace(r#""associated_data":"","#, "").as_bytes()).is_ok());
    assert!(verify_signed(empty.replace(r#""associated_data":"""#, r#""associated_data":null"#).as_bytes()).is_ok());
}

#[test]
fn headers_must_be_there_and_of_their_form() {
    let body = body("TRANSACTION.SUCCESS", &transaction());
    let good = platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, body.as_bytes());
    for (index, name) in
        ["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-serial", "wechatpay-signature"].into_iter().enumerate()
    {
        let mut missing = good.clone();
        missing.remove(index);
        assert_eq!(verify(&missing, body.as_bytes()), Err(CallbackError::Header(name)));
        for bad in [String::new(), "a b".into(), "ü".into(), "1".repeat(3000)] {
            let mut malformed = good.clone();
            malformed[index].1 = bad;
            assert_eq!(verify(&malformed, body.as_bytes()), Err(CallbackError::Header(name)));
        }
    }
    for bad in ["-5", "+5", "1e9", "12.5", "999999999999999999999"] {
        let mut malformed = good.clone();
        malformed[0].1 = bad.into();
        assert_eq!(verify(&malformed, body.as_bytes()), Err(CallbackError::Header("wechatpay-timestamp")), "{bad}");
    }
}

#[test]
fn the_probe_is_refused_before_all_else() {
    let body = body("TRANSACTION.SUCCESS", &transaction());
    let mut headers = platform_headers(&keys().platform, "SOME_OTHER_KEY", 1, body.as_bytes());
    headers[3].1 = format!("WECHATPAY/SIGNTEST/{}", headers[3].1);
    assert_eq!(verify(&headers, body.as_bytes()), Err(CallbackError::SignatureProbe));
}

#[test]
fn age_counts_both_ways_up_to_five_minutes() {
    let body = body("TRANSACTION.SUCCESS", &transaction());
    let at = |timestamp_s| {
        let headers = platform_headers(&keys().platform, PLATFORM_KEY_ID, timestamp_s, body.as_bytes());
        verify(&headers, body.as_bytes()).map(|_| ())
    };
    assert_eq!(at(NOW_S - 300), Ok(()));
    assert_eq!(at(NOW_S + 300), Ok(()));
    assert_eq!(at(NOW_S - 301), Err(CallbackError::Stale { skew_s: 301 }));
    assert_eq!(at(NOW_S + 301), Err(CallbackError::Stale { skew_s: -301 }));
    assert_eq!(at(0), Err(CallbackError::Stale { skew_s: NOW_S }));
}

#[test]
fn only_known_keys_and_true_signatures_count() {
    let body = body("TRANSACTION.SUCCESS", &transaction());
    let bytes = body.as_bytes();
    let keys = keys();
    let foreign = platform_headers(&keys.stranger, STRANGER_KEY_ID, NOW_S, bytes);
    assert_eq!(verify(&foreign, bytes), Err(CallbackError::UnknownKey(STRANGER_KEY_ID.into())));
    let forged = platform_headers(&keys.stranger, PLATFORM_KEY_ID, NOW_S, bytes);
    assert_eq!(verify(&forged, bytes), Err(CallbackError::Signature));
    let ours = platform_headers(&keys.merchant, PLATFORM_KEY_ID, NOW_S, bytes);
    assert_eq!(verify(&ours, bytes), Err(CallbackError::Signature), "our own key is not the provider's");
    let good = platform_headers(&keys.platform, PLATFORM_KEY_ID, NOW_S, bytes);
    assert!(verify(&good, bytes).is_ok());
    assert_eq!(verify(&good, body.replace("EV-", "EW-").as_bytes()), Err(CallbackError::Signature));
    assert_eq!(verify(&good, &bytes[..bytes.len() - 1]), Err(CallbackError::Signature));
    assert_eq!(verify(&good, b""), Err(CallbackError::Signature));
    for index in 0..2 {
        let mut other = good.clone();
        other[index].1 = (NOW_S + 1).to_string();
        assert_eq!(verify(&other, bytes), Err(CallbackError::Signature), "time stamp and nonce are signed too");
    }
    let mut no_base64 = good.clone();
    no_base64[3].1 = "!!!".into();
    assert_eq!(verify(&no_base64, bytes), Err(CallbackError::Signature));
}

#[test]
fn during_a_change_of_keys_both_count() {
    let mut account = account("https://api.mch.weixin.qq.com");
    account.platform_keys.push(PlatformKey { id: STRANGER_KEY_ID.into(), pem: public_pem(&keys().stranger) });
    let wechat = wechat_of(account).unwrap();
    let body = body("TRANSACTION.SUCCESS", &transaction());
    for (key, id) in [(&keys().platform, PLATFORM_KEY_ID), (&keys().stranger, STRANGER_KEY_ID)] {
        let headers = platform_headers(key, id, NOW_S, body.as_bytes());
        assert!(wechat.verify_callback(RawCallback { headers: &headers, body: body.as_bytes() }, NOW_MS).is_ok());
    }
}

#[test]
fn a_signed_body_must_still_make_sense() {
    let good = body("TRANSACTION.SUCCESS", &transaction());
    content_fault(&good[..good.len() / 2]);
    content_fault("");
    content_fault("[]");
    content_fault(&good.replace("AEAD_AES_256_GCM", "AEAD_SM4_GCM"));
    content_fault(&good.replace(RESOURCE_NONCE, "short"));
    content_fault(&good.replace("EV-2026112300001", ""));
    content_fault(&good.replace("EV-2026112300001", &"E".repeat(65)));
    content_fault(&body_of("TRANSACTION.SUCCESS", "", "not base64!"));
    content_fault(&body("PAYSCORE.USER_PAID", &transaction()));
    content_fault(&format!("{good}{}", " ".repeat(70_000)));
    let sealed = seal(API_V3_KEY, RESOURCE_NONCE, "", b"\xff\xfe");
    content_fault(&body_of("TRANSACTION.SUCCESS", "", &sealed));
}

#[test]
fn what_does_not_open_is_not_guessed_at() {
    let plaintext = transaction().to_string();
    let aad = "transaction";
    let wrong_key = seal("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", RESOURCE_NONCE, aad, plaintext.as_bytes());
    let wrong_aad = seal(API_V3_KEY, RESOURCE_NONCE, "refund", plaintext.as_bytes());
    let wrong_nonce = seal(API_V3_KEY, "000000000000", aad, plaintext.as_bytes());
    for ciphertext in [wrong_key, wrong_aad, wrong_nonce, String::new(), "AAAA".into()] {
        let body = body_of("TRANSACTION.SUCCESS", aad, &ciphertext);
        assert_eq!(verify_signed(body.as_bytes()), Err(CallbackError::Decrypt));
    }
}

#[test]
fn another_merchant_is_foreign() {
    for (field, value) in [("appid", "wx0000000000000000"), ("mchid", "1900000000")] {
        let mut other = transaction();
        other[field] = value.into();
        let content = verify_signed(body("TRANSACTION.SUCCESS", &other).as_bytes()).unwrap().content;
        assert!(matches!(&content, CallbackContent::Foreign(why) if why.contains(value)), "{content:?}");
    }
    let mut other = refund("SUCCESS");
    other["mchid"] = "1900000000".into();
    let content = verify_signed(body("REFUND.SUCCESS", &other).as_bytes()).unwrap().content;
    assert!(matches!(content, CallbackContent::Foreign(_)));
}

#[test]
fn every_field_we_rely_on_is_demanded() {
    let fault = |plaintext: &Value| content_fault(&body("TRANSACTION.SUCCESS", plaintext));
    for field in ["appid", "mchid", "out_trade_no", "transaction_id", "trade_state", "success_time", "amount"] {
        let mut lacking = transaction();
        lacking.as_object_mut().unwrap().remove(field);
        fault(&lacking);
        lacking[field] = json!([]);
        fault(&lacking);
    }
    for (pointer, bad) in [
        ("/amount/total", json!(0)),
        ("/amount/total", json!(-100)),
        ("/amount/total", json!(1.5)),
        ("/amount/total", json!("100")),
        ("/amount/total", json!(1e30)),
        ("/amount/currency", json!("yuan")),
        ("/amount/currency", json!("")),
        ("/success_time", json!("yesterday")),
        ("/trade_state", json!("NOTPAY")),
        ("/trade_state", json!("")),
        ("/out_trade_no", json!("")),
        ("/out_trade_no", json!("1".repeat(65))),
        ("/transaction_id", json!("")),
    ] {
        let mut odd = transaction();
        *odd.pointer_mut(pointer).unwrap() = bad.clone();
        let why = fault(&odd);
        assert!(!why.contains("oUpF8uMuAJO"), "an error quotes the payer's data");
    }
    for field in ["mchid", "out_refund_no", "refund_status"] {
        let mut lacking = refund("SUCCESS");
        lacking.as_object_mut().unwrap().remove(field);
        content_fault(&body("REFUND.SUCCESS", &lacking));
    }
}

/// The pointers of all that is in a message, objects and lists themselves too.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, inner)| (name.clone(), inner)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(place, inner)| (place.to_string(), inner)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    for (name, inner) in inner {
        let pointer = format!("{at}/{name}");
        pointers(inner, &pointer, found);
        found.push(pointer);
    }
}

/// A signed message with one field changed says the same as before where the field is none of ours, and else what the changed
/// field says, or nothing: it is never taken for another payment.
#[test]
fn every_field_of_every_message_may_be_anything() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(i64::MAX),
        json!(1.5),
        json!(""),
        json!("1"),
        json!("9".repeat(300)),
        json!("' OR 1=1 --\u{0}\r\n"),
        json!([]),
        json!({"x": 1}),
    ];
    for (event, message) in [
        ("TRANSACTION.SUCCESS", transaction()),
        ("REFUND.SUCCESS", refund("SUCCESS")),
        ("REFUND.ABNORMAL", refund("ABNORMAL")),
        ("REFUND.CLOSED", refund("CLOSED")),
    ] {
        let original = verify_signed(body(event, &message).as_bytes()).unwrap().content;
        let mut all = vec![];
        pointers(&message, "", &mut all);
        for pointer in all {
            for value in &odd {
                let mut changed = message.clone();
                *changed.pointer_mut(&pointer).unwrap() = value.clone();
                let content = verify_signed(body(event, &changed).as_bytes()).unwrap().content;
                let is_ours =
                    ["appid", "mchid", "out_", "transaction_id", "refund", "success_time", "amount", "trade_state"]
                        .iter()
                        .any(|ours| pointer[1..].starts_with(ours));
                match &content {
                    CallbackContent::NotUnderstood(_) | CallbackContent::Foreign(_) => {
                        assert!(is_ours, "{event} {pointer} = {value}: {content:?}");
                    }
                    CallbackContent::Facts(_) if content == original => {}
                    CallbackContent::Facts(facts) => {
                        assert!(is_ours, "{event} {pointer} = {value}: {content:?}");
                        let told = format!("{facts:?}");
                        // What it says of the field is what the field says, or nothing.
                        let says = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
                        assert!(
                            told.contains(&says)
                                || told.contains("told: None")
                                || told.contains("payment: None")
                                || told.contains("paid_at_ms: 0"),
                            "{event} {pointer} = {value}: {told}"
                        );
                    }
                    CallbackContent::Irrelevant => panic!("{event} {pointer} = {value}"),
                }
            }
        }
    }
}

#[test]
fn the_amount_is_yuan_where_no_currency_is_given() {
    let mut bare = transaction();
    bare["amount"] = json!({"total": 7});
    let verified = verify_signed(body("TRANSACTION.SUCCESS", &bare).as_bytes()).unwrap();
    let Fact::Payment { state: TradeState::Paid(paid), .. } = only_fact(verified) else { panic!("not paid") };
    assert_eq!(paid.amount, Money::new(7, Currency::Cny));
}

#[test]
fn a_currency_that_nobody_here_knows_is_told_as_such() {
    let mut foreign = transaction();
    foreign["amount"]["currency"] = "USD".into();
    let verified = verify_signed(body("TRANSACTION.SUCCESS", &foreign).as_bytes()).unwrap();
    let Fact::Payment { state: TradeState::PaidUnknownCurrency(paid), .. } = only_fact(verified) else {
        panic!("not told")
    };
    assert_eq!((paid.amount_minor, paid.currency.as_str()), (100, "USD"));
}

#[test]
fn a_trade_in_refund_was_paid() {
    let mut refunded = transaction();
    refunded["trade_state"] = "REFUND".into();
    let verified = verify_signed(body("TRANSACTION.SUCCESS", &refunded).as_bytes()).unwrap();
    let Fact::Payment { state: TradeState::Refunded(paid), .. } = only_fact(verified) else { panic!("not told") };
    assert_eq!(paid.amount, Money::new(100, Currency::Cny));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn unsigned_bytes_never_pass_nor_panic(
        headers in proptest::collection::vec((
            prop_oneof![
                Just("wechatpay-timestamp".to_owned()), Just("wechatpay-nonce".to_owned()),
                Just("wechatpay-serial".to_owned()), Just("wechatpay-signature".to_owned()), any::<String>(),
            ],
            prop_oneof![Just(NOW_S.to_string()), Just(PLATFORM_KEY_ID.to_owned()), "[A-Za-z0-9+/=]{0,400}", any::<String>()],
        ), 0..8),
        body in proptest::collection::vec(any::<u8>(), 0..512),
        now_ms in prop_oneof![Just(NOW_MS), any::<i64>()],
    ) {
        let raw = RawCallback { headers: &headers, body: &body };
        prop_assert!(verifier().verify_callback(raw, now_ms).is_err());
    }

    #[test]
    fn signed_but_arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let told = verify_signed(&body).map(|verified| verified.content);
        prop_assert!(matches!(told, Err(_) | Ok(CallbackContent::NotUnderstood(_))), "{told:?}");
    }

    #[test]
    fn a_broken_notification_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = body("TRANSACTION.SUCCESS", &transaction()).into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let _ = verify_signed(&bytes);
    }

    #[test]
    fn a_broken_plaintext_never_panics(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), is_refund in any::<bool>(),
    ) {
        let (event, plaintext) =
            if is_refund { ("REFUND.SUCCESS", refund("SUCCESS")) } else { ("TRANSACTION.SUCCESS", transaction()) };
        let mut bytes = plaintext.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let _ = verify_signed(body_of(event, "", &seal(API_V3_KEY, RESOURCE_NONCE, "", &bytes)).as_bytes());
    }
}

#[test]
fn a_partners_callbacks_name_its_merchant() {
    let sub_mchid = "1900000109";
    let url = "https://api.mch.weixin.qq.com";
    let partner = wechat_of(Account { sub_mchid: Some(sub_mchid.into()), ..account(url) }).unwrap();
    let content = |event_type: &str, plaintext: &Value| {
        let body = body(event_type, plaintext);
        let headers = platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, body.as_bytes());
        partner.verify_callback(RawCallback { headers: &headers, body: body.as_bytes() }, NOW_MS).unwrap().content
    };
    let parties = |mut plaintext: Value, appid: bool| {
        let object = plaintext.as_object_mut().unwrap();
        object.remove("appid");
        object.remove("mchid");
        if appid {
            object.insert("sp_appid".into(), json!(APPID));
        }
        object.insert("sp_mchid".into(), json!(MCHID));
        object.insert("sub_mchid".into(), json!(sub_mchid));
        plaintext
    };
    let paid = parties(transaction(), true);
    let back = parties(refund("SUCCESS"), false);
    assert!(matches!(content("TRANSACTION.SUCCESS", &paid), CallbackContent::Facts(_)));
    assert!(matches!(content("REFUND.SUCCESS", &back), CallbackContent::Facts(_)));
    for field in ["sp_appid", "sp_mchid", "sub_mchid"] {
        let mut other = paid.clone();
        other[field] = json!("1900000110");
        assert!(matches!(content("TRANSACTION.SUCCESS", &other), CallbackContent::Foreign(_)), "{field}");
        other.as_object_mut().unwrap().remove(field);
        assert!(matches!(content("TRANSACTION.SUCCESS", &other), CallbackContent::NotUnderstood(_)), "{field}");
    }
    let mut other = back;
    other["sub_mchid"] = json!("1900000110");
    assert!(matches!(content("REFUND.SUCCESS", &other), CallbackContent::Foreign(_)));
    // And what is for one with an account of its own is none of a partner's.
    assert!(!matches!(content("TRANSACTION.SUCCESS", &transaction()), CallbackContent::Facts(_)));
}

#[test]
fn while_the_api_v3_key_changes_both_open_callbacks() {
    const BEFORE: &str = "before-56789abcdefghijklmnopqrst";
    let url = "https://api.mch.weixin.qq.com";
    let (aad, text) = ("transaction", transaction().to_string());
    let is_opened = |account: Account, key: &str| {
        let body = body_of("TRANSACTION.SUCCESS", aad, &seal(key, RESOURCE_NONCE, aad, text.as_bytes()));
        let headers = platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, body.as_bytes());
        let raw = RawCallback { headers: &headers, body: body.as_bytes() };
        wechat_of(account).unwrap().verify_callback(raw, NOW_MS).is_ok()
    };
    let both = || Account { previous_api_v3_key: Some(BEFORE.into()), ..account(url) };
    assert!(is_opened(both(), API_V3_KEY) && is_opened(both(), BEFORE));
    assert!(is_opened(account(url), API_V3_KEY) && !is_opened(account(url), BEFORE));
}
