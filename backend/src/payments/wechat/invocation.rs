//! The call by which a page within WeChat has the app take a payment (pay.weixin.qq.com/doc/v3/merchant/4012791857).

use super::account::Credentials;
use super::signing::pay_sign_message;
use crate::payments::method::{Handoff, Invocation};

/// What the call's package is called, in what is stored and in what is called.
const PACKAGE: &str = "package";

/// The call of an order, as it is stored: without a signature, which is as old as its time.
pub(super) fn unsigned(prepay_id: &str) -> Handoff {
    let parameters = [(PACKAGE.to_owned(), format!("prepay_id={prepay_id}"))].into();
    Handoff::Invoke(Invocation {
        bridge: "WeixinJSBridge".into(),
        function: "invoke".into(),
        action: "getBrandWCPayRequest".into(),
        parameters,
    })
}

/// The call as it is shown now. Other hand-offs are as they are.
pub(super) fn signed(account: &Credentials, handoff: Handoff, wall_ms: i64, nonce: &str) -> Handoff {
    let Handoff::Invoke(mut call) = handoff else { return handoff };
    let package = call.parameters.get(PACKAGE).cloned().unwrap_or_default();
    let timestamp_s = wall_ms.div_euclid(1000);
    let message = pay_sign_message(&account.appid, timestamp_s, nonce, &package);
    // Only a broken library fails to sign; WeChat then says no, and the page offers to choose again.
    let signature = account.signer.sign(&message).unwrap_or_default();
    let signed = [
        ("appId", account.appid.clone()),
        ("timeStamp", timestamp_s.to_string()),
        ("nonceStr", nonce.to_owned()),
        ("signType", "RSA".to_owned()),
        ("paySign", signature),
    ];
    call.parameters.extend(signed.map(|(name, value)| (name.to_owned(), value)));
    Handoff::Invoke(call)
}
