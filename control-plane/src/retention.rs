//! Lets records go when they are old enough: first into the archive, then from the
//! database.
//!
//! What is promised: nothing goes that is not under a published checkpoint, that a hold
//! covers, or that is not on disk in the archive, verified as it was read back. The steps
//! are: write files under a name of their own; read them back; let go in the store, which
//! notes it with a statement of the log's key; give the files their names; note it in the
//! ledger ([`ledger`]). After an end at any step the next look finishes it: what the store
//! has noted gets its files' names, other files of ours were never relied on.
//!
//! Leaves, and so all proofs, stay. `mercator verify` is [`jupiter_evidence::verify`].

mod archive;
mod ledger;
mod metrics;

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::export::PROOF_FORMAT;
use jupiter_evidence::retention::{NumbersGone, Retention as Statement, leaves_gone};
use jupiter_evidence::tree::{Hash, TILE_WIDTH, TileId, Tiles, gaps_between};
use jupiter_evidence::{EvidenceRecord, LeafHash, Tag};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::archive::Archive;
use self::ledger::Ledger;
pub(crate) use self::metrics::RetentionMetrics;
use crate::app::App;
use crate::config::RetentionConfig;
use crate::seal::LogKeys;
use crate::store::{
    Hold, LetGo, LetGoError, LogRecord, LoggedRecord, Retention, StoreError, StoredCheckpoint,
};

pub use self::archive::ArchiveError;
pub use self::ledger::LedgerError;

/// Leaves that are looked at, and let go, at once: 20 MB of records, and well below a
/// second for the database.
const STEP: u64 = 64 * TILE_WIDTH;

/// How often the ledger is compared with the database: others may let go, and a database
/// may be set back while we run.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often a step is tried again when holds or records changed meanwhile.
const ATTEMPTS: u32 = 3;

/// Why a look at old records did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("holds or records changed again and again")]
    Contended,
    #[error("the statement of what goes cannot be written: {0}")]
    Statement(#[from] serde_json::Error),
}

/// What a look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Records that were let go.
    pub gone: u64,
    /// Records that are old enough and held.
    pub held: u64,
    /// Records that are not as they were logged, or not there; they are left alone.
    pub broken: u64,
}

/// What lets go, step by step.
#[derive(Debug)]
pub struct Retainer {
    app: App,
    origin: String,
    keys: LogKeys,
    ledger: Ledger,
    /// `None`: records are kept for ever.
    rules: Option<Rules>,
    metrics: RetentionMetrics,
}

#[derive(Debug)]
struct Rules {
    config: RetentionConfig,
    shortest: Duration,
    archive: Archive,
    /// Steps of the log that nothing goes from before then.
    due: BTreeMap<u64, Timestamp>,
    looked_at: Option<Timestamp>,
}

impl Retainer {
    pub fn new(
        app: App,
        data_dir: &Path,
        instance: &str,
        origin: &str,
        keys: LogKeys,
        config: Option<RetentionConfig>,
    ) -> Retainer {
        let metrics = RetentionMetrics::register(&app.metrics);
        let rules = config.and_then(|config| {
            Some(Rules {
                shortest: config.shortest()?,
                archive: Archive::new(&config.archive, instance),
                config,
                due: BTreeMap::new(),
                looked_at: None,
            })
        });
        Retainer {
            app,
            origin: origin.to_owned(),
            keys,
            ledger: Ledger::in_dir(data_dir),
            rules,
            metrics,
        }
    }

    /// Lets go again what a restore brought back, and notes what others let go; how many
    /// records had come back.
    pub async fn reconcile(&self) -> Result<u64, RetentionError> {
        let known = &self.keys.known;
        Ok(self
            .ledger
            .reconcile(&self.app, &self.origin, known)
            .await?)
    }

    /// What is to be done now and then.
    async fn tick(&mut self) {
        if let Err(error) = self.reconcile().await {
            tracing::error!(%error, "retention cannot be compared with its ledger");
            return;
        }
        let now = self.app.clock.now();
        let due = self.rules.as_ref().is_some_and(|rules| {
            let next = rules.looked_at.map(|at| after(at, rules.config.interval));
            next.is_none_or(|next| next <= now)
        });
        if !due {
            return;
        }
        match self.look().await {
            Ok(looked) if looked.gone > 0 => {
                tracing::info!(
                    records = looked.gone,
                    held = looked.held,
                    "old records were let go"
                );
            }
            Ok(_) => {}
            Err(error) => {
                self.metrics.failures.inc();
                tracing::error!(%error, "old records are not let go");
            }
        }
    }

    /// Looks through the log and lets go what is old enough.
    pub async fn look(&mut self) -> Result<Looked, RetentionError> {
        let mut looked = Looked::default();
        let Some(mut rules) = self.rules.take() else {
            return Ok(looked);
        };
        let result = self.look_with(&mut rules, &mut looked).await;
        if result.is_ok() {
            let now = self.app.clock.now();
            rules.looked_at = Some(now);
            self.metrics.held.set(looked.held as i64);
            self.metrics.looked_at.set(now.as_second());
        }
        self.rules = Some(rules);
        result.map(|()| looked)
    }

    async fn look_with(
        &self,
        rules: &mut Rules,
        looked: &mut Looked,
    ) -> Result<(), RetentionError> {
        let noted = self.app.store.retentions().await?;
        let noted: Vec<&str> = noted.iter().map(|it| it.archive.as_str()).collect();
        rules.archive.finish(&noted)?;
        // What contradicts its own checkpoint is nothing to let go of.
        if self.app.log.refusal().is_some() {
            return Ok(());
        }
        let Some(checkpoint) = self.app.log.published() else {
            return Ok(());
        };
        let now = self.app.clock.now();
        for first in (0..checkpoint.size).step_by(STEP as usize) {
            if rules.due.get(&first).is_some_and(|due| *due > now) {
                continue;
            }
            let mut attempts = 0;
            let due = loop {
                match self.step(rules, first, &checkpoint, looked).await? {
                    Some(due) => break due,
                    None if attempts < ATTEMPTS => attempts += 1,
                    None => return Err(RetentionError::Contended),
                }
            };
            if first + STEP <= checkpoint.size {
                rules.due.insert(first, due.next);
            }
            if due.all_young {
                break;
            }
        }
        let before = before(now, rules.shortest);
        self.app.store.give_back_room(before).await?;
        self.reconcile().await?;
        Ok(())
    }

    /// Lets go what is old enough of one step of the log; `None`: look again.
    async fn step(
        &self,
        rules: &Rules,
        first: u64,
        checkpoint: &Arc<StoredCheckpoint>,
        looked: &mut Looked,
    ) -> Result<Option<Due>, RetentionError> {
        let store = &self.app.store;
        let now = self.app.clock.now();
        let count = STEP.min(checkpoint.size - first);
        let holds = store.holds().await?;
        let entries = store.log_entries(first, count as u32).await?;
        let hashes = self.leaves(first, count).await?;
        let mut due = Due {
            next: Timestamp::MAX,
            all_young: !entries.is_empty(),
        };
        let mut here = Looked::default();
        let mut going = Vec::new();
        for (entry, hash) in entries.into_iter().zip(hashes) {
            let logged = match entry.record {
                LogRecord::LetGo => {
                    due.all_young = false;
                    continue;
                }
                LogRecord::Lost => {
                    here.broken += 1;
                    continue;
                }
                LogRecord::Stored(logged) => logged,
            };
            let young = after(logged.received_at, rules.shortest) > now;
            due.all_young &= young;
            if young {
                due.next = due.next.min(after(logged.received_at, rules.shortest));
                continue;
            }
            let Some(record) = as_logged(&logged, &hash) else {
                here.broken += 1;
                continue;
            };
            let Some(keep) = keep_of(&rules.config, &record.tags) else {
                continue;
            };
            let end = after(logged.received_at, keep);
            if end > now {
                due.next = due.next.min(end);
            } else if is_held(&holds, &logged, &record) {
                here.held += 1;
                due.next = now;
            } else {
                going.push((entry.index, hash, logged.canonical, record));
            }
        }
        if here.broken > 0 {
            tracing::error!(
                records = here.broken,
                from = first,
                "records are not as they were logged; `mercator verify` names them"
            );
        }
        if !going.is_empty() {
            here.gone = going.len() as u64;
            if !self.let_go(rules, going, checkpoint, &holds).await? {
                return Ok(None);
            }
            self.metrics.gone.inc_by(here.gone);
        }
        looked.gone += here.gone;
        looked.held += here.held;
        looked.broken += here.broken;
        Ok(Some(due))
    }

    async fn leaves(&self, first: u64, count: u64) -> Result<Vec<Hash>, StoreError> {
        let last = first + count - 1;
        let ids: Vec<TileId> = (first / TILE_WIDTH..=last / TILE_WIDTH)
            .map(|index| TileId { level: 0, index })
            .collect();
        let tiles = self.app.store.tiles(&ids).await?;
        let hashes = tiles.into_iter().flat_map(|tile| tile.hashes);
        let hashes: Vec<Hash> = hashes.take(count as usize).collect();
        match hashes.len() as u64 == count {
            true => Ok(hashes),
            false => Err(StoreError::Corrupt("tiles are missing")),
        }
    }

    /// False: holds or records are others meanwhile.
    async fn let_go(
        &self,
        rules: &Rules,
        going: Vec<(u64, Hash, String, EvidenceRecord)>,
        checkpoint: &StoredCheckpoint,
        holds: &[Hold],
    ) -> Result<bool, RetentionError> {
        let leaves: Vec<(u64, Hash)> = going.iter().map(|(at, leaf, ..)| (*at, *leaf)).collect();
        let proof = self.proof(&leaves, checkpoint).await?;
        let (lines, records): (Vec<String>, Vec<EvidenceRecord>) = going
            .into_iter()
            .map(|(_, _, line, record)| (line, record))
            .unzip();
        let (archive, keys) = (rules.archive.clone(), self.keys.known.clone());
        let written = move || archive.write(&lines, &proof, &keys);
        let written = tokio::task::spawn_blocking(written).await;
        let draft = written.map_err(|error| rules.archive.interrupted(error))??;
        let now = self.app.clock.now();
        let statement = Statement {
            archive: draft.name.clone(),
            archive_sha256: draft.sha256.clone(),
            at: format!("{now:.6}"),
            leaves: leaves_gone(&leaves),
            origin: self.origin.clone(),
            sequences: numbers(records.iter()),
        };
        let let_go = LetGo {
            retention: Retention {
                archive: draft.name.clone(),
                at: now,
                records: leaves.len() as u64,
                note: statement.sign(&self.keys.signers)?,
            },
            leaves,
        };
        match self.app.store.let_go(holds, &let_go).await {
            Ok(()) => {
                rules.archive.publish(&draft)?;
                Ok(true)
            }
            Err(LetGoError::Stale) => {
                rules.archive.discard(&draft)?;
                Ok(false)
            }
            // It may have been done: the next look knows.
            Err(LetGoError::Failed(error)) => Err(error.into()),
        }
    }

    /// What proves these leaves offline.
    async fn proof(
        &self,
        leaves: &[(u64, Hash)],
        checkpoint: &StoredCheckpoint,
    ) -> Result<jupiter_evidence::export::ExportProof, StoreError> {
        let indexes: Vec<u64> = leaves.iter().map(|(index, _)| *index).collect();
        let ranges = jupiter_evidence::export::ranges_of(&indexes);
        let shown: Vec<_> = ranges.iter().map(|(from, n)| *from..from + n).collect();
        let gaps = gaps_between(&shown, checkpoint.size);
        let tiles = self.app.store.tiles(&Tiles::needed_for(&gaps)).await?;
        let tiles: Tiles = tiles.into_iter().collect();
        let between = tiles.subtrees(&gaps);
        Ok(jupiter_evidence::export::ExportProof {
            format: PROOF_FORMAT.to_owned(),
            checkpoint: checkpoint.note.clone(),
            ranges,
            leaves: leaves.iter().map(|(_, leaf)| *leaf).collect(),
            between: between.ok_or(StoreError::Corrupt("tiles are missing"))?,
            consistency: Vec::new(),
            retentions: Vec::new(),
        })
    }
}

/// When something of a step may go next.
struct Due {
    next: Timestamp,
    /// What came later is younger still.
    all_young: bool,
}

/// The record, if it is the one that was logged.
fn as_logged(logged: &LoggedRecord, leaf: &Hash) -> Option<EvidenceRecord> {
    let same = LeafHash::of(logged.canonical.as_bytes()).0 == *leaf;
    serde_json::from_str(&logged.canonical)
        .ok()
        .filter(|_| same)
}

/// The longest of its labels, or what is kept without; `None`: for ever.
fn keep_of(config: &RetentionConfig, tags: &[Tag]) -> Option<Duration> {
    let is_of = |tag: &Tag, name: &str, value: Option<&str>| {
        tag.name == name && value.is_none_or(|value| tag.value == value)
    };
    let mut labels = config.labels.iter().filter(|label| {
        let value = label.value.as_deref();
        tags.iter().any(|tag| is_of(tag, &label.name, value))
    });
    let Some(first) = labels.next() else {
        return config.keep;
    };
    labels.try_fold(first.keep?, |longest, label| Some(longest.max(label.keep?)))
}

/// A record that cannot tell its time is held by any hold on a time.
fn is_held(holds: &[Hold], logged: &LoggedRecord, record: &EvidenceRecord) -> bool {
    let time: Timestamp = record.time.parse().unwrap_or(logged.received_at);
    holds
        .iter()
        .any(|hold| hold.covers(logged.subject_ref, time))
}

/// The numbers that emitters gave records, as ranges.
fn numbers<'a>(records: impl Iterator<Item = &'a EvidenceRecord>) -> Vec<NumbersGone> {
    let mut numbers: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    // Provisional records have no number.
    for emitter in records
        .map(|it| &it.emitter)
        .filter(|it| !it.epoch.is_empty())
    {
        let of = numbers.entry((&emitter.id, &emitter.epoch)).or_default();
        of.push(emitter.seq);
    }
    let each = numbers.into_iter().map(|((emitter, epoch), mut seqs)| {
        seqs.sort_unstable();
        seqs.dedup();
        NumbersGone {
            emitter: emitter.to_owned(),
            epoch: epoch.to_owned(),
            ranges: jupiter_evidence::export::ranges_of(&seqs),
        }
    });
    each.collect()
}

fn after(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// The task that lets go.
#[derive(Debug)]
pub struct Retaining {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Retaining {
    pub fn start(mut retainer: Retainer) -> Retaining {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let every = retainer.rules.as_ref().map(|rules| rules.config.interval);
        let every = every.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        let task = tokio::spawn(async move {
            let again = async {
                loop {
                    retainer.tick().await;
                    tokio::time::sleep(every).await;
                }
            };
            // Cut off anywhere, the next start finishes it.
            stopped.run_until_cancelled(again).await;
        });
        Retaining { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        // It only ends early by a panic, which has been told of.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests;
