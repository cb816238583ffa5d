//! The long run: the server is killed again and again under sales, and then every sale that is paid at the provider has
//! ended once. `cargo xtask kill --times 200` runs it, with `--mariadb` on a MariaDB.

use crate::{
    POLL_INTERVAL,
    demo::{Demo, Facts},
    visitor::Visitor,
};
use backend::db::Db;
use sea_orm::{ConnectionTrait, QueryResult, Statement};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const MODULES: usize = 6;
const BUYERS_EACH: usize = 2;
const KILLS: u64 = 10;
/// Refunds are tried again after up to ten minutes, at the sandbox's speed much sooner.
const SETTLES_WITHIN: Duration = Duration::from_secs(300);

/// What must be zero once all is at rest.
const WRONG: [(&str, &str); 7] = [
    (
        "postings that do not sum to zero",
        "SELECT COUNT(*) FROM (SELECT txn_id FROM ledger_entries GROUP BY txn_id
            HAVING SUM(amount_minor) <> 0 OR COUNT(*) < 2) crooked",
    ),
    (
        "sales with two credits",
        "SELECT COUNT(*) FROM (SELECT sale_id FROM commands WHERE sale_id IS NOT NULL GROUP BY sale_id
            HAVING COUNT(*) > 1) twice",
    ),
    (
        "paid sales that have not ended",
        "SELECT COUNT(*) FROM sales s WHERE s.state NOT IN ('credited', 'refunded') AND EXISTS
            (SELECT 1 FROM payment_attempts a WHERE a.sale_id = s.id AND a.state IN ('paid', 'paid_wrong'))",
    ),
    (
        "sales that ended and were never paid",
        "SELECT COUNT(*) FROM sales s WHERE s.state IN ('paid', 'crediting', 'credited', 'refund_pending', 'refunded')
            AND NOT EXISTS
            (SELECT 1 FROM payment_attempts a WHERE a.sale_id = s.id AND a.state IN ('paid', 'paid_wrong'))",
    ),
    (
        "credited sales with a refund",
        "SELECT COUNT(*) FROM sales s WHERE s.state = 'credited' AND EXISTS (SELECT 1 FROM refunds r
            WHERE r.sale_id = s.id AND r.state <> 'cancelled' AND r.cause <> 'second_payment')",
    ),
    (
        "refunded sales without exactly one refund that is done",
        "SELECT COUNT(*) FROM sales s WHERE s.state = 'refunded' AND 1 <> (SELECT COUNT(*) FROM refunds r
            WHERE r.sale_id = s.id AND r.state = 'done' AND r.cause <> 'second_payment')",
    ),
    (
        "modules that gave other pulses than the sales say",
        "SELECT COUNT(*) FROM modules m WHERE m.credit_pulses <>
            (SELECT COALESCE(SUM(s.pulses_given), 0) FROM sales s WHERE s.module_id = m.id)",
    ),
];

#[tokio::test]
#[ignore = "takes minutes: cargo xtask kill --times N"]
async fn killed_again_and_again_each_paid_sale_ends_once() {
    let kills = std::env::var("COINWIRE_KILLS").map_or(KILLS, |text| text.parse().expect("COINWIRE_KILLS is a number"));
    let database = std::env::var("COINWIRE_KILL_DATABASE").ok();
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    for kill in 0..kills {
        let mut demo = Demo::start_on(dir.path(), MODULES, database.as_deref()).await;
        let mut buyers = JoinSet::new();
        for machine in demo.facts.machines.iter().cycle().take(MODULES * BUYERS_EACH) {
            buyers.spawn(buy_on(demo.facts.visitor(), machine.code.clone()));
        }
        // At another moment each time; the same moments in each run.
        tokio::time::sleep(Duration::from_millis(300 + kill * 7_919 % 2_700)).await;
        demo.running.kill();
        buyers.shutdown().await;
    }
    let demo = Demo::start_on(dir.path(), MODULES, database.as_deref()).await;
    let url = database.unwrap_or_else(|| format!("sqlite://{}/coinwire.db", dir.path().display()));
    let db = Db::open(&url).await.unwrap();
    let paid = paid_at_provider(dir.path());
    until_settled(&db, &paid).await;
    println!("{kills} kills in {} s: {} sales paid, each ended once", begun.elapsed().as_secs(), paid.len());
    assert!(paid.len() as u64 >= kills, "too few sales to show anything: {}", paid.len());
    still_sells(&demo.facts).await;
}

/// Buys at one machine until nobody answers.
async fn buy_on(visitor: Visitor, code: String) {
    loop {
        match visitor.try_order(&code).await {
            Ok(Some(payment)) if visitor.try_approve(&payment).await.is_ok() => {}
            Ok(Some(_)) | Err(_) => return,
            // Busy with the one before.
            Ok(None) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Numbers of the orders that the provider's journal says were paid.
fn paid_at_provider(dir: &Path) -> BTreeSet<String> {
    let journal = fs::read_to_string(dir.join("sandbox/wechat-journal.jsonl")).unwrap();
    let records = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let paid = records.filter(|record| record["Order"]["state"].get("Paid").is_some());
    paid.map(|record| record["Order"]["request"]["out_trade_no"].as_str().unwrap().to_owned()).collect()
}

/// Waits until nothing is wrong any more; what is at the end is told.
async fn until_settled(db: &Db, paid: &BTreeSet<String>) {
    let begun = Instant::now();
    loop {
        let wrong = wrong(db, paid).await;
        if wrong.is_empty() {
            return;
        }
        if begun.elapsed() > SETTLES_WITHIN {
            panic!("after {} s: {wrong:#?}\n{}", SETTLES_WITHIN.as_secs(), pulses_by_module(db).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn wrong(db: &Db, paid: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = vec![];
    for (what, query) in WRONG {
        let statement = Statement::from_string(db.read().get_database_backend(), query);
        let row = db.read().query_one_raw(statement).await.unwrap().unwrap();
        let count: i64 = row.try_get_by_index(0).unwrap();
        if count != 0 {
            wrong.push(format!("{count} {what}"));
        }
    }
    let query = "SELECT out_trade_no FROM payment_attempts WHERE state IN ('paid', 'paid_wrong')";
    let statement = Statement::from_string(db.read().get_database_backend(), query);
    let rows = db.read().query_all_raw(statement).await.unwrap();
    let known: BTreeSet<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    for number in paid.symmetric_difference(&known) {
        wrong.push(format!("{number} is paid only here or only at the provider"));
    }
    wrong
}

/// What each module counts beside what its sales say: says where to look when the two differ.
async fn pulses_by_module(db: &Db) -> String {
    let query = "SELECT m.id, CAST(m.credit_pulses AS CHAR),
            CAST(COALESCE(SUM(s.pulses_given), 0) AS CHAR),
            CAST(COALESCE(SUM(c.reason = 'power_lost'), 0) AS CHAR)
        FROM modules m LEFT JOIN sales s ON s.module_id = m.id LEFT JOIN commands c ON c.sale_id = s.id
        GROUP BY m.id, m.credit_pulses";
    let rows = db.read().query_all_raw(Statement::from_string(db.read().get_database_backend(), query)).await.unwrap();
    let text = |row: &QueryResult, column| row.try_get_by_index::<String>(column).unwrap();
    let line = |row: &QueryResult| {
        let [module, counted, told, cut] = [0, 1, 2, 3].map(|column| text(row, column));
        format!("{module}: {counted} pulses counted, {told} told by its sales, {cut} of them cut by lost power")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn still_sells(facts: &Facts) {
    let visitor = facts.visitor();
    let bought = visitor.buy(&facts.machines[0].code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
}
