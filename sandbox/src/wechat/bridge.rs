//! The payment inside WeChat: a script that stands in for the app's `WeixinJSBridge`, and what the app checks of
//! `getBrandWCPayRequest` before it shows anything.

use std::sync::Arc;

use poem::{Request, Response};
use serde_json::{Value, json};

use crate::bridge::{self, Call};
use crate::crypto::Verifier;
use crate::faults::Fault;
use crate::wechat::Provider;
use crate::wechat::book::{Key, OrderState};
use crate::wechat::requests::TradeKind;
use crate::wechat::trades::{self, PayError};

const RESULT: &str = "get_brand_wcpay_request";
const FIELDS: [&str; 6] = ["appId", "timeStamp", "nonceStr", "package", "signType", "paySign"];
const MAX_NONCE_LEN: usize = 32;
/// How old a signature may be: as long as a prepay number lives.
const MAX_AGE_S: i64 = 2 * 3600;
/// How far it may be ahead of this clock.
const MAX_AHEAD_S: i64 = 300;

/// What a page passes to `getBrandWCPayRequest`, not yet believed.
#[derive(Debug, Clone, Copy)]
struct Invocation<'a> {
    app_id: &'a str,
    time_stamp: &'a str,
    nonce_str: &'a str,
    package: &'a str,
    sign_type: &'a str,
    pay_sign: &'a str,
}

impl<'a> Invocation<'a> {
    fn read(parameters: &'a Value) -> Result<Self, String> {
        let parameters = parameters.as_object().ok_or("the parameters must be an object")?;
        if let Some(unknown) = parameters.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(format!("{unknown} is no parameter"));
        }
        let text = |name: &str| match parameters.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
            Some(_) => Err(format!("{name} must be a string, and not an empty one")),
            None => Err(format!("调用支付JSAPI缺少参数: {name} (a parameter is missing)")),
        };
        Ok(Self {
            app_id: text("appId")?,
            time_stamp: text("timeStamp")?,
            nonce_str: text("nonceStr")?,
            package: text("package")?,
            sign_type: text("signType")?,
            pay_sign: text("paySign")?,
        })
    }

    /// Checks all that does not depend on the order; the prepay number.
    fn check(&self, appid: &str, key: &Verifier, now_s: i64) -> Result<&'a str, String> {
        if self.app_id != appid {
            return Err("appId is not the app of this merchant".to_owned());
        }
        let digits = (1..=10).contains(&self.time_stamp.len()) && self.time_stamp.bytes().all(|b| b.is_ascii_digit());
        let seconds = self.time_stamp.parse::<i64>().ok().filter(|_| digits);
        let seconds = seconds.ok_or("timeStamp must be Unix seconds, not milliseconds")?;
        if !(now_s - MAX_AGE_S..=now_s + MAX_AHEAD_S).contains(&seconds) {
            return Err("timeStamp is too old, or ahead of the clock".to_owned());
        }
        if self.nonce_str.len() > MAX_NONCE_LEN || !self.nonce_str.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("nonceStr must be at most 32 letters and digits".to_owned());
        }
        if self.sign_type != "RSA" {
            return Err("signType must be RSA".to_owned());
        }
        let prepay_id = self.package.strip_prefix("prepay_id=").ok_or("package must be prepay_id=..")?;
        let message = format!("{}\n{}\n{}\n{}\n", self.app_id, self.time_stamp, self.nonce_str, self.package);
        key.verify(message.as_bytes(), self.pay_sign)
            .map_err(|_| "支付验证签名失败 (paySign does not verify with the merchant's certificate)")?;
        Ok(prepay_id)
    }
}

/// `GET /bridge/wechat.js`.
#[poem::handler]
pub(crate) fn script() -> Response {
    bridge::script(include_str!("bridge.js"))
}

/// `POST /bridge/pay`: what the page passed is checked; with `decision`, the payer decided.
pub(crate) async fn answer(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    let pay = |call: &Call| {
        let answered = pay(&provider, &call.parameters, &call.query, call.person.as_deref());
        answered.unwrap_or_else(|why| json!({"err_msg": format!("{RESULT}:fail"), "err_desc": why}))
    };
    Ok(bridge::answer(request, pay).await)
}

fn pay(
    provider: &Arc<Provider>,
    parameters: &Value,
    query: &[(String, String)],
    person: Option<&str>,
) -> Result<Value, String> {
    let invocation = Invocation::read(parameters)?;
    let (key, cashier) = payable(provider, &invocation, person)?;
    let failed = |error: PayError| error.to_string();
    let result = match query {
        [] => return Ok(json!({"cashier": cashier})),
        [(name, decision)] if name == "decision" && decision == "approve" => {
            provider.pay(&key).map_err(failed)?;
            let misreported = provider.faults.is_hit(Fault::BridgeSaysCancel, &key.1);
            if misreported { "cancel" } else { "ok" }
        }
        [(name, decision)] if name == "decision" && decision == "decline" => {
            trades::decline(&mut provider.book(), &key, provider.now_ms()).map_err(failed)?;
            "cancel"
        }
        _ => return Err("decision must be approve or decline".to_owned()),
    };
    Ok(json!({"err_msg": format!("{RESULT}:{result}")}))
}

/// The order that is to be paid, and what the payer is shown of it.
fn payable(provider: &Provider, invocation: &Invocation<'_>, person: Option<&str>) -> Result<(Key, Value), String> {
    let account = provider.account_of_app(invocation.app_id).ok_or("appId is no app's")?;
    let now_ms = provider.now_ms();
    let prepay_id = invocation.check(account.appid(), &account.merchant_verifier, now_ms / 1000)?;
    let book = provider.book();
    let order = book
        .order_of_prepay(prepay_id)
        .filter(|order| order.kind == TradeKind::Jsapi && order.request.mchid == account.mchid())
        .ok_or("package names no prepay number of this merchant's")?;
    if matches!(order.state, OrderState::Paid(_)) {
        return Err(PayError::AlreadyPaid.to_string());
    }
    if order.is_closed(now_ms) {
        return Err(PayError::Closed.to_string());
    }
    if !order.prepay_is_fresh(prepay_id, now_ms) {
        return Err("package names a prepay number that has expired".to_owned());
    }
    // A browser that was never asked who it is may pay: a test's, or one that keeps no cookies of other sites.
    let owner = order.request.payer.as_ref().map(|payer| payer.openid.as_str());
    if person.is_some_and(|person| book.openid_of(person, account.appid()) != owner) {
        return Err("the order is another user's".to_owned());
    }
    let cashier = json!({
        "mchid": order.payee(),
        "out_trade_no": order.request.out_trade_no,
        "description": order.request.description,
        "total_fen": order.request.amount.total,
    });
    Ok((order.key(), cashier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that WeChat Pay publishes, and its time.
    fn published() -> (Value, Verifier, i64) {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/wechat.json")).unwrap();
        let vector = &vectors["wechat_official_paysign_jsapi"];
        let message: Vec<&str> = vector["message"].as_str().unwrap().split('\n').collect();
        let parameters = json!({
            "appId": message[0], "timeStamp": message[1], "nonceStr": message[2], "package": message[3],
            "signType": "RSA", "paySign": vector["signature_b64"],
        });
        let key = Verifier::from_public_key_pem(vector["public_key_pem"].as_str().unwrap()).unwrap();
        (parameters, key, message[1].parse().unwrap())
    }

    #[test]
    fn the_published_example_holds_and_with_one_wrong_field_it_does_not() {
        const APP: &str = "wx2421b1c4370ec43b";
        let (parameters, key, now_s) = published();
        let check = |parameters: &Value, appid: &str, now_s: i64| {
            Invocation::read(parameters)?.check(appid, &key, now_s).map(str::to_owned)
        };
        let prepay_id = "wx201410272009395522657a690389285100".to_owned();
        for age_s in [-MAX_AHEAD_S, 0, MAX_AGE_S] {
            assert_eq!(check(&parameters, APP, now_s + age_s), Ok(prepay_id.clone()));
        }
        for (field, value) in [
            ("appId", json!("wx2421b1c4370ec43c")),
            ("appId", json!("")),
            ("timeStamp", json!(1_554_208_460)),
            ("timeStamp", json!("1554208461")),
            ("timeStamp", json!("1554208460000")),
            ("timeStamp", json!("+554208460")),
            ("nonceStr", json!("593BEC0C930BF1AFEB40B4A08C8FB243")),
            ("nonceStr", json!("593BEC0C930BF1AFEB40B4A08C8FB242x")),
            ("nonceStr", json!("593BEC0C-930B")),
            ("package", json!("prepay_id=wx201410272009395522657a690389285101")),
            ("package", json!("wx201410272009395522657a690389285100")),
            ("signType", json!("MD5")),
            ("signType", json!("rsa")),
            ("paySign", json!("AAAA")),
            ("paySign", json!("###")),
            ("timestamp", json!("1554208460")),
        ] {
            let mut wrong = parameters.clone();
            wrong[field] = value.clone();
            check(&wrong, APP, now_s).expect_err(&format!("{field} = {value}"));
        }
        for field in FIELDS {
            let mut less = parameters.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(check(&less, APP, now_s).unwrap_err().contains(field));
        }
        check(&parameters, "wx2421b1c4370ec43c", now_s).unwrap_err();
        check(&parameters, APP, now_s + MAX_AGE_S + 1).unwrap_err();
        check(&parameters, APP, now_s - MAX_AHEAD_S - 1).unwrap_err();
        check(&json!([]), APP, now_s).unwrap_err();
    }
}
