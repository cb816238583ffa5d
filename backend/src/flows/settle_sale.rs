//! Carrying out what the decider decided: state, ledger, refund and command in the caller's transaction, and what is to
//! be published once it is committed.

use crate::{
    Context, Error, Result,
    access::operator,
    flows::after_commit::AfterCommit,
    ledger::{self, Kind},
    modules::commands::{Purpose, queue_credit},
    payments::{
        attempt, numbers,
        of_sale::{
            externally_returned_minor, next_cause, other_refunds_stuck, own_refund, paid_attempt, refund_kinds,
            refundable_minor, refunds_of, returning_minor,
        },
        refund,
        states::{AttemptState, Cause, DisputeStanding, RefundProgress},
    },
    sales::{
        rows::posting,
        sale,
        state::{Decision, Effect, Event, RefundStage, Sale, SaleReason, SaleState, decide},
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};

/// Decides what an event means for a (locked) sale, and carries it out. `paid` is the attempt that was paid and what
/// for, where the event is about one.
pub(crate) async fn apply_event(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: sale::Model,
    event: Event,
    paid: Option<(&attempt::Model, i64)>,
    after: &mut AfterCommit,
) -> Result<()> {
    let sale = for_deciding(txn, &row, Some(event)).await?;
    let decision = decide(&sale, event);
    if decision.is_noop(&sale) {
        return Ok(());
    }
    // Effects on the money come first: they take the sale as it was.
    for effect in &decision.effects {
        execute(ctx, txn, &row, *effect, paid, after).await?;
    }
    let paid_now = matches!(event, Event::Paid { .. } | Event::PaidReturned);
    let row = store_decision(ctx, txn, row, &decision, paid_now).await?;
    metrics::counter!("coinwire_sale_steps_total", "state" => decision.state.as_str()).increment(1);
    after.sales.push(row);
    Ok(())
}

pub(crate) async fn for_deciding(txn: &DatabaseTransaction, row: &sale::Model, event: Option<Event>) -> Result<Sale> {
    let state = row.state;
    let may_give_back = matches!(event, Some(Event::CreditDone { .. } | Event::CreditFailed { .. }));
    let awaits_credit = matches!(state, SaleState::Paid | SaleState::Crediting);
    let refund_remainder = may_give_back
        && awaits_credit
        && operator::Entity::find_by_id(row.operator_id).one(txn).await?.is_some_and(|o| o.refund_remainder);
    let elsewhere_minor = if awaits_credit && event.is_some_and(|event| may_return_money(event, row.pulses)) {
        externally_returned_minor(txn, row).await?
    } else {
        0
    };
    let refund = match state {
        SaleState::RefundPending | SaleState::Refunded | SaleState::Review => own_refund(txn, row.id).await?,
        SaleState::Created
        | SaleState::AwaitingPayment
        | SaleState::Paid
        | SaleState::Crediting
        | SaleState::Credited
        | SaleState::Expired
        | SaleState::Settled => None,
    };
    Ok(Sale {
        state,
        amount_minor: row.amount_minor,
        pulses: row.pulses,
        pulses_given: row.pulses_given,
        refund: match refund {
            None => RefundStage::None,
            Some(refund) if [RefundProgress::Pending, RefundProgress::Held].contains(&refund.state) => {
                RefundStage::Pending
            }
            Some(_) => RefundStage::Submitted,
        },
        served_and_refunded: row.served_and_refunded,
        asked: row.credit_asked,
        refund_remainder,
        elsewhere_minor,
    })
}

pub(crate) async fn store_decision(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: sale::Model,
    decision: &Decision,
    paid_now: bool,
) -> Result<sale::Model> {
    let now_ms = ctx.wall_ms();
    let mut change: sale::ActiveModel = row.clone().into();
    change.state = Set(decision.state);
    change.pulses_given = Set(decision.pulses_given);
    change.served_and_refunded = Set(decision.served_and_refunded);
    change.credit_asked = Set(decision.asked);
    change.version = Set(row.version + 1);
    if let Some(reason) = decision.reason {
        change.reason = Set(reason);
    }
    if paid_now && row.paid_ms.is_none() {
        change.paid_ms = Set(Some(now_ms));
    }
    if decision.state.at_rest() && row.finished_ms.is_none() {
        change.finished_ms = Set(Some(now_ms));
    }
    if decision.state == SaleState::Credited {
        change.reason = Set(SaleReason::None);
    }
    let changed = change.clone().try_into_model()?;
    change.update_without_returning(txn).await?;
    Ok(changed)
}

pub(crate) async fn execute(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: &sale::Model,
    effect: Effect,
    paid: Option<(&attempt::Model, i64)>,
    after: &mut AfterCommit,
) -> Result<()> {
    match effect {
        Effect::PostPayment | Effect::PostSuspense => {
            let (attempt, amount_minor) =
                paid.ok_or_else(|| Error::inconsistent("a decision to book a payment without one"))?;
            let kind = if effect == Effect::PostPayment { Kind::Payment } else { Kind::Suspense };
            let reference = format!("attempt-{}", attempt.id);
            let mut posting = posting(ctx, row, kind, reference, amount_minor);
            posting.currency = attempt.taken_currency().to_owned();
            ledger::post(txn, posting).await
        }
        Effect::QueueCredit | Effect::AskCredit => {
            let (attempt, _) = paid.ok_or_else(|| Error::inconsistent("a decision to credit without a payment"))?;
            let purpose = if effect == Effect::QueueCredit { Purpose::Give } else { Purpose::Ask };
            after.command(queue_credit(ctx, txn, row, &attempt.out_trade_no, purpose).await?);
            Ok(())
        }
        Effect::Refund { cause, amount_minor } => {
            let attempt = match paid {
                Some((attempt, _)) => attempt.clone(),
                None => paid_attempt(txn, row.id)
                    .await?
                    .ok_or_else(|| Error::inconsistent("a refund of a sale that nothing paid"))?,
            };
            start_refund(ctx, txn, row, &attempt, cause, amount_minor).await
        }
        Effect::CancelRefund => {
            let refund = own_refund(txn, row.id)
                .await?
                .ok_or_else(|| Error::inconsistent("a refund that was decided about is not there"))?;
            let reference = format!("refund-{}", refund.id);
            let posting = posting(ctx, row, Kind::RefundCancelled, reference, refund.amount_minor);
            let mut change: refund::ActiveModel = refund.into();
            change.state = Set(RefundProgress::Cancelled);
            change.due_ms = Set(None);
            change.update_without_returning(txn).await?;
            ledger::post(txn, posting).await
        }
        Effect::AcceptSuspense => accept_suspense(ctx, txn, row, paid).await,
        Effect::RetryRefund => {
            let refund = own_refund(txn, row.id)
                .await?
                .ok_or_else(|| Error::inconsistent("a refund that was decided about is not there"))?;
            retry(ctx, txn, refund).await
        }
        Effect::RetryOtherRefunds => {
            for refund in other_refunds_stuck(txn, row.id).await? {
                retry(ctx, txn, refund).await?;
            }
            Ok(())
        }
        Effect::PostLoss => {
            let lost = match returning_minor(txn, row.id).await? {
                0 => row.amount_minor,
                returning_minor => returning_minor,
            };
            ledger::post(txn, posting(ctx, row, Kind::Loss, format!("sale-{}", row.id), lost)).await
        }
        Effect::Alarm(message) => {
            after.alarm(row.operator_id, Some(row.machine_id), format!("{message}: sale {}", row.token));
            Ok(())
        }
    }
}

/// Has a stuck refund tried again. The provider is asked about it first: a person may have acted there.
async fn retry(ctx: &Context, txn: &DatabaseTransaction, refund: refund::Model) -> Result<()> {
    let mut change: refund::ActiveModel = refund.into();
    change.state = Set(RefundProgress::Submitted);
    change.tries = Set(0);
    change.due_ms = Set(Some(ctx.now_ms()));
    change.update_without_returning(txn).await?;
    Ok(())
}

/// Decides a refund of an attempt, never of more than is left of what was paid. While a dispute is open it is held back:
/// the payer's bank has the money.
pub(crate) async fn start_refund(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: &sale::Model,
    attempt: &attempt::Model,
    cause: Cause,
    amount_minor: i64,
) -> Result<()> {
    let amount_minor = amount_minor.min(refundable_minor(txn, attempt).await?);
    if amount_minor <= 0 {
        return Err(Error::Conflict("what is left to refund"));
    }
    let held = row.dispute == DisputeStanding::Opened;
    let cause = next_cause(txn, attempt.id, cause).await?;
    let refund = refund::ActiveModel {
        sale_id: Set(row.id),
        attempt_id: Set(attempt.id),
        account_id: Set(attempt.account_id),
        out_refund_no: Set(numbers::next_free_number(txn, attempt, cause).await?),
        cause: Set(cause),
        amount_minor: Set(amount_minor),
        currency: Set(attempt.taken_currency().into()),
        state: Set(if held { RefundProgress::Held } else { RefundProgress::Pending }),
        note: Set(String::new()),
        tries: Set(0),
        due_ms: Set((!held).then(|| ctx.now_ms())),
        created_ms: Set(ctx.wall_ms()),
        ..Default::default()
    };
    let refund_id = refund::Entity::insert(refund).exec(txn).await?.last_insert_id;
    let (kind, _) = refund_kinds(attempt);
    ledger::post(txn, posting(ctx, row, kind, format!("refund-{refund_id}"), amount_minor)).await
}

/// A payment that was in suspense is the sale's own from now on, for the amount that was paid; and what went back of it
/// went back of the sale.
async fn accept_suspense(
    ctx: &Context,
    txn: &DatabaseTransaction,
    row: &sale::Model,
    paid: Option<(&attempt::Model, i64)>,
) -> Result<()> {
    let (attempt, amount_minor) =
        paid.ok_or_else(|| Error::inconsistent("a decision to book a payment without one"))?;
    let reference = format!("attempt-{}", attempt.id);
    ledger::post(txn, posting(ctx, row, Kind::SuspenseAccepted, reference, amount_minor)).await?;
    for refund in refunds_of(txn, attempt.id).await? {
        for kind in [Kind::SuspenseRefundCancelled, Kind::Refund] {
            let reference = format!("refund-{}-accepted", refund.id);
            ledger::post(txn, posting(ctx, row, kind, reference, refund.amount_minor)).await?;
        }
    }
    let mut change: attempt::ActiveModel = attempt.clone().into();
    change.state = Set(AttemptState::Paid);
    change.amount_minor = Set(amount_minor);
    change.update_without_returning(txn).await?;
    let mut change: sale::ActiveModel = row.clone().into();
    change.amount_minor = Set(amount_minor);
    change.update_without_returning(txn).await?;
    Ok(())
}

/// Whether an event may lead to money going back, where so many pulses were bought.
fn may_return_money(event: Event, bought: i32) -> bool {
    match event {
        Event::CreditDone { pulses } => pulses < bought,
        Event::CreditFailed { .. } | Event::CreditExpired | Event::CreditSilent => true,
        Event::HandedOff
        | Event::OrderRefused
        | Event::OrderUnanswered
        | Event::Paid { .. }
        | Event::PaidWrong
        | Event::PaidReturned
        | Event::ReturnedExternally { .. }
        | Event::RefundReversed
        | Event::Unpayable
        | Event::CreditTaken
        | Event::RefundDone
        | Event::RefundStuck => false,
    }
}
