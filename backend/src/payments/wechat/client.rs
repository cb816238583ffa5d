//! The HTTP side: each call is built, signed, sent once, and its answer verified.

use super::account::{Account, Credentials};
use super::callback;
use super::messages::{
    CloseOrder, ErrorBody, H5Answer, H5Info, JsapiAnswer, Merchant, NativeAnswer, Order, OrderAmount, OrderPayer,
    Parties, Refund, RefundOrder, RefundOrderAmount, SceneInfo, SettleInfo, Transaction, china_time, json_fault,
    refund_state, truncated,
};
use super::methods::{H5, JSAPI, NATIVE};
use super::profile::{self, MAX_ATTACH_BYTES};
use super::signing::verify_platform_signature;
use super::{identity, invocation};
use crate::money::Currency;
use crate::payments::entered::AccountError;
use crate::payments::http::{self, CALL_TIMEOUT, Clock, MAX_RESPONSE_BYTES, ensure, not_sent};
use crate::payments::method::{self, Handoff, Payer};
use crate::payments::provider::{
    CallbackError, CloseOutcome, Created, PaymentRequest, Profile, Provider, ProviderError, RawCallback, RefundAnswer,
    RefundNumbers, RefundRequest, RefundState, Statement, TradeNumbers, TradeState, VerifiedCallback,
};
use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Longest description, in bytes; longer ones are cut.
const MAX_DESCRIPTION_BYTES: usize = 127;
/// Longest reason of a refund, in bytes; longer ones are cut.
const MAX_REASON_BYTES: usize = 80;
/// Longest notify URL, in bytes.
const MAX_NOTIFY_URL_BYTES: usize = 255;
/// Shortest and longest number of a trade, in characters.
const TRADE_NO_CHARS: std::ops::RangeInclusive<usize> = 6..=32;
/// Shortest and longest number of a refund, in characters.
const REFUND_NO_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// Largest amount, in fen: the API's integers have 32 bits.
const MAX_AMOUNT_FEN: i64 = i32::MAX as i64;
/// How much of the provider's code and message an error repeats, in bytes.
const MAX_ERROR_TEXT_BYTES: usize = 256;

/// Longest prepay id and code, in bytes: documented are 64.
const MAX_PREPAY_BYTES: usize = 256;
const REFUND_PATH: &str = "/v3/refund/domestic/refunds";

/// Gives random bytes, never the same twice: each request's signature needs them fresh.
pub type NonceSource = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// WeChat Pay for one merchant account. Cheap to share behind an `Arc`; calls may run at the same time.
pub struct WechatPay {
    pub(super) account: Credentials,
    profile: Profile,
    http: reqwest::Client,
    clock: Clock,
    nonces: NonceSource,
    pub(super) call_timeout: Duration,
}

/// A successful answer, its signature verified.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// Why there is no successful answer.
pub(super) enum CallFailure {
    /// The provider said no, in its documented form.
    Rejected { status: StatusCode, code: String, message: String },
    /// Anything else.
    Error(ProviderError),
}

impl WechatPay {
    /// Checks an account and makes its client. `http` comes from [`http::client`].
    ///
    /// # Errors
    /// Names the account's first invalid field.
    pub fn new(
        account: Account,
        http: reqwest::Client,
        clock: Clock,
        nonces: NonceSource,
    ) -> Result<Self, AccountError> {
        let account = Credentials::parse(&account)?;
        let profile = profile::of(&account);
        Ok(Self { account, profile, http, clock, nonces, call_timeout: CALL_TIMEOUT })
    }

    /// Shortens (or lengthens) [`CALL_TIMEOUT`] for this account.
    #[must_use]
    pub fn with_call_timeout(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, CallFailure> {
        let body = serde_json::to_vec(body).map_err(|_| not_sent("the request can not be written as JSON"))?;
        self.call(Method::POST, path, None, body).await
    }

    /// Sends one signed request and reads its verified answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer, CallFailure> {
        let mut url = self.account.base_url.clone();
        url.set_path(path);
        url.set_query(query);
        self.judge(self.send(method, url, body, self.call_timeout).await?).await
    }

    /// Sends one signed request to an address.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<reqwest::Response, CallFailure> {
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let timestamp_s = (self.clock)().div_euclid(1000);
        let nonce = hex::encode((self.nonces)());
        let authorization = self
            .account
            .signer
            .authorization(method.as_str(), &target, timestamp_s, &nonce, &body)
            .ok_or_else(|| not_sent("the request could not be signed"))?;
        let mut request = self
            .http
            .request(method, url.clone())
            .timeout(timeout)
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, http::AGENT);
        if let Some(id) = self.account.platform_keys.public_key_id() {
            request = request.header("Wechatpay-Serial", id);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| unknown(http::fault(&error)))?;
        if *response.url() != url {
            return Err(unknown("the answer came from another address".into()));
        }
        Ok(response)
    }

    /// Classifies an answer: verified, a refusal in the documented form, or one that proves nothing.
    async fn judge(&self, mut response: reqwest::Response) -> Result<Answer, CallFailure> {
        let status = response.status();
        let body = read_limited(&mut response, MAX_RESPONSE_BYTES).await?;
        if status.is_success() {
            let headers = response.headers();
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            return match verify_platform_signature(&self.account.platform_keys, header, &body, (self.clock)()) {
                Ok(()) => Ok(Answer { status, body }),
                Err(fault) => Err(CallFailure::Error(ProviderError::Untrusted(fault.to_string()))),
            };
        }
        // Refusals may come unsigned. Where one is signed, the signature counts.
        let headers = response.headers();
        if headers.contains_key("wechatpay-signature") {
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            verify_platform_signature(&self.account.platform_keys, header, &body, (self.clock)())
                .map_err(|fault| CallFailure::Error(ProviderError::Untrusted(fault.to_string())))?;
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(said) if !said.code.is_empty() => Err(CallFailure::Rejected {
                status,
                code: truncated(&said.code, MAX_ERROR_TEXT_BYTES).to_owned(),
                message: truncated(&said.message, MAX_ERROR_TEXT_BYTES).to_owned(),
            }),
            _ => Err(unknown(format!("HTTP status {} without the provider's error body", status.as_u16()))),
        }
    }
}

impl CallFailure {
    /// The general error, if the caller has no better one.
    pub(super) fn into_error(self) -> ProviderError {
        let (status, code, message) = match self {
            Self::Error(error) => return error,
            Self::Rejected { status, code, message } => (status, code, message),
        };
        let slow_down = ["FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED"].contains(&code.as_str());
        if status == StatusCode::TOO_MANY_REQUESTS || slow_down {
            ProviderError::Busy(format!("{code}: {message}"))
        } else if !status.is_client_error() || ["SYSTEM_ERROR", "SYSTEMERROR"].contains(&code.as_str()) {
            ProviderError::Unknown(format!("HTTP status {}: {code}: {message}", status.as_u16()))
        } else {
            ProviderError::Refused { code, message }
        }
    }

    /// The code of a certain refusal: the provider understood the request and did not execute it.
    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Rejected { status, code, .. } if status.is_client_error() => Some(code),
            Self::Rejected { .. } | Self::Error(_) => None,
        }
    }
}

impl From<ProviderError> for CallFailure {
    fn from(error: ProviderError) -> Self {
        Self::Error(error)
    }
}

fn unknown(why: String) -> CallFailure {
    CallFailure::Error(ProviderError::Unknown(why))
}

pub(super) async fn read_limited(response: &mut reqwest::Response, limit: usize) -> Result<Vec<u8>, CallFailure> {
    http::read_limited(response, limit).await.map_err(unknown)
}

pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    if answer.status != StatusCode::OK {
        return Err(ProviderError::Unknown(format!("HTTP status {} where 200 is documented", answer.status.as_u16())));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| ProviderError::Unknown(format!("the answer {}", json_fault(&error))))
}

fn check_trade_no(number: &str) -> Result<(), ProviderError> {
    let good = TRADE_NO_CHARS.contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-|*".contains(&b));
    ensure(good, "out_trade_no must have 6 to 32 letters, digits and _-|*")
}

fn check_refund_no(number: &str) -> Result<(), ProviderError> {
    let good = REFUND_NO_CHARS.contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-|*@".contains(&b));
    ensure(good, "out_refund_no must have 1 to 64 letters, digits and _-|*@")
}

fn check_currency(currency: Currency) -> Result<(), ProviderError> {
    ensure(currency == Currency::Cny, "WeChat Pay takes yuan (CNY) only")
}

/// The bar is the one allowed character that URLs do not carry as it is.
fn in_path(number: &str) -> String {
    number.replace('|', "%7C")
}

impl WechatPay {
    fn check_notify_url(&self, text: &str) -> Result<(), ProviderError> {
        let url = Url::parse(text).map_err(|_| not_sent("notify_url is not an absolute address"))?;
        ensure(text.len() <= MAX_NOTIFY_URL_BYTES, "notify_url must have at most 255 bytes")?;
        ensure(self.is_safe_redirect(&url), "notify_url must begin with https://")?;
        ensure(url.query().is_none() && url.fragment().is_none(), "notify_url must carry no query and no fragment")
    }

    /// Plain http is for sandboxes only, which are themselves reached by it.
    pub(super) fn is_safe_redirect(&self, url: &Url) -> bool {
        url.scheme() == "https" || (url.scheme() == "http" && self.account.base_url.scheme() == "http")
    }

    fn check_order(&self, request: &PaymentRequest) -> Result<(), ProviderError> {
        check_trade_no(&request.out_trade_no)?;
        ensure(
            self.account.methods.iter().any(|method| *method == request.method),
            "WeChat Pay is asked for a method that this account does not offer",
        )?;
        check_currency(request.amount.currency)?;
        let amount = request.amount.amount_minor;
        ensure((1..=MAX_AMOUNT_FEN).contains(&amount), "the amount must be positive and fit 32 bits")?;
        ensure(!request.description.trim().is_empty(), "description must not be empty")?;
        ensure(request.attach.len() <= MAX_ATTACH_BYTES, "attach must have at most 128 bytes")?;
        ensure(request.expires_at_ms > (self.clock)(), "the payment has expired already")?;
        self.check_notify_url(&request.notify_url)?;
        ensure(
            Url::parse(&request.return_url).is_ok_and(|url| self.is_safe_redirect(&url)),
            "return_url must be an absolute https:// address",
        )
    }

    /// The path of a trade, or of an order's method.
    fn trade_path(&self, rest: &str) -> String {
        let partner = if self.account.sub_mchid.is_some() { "/partner" } else { "" };
        format!("/v3/pay{partner}/transactions/{rest}")
    }

    fn merchant(&self) -> Merchant<'_> {
        let mchid = &self.account.mchid;
        match &self.account.sub_mchid {
            None => Merchant::Own { mchid },
            Some(sub_mchid) => Merchant::Partner { sp_mchid: mchid, sub_mchid },
        }
    }

    fn parties(&self) -> Parties<'_> {
        let (appid, mchid) = (&self.account.appid, &self.account.mchid);
        match &self.account.sub_mchid {
            None => Parties::Own { appid, mchid },
            Some(sub_mchid) => Parties::Partner { sp_appid: appid, sp_mchid: mchid, sub_mchid },
        }
    }

    /// Who pays, if the method needs to say so.
    fn order_payer<'a>(&self, request: &'a PaymentRequest) -> Result<Option<OrderPayer<'a>>, ProviderError> {
        if request.method != JSAPI {
            return Ok(None);
        }
        let payer = request.payer.as_ref().filter(|payer| payer.scope == self.account.appid);
        let openid = payer.map(|payer| payer.id.as_str()).filter(|openid| identity::is_openid(openid));
        let openid = openid.ok_or_else(|| not_sent("jsapi needs the payer's openid with this service account"))?;
        Ok(Some(match &self.account.sub_mchid {
            None => OrderPayer::Own { openid },
            Some(_) => OrderPayer::Partner { sp_openid: openid },
        }))
    }

    /// How the payer of an order gets to WeChat.
    fn handoff(&self, request: &PaymentRequest, answer: &Answer) -> Result<Handoff, ProviderError> {
        match request.method.as_str() {
            JSAPI => {
                let prepay_id = read::<JsapiAnswer>(answer)?.prepay_id;
                let good = (1..=MAX_PREPAY_BYTES).contains(&prepay_id.len())
                    && prepay_id.bytes().all(|byte| byte.is_ascii_graphic());
                if !good {
                    return Err(ProviderError::Unknown("prepay_id is empty, too long or has blanks".into()));
                }
                Ok(invocation::unsigned(&prepay_id))
            }
            NATIVE => {
                let text = read::<NativeAnswer>(answer)?.code_url;
                if !text.starts_with("weixin://") || text.len() > MAX_PREPAY_BYTES {
                    return Err(ProviderError::Unknown("code_url is not a weixin:// address".into()));
                }
                Ok(Handoff::Code { text })
            }
            _ => {
                let h5_url = read::<H5Answer>(answer)?.h5_url;
                Ok(Handoff::Redirect { url: self.payer_url(&h5_url, &request.return_url)? })
            }
        }
    }

    /// The address to send the payer to, with the way back to us.
    fn payer_url(&self, h5_url: &str, return_url: &str) -> Result<String, ProviderError> {
        let mut url = Url::parse(h5_url)
            .ok()
            .filter(|url| self.is_safe_redirect(url))
            .ok_or_else(|| ProviderError::Unknown("h5_url is not an https:// address".into()))?;
        url.query_pairs_mut().append_pair("redirect_url", return_url);
        Ok(url.into())
    }

    /// A query's answer must be about what was asked: signatures do not bind an answer to its request.
    fn check_trade(&self, transaction: &Transaction, out_trade_no: &str) -> Result<(), ProviderError> {
        let appid = if self.account.sub_mchid.is_some() { &transaction.sp_appid } else { &transaction.appid };
        let ours = transaction.out_trade_no == out_trade_no
            && self.account.foreign_merchant(&transaction.merchant).is_none()
            && appid.as_ref().is_none_or(|appid| *appid == self.account.appid);
        if ours { Ok(()) } else { Err(ProviderError::Untrusted("the answer is about another trade".into())) }
    }
}

/// A refund's state, if the answer is about it.
fn check_refund(refund: Refund, out_refund_no: &str) -> Result<RefundAnswer, ProviderError> {
    if refund.out_refund_no != out_refund_no {
        return Err(ProviderError::Untrusted("the answer is about another refund".into()));
    }
    let state = refund_state(&refund.status)
        .ok_or_else(|| ProviderError::Unknown("the refund's status is not one of those documented".into()))?;
    Ok(RefundAnswer { state, reference: refund.refund_id, amount_minor: Some(refund.amount.refund) })
}

#[async_trait]
impl Provider for WechatPay {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn identity_url(&self, method: &method::Method, return_url: &str, state: &str) -> Option<String> {
        identity::authorize_url(&self.account, method, return_url, state)
    }

    async fn exchange_identity(
        &self,
        _: &method::Method,
        parameters: &[(String, String)],
    ) -> Result<Payer, ProviderError> {
        identity::exchange(&self.account, &self.http, self.call_timeout, parameters).await
    }

    /// Signed at each view: the page may be opened long after the order was made.
    fn renew(&self, handoff: Handoff, wall_ms: i64) -> Handoff {
        invocation::signed(&self.account, handoff, wall_ms)
    }

    /// Makes an order. The same number with the same content gives a fresh hand-off (an H5 address lives five minutes, a
    /// prepay id and a code two hours); with other content it is refused. The provider moves an expiry of less than a minute
    /// from now to one minute.
    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        self.check_order(request)?;
        let time_expire =
            china_time(request.expires_at_ms).ok_or_else(|| not_sent("the expiry is too far in the future"))?;
        let order = Order {
            parties: self.parties(),
            description: truncated(&request.description, MAX_DESCRIPTION_BYTES),
            out_trade_no: &request.out_trade_no,
            time_expire: &time_expire,
            notify_url: &request.notify_url,
            amount: OrderAmount { total: request.amount.amount_minor, currency: request.amount.currency.code() },
            scene_info: (request.method == H5).then(|| SceneInfo {
                payer_client_ip: request.payer_ip.to_canonical().to_string(),
                h5_info: H5Info { kind: "Wap" },
            }),
            payer: self.order_payer(request)?,
            attach: &request.attach,
            settle_info: self.account.profit_sharing.then_some(SettleInfo { profit_sharing: true }),
        };
        let answer = self.post(&self.trade_path(&request.method), &order).await.map_err(CallFailure::into_error)?;
        let handoff = self.handoff(request, &answer)?;
        // Orders are known by our number alone.
        Ok(Created { handoff, reference: None })
    }

    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError> {
        let out_trade_no = &trade.out_trade_no;
        check_trade_no(out_trade_no)?;
        let path = self.trade_path(&format!("out-trade-no/{}", in_path(out_trade_no)));
        let query = match self.merchant() {
            Merchant::Own { mchid } => format!("mchid={mchid}"),
            Merchant::Partner { sp_mchid, sub_mchid } => format!("sp_mchid={sp_mchid}&sub_mchid={sub_mchid}"),
        };
        let answer = match self.call(Method::GET, &path, Some(&query), Vec::new()).await {
            Ok(answer) => answer,
            Err(failure) if matches!(failure.refusal(), Some("ORDER_NOT_EXIST" | "ORDERNOTEXIST")) => {
                return Ok(TradeState::NotFound);
            }
            Err(failure) => return Err(failure.into_error()),
        };
        let transaction: Transaction = read(&answer)?;
        self.check_trade(&transaction, out_trade_no)?;
        transaction.state().map_err(ProviderError::Unknown)
    }

    /// Closes an order. An order that the provider does not know is
    /// [`Refused`](ProviderError::Refused) with `ORDER_NOT_EXIST`, not `Closed`: a create that timed out may yet
    /// arrive and make it payable, so only the order's own expiry is proof then.
    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        let out_trade_no = &trade.out_trade_no;
        check_trade_no(out_trade_no)?;
        let path = self.trade_path(&format!("out-trade-no/{}/close", in_path(out_trade_no)));
        let answer = match self.post(&path, &CloseOrder { merchant: self.merchant() }).await {
            Ok(answer) => answer,
            Err(failure) => {
                return match failure.refusal() {
                    Some("ORDERPAID" | "ORDER_PAID") => Ok(CloseOutcome::AlreadyPaid),
                    Some("ORDER_CLOSED" | "ORDERCLOSED") => Ok(CloseOutcome::Closed),
                    _ => Err(failure.into_error()),
                };
            }
        };
        match answer.status {
            StatusCode::NO_CONTENT => Ok(CloseOutcome::Closed),
            // Documented as USER_PAYING: the payer is entering the password; nothing was closed.
            StatusCode::ACCEPTED => Err(ProviderError::Busy("the payer is paying just now".into())),
            other => Err(ProviderError::Unknown(format!("HTTP status {} where 204 is documented", other.as_u16()))),
        }
    }

    /// Asks for a refund. `RESOURCE_NOT_EXISTS` (no such order) is known to pass: the same number may be tried again.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let (out_trade_no, out_refund_no) = (&request.numbers.trade.out_trade_no, &request.numbers.out_refund_no);
        check_trade_no(out_trade_no)?;
        check_refund_no(out_refund_no)?;
        check_currency(request.currency)?;
        let (refund, total) = (request.refund_minor, request.total_minor);
        ensure((1..=MAX_AMOUNT_FEN).contains(&total), "the paid amount must be positive and fit 32 bits")?;
        ensure((1..=total).contains(&refund), "the refund must be positive and at most what was paid")?;
        self.check_notify_url(&request.notify_url)?;
        let order = RefundOrder {
            sub_mchid: self.account.sub_mchid.as_deref(),
            out_trade_no,
            out_refund_no,
            reason: truncated(&request.reason, MAX_REASON_BYTES),
            notify_url: &request.notify_url,
            amount: RefundOrderAmount { refund, total, currency: request.currency.code() },
        };
        let answer = match self.post(REFUND_PATH, &order).await {
            Ok(answer) => answer,
            Err(failure) if matches!(failure.refusal(), Some("NOT_ENOUGH" | "NOTENOUGH")) => {
                return Err(ProviderError::InsufficientBalance);
            }
            Err(failure) => return Err(failure.into_error()),
        };
        let answer: Refund = read(&answer)?;
        if answer.out_trade_no != *out_trade_no {
            return Err(ProviderError::Untrusted("the answer is about another trade".into()));
        }
        if answer.amount.total != total {
            return Err(ProviderError::Unknown("the answer states another amount paid than the request".into()));
        }
        check_refund(answer, out_refund_no)
    }

    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        let out_refund_no = &refund.out_refund_no;
        check_refund_no(out_refund_no)?;
        let path = format!("{REFUND_PATH}/{}", in_path(out_refund_no));
        let query = self.account.sub_mchid.as_ref().map(|sub_mchid| format!("sub_mchid={sub_mchid}"));
        let answer = match self.call(Method::GET, &path, query.as_deref(), Vec::new()).await {
            Ok(answer) => answer,
            Err(failure) if failure.refusal() == Some("RESOURCE_NOT_EXISTS") => return Ok(RefundState::NotFound.into()),
            Err(failure) => return Err(failure.into_error()),
        };
        check_refund(read(&answer)?, out_refund_no)
    }

    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        self.bill(day).await
    }

    fn verify_callback(&self, raw: RawCallback<'_>, now_ms: i64) -> Result<VerifiedCallback, CallbackError> {
        callback::verify(&self.account, raw, now_ms)
    }
}
