//! The contents of calls and answers, field for field, and what their states mean to us.
//!
//! Fields we do not use are not listed: the provider adds new ones at any time.

use crate::money::{Currency, Money};
use crate::payments::provider::{Paid, TradeState};
use chrono::{DateTime, FixedOffset, NaiveDateTime};
use serde::{Deserialize, Serialize};

/// Offset of the time zone that the API's times are written in (China has one), in seconds.
const CHINA_OFFSET_S: i32 = 8 * 3600;
/// How the API writes times.
const TIME_FORM: &str = "%Y-%m-%d %H:%M:%S";
/// Largest amount, in fen: one hundred million yuan.
pub(super) const MAX_AMOUNT_FEN: i64 = 10_000_000_000;
/// Longest number of a trade or a refund taken, in bytes (64 by the documentation).
pub(super) const MAX_NUMBER_BYTES: usize = 64;

/// `alipay.trade.wap.pay`, `alipay.trade.precreate` and `alipay.trade.create`.
#[derive(Serialize)]
pub(super) struct Order<'a> {
    pub out_trade_no: &'a str,
    pub total_amount: String,
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_code: Option<&'a str>,
    /// An account that is not the app's is refused, instead of paid.
    pub seller_id: &'a str,
    /// When paying ends.
    pub time_expire: String,
    /// Told with the payment, as it is here.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub passback_params: &'a str,
    /// Where a payer goes who gives up on Alipay's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quit_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op_app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_open_id: Option<&'a str>,
}

/// `alipay.trade.query` and `alipay.trade.close`.
#[derive(Serialize)]
pub(super) struct TradeNumber<'a> {
    pub out_trade_no: &'a str,
}

/// `alipay.trade.refund`
#[derive(Serialize)]
pub(super) struct RefundOrder<'a> {
    pub out_trade_no: &'a str,
    pub refund_amount: String,
    /// Ours: the provider refunds a number once.
    pub out_request_no: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub refund_reason: &'a str,
}

/// `alipay.trade.fastpay.refund.query`
#[derive(Serialize)]
pub(super) struct RefundNumber<'a> {
    pub out_trade_no: &'a str,
    pub out_request_no: &'a str,
}

/// How every answer begins, but for that of the OAuth method when it is good.
#[derive(Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub msg: String,
    #[serde(default)]
    pub sub_code: String,
    #[serde(default)]
    pub sub_msg: String,
}

/// Answer to `alipay.trade.precreate`.
#[derive(Deserialize)]
pub(super) struct CodeAnswer {
    pub out_trade_no: String,
    pub qr_code: String,
}

/// Answer to `alipay.trade.create`.
#[derive(Deserialize)]
pub(super) struct CreateAnswer {
    pub out_trade_no: String,
    pub trade_no: String,
}

/// Answer to `alipay.trade.close`: of which trade, if it says so.
#[derive(Deserialize)]
pub(super) struct CloseAnswer {
    pub out_trade_no: Option<String>,
}

/// Answer to `alipay.trade.refund`. (`refund_fee` is of all refunds of the trade together.)
#[derive(Deserialize)]
pub(super) struct RefundAnswer {
    pub out_trade_no: String,
    /// `Y`: money went back by this call. `N`: not by this one, but perhaps before.
    pub fund_change: Option<String>,
}

/// Answer to `alipay.trade.fastpay.refund.query`: empty for a number that was not refunded.
#[derive(Deserialize)]
pub(super) struct RefundFound {
    pub out_trade_no: Option<String>,
    pub out_request_no: Option<String>,
    pub refund_status: Option<String>,
    pub refund_amount: Option<String>,
}

/// Answer to `alipay.system.oauth.token`. Newer apps are told an open id, others a user id. (`alipay_user_id` is of no use.)
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub user_id: Option<String>,
    pub open_id: Option<String>,
}

/// Answer to `alipay.trade.query`.
#[derive(Deserialize)]
pub(super) struct Trade {
    pub out_trade_no: String,
    pub trade_no: Option<String>,
    pub trade_status: String,
    /// What the order was of, before the provider's own coupons.
    pub total_amount: Option<String>,
    /// When it was paid. Absent before; there also when all went back.
    pub send_pay_date: Option<String>,
    /// What the payer and the merchant paid and got. Many answers say `0.00` of paid trades too: only more than that says
    /// anything.
    pub buyer_pay_amount: Option<String>,
    pub receipt_amount: Option<String>,
    /// Not documented; what went back, if it is there.
    pub refund_fee: Option<String>,
    pub passback_params: Option<String>,
}

impl Trade {
    /// What the trade's state means; `now_ms` stands for when it was paid if that is not told. Errors name the field that is
    /// missing or not understood.
    ///
    /// A trade that is closed was not paid in time, or was paid and went back whole: what tells them apart is whether there
    /// is anything of a payment.
    pub fn state(&self, now_ms: i64) -> Result<TradeState, String> {
        let is_more_than_none = |amount: &Option<String>| amount.as_deref().and_then(fen).is_some_and(|fen| fen > 0);
        let is_returned = is_more_than_none(&self.refund_fee);
        let was_paid = self.send_pay_date.as_deref().is_some_and(|date| !date.is_empty())
            || is_more_than_none(&self.buyer_pay_amount)
            || is_more_than_none(&self.receipt_amount);
        match self.trade_status.as_str() {
            "WAIT_BUYER_PAY" => Ok(TradeState::NotPaid),
            "TRADE_SUCCESS" | "TRADE_FINISHED" if !is_returned => self.paid(now_ms).map(TradeState::Paid),
            "TRADE_SUCCESS" | "TRADE_FINISHED" => self.paid(now_ms).map(TradeState::Refunded),
            "TRADE_CLOSED" if was_paid || is_returned => self.paid(now_ms).map(TradeState::Refunded),
            "TRADE_CLOSED" => Ok(TradeState::Closed),
            _ => Err("trade_status is not one of those documented".into()),
        }
    }

    fn paid(&self, now_ms: i64) -> Result<Paid, String> {
        let paid_at_ms = match self.send_pay_date.as_deref().filter(|date| !date.is_empty()) {
            Some(date) => unix_ms(date).ok_or("send_pay_date is not a time")?,
            None => now_ms,
        };
        let attach = self.passback_params.as_deref().unwrap_or_default();
        paid(self.trade_no.as_deref(), self.total_amount.as_deref(), paid_at_ms, attach)
    }
}

/// A payment as told; else the field that is missing or not understood.
pub(super) fn paid(
    trade_no: Option<&str>,
    total_amount: Option<&str>,
    paid_at_ms: i64,
    attach: &str,
) -> Result<Paid, String> {
    let trade_no = trade_no.filter(|number| is_trade_no(number)).ok_or("trade_no is missing or no number")?;
    let total = total_amount.and_then(fen).ok_or("total_amount is missing or not yuan with two decimals")?;
    if total == 0 {
        return Err("total_amount is nothing".into());
    }
    Ok(Paid {
        provider_txn_id: trade_no.to_owned(),
        // Accounts in China know no other currency.
        amount: Money::new(total, Currency::Cny),
        paid_at_ms,
        attach: attach.to_owned(),
    })
}

/// Whether a text can be the provider's number of a trade.
pub(super) fn is_trade_no(text: &str) -> bool {
    (1..=MAX_NUMBER_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// An amount the way the API takes it: yuan with two decimals.
pub(super) fn yuan(fen: i64) -> String {
    Money::new(fen, Currency::Cny).decimal()
}

/// Reads yuan with exactly two decimals, from nothing to one hundred million. `None`: it is anything else.
pub(super) fn fen(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_plain = is_number(whole) && whole.len() <= 9 && (whole == "0" || !whole.starts_with('0'));
    if !is_plain || !is_number(decimals) || decimals.len() != 2 {
        return None;
    }
    let fen = whole.parse::<i64>().ok()? * 100 + decimals.parse::<i64>().ok()?;
    (fen <= MAX_AMOUNT_FEN).then_some(fen)
}

fn china() -> FixedOffset {
    FixedOffset::east_opt(CHINA_OFFSET_S).expect("eight hours are an offset")
}

/// A time the way the API takes it, to the second below: `2026-11-29 15:04:05`. `None`: before 1970 or past the year 9999.
pub(super) fn china_time(unix_ms: i64) -> Option<String> {
    const LAST_MS: i64 = 253_402_271_999_999; // 9999-12-31 23:59:59.999
    let time = DateTime::from_timestamp_millis(unix_ms).filter(|_| (0..=LAST_MS).contains(&unix_ms))?;
    Some(time.with_timezone(&china()).format(TIME_FORM).to_string())
}

/// Reads such a time, in unix milliseconds. `None`: it is none.
pub(super) fn unix_ms(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, TIME_FORM).ok()?;
    Some(time.and_local_timezone(china()).single()?.timestamp_millis())
}

/// Who pays, in the provider's two ways to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buyer<'a> {
    /// By the number of the account, 2088...
    User(&'a str),
    /// By an id that only this app knows.
    Open(&'a str),
}

/// Longest id of a payer taken, in bytes (128 by the documentation).
const MAX_BUYER_BYTES: usize = 128;

impl<'a> Buyer<'a> {
    /// Reads it as it is kept. `None`: it is none.
    pub fn read(text: &'a str) -> Option<Self> {
        let (kind, id) = text.split_once(' ')?;
        let buyer = match kind {
            "user" => Self::User(id),
            "open" => Self::Open(id),
            _ => return None,
        };
        let is_id = (1..=MAX_BUYER_BYTES).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        is_id.then_some(buyer)
    }

    /// It as it is kept.
    pub fn write(self) -> String {
        match self {
            Self::User(id) => format!("user {id}"),
            Self::Open(id) => format!("open {id}"),
        }
    }
}
