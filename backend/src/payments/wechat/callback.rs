//! Callbacks: from untrusted bytes to a fact, or to the reason why not.
//!
//! The order is fixed: headers, probe, age, key, signature over the raw body; only then is the body parsed,
//! its resource decrypted, and the content checked against the account.

use super::account::Credentials;
use super::messages::{
    NamedMerchant, Notification, RefundNotice, Resource, Transaction, json_fault, refund_state, truncated,
};
use super::signing::{RESOURCE_NONCE_BYTES, SignatureFault, base64_decode, verify_platform_signature};
use crate::payments::provider::{
    CallbackContent, CallbackError, Fact, RawCallback, TradeState, VerifiedCallback, id_of_body,
};

/// Largest body of a callback that is looked into, in bytes. Real ones have about 2 KiB.
const MAX_CALLBACK_BYTES: usize = 64 * 1024;
/// Longest event id taken, in bytes (36 by the documentation).
const MAX_EVENT_ID_BYTES: usize = 64;
/// Longest number of a trade or refund taken, in bytes (32 and 64 by the documentation).
const MAX_NUMBER_BYTES: usize = 64;
/// How much of a foreign id or an unknown event's name an error repeats, in bytes.
const MAX_QUOTE_BYTES: usize = 64;
/// The one encryption the API documents.
const RESOURCE_ALGORITHM: &str = "AEAD_AES_256_GCM";

impl From<SignatureFault> for CallbackError {
    fn from(fault: SignatureFault) -> Self {
        match fault {
            SignatureFault::Header(name) => Self::Header(name),
            SignatureFault::Probe => Self::SignatureProbe,
            SignatureFault::Stale { skew_s } => Self::Stale { skew_s },
            SignatureFault::UnknownKey(id) => Self::UnknownKey(id),
            SignatureFault::Mismatch => Self::Signature,
        }
    }
}

/// Why a callback with a good signature gives no fact.
enum Fault {
    /// It is not of the form the provider documents.
    Content(String),
    /// It is for another merchant or app.
    Foreign(String),
    /// It cannot be opened with this account's key.
    Sealed,
}

fn content<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Content(why.into()))
}

/// Verifies and opens a callback.
pub(super) fn verify(
    account: &Credentials,
    raw: RawCallback<'_>,
    now_ms: i64,
) -> Result<VerifiedCallback, CallbackError> {
    verify_platform_signature(&account.platform_keys, |name| raw.header(name), raw.body, now_ms)?;
    let notification = match outside(raw.body) {
        Ok(notification) => notification,
        Err(why) => {
            let content = CallbackContent::NotUnderstood(why);
            return Ok(VerifiedCallback { event_id: id_of_body(raw.body), content, plaintext: String::new() });
        }
    };
    let mut plaintext = String::new();
    let content = match fact(account, &notification, &mut plaintext) {
        Ok(fact) => CallbackContent::Facts(vec![fact]),
        Err(Fault::Content(why)) => CallbackContent::NotUnderstood(why),
        Err(Fault::Foreign(whose)) => CallbackContent::Foreign(whose),
        Err(Fault::Sealed) => return Err(CallbackError::Decrypt),
    };
    Ok(VerifiedCallback { event_id: notification.id, content, plaintext })
}

/// The outside of a callback; else a sentence about what is wrong with it.
fn outside(body: &[u8]) -> Result<Notification, String> {
    if body.len() > MAX_CALLBACK_BYTES {
        return Err(format!("the body has more than {MAX_CALLBACK_BYTES} bytes"));
    }
    let notification: Notification =
        serde_json::from_slice(body).map_err(|error| format!("the body {}", json_fault(&error)))?;
    if notification.id.is_empty() || notification.id.len() > MAX_EVENT_ID_BYTES {
        return Err("id is empty or too long".into());
    }
    Ok(notification)
}

/// What a callback says. Leaves its message in `plaintext` as soon as it is open.
fn fact(account: &Credentials, notification: &Notification, plaintext: &mut String) -> Result<Fact, Fault> {
    *plaintext = open(account, &notification.resource)?;
    match notification.event_type.as_str() {
        "TRANSACTION.SUCCESS" => payment_fact(account, plaintext),
        "REFUND.SUCCESS" | "REFUND.ABNORMAL" | "REFUND.CLOSED" => {
            refund_fact(account, &notification.event_type, plaintext)
        }
        other => content(format!("event_type {:?} is not one we ask for", truncated(other, MAX_QUOTE_BYTES))),
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).or_else(|error| content(format!("{what} {}", json_fault(&error))))
}

fn open(account: &Credentials, resource: &Resource) -> Result<String, Fault> {
    if resource.algorithm != RESOURCE_ALGORITHM {
        return content(format!("resource.algorithm is not {RESOURCE_ALGORITHM}"));
    }
    if resource.nonce.len() != RESOURCE_NONCE_BYTES {
        return content(format!("resource.nonce has not {RESOURCE_NONCE_BYTES} bytes"));
    }
    let Some(ciphertext) = base64_decode(&resource.ciphertext) else {
        return content("resource.ciphertext is not base64");
    };
    let associated_data = resource.associated_data.as_deref().unwrap_or_default();
    let nonce = resource.nonce.as_bytes();
    let opened = account.api_v3_keys.iter().find_map(|key| key.open(nonce, associated_data.as_bytes(), &ciphertext));
    let plaintext = opened.ok_or(Fault::Sealed)?;
    String::from_utf8(plaintext).or_else(|_| content("the decrypted resource is not UTF-8"))
}

fn payment_fact(account: &Credentials, plaintext: &str) -> Result<Fact, Fault> {
    let transaction: Transaction = parse("the decrypted resource", plaintext.as_bytes())?;
    let (field, appid) = match &account.sub_mchid {
        None => ("appid", &transaction.appid),
        Some(_) => ("sp_appid", &transaction.sp_appid),
    };
    let Some(appid) = appid else {
        return content(format!("{field} is missing"));
    };
    same(field, appid, &account.appid)?;
    same_merchant(account, &transaction.merchant)?;
    number("out_trade_no", &transaction.out_trade_no)?;
    match transaction.state().map_err(Fault::Content)? {
        state @ (TradeState::Paid(_) | TradeState::PaidUnknownCurrency(_) | TradeState::Refunded(_)) => {
            Ok(Fact::Payment { out_trade_no: transaction.out_trade_no, state })
        }
        TradeState::NotPaid | TradeState::NotFound | TradeState::Closed => {
            content("event_type says paid, trade_state does not")
        }
    }
}

fn refund_fact(account: &Credentials, event_type: &str, plaintext: &str) -> Result<Fact, Fault> {
    let notice: RefundNotice = parse("the decrypted resource", plaintext.as_bytes())?;
    same_merchant(account, &notice.merchant)?;
    number("out_refund_no", &notice.out_refund_no)?;
    let Some(state) = refund_state(&notice.refund_status) else {
        return content("refund_status is not one of those documented");
    };
    if event_type.strip_prefix("REFUND.") != Some(notice.refund_status.as_str()) {
        return content("event_type and refund_status contradict each other");
    }
    let told = notice.told();
    Ok(Fact::Refund { out_refund_no: notice.out_refund_no, state, told })
}

fn same_merchant(account: &Credentials, named: &NamedMerchant) -> Result<(), Fault> {
    match account.foreign_merchant(named) {
        None => Ok(()),
        Some((field, theirs)) if theirs.is_empty() => content(format!("{field} is missing")),
        Some((field, theirs)) => foreign(field, &theirs),
    }
}

fn foreign(field: &str, theirs: &str) -> Result<(), Fault> {
    Err(Fault::Foreign(format!("{field} {:?}", truncated(theirs, MAX_QUOTE_BYTES))))
}

fn same(field: &str, theirs: &str, ours: &str) -> Result<(), Fault> {
    if theirs == ours {
        return Ok(());
    }
    foreign(field, theirs)
}

fn number(field: &str, value: &str) -> Result<(), Fault> {
    if value.is_empty() || value.len() > MAX_NUMBER_BYTES {
        return content(format!("{field} is empty or too long"));
    }
    Ok(())
}
