//! The API's endpoints: who calls, what is asked, and an answer with the provider's signature.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use poem::{Request, Response};
use serde_json::{Value, json};

use crate::clock::china_rfc3339;
use crate::crypto::{self, AEAD_NONCE_LEN, ALPHANUMERIC, Signer};
use crate::faults::Fault;
use crate::wechat::account::Account;
use crate::wechat::authorization::{Authorization, SignedRequest};
use crate::wechat::book::{Book, Key, Order, RefundStatus};
use crate::wechat::errors::ApiError;
use crate::wechat::requests::{CloseRequest, CreateRequest, RefundRequest, SubMerchant, TradeKind, decode};
use crate::wechat::trades::{self, RefundPlan};
use crate::wechat::{Provider, REFUND_SETTLES_MS, answers, bill, page, partner};

const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_USER_AGENT_LEN: usize = 1024;
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

/// What a call comes to.
pub(super) enum Outcome {
    Json(Value),
    NoContent,
    /// A bill, which the provider does not sign.
    File(Vec<u8>),
    /// Done, and never answered.
    Silence,
}

/// One call, taken apart.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// The path's parts after `/v3/`, decoded.
    path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: &'a [u8],
}

/// Answers one call of the API.
pub(crate) async fn answer(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.into_bytes_limit(MAX_BODY_BYTES).await else {
        return Ok(unsigned_error(&ApiError::param("the body could not be read, or has more than 64 KiB")));
    };
    let path_and_query = parts.uri.path_and_query().map_or("/", |both| both.as_str());
    let signed = SignedRequest { method: parts.method.as_str(), path_and_query, body: &body };
    let account = match authenticate(&provider, &parts.headers, &signed) {
        Ok(account) => account,
        Err(error) => return Ok(unsigned_error(&error)),
    };
    provider.calls.add(format!("{} {}", parts.method, parts.uri.path()));
    let subject = format!("{} {path_and_query} {}", parts.method, String::from_utf8_lossy(&body));
    if provider.faults.is_hit_this_time(Fault::BadGateway, &subject) {
        let page = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>";
        return Ok(Response::builder().status(StatusCode::BAD_GATEWAY).content_type("text/html").body(page));
    }
    let (serial, signer) = match response_key(account, &parts.headers) {
        Ok(key) => key,
        Err(error) => return Ok(unsigned_error(&error)),
    };
    let outcome = match Call::new(&parts, &body) {
        Ok(call) => dispatch(&provider, account, &call, &subject).await,
        Err(error) => Err(error),
    };
    if provider.faults.is_hit_this_time(Fault::SlowAnswer, &subject) {
        provider.wait(provider.faults.delay(&subject)).await;
    }
    let (status, body) = match outcome {
        Ok(Outcome::Json(value)) => (StatusCode::OK, value.to_string()),
        Ok(Outcome::NoContent) => (StatusCode::NO_CONTENT, String::new()),
        Ok(Outcome::File(bytes)) => {
            return Ok(Response::builder().content_type("application/octet-stream").body(bytes));
        }
        Ok(Outcome::Silence) => {
            provider.wait(provider.faults.answer_hold()).await;
            return Ok(StatusCode::GATEWAY_TIMEOUT.into());
        }
        Err(error) => (status_of(&error), error_body(&error)),
    };
    let forged = status.is_success() && provider.faults.is_hit_this_time(Fault::ForgedAnswer, &subject);
    Ok(signed_answer(status, body, (serial, signer), forged, provider.now_ms()))
}

fn authenticate<'a>(
    provider: &'a Provider,
    headers: &poem::http::HeaderMap,
    signed: &SignedRequest<'_>,
) -> Result<&'a Account, ApiError> {
    let header = single(headers, &AUTHORIZATION)?
        .ok_or_else(|| ApiError::sign("Http头缺少Authorization (there is no Authorization header)"))?;
    let authorization = Authorization::parse(header)?;
    let account = provider
        .account_of(authorization.mchid)
        .ok_or_else(|| ApiError::sign("商户号不存在 (there is no merchant with this mchid)"))?;
    if authorization.serial_no != account.merchant_serial() {
        return Err(ApiError::sign("商户证书序列号有误 (serial_no is not the merchant's API certificate)"));
    }
    authorization.verify(&account.merchant_verifier, signed, &provider.nonces, provider.now_ms() / 1000)?;
    check_headers(headers, signed)?;
    Ok(account)
}

/// What API v3 asks of every request beside its signature.
fn check_headers(headers: &poem::http::HeaderMap, signed: &SignedRequest<'_>) -> Result<(), ApiError> {
    match single(headers, &USER_AGENT)? {
        Some(agent) if !agent.is_empty() && agent.len() <= MAX_USER_AGENT_LEN => {}
        _ => return Err(ApiError::invalid("Http头缺少User-Agent (there is no User-Agent header)")),
    }
    let accept = single(headers, &ACCEPT)?.unwrap_or_default();
    if !accept.contains("application/json") && !accept.contains("*/*") {
        return Err(ApiError::invalid("Http头Accept必须为application/json (Accept must be application/json)"));
    }
    let content_type = single(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !signed.body.is_empty() && media_type != "application/json" {
        return Err(ApiError::invalid("Content-Type必须为application/json (Content-Type must be application/json)"));
    }
    Ok(())
}

fn single<'a>(headers: &'a poem::http::HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::invalid(format!("the header {name} is sent twice")));
    }
    first
        .map(|value| value.to_str().map_err(|_| ApiError::invalid(format!("the header {name} is not ASCII text"))))
        .transpose()
}

/// The platform key that signs the answer: the one the merchant names, or the present one.
fn response_key<'a>(account: &'a Account, headers: &poem::http::HeaderMap) -> Result<(&'a str, &'a Signer), ApiError> {
    match single(headers, &HeaderName::from_static("wechatpay-serial"))? {
        None => Ok(account.signing_key()),
        Some(name) => account.platform_key(name).ok_or_else(|| {
            ApiError::param("平台证书序列号Wechatpay-Serial错误 (Wechatpay-Serial names no key of the platform)")
        }),
    }
}

impl<'a> Call<'a> {
    fn new(parts: &'a poem::RequestParts, body: &'a [u8]) -> Result<Self, ApiError> {
        let url = reqwest::Url::parse("http://provider")
            .and_then(|base| base.join(parts.uri.path_and_query().map_or("/", |both| both.as_str())))
            .map_err(|_| ApiError::invalid("the address is malformed"))?;
        let path = url.path().trim_start_matches("/v3/").split('/').map(decode_percent).collect::<Option<_>>();
        Ok(Self {
            method: parts.method.as_str(),
            path: path.ok_or_else(|| ApiError::invalid("the address is malformed"))?,
            query: url.query_pairs().into_owned().collect(),
            body,
        })
    }

    /// The query's only parameter.
    fn only_parameter(&self, name: &str) -> Result<&str, ApiError> {
        match self.query.as_slice() {
            [(found, value)] if found == name => Ok(value),
            _ => Err(ApiError::param(format!("the query must hold {name} and nothing else"))),
        }
    }

    pub(super) fn no_parameters(&self) -> Result<(), ApiError> {
        if self.query.is_empty() { Ok(()) } else { Err(ApiError::param("there must be no query")) }
    }

    pub(super) fn no_body(&self) -> Result<(), ApiError> {
        if self.body.is_empty() { Ok(()) } else { Err(ApiError::param("there must be no body")) }
    }
}

fn decode_percent(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

async fn dispatch(
    provider: &Arc<Provider>,
    account: &Account,
    call: &Call<'_>,
    subject: &str,
) -> Result<Outcome, ApiError> {
    if provider.faults.is_hit_this_time(Fault::FrequencyLimited, subject) {
        return Err(ApiError::frequency_limited());
    }
    if provider.faults.is_hit_this_time(Fault::SystemError, subject) {
        return Err(ApiError::system("系统异常,请稍后重试 (try again later)"));
    }
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (call.method, path.as_slice()) {
        ("POST", ["pay", "transactions", "h5"]) => create(provider, account, call, TradeKind::H5).await,
        ("POST", ["pay", "transactions", "native"]) => create(provider, account, call, TradeKind::Native).await,
        ("POST", ["pay", "transactions", "jsapi"]) => create(provider, account, call, TradeKind::Jsapi).await,
        ("GET", ["pay", "transactions", "out-trade-no", number]) => {
            let book = provider.book();
            let order = book.orders.get(&(account.mchid().to_owned(), (*number).to_owned()));
            query(provider, account, call, order, &book)
        }
        ("GET", ["pay", "transactions", "id", number]) => {
            let book = provider.book();
            let order = book.order_of_transaction(number).filter(|order| order.request.mchid == account.mchid());
            query(provider, account, call, order, &book)
        }
        ("POST", ["pay", "transactions", "out-trade-no", number, "close"]) => {
            call.no_parameters()?;
            let request: CloseRequest = decode(call.body)?;
            same_merchant(account, &request.mchid)?;
            close(provider, &(request.mchid, (*number).to_owned()), None)
        }
        (_, ["pay", "partner", "transactions", rest @ ..]) => partner::dispatch(provider, account, call, rest).await,
        ("POST", ["refund", "domestic", "refunds"]) => refund(provider, account, call),
        ("GET", ["refund", "domestic", "refunds", number]) => {
            call.no_body()?;
            let sub_mchid = match call.query.as_slice() {
                [] => None,
                _ => Some(call.only_parameter("sub_mchid")?),
            };
            sub_mchid.map_or(Ok(()), |sub_mchid| provider.check_sub_merchant(sub_mchid))?;
            refund_answer(provider, account, number, sub_mchid)
        }
        ("GET", ["certificates"]) => {
            call.no_parameters()?;
            call.no_body()?;
            certificates(account, provider.now_ms())
        }
        ("GET", ["bill", "tradebill"]) => {
            call.no_body()?;
            let wanted = bill::BillQuery::from_query(&call.query)?;
            bill::offer(&provider.book(), account.mchid(), wanted, &provider.base_url, provider.now_ms())
                .map(Outcome::Json)
        }
        ("GET", ["billdownload", "file"]) => {
            call.no_body()?;
            let token = call.only_parameter("token")?;
            bill::file(&provider.book(), account.mchid(), token, provider.now_ms()).map(Outcome::File)
        }
        _ => Err(ApiError::not_exists("there is no such interface in this sandbox")),
    }
}

pub(super) fn same_merchant(account: &Account, mchid: &str) -> Result<(), ApiError> {
    if mchid == account.mchid() {
        Ok(())
    } else {
        Err(ApiError::param("mchid与签名的商户号不一致 (mchid is not the merchant that signed)"))
    }
}

async fn create(
    provider: &Arc<Provider>,
    account: &Account,
    call: &Call<'_>,
    kind: TradeKind,
) -> Result<Outcome, ApiError> {
    call.no_parameters()?;
    make_order(provider, account, kind, decode(call.body)?, None).await
}

/// Makes an order, or answers again for the same one.
pub(super) async fn make_order(
    provider: &Arc<Provider>,
    account: &Account,
    kind: TradeKind,
    request: CreateRequest,
    sub: Option<SubMerchant>,
) -> Result<Outcome, ApiError> {
    same_merchant(account, &request.mchid)?;
    request.check(kind)?;
    let key = (request.mchid.clone(), request.out_trade_no.clone());
    let prepay_id = trades::create(&mut provider.book(), account.appid(), kind, request, sub, provider.now_ms())?;
    if provider.faults.is_hit(Fault::CallbackBeforeCreateResponse, &key.1)
        && let Ok(id) = provider.record_payment(&key)
    {
        provider.deliver_once(&id).await;
        provider.launch(id);
    }
    if provider.faults.is_hit_this_time(Fault::CreateTimeout, &key.1) {
        return Ok(Outcome::Silence);
    }
    Ok(Outcome::Json(match kind {
        TradeKind::H5 => json!({"h5_url": format!("{}/h5/pay?prepay_id={prepay_id}", provider.public_url)}),
        TradeKind::Native => json!({"code_url": page::code_url(&prepay_id)}),
        TradeKind::Jsapi => json!({"prepay_id": prepay_id}),
    }))
}

/// Closes an order, unless the payer is faster or is just at it.
pub(super) fn close(provider: &Arc<Provider>, key: &Key, sub_mchid: Option<&str>) -> Result<Outcome, ApiError> {
    if provider.faults.is_hit(Fault::PaidBeforeClose, &key.1) {
        // One that cannot be paid is closed below.
        let _ = provider.pay(key);
    }
    if provider.faults.is_hit_this_time(Fault::CloseBusy, &key.1) {
        return Err(ApiError::user_paying());
    }
    trades::close(&mut provider.book(), key, sub_mchid)?;
    Ok(Outcome::NoContent)
}

fn query(
    provider: &Provider,
    account: &Account,
    call: &Call<'_>,
    order: Option<&Order>,
    book: &Book,
) -> Result<Outcome, ApiError> {
    call.no_body()?;
    same_merchant(account, call.only_parameter("mchid")?)?;
    query_answer(provider, order.filter(|order| order.sub.is_none()), book)
}

pub(super) fn query_answer(provider: &Provider, order: Option<&Order>, book: &Book) -> Result<Outcome, ApiError> {
    let order = order.ok_or_else(ApiError::order_not_exist)?;
    let refunded = trades::refunded_fen(book, order) > 0;
    Ok(Outcome::Json(answers::trade(order, refunded, provider.now_ms())))
}

fn refund(provider: &Arc<Provider>, account: &Account, call: &Call<'_>) -> Result<Outcome, ApiError> {
    call.no_parameters()?;
    let request: RefundRequest = decode(call.body)?;
    request.check()?;
    request.sub_mchid.as_deref().map_or(Ok(()), |sub_mchid| provider.check_sub_merchant(sub_mchid))?;
    let (number, sub_mchid) = (request.out_refund_no.clone(), request.sub_mchid.clone());
    let now_ms = provider.now_ms();
    let plan = |order: &Order| {
        // A merchant's retry may come under another number, so the order's is what a seed goes by.
        let subject = &order.request.out_trade_no;
        let faults = &provider.faults;
        RefundPlan {
            not_enough: faults.is_hit_this_time(Fault::NotEnough, subject),
            outcome: if faults.is_hit(Fault::RefundAbnormal, subject) {
                RefundStatus::Abnormal
            } else if faults.is_hit(Fault::RefundClosed, &number) {
                RefundStatus::Closed
            } else {
                RefundStatus::Success
            },
            settles_ms: now_ms + provider.scaled_ms(REFUND_SETTLES_MS),
        }
    };
    let (refund, new) = trades::refund(&mut provider.book(), account.mchid(), request, plan, now_ms)?;
    if new {
        provider.settle_later(refund.key(), refund.settles_ms, refund.outcome);
        if provider.faults.is_hit(Fault::RefundTimeout, &number) {
            return Ok(Outcome::Silence);
        }
    }
    refund_answer(provider, account, &number, sub_mchid.as_deref())
}

fn refund_answer(
    provider: &Provider,
    account: &Account,
    number: &str,
    sub_mchid: Option<&str>,
) -> Result<Outcome, ApiError> {
    let mchid = account.mchid();
    let book = provider.book();
    let refund = book.refunds.get(&(mchid.to_owned(), number.to_owned()));
    let found = refund.filter(|refund| refund.request.sub_mchid.as_deref() == sub_mchid).and_then(|refund| {
        let order = book.orders.get(&(mchid.to_owned(), refund.out_trade_no.clone()))?;
        Some(answers::refund(order, refund))
    });
    found.map(Outcome::Json).ok_or_else(|| ApiError::not_exists("no such refund"))
}

/// The platform certificates, sealed with the API v3 key as callbacks are.
fn certificates(account: &Account, now_ms: i64) -> Result<Outcome, ApiError> {
    let failed = |_| ApiError::system("a certificate could not be sealed");
    let (serial, pem) = account.certificate();
    let nonce = crypto::random_text(ALPHANUMERIC, AEAD_NONCE_LEN).map_err(failed)?;
    let ciphertext = crypto::seal(account.api_v3_key(), &nonce, "certificate", pem.as_bytes()).map_err(failed)?;
    Ok(Outcome::Json(json!({"data": [{
        "serial_no": serial,
        "effective_time": china_rfc3339(now_ms - YEAR_MS / 2),
        "expire_time": china_rfc3339(now_ms + 4 * YEAR_MS),
        "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "associated_data": "certificate",
            "ciphertext": ciphertext,
        },
    }]})))
}

fn status_of(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn error_body(error: &ApiError) -> String {
    json!({"code": error.code, "message": error.message}).to_string()
}

/// An answer to someone who did not prove who he is: the provider does not sign it.
fn unsigned_error(error: &ApiError) -> Response {
    Response::builder().status(status_of(error)).content_type("application/json; charset=utf-8").body(error_body(error))
}

fn signed_answer(
    status: StatusCode,
    body: String,
    (serial, signer): (&str, &Signer),
    forged: bool,
    now_ms: i64,
) -> Response {
    let timestamp = now_ms / 1000;
    let signed = crypto::random_text(ALPHANUMERIC, 32).and_then(|nonce| {
        let what = if forged { "something else" } else { body.as_str() };
        let signature = signer.sign(format!("{timestamp}\n{nonce}\n{what}\n").as_bytes())?;
        Ok((nonce, signature))
    });
    let Ok((nonce, signature)) = signed else {
        return unsigned_error(&ApiError::system("the answer could not be signed"));
    };
    let builder = Response::builder()
        .status(status)
        .header("Request-ID", format!("08{timestamp}-{}", &nonce[..8]))
        .header("Wechatpay-Timestamp", timestamp)
        .header("Wechatpay-Nonce", nonce)
        .header("Wechatpay-Signature", signature)
        .header("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048")
        .header("Wechatpay-Serial", serial);
    if status == StatusCode::NO_CONTENT {
        builder.finish()
    } else {
        builder.content_type("application/json; charset=utf-8").body(body)
    }
}
