//! Erases subjects, and sees to it that they stay erased.
//!
//! Erasing destroys the subject's key in the store ([`Store::erase_subject`]); a
//! database that is set back to an older copy has it again. So each control plane
//! keeps the list of all erasures in a file of its own, which no restore touches:
//! what the file has and the database has not was undone, and is done again. The
//! list names subjects by the reference that their records have, never by name.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::envoy::files::write_private;
use crate::store::{EraseError, Erasure, ErasureStamp, StoreError};

/// In the data directory, one erasure a line.
const LEDGER_FILE: &str = "erasures.jsonl";

/// A database may be set back while we run; others may erase.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why file and database were not brought together.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("`{}`, line {line}: not an erasure", path.display())]
    BadLine { path: PathBuf, line: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a subject was not erased.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error(transparent)]
    Refused(#[from] EraseError),
    /// It is erased, and a restore may undo that.
    #[error("the subject is erased, but the erasure is not in the ledger yet")]
    NotNoted(#[source] LedgerError),
}

/// The file, once it is known where it lies. One writer at a time.
#[derive(Debug, Default)]
pub struct Ledger {
    file: Mutex<Option<PathBuf>>,
}

/// What bringing file and database together did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Subjects that had come back and are erased again.
    pub again: u64,
    /// Erasures that the file did not have yet.
    pub noted: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    subject_ref: Uuid,
    at: String,
    by: String,
    reason: String,
}

impl Ledger {
    /// Keeps the list in this folder from now on.
    pub async fn keep_in(&self, data_dir: &Path) {
        *self.file.lock().await = Some(data_dir.join(LEDGER_FILE));
    }
}

/// Erases a subject for good; `Ok` means that a restore does not bring it back.
pub async fn erase(
    app: &App,
    subject: &str,
    by: &str,
    reason: &str,
) -> Result<Erasure, ErasureError> {
    let stamp = ErasureStamp {
        at: app.clock.now(),
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let erasure = app.store.erase_subject(subject, stamp).await?;
    tracing::info!(subject_ref = %erasure.reference, by, "a subject was erased");
    reconcile(app).await.map_err(ErasureError::NotNoted)?;
    Ok(erasure)
}

/// Brings file and database together: each then has all erasures.
pub async fn reconcile(app: &App) -> Result<Reconciled, LedgerError> {
    let file = app.ledger.file.lock().await;
    let Some(path) = &*file else {
        return Ok(Reconciled::default());
    };
    let mut kept = read(path)?;
    let stored = app.store.erasures().await?;
    let references = |erasures: &[Erasure]| -> HashSet<Uuid> {
        erasures.iter().map(|erasure| erasure.reference).collect()
    };
    let (in_file, in_store) = (references(&kept), references(&stored));
    let undone: Vec<Erasure> = kept
        .iter()
        .filter(|erasure| !in_store.contains(&erasure.reference))
        .cloned()
        .collect();
    let mut done = Reconciled::default();
    if !undone.is_empty() {
        done.again = app.store.repeat_erasures(&undone).await?;
        tracing::warn!(
            erasures = undone.len(),
            subjects = done.again,
            "the database did not know of erasures, as after a restore; they were made again"
        );
    }
    let new = stored
        .into_iter()
        .filter(|erasure| !in_file.contains(&erasure.reference));
    let before = kept.len();
    kept.extend(new);
    done.noted = kept.len() - before;
    if done.noted > 0 {
        write(path, &kept)?;
    }
    Ok(done)
}

fn read(path: &Path) -> Result<Vec<Erasure>, LedgerError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(at(path))?,
    };
    let lines = text.lines().enumerate().map(|(number, line)| {
        let wrong = || LedgerError::BadLine {
            path: path.to_owned(),
            line: number + 1,
        };
        let line: Line = serde_json::from_str(line).map_err(|_| wrong())?;
        Ok(Erasure {
            reference: line.subject_ref,
            at: line.at.parse().map_err(|_| wrong())?,
            by: line.by,
            reason: line.reason,
        })
    });
    lines.collect()
}

fn write(path: &Path, erasures: &[Erasure]) -> Result<(), LedgerError> {
    let mut text = String::new();
    for erasure in erasures {
        let line = serde_json::to_string(&Line {
            subject_ref: erasure.reference,
            at: format!("{:.6}", erasure.at),
            by: erasure.by.clone(),
            reason: erasure.reason.clone(),
        });
        text.push_str(&line.map_err(io::Error::from).map_err(at(path))?);
        text.push('\n');
    }
    write_private(path, text.as_bytes()).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> LedgerError {
    |cause| LedgerError::File {
        path: path.to_owned(),
        cause,
    }
}

/// Brings them together every now and then, until it is stopped.
#[derive(Debug)]
pub struct Keeping {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeping {
    pub fn start(app: App) -> Keeping {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let again = async {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    if let Err(error) = reconcile(&app).await {
                        tracing::error!(%error, "erasures cannot be compared with their ledger");
                    }
                }
            };
            stopped.run_until_cancelled(again).await;
        });
        Keeping { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        // It only ends early by a panic, which has been told of.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests;
