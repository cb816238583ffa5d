//! Notices: from untrusted bytes to facts, or to the reason why not.
//!
//! The order is fixed: the form is split and decoded once, and its signature verified; only then is the content checked
//! against the account. A notice has no time stamp to check: repeats are recognised by their id.

use super::account::Credentials;
use super::form;
use super::messages::{MAX_NUMBER_BYTES, fen, paid, unix_ms};
use super::signing::{SIGN_TYPE, notice_message};
use crate::payments::http::truncated;
use crate::payments::provider::{
    CallbackContent, CallbackError, Fact, Paid, RawCallback, RefundDetails, RefundState, ToldTrade, TradeState,
    VerifiedCallback, id_of_body,
};
use std::collections::BTreeMap;

/// Largest body of a notice that is read, in bytes. Real ones have about 2 KiB.
const MAX_CALLBACK_BYTES: usize = 64 * 1024;
/// Longest event id taken, in bytes (128 by the documentation; real ones have about 34).
const MAX_EVENT_ID_BYTES: usize = 128;
/// How much of a foreign id or an unknown word an error repeats, in bytes.
const MAX_QUOTE_BYTES: usize = 64;
/// What notices of trades call themselves.
const TRADE_NOTICE: &str = "trade_status_sync";

/// Why a notice with a valid signature gives no fact.
enum Fault {
    /// It is not of the form the provider documents.
    Content(String),
    /// It is for another merchant or app.
    Foreign(String),
}

fn content<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Content(why.into()))
}

/// What a notice says, by name.
struct Notice(BTreeMap<String, String>);

impl Notice {
    /// A value; empty if there is none.
    fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn given(&self, name: &str) -> Option<&str> {
        Some(self.value(name)).filter(|value| !value.is_empty())
    }
}

/// Verifies a notice and says what it means.
pub(super) fn verify(account: &Credentials, raw: RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
    if raw.body.len() > MAX_CALLBACK_BYTES {
        return Err(CallbackError::Body("it is too long"));
    }
    let notice = Notice(form::decoded(raw.body).map_err(CallbackError::Body)?);
    let sign = notice.given("sign").ok_or(CallbackError::Body("it has no signature"))?;
    if notice.value("sign_type") != SIGN_TYPE {
        return Err(CallbackError::Body("its signature is not of the kind that the account has"));
    }
    let message = notice_message(notice.0.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if !account.alipay_keys.verify(message.as_bytes(), sign) {
        let unknown = notice.given("alipay_cert_sn").filter(|number| account.alipay_keys.lacks(number));
        return Err(match (unknown, &account.certificates) {
            (Some(number), Some(_)) => CallbackError::UnknownKey(truncated(number, MAX_QUOTE_BYTES).to_owned()),
            _ => CallbackError::Signature,
        });
    }
    let Some(event_id) = notice.given("notify_id").filter(|id| id.len() <= MAX_EVENT_ID_BYTES) else {
        let content = CallbackContent::NotUnderstood("notify_id is missing or too long".into());
        return Ok(VerifiedCallback { event_id: id_of_body(raw.body), content, plaintext: message });
    };
    let content = match facts(account, &notice) {
        Ok(facts) => CallbackContent::Facts(facts),
        Err(Fault::Content(why)) => CallbackContent::NotUnderstood(why),
        Err(Fault::Foreign(whose)) => CallbackContent::Foreign(whose),
    };
    Ok(VerifiedCallback { event_id: event_id.to_owned(), content, plaintext: message })
}

/// The facts in a notice: about the payment, and about a refund if there is one. Refunds are reported to the payment's
/// address, and repeat the payment's data.
fn facts(account: &Credentials, notice: &Notice) -> Result<Vec<Fact>, Fault> {
    let kind = notice.value("notify_type");
    if kind != TRADE_NOTICE {
        return content(format!("notify_type {:?} is not one we ask for", truncated(kind, MAX_QUOTE_BYTES)));
    }
    same("app_id", notice.value("app_id"), &account.app_id)?;
    same("seller_id", notice.value("seller_id"), &account.seller_id)?;
    let out_trade_no = notice.value("out_trade_no");
    if out_trade_no.is_empty() || out_trade_no.len() > MAX_NUMBER_BYTES {
        return content("out_trade_no is empty or too long");
    }
    let refund = Refund::read(notice)?;
    let status = notice.value("trade_status");
    let state = match (status, &refund) {
        ("WAIT_BUYER_PAY", None) => TradeState::NotPaid,
        // The second state comes when the payment can no longer be refunded: it is the same payment again.
        ("TRADE_SUCCESS" | "TRADE_FINISHED", None) => TradeState::Paid(payment(notice)?),
        ("TRADE_CLOSED", None) if notice.given("gmt_payment").is_none() => TradeState::Closed,
        ("TRADE_SUCCESS" | "TRADE_FINISHED" | "TRADE_CLOSED", _) => TradeState::Refunded(payment(notice)?),
        ("WAIT_BUYER_PAY", Some(_)) => return content("trade_status says not paid, and money went back"),
        (other, _) => {
            return content(format!("trade_status {:?} is not one we know", truncated(other, MAX_QUOTE_BYTES)));
        }
    };
    let refund = refund.and_then(|refund| refund.fact(out_trade_no, &state)).transpose()?;
    let payment = Fact::Payment { out_trade_no: out_trade_no.to_owned(), state };
    Ok([Some(payment), refund].into_iter().flatten().collect())
}

fn payment(notice: &Notice) -> Result<Paid, Fault> {
    // If the time is missing, the start of the order is used.
    let at = notice.given("gmt_payment").or(notice.given("gmt_create")).unwrap_or_default();
    let Some(paid_at_ms) = unix_ms(at) else {
        return content("gmt_payment is missing or not a time");
    };
    paid(notice.given("trade_no"), notice.given("total_amount"), paid_at_ms, notice.value("passback_params"))
        .map_err(Fault::Content)
}

/// The fact of a refund.
struct Refund<'a> {
    /// Our number of the refund, or the provider's if it was made there.
    number: Option<&'a str>,
    /// The sum of all refunds of the payment, in fen.
    total_fen: Option<i64>,
}

impl<'a> Refund<'a> {
    fn read(notice: &'a Notice) -> Result<Option<Self>, Fault> {
        let total_fen = match notice.given("refund_fee").map(fen) {
            Some(None) => return content("refund_fee is not yuan with two decimals"),
            told => told.flatten().filter(|fen| *fen > 0),
        };
        let number = notice.given("out_biz_no");
        // Orders that were closed unpaid may say `0.00`.
        let is_one = total_fen.is_some() || number.is_some() || notice.given("gmt_refund").is_some();
        Ok(is_one.then_some(Self { number, total_fen }))
    }

    /// The fact. A refund without a number or an amount is shown to a person, since nothing else would report it.
    fn fact(&self, out_trade_no: &str, state: &TradeState) -> Option<Result<Fact, Fault>> {
        let TradeState::Refunded(paid) = state else { return None };
        let (Some(number), Some(total_fen)) = (self.number, self.total_fen) else {
            return Some(content("money went back, and out_biz_no or refund_fee is missing"));
        };
        if number.len() > MAX_NUMBER_BYTES {
            return Some(content("out_biz_no is too long"));
        }
        if total_fen > paid.amount.amount_minor {
            return Some(content("refund_fee is more than total_amount"));
        }
        let told = RefundDetails {
            trade: ToldTrade::Ours(out_trade_no.to_owned()),
            provider_refund_id: number.to_owned(),
            amount_minor: total_fen,
            is_total: true,
            payment: Some(paid.clone()),
        };
        // Reported once the money is returned: refunds are synchronous.
        Some(Ok(Fact::Refund { out_refund_no: number.to_owned(), state: RefundState::Done, told: Some(told) }))
    }
}

fn same(field: &str, theirs: &str, ours: &str) -> Result<(), Fault> {
    if theirs == ours {
        return Ok(());
    }
    Err(Fault::Foreign(format!("{field} {:?}", truncated(theirs, MAX_QUOTE_BYTES))))
}
