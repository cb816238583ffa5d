//! The store: SQLite or MySQL, chosen by the URL at run time.
//!
//! One rule, because of SQLite: all writing goes through [`Db::write`], which owns the only writing connection; readers
//! have their own connections and never wait for a writer.
//!
//! And one rule for both stores: a write counts as done only after its COMMIT succeeded. If the begin, commit, rollback
//! or savepoint of a transaction fails, the connection is closed, because the driver and the database may then disagree
//! about whether a transaction is open, and what is "committed" inside an open transaction is not stored.

mod charset;
mod connections;
mod fault;
mod files;
mod group;
mod health;
pub mod migration;

pub use fault::StoreFault;
pub use files::CommitMark;

use crate::{Error, Result};
use connections::{Writer, connect, connect_writer};
use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Connections that read (SQLite), or all of them (MySQL).
const CONNECTIONS_MAX: u32 = 16;
/// How long a writer waits in all, for its turn, for a connection and for locks, before the store counts as locked.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long connections are waited for at the end.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How often a transaction that met a deadlock or a lock is tried again.
const CONTENTION_RETRIES: u32 = 8;

/// A transaction, shared with the work that is done in it.
pub type Txn = Arc<DatabaseTransaction>;

/// The store.
#[derive(Clone)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    /// What is known of SQLite's one writing connection.
    writer: Writer,
    group: group::Group,
    health: Arc<health::Health>,
    files: Option<files::Files>,
}

impl Db {
    /// Opens `sqlite://path?mode=rwc`, `sqlite::memory:` or `mysql://user:password@host/database`.
    ///
    /// # Errors
    /// `Invalid` if the URL names no known kind of store; `Store` if the store cannot be opened.
    pub async fn open(url: &str) -> Result<Self> {
        let (writer, mut files) = (Writer::default(), None);
        let (read, write) = if url.starts_with("mysql:") {
            let pool = connect(url, CONNECTIONS_MAX).await?;
            (pool.clone(), pool)
        } else if url == "sqlite::memory:" {
            let only = connect(url, 1).await?;
            (only.clone(), only)
        } else if url.starts_with("sqlite:") {
            files = files::Files::of(url);
            files.iter().for_each(files::Files::make_private);
            let write = connect_writer(url, &writer).await?;
            let read = connect(url, CONNECTIONS_MAX).await?;
            files.iter().for_each(files::Files::make_private);
            (read, write)
        } else {
            return Err(Error::Config {
                setting: "database_url",
                message: "must start with sqlite: or mysql:, for example sqlite://coinwire.db?mode=rwc".into(),
            });
        };
        Ok(Self { read, write, writer, group: group::Group::default(), health: Arc::default(), files })
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `Store`; the step that failed is done again at the next try.
    pub async fn migrate(&self) -> Result<()> {
        let is_mysql = self.write.get_database_backend() == DbBackend::MySql;
        if is_mysql {
            charset::choose(&self.write).await?;
        }
        {
            let _permit = self.writer.permit_commits();
            migration::Migrator::up(&self.write, None).await?;
        }
        if is_mysql {
            charset::convert_tables(&self.write).await?;
        }
        Ok(())
    }

    /// Migrations not applied yet.
    ///
    /// # Errors
    /// `Store`.
    pub async fn pending_migrations(&self) -> Result<usize> {
        let _permit = self.writer.permit_commits();
        Ok(migration::Migrator::get_pending_migrations(&self.write).await?.len())
    }

    /// Closes all connections, the writing one last: SQLite then copies its write-ahead log into the database and
    /// removes it, so that an orderly end leaves one file. Waits only for a moment for connections that are still in
    /// use.
    pub async fn close(&self) {
        for pool in [&self.read, &self.write] {
            if tokio::time::timeout(CLOSE_MAX, pool.close_by_ref()).await.is_err() {
                tracing::debug!("a connection to the database was in use at the end");
            }
        }
    }

    /// For reading outside of a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Runs `work` in one transaction and commits it durably. Runs `work` again after a conflict with another writer,
    /// so it must have no effects outside the store. It must not use [`Db::read`].
    ///
    /// An error of the store does not prove that nothing was written: a COMMIT may have been done and not answered. So
    /// each write must be harmless when its caller repeats it.
    ///
    /// # Errors
    /// Those of `work`, and `Store`.
    pub async fn write<T, F>(&self, work: impl Fn(Txn) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + WAIT_MAX;
        let mut tries = 0;
        let outcome = loop {
            // There is no retry after a lock timeout, since other writers queue behind this one.
            let may_try_again = tries < CONTENTION_RETRIES && Instant::now() < deadline;
            match self.write_once(&work, deadline).await {
                Ok(Some(value)) => break Ok(value),
                Ok(None) if !may_try_again => break Err(fault::lock_timeout_error()),
                Err(Error::Store(error)) if may_try_again && fault::is_contention(&error) => {}
                Err(error) => break Err(error),
                Ok(None) => {}
            }
            tries += 1;
            metrics::counter!("coinwire_store_contention_total").increment(1);
            tokio::time::sleep(Duration::from_millis(u64::from(tries) * 2)).await;
        };
        if let Err(Error::Store(error)) = &outcome {
            self.health.note_failure(error);
        }
        outcome
    }

    /// Runs `work` once; `None` if it was rolled back because of another writer and must be run again.
    async fn write_once<T, F>(&self, work: &impl Fn(Txn) -> F, deadline: Instant) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>>,
    {
        if self.write.get_database_backend() != DbBackend::MySql {
            return self.group.write(&self.write, &self.writer, work, deadline).await;
        }
        // Each statement sees what is committed. Where a row must not change in between, it is updated on the condition
        // that its version is unchanged.
        let (isolation, access) = (IsolationLevel::ReadCommitted, AccessMode::ReadWrite);
        let begin = self.write.begin_with_config(Some(isolation), Some(access));
        let txn = Arc::new(before_deadline(deadline, begin).await??);
        let outcome = work(txn.clone()).await;
        end(txn, &self.writer, outcome).await.map(Some)
    }
}

/// Waits, but not past the deadline.
async fn before_deadline<T>(deadline: Instant, waiting: impl Future<Output = T>) -> Result<T> {
    timeout_at(deadline, waiting).await.map_err(|_| fault::lock_timeout_error())
}

/// Commits what went well, rolls back what did not.
async fn end<T>(txn: Txn, writer: &Writer, outcome: Result<T>) -> Result<T> {
    let txn = Arc::into_inner(txn).expect("the work is over, and with it its handle");
    match outcome {
        Ok(value) => {
            commit(txn, writer).await?;
            Ok(value)
        }
        // The work's error is the one that matters; the rollback may fail because the database has already done it.
        Err(error) => {
            if let Err(rollback) = txn.rollback().await {
                writer.discard();
                tracing::debug!(%rollback, "the connection is given up after a rollback that failed");
            }
            Err(error)
        }
    }
}

async fn commit(txn: DatabaseTransaction, writer: &Writer) -> Result<(), DbErr> {
    let _permit = writer.permit_commits();
    txn.commit().await.inspect_err(|_| writer.discard())
}

/// Whether a unique index refused a row.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}
