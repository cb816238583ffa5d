//! Whether the store can be written to, proven by writing to it.

use super::{CommitMark, Db, fault::StoreFault};
use crate::{Error, Result};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long one proof is valid for everybody who asks.
const PROOF_VALID_FOR: Duration = Duration::from_secs(2);
/// A proof that takes longer does not count.
const PROOF_TIMEOUT: Duration = Duration::from_secs(6);
/// The shortest time between two log lines about a failing store.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// What is known of the store's health.
#[derive(Default)]
pub(super) struct Health {
    /// The last proof. A caller that finds it too old makes a new one, while others wait for it.
    proof: tokio::sync::Mutex<Option<(Instant, Option<StoreFault>)>>,
    /// The number that was committed last, and what [`Db::save_mark`] has kept.
    written: AtomicI64,
    log: Mutex<Log>,
}

/// Failures since they were last named in the log.
#[derive(Default)]
struct Log {
    named: Option<Instant>,
    left_out: u64,
}

impl Health {
    /// Counts an error of the store and, from time to time, logs it together with what to do.
    pub fn note_failure(&self, error: &DbErr) {
        let Some(fault) = StoreFault::of(error) else { return };
        metrics::counter!("coinwire_store_failures_total", "why" => fault.label()).increment(1);
        let now = Instant::now();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.named.is_some_and(|named| now < named + LOG_EVERY) {
            log.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut log.left_out);
        log.named = Some(now);
        tracing::error!(%error, left_out, "{}", fault.advice());
    }
}

impl Db {
    /// Proves with a durable write that the store can be written to. The write is done at most once in two seconds,
    /// however often it is asked for.
    ///
    /// # Errors
    /// What is wrong with the store, and what to do.
    pub async fn prove_writable(&self) -> Result<(), StoreFault> {
        let mut proof = self.health.proof.lock().await;
        let fault = match *proof {
            Some((at, fault)) if at.elapsed() < PROOF_VALID_FOR => fault,
            _ => {
                let fault = match timeout(PROOF_TIMEOUT, self.write_number()).await {
                    Ok(Ok(number)) => {
                        self.health.written.store(number, Ordering::Relaxed);
                        None
                    }
                    Ok(Err(Error::Store(error))) => Some(StoreFault::of(&error).unwrap_or(StoreFault::Other)),
                    Ok(Err(_)) => Some(StoreFault::Other),
                    Err(_) => Some(StoreFault::Gone),
                };
                metrics::gauge!("coinwire_store_writable").set(if fault.is_none() { 1.0 } else { 0.0 });
                *proof = Some((Instant::now(), fault));
                fault
            }
        };
        fault.map_or(Ok(()), Err)
    }

    /// Checks that reading works, then commits a number that is higher than the last.
    async fn write_number(&self) -> Result<i64> {
        self.read.ping().await?;
        self.write(|txn| async move {
            txn.execute_unprepared("UPDATE store_proof SET written = written + 1 WHERE id = 1").await?;
            written(&*txn).await?.ok_or_else(|| DbErr::RecordNotFound("store_proof".into()).into())
        })
        .await
    }

    /// Saves next to a SQLite database how much it has committed, so that a lost write-ahead log is noticed at the next
    /// start. To be called from time to time.
    pub async fn save_mark(&self) {
        let Some(files) = self.files.clone() else { return };
        if self.prove_writable().await.is_err() {
            return;
        }
        let number = self.health.written.load(Ordering::Relaxed);
        let kept = tokio::task::spawn_blocking(move || files.save_mark(number)).await;
        if let Ok(Err(error)) = kept {
            tracing::debug!(%error, "the mark beside the database was not kept");
        }
    }

    /// Whether the database holds all marked commits. To be asked before it is migrated or written to.
    ///
    /// # Errors
    ///
    /// `Store`.
    pub async fn check_mark(&self) -> Result<CommitMark> {
        let Some(files) = &self.files else { return Ok(CommitMark::Intact) };
        // If nothing is left, the table is missing too.
        let is_there = sea_orm_migration::SchemaManager::new(&self.read).has_table("store_proof").await?;
        let number = if is_there { written(&self.read).await?.unwrap_or(0) } else { 0 };
        let mark = files.compare(number);
        if mark != CommitMark::Intact {
            metrics::counter!("coinwire_store_commits_missing_total").increment(1);
        }
        Ok(mark)
    }
}

async fn written(connection: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    let query =
        Statement::from_string(connection.get_database_backend(), "SELECT written FROM store_proof WHERE id = 1");
    connection.query_one_raw(query).await?.map(|row| row.try_get_by_index(0)).transpose()
}
