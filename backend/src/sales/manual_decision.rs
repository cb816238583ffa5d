//! What a person decides about a sale: giving money back, or settling a sale in review. Pure; `flows/operate/sale`
//! carries it out.

use crate::{
    payments::states::Cause,
    sales::state::{Decision, Effect, Sale, SaleState},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManualAction {
    /// Give money back: an amount (in minor units), or all that is left of the payment.
    Refund {
        /// The amount; `None` for all that is left.
        amount_minor: Option<i64>,
    },
    /// End a review.
    Settle(Settlement),
}

/// How a review ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The machine gives what was bought.
    Credit,
    /// The money goes back.
    Refund,
    /// The operator keeps the money: it was settled in another way.
    Keep,
}

impl ManualAction {
    /// The word for it, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            ManualAction::Refund { .. } => "refund",
            ManualAction::Settle(Settlement::Credit) => "settle_credit",
            ManualAction::Settle(Settlement::Refund) => "settle_refund",
            ManualAction::Settle(Settlement::Keep) => "settle_keep",
        }
    }
}

/// What is known of the sale's own payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Payment {
    /// What was paid; 0 if nothing was. In minor units.
    pub taken_minor: i64,
    /// How much of it is refunded or being refunded.
    pub returned_minor: i64,
    /// It is booked in suspense: the amount paid differs from the amount asked.
    pub in_suspense: bool,
    /// It was paid in another currency than asked.
    pub is_foreign: bool,
    /// A refund of ours is under way, or stuck.
    pub refund_open: bool,
    /// A refund beside the sale's own course is stuck: of a second payment, or one that a person decided.
    pub other_refund_stuck: bool,
    /// The module was told to give the credit.
    pub commanded: bool,
}

/// Decides what a person asks for. The error is a sentence for that person; nothing is done then.
///
/// # Errors
/// The sentence.
pub fn decide_manual_action(sale: &Sale, payment: &Payment, act: ManualAction) -> Result<Decision, String> {
    match act {
        ManualAction::Refund { amount_minor } => give_back(sale, payment, amount_minor),
        ManualAction::Settle(how) if sale.state == SaleState::Review => settle(sale, payment, how),
        ManualAction::Settle(_) => {
            Err(format!("is {}, not in review: there is nothing to settle", sale.state.as_str()))
        }
    }
}

fn to(sale: &Sale, state: SaleState, effects: Vec<Effect>) -> Decision {
    Decision {
        state,
        pulses_given: sale.pulses_given,
        reason: None,
        served_and_refunded: sale.served_and_refunded,
        asked: sale.asked,
        effects,
    }
}

fn give_back(sale: &Sale, payment: &Payment, asked_minor: Option<i64>) -> Result<Decision, String> {
    match sale.state {
        SaleState::Credited | SaleState::Refunded | SaleState::Settled => {}
        SaleState::Created | SaleState::AwaitingPayment | SaleState::Expired => return Err("was not paid".into()),
        SaleState::Paid | SaleState::Crediting => {
            return Err("is being credited: what is not given goes back by itself, so wait for its end".into());
        }
        SaleState::RefundPending => return Err("is being refunded: wait for its end".into()),
        SaleState::Review => return Err("is in review: settle it".into()),
    }
    let left_minor = payment.taken_minor - payment.returned_minor;
    if payment.other_refund_stuck && asked_minor.is_none() {
        return Ok(to(sale, sale.state, vec![Effect::RetryOtherRefunds]));
    }
    if left_minor <= 0 {
        return Err("has nothing left to give back".into());
    }
    let amount_minor = asked_minor.unwrap_or(left_minor);
    if !(1..=left_minor).contains(&amount_minor) {
        return Err(format!("cannot give that back: {left_minor} minor units are left of its payment"));
    }
    let mut decision = to(sale, sale.state, vec![Effect::Refund { cause: Cause::Manual, amount_minor }]);
    // The credit was given and all of its money refunded: the operator chose the loss, and the books show it.
    if sale.state == SaleState::Credited && amount_minor == left_minor && !sale.served_and_refunded {
        decision.served_and_refunded = true;
        decision.effects.push(Effect::PostLoss);
    }
    Ok(decision)
}

fn settle(sale: &Sale, payment: &Payment, how: Settlement) -> Result<Decision, String> {
    let left_minor = payment.taken_minor - payment.returned_minor;
    // A payment in another currency stays separate in the books.
    let accept = (payment.in_suspense && !payment.is_foreign).then_some(Effect::AcceptSuspense);
    match how {
        Settlement::Credit | Settlement::Refund if payment.is_foreign && left_minor > 0 => Err(
            "was paid in another currency than asked: give the money back in the payment provider's console, which is \
             booked by itself, or settle with keep"
                .into(),
        ),
        Settlement::Credit if payment.refund_open || payment.commanded || left_minor <= 0 => {
            Err("cannot be credited any more: its refund was asked for, or its credit was tried".into())
        }
        Settlement::Credit => {
            let effects = accept.into_iter().chain([Effect::QueueCredit]).collect();
            // The credit is to be given now, however late the payment became known.
            Ok(Decision { asked: false, ..to(sale, SaleState::Paid, effects) })
        }
        Settlement::Refund if payment.refund_open => Ok(to(sale, SaleState::RefundPending, vec![Effect::RetryRefund])),
        Settlement::Refund if left_minor <= 0 => Ok(to(sale, SaleState::Refunded, vec![])),
        Settlement::Refund => {
            let refund = Effect::Refund { cause: Cause::Settled, amount_minor: left_minor };
            let effects = accept.into_iter().chain([refund]).collect();
            Ok(to(sale, SaleState::RefundPending, effects))
        }
        Settlement::Keep => {
            let effects = payment.refund_open.then_some(Effect::CancelRefund).into_iter().chain(accept).collect();
            Ok(to(sale, SaleState::Settled, effects))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sales::state::RefundStage;

    const PAID: Payment = Payment {
        taken_minor: 500,
        returned_minor: 0,
        in_suspense: false,
        is_foreign: false,
        refund_open: false,
        other_refund_stuck: false,
        commanded: true,
    };
    const WRONG: Payment = Payment { taken_minor: 400, in_suspense: true, commanded: false, ..PAID };
    const STUCK: Payment = Payment { returned_minor: 500, refund_open: true, ..PAID };

    fn sale(state: SaleState) -> Sale {
        Sale {
            state,
            amount_minor: 500,
            pulses: 5,
            pulses_given: 0,
            refund: RefundStage::None,
            served_and_refunded: false,
            asked: false,
            refund_remainder: false,
            elsewhere_minor: 0,
        }
    }

    fn refund(state: SaleState, payment: Payment, amount_minor: Option<i64>) -> Result<Decision, String> {
        decide_manual_action(&sale(state), &payment, ManualAction::Refund { amount_minor })
    }

    fn settle(payment: Payment, how: Settlement) -> Result<Decision, String> {
        decide_manual_action(&sale(SaleState::Review), &payment, ManualAction::Settle(how))
    }

    #[test]
    fn a_credited_sale_gives_back_part_or_all_and_never_more_than_is_left() {
        let by_hand = |amount_minor| Effect::Refund { cause: Cause::Manual, amount_minor };
        let part = refund(SaleState::Credited, PAID, Some(200)).unwrap();
        assert_eq!((part.state, &part.effects[..]), (SaleState::Credited, &[by_hand(200)][..]));
        assert!(!part.served_and_refunded);
        let rest = refund(SaleState::Credited, Payment { returned_minor: 200, ..PAID }, None).unwrap();
        assert_eq!(rest.effects, [by_hand(300), Effect::PostLoss]);
        assert!(rest.served_and_refunded && rest.state == SaleState::Credited);
        for wrong in [0, -1, 501, i64::MAX, i64::MIN] {
            refund(SaleState::Credited, PAID, Some(wrong)).unwrap_err();
        }
        refund(SaleState::Credited, Payment { returned_minor: 500, ..PAID }, None).unwrap_err();
        // Money kept by the remainder rule can be given back too; that is not a second loss.
        let kept = refund(SaleState::Refunded, Payment { returned_minor: 300, ..PAID }, None).unwrap();
        assert_eq!((kept.state, &kept.effects[..]), (SaleState::Refunded, &[by_hand(200)][..]));
    }

    #[test]
    fn what_is_under_way_or_was_never_paid_is_not_refunded_by_hand() {
        use SaleState::*;
        for state in SaleState::ALL {
            let refused = refund(state, PAID, None).is_err();
            assert_eq!(refused, !matches!(state, Credited | Refunded | Settled), "{state:?}");
            let settled = decide_manual_action(&sale(state), &PAID, ManualAction::Settle(Settlement::Keep));
            assert_eq!(settled.is_ok(), state == Review, "{state:?}");
        }
    }

    #[test]
    fn a_payment_of_another_amount_is_credited_refunded_or_kept() {
        let credited = settle(WRONG, Settlement::Credit).unwrap();
        assert_eq!(credited.state, SaleState::Paid);
        assert_eq!(credited.effects, [Effect::AcceptSuspense, Effect::QueueCredit]);
        let refunded = settle(WRONG, Settlement::Refund).unwrap();
        assert_eq!(refunded.state, SaleState::RefundPending);
        let refund = Effect::Refund { cause: Cause::Settled, amount_minor: 400 };
        assert_eq!(refunded.effects, [Effect::AcceptSuspense, refund]);
        let kept = settle(WRONG, Settlement::Keep).unwrap();
        assert_eq!((kept.state, &kept.effects[..]), (SaleState::Settled, &[Effect::AcceptSuspense][..]));
    }

    #[test]
    fn a_payment_in_another_currency_is_given_back_at_the_provider_or_kept() {
        let foreign = Payment { is_foreign: true, ..WRONG };
        settle(foreign, Settlement::Credit).unwrap_err();
        settle(foreign, Settlement::Refund).unwrap_err();
        let kept = settle(foreign, Settlement::Keep).unwrap();
        assert_eq!((kept.state, kept.effects.len()), (SaleState::Settled, 0), "it stays apart in the books");
        let gone = settle(Payment { returned_minor: 400, ..foreign }, Settlement::Refund).unwrap();
        assert_eq!((gone.state, gone.effects.len()), (SaleState::Refunded, 0));
    }

    #[test]
    fn a_stuck_refund_is_tried_again_or_given_up_and_never_credited() {
        settle(STUCK, Settlement::Credit).unwrap_err();
        let again = settle(STUCK, Settlement::Refund).unwrap();
        assert_eq!((again.state, &again.effects[..]), (SaleState::RefundPending, &[Effect::RetryRefund][..]));
        let kept = settle(STUCK, Settlement::Keep).unwrap();
        assert_eq!((kept.state, &kept.effects[..]), (SaleState::Settled, &[Effect::CancelRefund][..]));
        // Somebody gave it back at the provider meanwhile.
        let gone = settle(Payment { refund_open: false, ..STUCK }, Settlement::Refund).unwrap();
        assert_eq!((gone.state, gone.effects.len()), (SaleState::Refunded, 0));
    }
}
