//! What a provider tells must fit where it is stored, and an address must be one to which a browser may be sent. Checked for
//! all providers alike: a client that forgets a bound of its own would otherwise have the store fail, again with each repeat.

use crate::payments::{
    method::{Handoff, Payer},
    provider::{
        CallbackContent, Created, Fact, Paid, RawCallback, RefundAnswer, Statement, ToldTrade, TradeState,
        VerifiedCallback, id_of_body,
    },
};

/// Bytes of a number of a payment, a refund or a dispute, as their columns are.
const NUMBER_BYTES_MAX: usize = 64;
/// Bytes of a provider's reference, as its columns are.
const REFERENCE_BYTES_MAX: usize = 255;
/// Bytes of an event's id, as its column is.
const EVENT_ID_BYTES_MAX: usize = 190;
/// Bytes of what hands a payer over: far below what a text column of MySQL holds.
const HANDOFF_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a payer's id: it stands in a cookie.
const PAYER_ID_BYTES_MAX: usize = 256;
/// The largest amount that is believed, in minor units. Sums of such still fit.
pub(super) const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;

/// What is wrong with it.
type Checked = Result<(), String>;

fn number(what: &str, number: &str) -> Checked {
    at_most(what, number, NUMBER_BYTES_MAX)
}

fn at_most(what: &str, text: &str, bytes_max: usize) -> Checked {
    match text.len() {
        0 => Err(format!("{what} is empty")),
        bytes if bytes > bytes_max => Err(format!("{what} has {bytes} bytes, more than {bytes_max}")),
        _ => Ok(()),
    }
}

fn amount(what: &str, minor: i64) -> Checked {
    if (0..=AMOUNT_MINOR_MAX).contains(&minor) { Ok(()) } else { Err(format!("{what} is {minor}")) }
}

/// Checks the answer to an order.
pub(super) fn created(created: &Created) -> Checked {
    if let Some(reference) = &created.reference {
        at_most("the order's reference", reference, REFERENCE_BYTES_MAX)?;
    }
    match &created.handoff {
        Handoff::Redirect { url } => {
            at_most("the payment's address", url, HANDOFF_BYTES_MAX)?;
            let parsed = url::Url::parse(url).map_err(|error| format!("the payment's address is none: {error}"))?;
            match (parsed.scheme(), parsed.has_host()) {
                ("https" | "http", true) => Ok(()),
                (scheme, _) => Err(format!("the payment's address is not for a browser: {scheme}")),
            }
        }
        Handoff::Code { text } => at_most("the payment's code", text, HANDOFF_BYTES_MAX),
        Handoff::Invoke(invocation) => {
            let bytes: usize = invocation.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
            if bytes > HANDOFF_BYTES_MAX { Err(format!("the app's call has {bytes} bytes")) } else { Ok(()) }
        }
    }
}

/// Checks what is told of a payment.
pub(super) fn trade(state: &TradeState) -> Checked {
    match state {
        TradeState::Paid(paid) | TradeState::Refunded(paid) => payment(paid),
        TradeState::PaidUnknownCurrency(paid) => {
            number("the payment's number", &paid.provider_txn_id)?;
            amount("the amount", paid.amount_minor)?;
            if paid.currency.len() == 3 { Ok(()) } else { Err("the currency has not three letters".into()) }
        }
        TradeState::NotPaid | TradeState::NotFound | TradeState::Closed => Ok(()),
    }
}

fn payment(paid: &Paid) -> Checked {
    number("the payment's number", &paid.provider_txn_id)?;
    amount("the amount", paid.amount.amount_minor)
}

/// Checks the answer about a refund of ours.
pub(super) fn refund(answer: &RefundAnswer) -> Checked {
    if let Some(reference) = &answer.reference {
        at_most("the refund's reference", reference, REFERENCE_BYTES_MAX)?;
    }
    answer.amount_minor.map_or(Ok(()), |minor| amount("the refund's amount", minor))
}

/// Checks who pays.
pub(super) fn payer(payer: &Payer) -> Checked {
    at_most("the payer's id", &payer.id, PAYER_ID_BYTES_MAX)
}

fn told_trade(trade: &ToldTrade) -> Checked {
    match trade {
        ToldTrade::Ours(ours) => number("our number", ours),
        ToldTrade::Theirs(theirs) => at_most("the payment's number", theirs, REFERENCE_BYTES_MAX),
    }
}

fn fact(fact: &Fact) -> Checked {
    match fact {
        Fact::Payment { out_trade_no, state } => {
            number("our number", out_trade_no)?;
            trade(state)
        }
        Fact::Refund { out_refund_no, told, .. } => {
            number("the refund's number", out_refund_no)?;
            let Some(told) = told else { return Ok(()) };
            told_trade(&told.trade)?;
            number("the refund's number", &told.provider_refund_id)?;
            amount("the refund's amount", told.amount_minor)?;
            told.payment.as_ref().map_or(Ok(()), payment)
        }
        Fact::Dispute(dispute) => {
            number("the dispute's number", &dispute.dispute_id)?;
            told_trade(&dispute.trade)?;
            amount("the amount in dispute", dispute.amount_minor)?;
            amount("the dispute's fee", dispute.fee_minor)
        }
    }
}

/// A proven callback, of which nothing is too long to be stored: what is, is not understood.
pub(super) fn callback(raw: RawCallback<'_>, mut verified: VerifiedCallback) -> VerifiedCallback {
    if at_most("the event's id", &verified.event_id, EVENT_ID_BYTES_MAX).is_err() {
        verified.event_id = id_of_body(raw.body);
    }
    if let CallbackContent::Facts(facts) = &verified.content
        && let Err(why) = facts.iter().try_for_each(fact)
    {
        verified.content = CallbackContent::NotUnderstood(why);
    }
    verified
}

/// A statement without the facts that cannot be stored; they count as lines that were not understood.
pub(super) fn statement(statement: Statement) -> Statement {
    let Statement::Facts { facts, unread } = statement else { return statement };
    let told = facts.len();
    let facts: Vec<Fact> = facts.into_iter().filter(|told| fact(told).is_ok()).collect();
    Statement::Facts { unread: unread + told - facts.len(), facts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        money::{Currency, Money},
        payments::provider::{RefundDetails, RefundState},
    };

    fn redirect(url: &str) -> Created {
        Created { handoff: Handoff::Redirect { url: url.into() }, reference: None }
    }

    #[test]
    fn a_browser_is_sent_to_web_pages_only() {
        for url in ["https://wx.tenpay.com/cgi-bin/mmpayweb?prepay_id=wx1", "http://127.0.0.1:8080/pay"] {
            assert_eq!(created(&redirect(url)), Ok(()), "{url}");
        }
        let long = format!("https://pay.example/{}", "a".repeat(HANDOFF_BYTES_MAX));
        for url in ["javascript:alert(1)", "data:text/html,hello", "/sale/1", "weixin://wxpay/bizpayurl", "", &long] {
            assert!(created(&redirect(url)).is_err(), "{url}");
        }
    }

    fn paid(number: &str, amount_minor: i64) -> Fact {
        let paid = Paid {
            provider_txn_id: number.into(),
            amount: Money::new(amount_minor, Currency::Cny),
            paid_at_ms: 0,
            attach: String::new(),
        };
        Fact::Payment { out_trade_no: "S1".into(), state: TradeState::Paid(paid) }
    }

    #[test]
    fn what_does_not_fit_is_not_understood_and_of_a_statement_left_out() {
        let long = "9".repeat(NUMBER_BYTES_MAX + 1);
        let told = RefundDetails {
            trade: ToldTrade::Ours(long.clone()),
            provider_refund_id: "R1".into(),
            amount_minor: 1,
            is_total: false,
            payment: None,
        };
        let refund = Fact::Refund { out_refund_no: "R1".into(), state: RefundState::Done, told: Some(told) };
        let raw = RawCallback { headers: &[], body: b"{}" };
        for bad in [paid(&long, 1), paid("T1", -1), paid("T1", i64::MAX), paid("", 1), refund] {
            let content = CallbackContent::Facts(vec![paid("T1", 1), bad.clone()]);
            let verified = VerifiedCallback { event_id: "e".repeat(191), content, plaintext: String::new() };
            let verified = callback(raw, verified);
            assert!(matches!(verified.content, CallbackContent::NotUnderstood(_)), "{bad:?}");
            assert_eq!(verified.event_id, id_of_body(b"{}"));
            let told = Statement::Facts { facts: vec![bad, paid("T1", 1)], unread: 2 };
            assert_eq!(statement(told), Statement::Facts { facts: vec![paid("T1", 1)], unread: 3 });
        }
    }
}
