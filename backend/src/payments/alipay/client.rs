//! The HTTP side: each call is built, signed, sent once, and its answer verified.

use super::account::{Account, Credentials};
use super::answer::Envelope;
use super::callback;
use super::form;
use super::messages::{
    Buyer, CloseAnswer, CodeAnswer, CreateAnswer, Head, MAX_AMOUNT_FEN, Order, RefundAnswer as RefundAnswered,
    RefundFound, RefundNumber, RefundOrder, TokenAnswer, Trade, TradeNumber, china_time, fen, is_trade_no, yuan,
};
use super::profile::{self, BRIDGE, CODE, MAX_ATTACH_BYTES, WAP};
use super::signing::{SIGN_TYPE, request_message};
use crate::money::Currency;
use crate::payments::entered::AccountError;
use crate::payments::http::{self, CALL_TIMEOUT, Clock, MAX_RESPONSE_BYTES, ensure, json_fault, not_sent, truncated};
use crate::payments::method::{Handoff, Invocation, Method, Payer};
use crate::payments::provider::{
    CallbackError, CloseOutcome, Created, PaymentRequest, Profile, Provider, ProviderError, RawCallback, RefundAnswer,
    RefundNumbers, RefundRequest, RefundState, Statement, TradeNumbers, TradeState, VerifiedCallback,
};
use async_trait::async_trait;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// Longest title of an order, in bytes (256 characters by the documentation); longer ones are cut.
const MAX_SUBJECT_BYTES: usize = 256;
/// Longest reason of a refund, in bytes; longer ones are cut.
const MAX_REASON_BYTES: usize = 256;
/// Longest notify URL, in bytes.
const MAX_NOTIFY_URL_BYTES: usize = 256;
/// Longest text of a code taken, in bytes; `https://qr.alipay.com/...` has about 50.
const MAX_CODE_BYTES: usize = 1024;
/// Longest code of a returning browser taken, in bytes; real ones have 32.
const MAX_AUTH_CODE_BYTES: usize = 128;
/// Shortest and longest number of a trade or a refund, in characters.
const NUMBER_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// How much of the provider's code and message an error repeats, in bytes.
const MAX_ERROR_TEXT_BYTES: usize = 256;

const GATEWAY_PATH: &str = "/gateway.do";
/// The gateway reads the rest of a call by it.
const CHARSET_QUERY: &str = "charset=utf-8";
const AUTH_PATH: &str = "/oauth2/publicAppAuthorize.htm";
const OAUTH: &str = "alipay.system.oauth.token";
const QUERY: &str = "alipay.trade.query";

/// Alipay for one merchant account. Cheap to share behind an `Arc`; calls may run at the same time.
pub struct Alipay {
    account: Credentials,
    profile: Profile,
    http: reqwest::Client,
    clock: Clock,
    call_timeout: Duration,
}

/// Why there is no good answer.
enum CallFailure {
    /// The provider said no, and signed it.
    Rejected(Refusal),
    /// The gateway said no, unsigned as it may: whether anything happened is not proven.
    Unproven(Refusal),
    /// Anything else.
    Error(ProviderError),
}

/// What a refusal says.
struct Refusal {
    code: String,
    /// What it was in particular, such as `ACQ.TRADE_NOT_EXIST`.
    sub_code: String,
    message: String,
}

impl Refusal {
    fn of(head: &Head) -> Self {
        let short = |text: &str| truncated(text, MAX_ERROR_TEXT_BYTES).to_owned();
        let message = if head.sub_msg.is_empty() { &head.msg } else { &head.sub_msg };
        Self { code: short(&head.code), sub_code: short(&head.sub_code), message: short(message) }
    }

    /// The code without the prefix of the system it comes from, because the documented tables differ in that prefix.
    fn reason(&self) -> &str {
        self.sub_code.rsplit('.').next().unwrap_or_default()
    }

    fn told(self) -> ProviderError {
        let code = if self.sub_code.is_empty() { self.code } else { self.sub_code };
        ProviderError::Refused { code, message: self.message }
    }

    fn text(&self) -> String {
        format!("{} {}: {}", self.code, self.sub_code, self.message)
    }

    /// The general error, if the caller has no better one.
    fn into_error(self) -> ProviderError {
        // `isp.` is what their side calls its own faults, by the documentation of common codes.
        let is_theirs =
            self.sub_code.starts_with("isp.") || ["SYSTEM_ERROR", "REFUND_CHARGE_ERROR"].contains(&self.reason());
        match self.code.as_str() {
            // Too many calls: nothing happened.
            "40005" => ProviderError::Busy(self.text()),
            "20001" | "40001" | "40002" | "40003" | "40004" | "40006" if !is_theirs => self.told(),
            _ => ProviderError::Unknown(self.text()),
        }
    }
}

impl CallFailure {
    /// The general error, if the caller has no better one.
    fn into_error(self) -> ProviderError {
        match self {
            Self::Error(error) => error,
            Self::Rejected(refusal) => refusal.into_error(),
            Self::Unproven(refusal) => ProviderError::Unknown(format!("not signed: {}", refusal.text())),
        }
    }

    /// Why the business of a call was refused, if that is sure.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Rejected(refusal) if refusal.code == "40004" => Some(refusal.reason()),
            Self::Rejected(_) | Self::Unproven(_) | Self::Error(_) => None,
        }
    }
}

impl From<ProviderError> for CallFailure {
    fn from(error: ProviderError) -> Self {
        Self::Error(error)
    }
}

fn unknown(why: impl Into<String>) -> CallFailure {
    CallFailure::Error(ProviderError::Unknown(why.into()))
}

fn untrusted(why: &str) -> ProviderError {
    ProviderError::Untrusted(why.into())
}

fn json(content: &impl Serialize) -> Result<String, ProviderError> {
    serde_json::to_string(content).map_err(|_| not_sent("the request can not be written as JSON"))
}

impl Alipay {
    /// Checks an account and makes its client. `http` comes from [`http::client`].
    ///
    /// # Errors
    /// Names the account's first invalid field.
    pub fn new(account: &Account, http: reqwest::Client, clock: Clock) -> Result<Self, AccountError> {
        let account = Credentials::parse(account)?;
        let profile = profile::of(&account);
        Ok(Self { account, profile, http, clock, call_timeout: CALL_TIMEOUT })
    }

    /// Shortens (or lengthens) [`CALL_TIMEOUT`] for this account.
    #[must_use]
    pub fn with_call_timeout(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    /// The signed parameters of a call, as they are sent. `own` are those of this method.
    fn signed(&self, method: &str, own: &[(&str, &str)]) -> Result<String, ProviderError> {
        let timestamp = china_time((self.clock)()).ok_or_else(|| not_sent("the clock shows no time"))?;
        let mut parameters = vec![
            ("app_id", &*self.account.app_id),
            ("charset", "utf-8"),
            ("format", "JSON"),
            ("sign_type", SIGN_TYPE),
            ("timestamp", &timestamp),
            ("version", "1.0"),
            ("method", method),
        ];
        if let Some(certificates) = &self.account.certificates {
            parameters.push(("app_cert_sn", &certificates.app));
            parameters.push(("alipay_root_cert_sn", &certificates.root));
        }
        parameters.extend(own.iter().filter(|(_, value)| !value.is_empty()));
        let message = request_message(parameters.iter().copied());
        let sign = self.account.app_key.sign(message.as_bytes());
        let sign = sign.ok_or_else(|| not_sent("the request could not be signed"))?;
        parameters.push(("sign", &sign));
        Ok(form::encoded(parameters))
    }

    fn gateway(&self, query: &str) -> Url {
        let mut url = self.account.base_url.clone();
        url.set_path(GATEWAY_PATH);
        url.set_query(Some(query));
        url
    }

    /// Calls a method with its business content.
    async fn call<T: DeserializeOwned>(&self, method: &str, content: &impl Serialize) -> Result<T, CallFailure> {
        self.send(method, &[("biz_content", &json(content)?)]).await
    }

    /// Sends one signed call and reads its verified answer.
    async fn send<T: DeserializeOwned>(&self, method: &str, own: &[(&str, &str)]) -> Result<T, CallFailure> {
        let url = self.gateway(CHARSET_QUERY);
        let request = self
            .http
            .post(url.clone())
            .timeout(self.call_timeout)
            .header(USER_AGENT, http::AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded;charset=utf-8")
            .body(self.signed(method, own)?);
        let mut response = request.send().await.map_err(|error| unknown(http::fault(&error)))?;
        if *response.url() != url {
            return Err(unknown("the answer came from another address"));
        }
        let status = response.status();
        if status != StatusCode::OK {
            return Err(unknown(format!("HTTP status {} where 200 is documented", status.as_u16())));
        }
        let body = http::read_limited(&mut response, MAX_RESPONSE_BYTES).await.map_err(unknown)?;
        self.judge(method, &body)
    }

    /// Classifies an answer: success, refusal, or one that proves nothing.
    fn judge<T: DeserializeOwned>(&self, method: &str, body: &[u8]) -> Result<T, CallFailure> {
        let body = std::str::from_utf8(body).map_err(|_| unknown("the answer is not UTF-8"))?;
        let envelope = Envelope::read(body, method).ok_or_else(|| unknown("the answer has not the documented form"))?;
        let proven = self.prove(&envelope);
        let head: Head = read(envelope.content)?;
        if envelope.is_gateways && proven.is_err() {
            return Err(CallFailure::Unproven(Refusal::of(&head)));
        }
        proven?;
        // The one answer that has no code when it is good.
        let is_token = method == OAUTH && head.code.is_empty() && head.sub_code.is_empty();
        if envelope.is_gateways || !(is_token || head.code == "10000") {
            return Err(CallFailure::Rejected(Refusal::of(&head)));
        }
        Ok(read(envelope.content)?)
    }

    fn prove(&self, envelope: &Envelope<'_>) -> Result<(), ProviderError> {
        let sign = envelope.sign.as_deref().ok_or_else(|| untrusted("the answer has no signature"))?;
        if self.account.alipay_keys.verify(envelope.content.as_bytes(), sign) {
            return Ok(());
        }
        let unknown = envelope.certificate.as_deref().filter(|number| self.account.alipay_keys.lacks(number));
        Err(match (unknown, &self.account.certificates) {
            (Some(number), Some(_)) => ProviderError::Untrusted(format!(
                "it is signed with certificate {:?}, which the account does not list: enter Alipay's new one",
                truncated(number, MAX_ERROR_TEXT_BYTES)
            )),
            _ => untrusted("the signature does not match"),
        })
    }

    /// Plain http is for sandboxes only, which are themselves reached by it.
    fn is_safe_url(&self, url: &Url) -> bool {
        url.scheme() == "https" || (url.scheme() == "http" && self.account.base_url.scheme() == "http")
    }

    fn check_notify_url(&self, text: &str) -> Result<(), ProviderError> {
        let url = Url::parse(text).map_err(|_| not_sent("notify_url is not an absolute address"))?;
        ensure(text.len() <= MAX_NOTIFY_URL_BYTES, "notify_url must have at most 256 bytes")?;
        ensure(self.is_safe_url(&url), "notify_url must begin with https://")?;
        ensure(url.query().is_none() && url.fragment().is_none(), "notify_url must carry no query and no fragment")
    }

    fn check_order(&self, request: &PaymentRequest) -> Result<(), ProviderError> {
        check_number("out_trade_no", &request.out_trade_no)?;
        check_currency(request.amount.currency)?;
        let amount = request.amount.amount_minor;
        ensure((1..=MAX_AMOUNT_FEN).contains(&amount), "the amount must be positive and at most 100,000,000 yuan")?;
        // Alipay's documentation does not say how this text is encoded, so it contains only characters that no encoding
        // changes.
        let is_plain = form::escaped(&request.attach) == request.attach;
        let attach_is_good = request.attach.len() <= MAX_ATTACH_BYTES && is_plain;
        ensure(attach_is_good, "attach must have at most 512 letters, digits and -._~")?;
        ensure(request.expires_at_ms > (self.clock)(), "the payment has expired already")?;
        self.check_notify_url(&request.notify_url)?;
        ensure(
            Url::parse(&request.return_url).is_ok_and(|url| self.is_safe_url(&url)),
            "return_url must be an absolute https:// address",
        )
    }

    /// What all methods say of an order.
    fn order<'r>(&'r self, request: &'r PaymentRequest) -> Result<Order<'r>, ProviderError> {
        let subject = subject(&request.description);
        ensure(!subject.is_empty(), "description must not be empty")?;
        let time_expire = china_time(request.expires_at_ms);
        Ok(Order {
            out_trade_no: &request.out_trade_no,
            total_amount: yuan(request.amount.amount_minor),
            subject,
            product_code: None,
            seller_id: &self.account.seller_id,
            // An absolute time: a time counted from the payer's arrival would never end for a payer who comes late.
            time_expire: time_expire.ok_or_else(|| not_sent("the expiry is too far in the future"))?,
            passback_params: &request.attach,
            quit_url: None,
            op_app_id: None,
            buyer_id: None,
            buyer_open_id: None,
        })
    }

    /// An order on a page of Alipay's. No call is made: the browser brings the signed order there, and a trade exists once
    /// the payer has signed in.
    fn page_order(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let order = self.order(request)?;
        let return_url = request.return_url.as_str();
        let content = json(&Order { product_code: Some("QUICK_WAP_WAY"), quit_url: Some(return_url), ..order })?;
        let own = [("notify_url", &*request.notify_url), ("return_url", return_url), ("biz_content", &*content)];
        let url = self.gateway(&self.signed("alipay.trade.wap.pay", &own)?);
        Ok(Created { handoff: Handoff::Redirect { url: url.into() }, reference: None })
    }

    /// An order as a code for a screen. A trade exists once the code was scanned.
    async fn code_order(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let content = json(&self.order(request)?)?;
        let answer: CodeAnswer = self.make_order("alipay.trade.precreate", request, &content).await?;
        about(&answer.out_trade_no, &request.out_trade_no)?;
        let is_good = answer.qr_code.len() <= MAX_CODE_BYTES
            && Url::parse(&answer.qr_code).is_ok_and(|url| self.is_safe_url(&url));
        if !is_good {
            return Err(ProviderError::Unknown("qr_code is not an https:// address".into()));
        }
        Ok(Created { handoff: Handoff::Code { text: answer.qr_code }, reference: None })
    }

    /// An order for a known payer, which our page has the app show. The trade exists at once.
    async fn bridge_order(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let payer = request.payer.as_ref().filter(|payer| payer.scope == self.account.app_id);
        let buyer = payer.and_then(|payer| Buyer::read(&payer.id));
        let (buyer_id, buyer_open_id) = match buyer {
            Some(Buyer::User(id)) => (Some(id), None),
            Some(Buyer::Open(id)) => (None, Some(id)),
            None => return Err(not_sent("who pays is not known to this app")),
        };
        let order = self.order(request)?;
        let op_app_id = self.account.op_app_id.as_deref();
        let content = json(&Order { product_code: Some("JSAPI_PAY"), op_app_id, buyer_id, buyer_open_id, ..order })?;
        let answer: CreateAnswer = self.make_order("alipay.trade.create", request, &content).await?;
        about(&answer.out_trade_no, &request.out_trade_no)?;
        if !is_trade_no(&answer.trade_no) {
            return Err(ProviderError::Unknown("trade_no is no number".into()));
        }
        let handoff = Handoff::Invoke(Invocation {
            bridge: "AlipayJSBridge".into(),
            function: "call".into(),
            action: "tradePay".into(),
            parameters: BTreeMap::from([("tradeNO".into(), answer.trade_no.clone())]),
        });
        Ok(Created { handoff, reference: Some(answer.trade_no) })
    }

    async fn make_order<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &PaymentRequest,
        content: &str,
    ) -> Result<T, ProviderError> {
        let own = [("notify_url", &*request.notify_url), ("biz_content", content)];
        self.send(method, &own).await.map_err(|failure| match failure.reason() {
            // It was made before and is paid: it must be asked about, not given up.
            Some(reason @ ("TRADE_HAS_SUCCESS" | "TRADE_HAS_FINISHED")) => ProviderError::Unknown(reason.into()),
            _ => failure.into_error(),
        })
    }

    /// What became of a trade that could not be closed for another reason than that it does not exist.
    async fn closed_or_paid(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        match self.query(trade).await? {
            TradeState::Closed => Ok(CloseOutcome::Closed),
            TradeState::Paid(_) | TradeState::Refunded(_) | TradeState::PaidUnknownCurrency(_) => {
                Ok(CloseOutcome::AlreadyPaid)
            }
            TradeState::NotPaid | TradeState::NotFound => {
                Err(ProviderError::Busy("the trade can not be closed just now".into()))
            }
        }
    }
}

/// An answer must be about what was asked: signatures do not bind an answer to its request.
fn about(theirs: &str, ours: &str) -> Result<(), ProviderError> {
    if theirs == ours { Ok(()) } else { Err(untrusted("the answer is about something else")) }
}

fn read<T: DeserializeOwned>(content: &str) -> Result<T, ProviderError> {
    serde_json::from_str(content).map_err(|error| ProviderError::Unknown(format!("the answer {}", json_fault(&error))))
}

fn check_number(field: &str, number: &str) -> Result<(), ProviderError> {
    let good = NUMBER_CHARS.contains(&number.len()) && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good { Ok(()) } else { Err(not_sent(&format!("{field} must have 1 to 64 letters, digits and _"))) }
}

fn check_currency(currency: Currency) -> Result<(), ProviderError> {
    ensure(currency == Currency::Cny, "Alipay in China takes yuan (CNY) only")
}

/// A title without the characters that the documentation excludes.
fn subject(description: &str) -> String {
    let plain = |c: char| if "/=&".contains(c) || c.is_control() { ' ' } else { c };
    let text: String = description.chars().map(plain).collect();
    truncated(text.trim(), MAX_SUBJECT_BYTES).trim_end().to_owned()
}

#[async_trait]
impl Provider for Alipay {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn identity_url(&self, method: &Method, return_url: &str, state: &str) -> Option<String> {
        let app_id = method.payer_scope.as_deref()?;
        let mut url = self.account.auth_url.clone();
        url.set_path(AUTH_PATH);
        let query = [("app_id", app_id), ("scope", "auth_base"), ("redirect_uri", return_url), ("state", state)];
        url.set_query(Some(&form::encoded(query)));
        Some(url.into())
    }

    async fn exchange_identity(
        &self,
        method: &Method,
        parameters: &[(String, String)],
    ) -> Result<Payer, ProviderError> {
        let scope = method.payer_scope.as_deref().ok_or_else(|| not_sent("the method asks nobody who pays"))?;
        let value = |name: &str| parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
        let code = value("auth_code");
        let is_code =
            (1..=MAX_AUTH_CODE_BYTES).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        ensure(is_code, "the browser came back without an auth_code")?;
        ensure(["", scope].contains(&value("app_id")), "the browser came back from another app")?;
        let answer = self.send(OAUTH, &[("grant_type", "authorization_code"), ("code", code)]).await;
        let answer: TokenAnswer = match answer {
            Ok(answer) => answer,
            // Used codes are refused by the gateway, which may not sign. Nothing hangs on whether that is true.
            Err(CallFailure::Unproven(refusal)) if refusal.code.starts_with('4') => return Err(refusal.told()),
            Err(failure) => return Err(failure.into_error()),
        };
        let given = |id: &'_ Option<String>| id.clone().filter(|id| !id.is_empty());
        let id = match (given(&answer.user_id), given(&answer.open_id)) {
            (Some(user), _) => Buyer::User(&user).write(),
            (None, Some(open)) => Buyer::Open(&open).write(),
            (None, None) => String::new(),
        };
        if Buyer::read(&id).is_none() {
            return Err(ProviderError::Unknown("the answer has neither a user_id nor an open_id".into()));
        }
        Ok(Payer { scope: scope.to_owned(), id })
    }

    /// Makes an order. The same number with the same content gives the same order, with other content it is refused. On a
    /// page of Alipay's it is the payer who makes it, so nothing is refused here but what breaks a limit.
    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        self.check_order(request)?;
        match request.method.as_str() {
            WAP => self.page_order(request),
            CODE => self.code_order(request).await,
            BRIDGE if self.account.op_app_id.is_some() => self.bridge_order(request).await,
            _ => Err(not_sent("Alipay is asked for a method that this account does not offer")),
        }
    }

    /// Asks about a trade. One is there once the payer has scanned the code or signed in: before that it is not found, and
    /// may still be paid.
    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError> {
        let out_trade_no = &trade.out_trade_no;
        check_number("out_trade_no", out_trade_no)?;
        let answer: Trade = match self.call(QUERY, &TradeNumber { out_trade_no }).await {
            Ok(answer) => answer,
            Err(failure) if failure.reason() == Some("TRADE_NOT_EXIST") => return Ok(TradeState::NotFound),
            Err(failure) => return Err(failure.into_error()),
        };
        about(&answer.out_trade_no, out_trade_no)?;
        answer.state((self.clock)()).map_err(ProviderError::Unknown)
    }

    /// Closes a trade. One that the provider does not know is [`Refused`](ProviderError::Refused) with
    /// `ACQ.TRADE_NOT_EXIST`, not `Closed`: whoever has the code or the page can still make and pay it until it expires.
    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        let out_trade_no = &trade.out_trade_no;
        check_number("out_trade_no", out_trade_no)?;
        let answer: CloseAnswer = match self.call("alipay.trade.close", &TradeNumber { out_trade_no }).await {
            Ok(answer) => answer,
            Err(failure) => {
                return match failure.reason() {
                    Some("TRADE_HAS_SUCCESS") => Ok(CloseOutcome::AlreadyPaid),
                    Some(
                        "TRADE_HAS_CLOSE"
                        | "TRADE_HAS_FINISHED"
                        | "TRADE_STATUS_ERROR"
                        | "REASON_TRADE_STATUS_INVALID"
                        | "REASON_ILLEGAL_STATUS",
                    ) => self.closed_or_paid(trade).await,
                    _ => Err(failure.into_error()),
                };
            }
        };
        about(answer.out_trade_no.as_ref().unwrap_or(out_trade_no), out_trade_no)?;
        Ok(CloseOutcome::Closed)
    }

    /// Asks for a refund. Where the answer does not say that money went back by it, as to a repeat, the refund is asked
    /// about.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let (out_trade_no, out_request_no) = (&request.numbers.trade.out_trade_no, &request.numbers.out_refund_no);
        check_number("out_trade_no", out_trade_no)?;
        check_number("out_refund_no", out_request_no)?;
        check_currency(request.currency)?;
        let (refund, total) = (request.refund_minor, request.total_minor);
        ensure((1..=MAX_AMOUNT_FEN).contains(&total), "the paid amount must be positive and at most 100,000,000 yuan")?;
        ensure((1..=total).contains(&refund), "the refund must be positive and at most what was paid")?;
        let order = RefundOrder {
            out_trade_no,
            refund_amount: yuan(refund),
            out_request_no,
            refund_reason: truncated(&request.reason, MAX_REASON_BYTES),
        };
        let answer: RefundAnswered = match self.call("alipay.trade.refund", &order).await {
            Ok(answer) => answer,
            Err(failure) if failure.reason() == Some("SELLER_BALANCE_NOT_ENOUGH") => {
                return Err(ProviderError::InsufficientBalance);
            }
            Err(failure) => return Err(failure.into_error()),
        };
        about(&answer.out_trade_no, out_trade_no)?;
        if answer.fund_change.as_deref() == Some("Y") {
            return Ok(RefundState::Done.into());
        }
        self.query_refund(&request.numbers).await
    }

    /// Asks about a refund. One that is not found was not received, or failed: the same number may be used again.
    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        let (out_trade_no, out_request_no) = (&refund.trade.out_trade_no, &refund.out_refund_no);
        check_number("out_trade_no", out_trade_no)?;
        // Refunds that are made at the provider have numbers of its own making.
        let is_number =
            NUMBER_CHARS.contains(&out_request_no.len()) && out_request_no.bytes().all(|b| b.is_ascii_graphic());
        ensure(is_number, "out_refund_no must have 1 to 64 characters of ASCII")?;
        let content = RefundNumber { out_trade_no, out_request_no };
        let answer: RefundFound = match self.call("alipay.trade.fastpay.refund.query", &content).await {
            Ok(answer) => answer,
            Err(failure) if failure.reason() == Some("TRADE_NOT_EXIST") => return Ok(RefundState::NotFound.into()),
            Err(failure) => return Err(failure.into_error()),
        };
        match answer.refund_status.as_deref().unwrap_or_default() {
            "REFUND_SUCCESS" => {}
            "" => return Ok(RefundState::NotFound.into()),
            _ => return Err(ProviderError::Unknown("refund_status is not one of those documented".into())),
        }
        about(answer.out_trade_no.as_deref().unwrap_or_default(), out_trade_no)?;
        about(answer.out_request_no.as_deref().unwrap_or_default(), out_request_no)?;
        let amount_minor = match answer.refund_amount.as_deref().map(fen) {
            Some(None) => return Err(ProviderError::Unknown("refund_amount is not yuan with two decimals".into())),
            told => told.flatten(),
        };
        Ok(RefundAnswer { amount_minor, ..RefundState::Done.into() })
    }

    /// The bill is not read yet ([`Profile::has_statements`]).
    async fn statement(&self, _day: i64) -> Result<Statement, ProviderError> {
        Err(not_sent("bills are not read yet"))
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _wall_ms: i64) -> Result<VerifiedCallback, CallbackError> {
        callback::verify(&self.account, raw)
    }
}
