//! Refunds that were made at the provider without us (in its console): they are booked, and our own refunds are reduced
//! by them.

use crate::{
    Context, Result,
    flows::{
        after_commit::AfterCommit, apply_payment::attempt_paid, correct_refund::correct_refund,
        reduce_refunds::reduce_own_refunds, settle_sale::apply_event,
    },
    ids::AttemptId,
    ledger,
    payments::{
        account, attempt,
        found::{find_attempt_row, find_refund, find_told_attempt},
        of_sale::{paid_attempt, refund_kinds, refund_posting, refundable_minor, refunds_of},
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
    let (amount_minor, too_much) = amount_of(txn, &attempt, told).await?;
    if let Some(guess) = too_much {
        let left_minor = guess.amount_minor - amount_minor;
        correct_refund(ctx, txn, &sale, guess, left_minor, after).await?;
    }
    let told = &RefundDetails { amount_minor, ..told.clone() };
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
/// they are told late, twice and in another order. The provider is asked about it, and then it is corrected. Where nothing
/// is left to explain, it is told late, and the guess at a later one is of too much: that is given too, to be cut by this.
async fn amount_of(
    txn: &DatabaseTransaction,
    attempt: &attempt::Model,
    told: &RefundDetails,
) -> Result<(i64, Option<refund::Model>)> {
    if !told.is_total {
        return Ok((told.amount_minor, None));
    }
    let not_told = [RefundProgress::Pending, RefundProgress::Held];
    let refunds = refunds_of(txn, attempt.id).await?;
    let (guesses, sure): (Vec<_>, Vec<_>) =
        refunds.into_iter().filter(|refund| !not_told.contains(&refund.state)).partition(refund::Model::is_guess);
    let sum_minor = |refunds: &[refund::Model]| refunds.iter().map(|refund| refund.amount_minor).sum::<i64>();
    let unsure_minor = told.amount_minor - sum_minor(&sure);
    let left_minor = unsure_minor - sum_minor(&guesses);
    let largest = guesses.into_iter().max_by_key(|guess| guess.amount_minor).filter(|guess| guess.amount_minor > 1);
    Ok(match largest {
        Some(guess) if left_minor <= 0 => (unsure_minor.clamp(1, guess.amount_minor - 1), Some(guess)),
        _ => (left_minor.max(1), None),
    })
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
