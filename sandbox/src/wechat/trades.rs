//! The rules of orders and refunds: what may happen when, and what it leads to. Every function takes the time, and
//! commits all it changes at once.

use crate::clock::china_day;
use crate::crypto::{ALPHANUMERIC, CryptoError, DIGITS, random_text};
use crate::wechat::answers;
use crate::wechat::book::{
    Book, Key, MAX_OPENIDS, MAX_ORDERS, Notification, NotificationState, Openid, Order, OrderState, Payment, Record,
    Refund, RefundStatus,
};
use crate::wechat::errors::ApiError;
use crate::wechat::requests::{CreateRequest, RefundAmount, RefundRequest, SubMerchant, TradeKind};

/// How long an order can be paid when it does not say: the provider's seven days, also the longest it may say.
const MAX_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
/// How long an H5 payment link leads to a payment page.
pub(crate) const H5_LINK_MS: i64 = 5 * 60 * 1000;
/// How long a prepay number of the other kinds can be used.
const PREPAY_MS: i64 = 2 * 3600 * 1000;
/// Prepay numbers of one order that can be used beside the newest.
const MAX_EARLIER_PREPAYS: usize = 20;
/// How long after payment a refund may be asked for.
const REFUND_WITHIN_MS: i64 = 365 * 24 * 3600 * 1000;
/// Refunds of one order.
const MAX_REFUNDS: usize = 50;

/// Why an order cannot be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// There is no such order.
    #[error("no such order")]
    NotFound,
    /// It is paid already.
    #[error("the order is already paid")]
    AlreadyPaid,
    /// The merchant closed it, or its time is over.
    #[error("the order is closed")]
    Closed,
    /// The payment link is older than its life; the merchant can make a new one.
    #[error("the payment link has expired")]
    LinkExpired,
    /// The provider's own trouble.
    #[error("the provider could not record the payment")]
    Provider,
}

/// A random text, as the API's error.
fn random(alphabet: &[u8], length: usize) -> Result<String, ApiError> {
    random_text(alphabet, length).map_err(|error: CryptoError| ApiError::system(error.to_string()))
}

fn commit(book: &mut Book, records: Vec<Record>) -> Result<(), ApiError> {
    book.commit(records).map_err(|error| {
        tracing::error!(%error, "the sandbox cannot write its journal");
        ApiError::system("the sandbox cannot write its journal")
    })
}

impl Order {
    /// Whether payment is over: closed by the merchant, or past its time.
    pub(crate) fn is_closed(&self, now_ms: i64) -> bool {
        match self.state {
            OrderState::Closed => true,
            OrderState::NotPaid => now_ms >= self.expires_ms,
            OrderState::Paid(_) => false,
        }
    }

    /// Whether the provider has closed it by itself. Until then one that can be paid no more is called NOTPAY.
    pub(crate) fn is_forgotten(&self, now_ms: i64) -> bool {
        self.state == OrderState::NotPaid && now_ms >= self.created_ms + MAX_LIFE_MS
    }

    fn prepay_life_ms(&self) -> i64 {
        match self.kind {
            TradeKind::H5 => H5_LINK_MS,
            TradeKind::Native | TradeKind::Jsapi => PREPAY_MS,
        }
    }

    /// Whether one of its prepay numbers can still be used.
    pub(crate) fn prepay_is_fresh(&self, prepay_id: &str, now_ms: i64) -> bool {
        let life_ms = self.prepay_life_ms();
        self.prepays().any(|(one, made_ms)| one == prepay_id && now_ms < made_ms + life_ms)
    }
}

/// What a person is called towards an app: made up the first time, and kept.
pub(crate) fn openid(book: &mut Book, person: &str, appid: &str) -> Result<String, ApiError> {
    if let Some(openid) = book.openid_of(person, appid) {
        return Ok(openid.to_owned());
    }
    if book.openid_count() >= MAX_OPENIDS {
        return Err(ApiError::system("the sandbox is full"));
    }
    let openid = format!("oUpF8u{}", random(ALPHANUMERIC, 22)?);
    let record = Openid { openid: openid.clone(), appid: appid.to_owned(), person: person.to_owned() };
    commit(book, vec![Record::Openid(Box::new(record))])?;
    Ok(openid)
}

/// Makes an order, or answers again for the same one; its prepay number.
pub(crate) fn create(
    book: &mut Book,
    appid: &str,
    kind: TradeKind,
    request: CreateRequest,
    sub: Option<SubMerchant>,
    now_ms: i64,
) -> Result<String, ApiError> {
    let key = (request.mchid.clone(), request.out_trade_no.clone());
    if let Some(order) = book.orders.get(&key) {
        if order.kind != kind || order.request != request || order.sub != sub {
            return Err(ApiError::out_trade_no_used());
        }
        return create_again(book, order.clone(), now_ms);
    }
    if request.appid != appid {
        return Err(ApiError::appid_mchid_not_match());
    }
    if let Some(payer) = &request.payer {
        let known =
            book.openid(&payer.openid).ok_or_else(|| ApiError::param("无效的openid (there is no such openid)"))?;
        if known.appid != appid {
            return Err(ApiError::openid_mismatch());
        }
    }
    let expires_ms = request.expires_ms()?.unwrap_or(now_ms + MAX_LIFE_MS);
    if expires_ms <= now_ms || expires_ms > now_ms + MAX_LIFE_MS {
        return Err(ApiError::param("time_expire must be in the future, within 7 days"));
    }
    if book.orders.len() >= MAX_ORDERS {
        return Err(ApiError::system("the sandbox is full"));
    }
    let prepay_id = new_prepay_id(now_ms)?;
    let order = Order {
        kind,
        request,
        sub,
        prepay_id: prepay_id.clone(),
        prepay_made_ms: now_ms,
        earlier_prepays: Vec::new(),
        created_ms: now_ms,
        expires_ms,
        state: OrderState::NotPaid,
        declined: 0,
        refunds: Vec::new(),
        notification: None,
    };
    commit(book, vec![Record::Order(Box::new(order))])?;
    Ok(prepay_id)
}

fn create_again(book: &mut Book, mut order: Order, now_ms: i64) -> Result<String, ApiError> {
    if matches!(order.state, OrderState::Paid(_)) {
        return Err(ApiError::order_paid());
    }
    if order.is_closed(now_ms) {
        return Err(ApiError::order_closed());
    }
    let keeps_link = match order.kind {
        TradeKind::H5 => order.prepay_is_fresh(&order.prepay_id, now_ms),
        TradeKind::Native | TradeKind::Jsapi => false,
    };
    if keeps_link {
        return Ok(order.prepay_id);
    }
    // A page that shows an earlier number may still be open: each lives as long as it was said to.
    let oldest_ms = now_ms - order.prepay_life_ms();
    let earlier = std::mem::replace(&mut order.prepay_id, new_prepay_id(now_ms)?);
    order.earlier_prepays.push((earlier, order.prepay_made_ms));
    order.earlier_prepays.retain(|(_, made_ms)| *made_ms > oldest_ms);
    let too_many = order.earlier_prepays.len().saturating_sub(MAX_EARLIER_PREPAYS);
    order.earlier_prepays.drain(..too_many);
    order.prepay_made_ms = now_ms;
    let prepay_id = order.prepay_id.clone();
    commit(book, vec![Record::Order(Box::new(order))])?;
    Ok(prepay_id)
}

fn new_prepay_id(now_ms: i64) -> Result<String, ApiError> {
    Ok(format!("wx{}{}", china_day(now_ms), random(ALPHANUMERIC, 26)?))
}

/// How a payer pays.
pub(crate) struct Paying {
    /// What a coupon pays.
    pub(crate) coupon_fen: i64,
    /// How much less than was asked is paid.
    pub(crate) less_fen: i64,
    /// It was under way when the order ended, and goes through.
    pub(crate) is_taken_all_the_same: bool,
}

/// The payer pays: the order is paid, and a callback owed, whose id is answered.
pub(crate) fn pay(book: &mut Book, key: &Key, paying: Paying, now_ms: i64) -> Result<String, PayError> {
    let mut order = book.orders.get(key).ok_or(PayError::NotFound)?.clone();
    if matches!(order.state, OrderState::Paid(_)) {
        return Err(PayError::AlreadyPaid);
    }
    if order.is_closed(now_ms) && !paying.is_taken_all_the_same {
        return Err(PayError::Closed);
    }
    let numbers = || Ok::<_, ApiError>((random(DIGITS, 15)?, random(ALPHANUMERIC, 22)?, new_notification_id()?));
    let (digits, openid, id) = numbers().map_err(|_| PayError::Provider)?;
    let payment = Payment {
        transaction_id: format!("42000{}{digits}", china_day(now_ms)),
        paid_ms: now_ms,
        coupon_fen: paying.coupon_fen,
        openid: match &order.request.payer {
            Some(payer) => payer.openid.clone(),
            None => format!("oUpF8u{openid}"),
        },
    };
    order.request.amount.total -= paying.less_fen;
    order.state = OrderState::Paid(payment.clone());
    order.notification = Some(id.clone());
    let notification = Notification {
        id: id.clone(),
        mchid: order.request.mchid.clone(),
        subject: order.request.out_trade_no.clone(),
        event_type: "TRANSACTION.SUCCESS".to_owned(),
        summary: "支付成功".to_owned(),
        original_type: "transaction".to_owned(),
        url: order.request.notify_url.clone(),
        plaintext: answers::payment_notice(&order, &payment).to_string(),
        created_ms: now_ms,
        attempts: 0,
        sent: 0,
        due_ms: now_ms,
        state: NotificationState::Pending,
    };
    let records = vec![Record::Order(Box::new(order)), Record::Notification(Box::new(notification))];
    commit(book, records).map_err(|_| PayError::Provider)?;
    Ok(id)
}

/// The payer declines; the order stays payable.
pub(crate) fn decline(book: &mut Book, key: &Key, now_ms: i64) -> Result<(), PayError> {
    let mut order = book.orders.get(key).ok_or(PayError::NotFound)?.clone();
    if matches!(order.state, OrderState::Paid(_)) {
        return Err(PayError::AlreadyPaid);
    }
    if order.is_closed(now_ms) {
        return Err(PayError::Closed);
    }
    order.declined = order.declined.saturating_add(1);
    commit(book, vec![Record::Order(Box::new(order))]).map_err(|_| PayError::Provider)
}

/// The merchant closes an order; closing it again is no error.
pub(crate) fn close(book: &mut Book, key: &Key, sub_mchid: Option<&str>) -> Result<(), ApiError> {
    let order = book.orders.get(key).filter(|order| order.sub_mchid() == sub_mchid);
    let mut order = order.ok_or_else(ApiError::order_not_exist)?.clone();
    match order.state {
        OrderState::Paid(_) => Err(ApiError::order_paid()),
        OrderState::Closed => Ok(()),
        OrderState::NotPaid => {
            order.state = OrderState::Closed;
            commit(book, vec![Record::Order(Box::new(order))])
        }
    }
}

/// How a new refund will go.
pub(crate) struct RefundPlan {
    /// Refused for want of balance.
    pub(crate) not_enough: bool,
    pub(crate) outcome: RefundStatus,
    pub(crate) settles_ms: i64,
}

/// Makes a refund, or answers again for the same one. Tells whether it is new.
pub(crate) fn refund(
    book: &mut Book,
    mchid: &str,
    request: RefundRequest,
    plan: impl FnOnce(&Order) -> RefundPlan,
    now_ms: i64,
) -> Result<(Refund, bool), ApiError> {
    let key = (mchid.to_owned(), request.out_refund_no.clone());
    if let Some(refund) = book.refunds.get(&key) {
        return if refund.request == request {
            Ok((refund.clone(), false))
        } else {
            Err(ApiError::invalid("该退款单号已用于其他退款参数 (this out_refund_no was used with other parameters)"))
        };
    }
    let (mut order, payment) = refundable_order(book, mchid, &request, now_ms)?;
    let plan = plan(&order);
    if plan.not_enough {
        return Err(ApiError::not_enough());
    }
    let payer_total = order.request.amount.total - payment.coupon_fen;
    // Widened, since both factors may be as large as a total may be.
    let share = i128::from(request.amount.refund) * i128::from(payer_total) / i128::from(order.request.amount.total);
    let refund = Refund {
        mchid: mchid.to_owned(),
        out_trade_no: order.request.out_trade_no.clone(),
        transaction_id: payment.transaction_id,
        refund_id: format!("503000{}{}", china_day(now_ms), random(DIGITS, 15)?),
        created_ms: now_ms,
        settles_ms: plan.settles_ms,
        outcome: plan.outcome,
        status: RefundStatus::Processing,
        settled_ms: None,
        payer_refund_fen: i64::try_from(share).map_err(|_| ApiError::param("amount.refund is too large"))?,
        notifications: Vec::new(),
        request,
    };
    order.refunds.push(refund.request.out_refund_no.clone());
    commit(book, vec![Record::Order(Box::new(order)), Record::Refund(Box::new(refund.clone()))])?;
    Ok((refund, true))
}

/// Somebody gives money back in the merchant's console, under a number that the provider makes up. The merchant's server
/// is told where its payment callbacks go, or (as the provider mostly does) not at all.
pub(crate) fn refund_in_console(
    book: &mut Book,
    key: &Key,
    refund_fen: i64,
    tells: bool,
    plan: RefundPlan,
    now_ms: i64,
) -> Result<Refund, ApiError> {
    let order = book.orders.get(key).ok_or_else(ApiError::order_not_exist)?;
    let OrderState::Paid(payment) = &order.state else {
        return Err(ApiError::invalid("订单未支付,无法退款 (the order is not paid)"));
    };
    let request = RefundRequest {
        sub_mchid: order.sub_mchid().map(str::to_owned),
        transaction_id: None,
        out_trade_no: Some(key.1.clone()),
        out_refund_no: format!("REF{}{}", payment.transaction_id, random(DIGITS, 6)?),
        reason: Some("商户平台退款".to_owned()),
        notify_url: tells.then(|| order.request.notify_url.clone()),
        funds_account: None,
        amount: RefundAmount { refund: refund_fen, total: order.request.amount.total, currency: "CNY".to_owned() },
    };
    request.check()?;
    refund(book, &key.0, request, |_| plan, now_ms).map(|(refund, _)| refund)
}

/// The order a refund is asked of, if its state and its money allow it.
fn refundable_order(
    book: &Book,
    mchid: &str,
    request: &RefundRequest,
    now_ms: i64,
) -> Result<(Order, Payment), ApiError> {
    let order = match (&request.out_trade_no, &request.transaction_id) {
        (Some(out_trade_no), _) => book.orders.get(&(mchid.to_owned(), out_trade_no.clone())),
        (None, Some(transaction_id)) => {
            book.order_of_transaction(transaction_id).filter(|order| order.request.mchid == mchid)
        }
        (None, None) => None,
    };
    let order = order.filter(|order| order.sub_mchid() == request.sub_mchid.as_deref());
    let order = order.ok_or_else(|| ApiError::not_exists("no such order"))?;
    let OrderState::Paid(payment) = &order.state else {
        return Err(ApiError::invalid("订单未支付,无法退款 (the order is not paid)"));
    };
    if request.amount.total != order.request.amount.total {
        return Err(ApiError::invalid("订单金额不一致 (amount.total is not the order's)"));
    }
    if now_ms > payment.paid_ms + REFUND_WITHIN_MS {
        return Err(ApiError::invalid("订单已超过可退款期限 (paid more than a year ago)"));
    }
    if order.refunds.len() >= MAX_REFUNDS {
        return Err(ApiError::invalid("该订单部分退款次数已达50次 (50 refunds were made of this order)"));
    }
    let left_fen = order.request.amount.total - refunded_fen(book, order);
    if request.amount.refund > left_fen {
        return Err(ApiError::invalid(format!("退款金额大于可退金额 (only {left_fen} fen are left to refund)")));
    }
    Ok((order.clone(), payment.clone()))
}

/// What went back of an order, or is on its way; closed refunds moved nothing.
pub(crate) fn refunded_fen(book: &Book, order: &Order) -> i64 {
    let mchid = &order.request.mchid;
    let refunds = order.refunds.iter().filter_map(|number| book.refunds.get(&(mchid.clone(), number.clone())));
    refunds.filter(|refund| refund.status != RefundStatus::Closed).map(|refund| refund.request.amount.refund).sum()
}

/// Ends a refund that is under way (or was abnormal) with `status`. The id of the callback owed for it, if the merchant
/// asked for one.
pub(crate) fn settle(
    book: &mut Book,
    key: &Key,
    status: RefundStatus,
    now_ms: i64,
) -> Result<Option<String>, ApiError> {
    let refund = book.refunds.get(key).ok_or_else(|| ApiError::not_exists("no such refund"))?.clone();
    if !matches!(refund.status, RefundStatus::Processing | RefundStatus::Abnormal) || refund.status == status {
        return Ok(None);
    }
    move_refund(book, refund, status, now_ms)
}

/// A refund that had gone through comes back from the payer's bank. Nothing if it had not; else the id of the callback owed
/// for it, if the merchant asked for one.
pub(crate) fn bounce(
    book: &mut Book,
    key: &Key,
    status: RefundStatus,
    now_ms: i64,
) -> Result<Option<Option<String>>, ApiError> {
    let refund = book.refunds.get(key).ok_or_else(|| ApiError::not_exists("no such refund"))?.clone();
    if refund.status != RefundStatus::Success {
        return Ok(None);
    }
    move_refund(book, refund, status, now_ms).map(Some)
}

fn move_refund(
    book: &mut Book,
    mut refund: Refund,
    status: RefundStatus,
    now_ms: i64,
) -> Result<Option<String>, ApiError> {
    refund.status = status;
    refund.settled_ms = Some(now_ms);
    let mut records = Vec::with_capacity(2);
    let mut owed = None;
    if let Some(url) = refund.request.notify_url.clone()
        && let Some(order) = book.orders.get(&(refund.mchid.clone(), refund.out_trade_no.clone()))
    {
        let id = new_notification_id()?;
        refund.notifications.push(id.clone());
        records.push(Record::Notification(Box::new(Notification {
            id: id.clone(),
            mchid: refund.mchid.clone(),
            subject: refund.request.out_refund_no.clone(),
            event_type: format!("REFUND.{}", status.as_str()),
            summary: match status {
                RefundStatus::Success => "退款成功",
                RefundStatus::Closed => "退款关闭",
                RefundStatus::Abnormal | RefundStatus::Processing => "退款异常",
            }
            .to_owned(),
            original_type: "refund".to_owned(),
            url,
            plaintext: answers::refund_notice(order, &refund).to_string(),
            created_ms: now_ms,
            attempts: 0,
            sent: 0,
            due_ms: now_ms,
            state: NotificationState::Pending,
        })));
        owed = Some(id);
    }
    records.push(Record::Refund(Box::new(refund)));
    commit(book, records)?;
    Ok(owed)
}

fn new_notification_id() -> Result<String, ApiError> {
    let hex = random(b"0123456789abcdef", 32)?;
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
