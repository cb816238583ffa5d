//! The numbers by which a module knows a credit. They are derived from the payment and the order, not from later
//! events: a store that was restored from a backup derives the same numbers again, and so asks the module instead of
//! selling twice.

use crate::{
    Error, Result,
    modules::{
        command::{Column, Entity},
        module,
    },
};
use aws_lc_rs::digest;
use protocol::limits::CREDIT_WINDOW;
use sea_orm::{DatabaseTransaction, QueryOrder, QuerySelect, prelude::*, sea_query::Expr};

/// Sequences count at least the seconds since then (2026-01-01 00:00 UTC): those given by a store that was put back are
/// newer than those it has forgotten.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Limit, so that a clock that is far ahead does not use up the sequences.
const SECONDS_MAX: i64 = u32::MAX as i64 / 2;

/// With this many newer commands, an order's own sequence may be older than the module's window.
const NEWER_MAX: u64 = CREDIT_WINDOW as u64 / 2;

/// The id of a payment's credit command. It depends on module and payment only, so a restored store derives the same
/// id. Fits a signed column, never 0.
pub fn credit_id(module_id: &str, out_trade_no: &str) -> u64 {
    let text = format!("coinwire credit 1\0{module_id}\0{out_trade_no}");
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
    (u64::from_be_bytes(first) & i64::MAX.unsigned_abs()).max(1)
}

/// The lowest next sequence allowed at a time.
pub(crate) fn sequence_floor(now_ms: i64) -> i64 {
    ((now_ms - EPOCH_MS) / 1000).clamp(1, SECONDS_MAX)
}

/// Takes a module's next sequence: one more than the last, and at least the seconds since the epoch.
pub(crate) async fn next_sequence(txn: &DatabaseTransaction, module_id: &str, now_ms: i64) -> Result<i64> {
    let floor = sequence_floor(now_ms);
    let sequence = module::Column::CommandSequence;
    let next = Expr::case(sequence.lt(floor), floor).finally(sea_orm::ExprTrait::add(Expr::col(sequence), 1));
    let counted = module::Entity::update_many()
        .col_expr(sequence, next.into())
        .filter(module::Column::Id.eq(module_id))
        .exec(txn)
        .await?;
    if counted.rows_affected != 1 {
        return Err(Error::inconsistent("a command's module is not there"));
    }
    let taken = module::Entity::find_by_id(module_id).select_only().column(sequence).into_tuple().one(txn).await?;
    taken.ok_or_else(|| Error::inconsistent("a command's module is not there"))
}

/// Ensures that a module's next sequence is greater than one that was issued before.
pub(crate) async fn advance_sequence_past(txn: &DatabaseTransaction, module_id: &str, given: i64) -> Result<()> {
    module::Entity::update_many()
        .col_expr(module::Column::CommandSequence, Expr::value(given))
        .filter(module::Column::Id.eq(module_id))
        .filter(module::Column::CommandSequence.lt(given))
        .exec(txn)
        .await?;
    Ok(())
}

/// The sequence of an order, if it can still be used: no other command has it and, if the credit shall be given, so few
/// newer ones were queued that the module certainly remembers them all.
pub(crate) async fn order_sequence(
    txn: &DatabaseTransaction,
    module_id: &str,
    sequence: i64,
    to_be_given: bool,
) -> Result<Option<i64>> {
    let limit = if to_be_given { NEWER_MAX } else { 1 };
    let newer: Vec<i64> = Entity::find()
        .select_only()
        .column(Column::Sequence)
        .filter(Column::ModuleId.eq(module_id))
        .filter(Column::Sequence.gte(sequence))
        .order_by_asc(Column::Sequence)
        .limit(limit)
        .into_tuple()
        .all(txn)
        .await?;
    let is_crowded = to_be_given && newer.len() as u64 >= NEWER_MAX;
    Ok((newer.first() != Some(&sequence) && !is_crowded).then_some(sequence))
}

/// A number from outside as a column's value: a number that does not fit becomes the column's largest value.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credits_id_follows_from_module_and_payment_alone() {
        let id = credit_id("0123456789", "S0001");
        assert_eq!(id, credit_id("0123456789", "S0001"));
        assert_ne!(id, credit_id("0123456789", "S0002"));
        assert_ne!(id, credit_id("0123456788", "S0001"));
        assert!((1..=i64::MAX.unsigned_abs()).contains(&id));
        // Fixed values: another version of this program must derive the same ones.
        assert_eq!(id, 3_300_649_422_568_766_030);
    }

    #[test]
    fn sequences_follow_the_clock_within_bounds() {
        assert_eq!(sequence_floor(0), 1);
        assert_eq!(sequence_floor(EPOCH_MS + 59_999), 59);
        assert_eq!(sequence_floor(i64::MAX), SECONDS_MAX);
    }
}
