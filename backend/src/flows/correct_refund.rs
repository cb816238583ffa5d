//! A refund has another amount at the provider than here. One of ours: the store was put back from a copy that is older than the
//! refund, and decided it anew, under the same number, over another part of the payment. One made elsewhere: it was told by
//! the sum of all, and what was booked is a guess.

use crate::{
    Context, Result,
    flows::{after_commit::AfterCommit, reduce_refunds::reduce_own_refunds},
    ledger::{self, Kind, Posting},
    payments::{
        found::find_attempt_row,
        of_sale::{refund_kinds, refund_posting},
        refund,
        states::RefundProgress,
    },
    sales::sale,
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

/// Books the difference, so that refund, sale and ledger say what went back or is on its way, and gives the refund as it is
/// then. What the provider cannot have given back is left to a person.
pub(crate) async fn correct_refund(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    refund: refund::Model,
    told_minor: i64,
    after: &mut AfterCommit,
) -> Result<refund::Model> {
    let (number, ours_minor) = (&refund.out_refund_no, refund.amount_minor);
    if told_minor == ours_minor || refund.state == RefundProgress::Cancelled {
        return Ok(refund);
    }
    let attempt = find_attempt_row(txn, refund.attempt_id).await?;
    // That a guess was wrong is nothing for a person.
    if !refund.is_guess() {
        let message = format!("refund {number} is of {told_minor} at the provider and of {ours_minor} here");
        after.alarm(sale.operator_id, Some(sale.machine_id), message);
    }
    if !(1..=attempt.taken_minor()).contains(&told_minor) {
        return Ok(refund);
    }
    let (decided, cancelled) = refund_kinds(&attempt);
    let more_minor = told_minor - ours_minor;
    let (booked, went_back) =
        if more_minor > 0 { (decided, Kind::RefundDone) } else { (cancelled, Kind::RefundReversed) };
    let difference = |kind| Posting {
        reference: format!("refund-{}-of-{ours_minor}-told-{told_minor}", refund.id),
        amount_minor: more_minor.abs(),
        ..refund_posting(ctx, sale, &refund, kind)
    };
    ledger::post(txn, difference(booked)).await?;
    if refund.state == RefundProgress::Done {
        ledger::post(txn, difference(went_back)).await?;
    }
    if is_in_loss(txn, sale, &refund, decided).await? {
        ledger::post(txn, Posting { amount_minor: more_minor, ..difference(Kind::Loss) }).await?;
    }
    let mut change: refund::ActiveModel = refund.clone().into();
    change.amount_minor = Set(told_minor);
    change.update_without_returning(txn).await?;
    let corrected = refund::Model { amount_minor: told_minor, ..refund };
    let cause = format!("{}-told-{told_minor}", corrected.id);
    reduce_own_refunds(ctx, txn, sale, &attempt, more_minor.max(0), (Some(corrected.id), &cause)).await?;
    after.sale(sale.clone());
    Ok(corrected)
}

/// Whether a refund was counted when it was booked what was lost by a sale that was served and refunded.
async fn is_in_loss(
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    refund: &refund::Model,
    decided: Kind,
) -> Result<bool> {
    let lost = ledger::number_of(txn, Kind::Loss, &format!("sale-{}", sale.id)).await?;
    let refunded = ledger::number_of(txn, decided, &format!("refund-{}", refund.id)).await?;
    Ok(matches!((refunded, lost), (Some(refunded), Some(lost)) if refunded < lost))
}
