//! Who a payer is: `openauth.alipay.com` sends the browser back to the merchant with a code, and the gateway's
//! `alipay.system.oauth.token` exchanges the code for the payer's id.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

use crate::alipay::book::{Book, Buyer, Record};
use crate::alipay::errors::ApiError;
use crate::alipay::form::{self, Parameters};
use crate::alipay::{Alipay, trades};
use crate::clock::china_text;
use crate::crypto::{ALPHANUMERIC, DIGITS, random_text};
use crate::faults::Fault;
use crate::person::{Code, Codes, Domains, lock, new_person, person_of, sent_back};
use crate::wechat::page::notice;

const CODE_LEN: usize = 32;
const TOKEN_LEN: usize = 40;
const OPEN_ID_LEN: usize = 44;
const MAX_STATE_LEN: usize = 100;
const PARAMETERS: [&str; 4] = ["app_id", "scope", "redirect_uri", "state"];
/// Persons that are remembered; past that, nobody new is.
const MAX_PERSONS: usize = 1_000_000;

/// The codes that are out, where a browser may be sent, and what merchants are told of a payer.
#[derive(Default)]
pub(crate) struct Identity {
    codes: Mutex<Codes>,
    pub(crate) domains: Domains,
    /// Apps of newer days are told an open id; others the number of the payer's account.
    tells_open_ids: AtomicBool,
}

impl Identity {
    pub(crate) fn tell_open_ids(&self, is_so: bool) {
        self.tells_open_ids.store(is_so, Ordering::Relaxed);
    }
}

/// Who a person is to Alipay: made up the first time, and kept.
pub(crate) fn buyer(book: &mut Book, person: &str) -> Result<Buyer, ApiError> {
    if let Some(known) = book.persons.get(person) {
        return Ok(known.clone());
    }
    if book.persons.len() >= MAX_PERSONS {
        return Err(ApiError::system());
    }
    let text = |alphabet, length| random_text(alphabet, length).map_err(|_| ApiError::system());
    let user_id = format!("2088{}", text(DIGITS, 12)?);
    let buyer = Buyer { person: person.to_owned(), user_id, open_id: text(ALPHANUMERIC, OPEN_ID_LEN)? };
    trades::commit(book, vec![Record::Person(Box::new(buyer.clone()))])?;
    Ok(buyer)
}

/// `GET /oauth2/publicAppAuthorize.htm`: sends the browser back with a code.
pub(crate) async fn authorize(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    if *request.method() != Method::GET {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    if !is_within_app(&request) {
        // In life a browser is shown how to sign in.
        let (zh, en) = ("请在支付宝客户端打开链接", "Open this link in Alipay.");
        return Ok(notice(StatusCode::FORBIDDEN, zh, en, None));
    }
    let wanted = form::decoded(request.uri().query().unwrap_or_default());
    let wanted = wanted.ok_or("The parameters are malformed, or one of them comes twice.");
    let wanted = match wanted.and_then(|parameters| Wanted::read(&alipay, &parameters)) {
        Ok(wanted) => wanted,
        Err(en) => return Ok(notice(StatusCode::BAD_REQUEST, "授权链接参数错误", en, None)),
    };
    let person = person_of(&request).map_or_else(|| new_person().map_err(|_| ApiError::system()), Ok);
    Ok(match person.and_then(|person| Ok((wanted.address(&alipay, &person)?, person))) {
        Ok((address, person)) => sent_back(address, &person),
        Err(error) => notice(StatusCode::INTERNAL_SERVER_ERROR, "系统异常", &error.sub_msg, None),
    })
}

fn is_within_app(request: &Request) -> bool {
    request.header(header::USER_AGENT).is_some_and(|agent| agent.contains("AlipayClient"))
}

/// What the merchant's page asks for.
struct Wanted {
    redirect_uri: reqwest::Url,
    state: Option<String>,
}

impl Wanted {
    fn read(alipay: &Alipay, parameters: &Parameters) -> Result<Self, &'static str> {
        if parameters.keys().any(|name| !PARAMETERS.contains(&name.as_str())) {
            return Err("The parameters are app_id, scope, redirect_uri and state.");
        }
        let given = |name: &str| parameters.get(name).map_or("", String::as_str);
        if given("app_id") != alipay.account.app_id() {
            return Err("There is no app with this app_id.");
        }
        if given("scope") != "auth_base" {
            return Err("scope must be auth_base in this sandbox.");
        }
        let state = parameters.get("state");
        let is_base64 = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        if state.is_some_and(|state| state.len() > MAX_STATE_LEN || !is_base64(state)) {
            return Err("state must have at most 100 characters of base64.");
        }
        let wrong = "redirect_uri must be a whole http or https address.";
        let redirect_uri = reqwest::Url::parse(given("redirect_uri")).map_err(|_| wrong)?;
        let (Some(domain), "http" | "https", "") =
            (redirect_uri.host_str(), redirect_uri.scheme(), redirect_uri.username())
        else {
            return Err(wrong);
        };
        if !alipay.identity.domains.allows(domain) {
            return Err("The domain of redirect_uri is not that of the app's callback address.");
        }
        Ok(Self { redirect_uri, state: state.cloned() })
    }

    /// Where the browser goes, with a new code.
    fn address(&self, alipay: &Alipay, person: &str) -> Result<String, ApiError> {
        buyer(&mut alipay.book(), person)?;
        let code = random_text(ALPHANUMERIC, CODE_LEN).map_err(|_| ApiError::system())?;
        let app = alipay.account.app_id();
        lock(&alipay.identity.codes).add(Code {
            code: code.clone(),
            app: app.to_owned(),
            payer: person.to_owned(),
            made_ms: alipay.now_ms(),
            used: alipay.faults.is_hit_this_time(Fault::OauthCodeUsed, app),
        });
        let mut address = self.redirect_uri.clone();
        address.query_pairs_mut().extend_pairs([
            ("app_id", app),
            ("source", "alipay_wallet"),
            ("scope", "auth_base"),
            ("auth_code", &code),
        ]);
        if let Some(state) = &self.state {
            address.query_pairs_mut().append_pair("state", state);
        }
        Ok(address.into())
    }
}

/// `alipay.system.oauth.token`: whom a code stands for.
pub(crate) fn exchanged(alipay: &Alipay, parameters: &Parameters) -> Result<Value, ApiError> {
    let given = |name: &str| parameters.get(name).map_or("", String::as_str);
    if given("grant_type") != "authorization_code" {
        let why = "grant_type参数不正确 (it is authorization_code, and a parameter beside biz_content)";
        return Err(ApiError::invalid("isv.grant-type-invalid", why));
    }
    let now_ms = alipay.now_ms();
    let taken = lock(&alipay.identity.codes).take(given("code"), alipay.account.app_id(), now_ms);
    // Used, expired or unknown: Alipay does not say which.
    let person = taken.map_err(|_| ApiError::invalid("isv.code-invalid", "授权码code无效"))?;
    let buyer = buyer(&mut alipay.book(), &person)?;
    let token = || random_text(ALPHANUMERIC, TOKEN_LEN).map_err(|_| ApiError::system());
    let mut content = json!({
        "access_token": token()?,
        "refresh_token": token()?,
        "auth_start": china_text(now_ms),
        "expires_in": 1_296_000,
        "re_expires_in": 2_592_000,
    });
    if alipay.identity.tells_open_ids.load(Ordering::Relaxed) {
        content["open_id"] = json!(buyer.open_id);
    } else {
        // The second is of another kind than a payment wants.
        content["user_id"] = json!(buyer.user_id);
        content["alipay_user_id"] = json!(buyer.open_id);
    }
    Ok(content)
}
