//! The trade bill, WeChat Pay's daily statement: comma-separated text, from which payments and refunds are read.
//!
//! Its form: perhaps a byte order mark; names of columns, which differ between kinds of bills; lines whose values are each
//! led by a back-tick, with no quoting (commas within are written as a backslash and a blank); then names and values of the
//! sums. Amounts are yuan.

use super::messages::is_currency_code;
use crate::money::{Currency, Money};
use crate::payments::provider::{
    Fact, Paid, RefundDetails, RefundState, ToldTrade, TradeState, UnknownCurrencyPayment,
};
use chrono::NaiveDateTime;

/// Longest number taken, in bytes.
const MAX_NUMBER_BYTES: usize = 64;
/// Longest attached text taken, in bytes; the API takes 128 characters.
const MAX_ATTACH_BYTES: usize = 512;
/// China's offset from UTC, in milliseconds.
const CHINA_AHEAD_MS: i64 = 8 * 3_600_000;

/// What a bill says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bill {
    pub facts: Vec<Fact>,
    /// Lines that were not understood.
    pub unread: usize,
}

/// Where the columns are that we read.
struct Columns {
    time: usize,
    mchid: usize,
    sub_mchid: usize,
    transaction_id: usize,
    out_trade_no: usize,
    state: usize,
    currency: usize,
    refund_id: usize,
    out_refund_no: usize,
    refund_state: usize,
    attach: usize,
    total: usize,
    refund: usize,
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let at = |name: &str| {
            names.iter().position(|found| *found == name).ok_or_else(|| format!("the bill has no column {name}"))
        };
        Ok(Self {
            time: at("交易时间")?,
            mchid: at("商户号")?,
            sub_mchid: at("特约商户号")?,
            transaction_id: at("微信订单号")?,
            out_trade_no: at("商户订单号")?,
            state: at("交易状态")?,
            currency: at("货币种类")?,
            refund_id: at("微信退款单号")?,
            out_refund_no: at("商户退款单号")?,
            refund_state: at("退款状态")?,
            attach: at("商户数据包")?,
            total: at("订单金额")?,
            refund: at("申请退款金额")?,
        })
    }
}

/// Reads a whole bill of a merchant's.
///
/// # Errors
/// Names the column that is missing: it is no bill of the kind we ask for.
pub(super) fn read(text: &str, mchid: &str, sub_mchid: Option<&str>) -> Result<Bill, String> {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    let columns = Columns::of(lines.next().unwrap_or_default())?;
    let mut bill = Bill::default();
    // The names of the sums have no back-tick.
    for line in lines.take_while(|line| line.starts_with('`')) {
        match read_line(&columns, line, mchid, sub_mchid) {
            Some(Line::Fact(fact)) => bill.facts.push(fact),
            Some(Line::Other) => {}
            None => bill.unread += 1,
        }
    }
    Ok(bill)
}

enum Line {
    Fact(Fact),
    /// A line that does not move money of ours.
    Other,
}

fn read_line(columns: &Columns, line: &str, mchid: &str, sub_mchid: Option<&str>) -> Option<Line> {
    let values: Vec<&str> = line.strip_prefix('`')?.split(",`").map(str::trim).collect();
    let value = |column: usize| values.get(column).copied();
    let number = |column: usize| value(column).filter(|id| (1..=MAX_NUMBER_BYTES).contains(&id.len()));
    if value(columns.mchid)? != mchid {
        return None;
    }
    if let Some(sub_mchid) = sub_mchid
        && value(columns.sub_mchid)? != sub_mchid
    {
        return None;
    }
    let out_trade_no = number(columns.out_trade_no)?.to_owned();
    let fact = match value(columns.state)? {
        "SUCCESS" => {
            let provider_txn_id = number(columns.transaction_id)?.to_owned();
            let amount_minor = fen(value(columns.total)?).filter(|fen| *fen > 0)?;
            let currency = value(columns.currency)?;
            let state = match Currency::parse(currency) {
                Some(currency) => TradeState::Paid(Paid {
                    provider_txn_id,
                    amount: Money::new(amount_minor, currency),
                    paid_at_ms: moment_ms(value(columns.time)?)?,
                    attach: value(columns.attach).filter(|text| text.len() <= MAX_ATTACH_BYTES)?.to_owned(),
                }),
                None if is_currency_code(currency) => TradeState::PaidUnknownCurrency(UnknownCurrencyPayment {
                    provider_txn_id,
                    amount_minor,
                    currency: currency.to_owned(),
                }),
                None => return None,
            };
            Fact::Payment { out_trade_no, state }
        }
        "REFUND" => Fact::Refund {
            out_refund_no: number(columns.out_refund_no)?.to_owned(),
            state: refund_state(value(columns.refund_state)?)?,
            told: Some(RefundDetails {
                trade: ToldTrade::Ours(out_trade_no),
                provider_refund_id: number(columns.refund_id)?.to_owned(),
                amount_minor: fen(value(columns.refund)?).filter(|fen| *fen > 0)?,
                is_total: false,
                payment: None,
            }),
        },
        // A payment by scanning the payer, taken back: not a kind that we offer.
        "REVOKED" => return Some(Line::Other),
        _ => return None,
    };
    Some(Line::Fact(fact))
}

/// What a refund's state means. It is the state at the time when the bill was made.
fn refund_state(word: &str) -> Option<RefundState> {
    match word {
        "SUCCESS" => Some(RefundState::Done),
        "PROCESSING" => Some(RefundState::Processing),
        "FAIL" => Some(RefundState::Closed),
        "CHANGE" => Some(RefundState::Abnormal),
        _ => None,
    }
}

/// Yuan with at most two decimals, as fen.
fn fen(yuan: &str) -> Option<i64> {
    let (whole, part) = yuan.split_once('.').unwrap_or((yuan, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: i64 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(part)
}

/// `2019-02-19 05:01:46`, in China's time.
fn moment_ms(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(time.and_utc().timestamp_millis() - CHINA_AHEAD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_are_read_exactly() {
        for (text, value) in [("0.03", 3), ("12", 1200), ("1.5", 150), ("10.50", 1050), ("0.00", 0)] {
            assert_eq!(fen(text), Some(value), "{text}");
        }
        for text in ["", ".5", "1.", "-1.00", "1.234", "1e2", "1,00", "１.00", "99999999999999999999.00"] {
            assert_eq!(fen(text), None, "{text}");
        }
    }
}
