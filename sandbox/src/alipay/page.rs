//! What a payer sees: the cashier, to which a browser comes with a signed order or a scanned code, and what stands for the
//! app's scanner. And what stands for the merchant's console, where money is given back past the merchant's own server.

use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};

use crate::alipay::book::{State, Trade};
use crate::alipay::errors::ApiError;
use crate::alipay::form::{self, Parameters};
use crate::alipay::requests::{fen, yuan};
use crate::alipay::{Alipay, trades};
use crate::clock::china_text;
use crate::wechat::page::{MAX_FORM_BYTES, escape, notice, page, refusal, scanner, web_address};
use crate::wechat::trades::PayError;

/// How every code begins.
const QR_CODE: &str = "https://qr.alipay.com/";
/// Orders that the console shows.
const SHOWN: usize = 20;

/// The text for a QR code that leads to an order.
pub(crate) fn qr_code(code: &str) -> String {
    format!("{QR_CODE}{code}")
}

/// The page of an order that a browser brought, or why there is none.
pub(crate) fn opened(alipay: &Alipay, offered: Result<String, ApiError>) -> Response {
    match offered {
        Ok(code) => {
            let found = trades::payable(&alipay.book(), &code, alipay.now_ms());
            found.map_or_else(|error| refusal(error, None), |trade| cashier(&trade, &code))
        }
        Err(error) => notice(StatusCode::BAD_REQUEST, "订单无法打开", &error.sub_msg, None),
    }
}

/// What stands for the app's scanner: a QR code's text leads to the cashier. From the scan on there is a trade.
pub(crate) async fn scan(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    let query = form::decoded(request.uri().query().unwrap_or_default()).unwrap_or_default();
    let Some(text) = query.get("code") else { return Ok(scanner("/alipay/scan", QR_CODE)) };
    let Some(code) = text.trim().strip_prefix(QR_CODE) else {
        let (zh, en) = ("无法识别", "This is no QR code of Alipay.");
        return Ok(notice(StatusCode::BAD_REQUEST, zh, en, Some("/alipay/scan")));
    };
    let mut book = alipay.book();
    let scanned = trades::payable(&book, code, alipay.now_ms()).and_then(|trade| {
        trades::scan(&mut book, &trade, alipay.now_ms())?;
        Ok(cashier(&trade, code))
    });
    Ok(scanned.unwrap_or_else(|error| refusal(error, None)))
}

/// Where a payer goes who does not pay.
fn way_out(trade: &Trade) -> Option<String> {
    let order = &trade.order;
    order.quit_url.as_deref().or(order.return_url.as_deref()).and_then(web_address)
}

fn cashier(trade: &Trade, code: &str) -> Response {
    let leave = way_out(trade).map_or_else(String::new, |back| {
        format!(r#"<p><a id="leave" href="{}">离开 <span lang="en">Leave</span></a></p>"#, escape(&back))
    });
    let main = format!(
        r#"<h1 class="to">支付宝收银台 <span lang="en">Alipay cashier</span></h1>
<p class="what">{what}</p>
<p class="sum"><small>¥</small>{sum}</p>
<form method="post" action="/alipay/cashier">
<input type="hidden" name="code" value="{code}">
<button class="yes" name="decision" value="approve">确认支付 <span lang="en">Approve</span></button>
<button class="no" name="decision" value="decline">取消 <span lang="en">Cancel</span></button>
</form>{leave}
<p class="number">{number}</p>"#,
        what = escape(&trade.order.subject),
        sum = yuan(trade.order.total_fen),
        code = escape(code),
        number = escape(&trade.order.out_trade_no),
    );
    page(StatusCode::OK, "支付 · Pay", &main)
}

/// The form that came, if it is one.
async fn posted(request: Request) -> Option<Parameters> {
    let (_, body) = request.into_parts();
    let bytes = body.into_bytes_limit(MAX_FORM_BYTES).await.ok()?;
    form::decoded(std::str::from_utf8(&bytes).ok()?)
}

/// Takes the payer's decision.
pub(crate) async fn decide(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    if *request.method() != Method::POST {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    let form = posted(request).await.unwrap_or_default();
    let (Some(code), Some(decision)) = (form.get("code"), form.get("decision")) else {
        return Ok(notice(StatusCode::BAD_REQUEST, "表单不完整", "The form is incomplete.", None));
    };
    Ok(decided(&alipay, code, decision).unwrap_or_else(|error| {
        let back = alipay.book().trade_of_code(code).and_then(|(trade, _)| way_out(trade));
        refusal(error, back.as_deref())
    }))
}

fn decided(alipay: &Arc<Alipay>, code: &str, decision: &str) -> Result<Response, PayError> {
    let trade = trades::payable(&alipay.book(), code, alipay.now_ms())?;
    let number = &trade.order.out_trade_no;
    let (back, zh, en) = match decision {
        "approve" => {
            alipay.pay(number)?;
            (alipay.return_address(&trade), "支付成功", "Paid. You may close this page.")
        }
        "decline" => {
            trades::decline(&mut alipay.book(), number, alipay.now_ms())?;
            (way_out(&trade), "已取消", "Cancelled. You may close this page.")
        }
        _ => return Ok(notice(StatusCode::BAD_REQUEST, "表单不完整", "The form is incomplete.", None)),
    };
    Ok(match back {
        Some(back) => Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, back).finish(),
        None => notice(StatusCode::OK, zh, en, None),
    })
}

impl Alipay {
    /// Where the browser goes once it is paid, with what Alipay tells there. It is for show: a merchant that books by it
    /// books what never came.
    fn return_address(&self, trade: &Trade) -> Option<String> {
        let mut url = reqwest::Url::parse(&web_address(trade.order.return_url.as_deref()?)?).ok()?;
        let mut told = Parameters::new();
        for (name, value) in [
            ("app_id", self.account.app_id()),
            ("auth_app_id", self.account.app_id()),
            ("charset", "utf-8"),
            ("method", "alipay.trade.wap.pay.return"),
            ("out_trade_no", &trade.order.out_trade_no),
            ("seller_id", self.account.seller_id()),
            ("timestamp", &china_text(self.now_ms())),
            ("total_amount", &yuan(trade.order.total_fen)),
            ("trade_no", &trade.trade_no),
            ("version", "1.0"),
        ] {
            told.insert(name.to_owned(), value.to_owned());
        }
        let sign = self.account.alipay_signer().sign(form::notice_text(&told).as_bytes()).ok()?;
        told.insert("sign".into(), sign);
        told.insert("sign_type".into(), "RSA2".into());
        url.query_pairs_mut().extend_pairs(&told);
        Some(url.to_string())
    }
}

/// Shows the paid trades, or gives money back.
pub(crate) async fn console(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    if *request.method() == Method::GET {
        return Ok(show_console(&alipay));
    }
    if *request.method() != Method::POST {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    let back = Some("/alipay/console");
    let form = posted(request).await.unwrap_or_default();
    let wanted = form.get("out_trade_no").zip(form.get("yuan").and_then(|yuan| fen(yuan.trim())));
    let Some((number, fen)) = wanted else {
        let (zh, en) = ("金额或表单有误", "The amount or the form is wrong: write yuan, for example 1.00.");
        return Ok(notice(StatusCode::BAD_REQUEST, zh, en, back));
    };
    Ok(match alipay.refund_in_console(number, fen) {
        Ok(_) => Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, "/alipay/console").finish(),
        Err(error) => notice(StatusCode::BAD_REQUEST, "退款失败", &error.sub_msg, back),
    })
}

fn show_console(alipay: &Alipay) -> Response {
    let book = alipay.book();
    let mut paid: Vec<(&Trade, i64)> =
        book.trades.values().filter_map(|trade| Some((trade, trade.payment.as_ref()?.paid_ms))).collect();
    paid.sort_by_key(|(_, paid_ms)| std::cmp::Reverse(*paid_ms));
    let trades: String = paid.iter().take(SHOWN).map(|(trade, _)| row(trade)).collect();
    let none = r#"<p>还没有已支付的订单 <span lang="en">No order is paid yet.</span></p>"#;
    let main = format!(
        r#"<h1>支付宝商家平台 <span lang="en">Alipay merchant console</span></h1>
<p>退款由人工发起,异步通知会告知商户。 <span lang="en">Refunds made here are made past the merchant's own server, which is told by a notice.</span></p>
{}"#,
        if trades.is_empty() { none } else { &trades }
    );
    page(StatusCode::OK, "支付宝商家平台 · Alipay console", &main)
}

fn row(trade: &Trade) -> String {
    let left_fen = trade.order.total_fen - trade.refunded_fen();
    let number = escape(&trade.order.out_trade_no);
    let form = format!(
        r#"<form method="post" action="/alipay/console"><input type="hidden" name="out_trade_no" value="{number}">
<label>退款金额 <span lang="en">Amount in yuan</span> <input type="text" name="yuan" value="{left}" inputmode="decimal"></label>
<button class="no">退款 <span lang="en">Refund</span></button></form>"#,
        left = yuan(left_fen),
    );
    format!(
        r#"<section class="order"><p>{what} ¥{total}, 已退 <span lang="en">refunded</span> ¥{refunded}</p><p class="number">{number}</p>{form}</section>"#,
        what = escape(&trade.order.subject),
        total = yuan(trade.order.total_fen),
        refunded = yuan(trade.refunded_fen()),
        form = if trade.state == State::Success { form.as_str() } else { "" },
    )
}
