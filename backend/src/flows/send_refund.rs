//! Refunds: decided in a sale's transaction, submitted here, under one number until the provider is sure.

use crate::{
    Context, Error, Result, Rules,
    flows::{
        after_commit::{AfterCommit, alarm, publish_after_commit},
        apply_payment_fact::{FactSource, refund_moved},
    },
    ledger, modules,
    payments::{
        account,
        accounts::{account, notify_url},
        attempt,
        provider::{Provider, ProviderError, RefundAnswer, RefundRequest, RefundState},
        refund,
        states::{Cause, RefundProgress},
    },
    sales::rows::{lock_sale, sale_row},
};
use sea_orm::{ActiveValue::Set, prelude::*, sea_query::Expr};

/// What the payer reads on the statement.
const REASON: &str = "未提供服务退款 (not served)";

/// The same where a person decided it.
const REASON_BY_HAND: &str = "商家退款 (refund by the operator)";

/// A note is cut to this many characters.
const NOTE_CHARS: usize = 180;

/// What the payer reads.
fn reason(cause: Cause) -> &'static str {
    let by_hand = matches!(cause, Cause::Manual | Cause::Settled);
    if by_hand { REASON_BY_HAND } else { REASON }
}

impl Rules {
    pub(crate) fn refund_wait_ms(&self, tries: i32) -> i64 {
        Rules::backoff_ms(self.refund_first_ms, self.refund_max_ms, tries)
    }
}

/// Works on a refund that is due.
pub(crate) async fn work_on_refund(ctx: &Context, refund: refund::Model) -> Result<()> {
    if let Some(until_ms) = held_for_module_until(ctx, &refund).await? {
        return put_off_refund(ctx, &refund, until_ms, refund.tries).await;
    }
    let (account, provider) = match account(ctx, refund.account_id).await {
        Ok(opened) => opened,
        // It can still be taken back, and is tried again when the account may have been mended.
        Err(error) => {
            let due_ms = ctx.now_ms() + ctx.rules.refund_wait_ms(refund.tries);
            put_off_refund(ctx, &refund, due_ms, refund.tries + 1).await?;
            return Err(error);
        }
    };
    if !claim(ctx, &refund).await? {
        return Ok(());
    }
    match ask_for_refund(ctx, &refund, &account, &*provider).await? {
        Ok(answer) => refund_answered(ctx, &refund, answer).await,
        Err(error) => refund_refused(ctx, &refund, error).await,
    }
}

/// Until when a refund is held back, if it is: one that was decided before our start for a module's silence, and not told
/// to the provider. The module may have answered in the meantime; if the store was restored from a backup, it is
/// asked again in any case.
async fn held_for_module_until(ctx: &Context, refund: &refund::Model) -> Result<Option<i64>> {
    let began_ms = ctx.began_ms();
    if refund.state != RefundProgress::Pending || refund.created_ms >= began_ms {
        return Ok(None);
    }
    let until_ms = ctx.rules.waits_for_module_until_ms(began_ms, refund.created_ms);
    let holds = ctx.now_ms() < until_ms && modules::credit_unanswered(ctx.db.read(), refund.sale_id).await?;
    Ok(holds.then_some(until_ms))
}

/// Sets when a refund is due next, unless it moved meanwhile.
async fn put_off_refund(ctx: &Context, refund: &refund::Model, due_ms: i64, tries: i32) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            refund::Entity::update_many()
                .col_expr(refund::Column::DueMs, Expr::value(due_ms))
                .col_expr(refund::Column::Tries, Expr::value(tries))
                .filter(refund::Column::Id.eq(refund.id))
                .filter(refund::Column::DueMs.eq(refund.due_ms))
                .exec(txn)
                .await?;
            Ok(())
        })
        .await
}

/// What the provider says of a claimed refund. One that may have reached it before is asked about first: a repeat
/// counts as the same request only while every parameter is the same, and our address may have changed since.
async fn ask_for_refund(
    ctx: &Context,
    refund: &refund::Model,
    account: &account::Model,
    provider: &dyn Provider,
) -> Result<Result<RefundAnswer, ProviderError>> {
    let attempt = attempt::Entity::find_by_id(refund.attempt_id)
        .one(ctx.db.read())
        .await?
        .ok_or_else(|| Error::inconsistent("a refund's attempt is not there"))?;
    let numbers = refund.numbers(attempt.numbers());
    if refund.state != RefundProgress::Pending {
        let known = provider.query_refund(&numbers).await;
        // A refund that the provider has accepted, or that was made elsewhere, is not requested again.
        let was_taken = [RefundProgress::Processing, RefundProgress::Done].contains(&refund.state);
        if !matches!(known, Ok(RefundAnswer { state: RefundState::NotFound, .. })) || was_taken || refund.is_external()
        {
            return Ok(known);
        }
    }
    let request = RefundRequest {
        total_minor: attempt.taken_minor(),
        numbers,
        refund_minor: refund.amount_minor,
        currency: ledger::currency(&refund.currency)?,
        reason: reason(refund.cause.cause).into(),
        notify_url: notify_url(ctx, account),
    };
    Ok(provider.refund(&request).await)
}

async fn refund_answered(ctx: &Context, asked: &refund::Model, answer: RefundAnswer) -> Result<()> {
    let answer = &answer;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            // The sale first, as everywhere: meanwhile nobody gives the refund another number.
            lock_sale(txn, asked.sale_id).await?;
            let refund = refund::Entity::find_by_id(asked.id)
                .one(txn)
                .await?
                .ok_or_else(|| Error::inconsistent("a refund that was claimed is not there"))?;
            // An answer about a number that was given up meanwhile says nothing about the new one.
            if refund.out_refund_no != asked.out_refund_no {
                return Ok(after);
            }
            if answer.reference.is_some() {
                let reference = Set(answer.reference.clone());
                let change = refund::ActiveModel { id: Set(refund.id), reference, ..Default::default() };
                change.update_without_returning(txn).await?;
            }
            refund_moved(ctx, txn, refund, (answer.state, answer.amount_minor), FactSource::Queried, &mut after)
                .await?;
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Claims a refund: from here on it cannot be cancelled. False if another process has it, or it is gone.
async fn claim(ctx: &Context, refund: &refund::Model) -> Result<bool> {
    let next_state = match refund.state {
        RefundProgress::Processing => RefundProgress::Processing,
        RefundProgress::Done => RefundProgress::Done,
        RefundProgress::Pending
        | RefundProgress::Submitted
        | RefundProgress::Held
        | RefundProgress::Stuck
        | RefundProgress::Cancelled => RefundProgress::Submitted,
    };
    let due_ms = ctx.now_ms() + ctx.rules.refund_wait_ms(refund.tries);
    let claimed = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            // Whoever decides about the sale right now may take the refund back.
            lock_sale(txn, refund.sale_id).await?;
            let update = refund::Entity::update_many()
                .col_expr(refund::Column::State, Expr::value(next_state))
                .col_expr(refund::Column::DueMs, Expr::value(due_ms))
                .col_expr(refund::Column::Tries, Expr::value(refund.tries + 1))
                .filter(refund::Column::Id.eq(refund.id))
                .filter(refund::Column::State.eq(refund.state))
                .filter(refund::Column::DueMs.eq(refund.due_ms))
                .exec(txn)
                .await?;
            Ok(update.rows_affected == 1)
        })
        .await?;
    Ok(claimed)
}

/// Whether a refusal is conclusive. A completed refund stands, and a single refused query about a refund in
/// progress proves nothing (our clock may be off).
fn is_conclusive_refusal(refund: &refund::Model) -> bool {
    match refund.state {
        RefundProgress::Done => false,
        RefundProgress::Processing => !refund.note.is_empty(),
        RefundProgress::Pending
        | RefundProgress::Submitted
        | RefundProgress::Held
        | RefundProgress::Stuck
        | RefundProgress::Cancelled => true,
    }
}

/// The provider did not take it: it is tried again under the same number, until a person must look.
async fn refund_refused(ctx: &Context, refund: &refund::Model, error: ProviderError) -> Result<()> {
    metrics::counter!("coinwire_provider_errors_total").increment(1);
    tracing::warn!(refund = %refund.id, %error, "a refund was not taken");
    let note: String = error.to_string().chars().take(NOTE_CHARS).collect();
    let note = &note;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            refund::Entity::update_many()
                .col_expr(refund::Column::Note, Expr::value(note.clone()))
                .filter(refund::Column::Id.eq(refund.id))
                .exec(txn)
                .await?;
            Ok(())
        })
        .await?;
    let sale = sale_row(ctx, refund.sale_id).await?;
    match error {
        ProviderError::InsufficientBalance => {
            alarm(ctx, sale.operator_id, Some(sale.machine_id), "the merchant account is too empty for a refund");
            Ok(())
        }
        // Only a plain refusal, again and again, is for a person: with any other answer it may still go through.
        ProviderError::Refused { .. }
            if refund.tries + 1 >= ctx.rules.refund_tries_max && is_conclusive_refusal(refund) =>
        {
            refund_answered(ctx, refund, RefundState::Abnormal.into()).await
        }
        ProviderError::Refused { .. }
        | ProviderError::Unknown(_)
        | ProviderError::Busy(_)
        | ProviderError::Untrusted(_) => Ok(()),
    }
}
