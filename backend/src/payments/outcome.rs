//! The outcome of a fact from a provider.

use crate::{
    Result,
    payments::{provider::Paid, refund, states::RefundProgress},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, entity::prelude::*};

/// The outcome of a fact, ordered by importance, the most important last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(32))", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was known already.
    #[sea_orm(string_value = "nothing_new")]
    Unchanged,
    /// It changed something.
    Applied,
    /// The provider is asked again before the fact is believed.
    #[sea_orm(string_value = "to_be_asked")]
    NeedsQuery,
    /// Nothing of ours has that number: stored, and a person is told.
    Orphan,
    /// It concerns another merchant: stored, and a person is told.
    Foreign,
    /// It is authentic, but we do not understand it: stored, and a person is told.
    NotUnderstood,
}

/// Whether a refund of ours was cancelled before it was submitted, as far as this store knows.
pub(crate) fn was_cancelled_here(refund: &refund::Model) -> bool {
    refund.state == RefundProgress::Cancelled && !refund.is_external()
}

/// The provider made a refund that is cancelled here, because this store was restored from a backup older than the
/// refund. The row gives up its number, and the refund is booked as made elsewhere.
pub(crate) async fn release_refund_number(txn: &DatabaseTransaction, taken_back: refund::Model) -> Result<()> {
    let number = format!("{} taken back", taken_back.out_refund_no);
    let mut change: refund::ActiveModel = taken_back.into();
    change.out_refund_no = Set(number);
    change.update_without_returning(txn).await?;
    Ok(())
}

/// A payment as it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaymentDetails<'a> {
    /// Absent if the payment is known only from its refund.
    pub provider_txn_id: Option<&'a str>,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub paid_at_ms: i64,
    /// Some of it was refunded since.
    pub returned: bool,
}

impl<'a> PaymentDetails<'a> {
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
