//! Due rows that call payment providers, chosen fairly between merchant accounts.

use crate::{Context, Result, payments::bulkhead::Lane};
use sea_orm::{EntityTrait, FromQueryResult, Statement, Value};

/// Due rows of a table that has `account_id` and `due_ms`: first the first row of each account, then the second of
/// each. Accounts whose lane is full are left out, so that their rows do not hide others' rows.
pub(crate) async fn due_by_account<E>(ctx: &Context, entity: E, lane: Lane) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
{
    let busy = ctx.providers.saturated_accounts(lane);
    // One more than can begin, to see whether there are more.
    let most = i64::try_from(ctx.rules.account_calls_max).unwrap_or(i64::MAX).saturating_add(1);
    let rows = i64::try_from(ctx.rules.batch_rows).unwrap_or(i64::MAX);
    let sql = fair_query(entity.table_name(), busy.len());
    let values: Vec<Value> = [ctx.now_ms()]
        .into_iter()
        .chain(busy.into_iter().map(|account| account.0))
        .chain([most, rows])
        .map(Value::from)
        .collect();
    let statement = Statement::from_sql_and_values(ctx.db.read().get_database_backend(), sql, values);
    Ok(E::Model::find_by_statement(statement).all(ctx.db.read()).await?)
}

/// Each account's rows are numbered in the order in which they are due; low numbers come first.
fn fair_query(table: &str, busy: usize) -> String {
    let others = match busy {
        0 => String::new(),
        busy => format!(" AND account_id NOT IN ({})", vec!["?"; busy].join(", ")),
    };
    format!(
        "SELECT * FROM (SELECT t.*, ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY due_ms, id) AS place \
        FROM {table} t WHERE due_ms <= ?{others}) numbered \
        WHERE place <= ? ORDER BY place, due_ms, id LIMIT ?"
    )
}
