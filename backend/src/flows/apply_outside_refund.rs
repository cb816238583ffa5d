//! Refunds that were made at the provider without us (in its console): they are booked, and our own refunds are reduced
//! by them.

use crate::{
    Context, Result,
    flows::{after_commit::AfterCommit, apply_payment::attempt_paid, settle_sale::apply_event},
    ids::{AttemptId, RefundId},
    ledger::{self, Posting},
    payments::{
        account, attempt,
        found::{find_attempt_row, find_refund, find_told_attempt},
        numbers,
        of_sale::{lost_in_disputes_minor, paid_attempt, refund_kinds, refund_posting, refundable_minor, refunds_of},
        outcome::{Outcome, PaymentDetails},
        provider::{Paid, RefundDetails, RefundState},
        refund,
        states::{AttemptState, Cause, RefundCause, RefundProgress},
    },
    sales::{
        rows::lock_sale,
        sale,
        state::{Event, SaleReason},
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};

/// What a refund of ours shall be, now that `told_minor` went back elsewhere and `left_minor` is left of the payment. One
/// that the provider does not know yet is less by what the consumer has already; one that it may know stands, as long as
/// it can: the provider refunds no more than was paid.
fn reduced_minor(state: RefundProgress, ours_minor: i64, told_minor: i64, left_minor: i64) -> i64 {
    let left_minor = left_minor.max(0);
    match state {
        RefundProgress::Pending | RefundProgress::Held => (ours_minor - told_minor).clamp(0, left_minor),
        RefundProgress::Submitted | RefundProgress::Processing | RefundProgress::Stuck => ours_minor.min(left_minor),
        RefundProgress::Done | RefundProgress::Cancelled => ours_minor,
    }
}

/// Books a refund that we did not ask for.
pub(crate) async fn book_external_refund(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    out_refund_no: &str,
    state: RefundState,
    told: &RefundDetails,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    let Some(known) = find_told_attempt(txn, account.id, &told.trade).await? else {
        let message = format!("refund {out_refund_no} of payment {} fits no order", told.trade.number());
        after.alarm(account.operator_id, None, message);
        return Ok(Outcome::Orphan);
    };
    let sale = lock_sale(txn, known.sale_id).await?;
    // Somebody else may have booked it while we waited for the sale.
    if !state.moves_money() || find_refund(txn, account.id, out_refund_no).await?.is_some() {
        return Ok(Outcome::Unchanged);
    }
    let (sale, attempt) = ensure_booked_as_paid(ctx, txn, sale, known.id, told.payment.as_ref(), after).await?;
    let told = &RefundDetails { amount_minor: amount_of(txn, &attempt, told).await?, ..told.clone() };
    let external = store_external_refund(ctx, txn, &attempt, out_refund_no, state, told).await?;
    let (kind, _) = refund_kinds(&attempt);
    ledger::post(txn, refund_posting(ctx, &sale, &external, kind)).await?;
    if external.state == RefundProgress::Done {
        ledger::post(txn, refund_posting(ctx, &sale, &external, ledger::Kind::RefundDone)).await?;
    }
    tracing::info!(operator_id = sale.operator_id.0, refund = out_refund_no, "a refund was made at the provider");
    metrics::counter!("coinwire_refunds_elsewhere_total").increment(1);
    if external.state == RefundProgress::Stuck {
        after.alarm(sale.operator_id, Some(sale.machine_id), format!("refund {out_refund_no} is stuck"));
    }
    let cause = external.id.to_string();
    reduce_own_refunds(ctx, txn, &sale, &attempt, external.amount_minor, (None, &cause)).await?;
    apply_external_return(ctx, txn, sale, attempt.id, after).await?;
    Ok(Outcome::Applied)
}

/// What a refund made elsewhere is of. Of an amount of all refunds together this is what no other refund explains: a guess, since
/// they are told late, twice and in another order. The provider is asked about it, and then it is corrected.
async fn amount_of(txn: &DatabaseTransaction, attempt: &attempt::Model, told: &RefundDetails) -> Result<i64> {
    if !told.is_total {
        return Ok(told.amount_minor);
    }
    let not_told = [RefundProgress::Pending, RefundProgress::Held];
    let refunds = refunds_of(txn, attempt.id).await?;
    let others = refunds.iter().filter(|refund| !not_told.contains(&refund.state));
    Ok((told.amount_minor - others.map(|refund| refund.amount_minor).sum::<i64>()).max(1))
}

/// Books an attempt as paid that is not known to be: only what was paid can be refunded or disputed. What was paid is what
/// was asked, if nothing else is told. Gives sale and attempt as they are then.
pub(crate) async fn ensure_booked_as_paid(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: sale::Model,
    attempt_id: AttemptId,
    payment: Option<&Paid>,
    after: &mut AfterCommit,
) -> Result<(sale::Model, attempt::Model)> {
    let attempt = find_attempt_row(txn, attempt_id).await?;
    if AttemptState::MONEY_CAME.contains(&attempt.state) {
        return Ok((sale, attempt));
    }
    let currency = attempt.currency.clone();
    let asked = PaymentDetails {
        provider_txn_id: None,
        amount_minor: attempt.amount_minor,
        currency: &currency,
        paid_at_ms: ctx.wall_ms(),
        returned: true,
    };
    let taken = payment.map_or(asked, |paid| PaymentDetails { returned: true, ..PaymentDetails::of(paid) });
    let sale_id = sale.id;
    attempt_paid(ctx, txn, sale, attempt, taken, after).await?;
    Ok((lock_sale(txn, sale_id).await?, find_attempt_row(txn, attempt_id).await?))
}

async fn store_external_refund(
    ctx: &Context,
    txn: &DatabaseTransaction,
    attempt: &attempt::Model,
    out_refund_no: &str,
    state: RefundState,
    told: &RefundDetails,
) -> Result<refund::Model> {
    let (state, due_ms) = match state {
        RefundState::Done => (RefundProgress::Done, told.is_total.then(|| ctx.now_ms())),
        RefundState::Abnormal => (RefundProgress::Stuck, None),
        RefundState::Processing | RefundState::Closed | RefundState::NotFound => {
            (RefundProgress::Processing, Some(ctx.now_ms() + ctx.rules.refund_first_ms))
        }
    };
    let mut row = refund::ActiveModel {
        sale_id: Set(attempt.sale_id),
        attempt_id: Set(attempt.id),
        account_id: Set(attempt.account_id),
        out_refund_no: Set(out_refund_no.to_owned()),
        cause: Set(RefundCause::only(Cause::Elsewhere)),
        amount_minor: Set(told.amount_minor),
        currency: Set(attempt.taken_currency().to_owned()),
        state: Set(state),
        note: Set(String::new()),
        tries: Set(0),
        due_ms: Set(due_ms),
        created_ms: Set(ctx.wall_ms()),
        outside_id: Set(told.provider_refund_id.clone()),
        reversals: Set(0),
        reference: Set(Some(told.provider_refund_id.clone())),
        ..Default::default()
    };
    row.id = Set(refund::Entity::insert(row.clone()).exec(txn).await?.last_insert_id);
    Ok(row.try_into_model()?)
}

/// Cuts our refunds of an attempt by what went back elsewhere, or by another of ours than was thought. The cause makes the
/// posting's reference unique.
pub(crate) async fn reduce_own_refunds(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    attempt: &attempt::Model,
    told_minor: i64,
    (told, cause): (Option<RefundId>, &str),
) -> Result<()> {
    let refunds = refunds_of(txn, attempt.id).await?;
    let mut asked_minor: i64 = refunds.iter().map(|refund| refund.amount_minor).sum();
    let mut told_minor = told_minor;
    for ours in refunds.iter().filter(|refund| !refund.is_external() && Some(refund.id) != told) {
        let others_minor = asked_minor - ours.amount_minor;
        let left_minor = attempt.taken_minor() - others_minor - lost_in_disputes_minor(txn, attempt.id).await?;
        let new_minor = reduced_minor(ours.state, ours.amount_minor, told_minor, left_minor);
        if new_minor != ours.amount_minor {
            reduce_refund(ctx, txn, sale, attempt, ours, new_minor, cause).await?;
            // What was taken off one of ours is not taken off the next too.
            let cut_minor = ours.amount_minor - new_minor;
            (asked_minor, told_minor) = (asked_minor - cut_minor, (told_minor - cut_minor).max(0));
        }
    }
    Ok(())
}

async fn reduce_refund(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    attempt: &attempt::Model,
    ours: &refund::Model,
    new_minor: i64,
    cause: &str,
) -> Result<()> {
    let (_, cancelled) = refund_kinds(attempt);
    let posting = Posting {
        reference: format!("refund-{}-by-{cause}", ours.id),
        amount_minor: ours.amount_minor - new_minor,
        ..refund_posting(ctx, sale, ours, cancelled)
    };
    ledger::post(txn, posting).await?;
    let mut change: refund::ActiveModel = ours.clone().into();
    if new_minor == 0 {
        change.state = Set(RefundProgress::Cancelled);
        change.due_ms = Set(None);
    } else {
        change.amount_minor = Set(new_minor);
        // A number that may be known to the provider stands for the old amount.
        if ![RefundProgress::Pending, RefundProgress::Held].contains(&ours.state) {
            change.state = Set(RefundProgress::Submitted);
            change.out_refund_no = Set(numbers::next_number_after(txn, ours.account_id, &ours.out_refund_no).await?);
            change.reference = Set(None);
            change.tries = Set(0);
            change.due_ms = Set(Some(ctx.now_ms()));
        }
    }
    change.update_without_returning(txn).await?;
    Ok(())
}

/// Applies to the sale that money of an attempt was returned without us, if that attempt paid the sale.
pub(crate) async fn apply_external_return(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: sale::Model,
    attempt_id: AttemptId,
    after: &mut AfterCommit,
) -> Result<()> {
    after.sale(sale.clone());
    let attempt = find_attempt_row(txn, attempt_id).await?;
    let is_own = match attempt.state {
        AttemptState::Paid => paid_attempt(txn, sale.id).await?.is_some_and(|own| own.id == attempt.id),
        // Of a wrong amount, and nothing else paid it.
        AttemptState::PaidWrong => sale.reason == SaleReason::WrongAmount,
        AttemptState::Created | AttemptState::Pending | AttemptState::Closed => false,
    };
    if !is_own {
        return Ok(());
    }
    let refunds = refunds_of(txn, attempt.id).await?;
    let event = Event::ReturnedExternally {
        open: refunds.iter().any(|refund| refund.state != RefundProgress::Done),
        left_minor: refundable_minor(txn, &attempt).await?,
        refund_rest: sale.reason == SaleReason::RefundedElsewhere,
    };
    apply_event(ctx, txn, sale, event, Some((&attempt, attempt.taken_minor())), after).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_does_not_know_is_less_by_what_went_back() {
        for state in [RefundProgress::Pending, RefundProgress::Held] {
            assert_eq!(reduced_minor(state, 500, 500, 0), 0);
            assert_eq!(reduced_minor(state, 500, 200, 300), 300);
            assert_eq!(reduced_minor(state, 300, 200, 300), 100, "what was given counts towards what is owed");
            assert_eq!(reduced_minor(state, 300, 400, 100), 0);
        }
    }

    #[test]
    fn what_the_provider_may_know_stands_as_long_as_it_can() {
        for state in [RefundProgress::Submitted, RefundProgress::Processing, RefundProgress::Stuck] {
            assert_eq!(reduced_minor(state, 300, 200, 300), 300);
            assert_eq!(reduced_minor(state, 500, 200, 300), 300);
            assert_eq!(reduced_minor(state, 500, 500, 0), 0);
        }
        assert_eq!(reduced_minor(RefundProgress::Done, 500, 200, -200), 500);
    }
}
