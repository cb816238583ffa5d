//! Who a payer is: `open.weixin.qq.com` sends the browser back to the merchant with a code, and `api.weixin.qq.com`
//! exchanges the code for an openid.

use std::sync::{Arc, Mutex};

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

use crate::crypto::{self, ALPHANUMERIC};
use crate::faults::Fault;
use crate::person::{Code, CodeError, Codes, Domains, lock, new_person, person_of, sent_back};
use crate::wechat::Provider;
use crate::wechat::errors::ApiError;
use crate::wechat::page::notice;

const CODE_LEN: usize = 32;
const MAX_STATE_LEN: usize = 128;
/// The parameters of the authorization's address, in the order in which WeChat wants them.
const AUTHORIZE_PARAMETERS: [&str; 5] = ["appid", "redirect_uri", "response_type", "scope", "state"];

/// The codes that are out, and where a browser may be sent.
#[derive(Default)]
pub(crate) struct Oauth {
    codes: Mutex<Codes>,
    domains: Domains,
}

impl Oauth {
    /// The only domains to which a browser is sent back; with none, it is sent anywhere.
    pub(crate) fn set_domains(&self, domains: &[&str]) {
        self.domains.set(domains);
    }
}

/// `GET /connect/oauth2/authorize`: sends the browser back with a code.
pub(crate) async fn authorize(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    if *request.method() != Method::GET {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    if !request.header(header::USER_AGENT).is_some_and(|agent| agent.contains("MicroMessenger")) {
        let (zh, en) = ("请在微信客户端打开链接", "Open this link in WeChat.");
        return Ok(notice(StatusCode::FORBIDDEN, zh, en, None));
    }
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    let wanted = match Authorize::read(&provider, &query) {
        Ok(wanted) => wanted,
        Err((zh, en)) => return Ok(notice(StatusCode::BAD_REQUEST, zh, en, None)),
    };
    let sent = match person_of(&request) {
        Some(person) => Ok(person),
        None => new_person().map_err(|error| ApiError::system(error.to_string())),
    };
    Ok(match sent.and_then(|person| Ok((wanted.address(&provider, &person)?, person))) {
        Ok((address, person)) => sent_back(address, &person),
        Err(error) => notice(StatusCode::INTERNAL_SERVER_ERROR, "系统异常", &error.message, None),
    })
}

/// What the merchant's page asks for.
struct Authorize {
    appid: String,
    redirect_uri: reqwest::Url,
    state: String,
}

type Refusal = (&'static str, &'static str);

impl Authorize {
    fn read(provider: &Provider, query: &[(String, String)]) -> Result<Self, Refusal> {
        let names: Vec<&str> = query.iter().map(|(name, _)| name.as_str()).collect();
        if names != AUTHORIZE_PARAMETERS && names != AUTHORIZE_PARAMETERS[..4] {
            let en = "The parameters must be appid, redirect_uri, response_type, scope and state, in this order.";
            return Err(("链接参数错误", en));
        }
        let value = |place: usize| query.get(place).map_or("", |(_, value)| value.as_str());
        let (appid, response_type, scope, state) = (value(0), value(2), value(3), value(4));
        if provider.account_of_app(appid).is_none() {
            return Err(("AppID 参数错误", "There is no app with this appid."));
        }
        if response_type != "code" {
            return Err(("response_type 参数错误", "response_type must be code."));
        }
        if scope != "snsapi_base" {
            return Err(("Scope 参数错误或没有 Scope 权限", "scope must be snsapi_base in this sandbox."));
        }
        if state.len() > MAX_STATE_LEN || !state.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(("state 参数错误", "state must have at most 128 letters and digits."));
        }
        let wrong_uri = ("redirect_uri 参数错误", "redirect_uri must be a whole http or https address.");
        let redirect_uri = reqwest::Url::parse(value(1)).map_err(|_| wrong_uri)?;
        let (Some(domain), "http" | "https", "") =
            (redirect_uri.host_str(), redirect_uri.scheme(), redirect_uri.username())
        else {
            return Err(wrong_uri);
        };
        if !provider.oauth.domains.allows(domain) {
            return Err((
                "redirect_uri 域名与后台配置不一致",
                "The domain of redirect_uri is not among those allowed.",
            ));
        }
        Ok(Self { appid: appid.to_owned(), redirect_uri, state: state.to_owned() })
    }

    /// Where the browser goes, with a new code.
    fn address(&self, provider: &Provider, person: &str) -> Result<String, ApiError> {
        let openid = provider.openid(person, &self.appid)?;
        let code = crypto::random_text(ALPHANUMERIC, CODE_LEN).map_err(|error| ApiError::system(error.to_string()))?;
        // What went on between a first redirect and its repeat is not seen by the merchant: only that the code is used.
        let used = provider.faults.is_hit_this_time(Fault::OauthCodeUsed, &self.appid);
        lock(&provider.oauth.codes).add(Code {
            code: code.clone(),
            app: self.appid.clone(),
            payer: openid,
            made_ms: provider.now_ms(),
            used,
        });
        let mut address = self.redirect_uri.clone();
        address.query_pairs_mut().append_pair("code", &code).append_pair("state", &self.state);
        Ok(address.into())
    }
}

/// `GET /sns/oauth2/access_token`: a code for an openid. The status is 200 whatever the answer is, and the content type
/// that of a text, as in life.
pub(crate) async fn exchange(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    provider.calls.add(format!("{} /sns/oauth2/access_token", request.method()));
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    let subject = query.iter().find(|(name, _)| name == "appid").map_or("", |(_, appid)| appid.as_str());
    if provider.faults.is_hit_this_time(Fault::OauthDelay, subject) {
        provider.wait(provider.faults.delay(subject)).await;
    }
    let answer = if *request.method() != Method::GET {
        refusal(43001, "require GET method")
    } else if provider.faults.is_hit_this_time(Fault::OauthBusy, subject) {
        json!({"errcode": -1, "errmsg": "system error"})
    } else {
        exchanged(&provider, &query).unwrap_or_else(|refusal| refusal)
    };
    if answer.get("openid").is_some() && provider.faults.is_hit_this_time(Fault::OauthTimeout, subject) {
        provider.wait(provider.faults.answer_hold()).await;
        return Ok(StatusCode::GATEWAY_TIMEOUT.into());
    }
    Ok(Response::builder().content_type("text/plain").body(answer.to_string()))
}

fn exchanged(provider: &Provider, query: &[(String, String)]) -> Result<Value, Value> {
    let value = |name: &str| {
        let mut found = query.iter().filter(|(one, value)| one == name && !value.is_empty());
        found.next().map(|(_, value)| value.as_str()).filter(|_| found.next().is_none())
    };
    let appid = value("appid").ok_or_else(|| refusal(41002, "appid missing"))?;
    let secret = value("secret").ok_or_else(|| refusal(41004, "appsecret missing"))?;
    let code = value("code").ok_or_else(|| refusal(41008, "missing code"))?;
    let account = provider.account_of_app(appid).ok_or_else(|| refusal(40013, "invalid appid"))?;
    if secret != account.app_secret() {
        return Err(refusal(40125, "invalid appsecret"));
    }
    if value("grant_type") != Some("authorization_code") {
        return Err(refusal(40002, "invalid grant_type"));
    }
    let taken = lock(&provider.oauth.codes).take(code, appid, provider.now_ms());
    let openid = taken.map_err(|error| match error {
        CodeError::Invalid => refusal(40029, "invalid code"),
        CodeError::Used => refusal(40163, "code been used"),
    })?;
    let token = || crypto::random_text(ALPHANUMERIC, 86).map_err(|_| json!({"errcode": -1, "errmsg": "system error"}));
    Ok(json!({
        "access_token": token()?,
        "expires_in": 7200,
        "refresh_token": token()?,
        "openid": openid,
        "scope": "snsapi_base",
    }))
}

fn refusal(errcode: i64, errmsg: &str) -> Value {
    let rid = crypto::random_text(b"0123456789abcdef", 24).unwrap_or_default();
    let rid = rid.get(..24).map_or_else(String::new, |rid| format!("{}-{}-{}", &rid[..8], &rid[8..16], &rid[16..]));
    json!({"errcode": errcode, "errmsg": format!("{errmsg}, rid: {rid}")})
}
