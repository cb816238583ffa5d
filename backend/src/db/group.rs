//! Group commit for SQLite: writers that queue for the one writing connection share a transaction, so that one durable
//! commit serves them all. A writer that is alone has its own transaction and waits for nobody.

use super::{Txn, before_deadline, commit, connections::Writer, end};
use crate::Result;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use std::{future::Future, sync::Arc};
use tokio::{
    sync::{Mutex, oneshot},
    time::Instant,
};

/// Writers take turns, first come, first served; each leaves the transaction open for those that wait behind it.
#[derive(Clone, Default)]
pub(super) struct Group {
    turn: Arc<Mutex<Option<Open>>>,
}

/// A transaction with work in it, and who waits for its commit.
struct Open {
    txn: Txn,
    members: Vec<oneshot::Sender<Result<(), DbErr>>>,
}

impl Group {
    /// Runs `work` and returns once it is committed durably; `None` if another writer's failure rolled it back. Waits
    /// for its turn and for a lock until the deadline.
    pub async fn write<T, F>(
        &self,
        connection: &DatabaseConnection,
        writer: &Writer,
        work: &impl Fn(Txn) -> F,
        deadline: Instant,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let mut turn = before_deadline(deadline, self.turn.lock()).await?;
        // Until it is put back this writer owns it: if this writer fails or is cancelled, it is rolled back and its
        // members run again.
        let taken = turn.take();
        let is_first = taken.is_none();
        let (mut open, outcome) = match taken {
            None => {
                let txn = before_deadline(deadline, begin(connection)).await?.inspect_err(|_| writer.discard())?;
                match work(txn.clone()).await {
                    Ok(value) => (Open { txn, members: vec![] }, Ok(value)),
                    error => return end(txn, writer, error).await.map(Some),
                }
            }
            Some(open) => {
                let outcome = in_savepoint(&open.txn, work).await.inspect_err(|_| writer.discard())?;
                (open, outcome)
            }
        };
        let (committed, commit) = oneshot::channel();
        open.members.push(committed);
        *turn = Some(open);
        drop(turn);
        if is_first {
            // The commit runs in its own task, queued behind the waiting writers, so that cancelling one member leaves
            // no other uncommitted.
            tokio::spawn(self.clone().commit(writer.clone()));
        }
        match commit.await {
            // Also if the work failed: the error may follow from what others wrote.
            Ok(Ok(())) => outcome.map(Some),
            Ok(Err(error)) => Err(error.into()),
            Err(oneshot::error::RecvError { .. }) => Ok(None),
        }
    }

    async fn commit(self, writer: Writer) {
        let mut turn = self.turn.lock().await;
        let Some(open) = turn.take() else { return };
        let txn = Arc::into_inner(open.txn).expect("the members' work is over, and with it their handles");
        metrics::histogram!("coinwire_store_group_size").record(open.members.len() as f64);
        let committed = commit(txn, &writer).await;
        for member in open.members {
            let _ = member.send(committed.clone());
        }
    }
}

async fn begin(connection: &DatabaseConnection) -> Result<Txn> {
    // SQLite waits for another process's lock only at the start of a transaction: a transaction that began by reading
    // and then wants to write is refused at once.
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode, ..Default::default() };
    Ok(Arc::new(connection.begin_with_options(options).await?))
}

/// Runs `work` so that it alone can be undone. The outer error: the whole transaction is in doubt.
async fn in_savepoint<T, F>(group: &DatabaseTransaction, work: &impl Fn(Txn) -> F) -> Result<Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let savepoint = Arc::new(group.begin().await?);
    let outcome = work(savepoint.clone()).await;
    let savepoint = Arc::into_inner(savepoint).expect("the work is over, and with it its handle");
    match outcome {
        Ok(value) => {
            savepoint.commit().await?;
            Ok(Ok(value))
        }
        Err(error) => match savepoint.rollback().await {
            Ok(()) => Ok(Err(error)),
            // The database has rolled back everything by itself; the work's error says why.
            Err(rollback) => {
                tracing::debug!(%rollback, "a group of writes was rolled back; its members run again");
                Err(error)
            }
        },
    }
}
