//! What the gateway answers when it refuses: a code, and a sub code that says what it was in particular.

use serde_json::{Value, json};

/// A refusal. Codes and sub codes are those of Alipay's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    code: &'static str,
    msg: &'static str,
    sub_code: &'static str,
    pub(crate) sub_msg: String,
}

impl ApiError {
    fn new(code: &'static str, msg: &'static str, sub_code: &'static str, sub_msg: impl Into<String>) -> Self {
        Self { code, msg, sub_code, sub_msg: sub_msg.into() }
    }

    pub(crate) fn missing(sub_code: &'static str) -> Self {
        Self::new("40001", "Missing Required Arguments", sub_code, "缺少必选参数 (a required parameter is missing)")
    }

    pub(crate) fn invalid(sub_code: &'static str, sub_msg: impl Into<String>) -> Self {
        Self::new("40002", "Invalid Arguments", sub_code, sub_msg)
    }

    pub(crate) fn parameter(sub_msg: impl Into<String>) -> Self {
        Self::invalid("isv.invalid-parameter", sub_msg)
    }

    pub(crate) fn business(sub_code: &'static str, sub_msg: impl Into<String>) -> Self {
        Self::new("40004", "Business Failed", sub_code, sub_msg)
    }

    pub(crate) fn trade_not_exist() -> Self {
        Self::business("ACQ.TRADE_NOT_EXIST", "交易不存在")
    }

    pub(crate) fn limited() -> Self {
        Self::new("40005", "Call Limited", "isv.app-call-limited", "应用调用次数超限 (too many calls)")
    }

    pub(crate) fn system() -> Self {
        Self::new("20000", "Service Currently Unavailable", "aop.unknow-error", "系统繁忙 (try again later)")
    }

    pub(crate) fn content(&self) -> Value {
        json!({"code": self.code, "msg": self.msg, "sub_code": self.sub_code, "sub_msg": self.sub_msg})
    }
}
