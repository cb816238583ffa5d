//! The bodies of the API's calls, and what of them is refused. An unknown, doubled or mistyped field is refused by the
//! decoder; the rest is checked here, field by field.

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::wechat::errors::ApiError;

const MAX_DESCRIPTION_CHARS: usize = 127;
const MAX_URL_LEN: usize = 255;
const MAX_ATTACH_CHARS: usize = 128;
const MAX_REASON_CHARS: usize = 80;
/// The most one order may cost: a million yuan.
const MAX_TOTAL_FEN: i64 = 100_000_000;

/// How the payer comes to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TradeKind {
    /// A page in a browser outside WeChat.
    H5,
    /// A QR code that the payer scans.
    Native,
    /// A page inside WeChat.
    Jsapi,
}

impl TradeKind {
    /// As `trade_type` says it.
    pub(crate) fn trade_type(self) -> &'static str {
        match self {
            Self::H5 => "MWEB",
            Self::Native => "NATIVE",
            Self::Jsapi => "JSAPI",
        }
    }
}

/// `POST /v3/pay/transactions/{h5,native,jsapi}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateRequest {
    pub(crate) appid: String,
    pub(crate) mchid: String,
    pub(crate) description: String,
    pub(crate) out_trade_no: String,
    pub(crate) time_expire: Option<String>,
    pub(crate) attach: Option<String>,
    pub(crate) notify_url: String,
    pub(crate) goods_tag: Option<String>,
    pub(crate) support_fapiao: Option<bool>,
    pub(crate) amount: CreateAmount,
    pub(crate) payer: Option<Payer>,
    pub(crate) scene_info: Option<SceneInfo>,
    pub(crate) settle_info: Option<SettleInfo>,
}

/// `POST /v3/pay/partner/transactions/{h5,native,jsapi}`: a service provider's order for one of its sub-merchants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartnerCreateRequest {
    sp_appid: String,
    sp_mchid: String,
    sub_appid: Option<String>,
    sub_mchid: String,
    description: String,
    out_trade_no: String,
    time_expire: Option<String>,
    attach: Option<String>,
    notify_url: String,
    goods_tag: Option<String>,
    support_fapiao: Option<bool>,
    amount: CreateAmount,
    payer: Option<PartnerPayer>,
    scene_info: Option<SceneInfo>,
    settle_info: Option<SettleInfo>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartnerPayer {
    sp_openid: Option<String>,
    sub_openid: Option<String>,
}

/// For whom a service provider made an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubMerchant {
    pub(crate) mchid: String,
    pub(crate) appid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateAmount {
    pub(crate) total: i64,
    pub(crate) currency: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payer {
    pub(crate) openid: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SceneInfo {
    payer_client_ip: String,
    device_id: Option<String>,
    store_info: Option<StoreInfo>,
    h5_info: Option<H5Info>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreInfo {
    id: String,
    name: Option<String>,
    area_code: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct H5Info {
    r#type: String,
    app_name: Option<String>,
    app_url: Option<String>,
    bundle_id: Option<String>,
    package_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettleInfo {
    profit_sharing: Option<bool>,
}

/// `POST ../close`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseRequest {
    pub(crate) mchid: String,
}

/// `POST ../close` of a service provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartnerCloseRequest {
    pub(crate) sp_mchid: String,
    pub(crate) sub_mchid: String,
}

/// `POST /v3/refund/domestic/refunds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    /// Of whose order, where a service provider made it.
    pub(crate) sub_mchid: Option<String>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) out_refund_no: String,
    pub(crate) reason: Option<String>,
    pub(crate) notify_url: Option<String>,
    pub(crate) funds_account: Option<String>,
    pub(crate) amount: RefundAmount,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundAmount {
    pub(crate) refund: i64,
    pub(crate) total: i64,
    pub(crate) currency: String,
}

/// Decodes a body strictly.
pub(crate) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::param(format!("请求体不符合要求 ({error})")))
}

impl CreateRequest {
    /// Checks everything that does not depend on the time or on other orders.
    pub(crate) fn check(&self, kind: TradeKind) -> Result<(), ApiError> {
        length("description", &self.description, 1, MAX_DESCRIPTION_CHARS)?;
        number("out_trade_no", &self.out_trade_no, 6, 32, "_-|*")?;
        callback_url(&self.notify_url)?;
        if let Some(attach) = &self.attach {
            length("attach", attach, 1, MAX_ATTACH_CHARS)?;
        }
        if let Some(goods_tag) = &self.goods_tag {
            length("goods_tag", goods_tag, 1, 32)?;
        }
        if !(1..=MAX_TOTAL_FEN).contains(&self.amount.total) {
            return Err(ApiError::param("amount.total must be 1 to 100000000 fen"));
        }
        if self.amount.currency.as_deref().is_some_and(|currency| currency != "CNY") {
            return Err(ApiError::param("amount.currency must be CNY"));
        }
        self.expires_ms()?;
        self.check_scene(kind)
    }

    fn check_scene(&self, kind: TradeKind) -> Result<(), ApiError> {
        if let Some(scene) = &self.scene_info {
            if scene.payer_client_ip.parse::<std::net::IpAddr>().is_err() {
                return Err(ApiError::param("scene_info.payer_client_ip must be an IP address"));
            }
            if let Some(device_id) = &scene.device_id {
                length("scene_info.device_id", device_id, 1, 32)?;
            }
            if let Some(store) = &scene.store_info {
                length("scene_info.store_info.id", &store.id, 1, 32)?;
            }
        }
        match kind {
            TradeKind::H5 => {
                let h5_info = self.scene_info.as_ref().and_then(|scene| scene.h5_info.as_ref());
                let Some(h5_info) = h5_info else {
                    return Err(ApiError::param("H5 payment needs scene_info with payer_client_ip and h5_info"));
                };
                if !["iOS", "Android", "Wap"].contains(&h5_info.r#type.as_str()) {
                    return Err(ApiError::param("scene_info.h5_info.type must be iOS, Android or Wap"));
                }
            }
            TradeKind::Jsapi => match &self.payer {
                Some(payer) => length("payer.openid", &payer.openid, 1, 128)?,
                None => return Err(ApiError::param("JSAPI payment needs payer.openid")),
            },
            TradeKind::Native => {}
        }
        if kind != TradeKind::Jsapi && self.payer.is_some() {
            return Err(ApiError::param("payer belongs to JSAPI payment only"));
        }
        if kind != TradeKind::H5 && self.scene_info.as_ref().is_some_and(|scene| scene.h5_info.is_some()) {
            return Err(ApiError::param("scene_info.h5_info belongs to H5 payment only"));
        }
        Ok(())
    }

    /// When payment ends, in Unix milliseconds, if the request says so.
    pub(crate) fn expires_ms(&self) -> Result<Option<i64>, ApiError> {
        let Some(text) = &self.time_expire else { return Ok(None) };
        let malformed =
            || ApiError::param("time_expire must be RFC 3339 with whole seconds: 2018-06-08T10:34:56+08:00");
        // yyyy-MM-DDTHH:mm:ss and an offset: chrono also takes a blank for the T, lower case, and fractions.
        if text.contains('.') || text.as_bytes().get(10) != Some(&b'T') || text.ends_with('z') {
            return Err(malformed());
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| malformed())?;
        Ok(Some(time.timestamp_millis()))
    }
}

impl PartnerCreateRequest {
    /// The same order, as the service provider's own, and for whom it is.
    pub(crate) fn split(self) -> Result<(CreateRequest, SubMerchant), ApiError> {
        let payer = match self.payer {
            None => None,
            Some(PartnerPayer { sp_openid: Some(openid), sub_openid: None }) => Some(Payer { openid }),
            Some(_) => {
                return Err(ApiError::param("payer must hold sp_openid: no sub-merchant here has an app of its own"));
            }
        };
        let request = CreateRequest {
            appid: self.sp_appid,
            mchid: self.sp_mchid,
            description: self.description,
            out_trade_no: self.out_trade_no,
            time_expire: self.time_expire,
            attach: self.attach,
            notify_url: self.notify_url,
            goods_tag: self.goods_tag,
            support_fapiao: self.support_fapiao,
            amount: self.amount,
            payer,
            scene_info: self.scene_info,
            settle_info: self.settle_info,
        };
        Ok((request, SubMerchant { mchid: self.sub_mchid, appid: self.sub_appid }))
    }
}

impl RefundRequest {
    /// Checks everything that does not depend on the order.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        match (&self.out_trade_no, &self.transaction_id) {
            (Some(out_trade_no), None) => number("out_trade_no", out_trade_no, 6, 32, "_-|*")?,
            (None, Some(transaction_id)) => length("transaction_id", transaction_id, 1, 32)?,
            _ => return Err(ApiError::param("one of out_trade_no and transaction_id is needed")),
        }
        number("out_refund_no", &self.out_refund_no, 1, 64, "_-|*@")?;
        if let Some(reason) = &self.reason {
            length("reason", reason, 1, MAX_REASON_CHARS)?;
        }
        if let Some(url) = &self.notify_url {
            callback_url(url)?;
        }
        if self.funds_account.as_deref().is_some_and(|account| account != "AVAILABLE") {
            return Err(ApiError::param("funds_account must be AVAILABLE"));
        }
        if self.amount.currency != "CNY" {
            return Err(ApiError::param("amount.currency must be CNY"));
        }
        if self.amount.refund < 1 || self.amount.total < 1 {
            return Err(ApiError::param("amount.refund and amount.total must be at least 1 fen"));
        }
        Ok(())
    }
}

fn length(field: &str, value: &str, min: usize, max: usize) -> Result<(), ApiError> {
    let chars = value.chars().count();
    if (min..=max).contains(&chars) && !value.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(ApiError::param(format!("{field} must have {min} to {max} printable characters")))
    }
}

fn number(field: &str, value: &str, min: usize, max: usize, also: &str) -> Result<(), ApiError> {
    if (min..=max).contains(&value.len()) && value.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c)) {
        Ok(())
    } else {
        Err(ApiError::param(format!("{field} must have {min} to {max} characters of 0-9 A-Z a-z {also}")))
    }
}

fn callback_url(url: &str) -> Result<(), ApiError> {
    let refused = |why: &str| Err(ApiError::param(format!("notify_url {why}")));
    if url.len() > MAX_URL_LEN {
        return refused("must have at most 255 characters");
    }
    if url.contains(['?', '#']) {
        return refused("must carry no query string and no fragment");
    }
    match reqwest::Url::parse(url) {
        Ok(parsed) if ["http", "https"].contains(&parsed.scheme()) && parsed.username().is_empty() => Ok(()),
        _ => refused("must be an absolute http or https address"),
    }
}
