//! Notices: what is believed, and every way not to be.

use super::*;
use crate::money::{Currency, Money};
use crate::payments::provider::{
    CallbackContent, CallbackError, Fact, Paid, Provider, RawCallback, RefundDetails, RefundState, ToldTrade,
    TradeState, VerifiedCallback,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TRADE: &str = "CW2026112312345678";

type Fields = BTreeMap<&'static str, String>;

fn verifier() -> &'static Alipay {
    static ALIPAY: OnceLock<Alipay> = OnceLock::new();
    ALIPAY.get_or_init(|| alipay("https://openapi.alipay.com"))
}

/// A notice of a payment of one yuan, of which the buyer paid 80 fen.
fn notice() -> Fields {
    [
        ("app_id", APP_ID),
        ("auth_app_id", APP_ID),
        ("buyer_pay_amount", "0.80"),
        ("charset", "utf-8"),
        ("gmt_create", "2026-11-23 11:59:30"),
        ("gmt_payment", "2026-11-23 12:00:00"),
        ("notify_id", "2026112300222120000068450559358070"),
        ("notify_time", "2026-11-23 12:00:01"),
        ("notify_type", "trade_status_sync"),
        ("out_trade_no", TRADE),
        ("passback_params", "1.mark"),
        ("point_amount", ""),
        ("seller_id", SELLER_ID),
        ("subject", "摇摇车 3 分钟 + 50% a=b&c "),
        ("total_amount", "1.00"),
        ("trade_no", "2026112322001468450512505578"),
        ("trade_status", "TRADE_SUCCESS"),
        ("version", "1.0"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn with(changes: &[(&'static str, &str)]) -> Fields {
    let mut fields = notice();
    for (name, value) in changes {
        fields.insert(*name, (*value).to_owned());
    }
    fields
}

fn without(names: &[&str]) -> Fields {
    notice().into_iter().filter(|(name, _)| !names.contains(name)).collect()
}

fn encoded(fields: &Fields) -> String {
    form::encoded(fields.iter().map(|(name, value)| (*name, value.as_str())))
}

/// The signature of fields, made without the code that is tested.
fn signature(key: &KeyPair, fields: &Fields) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    sign(key, pairs.join("&").as_bytes())
}

fn signed_by(key: &KeyPair, fields: &Fields) -> String {
    let sign = signature(key, fields);
    format!("{}&{}", encoded(fields), form::encoded([("sign", &*sign), ("sign_type", "RSA2")]))
}

fn verify(body: &str) -> Result<VerifiedCallback, CallbackError> {
    verifier().verify_callback(RawCallback { headers: &[], body: body.as_bytes() }, NOW_MS)
}

fn content(fields: &Fields) -> CallbackContent {
    verify(&signed_by(&keys().alipay, fields)).unwrap().content
}

fn paid() -> Paid {
    Paid {
        provider_txn_id: "2026112322001468450512505578".into(),
        amount: Money::new(100, Currency::Cny),
        paid_at_ms: NOW_MS,
        attach: "1.mark".into(),
    }
}

fn facts_of(state: TradeState) -> CallbackContent {
    CallbackContent::Facts(vec![Fact::Payment { out_trade_no: TRADE.into(), state }])
}

fn refunded(number: &str, amount_minor: i64) -> CallbackContent {
    let told = RefundDetails {
        trade: ToldTrade::Ours(TRADE.into()),
        provider_refund_id: number.into(),
        amount_minor,
        is_total: true,
        payment: Some(paid()),
    };
    let state = TradeState::Refunded(paid());
    CallbackContent::Facts(vec![
        Fact::Payment { out_trade_no: TRADE.into(), state },
        Fact::Refund { out_refund_no: number.into(), state: RefundState::Done, told: Some(told) },
    ])
}

#[track_caller]
fn not_understood(fields: &Fields) -> String {
    let content = content(fields);
    let CallbackContent::NotUnderstood(why) = content else { panic!("{content:?}") };
    why
}

#[test]
fn a_payment_is_understood_by_each_key_of_a_rotation() {
    for key in [&keys().alipay, &keys().next] {
        let verified = verify(&signed_by(key, &notice())).unwrap();
        assert_eq!(verified.event_id, "2026112300222120000068450559358070");
        assert_eq!(verified.content, facts_of(TradeState::Paid(paid())));
        assert!(verified.plaintext.contains("subject=摇摇车 3 分钟 + 50% a=b&c &total_amount=1.00"));
        assert!(!verified.plaintext.contains("sign"), "neither signature nor its type");
    }
}

#[test]
fn the_order_of_the_fields_is_free() {
    let sign = signature(&keys().alipay, &notice());
    let mut parts: Vec<String> = notice().iter().map(|(name, value)| form::encoded([(*name, &**value)])).collect();
    parts.push(form::encoded([("sign", &*sign)]));
    parts.push("sign_type=RSA2".into());
    parts.reverse();
    assert_eq!(verify(&parts.join("&")).unwrap().content, facts_of(TradeState::Paid(paid())));
}

#[test]
fn states_are_told_apart() {
    let not_paid = with(&[("trade_status", "WAIT_BUYER_PAY"), ("gmt_payment", "")]);
    assert_eq!(content(&not_paid), facts_of(TradeState::NotPaid));
    let finished = with(&[("trade_status", "TRADE_FINISHED")]);
    assert_eq!(content(&finished), facts_of(TradeState::Paid(paid())), "the same payment again");
    let closed = with(&[("trade_status", "TRADE_CLOSED"), ("gmt_payment", ""), ("refund_fee", "0.00")]);
    assert_eq!(content(&closed), facts_of(TradeState::Closed));
    let closed_paid = with(&[("trade_status", "TRADE_CLOSED")]);
    assert_eq!(content(&closed_paid), facts_of(TradeState::Refunded(paid())), "it was paid");
    let began = Paid { paid_at_ms: NOW_MS - 30_000, ..paid() };
    assert_eq!(content(&without(&["gmt_payment"])), facts_of(TradeState::Paid(began)));
}

#[test]
fn a_refund_is_no_new_payment() {
    let part = [("refund_fee", "0.40"), ("out_biz_no", "R1"), ("gmt_refund", "2026-11-23 12:00:09.123")];
    assert_eq!(content(&with(&part)), refunded("R1", 40));
    let finished = [&part[..], &[("trade_status", "TRADE_FINISHED")]].concat();
    assert_eq!(content(&with(&finished)), refunded("R1", 40));
    let whole = [("trade_status", "TRADE_CLOSED"), ("refund_fee", "1.00"), ("out_biz_no", "R2")];
    assert_eq!(content(&with(&whole)), refunded("R2", 100));
    // A refund without number or amount cannot be booked: a person is told, and what became of the payment is asked.
    for one in part {
        let told = content(&with(&[one]));
        assert!(matches!(told, CallbackContent::NotUnderstood(_)), "{one:?}: {told:?}");
    }
}

#[test]
fn what_contradicts_itself_is_not_understood() {
    let long = "1".repeat(65);
    for (changes, part) in [
        (&[("trade_status", "TRADE_PENDING")][..], "trade_status"),
        (&[("trade_status", "")], "trade_status"),
        (&[("trade_status", "WAIT_BUYER_PAY"), ("refund_fee", "0.40")], "trade_status"),
        (&[("notify_type", "servicemarket_order_notify")], "notify_type"),
        (&[("notify_type", "")], "notify_type"),
        (&[("out_trade_no", "")], "out_trade_no"),
        (&[("out_trade_no", &long)], "out_trade_no"),
        (&[("trade_no", "")], "trade_no"),
        (&[("trade_no", "1/2")], "trade_no"),
        (&[("total_amount", "")], "total_amount"),
        (&[("total_amount", "0.00")], "total_amount"),
        (&[("total_amount", "1.0")], "total_amount"),
        (&[("total_amount", "-1.00")], "total_amount"),
        (&[("total_amount", "1e2")], "total_amount"),
        (&[("gmt_payment", "yesterday")], "gmt_payment"),
        (&[("refund_fee", "0.4")], "refund_fee"),
        (&[("refund_fee", "1.01"), ("out_biz_no", "R1")], "refund_fee"),
        (&[("refund_fee", "0.40"), ("out_biz_no", &long)], "out_biz_no"),
    ] {
        let why = not_understood(&with(changes));
        assert!(why.starts_with(part), "{changes:?}: {why}");
    }
    let why = not_understood(&with(&[("notify_id", "")]));
    assert!(why.starts_with("notify_id"));
    let body = signed_by(&keys().alipay, &with(&[("notify_id", &"1".repeat(129))]));
    assert!(verify(&body).unwrap().event_id.starts_with("body-"), "repeats are known by their bytes");
}

#[test]
fn another_seller_or_app_is_told() {
    for (name, other) in
        [("app_id", "2021000122671081"), ("seller_id", "2088531891668730"), ("app_id", ""), ("seller_id", "")]
    {
        let CallbackContent::Foreign(whose) = content(&with(&[(name, other)])) else { panic!("{name}") };
        assert_eq!(whose, format!("{name} {other:?}"));
    }
    let CallbackContent::Foreign(whose) = content(&with(&[("seller_id", &"x".repeat(500))])) else { panic!() };
    assert!(whose.len() < 100, "it is quoted in part");
}

#[test]
fn any_change_is_seen() {
    let (fields, key) = (notice(), &keys().alipay);
    let sign = signature(key, &fields);
    let body_of =
        |fields: &Fields| format!("{}&{}", encoded(fields), form::encoded([("sign", &*sign), ("sign_type", "RSA2")]));
    assert!(verify(&body_of(&fields)).is_ok());
    for name in fields.keys().copied() {
        for value in ["", "x", &format!("{} ", fields[name]), &format!("{}0", fields[name])] {
            if *value != *fields[name] {
                let changed = with(&[(name, value)]);
                assert_eq!(verify(&body_of(&changed)).unwrap_err(), CallbackError::Signature, "{name}={value}");
            }
        }
        assert_eq!(verify(&body_of(&without(&[name]))).unwrap_err(), CallbackError::Signature, "without {name}");
    }
    assert_eq!(verify(&body_of(&with(&[("more", "1")]))).unwrap_err(), CallbackError::Signature);
}

#[test]
fn only_alipays_signature_counts() {
    let fields = notice();
    for key in [&keys().stranger, &keys().app] {
        assert_eq!(verify(&signed_by(key, &fields)).unwrap_err(), CallbackError::Signature);
    }
    let unsigned = encoded(&fields);
    let sign = signature(&keys().alipay, &fields);
    for (body, expected) in [
        (unsigned.clone(), CallbackError::Body("it has no signature")),
        (format!("{unsigned}&sign=&sign_type=RSA2"), CallbackError::Body("it has no signature")),
        (format!("{unsigned}&sign=AAAA&sign_type=RSA2"), CallbackError::Signature),
        (format!("{unsigned}&sign=%21&sign_type=RSA2"), CallbackError::Signature),
    ] {
        assert_eq!(verify(&body).unwrap_err(), expected, "{body}");
    }
    for kind in ["RSA", "", "rsa2", "HMAC"] {
        let body = format!("{unsigned}&{}", form::encoded([("sign", &*sign), ("sign_type", kind)]));
        assert!(matches!(verify(&body), Err(CallbackError::Body(_))), "{kind}");
    }
    let none = format!("{unsigned}&{}", form::encoded([("sign", &*sign)]));
    assert!(matches!(verify(&none), Err(CallbackError::Body(_))));
}

#[test]
fn doubled_names_are_refused_before_anything_else() {
    let body = signed_by(&keys().alipay, &notice());
    for more in ["total_amount=1.00", "total_amount=0.01", "sign=AAAA", "sign_type=RSA2", "app%5fid=1", "%74rade_no=2"]
    {
        for body in [format!("{body}&{more}"), format!("{more}&{body}")] {
            assert_eq!(verify(&body).unwrap_err(), CallbackError::Body("a name comes twice in the form"), "{more}");
        }
    }
}

#[test]
fn huge_and_odd_bodies_are_refused() {
    let huge = with(&[("subject", &"a".repeat(64 * 1024))]);
    assert_eq!(verify(&signed_by(&keys().alipay, &huge)).unwrap_err(), CallbackError::Body("it is too long"));
    for odd in ["", "{}", "&", "=", "a", "sign", "%", "sign=%ff&sign_type=RSA2"] {
        assert!(matches!(verify(odd), Err(CallbackError::Body(_))), "{odd}");
    }
    // A large body that is not too large is looked into.
    let large = with(&[("subject", &"a".repeat(60 * 1024))]);
    assert_eq!(content(&large), facts_of(TradeState::Paid(paid())));
}

#[test]
fn in_certificate_mode_another_certificate_is_named() {
    let alipay = alipay_of(&certified("https://openapi.alipay.com")).unwrap();
    let verify = |body: &str| {
        let raw = RawCallback { headers: &[], body: body.as_bytes() };
        alipay.verify_callback(raw, NOW_MS).map(|verified| verified.content)
    };
    assert_eq!(verify(&signed_by(&keys().alipay, &notice())).unwrap(), facts_of(TradeState::Paid(paid())));
    assert_eq!(verify(&signed_by(&keys().next, &notice())).unwrap(), facts_of(TradeState::Paid(paid())));
    let unknown = with(&[("alipay_cert_sn", "0123")]);
    let error = verify(&signed_by(&keys().stranger, &unknown)).unwrap_err();
    assert_eq!(error, CallbackError::UnknownKey("0123".into()));
    assert_eq!(verify(&signed_by(&keys().stranger, &notice())).unwrap_err(), CallbackError::Signature);
}

#[test]
fn answers_are_one_word() {
    let rules = verifier().profile().callbacks;
    let taken = (rules.taken)();
    assert_eq!((taken.status, &*taken.body), (200, "success"));
    let failed = (rules.failed)(401, "no");
    assert_eq!((failed.status, &*failed.body), (401, "fail"));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_crash(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = RawCallback { headers: &[], body: &body };
        prop_assert!(verifier().verify_callback(raw, NOW_MS).is_err());
    }

    #[test]
    fn a_changed_byte_changes_nothing_that_is_believed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        static BODY: OnceLock<String> = OnceLock::new();
        let good = BODY.get_or_init(|| signed_by(&keys().alipay, &notice()));
        let mut body = good.clone().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        // Another way to write the same (a blank as + or as %20, hexadecimal digits) is the same.
        if let Ok(verified) = verifier().verify_callback(RawCallback { headers: &[], body: &body }, NOW_MS) {
            prop_assert_eq!(verified.content, facts_of(TradeState::Paid(paid())));
        }
    }
}
