//! Polling providers: finds payments whose callback was lost, and closes orders that were not paid in time.

use crate::{
    Context, Result, Rules,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        apply_payment_fact::apply_fact,
    },
    ids::SaleId,
    payments::{
        accounts::account,
        attempt,
        attempts::{keep_reference, stop_polling},
        outcome::Outcome,
        provider::{CloseOutcome, Created, Fact, PaymentRequest, Provider, ProviderError, TradeNumbers, TradeState},
        states::AttemptState,
    },
};
use sea_orm::{ActiveValue::Set, prelude::*, sea_query::Expr};

/// Asks the provider what became of an attempt that is due, and closes it there if its time is over.
pub(crate) async fn poll_attempt(ctx: &Context, attempt: attempt::Model) -> Result<()> {
    // Rescheduled first, so that it is polled again whatever happens below.
    let Some(expires_ms) = postpone_poll(ctx, &attempt).await? else { return Ok(()) };
    let (account, provider) = account(ctx, attempt.account_id).await?;
    let Some(attempt) = with_reference(ctx, attempt, &*provider).await? else { return Ok(()) };
    let numbers = attempt.numbers();
    let mut state = match query(&*provider, &numbers).await {
        Ok(state) => state,
        Err(error) => return record_failed_query(&attempt, &error),
    };
    let closing = ctx.now_ms() >= expires_ms + ctx.rules.close_after_ms;
    if closing && matches!(state, TradeState::NotPaid | TradeState::NotFound) {
        state = match close(&*provider, &numbers).await {
            Ok(CloseOutcome::Closed) => TradeState::Closed,
            // The next poll learns the facts.
            Ok(CloseOutcome::AlreadyPaid) => return Ok(()),
            // Past its expiry, what the provider does not know can not be paid any more.
            Err(ProviderError::Refused { .. }) if state == TradeState::NotFound => TradeState::Closed,
            Err(error) => return record_failed_query(&attempt, &error),
        };
    }
    let fact = Fact::Payment { out_trade_no: numbers.out_trade_no, state };
    let fact = &fact;
    let account = &account;
    let attempt = &attempt;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let outcome = apply_fact(ctx, txn, account, fact, &mut after).await?;
            if outcome == Outcome::Applied {
                tracing::info!(attempt = %attempt.id, "polling found out what became of a payment");
            } else if !AttemptState::OPEN.contains(&attempt.state) {
                // It was closed, and asked about only because a payment was told of.
                stop_polling(txn, attempt.id).await?;
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// An attempt as the provider can be asked about it. Where it does not go by our number and its answer was lost, the order
/// is repeated, as it was stored: that gives the same order, and its reference. Nothing if that had no answer.
async fn with_reference(
    ctx: &Context,
    attempt: attempt::Model,
    provider: &dyn Provider,
) -> Result<Option<attempt::Model>> {
    let is_known = attempt.reference.is_some() || provider.profile().finds_by_our_number;
    let request = attempt.request.as_deref().filter(|_| !is_known);
    let Some(request) = request.and_then(|request| serde_json::from_str::<PaymentRequest>(request).ok()) else {
        return Ok(Some(attempt));
    };
    match provider.create(&request).await {
        Ok(Created { reference: Some(reference), .. }) => {
            let (id, kept) = (attempt.id, &reference);
            ctx.db.write(|txn| async move { keep_reference(&txn, id, kept).await }).await?;
            Ok(Some(attempt::Model { reference: Some(reference), ..attempt }))
        }
        // It takes it no more, or has no references: by our number it is not found.
        Ok(Created { reference: None, .. }) | Err(ProviderError::Refused { .. }) => Ok(Some(attempt)),
        Err(error) => record_failed_query(&attempt, &error).map(|()| None),
    }
}

/// Asks about an attempt. One that the provider cannot be asked about is one that it does not know.
pub(crate) async fn query(provider: &dyn Provider, numbers: &TradeNumbers) -> Result<TradeState, ProviderError> {
    if numbers.can_be_asked(provider.profile()) { provider.query(numbers).await } else { Ok(TradeState::NotFound) }
}

/// Closes an attempt at its provider.
pub(crate) async fn close(provider: &dyn Provider, numbers: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
    // Past its expiry, what the provider does not know can not be paid any more.
    if numbers.can_be_asked(provider.profile()) { provider.close(numbers).await } else { Ok(CloseOutcome::Closed) }
}

fn record_failed_query(attempt: &attempt::Model, error: &ProviderError) -> Result<()> {
    metrics::counter!("coinwire_provider_errors_total").increment(1);
    tracing::warn!(attempt = %attempt.id, %error, "the provider gave no usable answer about a payment");
    Ok(())
}

/// Sets when to ask next, and gives when the attempt expires; nothing if somebody else is at it. No attempt expires
/// later than a new one would: an expiry further off was set before the clock was set back.
async fn postpone_poll(ctx: &Context, attempt: &attempt::Model) -> Result<Option<i64>> {
    let rules = &ctx.rules;
    // Every few seconds at first, when somebody is likely to wait; then less and less.
    let wait_ms = Rules::backoff_ms(rules.poll_first_ms, rules.poll_max_ms, (attempt.polls - 5).max(0));
    let now_ms = ctx.now_ms();
    let expires_ms = attempt.expires_ms.min(now_ms + rules.order_lifetime_ms);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let update = attempt::Entity::update_many()
                .col_expr(attempt::Column::DueMs, Expr::value(now_ms + wait_ms))
                .col_expr(attempt::Column::ExpiresMs, Expr::value(expires_ms))
                .col_expr(attempt::Column::Polls, Expr::value(attempt.polls + 1))
                .filter(attempt::Column::Id.eq(attempt.id))
                .filter(attempt::Column::DueMs.eq(attempt.due_ms))
                .exec(txn)
                .await?;
            Ok((update.rows_affected == 1).then_some(expires_ms))
        })
        .await
}

/// Somebody looks at a sale that awaits payment: the provider is asked soon.
pub(crate) async fn poll_soon(ctx: &Context, sale_id: SaleId) -> Result<()> {
    let soon_ms = ctx.now_ms() + ctx.rules.poll_watched_ms;
    let waiting = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.is_in(AttemptState::OPEN))
        .filter(attempt::Column::DueMs.gt(soon_ms))
        .all(ctx.db.read())
        .await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let waiting = &waiting;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            for attempt in waiting {
                let mut change: attempt::ActiveModel = attempt.clone().into();
                change.due_ms = Set(Some(soon_ms));
                attempt::Entity::update_many()
                    .set(change)
                    .filter(attempt::Column::Id.eq(attempt.id))
                    .filter(attempt::Column::DueMs.gt(soon_ms))
                    .exec(txn)
                    .await?;
            }
            Ok(())
        })
        .await
}
