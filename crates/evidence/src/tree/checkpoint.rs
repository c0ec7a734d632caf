//! Checkpoints (C2SP `tlog-checkpoint`): the signed size and root of a tree.

use super::note::{Note, NoteError, NoteSigner, NoteVerifier};
use super::{Hash, empty_root};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// What a log says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// Why a note is no checkpoint to rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointError {
    Note(NoteError),
    /// Signed, but not the text of a checkpoint.
    NotACheckpoint,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Note(error) => error.fmt(f),
            CheckpointError::NotACheckpoint => f.write_str("not a checkpoint"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl From<NoteError> for CheckpointError {
    fn from(error: NoteError) -> CheckpointError {
        CheckpointError::Note(error)
    }
}

impl Checkpoint {
    /// The note that says so.
    pub fn sign<'a>(&self, signers: impl IntoIterator<Item = &'a NoteSigner>) -> String {
        let root = STANDARD.encode(self.root);
        let text = format!("{}\n{}\n{root}\n", self.origin, self.size);
        Note::sign(&text, signers)
    }

    /// Reads a note that one of `known` signed. As a log's key has the name of
    /// the log, a key of that name must be among the signers.
    pub fn open<'a>(
        note: &str,
        known: &'a [NoteVerifier],
    ) -> Result<(Checkpoint, Vec<&'a NoteVerifier>), CheckpointError> {
        let note = Note::parse(note)?;
        let (text, signers) = note.open(known)?;
        let checkpoint = Checkpoint::parse(text).ok_or(CheckpointError::NotACheckpoint)?;
        match signers.iter().any(|key| key.name() == checkpoint.origin) {
            true => Ok((checkpoint, signers)),
            false => Err(NoteError::UnknownSigner.into()),
        }
    }

    /// What a note says, whoever signed it.
    pub fn unverified(note: &str) -> Option<Checkpoint> {
        Checkpoint::parse(Note::parse(note).ok()?.unverified_text())
    }

    fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        // Others may extend a checkpoint; their lines are signed, but not ours to read.
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let number: u64 = size.parse().ok()?;
        let root: Hash = STANDARD.decode(root).ok()?.try_into().ok()?;
        let whole = number.to_string() == size && (number > 0 || root == empty_root());
        whole.then(|| Checkpoint {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "mercator/test".to_owned(),
            size: 7,
            root: [5; 32],
        }
    }

    #[test]
    fn checkpoint_is_believed_from_the_logs_own_key_alone() {
        let own = NoteSigner::new("mercator/test", &[1; 32]).unwrap();
        let witness = NoteSigner::new("witness.example", &[2; 32]).unwrap();
        let known = [own.verifier(), witness.verifier()];
        let note = checkpoint().sign([&own, &witness]);
        let (opened, signers) = Checkpoint::open(&note, &known).unwrap();
        assert_eq!((opened, signers.len()), (checkpoint(), 2));
        let note = checkpoint().sign([&witness]);
        let refused = Checkpoint::open(&note, &known);
        assert_eq!(refused, Err(NoteError::UnknownSigner.into()));
    }

    #[test]
    fn signed_text_of_another_form_is_no_checkpoint() {
        let key = NoteSigner::new("a", &[1; 32]).unwrap();
        let root = STANDARD.encode([5; 32]);
        for text in [
            format!("a\n07\n{root}\n"),
            format!("a\n-7\n{root}\n"),
            format!("\n7\n{root}\n"),
            format!("a\n7\n{root}\n\nmore\n"),
            format!("a\n0\n{root}\n"),
            "a\n7\nAAAA\n".to_owned(),
            "a\n7\n".to_owned(),
        ] {
            let known = [key.verifier()];
            let opened = Checkpoint::open(&Note::sign(&text, [&key]), &known);
            assert_eq!(opened, Err(CheckpointError::NotACheckpoint), "{text}");
        }
    }
}
