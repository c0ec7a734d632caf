//! Vouches for the logs of others (C2SP `tlog-witness`), and has others vouch for ours.
//!
//! A log alone may show two histories to two readers. Who cosigns keeps the size
//! and root it saw last of each log, durably, and puts its signature only under a
//! tree that contains it: two histories would have to be cosigned by the same key,
//! which does not do so. [`Vouching`] is this side; [`ask`] is the other, which never
//! keeps [`crate::seal`] waiting. Our access log's reader, [`crate::witness`], is
//! something else.

pub mod ask;
mod keys;

use jupiter_evidence::tree::{
    Checkpoint, Cosigner, Note, NoteVerifier, Submission, empty_root, proves_consistency,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::app::App;
use crate::config::CosignConfig;
use crate::metrics::CosignLabels;
use crate::seal::KeysError;
use crate::store::{AdvanceError, Cosigned, StoreError};

/// Why a checkpoint is not vouched for.
#[derive(Debug, thiserror::Error)]
pub enum VouchError {
    #[error("not an old size, a proof and a checkpoint")]
    Malformed,
    #[error("this control plane does not cosign the log of that name")]
    UnknownLog,
    #[error("the checkpoint is not signed by a known key of its log")]
    NotSigned,
    #[error("the old size is beyond the checkpoint's")]
    OldIsLarger,
    /// What was vouched for last is of another size, or has another root.
    #[error("the last checkpoint that was cosigned is over {size} records")]
    Conflict { size: u64 },
    #[error("the proof does not lead from what was cosigned last to this checkpoint")]
    NotConsistent,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VouchError {
    /// Its label.
    fn result(&self) -> &'static str {
        match self {
            VouchError::Malformed | VouchError::OldIsLarger => "malformed",
            VouchError::UnknownLog => "unknown_log",
            VouchError::NotSigned => "not_signed",
            VouchError::Conflict { .. } => "conflict",
            VouchError::NotConsistent => "not_consistent",
            VouchError::Store(_) => "failed",
        }
    }
}

/// Whom this control plane vouches for, and with which key.
#[derive(Debug, Default)]
pub struct Vouching {
    cosigner: Option<Cosigner>,
    /// A log may have several keys of one name.
    logs: Vec<NoteVerifier>,
    /// By log: which of its histories was told of as another one.
    told: Mutex<BTreeMap<String, [u8; 32]>>,
}

impl Vouching {
    /// With the key configured, or that of `data_dir`; without logs there is none.
    pub fn load(data_dir: &Path, config: &CosignConfig) -> Result<Vouching, KeysError> {
        if config.logs.is_empty() {
            return Ok(Vouching::default());
        }
        let cosigner = keys::load(data_dir, &config.name, config.signing_key.as_ref())?;
        tracing::info!(key = %cosigner.verifier(), logs = config.logs.len(), "cosigns logs of others");
        Ok(Vouching {
            cosigner: Some(cosigner),
            logs: config.logs.clone(),
            told: Mutex::default(),
        })
    }

    /// Tells once of each other history: whoever sends it again adds nothing.
    fn tell_of_contradiction(&self, checkpoint: &Checkpoint, known: u64, note: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.insert(checkpoint.origin.clone(), checkpoint.root);
        if before != Some(checkpoint.root) {
            tracing::error!(
                log = checkpoint.origin,
                cosigned = known,
                submitted = checkpoint.size,
                note,
                "a log signed a checkpoint that is not shown to contain the one cosigned before: \
                 it may show two histories; keep this note"
            );
        }
    }
}

/// The line that vouches for the checkpoint of a submission, once it is remembered.
pub async fn vouch(app: &App, submission: &str) -> Result<String, VouchError> {
    let result = try_to_vouch(app, submission).await;
    let label = result
        .as_ref()
        .map_or_else(VouchError::result, |_| "cosigned");
    let labels = CosignLabels { result: label };
    app.metrics.cosign_submissions.get_or_create(&labels).inc();
    result
}

async fn try_to_vouch(app: &App, submission: &str) -> Result<String, VouchError> {
    let submission: Submission = submission.parse().map_err(|_| VouchError::Malformed)?;
    let note = Note::parse(&submission.checkpoint).map_err(|_| VouchError::Malformed)?;
    let checkpoint = Checkpoint::unverified(&submission.checkpoint).ok_or(VouchError::Malformed)?;
    let vouching = &app.cosign;
    let of_log = |key: &&NoteVerifier| key.name() == checkpoint.origin;
    let keys: Vec<NoteVerifier> = vouching.logs.iter().filter(of_log).cloned().collect();
    let cosigner = vouching.cosigner.as_ref().filter(|_| !keys.is_empty());
    let cosigner = cosigner.ok_or(VouchError::UnknownLog)?;
    Checkpoint::open(&submission.checkpoint, &keys).map_err(|_| VouchError::NotSigned)?;
    if submission.old_size > checkpoint.size {
        return Err(VouchError::OldIsLarger);
    }
    let known = app.store.cosigned(&checkpoint.origin).await?;
    let (size, root) = known.map_or((0, empty_root()), |known| (known.size, known.root));
    if submission.old_size != size {
        return Err(VouchError::Conflict { size });
    }
    if checkpoint.size == size && checkpoint.root != root {
        vouching.tell_of_contradiction(&checkpoint, size, &submission.checkpoint);
        return Err(VouchError::Conflict { size });
    }
    let new = (checkpoint.size, &checkpoint.root);
    if !proves_consistency((size, &root), new, &submission.proof) {
        vouching.tell_of_contradiction(&checkpoint, size, &submission.checkpoint);
        return Err(VouchError::NotConsistent);
    }
    let now = app.clock.now();
    // Remembered before it is said. An empty tree says nothing.
    if checkpoint.size > 0 {
        let cosigned = Cosigned {
            size: checkpoint.size,
            root: checkpoint.root,
            note: submission.checkpoint.clone(),
            at: now,
        };
        let advanced = app
            .store
            .advance_cosigned(&checkpoint.origin, size, cosigned);
        match advanced.await {
            Ok(()) => {}
            Err(AdvanceError::Failed(error)) => return Err(error.into()),
            Err(AdvanceError::Stale) => {
                let known = app.store.cosigned(&checkpoint.origin).await?;
                let size = known.map_or(0, |known| known.size);
                return Err(VouchError::Conflict { size });
            }
        }
    }
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    Ok(cosigner.cosign(&note, seconds))
}

#[cfg(test)]
mod tests;
