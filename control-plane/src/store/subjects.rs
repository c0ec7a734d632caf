//! Whom records are of, so that it can be forgotten.
//!
//! A record commits to its subject by a salted digest. The name is kept once, with
//! a key that seals the salts of all its records. When the row is gone, so is the
//! name, and no salt can be opened: digests of short prompts cannot be guessed
//! any more either. Records and the tree over them stay as they are. Answers that are
//! kept ([`super::keys`]) are sealed by the same key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

use super::StoreError;

/// Whom a record is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// It was never known.
    Unknown,
    Known(String),
    Erased,
}

impl Subject {
    pub fn name(&self) -> Option<&str> {
        match self {
            Subject::Known(name) => Some(name),
            Subject::Unknown | Subject::Erased => None,
        }
    }

    /// From a record's reference, and the name that is found by it.
    pub(super) fn of(reference: Option<Uuid>, name: Option<String>) -> Subject {
        match (reference, name) {
            (None, _) => Subject::Unknown,
            (Some(_), Some(name)) => Subject::Known(name),
            (Some(_), None) => Subject::Erased,
        }
    }
}

/// A subject's key. Neither `Debug` nor an error prints it.
#[derive(Clone)]
pub(super) struct SubjectKey {
    pub(super) reference: Uuid,
    pub(super) key: [u8; 32],
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl SubjectKey {
    pub(super) fn random() -> Result<SubjectKey, StoreError> {
        let (mut key, mut reference) = ([0; 32], [0; 16]);
        getrandom::fill(&mut key)
            .and_then(|()| getrandom::fill(&mut reference))
            .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        Ok(SubjectKey {
            reference: uuid::Builder::from_random_bytes(reference).into_uuid(),
            key,
        })
    }

    /// The salt of the record `leaf`, sealed. A leaf is never another one's, so its
    /// beginning serves as nonce.
    pub(super) fn seal(&self, leaf: &LeafHash, salt: &[u8; 16]) -> Result<Vec<u8>, StoreError> {
        let mut sealed = salt.to_vec();
        self.cipher()
            .and_then(|cipher| {
                cipher.seal_in_place_append_tag(nonce(leaf), Aad::from(leaf.0), &mut sealed)
            })
            .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        Ok(sealed)
    }

    /// `None` when this is not what was sealed.
    pub(super) fn open(&self, leaf: &LeafHash, sealed: &[u8]) -> Option<[u8; 16]> {
        let mut bytes = sealed.to_vec();
        let cipher = self.cipher().ok()?;
        let salt = cipher.open_in_place(nonce(leaf), Aad::from(leaf.0), &mut bytes);
        <[u8; 16]>::try_from(&*salt.ok()?).ok()
    }

    /// Something longer, bound to where it belongs: a random nonce, then what it seals.
    pub(super) fn seal_text(&self, place: &[u8], text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        let mut sealed = text.to_vec();
        self.cipher()
            .and_then(|cipher| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_append_tag(nonce, Aad::from(place), &mut sealed)
            })
            .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// `None` when this is not what was sealed there.
    pub(super) fn open_text(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let cipher = self.cipher().ok()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = cipher.open_in_place(nonce, Aad::from(place), &mut bytes);
        let length = text.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    fn cipher(&self) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM, &self.key).map(LessSafeKey::new)
    }
}

fn nonce(leaf: &LeafHash) -> Nonce {
    let [
        nonce @ ..,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = leaf.0;
    Nonce::assume_unique_for_key(nonce)
}

/// The salt of a record as its row has it: sealed where it has a subject. `None`
/// when the subject is erased.
pub(super) fn open_salt(
    leaf: &LeafHash,
    stored: &[u8],
    reference: Option<Uuid>,
    key: Option<[u8; 32]>,
) -> Result<Option<[u8; 16]>, StoreError> {
    let corrupt = StoreError::Corrupt("a salt that cannot be opened");
    match (reference, key) {
        (None, _) => <[u8; 16]>::try_from(stored).map(Some).map_err(|_| corrupt),
        (Some(_), None) => Ok(None),
        (Some(reference), Some(key)) => SubjectKey { reference, key }
            .open(leaf, stored)
            .map(Some)
            .ok_or(corrupt),
    }
}

/// What is known of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectSummary {
    pub reference: Uuid,
    pub records: u64,
    /// What stands against erasing it.
    pub holds: Vec<Hold>,
}

/// That a subject was erased. It does not say who it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub reference: Uuid,
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Who erases, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureStamp {
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Why a subject was not erased.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EraseError {
    #[error("there is no such subject, or it is erased already")]
    Unknown,
    #[error("the subject is under legal hold")]
    Held(Vec<Hold>),
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// A legal hold: what it covers is neither erased nor let go until it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: Uuid,
    /// `None`: it covers everything.
    pub reference: Option<Uuid>,
    /// The subject's name, as long as there is one.
    pub subject: Option<String>,
    /// Of which exchanges: not before, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub reason: String,
    pub placed_at: Timestamp,
    pub placed_by: String,
    pub released: Option<Release>,
}

impl Hold {
    /// Whether it is in force for a subject, at some time or other.
    pub(super) fn concerns(&self, reference: Uuid) -> bool {
        self.released.is_none() && self.reference.is_none_or(|held| held == reference)
    }

    /// Whether it is on some exchanges alone, by their time.
    pub(super) fn is_of_a_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether it is in force for the record of an exchange.
    pub fn covers(&self, reference: Option<Uuid>, time: Timestamp) -> bool {
        self.released.is_none()
            && self.reference.is_none_or(|held| reference == Some(held))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub at: Timestamp,
    pub by: String,
}

/// A hold about to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    pub id: Uuid,
    /// `None`: everything.
    pub subject: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub reason: String,
    pub at: Timestamp,
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salt_opens_with_its_key_and_leaf_alone() {
        let (key, other) = (SubjectKey::random().unwrap(), SubjectKey::random().unwrap());
        let (leaf, next) = (LeafHash::of(b"one"), LeafHash::of(b"two"));
        let sealed = key.seal(&leaf, &[7; 16]).unwrap();
        assert!(!sealed.windows(4).any(|some| some == [7; 4]));
        assert_eq!(key.open(&leaf, &sealed), Some([7; 16]));
        assert_eq!(other.open(&leaf, &sealed), None);
        assert_eq!(key.open(&next, &sealed), None);
        assert!(!format!("{key:?}").contains("key:"));
    }

    #[test]
    fn text_opens_with_its_key_and_in_its_place_alone() {
        let (key, other) = (SubjectKey::random().unwrap(), SubjectKey::random().unwrap());
        let sealed = key.seal_text(b"here", b"an answer").unwrap();
        assert!(!sealed.windows(6).any(|some| some == b"answer"));
        assert_ne!(sealed, key.seal_text(b"here", b"an answer").unwrap());
        let opened = key.open_text(b"here", &sealed);
        assert_eq!(opened.as_deref(), Some(b"an answer".as_slice()));
        assert_eq!(key.open_text(b"there", &sealed), None);
        assert_eq!(other.open_text(b"here", &sealed), None);
        assert_eq!(key.open_text(b"here", &sealed[..11]), None);
    }
}
