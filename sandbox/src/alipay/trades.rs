//! The rules of trades and refunds: what may happen when, and what it leads to. Every function takes the time, and commits
//! all it changes at once.

use crate::alipay::book::{Book, Buyer, MAX_TRADES, Notice, Payment, Record, Refund, State, Trade};
use crate::alipay::errors::ApiError;
use crate::alipay::form::Parameters;
use crate::alipay::requests::{Order, RefundRequest, TradeRequest, check_number, fen};
use crate::clock::china_day;
use crate::crypto::{ALPHANUMERIC, CryptoError, DIGITS, random_text};
use crate::wechat::book::NotificationState;
use crate::wechat::trades::{PayError, Paying};

/// How long a code or an opened page leads to the order.
const CODE_MS: i64 = 2 * 3600 * 1000;
const CODE_LEN: usize = 20;
/// Codes of one order that are remembered.
const MAX_CODES: usize = 16;

/// What a notice says of a trade, made by [`crate::alipay::notices`].
pub(crate) type Content<'a> = &'a dyn Fn(&Trade, Option<&Refund>) -> Parameters;

fn system<E>(_: E) -> ApiError {
    ApiError::system()
}

pub(crate) fn commit(book: &mut Book, records: Vec<Record>) -> Result<(), ApiError> {
    book.commit(records).map_err(|error| {
        tracing::error!(%error, "the sandbox cannot write its journal");
        ApiError::system()
    })
}

/// Takes an order; gives the code that leads to its page. The same order again gets another code, other content under the
/// same number is refused once somebody has taken the order up.
pub(crate) fn offer(book: &mut Book, order: Order, now_ms: i64) -> Result<String, ApiError> {
    if now_ms >= order.expires_ms {
        return Err(ApiError::business("ACQ.INVALID_PARAMETER", "time_expire has passed"));
    }
    let code = random_text(ALPHANUMERIC, CODE_LEN).map_err(system)?;
    let mut trade = match known(book, &order, now_ms)? {
        Some(known) => known,
        None => {
            let buyer = random_text(DIGITS, 12).map_err(system)?;
            fresh(book, order, format!("2088{buyer}"), now_ms)?
        }
    };
    if trade.codes.len() >= MAX_CODES {
        trade.codes.remove(0);
    }
    trade.codes.push((code.clone(), now_ms));
    commit(book, vec![Record::Trade(Box::new(trade))])?;
    Ok(code)
}

/// Makes a trade for a buyer, at once; gives Alipay's number. The same order again gives the same number.
pub(crate) fn create(book: &mut Book, order: Order, buyer: &Buyer, now_ms: i64) -> Result<String, ApiError> {
    if now_ms >= order.expires_ms {
        return Err(ApiError::business("ACQ.INVALID_PARAMETER", "time_expire has passed"));
    }
    let trade = match known(book, &order, now_ms)? {
        Some(known) if known.state == State::Waiting && known.buyer_id != buyer.user_id => {
            return Err(ApiError::business("ACQ.TRADE_BUYER_NOT_MATCH", "交易买家不匹配"));
        }
        Some(known) if known.state == State::Waiting => return Ok(known.trade_no),
        // An offer by a code or a page that nobody took up: the codes end with it.
        Some(known) => Trade { codes: Vec::new(), buyer_id: buyer.user_id.clone(), ..known },
        None => fresh(book, order, buyer.user_id.clone(), now_ms)?,
    };
    let trade = Trade { state: State::Waiting, created_ms: now_ms, ..trade };
    let trade_no = trade.trade_no.clone();
    commit(book, vec![Record::Trade(Box::new(trade))])?;
    Ok(trade_no)
}

/// What there is under an order's number, with that order if it may be made again.
fn known(book: &Book, order: &Order, now_ms: i64) -> Result<Option<Trade>, ApiError> {
    let Some(known) = book.trades.get(&order.out_trade_no) else { return Ok(None) };
    match known.state(now_ms) {
        State::Success | State::Finished => Err(ApiError::business("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")),
        State::Closed => Err(ApiError::business("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")),
        State::Waiting if !is_same(&known.order, order) => {
            Err(ApiError::business("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改 (the trade is another)"))
        }
        State::Waiting => Ok(Some(known.clone())),
        // Nothing was made yet, so the last order counts.
        State::Offered => Ok(Some(Trade { order: order.clone(), ..known.clone() })),
    }
}

fn fresh(book: &Book, order: Order, buyer_id: String, now_ms: i64) -> Result<Trade, ApiError> {
    if book.trades.len() >= MAX_TRADES {
        return Err(ApiError::system());
    }
    let digits = random_text(DIGITS, 18).map_err(system)?;
    Ok(Trade {
        order,
        codes: Vec::new(),
        trade_no: format!("{}22{digits}", china_day(now_ms)),
        buyer_id,
        created_ms: now_ms,
        state: State::Offered,
        payment: None,
        refunds: Vec::new(),
        declined: 0,
        notices: Vec::new(),
    })
}

fn is_same(known: &Order, order: &Order) -> bool {
    let content = |order: &Order| (order.total_fen, order.subject.clone(), order.product_code.clone());
    content(known) == content(order)
}

/// The order that a code leads to, if it can be paid.
pub(crate) fn payable(book: &Book, code: &str, now_ms: i64) -> Result<Trade, PayError> {
    let (trade, made_ms) = book.trade_of_code(code).ok_or(PayError::NotFound)?;
    check_payable(trade, now_ms)?;
    if now_ms >= made_ms + CODE_MS { Err(PayError::LinkExpired) } else { Ok(trade.clone()) }
}

pub(crate) fn check_payable(trade: &Trade, now_ms: i64) -> Result<(), PayError> {
    match trade.state(now_ms) {
        State::Success | State::Finished => Err(PayError::AlreadyPaid),
        State::Closed if trade.payment.is_some() => Err(PayError::AlreadyPaid),
        State::Closed => Err(PayError::Closed),
        // It never became a trade, so there is none to be closed: its page just says so.
        State::Offered if now_ms >= trade.order.expires_ms => Err(PayError::Closed),
        State::Offered | State::Waiting => Ok(()),
    }
}

impl Trade {
    /// Whether it can be paid no more, and was not.
    pub(crate) fn is_over_unpaid(&self, now_ms: i64) -> bool {
        check_payable(self, now_ms) == Err(PayError::Closed)
    }
}

fn taken_up(trade: &mut Trade, now_ms: i64) {
    if trade.state == State::Offered {
        trade.state = State::Waiting;
        trade.created_ms = now_ms;
    }
}

/// The payer scans: from now on there is a trade.
pub(crate) fn scan(book: &mut Book, trade: &Trade, now_ms: i64) -> Result<(), PayError> {
    let mut trade = trade.clone();
    taken_up(&mut trade, now_ms);
    commit(book, vec![Record::Trade(Box::new(trade))]).map_err(|_| PayError::Provider)
}

/// The payer pays; the notice that is now owed, if the order names an address for one.
pub(crate) fn pay(
    book: &mut Book,
    number: &str,
    paying: Paying,
    content: Content<'_>,
    now_ms: i64,
) -> Result<Option<String>, PayError> {
    let mut trade = book.trades.get(number).ok_or(PayError::NotFound)?.clone();
    if !(paying.is_taken_all_the_same && trade.is_over_unpaid(now_ms)) {
        check_payable(&trade, now_ms)?;
    }
    taken_up(&mut trade, now_ms);
    trade.order.total_fen -= paying.less_fen;
    trade.state = State::Success;
    trade.payment = Some(Payment { paid_ms: now_ms, coupon_fen: paying.coupon_fen });
    commit_and_tell(book, trade, None, content, now_ms).map_err(|_| PayError::Provider)
}

/// The payer has signed in and declines: there is a trade now, and it stays payable.
pub(crate) fn decline(book: &mut Book, number: &str, now_ms: i64) -> Result<(), PayError> {
    let mut trade = book.trades.get(number).ok_or(PayError::NotFound)?.clone();
    check_payable(&trade, now_ms)?;
    taken_up(&mut trade, now_ms);
    trade.declined = trade.declined.saturating_add(1);
    commit(book, vec![Record::Trade(Box::new(trade))]).map_err(|_| PayError::Provider)
}

/// The trade that a call names.
pub(crate) fn find(book: &Book, named: &TradeRequest) -> Result<Trade, ApiError> {
    let is_given = |text: &&String| !text.is_empty();
    let trade = match (named.trade_no.as_ref().filter(is_given), named.out_trade_no.as_ref().filter(is_given)) {
        (Some(trade_no), _) => book.trades.values().find(|trade| trade.trade_no == *trade_no),
        (None, Some(number)) => {
            check_number(number)?;
            book.trades.get(number)
        }
        (None, None) => {
            let why = "参数无效 (out_trade_no and trade_no are both missing)";
            return Err(ApiError::business("ACQ.INVALID_PARAMETER", why));
        }
    };
    trade.filter(|trade| trade.exists()).cloned().ok_or_else(ApiError::trade_not_exist)
}

/// Closes a trade that is not paid.
pub(crate) fn close(book: &mut Book, named: &TradeRequest, now_ms: i64) -> Result<Trade, ApiError> {
    let mut trade = find(book, named)?;
    match trade.state(now_ms) {
        State::Success => return Err(ApiError::business("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")),
        State::Finished => return Err(ApiError::business("ACQ.TRADE_HAS_FINISHED", "交易已经完结")),
        State::Closed => return Err(ApiError::business("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")),
        State::Offered | State::Waiting => trade.state = State::Closed,
    }
    commit(book, vec![Record::Trade(Box::new(trade.clone()))])?;
    Ok(trade)
}

/// What came of a refund.
pub(crate) struct Refunded {
    pub(crate) trade: Trade,
    /// Whether money went back by this call.
    pub(crate) is_new: bool,
    pub(crate) notice: Option<String>,
}

/// Gives money back at once: the same number once only, and never more than was paid. `is_short` says whether the merchant
/// has too little.
pub(crate) fn refund(
    book: &mut Book,
    request: &RefundRequest,
    is_short: &dyn Fn(&Trade) -> bool,
    content: Content<'_>,
    now_ms: i64,
) -> Result<Refunded, ApiError> {
    let (out_trade_no, trade_no) = (request.out_trade_no.clone(), request.trade_no.clone());
    let mut trade = find(book, &TradeRequest { out_trade_no, trade_no })?;
    let Some(fen) = fen(&request.refund_amount) else {
        return Err(ApiError::business("ACQ.INVALID_PARAMETER", "refund_amount is not yuan with up to two decimals"));
    };
    if request.refund_reason.as_ref().is_some_and(|reason| reason.len() > 256) {
        return Err(ApiError::business("ACQ.INVALID_PARAMETER", "refund_reason has more than 256 bytes"));
    }
    let number = match &request.out_request_no {
        Some(number) => number.clone(),
        None if fen == trade.order.total_fen => trade.order.out_trade_no.clone(),
        None => {
            return Err(ApiError::business("ACQ.INVALID_PARAMETER", "a part goes back under an out_request_no only"));
        }
    };
    check_number(&number)?;
    if let Some(known) = trade.refunds.iter().find(|refund| refund.out_request_no == number) {
        if known.fen != fen {
            return Err(ApiError::business("ACQ.DISCORDANT_REPEAT_REQUEST", "请求信息不一致"));
        }
        return Ok(Refunded { trade, is_new: false, notice: None });
    }
    match trade.state(now_ms) {
        State::Success => {}
        State::Finished => return Err(ApiError::business("ACQ.TRADE_HAS_FINISHED", "交易已完结")),
        State::Closed => return Err(ApiError::business("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")),
        State::Offered | State::Waiting => {
            return Err(ApiError::business("ACQ.TRADE_STATUS_ERROR", "交易状态不合法 (it is not paid)"));
        }
    }
    if trade.refunded_fen() + fen > trade.order.total_fen {
        return Err(ApiError::business("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"));
    }
    if is_short(&trade) {
        return Err(ApiError::business("ACQ.SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足"));
    }
    let refund = Refund { out_request_no: number, fen, made_ms: now_ms };
    trade.refunds.push(refund.clone());
    if trade.refunded_fen() == trade.order.total_fen {
        trade.state = State::Closed;
    }
    let notice = commit_and_tell(book, trade.clone(), Some(&refund), content, now_ms)?;
    Ok(Refunded { trade, is_new: true, notice })
}

/// The time for refunds has passed: it is told once more.
pub(crate) fn finish(
    book: &mut Book,
    number: &str,
    content: Content<'_>,
    now_ms: i64,
) -> Result<Option<String>, ApiError> {
    let mut trade = book.trades.get(number).cloned().ok_or_else(ApiError::trade_not_exist)?;
    if trade.state != State::Success {
        return Err(ApiError::business("ACQ.TRADE_STATUS_ERROR", "交易状态不合法 (it is not paid)"));
    }
    trade.state = State::Finished;
    commit_and_tell(book, trade, None, content, now_ms)
}

fn commit_and_tell(
    book: &mut Book,
    mut trade: Trade,
    refund: Option<&Refund>,
    content: Content<'_>,
    now_ms: i64,
) -> Result<Option<String>, ApiError> {
    let Some(url) = trade.order.notify_url.clone() else {
        commit(book, vec![Record::Trade(Box::new(trade))])?;
        return Ok(None);
    };
    let digits = random_text(DIGITS, 26).map_err(|_: CryptoError| ApiError::system())?;
    let id = format!("{}{digits}", china_day(now_ms));
    trade.notices.push(id.clone());
    let mut fields = content(&trade, refund);
    fields.insert("notify_id".into(), id.clone());
    let notice = Notice {
        id: id.clone(),
        out_trade_no: trade.order.out_trade_no.clone(),
        url,
        fields,
        attempts: 0,
        sent: 0,
        due_ms: now_ms,
        state: NotificationState::Pending,
    };
    commit(book, vec![Record::Trade(Box::new(trade)), Record::Notice(Box::new(notice))])?;
    Ok(Some(id))
}
