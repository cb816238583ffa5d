//! Connections to the database: how they are opened, and when one may be used again.

use super::WAIT_MAX;
use crate::Result;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, sqlx,
    sqlx::{Connection as _, Executor as _, Row as _, pool::PoolOptions},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

/// How long a released connection may take to answer before it is given up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that was idle for longer is tested before it is used.
const CHECK_AFTER_IDLE: Duration = Duration::from_secs(1);

/// What we know about SQLite's one writing connection, in addition to what the driver knows.
///
/// SQLite ends a transaction by itself on some errors (a full disk, a failed read), while the driver still counts it as
/// open. Each statement after that would commit by itself, and each later transaction would be a savepoint that nobody
/// commits. So the connection commits only while it is permitted to, and is discarded as soon as its state is
/// uncertain.
#[derive(Clone, Default)]
pub(super) struct Writer {
    may_commit: Arc<AtomicBool>,
    is_discarded: Arc<AtomicBool>,
}

/// Commits are permitted until it is dropped.
pub(super) struct Permit<'a>(&'a Writer);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.may_commit.store(false, Ordering::SeqCst);
    }
}

impl Writer {
    /// Lets the connection commit.
    pub fn permit_commits(&self) -> Permit<'_> {
        self.may_commit.store(true, Ordering::SeqCst);
        Permit(self)
    }

    /// The connection is closed when it is released, and another is opened for the next transaction.
    pub fn discard(&self) {
        self.is_discarded.store(true, Ordering::SeqCst);
    }

    /// A statement outside of any transaction is undone, with an error.
    async fn attach(self, connection: &mut sqlx::SqliteConnection) -> Result<(), sqlx::Error> {
        self.is_discarded.store(false, Ordering::SeqCst);
        connection.lock_handle().await?.set_commit_hook(move || self.may_commit.load(Ordering::SeqCst));
        Ok(())
    }

    /// Whether the connection is known to be outside of any transaction.
    async fn check_clean(self, connection: &mut sqlx::SqliteConnection) -> Result<bool, sqlx::Error> {
        if connection.is_in_transaction() {
            // A rollback that is queued for the connection is done before this query is answered.
            connection.ping().await?;
        }
        let is_clean = !connection.is_in_transaction() && !self.is_discarded.load(Ordering::SeqCst);
        if !is_clean {
            metrics::counter!("coinwire_store_connections_given_up_total").increment(1);
        }
        Ok(is_clean)
    }
}

/// Opens connections that read (SQLite), or that do everything.
pub(super) async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection> {
    Ok(Database::connect(options(url, connections)).await?)
}

/// Opens SQLite's one connection that writes.
pub(super) async fn connect_writer(url: &str, writer: &Writer) -> Result<DatabaseConnection> {
    let mut options = options(url, 1);
    let writer = writer.clone();
    options.map_sqlx_sqlite_pool_opts(move |pool: PoolOptions<sqlx::Sqlite>| {
        let (opened, released, acquired) = (writer.clone(), writer.clone(), writer.clone());
        pool.after_connect(move |connection, _| Box::pin(opened.clone().attach(connection)))
            .after_release(move |connection, _| Box::pin(released.clone().check_clean(connection)))
            .before_acquire(move |connection, _| Box::pin(acquired.clone().check_clean(connection)))
    });
    Ok(Database::connect(options).await?)
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_connect(|connection, _| {
                let wait = format!("SET SESSION innodb_lock_wait_timeout = {}", WAIT_MAX.as_secs());
                Box::pin(async move { connection.execute(sqlx::AssertSqlSafe(wait)).await.map(|_| ()) })
            })
            .after_release(|connection, _| Box::pin(settle(connection)))
            // The server may have been restarted since it was used last.
            .before_acquire(|connection, since| {
                Box::pin(async move {
                    if since.idle_for > CHECK_AFTER_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
        })
        .map_sqlx_sqlite_opts(|options| {
            options
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                // FULL: a committed payment survives a power cut, not only a crash.
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                .busy_timeout(WAIT_MAX)
                .foreign_keys(true)
                .statement_cache_capacity(256)
        });
    options
}

/// Makes sure that a MySQL connection can be used again. Cancelled work may leave its transaction open unnoticed, or an
/// answer half read; the next user of the connection would then wait for ever or read another's answer. An open
/// transaction is rolled back. A stray answer is detected because it does not match this query, and the connection is
/// closed. It is also closed if the driver still counts a transaction as open, since later transactions would then be
/// savepoints.
async fn settle(connection: &mut sqlx::MySqlConnection) -> Result<bool, sqlx::Error> {
    static QUESTIONS: AtomicI64 = AtomicI64::new(1);
    if connection.is_in_transaction() {
        return Ok(false);
    }
    let number = QUESTIONS.fetch_add(1, Ordering::Relaxed);
    let question = sqlx::AssertSqlSafe(format!("ROLLBACK; SELECT {number}"));
    let answer = tokio::time::timeout(SETTLE_TIMEOUT, connection.fetch_one(question));
    let answer = answer.await.map_err(|_| sqlx::Error::Protocol("no answer after cancelled work".into()))??;
    if answer.try_get::<i64, _>(0)? == number {
        Ok(true)
    } else {
        Err(sqlx::Error::Protocol("another's answer after cancelled work".into()))
    }
}
