//! The store: SQLite or MySQL, chosen by the URL at run time.
//!
//! One rule for SQLite's sake: all writing goes through [`Db::write`], which owns the only writing connection; readers
//! have their own and never wait for a writer.

mod group;
pub mod migration;

use crate::{Error, Result};
use sea_orm::{
    AccessMode, ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    RuntimeErr, TransactionTrait, sqlx,
    sqlx::{Connection as _, Executor as _, Row as _},
};
use sea_orm_migration::MigratorTrait;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// Connections that read (SQLite), or all of them (MySQL).
const CONNECTIONS_MAX: u32 = 16;
/// How long a connection, or a lock that another holds, is waited for before the store counts as gone.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a released connection may take to answer before it is given up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that was idle for longer is tried before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// A transaction that met a deadlock or a lock is tried again this often.
const CONTENTION_RETRIES: u32 = 8;

/// A transaction, shared with the work that is done in it.
pub type Txn = Arc<DatabaseTransaction>;

/// The store.
#[derive(Clone)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    group: group::Group,
}

impl Db {
    /// Opens `sqlite://path?mode=rwc`, `sqlite::memory:` or `mysql://user:password@host/database`.
    pub async fn open(url: &str) -> Result<Self> {
        let (read, write) = if url.starts_with("mysql:") {
            let pool = connect(url, CONNECTIONS_MAX).await?;
            (pool.clone(), pool)
        } else if url == "sqlite::memory:" {
            let only = connect(url, 1).await?;
            (only.clone(), only)
        } else if url.starts_with("sqlite:") {
            let write = connect(url, 1).await?;
            (connect(url, CONNECTIONS_MAX).await?, write)
        } else {
            return Err(Error::Config {
                setting: "database_url",
                message: "must start with sqlite: or mysql:, for example sqlite://coinwire.db?mode=rwc".into(),
            });
        };
        Ok(Self { read, write, group: group::Group::default() })
    }

    /// Brings the tables up to date.
    pub async fn migrate(&self) -> Result<()> {
        Ok(migration::Migrator::up(&self.write, None).await?)
    }

    /// Migrations not applied yet.
    pub async fn pending_migrations(&self) -> Result<usize> {
        Ok(migration::Migrator::get_pending_migrations(&self.write).await?.len())
    }

    /// For reading outside of a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Runs `work` in one transaction and commits it durably. Runs it anew when another writer was in the way, so it
    /// must have no effect but on the store. It must not use [`Db::read`].
    pub async fn write<T, F>(&self, work: impl Fn(Txn) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            // A lock that was waited for in vain is not waited for again and again: others queue behind us.
            let may_try_again = tries < CONTENTION_RETRIES && began.elapsed() < ACQUIRE_TIMEOUT;
            match self.write_once(&work).await {
                Ok(Some(value)) => return Ok(value),
                Ok(None) if !may_try_again => return Err(Error::Store(DbErr::Custom("was rolled back".into()))),
                Err(Error::Store(error)) if may_try_again && is_contention(&error) => {}
                Err(error) => return Err(error),
                Ok(None) => {}
            }
            tries += 1;
            metrics::counter!("coinwire_store_contention_total").increment(1);
            tokio::time::sleep(Duration::from_millis(u64::from(tries) * 2)).await;
        }
    }

    /// Runs `work` once; nothing if it was rolled back for another's sake and is to be run anew.
    async fn write_once<T, F>(&self, work: &impl Fn(Txn) -> F) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>>,
    {
        if self.write.get_database_backend() != DbBackend::MySql {
            return self.group.write(&self.write, work).await;
        }
        // Each statement sees what is committed; what must not change under us is compared and set by its version.
        let (isolation, access) = (IsolationLevel::ReadCommitted, AccessMode::ReadWrite);
        let txn = Arc::new(self.write.begin_with_config(Some(isolation), Some(access)).await?);
        let outcome = work(txn.clone()).await;
        end(txn, outcome).await.map(Some)
    }
}

/// Commits what went well, rolls back what did not.
async fn end<T>(txn: Txn, outcome: Result<T>) -> Result<T> {
    let txn = Arc::into_inner(txn).expect("the work is over, and with it its handle");
    match outcome {
        Ok(value) => {
            txn.commit().await?;
            Ok(value)
        }
        Err(error) => {
            txn.rollback().await?;
            Err(error)
        }
    }
}

async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_connect(|connection, _| {
                let wait = format!("SET SESSION innodb_lock_wait_timeout = {}", ACQUIRE_TIMEOUT.as_secs());
                Box::pin(async move { connection.execute(sqlx::AssertSqlSafe(wait)).await.map(|_| ()) })
            })
            .after_release(|connection, _| Box::pin(settle(connection)))
            // The server may have been restarted since it was used last.
            .before_acquire(|connection, since| {
                Box::pin(async move {
                    if since.idle_for > TRUSTED_FOR {
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
                .busy_timeout(ACQUIRE_TIMEOUT)
                .foreign_keys(true)
                .statement_cache_capacity(256)
        });
    Ok(Database::connect(options).await?)
}

/// Makes sure that a MySQL connection can be used again. Work that is cancelled may leave its transaction open, and
/// nobody knows; or an answer half read, so that whoever comes next waits for ever, or reads what is not his. The one is
/// ended; the other shows by an answer that is not the one to this question, and costs the connection.
async fn settle(connection: &mut sqlx::MySqlConnection) -> std::result::Result<bool, sqlx::Error> {
    static QUESTIONS: AtomicI64 = AtomicI64::new(1);
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

/// Whether a unique index refused a row: somebody was first.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

fn is_contention(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let sqlx::Error::Database(error) = &**error else { return false };
    match error.code().as_deref() {
        // SQLite: BUSY, BUSY_SNAPSHOT, LOCKED. MySQL: deadlock.
        Some("5" | "517" | "6" | "40001") => true,
        // MySQL reports a lock wait timeout (1205) and "record changed since last read" (1020) under the general state.
        Some("HY000") => error.message().contains("Lock wait") || error.message().contains("Record has changed"),
        _ => false,
    }
}
