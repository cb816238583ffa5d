//! Callbacks: from untrusted bytes to a fact, or to the reason why not.
//!
//! The order is fixed: headers, probe, age, key, signature over the raw body; only then is the body parsed,
//! its resource opened, and the content held against the account.

use super::account::Credentials;
use super::messages::{Notification, RefundNotice, Resource, Transaction, json_fault, refund_state, truncated};
use super::signing::{RESOURCE_NONCE_BYTES, SignatureFault, base64_decode, verify_platform_signature};
use crate::payments::provider::{CallbackError, Fact, RawCallback, TradeState, VerifiedCallback};

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

fn content<T>(why: impl Into<String>) -> Result<T, CallbackError> {
    Err(CallbackError::Content(why.into()))
}

/// Verifies and opens a callback.
pub(super) fn verify(
    account: &Credentials,
    raw: RawCallback<'_>,
    now_ms: i64,
) -> Result<VerifiedCallback, CallbackError> {
    verify_platform_signature(&account.platform_keys, |name| raw.header(name), raw.body, now_ms)?;
    if raw.body.len() > MAX_CALLBACK_BYTES {
        return content(format!("the body has more than {MAX_CALLBACK_BYTES} bytes"));
    }
    let notification: Notification = parse("the body", raw.body)?;
    if notification.id.is_empty() || notification.id.len() > MAX_EVENT_ID_BYTES {
        return content("id is empty or too long");
    }
    let plaintext = open(account, &notification.resource)?;
    let fact = match notification.event_type.as_str() {
        "TRANSACTION.SUCCESS" => payment_fact(account, &plaintext)?,
        "REFUND.SUCCESS" | "REFUND.ABNORMAL" | "REFUND.CLOSED" => {
            refund_fact(account, &notification.event_type, &plaintext)?
        }
        other => return content(format!("event_type {:?} is not one we ask for", truncated(other, MAX_QUOTE_BYTES))),
    };
    Ok(VerifiedCallback { event_id: notification.id, fact, plaintext })
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, CallbackError> {
    serde_json::from_slice(bytes).or_else(|error| content(format!("{what} {}", json_fault(&error))))
}

fn open(account: &Credentials, resource: &Resource) -> Result<String, CallbackError> {
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
    let plaintext = account
        .api_v3_key
        .open(resource.nonce.as_bytes(), associated_data.as_bytes(), &ciphertext)
        .ok_or(CallbackError::Decrypt)?;
    String::from_utf8(plaintext).or_else(|_| content("the decrypted resource is not UTF-8"))
}

fn payment_fact(account: &Credentials, plaintext: &str) -> Result<Fact, CallbackError> {
    let transaction: Transaction = parse("the decrypted resource", plaintext.as_bytes())?;
    let Some(appid) = &transaction.appid else {
        return content("appid is missing");
    };
    same("appid", appid, &account.appid)?;
    same("mchid", &transaction.mchid, &account.mchid)?;
    number("out_trade_no", &transaction.out_trade_no)?;
    match transaction.state().map_err(CallbackError::Content)? {
        state @ (TradeState::Paid(_) | TradeState::PaidUnknownCurrency(_) | TradeState::Refunded(_)) => {
            Ok(Fact::Payment { out_trade_no: transaction.out_trade_no, state })
        }
        _ => content("event_type says paid, trade_state does not"),
    }
}

fn refund_fact(account: &Credentials, event_type: &str, plaintext: &str) -> Result<Fact, CallbackError> {
    let notice: RefundNotice = parse("the decrypted resource", plaintext.as_bytes())?;
    same("mchid", &notice.mchid, &account.mchid)?;
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

fn same(field: &str, theirs: &str, ours: &str) -> Result<(), CallbackError> {
    if theirs == ours {
        return Ok(());
    }
    Err(CallbackError::Foreign(format!("{field} {:?}", truncated(theirs, MAX_QUOTE_BYTES))))
}

fn number(field: &str, value: &str) -> Result<(), CallbackError> {
    if value.is_empty() || value.len() > MAX_NUMBER_BYTES {
        return content(format!("{field} is empty or too long"));
    }
    Ok(())
}
