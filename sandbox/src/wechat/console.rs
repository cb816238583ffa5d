//! What stands for the merchant's console: the newest paid orders, and a form for each by which a person gives money back,
//! past the merchant's own server.

use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};

use crate::wechat::Provider;
use crate::wechat::book::{Key, Order, OrderState};
use crate::wechat::page::{MAX_FORM_BYTES, escape, notice, page};
use crate::wechat::trades;

/// Orders shown.
const SHOWN: usize = 20;

/// A refund as the form says it.
struct ConsoleRefund {
    key: Key,
    refund_fen: i64,
    tells: bool,
}

/// Shows the paid orders, or gives money back.
pub(crate) async fn answer(provider: Arc<Provider>, request: Request) -> poem::Result<Response> {
    if *request.method() == Method::GET {
        return Ok(show(&provider));
    }
    if *request.method() != Method::POST {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into());
    }
    let (_, body) = request.into_parts();
    let Some(wanted) = body.into_bytes_limit(MAX_FORM_BYTES).await.ok().and_then(|bytes| wanted(&bytes)) else {
        let (zh, en) = ("金额或表单有误", "The amount or the form is wrong: write yuan, for example 1.00.");
        return Ok(notice(StatusCode::BAD_REQUEST, zh, en, Some("/console")));
    };
    Ok(match provider.refund_in_console(&wanted.key, wanted.refund_fen, wanted.tells) {
        Ok(_) => Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, "/console").finish(),
        Err(error) => notice(StatusCode::BAD_REQUEST, "退款失败", &error.message, Some("/console")),
    })
}

fn wanted(bytes: &[u8]) -> Option<ConsoleRefund> {
    let text = std::str::from_utf8(bytes).ok()?;
    let form = reqwest::Url::parse(&format!("http://form/?{text}")).ok()?;
    let field = |name: &str| form.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    let tells = field("tell").is_some();
    Some(ConsoleRefund {
        key: (field("mchid")?, field("out_trade_no")?),
        refund_fen: fen(field("yuan")?.trim())?,
        tells,
    })
}

/// Yuan with at most two decimals, as fen.
fn fen(yuan: &str) -> Option<i64> {
    let (whole, part) = yuan.split_once('.').unwrap_or((yuan, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<2}").parse().ok()
}

fn show(provider: &Provider) -> Response {
    let book = provider.book();
    let mut paid: Vec<(&Order, i64)> = book
        .orders
        .values()
        .filter_map(|order| match &order.state {
            OrderState::Paid(payment) => Some((order, payment.paid_ms)),
            OrderState::NotPaid | OrderState::Closed => None,
        })
        .collect();
    paid.sort_by_key(|(_, paid_ms)| std::cmp::Reverse(*paid_ms));
    let orders: String =
        paid.iter().take(SHOWN).map(|(order, _)| row(order, trades::refunded_fen(&book, order))).collect();
    let none = r#"<p>还没有已支付的订单 <span lang="en">No order is paid yet.</span></p>"#;
    let main = format!(
        r#"<h1>商户平台 <span lang="en">Merchant console</span></h1>
<p>退款由人工发起,商户的服务器未参与。 <span lang="en">Refunds made here are made past the merchant's own server.</span></p>
{}"#,
        if orders.is_empty() { none } else { &orders }
    );
    page(StatusCode::OK, "商户平台 · Console", &main)
}

fn row(order: &Order, refunded_fen: i64) -> String {
    let total_fen = order.request.amount.total;
    let left_fen = total_fen - refunded_fen;
    let yuan = |fen: i64| format!("{}.{:02}", fen / 100, fen % 100);
    let form = format!(
        r#"<form method="post" action="/console">
<input type="hidden" name="mchid" value="{mchid}"><input type="hidden" name="out_trade_no" value="{number}">
<label>退款金额 <span lang="en">Amount in yuan</span> <input type="text" name="yuan" value="{left}" inputmode="decimal"></label>
<p><label><input type="checkbox" name="tell" value="1"> 通知商户服务器 <span lang="en">Tell the merchant's server</span></label></p>
<button class="no">退款 <span lang="en">Refund</span></button></form>"#,
        mchid = escape(&order.request.mchid),
        number = escape(&order.request.out_trade_no),
        left = yuan(left_fen),
    );
    format!(
        r#"<section class="order"><p>{what} ¥{total}, 已退 <span lang="en">refunded</span> ¥{refunded}</p><p class="number">{number}</p>{form}</section>"#,
        what = escape(&order.request.description),
        total = yuan(total_fen),
        refunded = yuan(refunded_fen),
        number = escape(&order.request.out_trade_no),
        form = if left_fen > 0 { form.as_str() } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_are_read_exactly() {
        for (text, value) in [("1", 100), ("1.5", 150), ("0.05", 5), ("12.34", 1234)] {
            assert_eq!(fen(text), Some(value), "{text}");
        }
        for text in ["", ".5", "1.234", "-1", "1e2", "１"] {
            assert_eq!(fen(text), None, "{text}");
        }
    }
}
