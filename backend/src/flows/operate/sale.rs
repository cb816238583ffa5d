//! Carrying out what a person decided about a sale: exactly once, with the reason and who it was kept beside it.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        audit::{self, Change},
        operations::Operation,
    },
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        settle_sale::{execute, for_deciding, store_decision},
    },
    ids::{SaleId, SaleToken},
    ledger::{self, Kind},
    modules::command,
    payments::{
        attempt,
        of_sale::{other_refunds_stuck, own_refund, paid_attempt, refundable_minor},
        states::{AttemptState, RefundProgress},
    },
    sales::{
        action,
        manual_decision::{ManualAction, Payment, decide_manual_action},
        rows::lock_sale,
        sale,
        shapes::SaleRow,
        state::{Decision, Effect, SaleState},
        views::{operator_sale, permitted_sale},
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};
use serde_json::json;

/// The longest reason.
const REASON_CHARS: usize = 180;

/// Bounds of a key's length.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 1..=64;

/// A person's decision about a sale.
#[derive(Debug, Clone)]
pub struct ManualActionRequest {
    /// The sale's public token.
    pub token: SaleToken,
    /// The same request sent again has the same key, and is done once. 1 to 64 characters.
    pub key: String,
    /// What shall be done.
    pub act: ManualAction,
    /// Why, in a person's words.
    pub reason: String,
    /// Who decided it, where that is another than who acts.
    pub decided_by: Option<String>,
}

/// Does what a person decided about a sale, once for each key.
///
/// # Errors
///
/// `Invalid` says what is wrong, or why it cannot be done to this sale; `NotFound`, `Forbidden`, `Store`.
pub async fn perform_manual_action(ctx: &Context, actor: &Actor, request: ManualActionRequest) -> Result<SaleRow> {
    let reason = request.reason.trim();
    if !(1..=REASON_CHARS).contains(&reason.chars().count()) {
        return Err(Error::invalid("reason", format!("must have 1 to {REASON_CHARS} characters")));
    }
    if !KEY_CHARS.contains(&request.key.len()) || !request.key.is_ascii() {
        return Err(Error::invalid("key", "must have 1 to 64 characters of ASCII"));
    }
    let (sale, permit) = permitted_sale(ctx, actor, Operation::DecideSale, &request.token).await?;
    let sale_id = sale.id;
    let request = &request;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let row = lock_sale(txn, sale_id).await?;
            if !was_done(txn, sale_id, request).await? {
                execute_manual_action(ctx, txn, permit, row, request, &mut after).await?;
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    // As it is since.
    operator_sale(ctx, actor, &request.token).await
}

/// Whether a request was done before. Another one under the same key is refused.
async fn was_done(txn: &DatabaseTransaction, sale_id: SaleId, request: &ManualActionRequest) -> Result<bool> {
    let before = action::Entity::find()
        .filter(action::Column::SaleId.eq(sale_id))
        .filter(action::Column::RequestKey.eq(&request.key))
        .one(txn)
        .await?;
    let Some(before) = before else { return Ok(false) };
    let same_amount = match request.act {
        ManualAction::Refund { amount_minor: Some(amount_minor) } => amount_minor == before.amount_minor,
        ManualAction::Refund { amount_minor: None } | ManualAction::Settle(_) => true,
    };
    if before.action == request.act.as_str() && same_amount {
        return Ok(true);
    }
    Err(Error::invalid("key", "was used for something else about this sale"))
}

async fn execute_manual_action(
    ctx: &Context,
    txn: &DatabaseTransaction,
    permit: Permit<'_>,
    row: sale::Model,
    request: &ManualActionRequest,
    after: &mut AfterCommit,
) -> Result<()> {
    let attempt = own_attempt(txn, row.id).await?;
    let payment = standing(txn, &row, attempt.as_ref()).await?;
    let sale = for_deciding(txn, &row, None).await?;
    let decision: Decision =
        decide_manual_action(&sale, &payment, request.act).map_err(|sentence| Error::invalid("sale", sentence))?;
    for effect in &decision.effects {
        // Read anew each time: an effect may have changed what the next one is about.
        let attempt = own_attempt(txn, row.id).await?;
        let paid = attempt.as_ref().map(|attempt| (attempt, payment.taken_minor));
        execute(ctx, txn, &row, *effect, paid, after).await?;
    }
    let given_back_minor: i64 = decision
        .effects
        .iter()
        .filter_map(|effect| if let Effect::Refund { amount_minor, .. } = effect { Some(*amount_minor) } else { None })
        .sum();
    let by = request.decided_by.as_deref().unwrap_or(permit.actor().name());
    let done = action::ActiveModel {
        sale_id: Set(row.id),
        request_key: Set(request.key.clone()),
        action: Set(request.act.as_str().into()),
        amount_minor: Set(given_back_minor),
        reason: Set(request.reason.trim().to_owned()),
        done_by: Set(by.chars().take(190).collect()),
        at_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    action::Entity::insert(done).exec_without_returning(txn).await?;
    let told = json!({
        "action": request.act.as_str(),
        "amount_minor": given_back_minor,
        "reason": request.reason.trim(),
        "decided_by": by,
    });
    audit::record(ctx, txn, permit, ("sale", &row.token), Change::to(told)).await?;
    tracing::info!(sale = %row.token, action = request.act.as_str(), by, "a person decided about a sale");
    let row = lock_sale(txn, row.id).await?;
    let moved = store_decision(ctx, txn, row, &decision, decision.state == SaleState::Paid).await?;
    metrics::counter!("coinwire_sale_steps_total", "state" => decision.state.as_str()).increment(1);
    after.sale(moved);
    Ok(())
}

/// The attempt whose money the sale has: rightly paid, or in suspense.
async fn own_attempt(txn: &DatabaseTransaction, sale_id: SaleId) -> Result<Option<attempt::Model>> {
    if let Some(attempt) = paid_attempt(txn, sale_id).await? {
        return Ok(Some(attempt));
    }
    let wrong = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.eq(AttemptState::PaidWrong));
    Ok(wrong.one(txn).await?)
}

async fn standing(txn: &DatabaseTransaction, row: &sale::Model, attempt: Option<&attempt::Model>) -> Result<Payment> {
    let Some(attempt) = attempt else { return Ok(Payment::default()) };
    let in_suspense = attempt.state == AttemptState::PaidWrong;
    // Of what was paid before that was stored with the attempt, only the books tell.
    let taken_minor = if in_suspense && attempt.paid_minor.is_none() {
        ledger::posted_minor(txn, Kind::Suspense, &format!("attempt-{}", attempt.id)).await?
    } else {
        attempt.taken_minor()
    };
    let own = own_refund(txn, row.id).await?;
    Ok(Payment {
        taken_minor,
        // By us, by people, elsewhere, or lost in a dispute.
        returned_minor: attempt.taken_minor() - refundable_minor(txn, attempt).await?,
        in_suspense,
        is_foreign: attempt.taken_currency() != attempt.currency,
        refund_open: own.is_some_and(|refund| refund.state != RefundProgress::Done),
        other_refund_stuck: !other_refunds_stuck(txn, row.id).await?.is_empty(),
        commanded: command::Entity::find().filter(command::Column::SaleId.eq(row.id)).count(txn).await? > 0,
    })
}
