//! What witnesses say of a log: cosignatures (C2SP `tlog-cosignature`, Ed25519)
//! and how they are asked for them (C2SP `tlog-witness`).
//!
//! A cosignature says: at this time, this was the largest tree of this log that I
//! had seen, and it contains all I had seen before. It is one more line under the
//! log's own note ([`super::note`]); whoever trusts the witness need not trust that
//! the log shows everyone the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use std::str::FromStr;

use super::note::{COSIGNATURE, checked_name, key_id, parts, signature_line, typed};
use super::{Hash, KeyError, Note, NoteError};

/// The specification allows no more lines of proof.
const MAX_PROOF: usize = 63;

/// The public key of a witness, in text `name+id+key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    key: VerifyingKey,
}

impl CosignerKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> u32 {
        key_id(&self.name, COSIGNATURE, &self.key)
    }

    /// When this witness vouched for the checkpoint, in seconds since the Unix epoch:
    /// the latest of several times; `None` if it did not.
    ///
    /// # Errors
    ///
    /// When a line in its name is not its signature.
    pub fn vouched_at(&self, note: &Note) -> Result<Option<u64>, NoteError> {
        let mut latest = None;
        for signature in note.signatures_of(&self.name, self.id()) {
            latest = latest.max(Some(self.time_of(note, signature)?));
        }
        Ok(latest)
    }

    fn time_of(&self, note: &Note, timestamped: &[u8]) -> Result<u64, NoteError> {
        let (time, signature) = timestamped
            .split_first_chunk::<8>()
            .ok_or(NoteError::BadSignature)?;
        let time = u64::from_be_bytes(*time);
        let message = message(time, note.unverified_text());
        Signature::from_slice(signature)
            .and_then(|signature| self.key.verify_strict(message.as_bytes(), &signature))
            .map_err(|_| NoteError::BadSignature)?;
        match i64::try_from(time) {
            Ok(_) => Ok(time),
            Err(_) => Err(NoteError::BadSignature),
        }
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = typed(COSIGNATURE, self.key.as_bytes());
        write!(f, "{}+{:08x}+{key}", self.name, self.id())
    }
}

impl FromStr for CosignerKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<CosignerKey, KeyError> {
        let (name, id, key) = parts(text, COSIGNATURE)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyError::NotEd25519)?;
        let verifier = CosignerKey { name, key };
        match verifier.id() == id {
            true => Ok(verifier),
            false => Err(KeyError::WrongId),
        }
    }
}

/// The secret key of a witness, in text `PRIVATE+KEY+name+id+seed`. It must sign nothing
/// else: the signed message does not name its signer.
#[derive(Clone)]
pub struct Cosigner {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.verifier())
    }
}

impl Cosigner {
    /// `seed` must be random and secret.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Cosigner, KeyError> {
        Ok(Cosigner {
            name: checked_name(name)?,
            key: SigningKey::from_bytes(seed),
        })
    }

    pub fn verifier(&self) -> CosignerKey {
        CosignerKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// The text to keep the key in.
    pub fn to_secret_text(&self) -> String {
        let seed = typed(COSIGNATURE, self.key.as_bytes());
        let id = self.verifier().id();
        format!("PRIVATE+KEY+{}+{id:08x}+{seed}", self.name)
    }

    /// The line, with its end, that vouches for a note's text at a time, in seconds
    /// since the Unix epoch.
    pub fn cosign(&self, note: &Note, time: u64) -> String {
        let signature = self
            .key
            .sign(message(time, note.unverified_text()).as_bytes());
        let timestamped = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        signature_line(&self.name, self.verifier().id(), &timestamped)
    }
}

impl FromStr for Cosigner {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Cosigner, KeyError> {
        let text = text.strip_prefix("PRIVATE+KEY+").ok_or(KeyError::NotAKey)?;
        let (name, id, seed) = parts(text, COSIGNATURE)?;
        let signer = Cosigner::new(&name, &seed)?;
        match signer.verifier().id() == id {
            true => Ok(signer),
            false => Err(KeyError::WrongId),
        }
    }
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Of what a witness answered to a note, the lines of this witness that vouch for it.
pub fn cosignatures_in(answer: &str, note: &str, witness: &CosignerKey) -> Option<String> {
    let mut lines = String::new();
    for line in answer.lines() {
        let cosigned = format!("{note}{line}\n");
        let cosigned = Note::parse(&cosigned).ok()?;
        // Signatures of keys that nobody asked for are not ours to pass on.
        if let Ok(Some(_)) = witness.vouched_at(&cosigned) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    (!lines.is_empty()).then_some(lines)
}

/// What a witness is asked to vouch for: that the checkpoint's tree contains the one
/// it vouched for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub old_size: u64,
    pub proof: Vec<Hash>,
    /// The checkpoint as a signed note.
    pub checkpoint: String,
}

/// Why a text is no submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmissionError;

impl fmt::Display for SubmissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an old size, a proof and a checkpoint")
    }
}

impl std::error::Error for SubmissionError {}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.proof {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Submission {
    type Err = SubmissionError;

    fn from_str(text: &str) -> Result<Submission, SubmissionError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(SubmissionError)?;
        let mut lines = head.split('\n');
        let size = lines.next().and_then(|line| line.strip_prefix("old "));
        let size = size.ok_or(SubmissionError)?;
        let old_size: u64 = size.parse().map_err(|_| SubmissionError)?;
        let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
        let proof = lines.map(hash).collect::<Option<Vec<Hash>>>();
        let proof = proof.filter(|proof| proof.len() <= MAX_PROOF);
        match proof {
            Some(proof) if old_size.to_string() == size => Ok(Submission {
                old_size,
                proof,
                checkpoint: checkpoint.to_owned(),
            }),
            _ => Err(SubmissionError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NoteSigner;
    use super::*;

    fn witness(seed: u8) -> Cosigner {
        Cosigner::new("witness.example/w1", &[seed; 32]).unwrap()
    }

    fn note() -> String {
        let log = NoteSigner::new("log.example", &[1; 32]).unwrap();
        Note::sign("log.example\n7\nroot\n", [&log])
    }

    fn cosigned(by: &Cosigner, time: u64) -> String {
        let note = note();
        let line = by.cosign(&Note::parse(&note).unwrap(), time);
        format!("{note}{line}")
    }

    #[test]
    fn witness_vouches_for_its_text_and_time_alone() {
        let text = cosigned(&witness(2), 1_679_315_147);
        let vouched = |text: &str, seed| {
            let note = Note::parse(text).unwrap();
            witness(seed).verifier().vouched_at(&note)
        };
        assert_eq!(vouched(&text, 2), Ok(Some(1_679_315_147)));
        assert_eq!(vouched(&text, 3), Ok(None));
        let other = text.replacen("\n7\n", "\n8\n", 1);
        assert_eq!(vouched(&other, 2), Err(NoteError::BadSignature));
        let later = cosigned(&witness(2), u64::MAX);
        assert_eq!(vouched(&later, 2), Err(NoteError::BadSignature));
    }

    #[test]
    fn keys_survive_their_text_and_are_not_those_of_logs() {
        let signer = witness(7);
        let back: Cosigner = signer.to_secret_text().parse().unwrap();
        assert_eq!(back.verifier(), signer.verifier());
        let public = signer.verifier().to_string();
        assert_eq!(public.parse(), Ok(signer.verifier()));
        assert_eq!(
            public.parse::<super::super::NoteVerifier>(),
            Err(KeyError::NotEd25519)
        );
        let log = NoteSigner::new("log.example", &[1; 32]).unwrap().verifier();
        let refused = log.to_string().parse::<CosignerKey>();
        assert_eq!(refused, Err(KeyError::NotEd25519));
    }

    #[test]
    fn only_the_asked_witness_is_taken_from_an_answer() {
        let (note, text) = (note(), note());
        let parsed = Note::parse(&text).unwrap();
        let (ours, other) = (witness(2), witness(3));
        let line = ours.cosign(&parsed, 5);
        let answer = format!("{}{line}", other.cosign(&parsed, 5));
        let kept = cosignatures_in(&answer, &note, &ours.verifier());
        assert_eq!(kept, Some(line));
        for answer in ["", "no signature\n", "\u{2014} a b\n"] {
            assert_eq!(cosignatures_in(answer, &note, &ours.verifier()), None);
        }
    }

    #[test]
    fn submissions_survive_their_text_and_others_are_refused() {
        let submission = Submission {
            old_size: 5,
            proof: vec![[1; 32], [2; 32]],
            checkpoint: note(),
        };
        assert_eq!(submission.to_string().parse(), Ok(submission.clone()));
        let first = Submission {
            old_size: 0,
            proof: vec![],
            ..submission.clone()
        };
        assert_eq!(first.to_string().parse(), Ok(first));
        let many = Submission {
            proof: vec![[0; 32]; MAX_PROOF + 1],
            ..submission.clone()
        };
        let text = submission.to_string();
        for spoiled in [
            String::new(),
            "old 5\n".to_owned(),
            text.replacen("old 5", "old 05", 1),
            text.replacen("old 5", "old +5", 1),
            text.replacen("old 5", "5", 1),
            text.replacen("AQEB", "AQE", 1),
            many.to_string(),
        ] {
            let parsed = spoiled.parse::<Submission>();
            assert_eq!(parsed, Err(SubmissionError), "{spoiled}");
        }
    }
}
