//! Commits appends in groups.
//!
//! One task takes whatever waits, up to [`GROUP`] records, and commits it in
//! one transaction: the cost of a durable commit is shared by everyone who
//! waited for it. When a group fails, each batch is tried by itself, so that
//! nobody fails for another's batch.

use sqlx::sqlite::SqlitePool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::append;
use crate::store::{Appended, EvidenceBatch, StoreError};

/// Measured: rows per second no longer rise beyond this, only latency does.
const GROUP: usize = 2_000;

/// Batches that may wait; who sends bounds their records.
const WAITING: usize = 256;

struct Waiting {
    batch: EvidenceBatch,
    reply: oneshot::Sender<Result<Appended, StoreError>>,
}

/// The way to the task that appends.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(pool: SqlitePool) -> Writer {
        let (queue, waiting) = mpsc::channel(WAITING);
        let task = tokio::spawn(run(pool, waiting));
        Writer {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
        }
    }

    pub(super) async fn append(&self, batch: EvidenceBatch) -> Result<Appended, StoreError> {
        let queue = self.queue.lock().await.clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { batch, reply };
        queue.send(waiting).await.map_err(|_| StoreError::Closed)?;
        // A lost reply: the task ended without knowing an outcome.
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no more, commits what waits.
    pub(super) async fn close(&self) {
        self.queue.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn run(pool: SqlitePool, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let mut records = first.batch.records.len();
        let mut group = vec![first];
        while records < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            records += next.batch.records.len();
            group.push(next);
        }
        // A task of its own: should it panic, its callers get an error and the
        // next group is committed all the same.
        if let Err(error) = tokio::spawn(commit(pool.clone(), group)).await {
            tracing::error!(error = %error, "a group of evidence was not committed");
        }
    }
}

async fn commit(pool: SqlitePool, group: Vec<Waiting>) {
    let (batches, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|w| (w.batch, w.reply)).unzip();
    match append::append(&pool, &batches).await {
        Ok(appended) => {
            for (reply, appended) in replies.into_iter().zip(appended) {
                // Whoever no longer listens will send again and learn then.
                let _ = reply.send(Ok(appended));
            }
        }
        Err(error) if batches.len() == 1 => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
        Err(_) => {
            for (batch, reply) in batches.iter().zip(replies) {
                let outcome = append::append(&pool, std::slice::from_ref(batch)).await;
                let outcome = outcome.map(|mut one| one.pop().unwrap_or_default());
                let _ = reply.send(outcome);
            }
        }
    }
}
