//! What a provider says of a payment or a refund, whichever way we learn it: one place, one transaction.

use super::{
    Cause, account, attempt, attempt_state,
    provider::{Fact, Paid, RefundState, TradeState},
    refund, refund_state, refunds,
};
use crate::{
    Backend, Error, Result, clock,
    ledger::{self, Kind, Posting},
    sales::{After, Event},
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
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::NothingNew => "nothing_new",
            Outcome::Orphan => "orphan",
            Outcome::Foreign => "foreign",
            Outcome::ToBeAsked => "to_be_asked",
        }
    }
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
            && paid.paid_at_ms < self.started_ms
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
                    TradeState::Paid(paid) => self.find_or_rebuild(txn, account, out_trade_no, paid, after).await?,
                    TradeState::NotPaid | TradeState::NotFound | TradeState::Closed | TradeState::Refunded => {
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
                    TradeState::Paid(paid) => self.attempt_paid(txn, sale, attempt, paid, after).await,
                    TradeState::Closed => self.attempt_closed(txn, sale, attempt, after).await,
                    TradeState::NotPaid | TradeState::NotFound => Ok(Outcome::NothingNew),
                    // Somebody gave the money back at the provider: the sale is over, and a person looks why.
                    TradeState::Refunded if attempt_state::OPEN.contains(&attempt.state.as_str()) => {
                        let message = format!("payment {out_trade_no} was refunded before we knew it was paid");
                        after.alarm(account.operator_id, Some(sale.machine_id), message);
                        self.attempt_closed(txn, sale, attempt, after).await
                    }
                    TradeState::Refunded => Ok(Outcome::NothingNew),
                }
            }
            Fact::Refund { out_refund_no, state } => {
                let Some(known) = find_refund(txn, account.id, out_refund_no).await? else {
                    after.alarm(account.operator_id, None, format!("refund {out_refund_no} fits no sale"));
                    return Ok(Outcome::Orphan);
                };
                self.refund_moved(txn, known, *state, after).await
            }
        }
    }

    async fn attempt_paid(
        &self,
        txn: &DatabaseTransaction,
        sale: crate::sales::sale::Model,
        attempt: attempt::Model,
        paid: &Paid,
        after: &mut After,
    ) -> Result<Outcome> {
        if [attempt_state::PAID, attempt_state::PAID_WRONG].contains(&attempt.state.as_str()) {
            return Ok(Outcome::NothingNew);
        }
        let right = paid.amount.amount_minor == attempt.amount_minor && paid.amount.currency.code() == attempt.currency;
        let now_ms = self.now_ms();
        let patience_ms = self.rules.credit_patience_ms;
        // The provider's clock and ours may disagree: what was ordered a moment ago cannot have been paid long ago.
        let paid_long_ago = self.wall_ms() - paid.paid_at_ms > patience_ms;
        let ordered_long_ago = now_ms - attempt.created_ms > patience_ms;
        let late = paid_long_ago && ordered_long_ago || now_ms > attempt.expires_ms + patience_ms;

        let mut change: attempt::ActiveModel = attempt.into();
        change.state = Set(if right { attempt_state::PAID } else { attempt_state::PAID_WRONG }.into());
        change.provider_txn_id = Set(Some(paid.provider_txn_id.clone()));
        change.due_ms = Set(None);
        let attempt = change.clone().try_into_model()?;
        change.update_without_returning(txn).await?;

        let event = if right { Event::Paid { amount_minor: paid.amount.amount_minor, late } } else { Event::PaidWrong };
        self.move_sale(txn, sale, event, Some((&attempt, paid.amount.amount_minor)), after).await?;
        Ok(Outcome::Applied)
    }

    /// An attempt can no longer be paid; if it was the last, neither can the sale.
    pub(crate) async fn attempt_closed(
        &self,
        txn: &DatabaseTransaction,
        sale: crate::sales::sale::Model,
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

    pub(crate) async fn refund_moved(
        &self,
        txn: &DatabaseTransaction,
        known: refund::Model,
        state: RefundState,
        after: &mut After,
    ) -> Result<Outcome> {
        let sale = self.lock_sale(txn, known.sale_id).await?;
        let refund = refund::Entity::find_by_id(known.id).one(txn).await?.ok_or(Error::NotFound("refund"))?;
        let on_its_way = [refund_state::SUBMITTED, refund_state::PROCESSING, refund_state::STUCK];
        if !on_its_way.contains(&refund.state.as_str()) {
            return Ok(Outcome::NothingNew);
        }
        let own = refund.cause != Cause::SecondPayment.as_str();
        let reference = refund.out_refund_no.clone();
        let mut change: refund::ActiveModel = refund.clone().into();
        let now_ms = self.now_ms();
        let event = match state {
            RefundState::Done => {
                change.state = Set(refund_state::DONE.into());
                change.due_ms = Set(None);
                let posting = Posting {
                    kind: Kind::RefundDone,
                    reference: format!("refund-{}", refund.id),
                    operator_id: sale.operator_id,
                    sale_id: Some(sale.id),
                    machine_id: Some(sale.machine_id),
                    amount_minor: refund.amount_minor,
                    currency: refund.currency.clone(),
                    at_ms: self.wall_ms(),
                };
                ledger::post(txn, posting).await?;
                own.then_some(Event::RefundDone)
            }
            RefundState::Processing => {
                change.state = Set(refund_state::PROCESSING.into());
                change.due_ms = Set(Some(now_ms + self.rules.refund_wait_ms(refund.tries)));
                None
            }
            // Nothing went back: the provider wants a new number for a new try.
            RefundState::Closed => {
                change.state = Set(refund_state::SUBMITTED.into());
                change.out_refund_no = Set(refunds::number_after(&reference));
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
        }
        Ok(Outcome::Applied)
    }

    /// A new number for the provider: letters and digits, within every provider's limits.
    pub(crate) fn new_number(&self, prefix: &str) -> String {
        format!("{prefix}{}", clock::random_text(&*self.random, 25))
    }
}

async fn find_attempt(txn: &DatabaseTransaction, account_id: i64, number: &str) -> Result<Option<attempt::Model>> {
    Ok(attempt::Entity::find()
        .filter(attempt::Column::AccountId.eq(account_id))
        .filter(attempt::Column::OutTradeNo.eq(number))
        .one(txn)
        .await?)
}

async fn find_refund(txn: &DatabaseTransaction, account_id: i64, number: &str) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AccountId.eq(account_id))
        .filter(refund::Column::OutRefundNo.eq(number))
        .one(txn)
        .await?)
}
