//! The payment inside Alipay: a script that stands in for the app's `AlipayJSBridge`, and what the app checks of `tradePay`
//! before it shows anything.

use std::sync::Arc;

use poem::{Request, Response};
use serde_json::{Value, json};

use crate::alipay::book::{Book, Trade};
use crate::alipay::gateway::JSAPI_PAY;
use crate::alipay::{Alipay, trades};
use crate::bridge::{self, Call};
use crate::faults::Fault;
use crate::wechat::trades::PayError;

/// What the app tells the page, each a text.
const PAID: &str = "9000";
const PENDING: &str = "8000";
const UNKNOWN: &str = "6004";
const FAILED: &str = "4000";
const CANCELLED: &str = "6001";
const NO_NETWORK: &str = "6002";
const LEFT: &str = "99";

/// `GET /bridge/alipay.js`.
#[poem::handler]
pub(crate) fn script() -> Response {
    bridge::script(include_str!("bridge.js"))
}

/// `POST /bridge/alipay`: what the page passed is checked; with `decision`, the payer decided.
pub(crate) async fn answer(alipay: Arc<Alipay>, request: Request) -> poem::Result<Response> {
    let pay = |call: &Call| pay(&alipay, call).unwrap_or_else(|why| json!({"resultCode": FAILED, "memo": why}));
    Ok(bridge::answer(request, pay).await)
}

fn pay(alipay: &Arc<Alipay>, call: &Call) -> Result<Value, String> {
    let trade_no = read(&call.parameters)?;
    let trade = payable(&alipay.book(), trade_no, call.person.as_deref(), alipay.now_ms())?;
    let number = &trade.order.out_trade_no;
    let failed = |error: PayError| error.to_string();
    let decision = match call.query.as_slice() {
        [] => {
            let shown = json!({
                "payee": alipay.account.seller_id(),
                "out_trade_no": number,
                "description": trade.order.subject,
                "total_fen": trade.order.total_fen,
            });
            return Ok(json!({"cashier": shown}));
        }
        [(name, decision)] if name == "decision" => decision.as_str(),
        _ => "",
    };
    let code = match decision {
        "approve" => {
            alipay.pay(number).map_err(failed)?;
            let told = [
                (Fault::BridgeSaysCancel, CANCELLED),
                (Fault::BridgeSaysPending, PENDING),
                (Fault::BridgeSaysUnknown, UNKNOWN),
            ];
            told.iter().find(|(fault, _)| alipay.faults.is_hit(*fault, number)).map_or(PAID, |(_, code)| code)
        }
        "decline" => {
            trades::decline(&mut alipay.book(), number, alipay.now_ms()).map_err(failed)?;
            CANCELLED
        }
        "no-network" => NO_NETWORK,
        "leave" => LEFT,
        _ => return Err("decision must be approve, decline, no-network or leave".to_owned()),
    };
    Ok(json!({"resultCode": code, "memo": "", "result": "", "callbackUrl": ""}))
}

/// The trade's number in what a page passes to `tradePay`.
fn read(parameters: &Value) -> Result<&str, String> {
    let parameters = parameters.as_object().ok_or("the parameters must be an object")?;
    if let Some(unknown) = parameters.keys().find(|name| *name != "tradeNO") {
        return Err(format!("{unknown} is no parameter"));
    }
    match parameters.get("tradeNO") {
        Some(Value::String(number)) if !number.is_empty() => Ok(number),
        Some(_) => Err("tradeNO must be a string, and not an empty one".to_owned()),
        None => Err("tradeNO is missing".to_owned()),
    }
}

/// The trade that is to be paid, if this browser's person may pay it here.
fn payable(book: &Book, trade_no: &str, person: Option<&str>, now_ms: i64) -> Result<Trade, String> {
    let mut trades = book.trades.values();
    let trade = trades.find(|trade| trade.trade_no == trade_no && trade.exists());
    let trade = trade.ok_or("tradeNO names no trade: it is Alipay's number, not the merchant's")?;
    if trade.order.product_code != JSAPI_PAY {
        return Err("the trade was not made to be paid within the app".to_owned());
    }
    trades::check_payable(trade, now_ms).map_err(|error| error.to_string())?;
    // A browser that was never asked who it is may pay: a test's, or one that keeps no cookies of other sites.
    let is_others = |person| book.persons.get(person).is_none_or(|buyer| buyer.user_id != trade.buyer_id);
    if person.is_some_and(is_others) {
        return Err("the trade is another buyer's".to_owned());
    }
    Ok(trade.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trades_number_is_taken() {
        assert_eq!(read(&json!({"tradeNO": "2026113022001"})), Ok("2026113022001"));
        for (wrong, says) in [
            (json!(null), "object"),
            (json!("2026113022001"), "object"),
            (json!({}), "missing"),
            (json!({"tradeNo": "2026113022001"}), "tradeNo is no parameter"),
            (json!({"tradeNO": "2026113022001", "orderStr": "a"}), "orderStr is no parameter"),
            (json!({"tradeNO": 2_026_113_022_001_i64}), "string"),
            (json!({"tradeNO": ""}), "empty"),
        ] {
            let said = read(&wrong).unwrap_err();
            assert!(said.contains(says), "{wrong}: {said}");
        }
    }
}
