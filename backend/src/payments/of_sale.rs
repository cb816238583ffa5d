//! How much was paid and refunded, for a sale or for one payment.

use crate::{
    Context, Result,
    ids::{AttemptId, SaleId},
    ledger::{Kind, Posting},
    payments::{
        attempt, dispute, refund,
        states::{AttemptState, Cause, DisputeStanding, RefundCause, RefundProgress},
    },
    sales::{rows::posting, sale},
};
use sea_orm::{DatabaseTransaction, prelude::*};

/// A posting of a refund's whole amount.
pub(crate) fn refund_posting(ctx: &Context, sale: &sale::Model, refund: &refund::Model, kind: Kind) -> Posting {
    let reference = refund.done_reference();
    Posting { currency: refund.currency.clone(), ..posting(ctx, sale, kind, reference, refund.amount_minor) }
}

/// The ordinal of the next refund of a cause: people may refund more than once, and a refund that was taken back may be
/// decided again.
pub(crate) async fn next_cause(txn: &DatabaseTransaction, attempt_id: AttemptId, cause: Cause) -> Result<RefundCause> {
    let ours = refund::Entity::find()
        .filter(refund::Column::AttemptId.eq(attempt_id))
        .filter(refund::Column::OutsideId.eq(""))
        .all(txn)
        .await?;
    let before = ours.iter().filter(|refund| refund.cause.cause == cause).count();
    if before == 0 && cause != Cause::Manual {
        return Ok(RefundCause::only(cause));
    }
    Ok(RefundCause { cause, number: u32::try_from(before + 1).ok() })
}

/// How a refund of an attempt is booked, and how it is booked if it does not happen.
pub(crate) fn refund_kinds(attempt: &attempt::Model) -> (Kind, Kind) {
    if attempt.state == AttemptState::PaidWrong {
        (Kind::SuspenseRefund, Kind::SuspenseRefundCancelled)
    } else {
        (Kind::Refund, Kind::RefundCancelled)
    }
}

/// How much of the sale's own payment was or is being refunded: by us, by people, and by refunds made at the provider.
pub(crate) async fn returning_minor(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?;
    let of_own_payment = refunds.iter().filter(|refund| refund.cause.cause != Cause::SecondPayment);
    Ok(of_own_payment.map(|refund| refund.amount_minor).sum())
}

/// How much of a sale was or is being refunded at the provider.
async fn externally_refunded_minor(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.ne(""))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?;
    Ok(refunds.iter().map(|refund| refund.amount_minor).sum())
}

/// How much of a sale's payment was returned without us.
pub(crate) async fn externally_returned_minor(txn: &DatabaseTransaction, row: &sale::Model) -> Result<i64> {
    let refunded_minor = externally_refunded_minor(txn, row.id).await?;
    if row.dispute == DisputeStanding::None {
        return Ok(refunded_minor);
    }
    let disputes = dispute::Entity::find().filter(dispute::Column::SaleId.eq(row.id)).all(txn).await?;
    let lost = disputes.iter().filter(|dispute| dispute.state == DisputeStanding::Lost);
    Ok(refunded_minor + lost.map(|dispute| dispute.amount_minor).sum::<i64>())
}

/// The refund that the sale's own course caused: not one made elsewhere, not that of a second payment, and not an
/// additional one by a person. If there are several, the one that is not done yet.
pub(crate) async fn own_refund(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.eq(""))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?
        .into_iter()
        .filter(refund::Model::is_own)
        .min_by_key(|refund| refund.state == RefundProgress::Done))
}

/// Stuck refunds beside the sale's own course: of a second payment, or decided by a person.
pub(crate) async fn other_refunds_stuck(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<Vec<refund::Model>> {
    let stuck = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.eq(""))
        .filter(refund::Column::State.eq(RefundProgress::Stuck))
        .all(txn)
        .await?;
    Ok(stuck.into_iter().filter(|refund| !refund.is_own()).collect())
}

/// The attempt that paid the sale. If several were paid, the first; the others were refunded at once.
pub(crate) async fn paid_attempt(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<Option<attempt::Model>> {
    let paid = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.eq(AttemptState::Paid))
        .all(txn)
        .await?;
    let refunds = refund::Entity::find().filter(refund::Column::SaleId.eq(sale_id)).all(txn).await?;
    let refunded: Vec<_> = refunds
        .into_iter()
        .filter(|refund| refund.cause.cause == Cause::SecondPayment)
        .map(|refund| refund.attempt_id)
        .collect();
    Ok(paid.into_iter().find(|attempt| !refunded.contains(&attempt.id)))
}

/// An attempt's refunds that are done or may still be done.
pub(crate) async fn refunds_of(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<Vec<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AttemptId.eq(attempt_id))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?)
}

/// How much of an attempt's payment is not refunded, not being refunded and not lost in a dispute. No refund may exceed
/// it.
pub(crate) async fn refundable_minor(txn: &DatabaseTransaction, attempt: &attempt::Model) -> Result<i64> {
    let returned_minor: i64 = refunds_of(txn, attempt.id).await?.iter().map(|refund| refund.amount_minor).sum();
    Ok(attempt.taken_minor() - returned_minor - lost_in_disputes_minor(txn, attempt.id).await?)
}

/// How much of an attempt was lost in disputes.
pub(crate) async fn lost_in_disputes_minor(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<i64> {
    let lost = dispute::Entity::find()
        .filter(dispute::Column::AttemptId.eq(attempt_id))
        .filter(dispute::Column::State.eq(DisputeStanding::Lost))
        .all(txn)
        .await?;
    Ok(lost.iter().map(|dispute| dispute.amount_minor).sum())
}
