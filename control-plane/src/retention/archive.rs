//! Files that records are written to before they go.
//!
//! Each is what `mercator evidence export` would have written, its proof beside it, so that
//! `mercator verify` checks it. Until the store has noted it, a file has a name that says
//! whose it is: only its writer may take it away, and no other file is ever taken away.

use jupiter_evidence::export::ExportProof;
use jupiter_evidence::hex;
use jupiter_evidence::tree::NoteVerifier;
use jupiter_evidence::verify::{LineFacts, Names, verify};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::envoy::files::write_private;

/// Why a file of the archive is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("`{}` is not, as it was read back, what was written", .0.display())]
    Spoiled(PathBuf),
}

fn at(path: &Path) -> impl Fn(io::Error) -> ArchiveError {
    |cause| ArchiveError::File {
        path: path.to_owned(),
        cause,
    }
}

#[derive(Debug, Clone)]
pub(super) struct Archive {
    folder: PathBuf,
    /// What ends the names of files that are not noted yet.
    mark: String,
}

/// A file that is on disk and not noted yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) sha256: String,
}

impl Archive {
    pub(super) fn new(folder: &Path, instance: &str) -> Archive {
        Archive {
            folder: folder.to_owned(),
            mark: format!(".unfinished-{instance}"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn draft_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", self.mark))
    }

    pub(super) fn interrupted(&self, cause: tokio::task::JoinError) -> ArchiveError {
        at(&self.folder)(io::Error::other(cause))
    }

    /// Writes records and their proof, and reads back what is on disk.
    pub(super) fn write(
        &self,
        lines: &[String],
        proof: &ExportProof,
        keys: &[NoteVerifier],
    ) -> Result<Draft, ArchiveError> {
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        let sha256 = hex(&Sha256::digest(&text));
        let (first, last) = (proof.ranges.first(), proof.ranges.last());
        let (first, last) = (
            first.map_or(0, |(first, _)| *first),
            last.map_or(0, |(first, count)| first + count - 1),
        );
        let tell_apart = sha256.get(..8).unwrap_or_default();
        let name = format!("evidence-{first:012}-{last:012}-{tell_apart}.jsonl");
        let draft = Draft { name, sha256 };
        let [records, beside] = draft.files().map(|name| self.draft_path(&name));
        let json = serde_json::to_vec(proof);
        let mut json = json.map_err(io::Error::from).map_err(at(&beside))?;
        json.push(b'\n');
        write_private(&beside, &json).map_err(at(&beside))?;
        write_private(&records, text.as_bytes()).map_err(at(&records))?;
        self.check(&draft, lines.len() as u64, keys)?;
        Ok(draft)
    }

    /// What is on disk proves itself, with nothing but the keys.
    fn check(&self, draft: &Draft, count: u64, keys: &[NoteVerifier]) -> Result<(), ArchiveError> {
        let [records, beside] = draft.files().map(|name| self.draft_path(&name));
        let read = |path: &Path| {
            let mut bytes = Vec::new();
            let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
            read.map(|_| bytes).map_err(at(path))
        };
        let (text, proof) = (read(&records)?, read(&beside)?);
        let spoiled = || ArchiveError::Spoiled(records.clone());
        let proof: ExportProof = serde_json::from_slice(&proof).map_err(|_| spoiled())?;
        let mut names = Names::default();
        let lines = text
            .strip_suffix(b"\n")
            .unwrap_or(&text)
            .split(|b| *b == b'\n');
        let lines: Vec<LineFacts> = lines
            .map(|line| LineFacts::read(line, &mut names))
            .collect();
        let report = verify(&lines, &proof, keys, &[]);
        let whole = report.findings.is_empty()
            && report.proven_lines == count
            && hex(&Sha256::digest(&text)) == draft.sha256;
        match whole {
            true => Ok(()),
            false => Err(spoiled()),
        }
    }

    /// Gives files that are noted their names.
    pub(super) fn publish(&self, draft: &Draft) -> Result<(), ArchiveError> {
        let [records, beside] = draft.files();
        for name in [beside, records] {
            self.rename(&name)?;
        }
        Ok(())
    }

    fn rename(&self, name: &str) -> Result<(), ArchiveError> {
        let (from, to) = (self.draft_path(name), self.path(name));
        let renamed = fs::rename(&from, &to)
            .and_then(|()| File::open(&self.folder))
            .and_then(|folder| folder.sync_all());
        renamed.map_err(at(&to))
    }

    /// Removes files that will not be noted.
    pub(super) fn discard(&self, draft: &Draft) -> Result<(), ArchiveError> {
        for name in draft.files() {
            let path = self.draft_path(&name);
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Finishes what was left by whoever had our name before: files of `noted` archives get
    /// their names, others go.
    pub(super) fn finish(&self, noted: &[&str]) -> Result<(), ArchiveError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at(&self.folder))?,
        };
        for entry in entries {
            let file = entry.map_err(at(&self.folder))?.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(&self.mark)) else {
                continue;
            };
            let records = name.strip_suffix(".proof").unwrap_or(name);
            if noted.contains(&records) {
                self.rename(name)?;
            } else {
                let path = self.draft_path(name);
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }
}

impl Draft {
    /// Records, and their proof.
    fn files(&self) -> [String; 2] {
        [self.name.clone(), format!("{}.proof", self.name)]
    }
}
