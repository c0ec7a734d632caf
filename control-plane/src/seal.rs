//! Seals evidence: puts what was stored into the tree, and signs the tree.
//!
//! What is promised: a checkpoint is signed only for a tree that the store has
//! committed and that contains every checkpoint published before; it is
//! published only after the store has it. Otherwise sealing stops and says so:
//! `evidence_storage` is unhealthy, `mercator_evidence_seal_refused` is 1. What
//! was published last is kept in a file beside the database, so that a database
//! set back to an older copy is noticed.
//!
//! Any number of control planes may seal one log. The store lets a step happen
//! only from the size it was made for, so of two that take the same step one
//! comes too late, and looks again. Tree arithmetic is [`jupiter_evidence::tree`].

mod keys;

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::tree::{
    Checkpoint, Edge, Hash, Tiles, consistency_path, empty_root, proves_consistency,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

pub use self::keys::{KeysError, LogKeys};
use crate::app::App;
use crate::envoy::files::write_private;
use crate::metrics::Metrics;
use crate::store::{AdvanceError, LogState, Sequenced, StoreError, StoredCheckpoint};
use crate::telemetry::spans;

const EVERY: Duration = Duration::from_secs(1);

/// Leaves of one step: 1.6 MB of hashes, and a commit of well below a second.
const STEP: u64 = 50_000;

/// How long a stop may take to seal the rest.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The last checkpoint this control plane published, in the data directory.
const PUBLISHED_FILE: &str = "evidence.checkpoint";

/// Why nothing is signed any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the database's log ends at {stored} records, a checkpoint over {published} was published: \
         it is an older copy"
    )]
    RolledBack { stored: u64, published: u64 },
    #[error("the tree in the database contradicts the checkpoint over {size} records")]
    Contradicted { size: u64 },
    #[error("the tree in the database lacks hashes")]
    Incomplete,
    #[error(
        "the newest checkpoint is not signed by a key in `evidence.pub`: all control planes of a \
         region need the same keys"
    )]
    ForeignKey,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Will not pass by itself.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
}

/// What others see of the log.
#[derive(Debug, Default)]
pub struct LogView {
    seen: Mutex<Seen>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    published: Option<Arc<StoredCheckpoint>>,
    /// Where others cosign: the newest one they were asked about, with their lines.
    told: Option<Arc<StoredCheckpoint>>,
    cosigners: bool,
    refusal: Option<Refusal>,
    /// When all that waited was last under a checkpoint.
    sealed_at: Option<Timestamp>,
}

impl LogView {
    /// The newest checkpoint, under our own signatures.
    pub fn published(&self) -> Option<Arc<StoredCheckpoint>> {
        self.lock().published.clone()
    }

    /// The checkpoint to tell everyone: the newest one, or where others cosign, the
    /// newest they were asked about, with what they signed.
    pub fn told(&self) -> Option<Arc<StoredCheckpoint>> {
        let seen = self.lock();
        match seen.cosigners {
            true => seen.told.clone(),
            false => seen.published.clone(),
        }
    }

    /// From now on, what is told is what [`LogView::tell`] is given.
    pub(crate) fn expect_cosigners(&self) {
        self.lock().cosigners = true;
    }

    pub(crate) fn tell(&self, cosigned: StoredCheckpoint) {
        self.lock().told = Some(Arc::new(cosigned));
    }

    /// Something was published since the last time.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Why nothing is signed any more.
    pub fn refusal(&self) -> Option<Refusal> {
        self.lock().refusal.clone()
    }

    /// Nothing waited for a checkpoint then.
    pub(crate) fn sealed(&self, at: Timestamp) {
        self.lock().sealed_at = Some(at);
    }

    /// How long ago that was, once it was.
    pub fn sealed_ago(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(now.duration_since(self.lock().sealed_at?))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct SealMetrics {
    tree_size: Gauge,
    unsealed: Gauge,
    signed_at: Gauge,
    refused: Gauge,
    failures: Counter,
}

impl SealMetrics {
    pub(crate) fn register(metrics: &Metrics) -> SealMetrics {
        let seal = SealMetrics {
            tree_size: Gauge::default(),
            unsealed: Gauge::default(),
            signed_at: Gauge::default(),
            refused: Gauge::default(),
            failures: Counter::default(),
        };
        metrics.register(|r| {
            r.register(
                "evidence_tree_size",
                "Records under the newest checkpoint",
                seal.tree_size.clone(),
            );
            r.register(
                "evidence_unsealed_records",
                "Stored records under no checkpoint yet",
                seal.unsealed.clone(),
            );
            r.register(
                "evidence_checkpoint_timestamp_seconds",
                "Unix time when the newest checkpoint was signed",
                seal.signed_at.clone(),
            );
            r.register(
                "evidence_seal_refused",
                "1 while nothing is signed because the tree contradicts what was published",
                seal.refused.clone(),
            );
            r.register(
                "evidence_seal_failures",
                "Attempts to seal evidence that failed and are repeated",
                seal.failures.clone(),
            );
        });
        seal
    }
}

/// The task that seals.
#[derive(Debug)]
pub struct Sealing {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sealing {
    pub fn start(sealer: Sealer) -> Sealing {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(sealer, stop.clone()));
        Sealing { stop, task }
    }

    /// Seals what is left and stops. To be called when nothing more is stored.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "sealing failed");
        }
    }
}

async fn run(mut sealer: Sealer, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        sealer.seal_and_tell().await;
    }
    let finished = tokio::time::timeout(FINISH_WITHIN, sealer.seal_and_tell());
    if finished.await.is_err() {
        tracing::warn!("evidence was not sealed to its end; the next start goes on there");
    }
}

/// What seals, step by step.
#[derive(Debug)]
pub struct Sealer {
    app: App,
    origin: String,
    keys: LogKeys,
    published_file: PathBuf,
    /// The last one published, by us or before us.
    last: Option<Checkpoint>,
    edge: Edge,
    metrics: SealMetrics,
}

impl Sealer {
    /// Goes on where the last one stopped.
    pub fn new(
        app: App,
        data_dir: &Path,
        origin: &str,
        keys: LogKeys,
    ) -> Result<Sealer, SealError> {
        let published_file = data_dir.join(PUBLISHED_FILE);
        let last = read_published(&published_file)?;
        let metrics = SealMetrics::register(&app.metrics);
        Ok(Sealer {
            app,
            origin: origin.to_owned(),
            keys,
            published_file,
            // Another name is another log, which promised nothing yet.
            last: last.filter(|last| last.origin == origin),
            edge: Edge::default(),
            metrics,
        })
    }

    /// Seals, and lets everyone know how it went.
    async fn seal_and_tell(&mut self) {
        let result = self.seal().await;
        let refusal = match &result {
            Ok(()) => {
                self.app.log.sealed(self.app.clock.now());
                None
            }
            Err(SealError::Refused(refusal)) => Some(refusal.clone()),
            Err(error) => {
                self.metrics.failures.inc();
                tracing::warn!(%error, "evidence is not sealed yet");
                return;
            }
        };
        self.metrics.refused.set(i64::from(refusal.is_some()));
        let mut seen = self.app.log.lock();
        if seen.refusal == refusal {
            return;
        }
        match &refusal {
            Some(refusal) => {
                tracing::error!(%refusal, "evidence is stored, and no longer signed");
            }
            None => tracing::info!("evidence is signed again"),
        }
        seen.refusal = refusal;
    }

    /// Seals all that waits.
    pub async fn seal(&mut self) -> Result<(), SealError> {
        loop {
            let state = self.app.store.log_state().await?;
            // Each second there is a look, and mostly nothing to do.
            let span = match state.waiting {
                0 => Span::none(),
                waiting => spans::seal(waiting),
            };
            let step = self.step(state).instrument(span.clone()).await;
            if step.is_err() {
                spans::failed(&span);
            }
            if !step? {
                return Ok(());
            }
        }
    }

    /// Seals a step of what waits; whether there is another to take.
    async fn step(&mut self, mut state: LogState) -> Result<bool, SealError> {
        self.follow(&state).await?;
        let more = state.waiting > STEP;
        match self.sequence(&state).await {
            Ok(true) => state = self.app.store.log_state().await?,
            Ok(false) => {}
            Err(AdvanceError::Stale) => return Ok(true),
            Err(AdvanceError::Failed(error)) => return Err(error.into()),
        }
        if !self.sign(&state).await? {
            return Ok(true);
        }
        self.metrics.unsealed.set(state.waiting as i64);
        Ok(more)
    }

    /// Publishes the store's newest checkpoint, if it keeps what was promised.
    async fn follow(&mut self, state: &LogState) -> Result<(), SealError> {
        let known = self.last.as_ref().map_or(0, |last| last.size);
        let stored = state.checkpoint.as_ref();
        let ours = match stored.map(|c| Checkpoint::open(&c.note, &self.keys.known)) {
            None => None,
            Some(Ok((checkpoint, _))) => Some(checkpoint),
            Some(Err(_)) => return Err(Refusal::ForeignKey.into()),
        };
        let of_this_log = ours.as_ref().filter(|c| c.origin == self.origin);
        if of_this_log.map_or(0, |c| c.size) < known || state.size < known {
            return Err(Refusal::RolledBack {
                stored: of_this_log.map_or(state.size, |c| c.size.min(state.size)),
                published: known,
            }
            .into());
        }
        let (Some(stored), Some(checkpoint)) = (stored, ours) else {
            return Ok(());
        };
        let published = self.app.log.published();
        if published.is_some_and(|published| published.note == stored.note) {
            return Ok(());
        }
        // Whoever signed it: the tree must be the one it speaks of, and contain
        // the last one that was published here.
        self.check(&checkpoint, checkpoint.size, &checkpoint.root)
            .await?;
        if let Some(last) = self.last.clone() {
            self.check(&last, checkpoint.size, &checkpoint.root).await?;
        }
        if checkpoint.origin == self.origin {
            self.publish(stored.clone(), checkpoint)?;
        }
        Ok(())
    }

    /// Whether the stored tree of `size` and `root` begins with that of `old`.
    async fn check(&self, old: &Checkpoint, size: u64, root: &Hash) -> Result<(), SealError> {
        let path = consistency_path(old.size, size);
        let roots = [0..old.size, 0..size];
        let needed = Tiles::needed_for(path.iter().chain(&roots));
        let tiles: Tiles = self.app.store.tiles(&needed).await?.into_iter().collect();
        let lacking = || SealError::Refused(Refusal::Incomplete);
        let proof = tiles.subtrees(&path).ok_or_else(lacking)?;
        let old_root = tiles.subtree(0..old.size).ok_or_else(lacking)?;
        let new_root = tiles.subtree(0..size).ok_or_else(lacking)?;
        let consistent = old_root == old.root
            && new_root == *root
            && proves_consistency((old.size, &old.root), (size, root), &proof);
        match consistent {
            true => Ok(()),
            false => Err(Refusal::Contradicted { size: old.size }.into()),
        }
    }

    /// Takes one step of the tree; whether there was one to take.
    async fn sequence(&mut self, state: &LogState) -> Result<bool, AdvanceError> {
        if state.waiting == 0 {
            return Ok(false);
        }
        let store = &self.app.store;
        let waiting = store.waiting_batches(STEP).await?;
        let mut edge = match self.edge.size() == state.size {
            true => self.edge.clone(),
            false => self.stored_edge(state.size).await?,
        };
        for leaf in waiting.iter().flat_map(|batch| &batch.leaves) {
            edge.push(leaf.0);
        }
        let sequenced = Sequenced {
            batches: waiting.iter().map(|batch| batch.id).collect(),
            size: edge.size(),
            tiles: edge.take_changed(),
        };
        // Until it is known how this ends, the store alone knows the edge.
        self.edge = Edge::default();
        store.sequence_batches(state.size, sequenced).await?;
        self.edge = edge;
        Ok(true)
    }

    async fn stored_edge(&self, size: u64) -> Result<Edge, StoreError> {
        let tiles = self.app.store.tiles(&Edge::tiles_of(size)).await?;
        let edge = Edge::restore(size, &tiles.into_iter().collect());
        edge.ok_or(StoreError::Corrupt("tiles are missing"))
    }

    /// Signs the tree, if the newest checkpoint is of a smaller one or of other
    /// keys; false when someone else was faster.
    async fn sign(&mut self, state: &LogState) -> Result<bool, SealError> {
        let newest = state.checkpoint.as_ref();
        if state.size == 0 || newest.is_some_and(|c| c.size == state.size && self.signed(&c.note)) {
            return Ok(true);
        }
        let before = newest.and_then(|c| Checkpoint::unverified(&c.note));
        // Read back rather than remembered: what is signed is what is stored.
        let edge = self.stored_edge(state.size).await?;
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: state.size,
            root: edge.root(),
        };
        let empty = Checkpoint {
            origin: self.origin.clone(),
            size: 0,
            root: empty_root(),
        };
        for old in [before.as_ref().unwrap_or(&empty)]
            .into_iter()
            .chain(&self.last)
        {
            self.check(old, checkpoint.size, &checkpoint.root).await?;
        }
        let stored = StoredCheckpoint {
            size: checkpoint.size,
            root: checkpoint.root,
            note: checkpoint.sign(&self.keys.signers),
            signed_at: self.app.clock.now(),
        };
        let seen = newest.map_or(0, |c| c.size);
        let advanced = self.app.store.advance_checkpoint(seen, stored.clone());
        match advanced.await {
            Ok(()) => self.publish(stored, checkpoint).map(|()| true),
            Err(AdvanceError::Stale) => Ok(false),
            Err(AdvanceError::Failed(error)) => Err(error.into()),
        }
    }

    /// Whether a note has the signatures of all our keys.
    fn signed(&self, note: &str) -> bool {
        let signers = match Checkpoint::open(note, &self.keys.known) {
            Ok((checkpoint, signers)) if checkpoint.origin == self.origin => signers,
            _ => return false,
        };
        let signed_by = |key| signers.iter().any(|signer| **signer == key);
        let mut keys = self.keys.signers.iter().map(|signer| signer.verifier());
        keys.all(signed_by)
    }

    /// First to where no restored database forgets it, then to everyone.
    fn publish(
        &mut self,
        stored: StoredCheckpoint,
        checkpoint: Checkpoint,
    ) -> Result<(), SealError> {
        write_private(&self.published_file, stored.note.as_bytes()).map_err(|cause| {
            SealError::File {
                path: self.published_file.clone(),
                cause,
            }
        })?;
        self.last = Some(checkpoint);
        self.metrics.tree_size.set(stored.size as i64);
        self.metrics.signed_at.set(stored.signed_at.as_second());
        self.app.log.lock().published = Some(Arc::new(stored));
        self.app.log.news.notify_one();
        Ok(())
    }
}

/// Our own file: what is in it was signed by us, whatever keys we have now.
fn read_published(path: &Path) -> Result<Option<Checkpoint>, SealError> {
    let failed = |cause| SealError::File {
        path: path.to_owned(),
        cause,
    };
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(note) => match Checkpoint::unverified(&note) {
            Some(checkpoint) => Ok(Some(checkpoint)),
            None => Err(failed(io::Error::other("it is not a checkpoint"))),
        },
    }
}

#[cfg(test)]
mod tests;
