//! What was paid and what went back of a sale or of one payment.

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

/// A posting of all of a refund.
pub(crate) fn refund_posting(ctx: &Context, sale: &sale::Model, refund: &refund::Model, kind: Kind) -> Posting {
    let reference = refund.done_reference();
    Posting { currency: refund.currency.clone(), ..posting(ctx, sale, kind, reference, refund.amount_minor) }
}

/// Which refund of its cause the next one is: people may give back more than once, and a refund that was taken back may be
/// asked for again.
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

/// How a refund of an attempt is booked, and how it is when it does not come about.
pub(crate) fn refund_kinds(attempt: &attempt::Model) -> (Kind, Kind) {
    if attempt.state == AttemptState::PaidWrong {
        (Kind::SuspenseRefund, Kind::SuspenseRefundCancelled)
    } else {
        (Kind::Refund, Kind::RefundCancelled)
    }
}

/// What went back, or is going back, of the sale's own payment: by us, by people, and by refunds made at the provider.
pub(crate) async fn returning_minor(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?;
    let of_own_payment = refunds.iter().filter(|refund| refund.cause.cause != Cause::SecondPayment);
    Ok(of_own_payment.map(|refund| refund.amount_minor).sum())
}

/// What went back, or is going back, of a sale by refunds made at the provider.
async fn externally_refunded_minor(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.ne(""))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?;
    Ok(refunds.iter().map(|refund| refund.amount_minor).sum())
}

/// What was returned of a sale's payment without us.
pub(crate) async fn externally_returned_minor(txn: &DatabaseTransaction, row: &sale::Model) -> Result<i64> {
    let refunded_minor = externally_refunded_minor(txn, row.id).await?;
    if row.dispute == DisputeStanding::None {
        return Ok(refunded_minor);
    }
    let disputes = dispute::Entity::find().filter(dispute::Column::SaleId.eq(row.id)).all(txn).await?;
    let lost = disputes.iter().filter(|dispute| dispute.state == DisputeStanding::Lost);
    Ok(refunded_minor + lost.map(|dispute| dispute.amount_minor).sum::<i64>())
}

/// The refund that the sale's way asked for: not one made elsewhere, nor that of a second payment, nor what people gave back
/// beside it. Of several the one that is not done yet.
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

/// The attempt that paid the sale: of several paid ones the first, the others were refunded at once.
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

/// An attempt's refunds that came about or may yet.
pub(crate) async fn refunds_of(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<Vec<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::AttemptId.eq(attempt_id))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(txn)
        .await?)
}

/// What of an attempt's payment is neither back nor on its way, nor lost in a dispute: no refund may be of more.
pub(crate) async fn refundable_minor(txn: &DatabaseTransaction, attempt: &attempt::Model) -> Result<i64> {
    let returned_minor: i64 = refunds_of(txn, attempt.id).await?.iter().map(|refund| refund.amount_minor).sum();
    Ok(attempt.taken_minor() - returned_minor - lost_in_disputes_minor(txn, attempt.id).await?)
}

/// What of an attempt was lost in disputes.
pub(crate) async fn lost_in_disputes_minor(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<i64> {
    let lost = dispute::Entity::find()
        .filter(dispute::Column::AttemptId.eq(attempt_id))
        .filter(dispute::Column::State.eq(DisputeStanding::Lost))
        .all(txn)
        .await?;
    Ok(lost.iter().map(|dispute| dispute.amount_minor).sum())
}
