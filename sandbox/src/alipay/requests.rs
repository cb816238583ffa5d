//! What merchants send in `biz_content`: shape, limits and amounts. What is not documented is refused, so that a wrong name
//! is noticed here, where production overlooks it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alipay::book::Buyer;
use crate::alipay::errors::ApiError;
use crate::clock::china_moment_of;

/// Largest amount: one hundred million yuan.
const MAX_FEN: i64 = 10_000_000_000;
/// How long an order can be paid that does not say.
const LIFE_MS: i64 = 15 * 24 * 3600 * 1000;
const MAX_SUBJECT_CHARS: usize = 256;
const MAX_TEXT_LEN: usize = 512;
const MAX_URL_LEN: usize = 256;

/// An order as its merchant makes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderRequest {
    out_trade_no: String,
    total_amount: String,
    subject: String,
    product_code: Option<String>,
    seller_id: Option<String>,
    time_expire: Option<String>,
    passback_params: Option<String>,
    quit_url: Option<String>,
    body: Option<String>,
    /// Of `alipay.trade.create` alone, as the two below.
    op_app_id: Option<String>,
    buyer_id: Option<String>,
    buyer_open_id: Option<String>,
}

/// An order that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) out_trade_no: String,
    pub(crate) total_fen: i64,
    pub(crate) subject: String,
    pub(crate) product_code: String,
    pub(crate) expires_ms: i64,
    pub(crate) passback_params: Option<String>,
    pub(crate) quit_url: Option<String>,
    pub(crate) notify_url: Option<String>,
    pub(crate) return_url: Option<String>,
}

/// For whom an order is made, and by which mini app.
pub(crate) struct ForBuyer {
    op_app_id: Option<String>,
    buyer_id: Option<String>,
    buyer_open_id: Option<String>,
}

impl ForBuyer {
    /// The buyer that is meant: one that Alipay has told the app of.
    pub(crate) fn find<'b>(
        &self,
        mini_app: &str,
        mut known: impl Iterator<Item = &'b Buyer>,
    ) -> Result<&'b Buyer, ApiError> {
        match self.op_app_id.as_deref() {
            None | Some("") => ensure(false, "JSAPI_PAY wants op_app_id")?,
            Some(named) if named != mini_app => {
                let why = "无权限使用接口 (op_app_id is no mini app of this merchant's)";
                return Err(ApiError::business("ACQ.ACCESS_FORBIDDEN", why));
            }
            Some(_) => {}
        }
        let buyer = match (self.buyer_id.as_deref(), self.buyer_open_id.as_deref()) {
            (Some(id), None) => known.find(|buyer| buyer.user_id == id),
            (None, Some(id)) => known.find(|buyer| buyer.open_id == id),
            (Some(_), Some(_)) | (None, None) => {
                ensure(false, "the buyer is named by buyer_id or by buyer_open_id")?;
                None
            }
        };
        buyer.ok_or_else(|| ApiError::business("ACQ.INVALID_PARAMETER", "参数无效 (the app was told of no such buyer)"))
    }
}

/// How the trade is to be named: by the merchant's number or by Alipay's, which counts if both are there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TradeRequest {
    pub(crate) out_trade_no: Option<String>,
    pub(crate) trade_no: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    pub(crate) out_trade_no: Option<String>,
    pub(crate) trade_no: Option<String>,
    pub(crate) refund_amount: String,
    pub(crate) out_request_no: Option<String>,
    pub(crate) refund_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundQuery {
    pub(crate) out_trade_no: Option<String>,
    pub(crate) trade_no: Option<String>,
    pub(crate) out_request_no: String,
}

/// Reads a call's content.
pub(crate) fn decode<T: DeserializeOwned>(content: &str) -> Result<T, ApiError> {
    serde_json::from_str(content)
        .map_err(|error| ApiError::parameter(format!("参数无效 (biz_content is not as documented: {error})")))
}

fn ensure(good: bool, why: &str) -> Result<(), ApiError> {
    if good { Ok(()) } else { Err(ApiError::business("ACQ.INVALID_PARAMETER", format!("参数无效 ({why})"))) }
}

/// Refuses what cannot be a number of the merchant's.
pub(crate) fn check_number(number: &str) -> Result<(), ApiError> {
    let is_good = (1..=64).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ensure(is_good, "a number has 1 to 64 letters, digits and _")
}

/// Yuan with at most two decimals, more than nothing, as fen.
pub(crate) fn fen(yuan: &str) -> Option<i64> {
    let (whole, part) = yuan.split_once('.').unwrap_or((yuan, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() > 9 || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    let fen = format!("{whole}{part:0<2}").parse().ok()?;
    (1..=MAX_FEN).contains(&fen).then_some(fen)
}

/// Fen as yuan with two decimals.
pub(crate) fn yuan(fen: i64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

impl OrderRequest {
    /// Takes out for whom it is made, which only `alipay.trade.create` may say.
    pub(crate) fn take_buyer(&mut self) -> ForBuyer {
        ForBuyer {
            op_app_id: self.op_app_id.take(),
            buyer_id: self.buyer_id.take(),
            buyer_open_id: self.buyer_open_id.take(),
        }
    }

    /// Checks an order of the kind that `product_code` names (the only one that the method takes).
    pub(crate) fn check(
        self,
        product_code: &str,
        seller_id: &str,
        notify_url: Option<&str>,
        return_url: Option<&str>,
        now_ms: i64,
    ) -> Result<Order, ApiError> {
        check_number(&self.out_trade_no)?;
        let Some(total_fen) = fen(&self.total_amount) else {
            return Err(ApiError::business("ACQ.TOTAL_FEE_EXCEED", "total_amount is not 0.01 to 100000000.00 yuan"));
        };
        let subject_len = self.subject.chars().count();
        ensure((1..=MAX_SUBJECT_CHARS).contains(&subject_len), "subject has 1 to 256 characters")?;
        ensure(!self.subject.contains(['/', '=', '&']), "subject has none of / = &")?;
        // What it is when it is left out, of all methods.
        let named = self.product_code.as_deref().unwrap_or("FACE_TO_FACE_PAYMENT");
        ensure(named == product_code, "product_code is not this method's")?;
        // The money would go to somebody else.
        ensure(
            self.seller_id.as_deref().is_none_or(|named| named == seller_id),
            "seller_id is not the app's merchant",
        )?;
        ensure(
            self.op_app_id.is_none() && self.buyer_id.is_none() && self.buyer_open_id.is_none(),
            "this method knows no op_app_id and no buyer",
        )?;
        let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_TEXT_LEN);
        ensure(
            is_short(&self.passback_params) && is_short(&self.body),
            "passback_params and body have up to 512 bytes",
        )?;
        for url in [notify_url, return_url, self.quit_url.as_deref()].into_iter().flatten() {
            let is_address = reqwest::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
            ensure(is_address && url.len() <= MAX_URL_LEN, "addresses are http(s) and have up to 256 bytes")?;
        }
        let expires_ms = match &self.time_expire {
            None => now_ms + LIFE_MS,
            Some(text) => china_moment_of(text).ok_or_else(|| {
                ApiError::business("ACQ.INVALID_PARAMETER", "time_expire is not of the form yyyy-MM-dd HH:mm:ss")
            })?,
        };
        Ok(Order {
            out_trade_no: self.out_trade_no,
            total_fen,
            subject: self.subject,
            product_code: product_code.to_owned(),
            expires_ms,
            passback_params: self.passback_params,
            quit_url: self.quit_url,
            notify_url: notify_url.map(str::to_owned),
            return_url: return_url.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_are_read_exactly() {
        for (text, value) in [("1", 100), ("1.5", 150), ("0.05", 5), ("12.34", 1234), ("100000000.00", MAX_FEN)] {
            assert_eq!(fen(text), Some(value), "{text}");
        }
        for text in ["", "0.00", ".5", "1.", "1.234", "-1", "1e2", "100000000.01"] {
            assert_eq!(fen(text), None, "{text}");
        }
        assert_eq!(yuan(1205), "12.05");
    }
}
