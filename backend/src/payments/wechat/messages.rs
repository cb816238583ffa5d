//! The bodies of API v3 that we send and read, field for field, and what their states mean to us.
//!
//! Fields we do not use are not listed: the provider adds new ones at any time.

use crate::money::{Currency, Money};
pub(super) use crate::payments::http::{json_fault, truncated};
use crate::payments::limits::AMOUNT_MINOR_MAX;
use crate::payments::provider::{Paid, RefundDetails, RefundState, ToldTrade, TradeState, UnknownCurrencyPayment};
use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

/// Offset of the time zone that the API's times are written in (China has one), in seconds.
const CHINA_OFFSET_S: i32 = 8 * 3600;

/// Who takes a payment. A partner's orders are the partner's, for one of its merchants.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Parties<'a> {
    Own { appid: &'a str, mchid: &'a str },
    Partner { sp_appid: &'a str, sp_mchid: &'a str, sub_mchid: &'a str },
}

/// Whose trade is meant.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Merchant<'a> {
    Own { mchid: &'a str },
    Partner { sp_mchid: &'a str, sub_mchid: &'a str },
}

/// `POST /v3/pay/transactions/jsapi`, `h5` and `native`, and the same under `/v3/pay/partner/transactions/`
#[derive(Serialize)]
pub(super) struct Order<'a> {
    #[serde(flatten)]
    pub parties: Parties<'a>,
    pub description: &'a str,
    pub out_trade_no: &'a str,
    pub time_expire: &'a str,
    pub notify_url: &'a str,
    pub amount: OrderAmount,
    /// H5 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_info: Option<SceneInfo>,
    /// JSAPI only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payer: Option<OrderPayer<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub attach: &'a str,
    /// Partner mode only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_info: Option<SettleInfo>,
}

#[derive(Serialize)]
pub(super) struct SettleInfo {
    /// The payment is held back for the platform's share.
    pub profit_sharing: bool,
}

/// Who pays, by the service account that asked.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum OrderPayer<'a> {
    Own { openid: &'a str },
    Partner { sp_openid: &'a str },
}

#[derive(Serialize)]
pub(super) struct OrderAmount {
    /// Fen.
    pub total: i64,
    pub currency: &'static str,
}

#[derive(Serialize)]
pub(super) struct SceneInfo {
    pub payer_client_ip: String,
    pub h5_info: H5Info,
}

#[derive(Serialize)]
pub(super) struct H5Info {
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Answer to an H5 order.
#[derive(Deserialize)]
pub(super) struct H5Answer {
    pub h5_url: String,
}

/// Answer to a JSAPI order.
#[derive(Deserialize)]
pub(super) struct JsapiAnswer {
    pub prepay_id: String,
}

/// Answer to a native order.
#[derive(Deserialize)]
pub(super) struct NativeAnswer {
    pub code_url: String,
}

/// Answer of `/sns/oauth2/access_token`: an openid, or an error's number. The HTTP status is 200 both ways.
#[derive(Deserialize)]
pub(super) struct OpenidAnswer {
    pub openid: Option<String>,
    pub errcode: Option<i64>,
    pub errmsg: Option<String>,
}

/// `POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close`
#[derive(Serialize)]
pub(super) struct CloseOrder<'a> {
    #[serde(flatten)]
    pub merchant: Merchant<'a>,
}

/// `POST /v3/refund/domestic/refunds`
#[derive(Serialize)]
pub(super) struct RefundOrder<'a> {
    /// In partner mode, whose money goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_mchid: Option<&'a str>,
    pub out_trade_no: &'a str,
    pub out_refund_no: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'a str,
    pub notify_url: &'a str,
    pub amount: RefundOrderAmount,
}

#[derive(Serialize)]
pub(super) struct RefundOrderAmount {
    /// Fen.
    pub refund: i64,
    /// Fen.
    pub total: i64,
    pub currency: &'static str,
}

/// The merchant that a message is about: `mchid` of one with an account of its own, the others in partner mode.
#[derive(Deserialize)]
pub(super) struct NamedMerchant {
    pub mchid: Option<String>,
    pub sp_mchid: Option<String>,
    pub sub_mchid: Option<String>,
}

/// A trade, as the query answers it and as payment callbacks contain it.
#[derive(Deserialize)]
pub(super) struct Transaction {
    /// Absent only from queries, and in partner mode.
    pub appid: Option<String>,
    /// In partner mode.
    pub sp_appid: Option<String>,
    #[serde(flatten)]
    pub merchant: NamedMerchant,
    pub out_trade_no: String,
    pub transaction_id: Option<String>,
    pub trade_state: String,
    pub success_time: Option<String>,
    pub amount: Option<TransactionAmount>,
    pub attach: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct TransactionAmount {
    /// Fen, before coupons: what the merchant asked for. (`payer_total` is what left the payer's pocket.)
    pub total: i64,
    /// Yuan where absent: accounts in China know no other.
    pub currency: Option<String>,
}

impl Transaction {
    /// What the trade's state means. Errors name the field that is missing or not understood.
    pub fn state(&self) -> Result<TradeState, String> {
        match self.trade_state.as_str() {
            "SUCCESS" => self.paid(),
            "REFUND" => {
                let state = self.paid()?;
                Ok(if let TradeState::Paid(paid) = state { TradeState::Refunded(paid) } else { state })
            }
            // The last two belong to payment by scanning the payer; if they come up, the trade may still be paid.
            "NOTPAY" | "USERPAYING" | "PAYERROR" => Ok(TradeState::NotPaid),
            "CLOSED" | "REVOKED" => Ok(TradeState::Closed),
            _ => Err("trade_state is not one of those documented".into()),
        }
    }

    /// The payment; one in a currency that we do not know is told as such.
    fn paid(&self) -> Result<TradeState, String> {
        let provider_txn_id = self
            .transaction_id
            .as_deref()
            .filter(|id| !id.is_empty() && id.len() <= MAX_TRANSACTION_ID_BYTES)
            .ok_or("transaction_id is missing or too long")?
            .to_owned();
        let amount = self.amount.as_ref().ok_or("amount is missing")?;
        if !(1..=AMOUNT_MINOR_MAX).contains(&amount.total) {
            return Err("amount.total is not positive, or larger than any payment".into());
        }
        let paid_at = self.success_time.as_deref().ok_or("success_time is missing")?;
        let paid_at = DateTime::parse_from_rfc3339(paid_at).map_err(|_| "success_time is not a time")?;
        let code = amount.currency.as_deref().unwrap_or(Currency::Cny.code());
        Ok(match Currency::parse(code) {
            Some(currency) => TradeState::Paid(Paid {
                provider_txn_id,
                amount: Money::new(amount.total, currency),
                paid_at_ms: paid_at.timestamp_millis(),
                attach: self.attach.clone().unwrap_or_default(),
            }),
            None if is_currency_code(code) => TradeState::PaidUnknownCurrency(UnknownCurrencyPayment {
                provider_txn_id,
                amount_minor: amount.total,
                currency: code.to_owned(),
            }),
            None => return Err("amount.currency is not a currency's code".into()),
        })
    }
}

/// Whether a text has the form of an ISO 4217 code.
pub(super) fn is_currency_code(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Longest transaction id taken, in bytes (32 by the documentation).
const MAX_TRANSACTION_ID_BYTES: usize = 64;

/// A refund, as request and query answer it.
#[derive(Deserialize)]
pub(super) struct Refund {
    pub refund_id: Option<String>,
    pub out_trade_no: String,
    pub out_refund_no: String,
    pub status: String,
    pub amount: RefundAmount,
}

/// A refund, as callbacks contain it: no appid, and the state by another name.
#[derive(Deserialize)]
pub(super) struct RefundNotice {
    #[serde(flatten)]
    pub merchant: NamedMerchant,
    pub out_refund_no: String,
    pub refund_status: String,
    /// What follows is not asked for of refunds that we know.
    pub refund_id: Option<String>,
    pub out_trade_no: Option<String>,
    pub transaction_id: Option<String>,
    pub success_time: Option<String>,
    pub amount: Option<RefundAmount>,
}

impl RefundNotice {
    /// Which payment it is of, if it says all that is needed to know. Such notices name no currency: these accounts have
    /// but one.
    pub fn told(&self) -> Option<RefundDetails> {
        let short =
            |text: &Option<String>| text.clone().filter(|id| (1..=MAX_TRANSACTION_ID_BYTES).contains(&id.len()));
        let amount =
            self.amount.as_ref().filter(|amount| (1..=amount.total.min(AMOUNT_MINOR_MAX)).contains(&amount.refund))?;
        let payment = short(&self.transaction_id).map(|provider_txn_id| {
            let at = self.success_time.as_deref().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
            Paid {
                provider_txn_id,
                amount: Money::new(amount.total, Currency::Cny),
                // Not told; it was before the refund.
                paid_at_ms: at.map_or(0, |time| time.timestamp_millis()),
                attach: String::new(),
            }
        });
        Some(RefundDetails {
            trade: ToldTrade::Ours(short(&self.out_trade_no)?),
            provider_refund_id: short(&self.refund_id)?,
            amount_minor: amount.refund,
            is_total: false,
            payment,
        })
    }
}

/// Answer to a question for a statement.
#[derive(Deserialize)]
pub(super) struct BillAnswer {
    pub hash_type: String,
    pub hash_value: String,
    pub download_url: String,
}

#[derive(Deserialize)]
pub(super) struct RefundAmount {
    /// Fen.
    pub refund: i64,
    /// Fen.
    pub total: i64,
}

/// What a refund's state means. `None`: not one of those documented.
pub(super) fn refund_state(status: &str) -> Option<RefundState> {
    match status {
        "PROCESSING" => Some(RefundState::Processing),
        "SUCCESS" => Some(RefundState::Done),
        "CLOSED" => Some(RefundState::Closed),
        "ABNORMAL" => Some(RefundState::Abnormal),
        _ => None,
    }
}

/// The outside of a callback.
#[derive(Deserialize)]
pub(super) struct Notification {
    pub id: String,
    pub event_type: String,
    pub resource: Resource,
}

/// The encrypted part of a callback.
#[derive(Deserialize)]
pub(super) struct Resource {
    pub algorithm: String,
    pub ciphertext: String,
    pub nonce: String,
    pub associated_data: Option<String>,
}

/// The body of a refusal.
#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub code: String,
    #[serde(default)]
    pub message: String,
}

/// A time the way the API takes it, to the second below: `2026-11-23T11:04:05+08:00`. `None`: past the year 9999.
pub(super) fn china_time(unix_ms: i64) -> Option<String> {
    const LAST_MS: i64 = 253_402_271_999_999; // 9999-12-31T23:59:59.999+08:00
    let zone = FixedOffset::east_opt(CHINA_OFFSET_S).expect("eight hours are an offset");
    let time = DateTime::from_timestamp_millis(unix_ms).filter(|_| (0..=LAST_MS).contains(&unix_ms))?;
    Some(time.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S+08:00").to_string())
}
