//! Who a payer is: `open.weixin.qq.com` sends the browser back to the merchant with a code, and `api.weixin.qq.com`
//! exchanges the code for an openid. The same browser is the same person, by a cookie. A code works once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

use crate::crypto::{self, ALPHANUMERIC};
use crate::faults::Fault;
use crate::wechat::Provider;
use crate::wechat::errors::ApiError;
use crate::wechat::page::notice;

const CODE_LEN: usize = 32;
const CODE_LIFE_MS: i64 = 5 * 60 * 1000;
/// How long a code is known after it was made, so that a used one is not called an unknown one.
const CODE_KNOWN_MS: i64 = 60 * 60 * 1000;
/// Codes known at once; the oldest make room.
const MAX_CODES: usize = 100_000;
const MAX_STATE_LEN: usize = 128;
/// The parameters of the authorization's address, in the order in which WeChat wants them.
const AUTHORIZE_PARAMETERS: [&str; 5] = ["appid", "redirect_uri", "response_type", "scope", "state"];

const PERSON_COOKIE: &str = "wechat_sandbox_person";
const PERSON_LEN: usize = 32;
const COOKIE_LIFE_S: u32 = 365 * 24 * 3600;

/// The codes that are out, and where a browser may be sent.
#[derive(Default)]
pub(crate) struct Oauth {
    codes: Mutex<Codes>,
    /// Empty: any.
    domains: Mutex<Vec<String>>,
}

/// The codes, oldest first. They are not kept over a restart.
#[derive(Default)]
struct Codes(VecDeque<Code>);

struct Code {
    code: String,
    appid: String,
    openid: String,
    made_ms: i64,
    used: bool,
}

/// Why a code gives no openid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CodeError {
    /// Unknown, expired, or of another app.
    Invalid,
    Used,
}

impl Codes {
    fn add(&mut self, code: Code) {
        let forgotten_ms = code.made_ms - CODE_KNOWN_MS;
        while self.0.front().is_some_and(|oldest| oldest.made_ms < forgotten_ms) || self.0.len() >= MAX_CODES {
            self.0.pop_front();
        }
        self.0.push_back(code);
    }

    /// The openid of a code, which is used up by it. Another app's call does not use it up.
    fn take(&mut self, code: &str, appid: &str, now_ms: i64) -> Result<String, CodeError> {
        let found = self.0.iter_mut().rev().find(|one| one.code == code && one.appid == appid);
        let found = found.ok_or(CodeError::Invalid)?;
        if found.used {
            return Err(CodeError::Used);
        }
        if now_ms >= found.made_ms + CODE_LIFE_MS {
            return Err(CodeError::Invalid);
        }
        found.used = true;
        Ok(found.openid.clone())
    }
}

impl Oauth {
    /// The only domains to which a browser is sent back; with none, it is sent anywhere.
    pub(crate) fn set_domains(&self, domains: &[&str]) {
        *lock(&self.domains) = domains.iter().map(|&domain| domain.to_owned()).collect();
    }

    fn allows(&self, domain: &str) -> bool {
        let domains = lock(&self.domains);
        domains.is_empty() || domains.iter().any(|one| one == domain)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data, valid at every step: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name for a person who was not here before.
pub(crate) fn new_person() -> Result<String, ApiError> {
    crypto::random_text(ALPHANUMERIC, PERSON_LEN).map_err(|error| ApiError::system(error.to_string()))
}

/// The person whose browser this is, if it was here before.
pub(crate) fn person_of(request: &Request) -> Option<String> {
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, person) = pairs.find(|(name, _)| *name == PERSON_COOKIE)?;
    (person.len() == PERSON_LEN && person.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| person.to_owned())
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
        None => new_person(),
    };
    Ok(match sent.and_then(|person| Ok((wanted.address(&provider, &person)?, person))) {
        Ok((address, person)) => {
            let cookie = format!("{PERSON_COOKIE}={person}; Path=/; Max-Age={COOKIE_LIFE_S}; HttpOnly; SameSite=Lax");
            Response::builder()
                .status(StatusCode::FOUND)
                .header(header::LOCATION, address)
                .header(header::SET_COOKIE, cookie)
                .header(header::CACHE_CONTROL, "no-store")
                .finish()
        }
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
        if !provider.oauth.allows(domain) {
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
            appid: self.appid.clone(),
            openid,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str, made_ms: i64) -> Code {
        Code { code: name.to_owned(), appid: "wx1".to_owned(), openid: format!("o{name}"), made_ms, used: false }
    }

    #[test]
    fn a_code_works_once_for_its_app_within_five_minutes() {
        let mut codes = Codes::default();
        codes.add(code("a", 1000));
        codes.add(code("b", 1000));
        assert_eq!(codes.take("a", "wx2", 1000), Err(CodeError::Invalid), "another app's");
        assert_eq!(codes.take("c", "wx1", 1000), Err(CodeError::Invalid));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS - 1), Ok("oa".to_owned()));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS - 1), Err(CodeError::Used));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS), Err(CodeError::Used), "used rather than expired");
        assert_eq!(codes.take("b", "wx1", 1000 + CODE_LIFE_MS), Err(CodeError::Invalid), "expired");
        codes.add(code("d", 1001 + CODE_KNOWN_MS));
        assert_eq!(codes.take("a", "wx1", 1001 + CODE_KNOWN_MS), Err(CodeError::Invalid), "forgotten");
    }
}
