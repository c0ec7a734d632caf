//! Signed notes (C2SP `signed-note`) with Ed25519 keys.
//!
//! Keys have the text form of Go's `sumdb/note`, so that tools of the
//! transparency world read and write them. A note counts only if a known key
//! signed it, and not at all if a known key's signature is false. What witnesses
//! add to a note is [`super::cosignature`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Signature type of plain Ed25519.
const ED25519: u8 = 1;
/// Signature type of Ed25519 cosignatures.
pub(super) const COSIGNATURE: u8 = 4;

/// A note with more is refused unread; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;

/// Why a text is no key; never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    NotAKey,
    BadName,
    WrongId,
    NotEd25519,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::NotAKey => "not a note key",
            KeyError::BadName => "the key's name is empty or has a space or `+` in it",
            KeyError::WrongId => "the key's id does not belong to the key",
            KeyError::NotEd25519 => "not an Ed25519 key",
        })
    }
}

impl std::error::Error for KeyError {}

/// The public half: `name+id+key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: VerifyingKey,
}

impl NoteVerifier {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of a hash over name and key.
    pub fn id(&self) -> u32 {
        key_id(&self.name, ED25519, &self.key)
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = typed(ED25519, self.key.as_bytes());
        write!(f, "{}+{:08x}+{key}", self.name, self.id())
    }
}

impl FromStr for NoteVerifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<NoteVerifier, KeyError> {
        let (name, id, key) = parts(text, ED25519)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyError::NotEd25519)?;
        let verifier = NoteVerifier { name, key };
        match verifier.id() == id {
            true => Ok(verifier),
            false => Err(KeyError::WrongId),
        }
    }
}

/// The secret half: `PRIVATE+KEY+name+id+seed`.
#[derive(Clone)]
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.verifier())
    }
}

impl NoteSigner {
    /// `seed` must be random and secret.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<NoteSigner, KeyError> {
        Ok(NoteSigner {
            name: checked_name(name)?,
            key: SigningKey::from_bytes(seed),
        })
    }

    pub fn verifier(&self) -> NoteVerifier {
        NoteVerifier {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// The text to keep the key in.
    pub fn to_secret_text(&self) -> String {
        let seed = typed(ED25519, self.key.as_bytes());
        let id = self.verifier().id();
        format!("PRIVATE+KEY+{}+{id:08x}+{seed}", self.name)
    }

    fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        signature_line(&self.name, self.verifier().id(), &signature)
    }
}

impl FromStr for NoteSigner {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<NoteSigner, KeyError> {
        let text = text.strip_prefix("PRIVATE+KEY+").ok_or(KeyError::NotAKey)?;
        let (name, id, seed) = parts(text, ED25519)?;
        let signer = NoteSigner::new(&name, &seed)?;
        match signer.verifier().id() == id {
            true => Ok(signer),
            false => Err(KeyError::WrongId),
        }
    }
}

/// Name, id and key of a text that is of a key of this type.
pub(super) fn parts(text: &str, wanted: u8) -> Result<(String, u32, [u8; 32]), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::NotAKey);
    };
    let hex = id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let id = u32::from_str_radix(id, 16).ok().filter(|_| hex);
    let key = STANDARD.decode(key).map_err(|_| KeyError::NotAKey)?;
    let (kind, key) = key.split_first().ok_or(KeyError::NotAKey)?;
    match (*kind, key.try_into()) {
        (kind, Ok(key)) if kind == wanted => {
            Ok((checked_name(name)?, id.ok_or(KeyError::NotAKey)?, key))
        }
        _ => Err(KeyError::NotEd25519),
    }
}

pub(super) fn checked_name(name: &str) -> Result<String, KeyError> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(name.to_owned()),
        false => Err(KeyError::BadName),
    }
}

pub(super) fn typed(kind: u8, key: &[u8; 32]) -> String {
    let mut bytes = vec![kind];
    bytes.extend(key);
    STANDARD.encode(bytes)
}

pub(super) fn key_id(name: &str, kind: u8, key: &VerifyingKey) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', kind]);
    hasher.update(key.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// With its line end.
pub(super) fn signature_line(name: &str, id: u32, signature: &[u8]) -> String {
    let bytes = [&id.to_be_bytes(), signature].concat();
    format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

/// Why a note is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteError {
    Malformed,
    /// No signature is by a known key.
    UnknownSigner,
    /// A known key's signature does not fit the text.
    BadSignature,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoteError::Malformed => "not a signed note",
            NoteError::UnknownSigner => "not signed by a trusted key",
            NoteError::BadSignature => "the signature does not fit the text",
        })
    }
}

impl std::error::Error for NoteError {}

/// A text and its signatures, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// With its last line end.
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: u32,
    signature: Vec<u8>,
}

impl Note {
    /// `text` must end with a line end.
    pub fn sign<'a>(text: &str, signers: impl IntoIterator<Item = &'a NoteSigner>) -> String {
        let lines = signers.into_iter().map(|signer| signer.line(text));
        format!("{text}\n{}", lines.collect::<String>())
    }

    pub fn parse(note: &str) -> Result<Note, NoteError> {
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed);
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = note.split_at_checked(end + 1).ok_or(NoteError::Malformed)?;
        let lines = lines.strip_prefix('\n').and_then(|l| l.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::Malformed)?.split('\n');
        if lines.clone().count() > MAX_SIGNATURES {
            return Err(NoteError::Malformed);
        }
        let signatures = lines.map(signature).collect::<Option<_>>();
        Ok(Note {
            text: text.to_owned(),
            signatures: signatures.ok_or(NoteError::Malformed)?,
        })
    }

    /// The text, if one of `known` signed it; and which of them did.
    pub fn open<'a>(
        &self,
        known: &'a [NoteVerifier],
    ) -> Result<(&str, Vec<&'a NoteVerifier>), NoteError> {
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let by = |key: &&NoteVerifier| key.name == signature.name && key.id() == signature.id;
            let Some(signer) = known.iter().find(by) else {
                continue;
            };
            let fits = Signature::from_slice(&signature.signature)
                .and_then(|s| signer.key.verify_strict(self.text.as_bytes(), &s));
            fits.map_err(|_| NoteError::BadSignature)?;
            signers.push(signer);
        }
        match signers.is_empty() {
            true => Err(NoteError::UnknownSigner),
            false => Ok((&self.text, signers)),
        }
    }

    /// What stands under the text by this name and key.
    pub(super) fn signatures_of(&self, name: &str, id: u32) -> impl Iterator<Item = &[u8]> {
        let by = move |signature: &&NoteSignature| signature.name == name && signature.id == id;
        let found = self.signatures.iter().filter(by);
        found.map(|signature| signature.signature.as_slice())
    }

    /// The text, whoever signed it.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}

fn signature(line: &str) -> Option<NoteSignature> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some(NoteSignature {
        name: checked_name(name).ok()?,
        id: u32::from_be_bytes(*id),
        signature: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::new("mercator/test", &[seed; 32]).unwrap()
    }

    #[test]
    fn note_opens_only_for_those_who_know_a_signer() {
        let note = Note::sign("a\n\nb\n", [&signer(1), &signer(2)]);
        let note = Note::parse(&note).unwrap();
        let (first, second) = (signer(1).verifier(), signer(2).verifier());
        let known = [second.clone(), signer(3).verifier()];
        assert_eq!(note.open(&known), Ok(("a\n\nb\n", vec![&second])));
        let both = [first, second];
        assert_eq!(note.open(&both).unwrap().1.len(), 2);
        let stranger = [signer(3).verifier()];
        assert_eq!(note.open(&stranger), Err(NoteError::UnknownSigner));
    }

    #[test]
    fn one_false_signature_of_a_known_key_spoils_the_note() {
        let note = Note::sign("text\n", [&signer(1), &signer(2)]);
        let note = Note::parse(&note.replacen("text", "test", 1)).unwrap();
        let known = [signer(1).verifier()];
        assert_eq!(note.open(&known), Err(NoteError::BadSignature));
    }

    #[test]
    fn keys_survive_their_text() {
        let signer = signer(7);
        let text = signer.to_secret_text();
        let back: NoteSigner = text.parse().unwrap();
        assert_eq!(back.verifier(), signer.verifier());
        let public = signer.verifier();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert!(!format!("{signer:?}").contains(&typed(ED25519, &[7; 32])));
    }

    #[test]
    fn spoiled_keys_are_refused() {
        let good = signer(1).verifier().to_string();
        let wrong_id = good.replacen('+', "+0", 1);
        assert!(wrong_id.parse::<NoteVerifier>().is_err());
        for (text, error) in [
            (
                good.replace("mercator/test", "mercator/tesd"),
                KeyError::WrongId,
            ),
            (good.replace("mercator/test", ""), KeyError::BadName),
            (
                good.replace("mercator/test", "mercator test"),
                KeyError::BadName,
            ),
            ("".to_owned(), KeyError::NotAKey),
            ("a+00000000+AA==".to_owned(), KeyError::NotEd25519),
        ] {
            assert_eq!(text.parse::<NoteVerifier>(), Err(error), "{text}");
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = Note::sign("text\n", [&signer(1)]);
        for spoiled in [
            String::new(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            good.trim_end().to_owned(),
            good.replace('\u{2014}', "-"),
            good.replace("text", "te\tt"),
            format!("{good}more\n"),
            Note::sign("text\n", vec![&signer(1); MAX_SIGNATURES + 1]),
        ] {
            assert_eq!(
                Note::parse(&spoiled),
                Err(NoteError::Malformed),
                "{spoiled}"
            );
        }
    }
}
