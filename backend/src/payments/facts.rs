//! What a provider says of a payment or a refund, whichever way we learn it: one place, one transaction.

use super::{
    account, attempt, attempt_state,
    provider::{Fact, Paid, RefundState, TradeState},
    refund, refund_state, refunds,
};
use crate::{
    Backend, Error, Result, clock,
    ledger::{self, Kind, Posting},
    sales::{After, Event, refund_kinds, sale},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};

/// What became of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It moved something.
    Applied,
    /// It said what was known.
    NothingNew,
    /// Nothing of ours has that number: kept, and a person is told.
    Orphan,
    /// It concerns another merchant: kept, and a person is told.
    Foreign,
    /// The provider is asked anew before it is believed.
    ToBeAsked,
    /// It is authentic, and we do not know what it says: kept, and a person is told.
    NotUnderstood,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::NothingNew => "nothing_new",
            Outcome::Orphan => "orphan",
            Outcome::Foreign => "foreign",
            Outcome::ToBeAsked => "to_be_asked",
            Outcome::NotUnderstood => "not_understood",
        }
    }
}

/// Whether a refund of ours was taken back before the provider knew of it, by all that we know.
fn was_taken_back(refund: &refund::Model) -> bool {
    refund.state == refund_state::CANCELLED && !refund.is_outside()
}

/// The provider made a refund that was taken back here: our store is a copy from before it was made. The row gives up its
/// number, and what was made is booked as made elsewhere.
async fn set_aside(txn: &DatabaseTransaction, taken_back: refund::Model) -> Result<()> {
    let number = format!("{} taken back", taken_back.out_refund_no);
    let mut change: refund::ActiveModel = taken_back.into();
    change.out_refund_no = Set(number);
    change.update_without_returning(txn).await?;
    Ok(())
}

impl Backend {
    /// Applies what the provider told of its own accord. A payment from before our start may be news of yesterday: it may
    /// have gone back since, and a store that was put back from a copy does not know. So the provider is asked how it is now.
    pub(crate) async fn apply_told_fact(
        &self,
        txn: &DatabaseTransaction,
        account: &account::Model,
        fact: &Fact,
        after: &mut After,
    ) -> Result<Outcome> {
        if let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) } = fact
            && paid.paid_at_ms < self.began_ms()
            && let Some(attempt) = self.find_or_rebuild(txn, account, out_trade_no, paid, after).await?
            && ![attempt_state::PAID, attempt_state::PAID_WRONG].contains(&attempt.state.as_str())
        {
            let mut change: attempt::ActiveModel = attempt.into();
            change.due_ms = Set(Some(self.now_ms()));
            change.update_without_returning(txn).await?;
            return Ok(Outcome::ToBeAsked);
        }
        self.apply_fact(txn, account, fact, after).await
    }

    async fn find_or_rebuild(
        &self,
        txn: &DatabaseTransaction,
        account: &account::Model,
        out_trade_no: &str,
        paid: &Paid,
        after: &mut After,
    ) -> Result<Option<attempt::Model>> {
        match find_attempt(txn, account.id, out_trade_no).await? {
            Some(known) => Ok(Some(known)),
            None => self.rebuild_order(txn, account, out_trade_no, &paid.attach, after).await,
        }
    }

    /// Applies a fact in a transaction. Facts may come twice, late and out of order: states only move forward.
    pub(crate) async fn apply_fact(
        &self,
        txn: &DatabaseTransaction,
        account: &account::Model,
        fact: &Fact,
        after: &mut After,
    ) -> Result<Outcome> {
        match fact {
            Fact::Payment { out_trade_no, state } => {
                let known = match state {
                    TradeState::Paid(paid) | TradeState::Refunded(paid) => {
                        self.find_or_rebuild(txn, account, out_trade_no, paid, after).await?
                    }
                    TradeState::NotPaid | TradeState::NotFound | TradeState::Closed | TradeState::PaidForeign(_) => {
                        find_attempt(txn, account.id, out_trade_no).await?
                    }
                };
                let Some(known) = known else {
                    after.alarm(account.operator_id, None, format!("payment {out_trade_no} fits no order"));
                    return Ok(Outcome::Orphan);
                };
                // The sale is locked first, then its attempt is read again: two facts of one sale take turns.
                let sale = self.lock_sale(txn, known.sale_id).await?;
                let attempt =
                    attempt::Entity::find_by_id(known.id).one(txn).await?.ok_or(Error::NotFound("attempt"))?;
                match state {
                    TradeState::Paid(paid) => self.attempt_paid(txn, sale, attempt, Taken::of(paid), after).await,
                    TradeState::PaidForeign(paid) => {
                        let taken = Taken {
                            provider_txn_id: Some(&paid.provider_txn_id),
                            amount_minor: paid.amount_minor,
                            currency: &paid.currency,
                            paid_at_ms: self.wall_ms(),
                            returned: false,
                        };
                        self.attempt_paid(txn, sale, attempt, taken, after).await
                    }
                    TradeState::Closed => self.attempt_closed(txn, sale, attempt, after).await,
                    TradeState::NotPaid | TradeState::NotFound => Ok(Outcome::NothingNew),
                    TradeState::Refunded(paid) => {
                        let taken = Taken { returned: true, ..Taken::of(paid) };
                        self.attempt_paid(txn, sale, attempt, taken, after).await
                    }
                }
            }
            Fact::Refund { out_refund_no, state, told } => {
                match (find_refund(txn, account.id, out_refund_no).await?, told) {
                    (Some(known), Some(told)) if was_taken_back(&known) && state.moves_money() => {
                        set_aside(txn, known).await?;
                        self.refunded_elsewhere(txn, account, out_refund_no, *state, told, after).await
                    }
                    (Some(known), _) => self.refund_moved(txn, known, *state, Heard::Told, after).await,
                    (None, Some(told)) => {
                        self.refunded_elsewhere(txn, account, out_refund_no, *state, told, after).await
                    }
                    (None, None) => {
                        after.alarm(account.operator_id, None, format!("refund {out_refund_no} fits no sale"));
                        Ok(Outcome::Orphan)
                    }
                }
            }
            Fact::Dispute(told) => self.disputed(txn, account, told, after).await,
        }
    }

    /// An attempt was paid. Of what the provider gave back since, only that it did is known here.
    pub(crate) async fn attempt_paid(
        &self,
        txn: &DatabaseTransaction,
        sale: sale::Model,
        attempt: attempt::Model,
        paid: Taken<'_>,
        after: &mut After,
    ) -> Result<Outcome> {
        if [attempt_state::PAID, attempt_state::PAID_WRONG].contains(&attempt.state.as_str()) {
            return Ok(Outcome::NothingNew);
        }
        let right = paid.amount_minor == attempt.amount_minor && paid.currency == attempt.currency;
        let now_ms = self.now_ms();
        let patience_ms = self.rules.credit_patience_ms;
        // The provider's clock and ours may disagree: what was ordered a moment ago cannot have been paid long ago.
        let paid_long_ago = self.wall_ms() - paid.paid_at_ms > patience_ms;
        let ordered_long_ago = now_ms - attempt.created_ms > patience_ms;
        let late = paid_long_ago && ordered_long_ago || now_ms > attempt.expires_ms + patience_ms;

        let mut change: attempt::ActiveModel = attempt.into();
        change.state = Set(if right { attempt_state::PAID } else { attempt_state::PAID_WRONG }.into());
        change.provider_txn_id = Set(paid.provider_txn_id.map(str::to_owned));
        change.paid_minor = Set(Some(paid.amount_minor));
        change.paid_currency = Set(Some(paid.currency.to_owned()));
        change.due_ms = Set(None);
        let attempt = change.clone().try_into_model()?;
        change.update_without_returning(txn).await?;

        let event = match (right, paid.returned) {
            (false, _) => Event::PaidWrong,
            (true, true) => Event::PaidReturned,
            (true, false) => Event::Paid { amount_minor: paid.amount_minor, late },
        };
        self.move_sale(txn, sale, event, Some((&attempt, paid.amount_minor)), after).await?;
        Ok(Outcome::Applied)
    }

    /// An attempt can no longer be paid; if it was the last, neither can the sale.
    pub(crate) async fn attempt_closed(
        &self,
        txn: &DatabaseTransaction,
        sale: sale::Model,
        attempt: attempt::Model,
        after: &mut After,
    ) -> Result<Outcome> {
        if !attempt_state::OPEN.contains(&attempt.state.as_str()) {
            return Ok(Outcome::NothingNew);
        }
        let mut change: attempt::ActiveModel = attempt.into();
        change.state = Set(attempt_state::CLOSED.into());
        change.due_ms = Set(None);
        change.update_without_returning(txn).await?;
        let open = attempt::Entity::find()
            .filter(attempt::Column::SaleId.eq(sale.id))
            .filter(attempt::Column::State.is_in(attempt_state::OPEN))
            .count(txn)
            .await?;
        if open == 0 {
            self.move_sale(txn, sale, Event::Unpayable, None, after).await?;
        }
        Ok(Outcome::Applied)
    }

    /// The provider says where a refund stands.
    pub(crate) async fn refund_moved(
        &self,
        txn: &DatabaseTransaction,
        known: refund::Model,
        state: RefundState,
        heard: Heard,
        after: &mut After,
    ) -> Result<Outcome> {
        let sale = self.lock_sale(txn, known.sale_id).await?;
        let refund = refund::Entity::find_by_id(known.id).one(txn).await?.ok_or(Error::NotFound("refund"))?;
        if refund.state == refund_state::DONE {
            return self.done_refund_moved(txn, sale, refund, state, heard, after).await;
        }
        let on_its_way = [refund_state::SUBMITTED, refund_state::PROCESSING, refund_state::STUCK];
        if !on_its_way.contains(&refund.state.as_str()) {
            return Ok(Outcome::NothingNew);
        }
        let own = refund.is_own();
        let outside = refund.is_outside();
        let reference = refund.out_refund_no.clone();
        let mut change: refund::ActiveModel = refund.clone().into();
        let now_ms = self.now_ms();
        let event = match state {
            RefundState::Done => {
                change.state = Set(refund_state::DONE.into());
                change.due_ms = Set(None);
                ledger::post(txn, self.refund_posting(&sale, &refund, Kind::RefundDone)).await?;
                (own && !outside).then_some(Event::RefundDone)
            }
            RefundState::Processing => {
                change.state = Set(refund_state::PROCESSING.into());
                change.note = Set(String::new());
                change.due_ms = Set(Some(now_ms + self.rules.refund_wait_ms(refund.tries)));
                None
            }
            // Nothing went back: what was made elsewhere is made again there, if at all.
            RefundState::Closed if outside => {
                change.state = Set(refund_state::CANCELLED.into());
                change.due_ms = Set(None);
                let attempt = find_attempt_row(txn, refund.attempt_id).await?;
                let (_, cancelled) = refund_kinds(&attempt);
                ledger::post(txn, self.refund_posting(&sale, &refund, cancelled)).await?;
                let message = format!("refund {reference}, made at the provider, did not go through");
                after.alarm(sale.operator_id, Some(sale.machine_id), message);
                own.then_some(Event::RefundReversed)
            }
            // Nothing went back: the provider wants a new number for a new try.
            RefundState::Closed => {
                change.state = Set(refund_state::SUBMITTED.into());
                change.out_refund_no = Set(refunds::number_beyond(txn, refund.account_id, &reference).await?);
                change.note = Set(format!("{reference} was closed by the provider"));
                change.due_ms = Set(Some(now_ms + self.rules.refund_wait_ms(refund.tries)));
                None
            }
            RefundState::Abnormal => {
                change.state = Set(refund_state::STUCK.into());
                change.due_ms = Set(None);
                after.alarm(sale.operator_id, Some(sale.machine_id), format!("refund {reference} is stuck"));
                own.then_some(Event::RefundStuck)
            }
            RefundState::NotFound => return Ok(Outcome::NothingNew),
        };
        change.update_without_returning(txn).await?;
        if let Some(event) = event {
            self.move_sale(txn, sale, event, None, after).await?;
        } else if outside && own && state == RefundState::Done {
            self.tell_of_elsewhere(txn, sale, refund.attempt_id, after).await?;
        }
        Ok(Outcome::Applied)
    }

    /// A refund that went through is said to stand elsewhere. Told, that may be old news that came late: the provider is
    /// asked. Asked, it is so: the money is with the provider again, and a person must act.
    async fn done_refund_moved(
        &self,
        txn: &DatabaseTransaction,
        sale: sale::Model,
        refund: refund::Model,
        state: RefundState,
        heard: Heard,
        after: &mut After,
    ) -> Result<Outcome> {
        let failed = matches!(state, RefundState::Closed | RefundState::Abnormal);
        let mut change: refund::ActiveModel = refund.clone().into();
        match (heard, failed) {
            (Heard::Told, false) => return Ok(Outcome::NothingNew),
            (Heard::Told, true) => {
                change.due_ms = Set(Some(self.now_ms()));
                change.update_without_returning(txn).await?;
                return Ok(Outcome::NothingNew);
            }
            (Heard::Asked, false) => {
                change.due_ms = Set(None);
                change.update_without_returning(txn).await?;
                return Ok(Outcome::NothingNew);
            }
            (Heard::Asked, true) => {}
        }
        ledger::post(txn, self.refund_posting(&sale, &refund, Kind::RefundReversed)).await?;
        change.state = Set(refund_state::STUCK.into());
        change.due_ms = Set(None);
        change.reversals = Set(refund.reversals + 1);
        change.note = Set("went through, and failed later".into());
        change.update_without_returning(txn).await?;
        let message = format!("refund {} went through and failed later", refund.out_refund_no);
        after.alarm(sale.operator_id, Some(sale.machine_id), message);
        if refund.is_own() {
            self.move_sale(txn, sale, Event::RefundReversed, None, after).await?;
        }
        Ok(Outcome::Applied)
    }

    /// A posting of all of a refund.
    pub(crate) fn refund_posting(&self, sale: &sale::Model, refund: &refund::Model, kind: Kind) -> Posting {
        let reference = refund.done_reference();
        Posting { currency: refund.currency.clone(), ..self.posting(sale, kind, reference, refund.amount_minor) }
    }

    /// A new number for the provider: letters and digits, within every provider's limits.
    pub(crate) fn new_number(&self, prefix: &str) -> String {
        format!("{prefix}{}", clock::random_text(&*self.random, 25))
    }
}

/// How a state was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The provider told of it, some time after it was so.
    Told,
    /// The provider was asked, and says that it is so now.
    Asked,
}

/// A payment as it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    /// Absent if the payment is known by its refund alone.
    pub provider_txn_id: Option<&'a str>,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub paid_at_ms: i64,
    /// Money of it went back since.
    pub returned: bool,
}

impl<'a> Taken<'a> {
    pub fn of(paid: &'a Paid) -> Self {
        Self {
            provider_txn_id: Some(&paid.provider_txn_id),
            amount_minor: paid.amount.amount_minor,
            currency: paid.amount.currency.code(),
            paid_at_ms: paid.paid_at_ms,
            returned: false,
        }
    }
}

pub(crate) async fn find_attempt_row(txn: &DatabaseTransaction, attempt_id: i64) -> Result<attempt::Model> {
    attempt::Entity::find_by_id(attempt_id).one(txn).await?.ok_or(Error::NotFound("attempt"))
}

pub(crate) async fn find_attempt(
    txn: &DatabaseTransaction,
    account_id: i64,
    number: &str,
) -> Result<Option<attempt::Model>> {
    Ok(attempt::Entity::find()
        .filter(attempt::Column::AccountId.eq(account_id))
        .filter(attempt::Column::OutTradeNo.eq(number))
        .one(txn)
        .await?)
}

pub(crate) async fn find_refund(
    txn: &DatabaseTransaction,
    account_id: i64,
    number: &str,
) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AccountId.eq(account_id))
        .filter(refund::Column::OutRefundNo.eq(number))
        .one(txn)
        .await?)
}
