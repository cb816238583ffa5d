//! The page a payer sees after the merchant sent the browser to `h5_url`, or after a scan of a `code_url`: what is to be
//! paid and to whom, and a plain form to approve or decline. It works without JavaScript, and says plainly that no money
//! moves.

use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;

use crate::wechat::Provider;
use crate::wechat::book::OrderState;
use crate::wechat::requests::TradeKind;
use crate::wechat::trades::{self, PayError};

pub(crate) const MAX_FORM_BYTES: usize = 16 * 1024;
const STYLE: &str = include_str!("page.css");

/// How every `code_url` begins.
const CODE_URL: &str = "weixin://wxpay/bizpayurl?pr=";
/// How every prepay number begins; a `code_url` has the rest of it.
const PREPAY: &str = "wx";

#[derive(Deserialize)]
struct Link {
    prepay_id: String,
    /// Where the merchant wants the browser back; the merchant appends it to `h5_url`.
    redirect_url: Option<String>,
}

#[derive(Deserialize)]
struct Scan {
    /// The text of the QR code.
    code: Option<String>,
}

struct Decision {
    prepay_id: String,
    redirect_url: Option<String>,
    decision: String,
}

/// The text for a QR code that leads to an order.
pub(crate) fn code_url(prepay_id: &str) -> String {
    format!("{CODE_URL}{}", prepay_id.strip_prefix(PREPAY).unwrap_or(prepay_id))
}

/// Where the pages of an order's kind are.
fn place(kind: TradeKind) -> &'static str {
    match kind {
        TradeKind::H5 => "/h5/pay",
        TradeKind::Native => "/native/scan",
        // It is paid over the bridge, on the merchant's own page.
        TradeKind::Jsapi => "/",
    }
}

/// Shows the page, or takes the payer's decision.
pub(crate) async fn answer(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    if request.header(header::USER_AGENT).is_some_and(|agent| agent.contains("MicroMessenger")) {
        // H5 payment is for browsers outside WeChat; inside, WeChat Pay refuses it as well.
        let (zh, en) = ("请在微信外打开订单", "Open this page outside WeChat to pay.");
        return Ok(notice(StatusCode::FORBIDDEN, zh, en, None));
    }
    if *request.method() == Method::GET {
        return Ok(match request.params::<Link>() {
            Ok(link) => show(&provider, TradeKind::H5, &link.prepay_id, link.redirect_url.as_deref()),
            Err(_) => notice(StatusCode::BAD_REQUEST, "链接不完整", "The link is incomplete.", None),
        });
    }
    take_decision(&provider, TradeKind::H5, request).await
}

/// What stands for the app's scanner: a QR code's text leads to the page of its order.
pub(crate) async fn scan(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    if *request.method() != Method::GET {
        return take_decision(&provider, TradeKind::Native, request).await;
    }
    let Ok(Scan { code: Some(code) }) = request.params::<Scan>() else {
        return Ok(scanner("/native/scan", CODE_URL));
    };
    Ok(match code.trim().strip_prefix(CODE_URL) {
        Some(rest) => show(&provider, TradeKind::Native, &format!("{PREPAY}{rest}"), None),
        None => notice(StatusCode::BAD_REQUEST, "无法识别", "This is no QR code of WeChat Pay.", Some("/native/scan")),
    })
}

/// Stands for an app's scanner: asks for the text of a code, of which it says the beginning.
pub(crate) fn scanner(action: &str, beginning: &str) -> Response {
    let main = format!(
        r#"<h1>扫一扫 <span lang="en">Scan</span></h1>
<form method="get" action="{action}">
<p><label>二维码内容 <span lang="en">The QR code's text</span> <input type="text" name="code" placeholder="{beginning}.." required></label></p>
<button class="yes">打开 <span lang="en">Open</span></button></form>"#
    );
    page(StatusCode::OK, "扫一扫 · Scan", &main)
}

async fn take_decision(provider: &Arc<Provider>, kind: TradeKind, request: Request) -> poem::Result<Response> {
    if *request.method() != Method::POST {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    let (_, body) = request.into_parts();
    let form = body.into_bytes_limit(MAX_FORM_BYTES).await.ok().and_then(|bytes| decision(&bytes));
    Ok(match form {
        Some(form) => decide(provider, kind, &form),
        None => notice(StatusCode::BAD_REQUEST, "表单不完整", "The form is incomplete.", None),
    })
}

/// What stands at the sandbox's root.
#[poem::handler]
pub(crate) fn about() -> Response {
    let main = r#"<h1>支付沙箱</h1>
<p lang="en">A payment provider's sandbox: it answers like WeChat Pay and Alipay, and moves no money.</p>
<a class="yes" href="/console">商户平台 <span lang="en">Merchant console</span></a>
<a class="yes" href="/native/scan">扫一扫 <span lang="en">Scan a QR code</span></a>
<a class="yes" href="/alipay/console">支付宝商家平台 <span lang="en">Alipay merchant console</span></a>
<a class="yes" href="/alipay/scan">支付宝扫一扫 <span lang="en">Scan with Alipay</span></a>"#;
    page(StatusCode::OK, "支付沙箱", main)
}

fn decision(bytes: &[u8]) -> Option<Decision> {
    let text = std::str::from_utf8(bytes).ok()?;
    let form = reqwest::Url::parse(&format!("http://form/?{text}")).ok()?;
    let field = |name: &str| form.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    Some(Decision { prepay_id: field("prepay_id")?, redirect_url: field("redirect_url"), decision: field("decision")? })
}

fn show(provider: &Provider, kind: TradeKind, prepay_id: &str, redirect_url: Option<&str>) -> Response {
    let back = redirect_url.and_then(web_address);
    let order = provider.book().order_of_prepay(prepay_id).cloned();
    let Some(order) = order.filter(|order| order.kind == kind) else {
        return refusal(PayError::NotFound, back.as_deref());
    };
    let now_ms = provider.now_ms();
    if matches!(order.state, OrderState::Paid(_)) {
        return refusal(PayError::AlreadyPaid, back.as_deref());
    }
    if order.is_closed(now_ms) {
        return refusal(PayError::Closed, back.as_deref());
    }
    if !order.prepay_is_fresh(prepay_id, now_ms) {
        return refusal(PayError::LinkExpired, back.as_deref());
    }
    let fen = order.request.amount.total;
    let hidden_back = back.as_deref().map_or_else(String::new, |back| {
        format!(r#"<input type="hidden" name="redirect_url" value="{}">"#, escape(back))
    });
    let main = format!(
        r#"<h1 class="to">付款给商户 <span lang="en">Pay to merchant</span> <b>{mchid}</b></h1>
<p class="what">{what}</p>
<p class="sum"><small>¥</small>{yuan}.{cents:02}</p>
<form method="post" action="{place}">
<input type="hidden" name="prepay_id" value="{prepay}">{hidden_back}
<button class="yes" name="decision" value="approve">确认支付 <span lang="en">Approve</span></button>
<button class="no" name="decision" value="decline">取消 <span lang="en">Cancel</span></button>
</form>
<p class="number">{number}</p>"#,
        mchid = escape(order.payee()),
        what = escape(&order.request.description),
        yuan = fen / 100,
        cents = fen % 100,
        place = place(kind),
        prepay = escape(prepay_id),
        number = escape(&order.request.out_trade_no),
    );
    page(StatusCode::OK, "支付 · Pay", &main)
}

fn decide(provider: &Arc<Provider>, kind: TradeKind, form: &Decision) -> Response {
    let back = form.redirect_url.as_deref().and_then(web_address);
    let found = {
        let book = provider.book();
        book.order_of_prepay(&form.prepay_id)
            .filter(|order| order.kind == kind)
            .map(|order| (order.key(), order.prepay_is_fresh(&form.prepay_id, provider.now_ms())))
    };
    let decided = match (found, form.decision.as_str()) {
        (None, _) => Err(PayError::NotFound),
        (Some((_, false)), _) => Err(PayError::LinkExpired),
        (Some((key, true)), "approve") => provider.pay(&key),
        (Some((key, true)), "decline") => trades::decline(&mut provider.book(), &key, provider.now_ms()),
        _ => return notice(StatusCode::BAD_REQUEST, "表单不完整", "The form is incomplete.", back.as_deref()),
    };
    match (decided, back) {
        (Ok(()), Some(back)) => {
            Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, back).finish()
        }
        (Ok(()), None) if form.decision == "approve" => {
            notice(StatusCode::OK, "支付成功", "Paid. You may close this page.", None)
        }
        (Ok(()), None) => notice(StatusCode::OK, "已取消", "Cancelled. You may close this page.", None),
        (Err(error), back) => refusal(error, back.as_deref()),
    }
}

pub(crate) fn refusal(error: PayError, back: Option<&str>) -> Response {
    let (status, zh, en) = match error {
        PayError::NotFound => (StatusCode::NOT_FOUND, "没有这笔订单", "There is no such order."),
        PayError::AlreadyPaid => (StatusCode::OK, "订单已支付", "This order is paid already."),
        PayError::Closed => (StatusCode::GONE, "订单已关闭", "This order is closed."),
        PayError::LinkExpired => {
            (StatusCode::GONE, "支付链接已过期", "This payment link has expired; go back and try again.")
        }
        PayError::Provider => (StatusCode::INTERNAL_SERVER_ERROR, "系统异常", "Something went wrong; try again."),
    };
    notice(status, zh, en, back)
}

pub(crate) fn notice(status: StatusCode, zh: &str, en: &str, back: Option<&str>) -> Response {
    let back = back.map_or_else(String::new, |back| {
        format!(r#"<a class="yes" href="{}">返回商户 <span lang="en">Back</span></a>"#, escape(back))
    });
    let main = format!(r#"<h1>{zh}</h1><p lang="en">{en}</p>{back}"#, zh = escape(zh), en = escape(en));
    page(status, zh, &main)
}

pub(crate) fn page(status: StatusCode, title: &str, main: &str) -> Response {
    let html = format!(
        r#"<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · 沙箱 Sandbox</title><style>{STYLE}</style></head>
<body><header>支付沙箱 <span lang="en">Payment sandbox</span></header>
<main>{main}</main>
<footer>测试环境,不会扣款 <span lang="en">A test environment: no money moves.</span></footer></body></html>"#
    );
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        )
        .body(html)
}

/// The address, if a browser may be sent there: http or https, whole.
pub(crate) fn web_address(address: &str) -> Option<String> {
    let url = reqwest::Url::parse(address).ok()?;
    ["http", "https"].contains(&url.scheme()).then(|| url.to_string())
}

pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}
