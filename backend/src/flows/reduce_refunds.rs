//! Our own refunds, reduced by what went back of the payment past them.

use crate::{
    Context, Result,
    ids::RefundId,
    ledger::{self, Posting},
    payments::{
        attempt, numbers,
        of_sale::{lost_in_disputes_minor, refund_kinds, refund_posting, refunds_of},
        refund,
        states::RefundProgress,
    },
    sales::sale,
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};

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
