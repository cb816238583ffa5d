//! A whole sale on a disk that fails at each of its calls in turn. Whoever is answered with an error asks again, as its
//! callers do. What was answered with success is in the file, also after a power cut; and each sale ends once.

use crate::support::{
    Options, TestApp,
    actors::acting_for,
    app::PRICE_PULSES,
    done, failed,
    store::{self, Store},
};
use ::failing_disk::{After, Disk, Fault};
use backend::{
    Error,
    flows::{place_order, take_callback::CallbackFailure, take_message},
    ids::SaleToken,
    jobs,
    sales::{shapes::SaleRow, views},
};
use protocol::messages::{Command, Reason};
use sea_orm::ConnectionTrait;

/// So often a caller asks at most.
const TRIES: usize = 40;
/// A lock that another has is asked for so often before SQLite gives up, and more.
const LOCKED_FOR: u64 = 300;

/// A commit is many writes, in turn a frame's header and a page: each fifth meets every commit, at both.
const WRITES: usize = 5;

async fn app_on(disk: &Disk) -> TestApp {
    let app = TestApp::start_with(Options { store: Some(Store::on_disk(disk)), ..Options::default() }).await;
    app.make_ready(&app.shop).await;
    app
}

/// States of all sales in the file, as the next process finds them.
async fn states_after(disk: &Disk, what: After) -> Vec<String> {
    let next = disk.after(what);
    let db = Store::on_disk(&next).stranger().await;
    let rows = store::rows(&db, "SELECT state FROM sales ORDER BY id").await;
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// What was answered with success is there after a power cut. Until something failed there is nothing to doubt.
async fn assert_kept(disk: &Disk, sale: usize, states: &[&str], told: &str) {
    if disk.failed() == 0 {
        return;
    }
    let found = states_after(disk, After::PowerCut).await;
    let state = found.get(sale).map(String::as_str).unwrap_or("missing");
    assert!(states.contains(&state), "{told}: sale {sale} is {state} after a power cut, not one of {states:?}");
}

/// Orders with one form until it is answered.
async fn order(app: &TestApp) -> SaleToken {
    let form = app.form(&app.shop);
    for _ in 0..TRIES {
        match place_order::order(&app.backend, form.clone()).await {
            Ok(checkout) => return checkout.token,
            Err(error) => assert!(matches!(error, Error::Store(_)), "{error:?}"),
        }
    }
    panic!("the order was never answered");
}

/// The provider calls back until it is answered.
async fn pay(app: &TestApp, token: &SaleToken) {
    let number = look(app, token).await.out_trade_no.unwrap();
    let what = app.bank.pay(&number, app.now_ms());
    let callback = app.notice(&number, what);
    for _ in 0..TRIES {
        match app.callback(&callback).await {
            Ok(()) => return,
            Err(error) => assert!(matches!(error, CallbackFailure::Internal(Error::Store(_))), "{error:?}"),
        }
    }
    panic!("the callback was never answered");
}

/// The sale as its operator sees it.
async fn look(app: &TestApp, token: &SaleToken) -> SaleRow {
    until_answered(app, async || views::operator_sale(&app.backend, &acting_for(app.shop.operator_id), token).await)
        .await
}

async fn until_answered<T>(app: &TestApp, mut ask: impl AsyncFnMut() -> backend::Result<T>) -> T {
    for _ in 0..TRIES {
        match ask().await {
            Ok(value) => return value,
            Err(error) => assert!(matches!(error, Error::Store(_)), "{error:?}"),
        }
        work(app, 200).await;
    }
    panic!("never answered");
}

/// Time passes, and what is due is worked on, or put off where the store fails.
async fn work(app: &TestApp, ms: i64) {
    app.clock.advance(ms);
    if let Err(error) = jobs::run_due(&app.backend).await {
        assert!(matches!(error, Error::Store(_)), "{error:?}");
    }
}

/// The credit, once it was sent; the module knows it by its sequence and gives it once.
async fn credit(app: &TestApp) -> Command {
    for _ in 0..TRIES {
        let credits = app.shop.module.credits(app);
        if let Some(first) = credits.first() {
            assert!(credits.iter().all(|credit| credit.id == first.id), "two credits: {credits:?}");
            return *first;
        }
        work(app, 200).await;
    }
    panic!("the credit was never sent");
}

/// The module's word, until it is taken.
async fn acknowledge(app: &TestApp, credit: &Command, gives: bool) {
    let module = &app.shop.module;
    let ack = match gives {
        true => module.ack(app, credit, done(PRICE_PULSES)),
        false => module.ack(app, credit, failed(0, Reason::Fault)),
    };
    until_answered(app, async || take_message::on_message(&app.backend, &ack.topic, &ack.payload).await).await;
}

/// A sale that is credited and one that is refunded, each to its end.
async fn two_sales(app: &TestApp, disk: &Disk, told: &str) {
    for (sale, gives) in [(0, true), (1, false)] {
        let token = order(app).await;
        assert_kept(disk, sale, &["created", "awaiting_payment"], told).await;
        pay(app, &token).await;
        assert_kept(disk, sale, &["paid", "crediting"], told).await;
        let credit = credit(app).await;
        acknowledge(app, &credit, gives).await;
        let ends: &[&str] = if gives { &["credited"] } else { &["refund_pending", "refunded"] };
        assert_kept(disk, sale, ends, told).await;
        for _ in 0..TRIES {
            if look(app, &token).await.view.state.as_str() == ends[ends.len() - 1] {
                break;
            }
            work(app, 1_000).await;
        }
        assert_kept(disk, sale, &ends[ends.len() - 1..], told).await;
    }
}

/// The live store, and the store after each way to end, say the same: one sale credited, one refunded, once.
async fn assert_ended_well(app: &TestApp, disk: &Disk, told: &str) {
    app.assert_books().await;
    assert_eq!(app.bank.refunds().len(), 1, "{told}");
    assert_eq!(app.number_of("SELECT COUNT(*) FROM commands WHERE sale_id IS NOT NULL").await, 2, "{told}");
    for what in [After::Kill, After::PowerCut] {
        assert_eq!(states_after(disk, what).await, ["credited", "refunded"], "{told}, {what:?}");
    }
}

/// Calls of two whole sales that a fault could hit.
async fn calls_of_two_sales(fault: Fault) -> u64 {
    let disk = Disk::new();
    let app = app_on(&disk).await;
    let before = disk.calls(fault);
    two_sales(&app, &disk, "nothing fails").await;
    assert_ended_well(&app, &disk, "nothing fails").await;
    disk.calls(fault) - before
}

/// Two runs may differ in the number of reads: what SQLite has in its cache depends on which of its connections was
/// faster.
const FEWER_CALLS: u64 = 5;

/// Has the fault at every few calls, once; and at fewer of them, several times in a row.
async fn at_each_call(fault: Fault, every: usize, in_a_row: u64, rows_every: usize) {
    let calls = calls_of_two_sales(fault).await;
    assert!(calls > 0, "{fault:?} hits nothing");
    // Migrated once for all.
    let migrated = Disk::new();
    Store::on_disk(&migrated).open().await;
    let rows = (0..calls).step_by(rows_every).map(|skip| (skip, in_a_row));
    for (skip, times) in (0..calls).step_by(every).map(|skip| (skip, 1)).chain(rows) {
        let told = format!("{fault:?} at call {skip} of {calls}, {times} times");
        let disk = migrated.after(After::Kill);
        let app = app_on(&disk).await;
        disk.fail(fault, skip, times);
        two_sales(&app, &disk, &told).await;
        assert!(disk.failed() > 0 || skip + FEWER_CALLS >= calls, "{told}: it did not happen");
        disk.mend();
        assert_ended_well(&app, &disk, &told).await;
    }
}

#[tokio::test]
async fn at_each_write_the_disk_is_full() {
    at_each_call(Fault::Full, WRITES, 3, 4 * WRITES).await;
}

#[tokio::test]
async fn at_each_write_there_is_an_error() {
    at_each_call(Fault::WriteError, WRITES, 3, 4 * WRITES).await;
}

#[tokio::test]
async fn at_each_sync_there_is_an_error() {
    at_each_call(Fault::SyncError, 1, 3, 1).await;
}

#[tokio::test]
async fn at_each_read_there_is_an_error() {
    at_each_call(Fault::ReadError, 1, 3, 4).await;
}

#[tokio::test]
async fn at_each_transaction_another_has_the_lock() {
    at_each_call(Fault::Locked, 1, LOCKED_FOR, 1).await;
}

/// A commit that fails costs the connection: nothing of what follows is a savepoint in a transaction that nobody commits.
#[tokio::test]
async fn after_a_commit_that_failed_what_is_answered_is_stored_and_the_lock_is_free() {
    let disk = Disk::new();
    let app = app_on(&disk).await;
    disk.fail(Fault::SyncError, 0, 1);
    assert!(matches!(place_order::order(&app.backend, app.form(&app.shop)).await, Err(Error::Store(_))));
    let token = order(&app).await;
    assert_eq!(states_after(&disk, After::PowerCut).await.last().unwrap(), "awaiting_payment");
    let another = app.store.stranger().await;
    another.execute_unprepared("BEGIN IMMEDIATE; ROLLBACK").await.expect("the lock is free");
    pay(&app, &token).await;
    assert_eq!(states_after(&disk, After::PowerCut).await.last().unwrap(), "paid");
}

/// While the disk is full, readiness says so and says what to do; once there is room again, everything continues by
/// itself.
#[tokio::test]
async fn a_full_disk_is_named_and_goes_by() {
    let disk = Disk::new();
    let app = app_on(&disk).await;
    disk.fail(Fault::Full, 0, u64::MAX);
    let refused = place_order::order(&app.backend, app.form(&app.shop)).await.unwrap_err();
    assert!(refused.to_string().contains("full"), "{refused}");
    let unready = app.backend.unready().await;
    assert!(unready.len() == 1 && unready[0].contains("disk is full") && unready[0].contains("free"), "{unready:?}");
    // However often it is asked, one proof serves for a while.
    let writes = disk.calls(Fault::Full);
    for _ in 0..100 {
        app.backend.unready().await;
    }
    assert_eq!(disk.calls(Fault::Full), writes);
    disk.mend();
    order(&app).await;
    // The last proof serves for two seconds.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !app.backend.unready().await.is_empty() {
        assert!(std::time::Instant::now() < until, "not ready again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_page_of_a_sale_that_waits_is_shown_while_nothing_can_be_written() {
    let disk = Disk::new();
    let app = app_on(&disk).await;
    let token = order(&app).await;
    // The provider is asked seldom by now, and a look at the page would have it asked sooner.
    app.pass_ms(60_000).await;
    disk.fail(Fault::Full, 0, u64::MAX);
    assert_eq!(backend::flows::show_sale::sale(&app.backend, &token).await.unwrap().state.as_str(), "awaiting_payment");
    assert!(disk.failed() > 0, "it tried to write");
}
