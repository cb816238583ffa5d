//! What the provider says: the JSON of answers and of callbacks' sealed contents. Fields that a merchant does not need
//! and has not heard of are among them, as they are in life.

use serde_json::{Value, json};

use crate::clock::china_rfc3339;
use crate::wechat::book::{Order, OrderState, Payment, Refund, RefundStatus};

/// The answer to a query, and the core of a payment's callback.
pub(crate) fn trade(order: &Order, refunded: bool, now_ms: i64) -> Value {
    let request = &order.request;
    let mut trade = json!({
        "out_trade_no": request.out_trade_no,
        "promotion_detail": [],
        "amount": {"total": request.amount.total, "currency": "CNY"},
    });
    match &order.sub {
        None => {
            trade["appid"] = json!(request.appid);
            trade["mchid"] = json!(request.mchid);
        }
        Some(sub) => {
            trade["sp_appid"] = json!(request.appid);
            trade["sp_mchid"] = json!(request.mchid);
            trade["sub_mchid"] = json!(sub.mchid);
            if let Some(appid) = &sub.appid {
                trade["sub_appid"] = json!(appid);
            }
        }
    }
    if let Some(attach) = &request.attach {
        trade["attach"] = json!(attach);
    }
    let (state, description) = match &order.state {
        OrderState::Paid(payment) => {
            add_payment(&mut trade, order, payment);
            if refunded { ("REFUND", "转入退款") } else { ("SUCCESS", "支付成功") }
        }
        OrderState::Closed => ("CLOSED", "订单已关闭"),
        OrderState::NotPaid if order.is_forgotten(now_ms) => ("CLOSED", "订单已关闭"),
        OrderState::NotPaid => ("NOTPAY", "订单未支付"),
    };
    trade["trade_state"] = json!(state);
    trade["trade_state_desc"] = json!(description);
    trade
}

fn add_payment(trade: &mut Value, order: &Order, payment: &Payment) {
    let total = order.request.amount.total;
    trade["transaction_id"] = json!(payment.transaction_id);
    trade["trade_type"] = json!(order.kind.trade_type());
    trade["bank_type"] = json!("OTHERS");
    trade["success_time"] = json!(china_rfc3339(payment.paid_ms));
    let openid = if order.sub.is_some() { "sp_openid" } else { "openid" };
    trade["payer"] = json!({openid: payment.openid});
    trade["amount"] = json!({
        "total": total,
        "payer_total": total - payment.coupon_fen,
        "currency": "CNY",
        "payer_currency": "CNY",
    });
    if payment.coupon_fen > 0 {
        trade["promotion_detail"] = json!([{
            "coupon_id": "109519",
            "name": "单品满减券 100%+",
            "scope": "GLOBAL",
            "type": "CASH",
            "amount": payment.coupon_fen,
            "stock_id": "931386",
            "wechatpay_contribute": payment.coupon_fen,
            "merchant_contribute": 0,
            "other_contribute": 0,
            "currency": "CNY",
        }]);
    }
}

/// The sealed content of a payment's callback.
pub(crate) fn payment_notice(order: &Order, payment: &Payment) -> Value {
    let mut notice = trade(order, false, payment.paid_ms);
    notice["scene_info"] = json!({"device_id": "沙箱 100% + & = 空:"});
    notice["a_field_of_next_year"] = json!({"empty": "", "null": null});
    notice
}

/// The answer about a refund.
pub(crate) fn refund(order: &Order, refund: &Refund) -> Value {
    let mut answer = json!({
        "refund_id": refund.refund_id,
        "out_refund_no": refund.request.out_refund_no,
        "transaction_id": refund.transaction_id,
        "out_trade_no": refund.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": china_rfc3339(refund.created_ms),
        "status": refund.status.as_str(),
        "funds_account": "AVAILABLE",
        "amount": refund_amount(order, refund),
        "promotion_detail": [],
    });
    answer["amount"]["from"] = json!([]);
    answer["amount"]["currency"] = json!("CNY");
    answer["amount"]["settlement_total"] = json!(order.request.amount.total);
    answer["amount"]["settlement_refund"] = json!(refund.request.amount.refund);
    answer["amount"]["discount_refund"] = json!(refund.request.amount.refund - refund.payer_refund_fen);
    add_success_time(&mut answer, refund);
    answer
}

/// The sealed content of a refund's callback: here the state is called `refund_status`.
pub(crate) fn refund_notice(order: &Order, refund: &Refund) -> Value {
    let mut notice = json!({
        "out_trade_no": refund.out_trade_no,
        "transaction_id": refund.transaction_id,
        "out_refund_no": refund.request.out_refund_no,
        "refund_id": refund.refund_id,
        "refund_status": refund.status.as_str(),
        "user_received_account": "支付用户零钱",
        "amount": refund_amount(order, refund),
        "a_field_of_next_year": "100% + 额外",
    });
    match order.sub_mchid() {
        None => notice["mchid"] = json!(refund.mchid),
        Some(sub_mchid) => {
            notice["sp_mchid"] = json!(refund.mchid);
            notice["sub_mchid"] = json!(sub_mchid);
        }
    }
    add_success_time(&mut notice, refund);
    notice
}

fn refund_amount(order: &Order, refund: &Refund) -> Value {
    let coupon_fen = match &order.state {
        OrderState::Paid(payment) => payment.coupon_fen,
        OrderState::NotPaid | OrderState::Closed => 0,
    };
    json!({
        "total": order.request.amount.total,
        "refund": refund.request.amount.refund,
        "payer_total": order.request.amount.total - coupon_fen,
        "payer_refund": refund.payer_refund_fen,
    })
}

fn add_success_time(answer: &mut Value, refund: &Refund) {
    if let (RefundStatus::Success, Some(settled_ms)) = (refund.status, refund.settled_ms) {
        answer["success_time"] = json!(china_rfc3339(settled_ms));
    }
}
