//! The daily bill: what was paid and refunded on one day in China, as comma-separated text in yuan (the API speaks fen),
//! with its SHA-1 told beforehand, so that a merchant can hold it against its own books.

use std::fmt::Write as _;
use std::io::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use chrono::NaiveDate;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::clock::{china_moment, china_text};
use crate::wechat::book::{Book, Order, OrderState, Payment, Refund, RefundStatus};
use crate::wechat::errors::ApiError;

/// The hour in China at which the bill of the day before is ready.
const READY_HOUR: i64 = 10;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// What the provider keeps of a payment, in parts of ten thousand.
const FEE_PER_10000: i64 = 60;
const COLUMNS: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,\
商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const SUM_COLUMNS: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

/// Which lines a bill has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    All,
    Paid,
    Refunded,
}

/// One bill asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BillQuery {
    date: NaiveDate,
    lines: Lines,
    gzip: bool,
    /// Only the lines of this sub-merchant.
    sub_mchid: Option<u64>,
}

impl BillQuery {
    /// Reads the query of `/v3/bill/tradebill`.
    pub(crate) fn from_query(query: &[(String, String)]) -> Result<Self, ApiError> {
        let mut date = None;
        let mut lines = Lines::All;
        let mut gzip = false;
        let mut sub_mchid = None;
        for (name, value) in query {
            match (name.as_str(), value.as_str()) {
                ("bill_date", text) if text.len() == 10 => {
                    date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
                }
                ("bill_type", "ALL") => lines = Lines::All,
                ("bill_type", "SUCCESS") => lines = Lines::Paid,
                ("bill_type", "REFUND") => lines = Lines::Refunded,
                ("tar_type", "GZIP") => gzip = true,
                ("sub_mchid", digits) if digits.parse::<u64>().is_ok() => sub_mchid = digits.parse().ok(),
                _ => return Err(ApiError::param(format!("the query's {name} is unknown or malformed"))),
            }
        }
        let date = date.ok_or_else(|| ApiError::param("bill_date must be a day: 2018-06-08"))?;
        Ok(Self { date, lines, gzip, sub_mchid })
    }

    /// Reads the token that [`BillQuery::address`] wrote.
    fn from_token(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let date = NaiveDate::parse_from_str(parts.next()?, "%Y-%m-%d").ok()?;
        let lines = match parts.next()? {
            "ALL" => Lines::All,
            "SUCCESS" => Lines::Paid,
            "REFUND" => Lines::Refunded,
            _ => return None,
        };
        let gzip = match parts.next()? {
            "GZIP" => true,
            "TEXT" => false,
            _ => return None,
        };
        let sub_mchid = match parts.next() {
            Some(digits) => Some(digits.parse().ok()?),
            None => None,
        };
        parts.next().is_none().then_some(Self { date, lines, gzip, sub_mchid })
    }

    fn address(self, base_url: &str) -> String {
        let lines = match self.lines {
            Lines::All => "ALL",
            Lines::Paid => "SUCCESS",
            Lines::Refunded => "REFUND",
        };
        let form = if self.gzip { "GZIP" } else { "TEXT" };
        let of_whom = self.sub_mchid.map(|sub_mchid| format!(".{sub_mchid}")).unwrap_or_default();
        format!("{base_url}/v3/billdownload/file?token={}.{lines}.{form}{of_whom}", self.date)
    }
}

/// Where the bill can be fetched, and its hash.
pub(crate) fn offer(
    book: &Book,
    mchid: &str,
    wanted: BillQuery,
    base_url: &str,
    now_ms: i64,
) -> Result<Value, ApiError> {
    let text = text(book, mchid, wanted, now_ms)?;
    let hash = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    Ok(json!({"hash_type": "SHA1", "hash_value": hash, "download_url": wanted.address(base_url)}))
}

/// The bill itself. The hash is of the text, whether it is packed or not.
pub(crate) fn file(book: &Book, mchid: &str, token: &str, now_ms: i64) -> Result<Vec<u8>, ApiError> {
    let wanted = BillQuery::from_token(token).ok_or_else(|| ApiError::param("token is none of this provider's"))?;
    let text = text(book, mchid, wanted, now_ms)?;
    if !wanted.gzip {
        return Ok(text.into_bytes());
    }
    let failed = |_| ApiError::system("the bill could not be packed");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).map_err(failed)?;
    packed.finish().map_err(failed)
}

#[derive(Default)]
struct Sums {
    count: i64,
    paid_fen: i64,
    refunded_fen: i64,
    fee_fen: i64,
}

fn text(book: &Book, mchid: &str, wanted: BillQuery, now_ms: i64) -> Result<String, ApiError> {
    let start_ms = china_moment(wanted.date).ok_or_else(|| ApiError::param("bill_date is out of range"))?;
    let day = start_ms..start_ms + DAY_MS;
    if now_ms < day.end + READY_HOUR * 3600 * 1000 {
        return Err(ApiError::no_statement());
    }
    let mut text = format!("\u{feff}{COLUMNS}\r\n");
    let mut sums = Sums::default();
    let of_whom = wanted.sub_mchid.map(|sub_mchid| sub_mchid.to_string());
    let is_wanted = |order: &Order| of_whom.is_none() || order.sub_mchid() == of_whom.as_deref();
    for (order, payment) in paid_orders(book, mchid).filter(|(order, _)| is_wanted(order)) {
        if wanted.lines != Lines::Refunded && day.contains(&payment.paid_ms) {
            payment_line(&mut text, &mut sums, order, payment);
        }
        if wanted.lines != Lines::Paid {
            let refunds =
                order.refunds.iter().filter_map(|number| book.refunds.get(&(mchid.to_owned(), number.clone())));
            for refund in refunds.filter(|refund| day.contains(&refund.created_ms)) {
                refund_line(&mut text, &mut sums, order, payment, refund);
            }
        }
    }
    let Sums { count, paid_fen, refunded_fen, fee_fen } = sums;
    let (paid, refunded, fee) = (yuan(paid_fen), yuan(refunded_fen), yuan(fee_fen));
    let nothing = yuan(0);
    let values = format!("`{count},`{paid},`{refunded},`{nothing},`{fee},`{paid},`{refunded}");
    let _ = write!(text, "{SUM_COLUMNS}\r\n{values}\r\n");
    Ok(text)
}

fn paid_orders<'a>(book: &'a Book, mchid: &'a str) -> impl Iterator<Item = (&'a Order, &'a Payment)> {
    book.orders.values().filter(move |order| order.request.mchid == mchid).filter_map(|order| match &order.state {
        OrderState::Paid(payment) => Some((order, payment)),
        OrderState::NotPaid | OrderState::Closed => None,
    })
}

fn payment_line(text: &mut String, sums: &mut Sums, order: &Order, payment: &Payment) {
    let total = order.request.amount.total;
    let fee_fen = fee_of(total);
    sums.count += 1;
    sums.paid_fen += total;
    sums.fee_fen += fee_fen;
    let refund = ["0", "0", "0.00", "0.00", "", ""].map(str::to_owned);
    let money = [yuan(fee_fen), yuan(total), yuan(0)];
    line(text, order, payment, &china_text(payment.paid_ms), "SUCCESS", refund, money);
}

fn refund_line(text: &mut String, sums: &mut Sums, order: &Order, payment: &Payment, refund: &Refund) {
    let asked = refund.request.amount.refund;
    // A refund that was closed moved nothing, and has no line.
    let status = match refund.status {
        RefundStatus::Closed => return,
        RefundStatus::Success => "SUCCESS",
        RefundStatus::Processing => "PROCESSING",
        RefundStatus::Abnormal => "CHANGE",
    };
    let fee_fen = fee_of(asked);
    sums.count += 1;
    sums.refunded_fen += asked;
    sums.fee_fen -= fee_fen;
    let columns = [
        refund.refund_id.clone(),
        refund.request.out_refund_no.clone(),
        yuan(asked),
        yuan(0),
        "ORIGINAL".to_owned(),
        status.to_owned(),
    ];
    let money = [yuan(-fee_fen), yuan(0), yuan(asked)];
    line(text, order, payment, &china_text(refund.created_ms), "REFUND", columns, money);
}

/// One line. Each value is led by a backtick, so that a spreadsheet keeps it a text.
fn line(
    text: &mut String,
    order: &Order,
    payment: &Payment,
    time: &str,
    state: &str,
    refund: [String; 6],
    [fee, total, asked]: [String; 3],
) {
    let request = &order.request;
    let paid_here = state == "SUCCESS";
    let mut values = vec![
        time.to_owned(),
        request.appid.clone(),
        request.mchid.clone(),
        order.sub_mchid().unwrap_or("0").to_owned(),
        String::new(),
        payment.transaction_id.clone(),
        request.out_trade_no.clone(),
        payment.openid.clone(),
        order.kind.trade_type().to_owned(),
        state.to_owned(),
        "OTHERS".to_owned(),
        "CNY".to_owned(),
        total.clone(),
        yuan(if paid_here { payment.coupon_fen } else { 0 }),
    ];
    values.extend(refund);
    values.push(no_comma(&request.description));
    values.push(no_comma(request.attach.as_deref().unwrap_or_default()));
    values.extend([fee, "0.60%".to_owned(), total, asked, String::new()]);
    let line: Vec<_> = values.into_iter().map(|value| format!("`{value}")).collect();
    text.push_str(&line.join(","));
    text.push_str("\r\n");
}

/// The bill has no quoting: a comma is written as a backslash and a blank.
fn no_comma(text: &str) -> String {
    text.replace('`', " ").replace(',', "\\ ")
}

fn fee_of(fen: i64) -> i64 {
    (fen * FEE_PER_10000 + 5_000) / 10_000
}

/// Fen as yuan with two decimals.
fn yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", fen.abs() / 100, fen.abs() % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fen_are_written_as_yuan() {
        for (fen, text) in
            [(0, "0.00"), (5, "0.05"), (123, "1.23"), (-123, "-1.23"), (-5, "-0.05"), (100_000, "1000.00")]
        {
            assert_eq!(yuan(fen), text);
        }
    }
}
