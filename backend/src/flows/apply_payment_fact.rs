//! Applies what a provider reports about a payment or a refund, however it was learned: in one place, in one
//! transaction.

use crate::{
    Context, Error, Result,
    flows::{
        after_commit::AfterCommit,
        apply_dispute::disputed,
        apply_outside_refund::{apply_external_return, book_external_refund},
        apply_payment::{attempt_closed, attempt_paid},
        correct_refund::correct_refund,
        rebuild_order::rebuild_order,
        settle_sale::apply_event,
    },
    ledger::{self, Kind},
    payments::{
        account, attempt,
        found::{find_attempt, find_attempt_row, find_refund},
        numbers,
        of_sale::{refund_kinds, refund_posting},
        outcome::{Outcome, PaymentDetails, release_refund_number, was_cancelled_here},
        provider::{Fact, Paid, RefundState, TradeState},
        refund,
        states::{AttemptState, RefundProgress},
    },
    sales::{rows::lock_sale, sale, state::Event},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

/// Applies a fact from a notification. A payment from before this process started may be out of date: it may have
/// been refunded since, which a restored store does not know. So the provider is queried for its current state.
pub(crate) async fn apply_notified_fact(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    fact: &Fact,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    if let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) } = fact
        && paid.paid_at_ms < ctx.began_ms()
        && let Some(attempt) = find_or_rebuild(ctx, txn, account, out_trade_no, paid, after).await?
        && !AttemptState::MONEY_CAME.contains(&attempt.state)
    {
        let mut change: attempt::ActiveModel = attempt.into();
        change.due_ms = Set(Some(ctx.now_ms()));
        // A provider that does not go by our numbers is asked by this one.
        change.provider_txn_id = Set(Some(paid.provider_txn_id.clone()));
        change.update_without_returning(txn).await?;
        return Ok(Outcome::NeedsQuery);
    }
    apply_fact(ctx, txn, account, fact, after).await
}

async fn find_or_rebuild(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    out_trade_no: &str,
    paid: &Paid,
    after: &mut AfterCommit,
) -> Result<Option<attempt::Model>> {
    match find_attempt(txn, account.id, out_trade_no).await? {
        Some(known) => Ok(Some(known)),
        None => rebuild_order(ctx, txn, account, out_trade_no, &paid.attach, after).await,
    }
}

/// Applies a fact in a transaction. Facts may come twice, late and out of order: states only move forward.
pub(crate) async fn apply_fact(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    fact: &Fact,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    match fact {
        Fact::Payment { out_trade_no, state } => {
            let known = match state {
                TradeState::Paid(paid) | TradeState::Refunded(paid) => {
                    find_or_rebuild(ctx, txn, account, out_trade_no, paid, after).await?
                }
                TradeState::NotPaid
                | TradeState::NotFound
                | TradeState::Closed
                | TradeState::PaidUnknownCurrency(_) => find_attempt(txn, account.id, out_trade_no).await?,
            };
            let Some(known) = known else {
                after.alarm(account.operator_id, None, format!("payment {out_trade_no} fits no order"));
                return Ok(Outcome::Orphan);
            };
            // The sale is locked first, then its attempt is read again: two facts of one sale take turns.
            let sale = lock_sale(txn, known.sale_id).await?;
            let attempt = find_attempt_row(txn, known.id).await?;
            match state {
                TradeState::Paid(paid) => attempt_paid(ctx, txn, sale, attempt, PaymentDetails::of(paid), after).await,
                TradeState::PaidUnknownCurrency(paid) => {
                    let taken = PaymentDetails {
                        provider_txn_id: Some(&paid.provider_txn_id),
                        amount_minor: paid.amount_minor,
                        currency: &paid.currency,
                        paid_at_ms: ctx.wall_ms(),
                        returned: false,
                    };
                    attempt_paid(ctx, txn, sale, attempt, taken, after).await
                }
                TradeState::Closed => attempt_closed(ctx, txn, sale, attempt, after).await,
                TradeState::NotPaid | TradeState::NotFound => Ok(Outcome::Unchanged),
                TradeState::Refunded(paid) => {
                    let taken = PaymentDetails { returned: true, ..PaymentDetails::of(paid) };
                    attempt_paid(ctx, txn, sale, attempt, taken, after).await
                }
            }
        }
        Fact::Refund { out_refund_no, state, told } => {
            match (find_refund(txn, account.id, out_refund_no).await?, told) {
                (Some(known), Some(told)) if was_cancelled_here(&known) && state.moves_money() => {
                    release_refund_number(txn, known).await?;
                    book_external_refund(ctx, txn, account, out_refund_no, *state, told, after).await
                }
                (Some(known), told) => {
                    // An amount of all refunds together says nothing of this one.
                    let own = told.as_ref().filter(|told| !told.is_total);
                    let told_minor = own.map(|told| told.amount_minor);
                    refund_moved(ctx, txn, known, (*state, told_minor), FactSource::Notified, after).await
                }
                (None, Some(told)) => book_external_refund(ctx, txn, account, out_refund_no, *state, told, after).await,
                (None, None) => {
                    after.alarm(account.operator_id, None, format!("refund {out_refund_no} fits no sale"));
                    Ok(Outcome::Orphan)
                }
            }
        }
        Fact::Dispute(told) => disputed(ctx, txn, account, told, after).await,
    }
}

/// The provider says where a refund stands, and maybe how much it is of.
pub(crate) async fn refund_moved(
    ctx: &Context,
    txn: &DatabaseTransaction,
    known: refund::Model,
    (state, told_minor): (RefundState, Option<i64>),
    heard: FactSource,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    let sale = lock_sale(txn, known.sale_id).await?;
    let refund = refund::Entity::find_by_id(known.id)
        .one(txn)
        .await?
        .ok_or_else(|| Error::inconsistent("a refund that was just read is not there"))?;
    let known_minor = refund.amount_minor;
    let refund = match told_minor.filter(|_| state.moves_money()) {
        Some(told_minor) => correct_refund(ctx, txn, &sale, refund, told_minor, after).await?,
        None => refund,
    };
    if refund.state == RefundProgress::Done {
        let sale = if refund.is_external() && refund.amount_minor != known_minor {
            // It may have ended ours: then the sale waits for nothing more.
            apply_external_return(ctx, txn, sale, refund.attempt_id, after).await?;
            lock_sale(txn, known.sale_id).await?
        } else {
            sale
        };
        return done_refund_moved(ctx, txn, sale, refund, state, heard, after).await;
    }
    let on_its_way = [RefundProgress::Submitted, RefundProgress::Processing, RefundProgress::Stuck];
    if !on_its_way.contains(&refund.state) {
        return Ok(Outcome::Unchanged);
    }
    let own = refund.is_own();
    let external = refund.is_external();
    let reference = refund.out_refund_no.clone();
    let mut change: refund::ActiveModel = refund.clone().into();
    let now_ms = ctx.now_ms();
    let event = match state {
        RefundState::Done => {
            change.state = Set(RefundProgress::Done);
            change.due_ms = Set(None);
            ledger::post(txn, refund_posting(ctx, &sale, &refund, Kind::RefundDone)).await?;
            (own && !external).then_some(Event::RefundDone)
        }
        RefundState::Processing => {
            change.state = Set(RefundProgress::Processing);
            change.note = Set(String::new());
            change.due_ms = Set(Some(now_ms + ctx.rules.refund_wait_ms(refund.tries)));
            None
        }
        // Nothing went back: what was made elsewhere is made again there, if at all.
        RefundState::Closed if external => {
            change.state = Set(RefundProgress::Cancelled);
            change.due_ms = Set(None);
            let attempt = find_attempt_row(txn, refund.attempt_id).await?;
            let (_, cancelled) = refund_kinds(&attempt);
            ledger::post(txn, refund_posting(ctx, &sale, &refund, cancelled)).await?;
            let message = format!("refund {reference}, made at the provider, did not go through");
            after.alarm(sale.operator_id, Some(sale.machine_id), message);
            own.then_some(Event::RefundReversed)
        }
        // Nothing went back: the provider wants a new number for a new try. Again and again: more numbers would not help.
        RefundState::Closed => {
            let attempt = find_attempt_row(txn, refund.attempt_id).await?;
            let most = ctx.rules.refund_numbers_max;
            // Tried again by a person, who asks for one more number.
            let is_retry = refund.tries <= 1;
            if !is_retry && numbers::closed_before(&attempt.out_trade_no, &refund, most) + 1 >= most {
                change.note = Set("was closed by the provider again and again".into());
                stuck(&sale, &refund, &mut change, after)
            } else {
                change.state = Set(RefundProgress::Submitted);
                change.out_refund_no = Set(numbers::next_number_after(txn, refund.account_id, &reference).await?);
                change.reference = Set(None);
                change.note = Set(format!("{reference} was closed by the provider"));
                change.due_ms = Set(Some(now_ms + ctx.rules.refund_wait_ms(refund.tries)));
                None
            }
        }
        RefundState::Abnormal => stuck(&sale, &refund, &mut change, after),
        RefundState::NotFound => return Ok(Outcome::Unchanged),
    };
    change.update_without_returning(txn).await?;
    if let Some(event) = event {
        apply_event(ctx, txn, sale, event, None, after).await?;
    } else if external && own && state == RefundState::Done {
        apply_external_return(ctx, txn, sale, refund.attempt_id, after).await?;
    }
    Ok(Outcome::Applied)
}

/// A person must act on a refund.
fn stuck(
    sale: &sale::Model,
    refund: &refund::Model,
    change: &mut refund::ActiveModel,
    after: &mut AfterCommit,
) -> Option<Event> {
    change.state = Set(RefundProgress::Stuck);
    change.due_ms = Set(None);
    after.alarm(sale.operator_id, Some(sale.machine_id), format!("refund {} is stuck", refund.out_refund_no));
    refund.is_own().then_some(Event::RefundStuck)
}

/// A completed refund is reported in another state. From a notification, this may be a late message, so the
/// provider is queried. From a query, it is a fact: the money is with the provider again, and a person must act.
async fn done_refund_moved(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: sale::Model,
    refund: refund::Model,
    state: RefundState,
    heard: FactSource,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    let failed = matches!(state, RefundState::Closed | RefundState::Abnormal);
    let mut change: refund::ActiveModel = refund.clone().into();
    match (heard, failed) {
        (FactSource::Notified, false) => return Ok(Outcome::Unchanged),
        (FactSource::Notified, true) => {
            change.due_ms = Set(Some(ctx.now_ms()));
            change.update_without_returning(txn).await?;
            return Ok(Outcome::Unchanged);
        }
        (FactSource::Queried, false) => {
            change.due_ms = Set(None);
            change.update_without_returning(txn).await?;
            return Ok(Outcome::Unchanged);
        }
        (FactSource::Queried, true) => {}
    }
    ledger::post(txn, refund_posting(ctx, &sale, &refund, Kind::RefundReversed)).await?;
    change.state = Set(RefundProgress::Stuck);
    change.due_ms = Set(None);
    change.reversals = Set(refund.reversals + 1);
    change.note = Set("went through, and failed later".into());
    change.update_without_returning(txn).await?;
    let message = format!("refund {} went through and failed later", refund.out_refund_no);
    after.alarm(sale.operator_id, Some(sale.machine_id), message);
    if refund.is_own() {
        apply_event(ctx, txn, sale, Event::RefundReversed, None, after).await?;
    }
    Ok(Outcome::Applied)
}

/// How a state was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactSource {
    /// The provider told of it, some time after it was so.
    Notified,
    /// The provider was asked, and says that it is so now.
    Queried,
}
