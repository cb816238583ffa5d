//! Who pays: a payer within WeChat is known by an openid, which WeChat gives to a service account through the browser
//! (developers.weixin.qq.com/doc/service/guide/h5/auth.html).

use super::account::Credentials;
use super::messages::OpenidAnswer;
use super::methods::JSAPI;
use crate::payments::{
    http::{fault, json_fault, read_limited, truncated},
    method::{Method, Payer},
    provider::ProviderError,
};
use reqwest::StatusCode;
use std::time::Duration;

/// Longest openid taken, in bytes: documented are 128.
const MAX_OPENID_BYTES: usize = 128;
/// Longest code taken, in bytes.
const MAX_CODE_BYTES: usize = 256;
/// Largest answer read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024;
/// How much of an error's words is repeated, in bytes.
const MAX_ERROR_TEXT_BYTES: usize = 128;

/// Whether a text has the form of an openid.
pub(super) fn is_openid(text: &str) -> bool {
    (1..=MAX_OPENID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Where the browser goes to be asked. Nothing is shown to the payer there: only the openid is told, no name.
pub(super) fn authorize_url(account: &Credentials, method: &Method, return_url: &str, state: &str) -> Option<String> {
    if method.word != JSAPI {
        return None;
    }
    let mut url = account.authorize_base_url.clone();
    url.set_path("/connect/oauth2/authorize");
    // In this order: WeChat compares it as text.
    url.query_pairs_mut()
        .append_pair("appid", &account.appid)
        .append_pair("redirect_uri", return_url)
        .append_pair("response_type", "code")
        .append_pair("scope", "snsapi_base")
        .append_pair("state", state);
    url.set_fragment(Some("wechat_redirect"));
    Some(url.into())
}

/// Exchanges the code that the browser came back with. It can be used once, for five minutes.
pub(super) async fn exchange(
    account: &Credentials,
    http: &reqwest::Client,
    timeout: Duration,
    parameters: &[(String, String)],
) -> Result<Payer, ProviderError> {
    let refused = |code: &str, message: &str| ProviderError::Refused { code: code.into(), message: message.into() };
    let secret = account.app_secret.as_ref().ok_or_else(|| refused("NO_SECRET", "the account has no app secret"))?;
    let code = parameters.iter().find(|(name, _)| name == "code").map(|(_, code)| code.as_str());
    let code = code
        .filter(|code| (1..=MAX_CODE_BYTES).contains(&code.len()))
        .ok_or_else(|| refused("NO_CODE", "the browser came back without a code"))?;
    let mut url = account.exchange_base_url.clone();
    url.set_path("/sns/oauth2/access_token");
    url.query_pairs_mut()
        .append_pair("appid", &account.appid)
        .append_pair("secret", secret)
        .append_pair("code", code)
        .append_pair("grant_type", "authorization_code");
    let sent = http.get(url).timeout(timeout).send().await;
    // The error's own text has the address, and that has the secret.
    let mut response = sent.map_err(|error| ProviderError::Unknown(fault(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(ProviderError::Unknown(format!("HTTP status {}", response.status().as_u16())));
    }
    let body = read_limited(&mut response, MAX_ANSWER_BYTES).await.map_err(ProviderError::Unknown)?;
    let id = openid(&body)?;
    Ok(Payer { scope: account.appid.clone(), id })
}

/// The openid in an answer.
pub(super) fn openid(body: &[u8]) -> Result<String, ProviderError> {
    let answer: OpenidAnswer = serde_json::from_slice(body)
        .map_err(|error| ProviderError::Unknown(format!("the answer {}", json_fault(&error))))?;
    let errcode = answer.errcode.unwrap_or_default();
    if errcode == 0 {
        return answer
            .openid
            .filter(|openid| is_openid(openid))
            .ok_or_else(|| ProviderError::Unknown("the answer has no openid".into()));
    }
    let message = truncated(answer.errmsg.as_deref().unwrap_or_default(), MAX_ERROR_TEXT_BYTES).to_owned();
    Err(match errcode {
        // The system is busy; too many calls.
        -1 | 45_011 => ProviderError::Busy(format!("{errcode}: {message}")),
        // 40163 used before, 40029 and 42003 expired or another's, 40125 wrong secret, 40013 wrong appid.
        _ => ProviderError::Refused { code: errcode.to_string(), message },
    })
}
