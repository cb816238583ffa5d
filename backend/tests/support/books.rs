//! What the books say, read past the backend.

use super::store::rows;
use sea_orm::DatabaseConnection;
use std::collections::BTreeMap;

/// A number out of the store.
pub async fn number_of(db: &DatabaseConnection, sql: &str) -> i64 {
    rows(db, sql).await[0].try_get_by_index(0).unwrap()
}

/// The balances over all operators, by account. Every posting sums to zero, or this panics.
pub async fn balances(db: &DatabaseConnection) -> BTreeMap<String, i128> {
    let mut postings: BTreeMap<(i64, String), (usize, i128)> = BTreeMap::new();
    let mut accounts: BTreeMap<String, i128> = BTreeMap::new();
    let sql = "SELECT txn_id, account, amount_minor, currency FROM ledger_entries";
    for row in rows(db, sql).await {
        let txn_id: i64 = row.try_get("", "txn_id").unwrap();
        let amount_minor: i64 = row.try_get("", "amount_minor").unwrap();
        let posting = postings.entry((txn_id, row.try_get("", "currency").unwrap())).or_default();
        *posting = (posting.0 + 1, posting.1 + i128::from(amount_minor));
        *accounts.entry(row.try_get("", "account").unwrap()).or_default() += i128::from(amount_minor);
    }
    assert!(postings.values().all(|(lines, sum)| *lines >= 2 && *sum == 0), "out of balance: {postings:?}");
    let headless = "SELECT COUNT(*) FROM ledger_txns WHERE id NOT IN (SELECT txn_id FROM ledger_entries)";
    assert_eq!(number_of(db, headless).await, 0, "a posting has no lines");
    accounts
}
