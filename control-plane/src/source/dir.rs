//! A folder of policies, read as it is.
//!
//! A set counts only when two looks in a row find the same bytes, so that files
//! amid being written are left alone; at start one look has to do.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::files::{self, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES};
use super::{Look, Snapshot, SourceFault};

/// Folders in folders; deeper ones are a mistake, or a loop.
const MAX_DEPTH: usize = 16;

/// Who is named as the author of what a folder brings.
const AUTHOR: &str = "dir";

#[derive(Debug)]
pub(super) struct DirReader {
    path: PathBuf,
    /// Digest of what the look before found.
    before: Option<String>,
}

impl DirReader {
    pub(super) fn new(path: PathBuf) -> DirReader {
        DirReader { path, before: None }
    }

    pub(super) async fn look(&mut self) -> Look {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&path)).await;
        let contents = match read {
            Ok(Ok(contents)) => contents,
            Ok(Err(fault)) => return Look::failed(fault),
            Err(_) => {
                return Look::failed(SourceFault::new("interrupted", "reading was interrupted"));
            }
        };
        let revision = digest(&contents);
        let settled = self.before.is_none() || self.before.as_ref() == Some(&revision);
        self.before = Some(revision.clone());
        if !settled {
            return Look::default();
        }
        let files = match files::texts(contents) {
            Ok(files) => files,
            Err(fault) => return Look::failed(fault.of_revision(&revision)),
        };
        Look {
            snapshot: Some(Snapshot {
                files,
                revision,
                commit: None,
                author: AUTHOR.to_owned(),
            }),
            fault: None,
        }
    }
}

type Contents = Vec<(String, Vec<u8>)>;

fn digest(contents: &Contents) -> String {
    let mut hash = Sha256::new();
    for (path, bytes) in contents {
        // Lengths first, so that no two sets have the same stream of bytes.
        for part in [path.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// Every policy file below `root` in order of its path, relative to `root`.
fn read_all(root: &Path) -> Result<Contents, SourceFault> {
    let unreadable = |path: &Path, error: &io::Error| {
        let message = format!("`{}` cannot be read: {error}", path.display());
        SourceFault::new("unreadable", message)
    };
    let mut found = Vec::new();
    find(root, 0, &mut found).map_err(|(path, error)| unreadable(&path, &error))?;
    if found.len() > MAX_FILES {
        let message = format!("there are more than {MAX_FILES} policy files");
        return Err(SourceFault::new("too_large", message));
    }
    found.sort();
    let mut contents = Vec::new();
    let mut total = 0;
    for path in found {
        let bytes = read(&path).map_err(|error| unreadable(&path, &error))?;
        total += bytes.len() as u64;
        if total > MAX_TOTAL_BYTES {
            let message = format!("the policy files have more than {MAX_TOTAL_BYTES} bytes");
            return Err(SourceFault::new("too_large", message));
        }
        let name = path.strip_prefix(root).unwrap_or(&path);
        contents.push((name.display().to_string(), bytes));
    }
    Ok(contents)
}

fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (folder.to_owned(), error);
    if depth > MAX_DEPTH {
        return Err(failed(io::Error::other("folders are nested too deeply")));
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        if is_dir && !files::is_hidden(&name) {
            find(&entry.path(), depth + 1, found)?;
        } else if !is_dir && files::is_policy(&name) {
            found.push(entry.path());
        }
        // Who put so many here meant another folder.
        if found.len() > MAX_FILES {
            return Ok(());
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Links to files are followed, as volumes of Kubernetes consist of them; but
    // opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
