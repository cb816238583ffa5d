//! Disputes (chargebacks): the payer's bank takes the money back, and gives it back or keeps it. While one is open, no
//! refund of ours goes out on top.

use crate::{
    Context, Result,
    flows::{
        after_commit::AfterCommit,
        apply_outside_refund::{apply_external_return, ensure_booked_as_paid},
        reduce_refunds::reduce_own_refunds,
    },
    ids::{AccountId, AttemptId},
    ledger::{self, Kind, Posting},
    payments::{
        account, attempt, dispute,
        found::find_told_attempt,
        outcome::Outcome,
        provider::{DisputeDetails, DisputeState},
        refund,
        states::{DisputeStanding, RefundProgress},
    },
    sales::{
        rows::{lock_sale, posting},
        sale,
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*, sea_query::Expr};

impl From<DisputeState> for DisputeStanding {
    fn from(told: DisputeState) -> Self {
        match told {
            DisputeState::Opened => DisputeStanding::Opened,
            DisputeState::Won => DisputeStanding::Won,
            DisputeState::Lost => DisputeStanding::Lost,
        }
    }
}

/// A dispute was opened or decided.
pub(crate) async fn disputed(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    told: &DisputeDetails,
    after: &mut AfterCommit,
) -> Result<Outcome> {
    let Some(known) = find_told_attempt(txn, account.id, &told.trade).await? else {
        let message = format!("dispute {} of payment {} fits no order", told.dispute_id, told.trade.number());
        after.alarm(account.operator_id, None, message);
        return Ok(Outcome::Orphan);
    };
    let sale = lock_sale(txn, known.sale_id).await?;
    let (sale, attempt) = ensure_booked_as_paid(ctx, txn, sale, known.id, None, after).await?;
    let row = match find_dispute(txn, account.id, &told.dispute_id).await? {
        Some(row) => row,
        None => open_dispute(ctx, txn, &sale, &attempt, told, after).await?,
    };
    let charged = charge(ctx, txn, &sale, &row, told.fee_minor).await?;
    let decided = row.state == DisputeStanding::Opened && told.state != DisputeState::Opened;
    if decided {
        decide_dispute(ctx, txn, &sale, &attempt, &row, told.state).await?;
    }
    let opened = sale.dispute != row.state;
    if !(opened || decided || charged) {
        return Ok(Outcome::Unchanged);
    }
    let standing = if decided { told.state.into() } else { row.state };
    if opened || decided {
        let message = format!("dispute {} was {}: sale {}", told.dispute_id, standing.as_str(), sale.token);
        after.alarm(sale.operator_id, Some(sale.machine_id), message);
    }
    let mut change: sale::ActiveModel = sale.clone().into();
    change.dispute = Set(standing);
    change.version = Set(sale.version + 1);
    let sale = change.clone().try_into_model()?;
    change.update_without_returning(txn).await?;
    after.sale(sale.clone());
    if decided && told.state == DisputeState::Lost {
        apply_external_return(ctx, txn, sale, attempt.id, after).await?;
    }
    Ok(Outcome::Applied)
}

async fn open_dispute(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    attempt: &attempt::Model,
    told: &DisputeDetails,
    after: &mut AfterCommit,
) -> Result<dispute::Model> {
    let mut row = dispute::ActiveModel {
        account_id: Set(attempt.account_id),
        sale_id: Set(sale.id),
        attempt_id: Set(attempt.id),
        dispute_id: Set(told.dispute_id.clone()),
        amount_minor: Set(told.amount_minor),
        fee_minor: Set(0),
        currency: Set(attempt.taken_currency().to_owned()),
        state: Set(DisputeStanding::Opened),
        opened_ms: Set(ctx.wall_ms()),
        closed_ms: Set(None),
        ..Default::default()
    };
    row.id = Set(dispute::Entity::insert(row.clone()).exec(txn).await?.last_insert_id);
    let row = row.try_into_model()?;
    ledger::post(txn, dispute_posting(ctx, sale, &row, Kind::DisputeOpened)).await?;
    metrics::counter!("coinwire_disputes_total").increment(1);
    let under_way = hold_refunds(txn, attempt.id).await?;
    if under_way > 0 {
        let message = format!("a refund is under way at the provider and disputed too: sale {}", sale.token);
        after.alarm(sale.operator_id, Some(sale.machine_id), message);
    }
    Ok(row)
}

/// Holds back the refunds of an attempt that the provider does not know yet; gives how many it may know.
async fn hold_refunds(txn: &DatabaseTransaction, attempt_id: AttemptId) -> Result<u64> {
    refund::Entity::update_many()
        .col_expr(refund::Column::State, Expr::value(RefundProgress::Held))
        .col_expr(refund::Column::DueMs, Expr::value(Option::<i64>::None))
        .filter(refund::Column::AttemptId.eq(attempt_id))
        .filter(refund::Column::State.eq(RefundProgress::Pending))
        .exec(txn)
        .await?;
    Ok(refund::Entity::find()
        .filter(refund::Column::AttemptId.eq(attempt_id))
        .filter(refund::Column::State.is_in([RefundProgress::Submitted, RefundProgress::Processing]))
        .count(txn)
        .await?)
}

async fn decide_dispute(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    attempt: &attempt::Model,
    row: &dispute::Model,
    state: DisputeState,
) -> Result<()> {
    let kind = if state == DisputeState::Lost { Kind::DisputeLost } else { Kind::DisputeWon };
    ledger::post(txn, dispute_posting(ctx, sale, row, kind)).await?;
    let mut change: dispute::ActiveModel = row.clone().into();
    change.state = Set(state.into());
    change.closed_ms = Set(Some(ctx.wall_ms()));
    change.update_without_returning(txn).await?;
    if state == DisputeState::Lost {
        reduce_own_refunds(ctx, txn, sale, attempt, row.amount_minor, (None, &format!("dispute-{}", row.id))).await?;
    }
    // What is owed beside it goes out now.
    refund::Entity::update_many()
        .col_expr(refund::Column::State, Expr::value(RefundProgress::Pending))
        .col_expr(refund::Column::DueMs, Expr::value(ctx.now_ms()))
        .filter(refund::Column::AttemptId.eq(attempt.id))
        .filter(refund::Column::State.eq(RefundProgress::Held))
        .exec(txn)
        .await?;
    Ok(())
}

/// Books what the provider charged since it was told last, or gave back of it; whether that is anything.
async fn charge(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    row: &dispute::Model,
    fee_minor: i64,
) -> Result<bool> {
    let more_minor = fee_minor - row.fee_minor;
    if more_minor == 0 {
        return Ok(false);
    }
    let kind = if more_minor > 0 { Kind::DisputeFee } else { Kind::DisputeFeeReturned };
    let posting = Posting {
        reference: format!("dispute-{}-{}-{fee_minor}", row.id, row.fee_minor),
        amount_minor: more_minor.abs(),
        ..dispute_posting(ctx, sale, row, kind)
    };
    ledger::post(txn, posting).await?;
    dispute::Entity::update_many()
        .col_expr(dispute::Column::FeeMinor, Expr::value(fee_minor))
        .filter(dispute::Column::Id.eq(row.id))
        .exec(txn)
        .await?;
    Ok(true)
}

fn dispute_posting(ctx: &Context, sale: &sale::Model, row: &dispute::Model, kind: Kind) -> Posting {
    let reference = format!("dispute-{}", row.id);
    Posting { currency: row.currency.clone(), ..posting(ctx, sale, kind, reference, row.amount_minor) }
}

async fn find_dispute(
    txn: &DatabaseTransaction,
    account_id: AccountId,
    number: &str,
) -> Result<Option<dispute::Model>> {
    Ok(dispute::Entity::find()
        .filter(dispute::Column::AccountId.eq(account_id))
        .filter(dispute::Column::DisputeId.eq(number))
        .one(txn)
        .await?)
}
