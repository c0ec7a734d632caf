//! What was let go, outside the database: a restore brings records back, and the ledger
//! makes them go again.
//!
//! Each line has a statement that the log's key signed. It says by their hashes which
//! leaves went: a database with another log loses nothing.

use jupiter_evidence::retention::{LeavesGone, Retention as Statement};
use jupiter_evidence::tree::{Hash, NoteVerifier, TILE_WIDTH, TileId};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::envoy::files::write_private;
use crate::store::{LetGo, Retention, StoreError};

/// In the data directory, one statement a line.
pub(super) const LEDGER_FILE: &str = "retentions.jsonl";

/// Why file and database were not brought together.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("`{}`, line {line}: not a statement that a key in `evidence.pub` signed", path.display())]
    BadLine { path: PathBuf, line: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    note: String,
}

#[derive(Debug)]
pub(super) struct Ledger(PathBuf);

impl Ledger {
    pub(super) fn in_dir(data_dir: &Path) -> Ledger {
        Ledger(data_dir.join(LEDGER_FILE))
    }

    /// Brings file and database together; how many records had come back and went again.
    pub(super) async fn reconcile(
        &self,
        app: &App,
        origin: &str,
        known: &[NoteVerifier],
    ) -> Result<u64, LedgerError> {
        let mut kept = self.read(known)?;
        let stored = app.store.retentions().await?;
        let in_store: HashSet<&str> = stored.iter().map(|it| it.archive.as_str()).collect();
        let in_file: HashSet<String> = kept.iter().map(|(_, it)| it.archive.clone()).collect();
        let mut again = 0;
        for (note, statement) in &kept {
            if statement.origin == origin && !in_store.contains(statement.archive.as_str()) {
                again += let_go_again(app, note, statement).await?;
            }
        }
        if again > 0 {
            tracing::warn!(
                records = again,
                "the database had records that were let go, as after a restore; they went again"
            );
        }
        let new = stored
            .into_iter()
            .filter(|it| !in_file.contains(&it.archive));
        let before = kept.len();
        for retention in new {
            let statement = Statement::open(&retention.note, known);
            let statement =
                statement.map_err(|_| StoreError::Corrupt("a statement of retention"))?;
            kept.push((retention.note, statement));
        }
        if kept.len() > before {
            self.write(&kept)?;
        }
        Ok(again)
    }

    fn at(&self) -> impl Fn(io::Error) -> LedgerError {
        |cause| LedgerError::File {
            path: self.0.clone(),
            cause,
        }
    }

    fn read(&self, known: &[NoteVerifier]) -> Result<Vec<(String, Statement)>, LedgerError> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(self.at())?,
        };
        let lines = text.lines().enumerate().map(|(number, line)| {
            let wrong = || LedgerError::BadLine {
                path: self.0.clone(),
                line: number + 1,
            };
            let Line { note } = serde_json::from_str(line).map_err(|_| wrong())?;
            let statement = Statement::open(&note, known).map_err(|_| wrong())?;
            Ok((note, statement))
        });
        lines.collect()
    }

    fn write(&self, kept: &[(String, Statement)]) -> Result<(), LedgerError> {
        let mut text = String::new();
        for (note, _) in kept {
            let line = serde_json::to_string(&Line { note: note.clone() });
            text.push_str(&line.map_err(io::Error::from).map_err(self.at())?);
            text.push('\n');
        }
        write_private(&self.0, text.as_bytes()).map_err(self.at())
    }
}

/// As far as the database has these very leaves.
async fn let_go_again(app: &App, note: &str, statement: &Statement) -> Result<u64, StoreError> {
    let mut leaves = Vec::new();
    for gone in &statement.leaves {
        let hashes = hashes(app, gone).await?;
        if gone.fits(&hashes) {
            leaves.extend((gone.first..).zip(hashes));
        }
    }
    if leaves.is_empty() {
        return Ok(0);
    }
    let wrong = StoreError::Corrupt("a statement without a time");
    let let_go = LetGo {
        retention: Retention {
            archive: statement.archive.clone(),
            at: statement.at.parse().map_err(|_| wrong)?,
            records: statement.records(),
            note: note.to_owned(),
        },
        leaves,
    };
    app.store.let_go_again(&let_go).await
}

async fn hashes(app: &App, gone: &LeavesGone) -> Result<Vec<Hash>, StoreError> {
    let id = TileId {
        level: 0,
        index: gone.first / TILE_WIDTH,
    };
    let tile = app.store.tiles(&[id]).await?.pop();
    let hashes = tile.map(|tile| tile.hashes).unwrap_or_default();
    let from = (gone.first % TILE_WIDTH) as usize;
    let count = usize::try_from(gone.count).unwrap_or(usize::MAX);
    Ok(hashes.into_iter().skip(from).take(count).collect())
}
