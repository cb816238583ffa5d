//! What the API answers when it refuses: an HTTP status, a code of WeChat Pay's, and a sentence.

/// A refusal. The codes are those of WeChat Pay's API v3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn sign(message: impl Into<String>) -> Self {
        Self::new(401, "SIGN_ERROR", message)
    }

    pub(crate) fn param(message: impl Into<String>) -> Self {
        Self::new(400, "PARAM_ERROR", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_REQUEST", message)
    }

    pub(crate) fn appid_mchid_not_match() -> Self {
        Self::new(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配 (the appid is not bound to this merchant)")
    }

    pub(crate) fn openid_mismatch() -> Self {
        Self::new(400, "OPENID_MISMATCH", "openid和appid不匹配 (the openid is another app's)")
    }

    pub(crate) fn no_auth() -> Self {
        Self::new(403, "NO_AUTH", "服务商与特约商户没有受理关系 (the sub-merchant is none of this service provider's)")
    }

    pub(crate) fn out_trade_no_used() -> Self {
        Self::new(403, "OUT_TRADE_NO_USED", "商户订单号重复 (this out_trade_no was used with other parameters)")
    }

    pub(crate) fn order_not_exist() -> Self {
        Self::new(404, "ORDER_NOT_EXIST", "订单不存在 (no such order)")
    }

    pub(crate) fn order_paid() -> Self {
        Self::new(400, "ORDER_PAID", "该订单已支付 (the order is paid)")
    }

    /// No refusal by its status, and nothing was closed.
    pub(crate) fn user_paying() -> Self {
        Self::new(202, "USER_PAYING", "用户支付中,需要输入密码 (the payer is entering the password)")
    }

    pub(crate) fn order_closed() -> Self {
        Self::new(400, "ORDER_CLOSED", "该订单已关闭 (the order is closed)")
    }

    pub(crate) fn not_exists(what: &str) -> Self {
        Self::new(404, "RESOURCE_NOT_EXISTS", format!("资源不存在 ({what})"))
    }

    pub(crate) fn not_enough() -> Self {
        Self::new(403, "NOT_ENOUGH", "基本账户余额不足,请充值后重新发起 (the merchant's balance is too small)")
    }

    pub(crate) fn frequency_limited() -> Self {
        Self::new(429, "FREQUENCY_LIMITED", "频率超限 (too many requests)")
    }

    pub(crate) fn no_statement() -> Self {
        Self::new(400, "NO_STATEMENT_EXIST", "账单文件不存在 (the bill is made at 10:00 of the next day)")
    }

    pub(crate) fn system(message: impl Into<String>) -> Self {
        Self::new(500, "SYSTEM_ERROR", message)
    }
}
