//! An attempt was paid, or can no longer be.

use crate::{
    Context, Result,
    flows::{after_commit::AfterCommit, settle_sale::apply_event},
    payments::{
        attempt,
        outcome::{Outcome, PaymentDetails},
        states::AttemptState,
    },
    sales::{sale, state::Event},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};

/// An attempt was paid. Of what the provider gave back since, only that it did is known here.
pub(crate) async fn attempt_paid(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: sale::Model,
    attempt: attempt::Model,
    paid: PaymentDetails<'_>,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    if AttemptState::MONEY_CAME.contains(&attempt.state) {
        return Ok(Outcome::Unchanged);
    }
    let right = paid.amount_minor == attempt.amount_minor && paid.currency == attempt.currency;
    let now_ms = ctx.now_ms();
    let patience_ms = ctx.rules.credit_patience_ms;
    // The provider's clock and ours may disagree: what was ordered a moment ago cannot have been paid long ago.
    let paid_long_ago = ctx.wall_ms() - paid.paid_at_ms > patience_ms;
    let ordered_long_ago = now_ms - attempt.created_ms > patience_ms;
    let late = paid_long_ago && ordered_long_ago || now_ms > attempt.expires_ms + patience_ms;

    let mut change: attempt::ActiveModel = attempt.into();
    change.state = Set(if right { AttemptState::Paid } else { AttemptState::PaidWrong });
    if let Some(number) = paid.provider_txn_id {
        change.provider_txn_id = Set(Some(number.to_owned()));
    }
    change.paid_minor = Set(Some(paid.amount_minor));
    change.paid_currency = Set(Some(paid.currency.to_owned()));
    change.forget();
    let attempt = change.clone().try_into_model()?;
    change.update_without_returning(txn).await?;

    let event = match (right, paid.returned) {
        (false, _) => Event::PaidWrong,
        (true, true) => Event::PaidReturned,
        (true, false) => Event::Paid { amount_minor: paid.amount_minor, late },
    };
    apply_event(ctx, txn, sale, event, Some((&attempt, paid.amount_minor)), after).await?;
    Ok(Outcome::Applied)
}

/// An attempt can no longer be paid; if it was the last, neither can the sale.
pub(crate) async fn attempt_closed(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: sale::Model,
    attempt: attempt::Model,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    if !AttemptState::OPEN.contains(&attempt.state) {
        return Ok(Outcome::Unchanged);
    }
    let mut change: attempt::ActiveModel = attempt.into();
    change.close();
    change.update_without_returning(txn).await?;
    let open = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale.id))
        .filter(attempt::Column::State.is_in(AttemptState::OPEN))
        .count(txn)
        .await?;
    if open == 0 {
        apply_event(ctx, txn, sale, Event::Unpayable, None, after).await?;
    }
    Ok(Outcome::Applied)
}
