//! Commits appends in groups.
//!
//! A lane takes whatever waits, up to [`GROUP`] records, and commits it in one
//! transaction: the cost of a durable commit is shared by everyone who waited
//! for it. When a group fails, each batch is tried by itself, so that nobody
//! fails for another's batch.

use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Appended, EvidenceBatch, StoreError};

/// Measured, in both databases: rows per second no longer rise beyond this,
/// only latency does.
const GROUP: usize = 2_000;

/// Batches that may wait; who sends bounds their records.
const WAITING: usize = 256;

/// Stores batches in one transaction; the answers are in their order.
pub(super) trait Commit: Send + Sync + 'static {
    fn commit(
        &self,
        batches: &[EvidenceBatch],
    ) -> impl Future<Output = Result<Vec<Appended>, StoreError>> + Send;
}

struct Waiting {
    batch: EvidenceBatch,
    reply: oneshot::Sender<Result<Appended, StoreError>>,
}

/// The way to the tasks that append.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    lanes: Mutex<JoinSet<()>>,
}

impl Writer {
    /// Each lane commits one group at a time.
    pub(super) fn start(store: Arc<impl Commit>, lanes: usize) -> Writer {
        let (queue, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let lanes = (0..lanes).map(|_| run(Arc::clone(&store), Arc::clone(&waiting)));
        Writer {
            queue: Mutex::new(Some(queue)),
            lanes: Mutex::new(lanes.collect()),
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
        let mut lanes = self.lanes.lock().await;
        while lanes.join_next().await.is_some() {}
    }
}

async fn run(store: Arc<impl Commit>, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    while let Some(group) = next_group(&waiting).await {
        // A task of its own: should it panic, its callers get an error and the
        // next group is committed all the same.
        if let Err(error) = tokio::spawn(commit(Arc::clone(&store), group)).await {
            tracing::error!(error = %error, "a group of evidence was not committed");
        }
    }
}

async fn next_group(waiting: &Mutex<mpsc::Receiver<Waiting>>) -> Option<Vec<Waiting>> {
    let mut waiting = waiting.lock().await;
    let first = waiting.recv().await?;
    let mut records = first.batch.records.len();
    let mut group = vec![first];
    while records < GROUP
        && let Ok(next) = waiting.try_recv()
    {
        records += next.batch.records.len();
        group.push(next);
    }
    Some(group)
}

async fn commit(store: Arc<impl Commit>, mut group: Vec<Waiting>) {
    // Whoever gave up while waiting will send again.
    group.retain(|waiting| !waiting.reply.is_closed());
    let (batches, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|w| (w.batch, w.reply)).unzip();
    match store.commit(&batches).await {
        Ok(appended) => {
            for (reply, appended) in replies.into_iter().zip(appended) {
                // Whoever no longer listens will send again and learn then.
                let _ = reply.send(Ok(appended));
            }
        }
        // No batch is to blame for a database that does not answer.
        Err(error) if batches.len() == 1 || matches!(error, StoreError::TimedOut(_)) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
        Err(_) => {
            for (batch, reply) in batches.iter().zip(replies) {
                let outcome = store.commit(std::slice::from_ref(batch)).await;
                let outcome = outcome.map(|mut one| one.pop().unwrap_or_default());
                let _ = reply.send(outcome);
            }
        }
    }
}
