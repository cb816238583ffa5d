//! The sale's decider: state, event, time -> state and effects. Pure; every rule about the course of a sale is here.
//!
//! ```text
//! created -> awaiting_payment -> paid -> crediting -> credited
//!                 |               |         |
//!              expired            +---------+--> refund_pending -> refunded
//!                                           +--> review (a person settles it: paid, refund_pending, settled)
//! ```

use crate::payments::states::Cause;
use protocol::messages::Reason;
use sea_orm::entity::prelude::*;
use serde::Serialize;
use strum::IntoStaticStr;

/// Why a sale did not go through normally, as decided by [`decide`]. The words are for programs; pages have a text for
/// each of them in every language.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumIter,
    DeriveActiveEnum,
    IntoStaticStr,
    Serialize,
)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(32))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SaleReason {
    /// No reason.
    #[default]
    #[sea_orm(string_value = "")]
    #[serde(rename = "")]
    #[strum(serialize = "")]
    None,
    /// The provider did not take the order.
    OrderRefused,
    /// The provider did not answer in time.
    ProviderSilent,
    /// Nobody paid in time.
    NotPaid,
    /// Paid after expiry, or known too late.
    Late,
    /// Another amount or currency was paid.
    WrongAmount,
    /// The module failed to give all pulses.
    ModuleFailed,
    /// The credit reached the module too late.
    ModuleExpired,
    /// The module did not answer.
    ModuleSilent,
    /// The module no longer knows whether it gave the credit.
    ModuleForgot,
    /// Money was refunded at the provider.
    RefundedElsewhere,
}

impl SaleReason {
    /// The word for it, as stored and published to programs; empty for no reason.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as sea_orm::Iterable>::iter()
    }
}

/// The state of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, IntoStaticStr, Serialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(32))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SaleState {
    /// Committed; as far as known, the provider has not taken the order yet.
    Created,
    /// The provider waits for the payer.
    AwaitingPayment,
    /// Paid; the credit is on its way.
    Paid,
    /// The module took the credit.
    Crediting,
    /// All pulses given.
    Credited,
    /// Never paid, and can no longer be paid.
    Expired,
    /// Not credited; the money is on its way back.
    RefundPending,
    /// The money went back.
    Refunded,
    /// A person decides. The money is safe until then.
    Review,
    /// A person decided that the operator keeps the money, because the matter was settled in another way.
    Settled,
}

impl SaleState {
    /// All states.
    pub const ALL: [SaleState; 10] = [
        SaleState::Created,
        SaleState::AwaitingPayment,
        SaleState::Paid,
        SaleState::Crediting,
        SaleState::Credited,
        SaleState::Expired,
        SaleState::RefundPending,
        SaleState::Refunded,
        SaleState::Review,
        SaleState::Settled,
    ];

    /// The word for it, as stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing more is expected to happen.
    pub fn at_rest(self) -> bool {
        use SaleState::*;
        matches!(self, Credited | Expired | Refunded | Review | Settled)
    }
}

/// The state of the refund of this sale's own payment (not of a second payment).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStage {
    /// There is none.
    None,
    /// Decided, not yet submitted to the provider: can be taken back.
    Pending,
    /// Submitted to the provider, or done: cannot be taken back.
    Submitted,
}

/// What the decider knows of a sale.
#[derive(Debug, Clone, Copy)]
pub struct Sale {
    /// Its state.
    pub state: SaleState,
    /// What was to be paid, in minor units.
    pub amount_minor: i64,
    /// Pulses bought.
    pub pulses: i32,
    /// Pulses known to have been given.
    pub pulses_given: i32,
    /// The state of its refund.
    pub refund: RefundStage,
    /// Already known to be served and refunded.
    pub served_and_refunded: bool,
    /// The payment became known too late to give the credit: the module is only asked whether it gave it.
    pub asked: bool,
    /// For a partly given credit, only the remainder is refunded (the operator's rule).
    pub refund_remainder: bool,
    /// How much of its payment was returned without us, by refunds made at the provider and by lost disputes. In minor
    /// units.
    pub elsewhere_minor: i64,
}

/// Something that concerns a sale happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The provider took the order and waits for the payer.
    HandedOff,
    /// The provider refused the order.
    OrderRefused,
    /// The provider gave no usable answer to the order in time, so the payer was not sent to it.
    OrderUnanswered,
    /// The provider reports that an attempt of this sale was paid.
    Paid {
        /// What was paid, in minor units.
        amount_minor: i64,
        /// Nobody waits for the credit any more.
        late: bool,
    },
    /// The provider reports that an attempt of this sale was paid in another amount or currency than asked.
    PaidWrong,
    /// The provider reports that an attempt of this sale was paid, and that money of it was returned before we knew of
    /// the payment.
    PaidReturned,
    /// Money of the sale's own payment was or is being returned without us: refunded at the provider, or lost in a
    /// dispute.
    ReturnedExternally {
        /// Whether any refund of it is still under way.
        open: bool,
        /// How much of it is neither refunded nor being refunded, in minor units.
        left_minor: i64,
        /// The sale was waiting for this: what is left shall be refunded too.
        refund_rest: bool,
    },
    /// A refund that had gone through failed after all.
    RefundReversed,
    /// No attempt of this sale can be paid any more.
    Unpayable,
    /// The module took the credit.
    CreditTaken,
    /// The module gave this many pulses and says it is done.
    CreditDone {
        /// Pulses given.
        pulses: i32,
    },
    /// The module did not give the credit, or gave only a part.
    CreditFailed {
        /// Pulses known to have been given.
        pulses: i32,
        /// Why.
        reason: Option<Reason>,
    },
    /// The module got the command after its expiry.
    CreditExpired,
    /// No acknowledgement from the module until the end of the grace period.
    CreditSilent,
    /// The sale's own refund went through.
    RefundDone,
    /// The provider cannot refund unless a person acts.
    RefundStuck,
}

/// What is to be done, in the same transaction as the new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Book the payment that came in.
    PostPayment,
    /// Book a payment of a wrong amount in suspense.
    PostSuspense,
    /// Queue the credit command.
    QueueCredit,
    /// Ask the module whether it gave the credit before. It cannot give it any more.
    AskCredit,
    /// Refund money of the attempt that the event is about.
    Refund {
        /// Why. There is one refund for each cause.
        cause: Cause,
        /// How much, in minor units.
        amount_minor: i64,
    },
    /// Take back the refund, which was not submitted yet.
    CancelRefund,
    /// Move a payment from suspense to the sale.
    AcceptSuspense,
    /// Try the stuck refund again.
    RetryRefund,
    /// Stuck refunds beside the sale\'s own course are tried again.
    RetryOtherRefunds,
    /// Book the operator's loss of a sale that was both served and refunded.
    PostLoss,
    /// Tell a person.
    Alarm(&'static str),
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The state from now on.
    pub state: SaleState,
    /// Pulses known to be given, from now on.
    pub pulses_given: i32,
    /// Why it did not go through, a word for the pages.
    pub reason: Option<SaleReason>,
    /// Credited although the payment was refunded.
    pub served_and_refunded: bool,
    /// The module is only asked about the credit.
    pub asked: bool,
    /// What is to be done.
    pub effects: Vec<Effect>,
}

impl Decision {
    /// Whether anything changes.
    pub fn is_noop(&self, sale: &Sale) -> bool {
        self.state == sale.state
            && self.effects.is_empty()
            && self.reason.is_none()
            && self.pulses_given == sale.pulses_given
            && self.served_and_refunded == sale.served_and_refunded
    }
}

/// Decides what an event means for a sale. An event that comes twice, late or out of order does no harm.
pub fn decide(sale: &Sale, event: Event) -> Decision {
    use SaleState::*;
    let stay = Decision {
        state: sale.state,
        pulses_given: sale.pulses_given,
        reason: None,
        served_and_refunded: sale.served_and_refunded,
        asked: sale.asked,
        effects: vec![],
    };
    let to = |state: SaleState, effects: Vec<Effect>| Decision { state, effects, ..stay.clone() };
    match (event, sale.state) {
        (Event::HandedOff, Created) => to(AwaitingPayment, vec![]),
        (Event::OrderRefused, Created) => Decision { reason: Some(SaleReason::OrderRefused), ..to(Expired, vec![]) },
        // Asking again tells what became of it; the payer need not wait for that.
        (Event::OrderUnanswered, Created) => Decision { reason: Some(SaleReason::ProviderSilent), ..stay },
        (Event::Unpayable, Created | AwaitingPayment) => {
            Decision { reason: Some(SaleReason::NotPaid), ..to(Expired, vec![]) }
        }

        (Event::Paid { late: false, .. }, Created | AwaitingPayment) => {
            to(Paid, vec![Effect::PostPayment, Effect::QueueCredit])
        }
        // The payer is gone by now. But this store may have been restored from a backup and may have lost that the
        // credit was given: the module is asked first.
        (Event::Paid { .. }, Created | AwaitingPayment | Expired) => Decision {
            reason: Some(SaleReason::Late),
            asked: true,
            ..to(Paid, vec![Effect::PostPayment, Effect::AskCredit])
        },
        // Another attempt was paid before: this payment is refunded, and the sale continues.
        (
            Event::Paid { amount_minor, .. },
            Paid | Crediting | Credited | RefundPending | Refunded | Review | Settled,
        ) => to(sale.state, vec![Effect::PostPayment, Effect::Refund { cause: Cause::SecondPayment, amount_minor }]),
        (Event::PaidWrong, Created | AwaitingPayment | Expired) => Decision {
            reason: Some(SaleReason::WrongAmount),
            ..to(Review, vec![Effect::PostSuspense, Effect::Alarm("a payment has another amount than asked")])
        },
        (Event::PaidWrong, Paid | Crediting | Credited | RefundPending | Refunded | Review | Settled) => {
            to(sale.state, vec![Effect::PostSuspense, Effect::Alarm("a payment has another amount than asked")])
        }

        // How much went back is told later, with the refund itself. Until then a person can look.
        (Event::PaidReturned, Created | AwaitingPayment | Expired) => Decision {
            reason: Some(SaleReason::RefundedElsewhere),
            ..to(Review, vec![Effect::PostPayment, Effect::Alarm(RETURNED_EARLY)])
        },
        (Event::PaidReturned, Paid | Crediting | Credited | RefundPending | Refunded | Review | Settled) => {
            to(sale.state, vec![Effect::PostPayment, Effect::Alarm(RETURNED_EARLY)])
        }

        // What is under way continues: a credit that was sent cannot be called back, and what it does not give is
        // refunded.
        (Event::ReturnedExternally { open: false, .. }, RefundPending) => to(Refunded, vec![]),
        (Event::ReturnedExternally { open: false, left_minor: ..=0, .. }, Review) => to(Refunded, vec![]),
        // The rest is refunded if the credit was not given. But a store restored from a backup may not know that it was
        // given, so the module is asked first, as for any payment that becomes known late.
        (Event::ReturnedExternally { open: false, refund_rest: true, .. }, Review) => {
            Decision { reason: Some(SaleReason::Late), asked: true, ..to(Paid, vec![Effect::AskCredit]) }
        }
        (Event::RefundReversed, RefundPending | Refunded) => {
            to(Review, vec![Effect::Alarm("a refund that had gone through failed: a person must act at the provider")])
        }

        (Event::CreditTaken, Paid) => to(Crediting, vec![]),
        (Event::CreditDone { pulses }, Paid | Crediting) if pulses >= sale.pulses => {
            Decision { pulses_given: pulses, ..to(Credited, vec![]) }
        }
        (Event::CreditDone { pulses }, Paid | Crediting) => give_back(sale, pulses, Cause::ModuleFailed),
        // Older than the module's window: it may have been given long ago. The consumer gets the benefit of the doubt.
        (Event::CreditFailed { pulses, reason: Some(Reason::TooOld) }, Paid | Crediting) => {
            let mut decision = give_back(sale, pulses, Cause::ModuleForgot);
            if sale.asked {
                decision.effects.push(Effect::Alarm(
                    "refunding a payment that became known late; its module no longer knows whether it gave the credit",
                ));
            }
            decision
        }
        (Event::CreditFailed { pulses, .. }, Paid | Crediting) => {
            give_back(sale, pulses, if sale.asked && pulses == 0 { Cause::Late } else { Cause::ModuleFailed })
        }
        (Event::CreditExpired, Paid | Crediting) => {
            give_back(sale, sale.pulses_given, if sale.asked { Cause::Late } else { Cause::ModuleExpired })
        }
        (Event::CreditSilent, Paid | Crediting) => {
            give_back(sale, sale.pulses_given, if sale.asked { Cause::Late } else { Cause::ModuleSilent })
        }

        // The module was late to say that it had credited.
        (Event::CreditDone { pulses }, RefundPending)
            if sale.refund == RefundStage::Pending && pulses >= sale.pulses =>
        {
            Decision { pulses_given: pulses, ..to(Credited, vec![Effect::CancelRefund]) }
        }
        (Event::CreditDone { .. }, RefundPending | Refunded) if sale.served_and_refunded => stay,
        (Event::CreditDone { pulses }, RefundPending | Refunded) => Decision {
            pulses_given: pulses,
            served_and_refunded: true,
            ..to(sale.state, vec![Effect::PostLoss, Effect::Alarm("a sale was credited after its refund")])
        },

        // The pulses given for a refunded sale are shown too.
        (Event::CreditFailed { pulses, .. }, RefundPending | Refunded) if pulses > sale.pulses_given => {
            Decision { pulses_given: pulses.min(sale.pulses), ..stay }
        }

        (Event::RefundDone, RefundPending | Review) => to(Refunded, vec![]),
        (Event::RefundStuck, RefundPending) => {
            to(Review, vec![Effect::Alarm("a refund is stuck at the provider: a person must act there")])
        }

        (
            Event::HandedOff,
            AwaitingPayment | Paid | Crediting | Credited | Expired | RefundPending | Refunded | Review | Settled,
        )
        | (
            Event::OrderRefused | Event::OrderUnanswered,
            AwaitingPayment | Paid | Crediting | Credited | Expired | RefundPending | Refunded | Review | Settled,
        )
        | (Event::Unpayable, Paid | Crediting | Credited | Expired | RefundPending | Refunded | Review | Settled)
        | (
            Event::CreditTaken | Event::CreditFailed { .. } | Event::CreditExpired | Event::CreditSilent,
            Created | AwaitingPayment | Crediting | Credited | Expired | RefundPending | Refunded | Review | Settled,
        )
        | (Event::CreditDone { .. }, Created | AwaitingPayment | Credited | Expired | Review | Settled)
        | (
            Event::RefundDone | Event::ReturnedExternally { .. },
            Created | AwaitingPayment | Paid | Crediting | Credited | Expired | Refunded | Settled,
        )
        | (Event::ReturnedExternally { .. }, RefundPending | Review)
        | (
            Event::RefundStuck,
            Created | AwaitingPayment | Paid | Crediting | Credited | Expired | Refunded | Review | Settled,
        )
        | (
            Event::RefundReversed,
            Created | AwaitingPayment | Paid | Crediting | Credited | Expired | Review | Settled,
        ) => stay,
    }
}

const RETURNED_EARLY: &str = "money went back at the provider before we knew that it was paid";

/// The reason a sale shows for a refund of this cause. None for money a person gave back and for a second payment.
fn reason_of(cause: Cause) -> SaleReason {
    match cause {
        Cause::Late => SaleReason::Late,
        Cause::ModuleFailed => SaleReason::ModuleFailed,
        Cause::ModuleExpired => SaleReason::ModuleExpired,
        Cause::ModuleSilent => SaleReason::ModuleSilent,
        Cause::ModuleForgot => SaleReason::ModuleForgot,
        Cause::Elsewhere => SaleReason::RefundedElsewhere,
        Cause::SecondPayment | Cause::Manual | Cause::Settled => SaleReason::None,
    }
}
fn give_back(sale: &Sale, pulses_given: i32, cause: Cause) -> Decision {
    let pulses_given = pulses_given.clamp(0, sale.pulses);
    let owed_minor = if sale.refund_remainder && pulses_given > 0 {
        remainder_minor(sale.amount_minor, sale.pulses, pulses_given)
    } else {
        sale.amount_minor
    };
    let reason = Some(reason_of(cause));
    // What the operator gave back already counts.
    let amount_minor = (owed_minor - sale.elsewhere_minor).max(0);
    // All pulses are known to be given although the module reports a failure, and by the rule the operator keeps what
    // was served.
    if amount_minor == 0 {
        return Decision {
            state: if owed_minor == 0 { SaleState::Credited } else { SaleState::Refunded },
            pulses_given,
            reason,
            served_and_refunded: sale.served_and_refunded,
            asked: sale.asked,
            effects: vec![],
        };
    }
    Decision {
        state: SaleState::RefundPending,
        pulses_given,
        reason,
        served_and_refunded: sale.served_and_refunded,
        asked: sale.asked,
        effects: vec![Effect::Refund { cause, amount_minor }],
    }
}

/// The price of the pulses that were not given, rounded up in the consumer's favour.
fn remainder_minor(amount_minor: i64, pulses: i32, given: i32) -> i64 {
    let missing = i128::from(pulses - given);
    let cost = (i128::from(amount_minor) * missing + i128::from(pulses) - 1) / i128::from(pulses);
    i64::try_from(cost).unwrap_or(amount_minor).min(amount_minor)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_straight_way() {
        let paid = decide(&sale(SaleState::AwaitingPayment), Event::Paid { amount_minor: 500, late: false });
        assert_eq!(paid.state, SaleState::Paid);
        assert_eq!(paid.effects, [Effect::PostPayment, Effect::QueueCredit]);
        assert_eq!(decide(&sale(SaleState::Paid), Event::CreditTaken).state, SaleState::Crediting);
        let done = decide(&sale(SaleState::Crediting), Event::CreditDone { pulses: 5 });
        assert_eq!((done.state, done.pulses_given, done.effects.len()), (SaleState::Credited, 5, 0));
    }

    #[test]
    fn a_payment_before_the_create_answer_is_not_undone_by_it() {
        assert_eq!(
            decide(&sale(SaleState::Created), Event::Paid { amount_minor: 500, late: false }).state,
            SaleState::Paid
        );
        for event in [Event::HandedOff, Event::OrderRefused, Event::OrderUnanswered, Event::Unpayable] {
            assert!(decide(&sale(SaleState::Paid), event).is_noop(&sale(SaleState::Paid)));
        }
    }

    #[test]
    fn every_failure_of_a_paid_sale_asks_for_exactly_one_refund() {
        let failures = [
            Event::CreditFailed { pulses: 2, reason: Some(Reason::PowerLost) },
            Event::CreditFailed { pulses: 0, reason: Some(Reason::TooOld) },
            Event::CreditExpired,
            Event::CreditSilent,
            Event::CreditDone { pulses: 4 },
        ];
        for state in [SaleState::Paid, SaleState::Crediting] {
            for event in failures {
                let decision = decide(&sale(state), event);
                assert_eq!(decision.state, SaleState::RefundPending, "{event:?}");
                assert!(
                    matches!(decision.effects[..], [Effect::Refund { amount_minor: 500, .. }]),
                    "{event:?}: {:?}",
                    decision.effects
                );
            }
        }
        for state in [SaleState::RefundPending, SaleState::Refunded, SaleState::Credited] {
            for event in &failures[..4] {
                let decision = decide(&sale(state), *event);
                assert_eq!((decision.state, &decision.effects[..]), (state, &[][..]), "{state:?} {event:?}");
            }
        }
        // Heard late, the pulses given are shown.
        assert_eq!(decide(&sale(SaleState::Refunded), failures[0]).pulses_given, 2);
    }

    #[test]
    fn the_remainder_goes_back_rounded_up_where_the_operator_wants_it() {
        let sale = Sale { refund_remainder: true, amount_minor: 100, pulses: 3, ..sale(SaleState::Crediting) };
        let decision = decide(&sale, Event::CreditFailed { pulses: 1, reason: None });
        assert_eq!(decision.effects, [Effect::Refund { cause: Cause::ModuleFailed, amount_minor: 67 }]);
        assert_eq!(decision.pulses_given, 1);
        let nothing_given = decide(&sale, Event::CreditFailed { pulses: 0, reason: None });
        assert_eq!(nothing_given.effects, [Effect::Refund { cause: Cause::ModuleFailed, amount_minor: 100 }]);
    }

    #[test]
    fn a_late_done_takes_the_refund_back_only_before_it_was_submitted() {
        let pending = Sale { refund: RefundStage::Pending, ..sale(SaleState::RefundPending) };
        let decision = decide(&pending, Event::CreditDone { pulses: 5 });
        assert_eq!((decision.state, &decision.effects[..]), (SaleState::Credited, &[Effect::CancelRefund][..]));

        for (state, stage) in
            [(SaleState::RefundPending, RefundStage::Submitted), (SaleState::Refunded, RefundStage::Submitted)]
        {
            let decision = decide(&Sale { refund: stage, ..sale(state) }, Event::CreditDone { pulses: 5 });
            assert_eq!(decision.state, state);
            assert!(decision.served_and_refunded);
            assert_eq!(decision.effects[0], Effect::PostLoss);
        }
    }

    #[test]
    fn the_module_is_asked_about_a_late_payment_before_it_goes_back() {
        for state in [SaleState::Created, SaleState::AwaitingPayment, SaleState::Expired] {
            let late = decide(&sale(state), Event::Paid { amount_minor: 500, late: true });
            assert_eq!((late.state, late.asked), (SaleState::Paid, true));
            assert_eq!(late.effects, [Effect::PostPayment, Effect::AskCredit]);
        }
        let asked = Sale { asked: true, ..sale(SaleState::Paid) };
        let done = decide(&asked, Event::CreditDone { pulses: 5 });
        assert_eq!((done.state, done.effects.len()), (SaleState::Credited, 0));
        let refund = |cause| Effect::Refund { cause, amount_minor: 500 };
        for event in [
            Event::CreditExpired,
            Event::CreditSilent,
            Event::CreditFailed { pulses: 0, reason: Some(Reason::Invalid) },
        ] {
            let decision = decide(&asked, event);
            assert_eq!(
                (decision.state, decision.reason),
                (SaleState::RefundPending, Some(SaleReason::Late)),
                "{event:?}"
            );
            assert_eq!(decision.effects, [refund(Cause::Late)], "{event:?}");
        }
        let cut = decide(&asked, Event::CreditFailed { pulses: 2, reason: Some(Reason::PowerLost) });
        assert_eq!(cut.effects, [refund(Cause::ModuleFailed)]);
        let forgot = decide(&asked, Event::CreditFailed { pulses: 0, reason: Some(Reason::TooOld) });
        assert_eq!(forgot.effects[0], refund(Cause::ModuleForgot));
        assert!(matches!(forgot.effects[1..], [Effect::Alarm(_)]));
    }

    #[test]
    fn second_payments_go_back() {
        for state in [SaleState::Paid, SaleState::Credited, SaleState::Refunded] {
            let second = decide(&sale(state), Event::Paid { amount_minor: 500, late: false });
            assert_eq!(second.state, state);
            assert_eq!(second.effects[1], Effect::Refund { cause: Cause::SecondPayment, amount_minor: 500 });
        }
    }

    #[test]
    fn an_order_that_was_not_answered_can_still_turn_out_paid_or_be_closed() {
        let unanswered = decide(&sale(SaleState::Created), Event::OrderUnanswered);
        assert_eq!((unanswered.state, unanswered.reason), (SaleState::Created, Some(SaleReason::ProviderSilent)));
        assert!(!unanswered.is_noop(&sale(SaleState::Created)), "the reason is stored");
        for state in SaleState::ALL.into_iter().filter(|state| *state != SaleState::Created) {
            assert!(decide(&sale(state), Event::OrderUnanswered).is_noop(&sale(state)), "{state:?}");
        }
    }

    #[test]
    fn what_went_back_elsewhere_is_not_given_back_again() {
        let failed = Event::CreditFailed { pulses: 0, reason: None };
        let partly = decide(&Sale { elsewhere_minor: 200, ..sale(SaleState::Crediting) }, failed);
        assert_eq!(partly.effects, [Effect::Refund { cause: Cause::ModuleFailed, amount_minor: 300 }]);
        let whole = decide(&Sale { elsewhere_minor: 500, ..sale(SaleState::Crediting) }, failed);
        assert_eq!((whole.state, &whole.effects[..]), (SaleState::Refunded, &[][..]));
        // The operator keeps what was served, and has given back more than the rest.
        let remainder = Sale { refund_remainder: true, elsewhere_minor: 400, ..sale(SaleState::Crediting) };
        let served = decide(&remainder, Event::CreditFailed { pulses: 2, reason: None });
        assert_eq!((served.state, &served.effects[..]), (SaleState::Refunded, &[][..]));
    }

    #[test]
    fn a_refund_made_elsewhere_ends_a_sale_only_where_nothing_else_is_owed() {
        let event = |open, left_minor, refund_rest| Event::ReturnedExternally { open, left_minor, refund_rest };
        for state in [SaleState::Paid, SaleState::Crediting, SaleState::Credited, SaleState::Refunded] {
            let sale = sale(state);
            assert!(decide(&sale, event(false, 0, false)).is_noop(&sale), "{state:?}");
        }
        let pending = sale(SaleState::RefundPending);
        assert!(decide(&pending, event(true, 0, false)).is_noop(&pending));
        assert_eq!(decide(&pending, event(false, 0, false)).state, SaleState::Refunded);
        let review = sale(SaleState::Review);
        assert_eq!(decide(&review, event(false, 0, false)).state, SaleState::Refunded);
        assert!(decide(&review, event(false, 200, false)).is_noop(&review), "a person decides about the rest");
        let rest = decide(&review, event(false, 200, true));
        assert_eq!((rest.state, rest.asked, &rest.effects[..]), (SaleState::Paid, true, &[Effect::AskCredit][..]));
        let asked = Sale { asked: true, elsewhere_minor: 300, ..sale(SaleState::Paid) };
        let not_given = decide(&asked, Event::CreditFailed { pulses: 0, reason: Some(Reason::Invalid) });
        assert_eq!(not_given.effects, [Effect::Refund { cause: Cause::Late, amount_minor: 200 }]);
    }

    #[test]
    fn money_returned_before_we_knew_it_was_paid_buys_no_credit() {
        for state in [SaleState::Created, SaleState::AwaitingPayment, SaleState::Expired] {
            let decision = decide(&sale(state), Event::PaidReturned);
            assert_eq!(decision.state, SaleState::Review);
            assert!(
                decision.effects.contains(&Effect::PostPayment) && !decision.effects.contains(&Effect::QueueCredit)
            );
        }
    }

    #[test]
    fn every_reason_given_is_listed() {
        let events = [
            Event::HandedOff,
            Event::OrderRefused,
            Event::OrderUnanswered,
            Event::Paid { amount_minor: 500, late: false },
            Event::Paid { amount_minor: 500, late: true },
            Event::PaidWrong,
            Event::PaidReturned,
            Event::Unpayable,
            Event::CreditTaken,
            Event::CreditDone { pulses: 2 },
            Event::CreditDone { pulses: 5 },
            Event::CreditFailed { pulses: 2, reason: None },
            Event::CreditFailed { pulses: 2, reason: Some(Reason::TooOld) },
            Event::CreditExpired,
            Event::CreditSilent,
            Event::RefundDone,
            Event::RefundStuck,
        ];
        let mut given = std::collections::BTreeSet::new();
        for state in SaleState::ALL {
            given.extend(events.iter().filter_map(|event| decide(&sale(state), *event).reason));
        }
        assert_eq!(given, SaleReason::all().filter(|reason| *reason != SaleReason::None).collect());
    }

    #[test]
    fn a_refund_that_failed_after_all_is_put_before_a_person() {
        assert_eq!(decide(&sale(SaleState::Refunded), Event::RefundReversed).state, SaleState::Review);
        assert_eq!(decide(&sale(SaleState::Credited), Event::RefundReversed).state, SaleState::Credited);
    }

    #[test]
    fn a_wrong_amount_never_credits() {
        let wrong = decide(&sale(SaleState::AwaitingPayment), Event::PaidWrong);
        assert_eq!(wrong.state, SaleState::Review);
        assert!(!wrong.effects.contains(&Effect::QueueCredit));
    }
}
