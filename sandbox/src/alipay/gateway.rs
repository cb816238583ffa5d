//! `/gateway.do`: who calls, what is asked, and an answer with Alipay's signature.

use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::{Value, json};

use crate::alipay::book::{State, Trade};
use crate::alipay::errors::ApiError;
use crate::alipay::form::{self, Parameters};
use crate::alipay::requests::{Order, OrderRequest, RefundQuery, RefundRequest, TradeRequest, decode, yuan};
use crate::alipay::{Alipay, identity, page, trades};
use crate::clock::{china_moment_of, china_text};
use crate::faults::Fault;

/// The product that `alipay.trade.create` is for here, and that is paid by the bridge alone.
pub(crate) const JSAPI_PAY: &str = "JSAPI_PAY";
const MAX_BODY_BYTES: usize = 64 * 1024;
const WAP: &str = "alipay.trade.wap.pay";
const OAUTH: &str = "alipay.system.oauth.token";
const CREATE: &str = "alipay.trade.create";
const PRECREATE: &str = "alipay.trade.precreate";
const QUERY: &str = "alipay.trade.query";
const CLOSE: &str = "alipay.trade.close";
const REFUND: &str = "alipay.trade.refund";
const REFUND_QUERY: &str = "alipay.trade.fastpay.refund.query";
const METHODS: [&str; 8] = [OAUTH, WAP, CREATE, PRECREATE, QUERY, CLOSE, REFUND, REFUND_QUERY];
/// Parameters that every call must have, and what is said without; [`OAUTH`] has no content.
const REQUIRED: [(&str, &str); 7] = [
    ("app_id", "isv.missing-app-id"),
    ("charset", "isv.missing-charset"),
    ("sign_type", "isv.missing-signature-type"),
    ("sign", "isv.missing-signature"),
    ("timestamp", "isv.missing-timestamp"),
    ("version", "isv.missing-version"),
    ("biz_content", "isv.missing-parameter"),
];

/// What a call comes to.
enum Outcome {
    Content(Value),
    /// Done, and never answered.
    Silence,
}

/// Answers one call, or shows the page that a browser came for.
pub(crate) async fn answer(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    let (parts, body) = request.into_parts();
    let is_form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let body = match parts.method {
        Method::GET => String::new(),
        Method::POST if is_form => body.into_bytes_limit(MAX_BODY_BYTES).await.map_or_else(
            |_| String::from("="),
            // What is no UTF-8 is no form either.
            |bytes| String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| String::from("=&=")),
        ),
        Method::POST => String::new(),
        _ => return Ok(StatusCode::METHOD_NOT_ALLOWED.into()),
    };
    let Some(parameters) = form::joined(parts.uri.query().unwrap_or_default(), &body) else {
        let why = "the parameters are malformed, or one of them comes twice";
        return Ok(alipay.unsigned(&ApiError::parameter(why)));
    };
    let method = parameters.get("method").map_or("", String::as_str);
    let subject = format!("{method} {}", parameters.get("biz_content").map_or("", String::as_str));
    alipay.calls.add(subject.clone());
    if method == WAP {
        let order = check(&alipay, &parameters).and_then(|()| order(&alipay, &parameters, "QUICK_WAP_WAY"));
        let offered = order.and_then(|order| trades::offer(&mut alipay.book(), order, alipay.now_ms()));
        return Ok(page::opened(&alipay, offered));
    }
    if alipay.faults.is_hit_this_time(Fault::BadGateway, &subject) {
        let page = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>";
        return Ok(Response::builder().status(StatusCode::BAD_GATEWAY).content_type("text/html").body(page));
    }
    if let Err(error) = check_method(method) {
        return Ok(alipay.unsigned(&error));
    }
    if method == OAUTH && alipay.faults.is_hit_this_time(Fault::OauthDelay, &subject) {
        alipay.wait(alipay.faults.delay(&subject)).await;
    }
    let outcome = match check(&alipay, &parameters) {
        Ok(()) => dispatch(&alipay, method, &parameters, &subject),
        Err(error) => Err(error),
    };
    if alipay.faults.is_hit_this_time(Fault::SlowAnswer, &subject) {
        alipay.wait(alipay.faults.delay(&subject)).await;
    }
    Ok(match outcome {
        Ok(Outcome::Content(mut content)) => {
            // The one answer that says nothing of how it went.
            if method != OAUTH {
                content["code"] = json!("10000");
                content["msg"] = json!("Success");
            }
            let forged = alipay.faults.is_hit_this_time(Fault::ForgedAnswer, &subject);
            alipay.signed(&node_of(method), &content, forged)
        }
        Ok(Outcome::Silence) => {
            alipay.wait(alipay.faults.answer_hold()).await;
            StatusCode::GATEWAY_TIMEOUT.into()
        }
        // Codes are refused by the gateway itself, which signs that.
        Err(error) if method == OAUTH => alipay.signed("error_response", &error.content(), false),
        Err(error) => alipay.signed(&node_of(method), &error.content(), false),
    })
}

/// The member that answers a method.
fn node_of(method: &str) -> String {
    format!("{}_response", method.replace('.', "_"))
}

fn check_method(method: &str) -> Result<(), ApiError> {
    match method {
        "" => Err(ApiError::missing("isv.missing-method")),
        known if METHODS.contains(&known) => Ok(()),
        _ => Err(ApiError::invalid("isv.invalid-method", "不存在的方法名 (this sandbox has no such method)")),
    }
}

/// What holds of every call, its signature included.
fn check(alipay: &Alipay, parameters: &Parameters) -> Result<(), ApiError> {
    let given = |name: &str| parameters.get(name).map_or("", String::as_str);
    for (name, sub_code) in REQUIRED {
        let is_needed = name != "biz_content" || given("method") != OAUTH;
        if is_needed && given(name).is_empty() {
            return Err(ApiError::missing(sub_code));
        }
    }
    if given("app_id") != alipay.account.app_id() {
        return Err(ApiError::invalid("isv.invalid-app-id", "无效的AppID参数"));
    }
    check_certificates(alipay, given("app_cert_sn"), given("alipay_root_cert_sn"))?;
    if !given("charset").eq_ignore_ascii_case("utf-8") {
        return Err(ApiError::invalid("isv.invalid-charset", "字符集错误 (this sandbox takes utf-8 only)"));
    }
    if given("sign_type") != "RSA2" {
        return Err(ApiError::invalid("isv.invalid-signature-type", "无效的签名类型 (RSA2 is the app's)"));
    }
    if !["", "JSON"].contains(&given("format")) {
        return Err(ApiError::invalid("isv.invalid-format", "无效的数据格式"));
    }
    if given("version") != "1.0" {
        return Err(ApiError::parameter("version is 1.0"));
    }
    if china_moment_of(given("timestamp")).is_none() {
        return Err(ApiError::invalid("isv.invalid-timestamp", "非法的时间戳参数"));
    }
    let message = form::request_text(parameters);
    let verified = alipay.account.app_verifier.verify(message.as_bytes(), given("sign"));
    verified.map_err(|_| {
        let why = format!("验签出错, 请检查签名 (the text to sign was: {message})");
        ApiError::invalid("isv.invalid-signature", why)
    })
}

/// An app in certificate mode names its own certificate and the roots it knows; another one has none to name.
fn check_certificates(alipay: &Alipay, app: &str, root: &str) -> Result<(), ApiError> {
    let (known_app, known_root) = match alipay.account.certificates() {
        Some(_) if app.is_empty() => {
            return Err(ApiError::invalid("isv.missing-app-cert-sn", "缺少应用公钥证书序列号"));
        }
        Some(_) if root.is_empty() => {
            return Err(ApiError::invalid("isv.missing-alipay-root-cert-sn", "缺少支付宝根证书序列号"));
        }
        Some(known) => (known.app.as_str(), known.root.as_str()),
        None => ("", ""),
    };
    if app != known_app {
        return Err(ApiError::invalid("isv.app-cert-not-exist", "应用公钥证书不存在 (app_cert_sn is not the app's)"));
    }
    if root != known_root {
        return Err(ApiError::invalid("isv.invalid-alipay-root-cert-sn", "支付宝根证书序列号无效"));
    }
    Ok(())
}

fn order(alipay: &Alipay, parameters: &Parameters, product_code: &str) -> Result<Order, ApiError> {
    checked(alipay, parameters, product_code, decode(content(parameters))?)
}

fn checked(
    alipay: &Alipay,
    parameters: &Parameters,
    product_code: &str,
    request: OrderRequest,
) -> Result<Order, ApiError> {
    let given = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
    request.check(product_code, alipay.account.seller_id(), given("notify_url"), given("return_url"), alipay.now_ms())
}

/// A trade for a buyer who is known, to be paid within the app.
fn create(alipay: &Alipay, parameters: &Parameters) -> Result<Outcome, ApiError> {
    let mut request: OrderRequest = decode(content(parameters))?;
    let buyer = request.take_buyer();
    let order = checked(alipay, parameters, JSAPI_PAY, request)?;
    let number = order.out_trade_no.clone();
    let trade_no = {
        let mut book = alipay.book();
        let buyer = buyer.find(alipay.account.op_app_id(), book.persons.values())?.clone();
        trades::create(&mut book, order, &buyer, alipay.now_ms())?
    };
    if alipay.faults.is_hit_this_time(Fault::CreateTimeout, &number) {
        return Ok(Outcome::Silence);
    }
    Ok(Outcome::Content(json!({"out_trade_no": number, "trade_no": trade_no})))
}

fn content(parameters: &Parameters) -> &str {
    parameters.get("biz_content").map_or("", String::as_str)
}

fn dispatch(alipay: &Arc<Alipay>, method: &str, parameters: &Parameters, subject: &str) -> Result<Outcome, ApiError> {
    if alipay.faults.is_hit_this_time(Fault::FrequencyLimited, subject) {
        return Err(ApiError::limited());
    }
    if alipay.faults.is_hit_this_time(Fault::SystemError, subject) {
        return Err(ApiError::system());
    }
    let content = content(parameters);
    match method {
        OAUTH => {
            if alipay.faults.is_hit_this_time(Fault::OauthBusy, subject) {
                return Err(ApiError::system());
            }
            let told = identity::exchanged(alipay, parameters)?;
            let is_lost = alipay.faults.is_hit_this_time(Fault::OauthTimeout, subject);
            Ok(if is_lost { Outcome::Silence } else { Outcome::Content(told) })
        }
        CREATE => create(alipay, parameters),
        PRECREATE => {
            let order = order(alipay, parameters, "FACE_TO_FACE_PAYMENT")?;
            let number = order.out_trade_no.clone();
            let code = trades::offer(&mut alipay.book(), order, alipay.now_ms())?;
            if alipay.faults.is_hit_this_time(Fault::CreateTimeout, &number) {
                return Ok(Outcome::Silence);
            }
            Ok(Outcome::Content(json!({"out_trade_no": number, "qr_code": page::qr_code(&code)})))
        }
        QUERY => {
            let named: TradeRequest = decode(content)?;
            let trade = trades::find(&alipay.book(), &named)?;
            Ok(Outcome::Content(queried(&trade, alipay.now_ms())))
        }
        CLOSE => {
            let named: TradeRequest = decode(content)?;
            let number = named.out_trade_no.clone().unwrap_or_default();
            if alipay.faults.is_hit(Fault::PaidBeforeClose, &number) {
                // One that cannot be paid is closed below.
                let _ = alipay.pay(&number);
            }
            if alipay.faults.is_hit_this_time(Fault::CloseBusy, &number) {
                return Err(ApiError::business("ACQ.TRADE_STATUS_ERROR", "交易状态不合法 (the payer is paying)"));
            }
            let trade = trades::close(&mut alipay.book(), &named, alipay.now_ms())?;
            Ok(Outcome::Content(json!({"out_trade_no": trade.order.out_trade_no, "trade_no": trade.trade_no})))
        }
        REFUND => refund(alipay, &decode(content)?),
        REFUND_QUERY => {
            let RefundQuery { out_trade_no, trade_no, out_request_no } = decode(content)?;
            let trade = trades::find(&alipay.book(), &TradeRequest { out_trade_no, trade_no })?;
            let refund = trade.refunds.iter().find(|refund| refund.out_request_no == out_request_no);
            Ok(Outcome::Content(refund.map_or_else(
                // Of a refund that was not made it says nothing at all.
                || json!({}),
                |refund| {
                    json!({
                        "out_trade_no": trade.order.out_trade_no,
                        "trade_no": trade.trade_no,
                        "out_request_no": refund.out_request_no,
                        "total_amount": yuan(trade.order.total_fen),
                        "refund_amount": yuan(refund.fen),
                        "refund_status": "REFUND_SUCCESS",
                    })
                },
            )))
        }
        _ => Err(ApiError::invalid("isv.invalid-method", "不存在的方法名")),
    }
}

fn refund(alipay: &Arc<Alipay>, request: &RefundRequest) -> Result<Outcome, ApiError> {
    // A merchant's retry may come under another number, so the order's is what a seed goes by.
    let is_short = |trade: &Trade| alipay.faults.is_hit_this_time(Fault::NotEnough, &trade.order.out_trade_no);
    let refunded = {
        let content = |trade: &Trade, refund: Option<&_>| alipay.content(trade, refund);
        trades::refund(&mut alipay.book(), request, &is_short, &content, alipay.now_ms())?
    };
    alipay.launch(refunded.notice);
    let trade = refunded.trade;
    let number = request.out_request_no.as_deref().unwrap_or(&trade.order.out_trade_no);
    if refunded.is_new && alipay.faults.is_hit(Fault::RefundTimeout, number) {
        return Ok(Outcome::Silence);
    }
    Ok(Outcome::Content(json!({
        "out_trade_no": trade.order.out_trade_no,
        "trade_no": trade.trade_no,
        "buyer_logon_id": "159****5620",
        "buyer_user_id": trade.buyer_id,
        "fund_change": if refunded.is_new { "Y" } else { "N" },
        // Of all refunds of the trade together.
        "refund_fee": yuan(trade.refunded_fen()),
    })))
}

fn queried(trade: &Trade, now_ms: i64) -> Value {
    let state = trade.state(now_ms);
    let mut content = json!({
        "out_trade_no": trade.order.out_trade_no,
        "trade_no": trade.trade_no,
        "trade_status": state.as_str(),
        "total_amount": yuan(trade.order.total_fen),
        "buyer_logon_id": "159****5620",
        "buyer_user_id": trade.buyer_id,
        // Of paid trades too, as in life.
        "buyer_pay_amount": "0.00",
        "receipt_amount": "0.00",
        "invoice_amount": "0.00",
        "point_amount": "0.00",
        "a_field_of_next_year": "https://example.com/?a=1&b=100% + \"}",
    });
    if let (Some(payment), State::Success | State::Finished | State::Closed) = (&trade.payment, state) {
        content["send_pay_date"] = json!(china_text(payment.paid_ms));
    }
    content
}

impl Alipay {
    /// A refusal for which there is no method: the gateway does not sign those.
    fn unsigned(&self, error: &ApiError) -> Response {
        text(json!({"error_response": error.content()}).to_string())
    }

    /// An answer with a signature over its content as it stands in the text.
    fn signed(&self, node: &str, content: &Value, forged: bool) -> Response {
        // Alipay escapes slashes, which JSON allows: whoever writes the content anew has another text than was signed.
        let content = content.to_string().replace('/', "\\/");
        let signer = if forged { &self.account.other_signer } else { self.account.alipay_signer() };
        match signer.sign(content.as_bytes()) {
            Ok(sign) => {
                let sign = sign.replace('/', "\\/");
                let certificate = self.account.alipay_certificate();
                let certificate =
                    certificate.map_or_else(String::new, |number| format!(r#","alipay_cert_sn":"{number}""#));
                text(format!(r#"{{"{node}":{content}{certificate},"sign":"{sign}"}}"#))
            }
            Err(_) => self.unsigned(&ApiError::system()),
        }
    }
}

fn text(body: String) -> Response {
    Response::builder().content_type("text/html;charset=utf-8").body(body)
}
