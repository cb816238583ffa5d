//! Daily statements: the provider's list of a day is reconciled with the store, account by account and day by day. This
//! finds lost callbacks and refunds that were made at the provider.
//!
//! Each account has one row that is due: its next day. Reading a day ends its row and begins the next one's, in one
//! transaction; a crash in between reads the day again, and what was applied then is no news.

use crate::{
    Context, Result, Rules,
    flows::{
        after_commit::alarm,
        reconcile::{StatementOutcome, reconcile},
    },
    ids::AccountId,
    payments::{
        account,
        accounts::account,
        provider::{Provider, ProviderError, Statement},
        statement,
        statements::row,
        states::StatementState,
    },
};
use sea_orm::{ActiveValue::Set, Condition, prelude::*, sea_query::Expr};

/// A new account's first statement is that of so long ago.
const LOOK_BACK_MS: i64 = 3 * 24 * 3_600_000;

/// That there is no statement is believed so long after it should be there.
const ASSUME_NONE_AFTER_MS: i64 = 2 * 3_600_000;

/// A day whose statement is refused is given up after this long: providers keep them for three months.
const GIVE_UP_AFTER_MS: i64 = 80 * 24 * 3_600_000;

/// After so many tries without success a person is told, and each time as many were made again.
const TRIES_PER_ALARM: i32 = 12;

impl Rules {
    fn statement_wait_ms(&self, tries: i32) -> i64 {
        Rules::backoff_ms(self.statement_first_ms, self.statement_max_ms, tries)
    }
}

/// Reads a statement that is due.
pub(crate) async fn read_statement(ctx: &Context, row: statement::Model) -> Result<()> {
    // Whatever happens meanwhile, it is tried again.
    if !claim_statement(ctx, &row).await? {
        return Ok(());
    }
    let (account, provider) = account(ctx, row.account_id).await?;
    // The row stays due, so that a version that reads them begins with it.
    if !provider.profile().has_statements {
        return Ok(());
    }
    if row.day == 0 {
        let first = provider.profile().calendar.day_of(read_since_ms(ctx, &account));
        return end_statement(ctx, &row, StatementState::Read, &StatementOutcome::default(), first, &*provider).await;
    }
    if reopen_future_days(ctx, &account, &*provider).await? {
        return Ok(());
    }
    match fetch_and_reconcile(ctx, &account, &*provider, row.day).await? {
        Ok(None) => Ok(()),
        Ok(Some((state, reading))) => {
            report_outcome(ctx, &account, &reading);
            // No day before this one can be had any more.
            let earliest = provider.profile().calendar.day_of(ctx.wall_ms() - GIVE_UP_AFTER_MS);
            end_statement(ctx, &row, state, &reading, (row.day + 1).max(earliest), &*provider).await
        }
        Err(error) => {
            statement_failed(ctx, &account, &row, &error);
            Ok(())
        }
    }
}

/// Since when an account's statements are read, if none was read yet.
fn read_since_ms(ctx: &Context, account: &account::Model) -> i64 {
    let (wall_ms, created_ms) = (ctx.wall_ms(), account.created_ms);
    let look_back_ms = wall_ms - LOOK_BACK_MS;
    // An account from the future was made while the clock was ahead.
    if created_ms > wall_ms { look_back_ms } else { created_ms.max(look_back_ms) }
}

/// Reads days again whose row was ended at a time in the future: the clock was ahead then, so a day may wrongly
/// count as having no statement. Facts applied before are not applied twice. False if there are none.
async fn reopen_future_days(ctx: &Context, account: &account::Model, provider: &dyn Provider) -> Result<bool> {
    let wall_ms = ctx.wall_ms();
    let of_account = &Condition::all().add(statement::Column::AccountId.eq(account.id));
    let doubtful = &of_account.clone().add(statement::Column::ReadMs.gt(wall_ms));
    if statement::Entity::find().filter(doubtful.clone()).count(ctx.db.read()).await? == 0 {
        return Ok(false);
    }
    tracing::warn!(account = %account.id, "the clock was ahead: some of the provider's statements are read again");
    let beginning = provider.profile().calendar.day_of(read_since_ms(ctx, account));
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let some = statement::Entity::find().filter(doubtful.clone()).all(txn).await?;
            let day = some.iter().map(|some| some.day).filter(|day| *day > 0).fold(beginning, i64::min);
            statement::Entity::delete_many()
                .filter(of_account.clone().add(statement::Column::Day.gte(day)))
                .exec(txn)
                .await?;
            // What is left of them is the account's beginning.
            statement::Entity::update_many()
                .col_expr(statement::Column::ReadMs, Expr::value(wall_ms))
                .filter(doubtful.clone())
                .exec(txn)
                .await?;
            let next = row(account.id, day, statement_due_ms(ctx, account.id, day, provider));
            statement::Entity::insert(next).exec_without_returning(txn).await?;
            Ok(true)
        })
        .await
}

/// When a day's statement is asked for first, by the process's own time.
fn statement_due_ms(ctx: &Context, account_id: AccountId, day: i64, provider: &dyn Provider) -> i64 {
    let spread_ms = (account_id.0.wrapping_mul(7_919) * 1_000).rem_euclid(ctx.rules.statement_spread_ms.max(1));
    ctx.now_ms() + (provider.profile().calendar.ready_ms(day) + spread_ms - ctx.wall_ms()).max(0)
}

/// Asks for a day's statement and takes in what it says; nothing if it is to be asked for later.
async fn fetch_and_reconcile(
    ctx: &Context,
    account: &account::Model,
    provider: &dyn Provider,
    day: i64,
) -> Result<Result<Option<(StatementState, StatementOutcome)>, ProviderError>> {
    let since_ready_ms = ctx.wall_ms() - provider.profile().calendar.ready_ms(day);
    let (facts, unread) = match provider.statement(day).await {
        Ok(Statement::NotYet) => return Ok(Ok(None)),
        Ok(Statement::Nothing) if since_ready_ms < ASSUME_NONE_AFTER_MS => return Ok(Ok(None)),
        Ok(Statement::Nothing) => return Ok(Ok(Some((StatementState::None, StatementOutcome::default())))),
        Ok(Statement::Facts { facts, unread }) => (facts, unread),
        Err(ProviderError::Refused { code, .. }) if since_ready_ms > GIVE_UP_AFTER_MS => {
            let message = format!("an old statement of the payment provider cannot be had any more: {code}");
            alarm(ctx, account.operator_id, None, message);
            return Ok(Ok(Some((StatementState::Missed, StatementOutcome::default()))));
        }
        Err(error) => return Ok(Err(error)),
    };
    let reading = reconcile(ctx, account, provider, &facts).await?;
    Ok(reading
        .map(|reading| Some((StatementState::Read, StatementOutcome { unread: unread + reading.unread, ..reading }))))
}

fn report_outcome(ctx: &Context, account: &account::Model, reading: &StatementOutcome) {
    if reading.unread > 0 {
        let message = format!("{} lines of the payment provider's statement were not understood", reading.unread);
        alarm(ctx, account.operator_id, None, message);
    }
    if let Some(first) = &reading.first_orphan {
        let message = format!("{} facts of the provider's statement fit no order: {first}, ..", reading.orphans);
        alarm(ctx, account.operator_id, None, message);
    }
}

/// Takes a statement to work on. False if somebody else has it.
async fn claim_statement(ctx: &Context, row: &statement::Model) -> Result<bool> {
    let due_ms = ctx.now_ms() + ctx.rules.statement_wait_ms(row.tries);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let update = statement::Entity::update_many()
                .col_expr(statement::Column::DueMs, Expr::value(due_ms))
                .col_expr(statement::Column::Tries, Expr::value(row.tries.saturating_add(1)))
                .filter(statement::Column::Id.eq(row.id))
                .filter(statement::Column::DueMs.eq(row.due_ms))
                .exec(txn)
                .await?;
            Ok(update.rows_affected == 1)
        })
        .await
}

fn statement_failed(ctx: &Context, account: &account::Model, row: &statement::Model, error: &ProviderError) {
    metrics::counter!("coinwire_provider_errors_total").increment(1);
    tracing::warn!(account = %account.id, day = row.day, %error, "the provider's statement could not be had");
    if (row.tries + 1) % TRIES_PER_ALARM == 0 {
        let message = format!("the payment provider's daily statement cannot be had: {error}");
        alarm(ctx, account.operator_id, None, message);
    }
}

/// Ends a day's row, and begins that of the next day to be read.
async fn end_statement(
    ctx: &Context,
    ended: &statement::Model,
    state: StatementState,
    reading: &StatementOutcome,
    next_day: i64,
    provider: &dyn Provider,
) -> Result<()> {
    let next = row(ended.account_id, next_day, statement_due_ms(ctx, ended.account_id, next_day, provider));
    let next = &next;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut change: statement::ActiveModel = ended.clone().into();
            change.state = Set(state);
            change.tries = Set(ended.tries + 1);
            change.due_ms = Set(None);
            change.facts = Set(reading.facts);
            change.learned = Set(reading.learned);
            change.orphans = Set(reading.orphans);
            change.read_ms = Set(Some(ctx.wall_ms()));
            change.update_without_returning(txn).await?;
            statement::Entity::insert(next.clone()).exec_without_returning(txn).await?;
            Ok(())
        })
        .await?;
    metrics::counter!("coinwire_statements_read_total", "state" => state.as_str()).increment(1);
    Ok(())
}
