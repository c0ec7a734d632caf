//! Follows a growing file line by line, across renames, truncation and restarts.
//!
//! Every complete line of a file it was told to follow comes out once, in
//! order. A renamed file is read to its end before the new one of its name; a
//! file is recognised by inode and time of birth, so that a new file that was
//! given an old inode is not taken for it. Memory holds one line at most.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Longer lines are skipped: an envelope has 64 KiB at most, escaped a few times that.
const LONGEST_LINE: usize = 1_048_576;

const CHUNK: usize = 65_536;

/// How long a renamed file must have been at its end: who writes it may not
/// have noticed the new name yet.
const SETTLE: Duration = Duration::from_secs(1);

/// Which file, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    /// 0 where the file system does not know.
    born_nanos: u64,
}

/// A place between two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    file: Identity,
    offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { inode, born_nanos } = self.file;
        write!(f, "{inode} {born_nanos} {}", self.offset)
    }
}

impl Position {
    /// From what [`Position`] displays as; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Position> {
        let mut numbers = text.split(' ').map(str::parse);
        match (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) {
            (Some(Ok(inode)), Some(Ok(born_nanos)), Some(Ok(offset)), None) => Some(Position {
                file: Identity { inode, born_nanos },
                offset,
            }),
            _ => None,
        }
    }
}

/// What a long log is renamed to.
pub(super) fn renamed(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// A file being followed.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: Identity,
    /// Up to here everything was read.
    read_to: u64,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
    /// The line at hand is too long: dropped up to its end.
    skipping: bool,
    /// When it was first found to be at its end under another name.
    at_end_since: Option<Instant>,
}

/// What one look gave.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) lines: Vec<(Vec<u8>, Position)>,
    /// Lines that were too long.
    pub(super) skipped: u64,
    /// Nothing more is there at the moment.
    pub(super) at_end: bool,
}

impl Tail {
    /// Goes on from `position`; without one, or when its file is gone, from the
    /// beginning of what is there, the renamed piece first.
    pub(super) fn resume(path: &Path, position: Option<Position>) -> Tail {
        let open = position.and_then(|position| reopen(path, position));
        if position.is_some() && open.is_none() {
            tracing::warn!("the access log that was read last is gone; reading what is there");
        }
        let renamed = || Open::begin(&renamed(path)).ok().flatten();
        Tail {
            path: path.to_owned(),
            open: open.or_else(renamed),
        }
    }

    /// Is there a file at hand, whatever its name is now?
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Is the file at hand the one that has the name?
    pub(super) fn is_current(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == open.identity)
        })
    }

    /// Bytes of the file at hand that were not read yet.
    pub(super) fn behind(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| {
            let length = open.file.metadata().map_or(0, |metadata| metadata.len());
            length.saturating_sub(open.read_to)
        })
    }

    /// The complete lines of the next `budget` bytes or so.
    pub(super) fn read(&mut self, budget: usize, now: Instant) -> io::Result<Look> {
        let mut read = Look::default();
        let mut taken = 0;
        while taken < budget {
            let open = match &mut self.open {
                Some(open) => open,
                none => match Open::begin(&self.path)? {
                    Some(open) => none.insert(open),
                    None => {
                        read.at_end = true;
                        break;
                    }
                },
            };
            match open.read_chunk(&mut read)? {
                0 => match open.next_step(&self.path, now)? {
                    Next::Wait => {
                        read.at_end = true;
                        break;
                    }
                    Next::Truncated => open.rewind()?,
                    Next::NewFile => self.open = None,
                },
                length => taken += length,
            }
        }
        Ok(read)
    }
}

enum Next {
    Wait,
    Truncated,
    NewFile,
}

impl Open {
    fn begin(path: &Path) -> io::Result<Option<Open>> {
        match File::open(path) {
            Ok(file) => Open::at(file, 0).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn at(mut file: File, offset: u64) -> io::Result<Open> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(Open {
            identity: identity(&file.metadata()?),
            file,
            read_to: offset,
            partial: Vec::new(),
            skipping: false,
            at_end_since: None,
        })
    }

    fn read_chunk(&mut self, read: &mut Look) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        let length = self.file.read(&mut chunk)?;
        let chunk = chunk.get(..length).unwrap_or_default();
        if length > 0 {
            self.at_end_since = None;
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.read_to += piece.len() as u64;
            match piece.strip_suffix(b"\n") {
                None => self.keep(piece),
                Some(piece) => {
                    self.keep(piece);
                    if std::mem::take(&mut self.skipping) {
                        read.skipped += 1;
                    } else {
                        let line = std::mem::take(&mut self.partial);
                        read.lines.push((line, self.position()));
                    }
                }
            }
        }
        Ok(length)
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.skipping || self.partial.len() + piece.len() > LONGEST_LINE {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn position(&self) -> Position {
        Position {
            file: self.identity,
            offset: self.read_to,
        }
    }

    /// At the end of the file: is there more to come, here or elsewhere?
    fn next_step(&mut self, path: &Path, now: Instant) -> io::Result<Next> {
        if self.file.metadata()?.len() < self.read_to {
            return Ok(Next::Truncated);
        }
        match fs::metadata(path) {
            Ok(metadata) if identity(&metadata) != self.identity => {
                let since = *self.at_end_since.get_or_insert(now);
                if now.duration_since(since) >= SETTLE {
                    return Ok(Next::NewFile);
                }
            }
            // The new one is not there yet.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Next::Wait)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.read_to = 0;
        self.partial = Vec::new();
        self.skipping = false;
        Ok(())
    }
}

/// The file of that position, under its name or a later one beside it.
fn reopen(path: &Path, position: Position) -> Option<Open> {
    let name = path.file_name()?.as_encoded_bytes();
    let siblings = fs::read_dir(path.parent()?).ok()?;
    let found = siblings.flatten().find(|entry| {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(name);
        let same = |metadata: Metadata| identity(&metadata) == position.file;
        is_ours && entry.metadata().is_ok_and(same)
    })?;
    let file = File::open(found.path()).ok()?;
    // Shorter than what was read of it: truncated meanwhile, so begun anew.
    let length = file.metadata().ok()?.len();
    let offset = if length < position.offset {
        0
    } else {
        position.offset
    };
    Open::at(file, offset).ok()
}

fn identity(metadata: &Metadata) -> Identity {
    let born = metadata.created().ok();
    let since_epoch = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Identity {
        inode: metadata.ino(),
        born_nanos: since_epoch.map_or(0, |duration| duration.as_nanos() as u64),
    }
}

#[cfg(test)]
mod tests;
