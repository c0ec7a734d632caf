//! Bundle bytes to a [`Bundle`] that can be evaluated without a doubt.
//!
//! Every index, order and bound is checked while the bytes are read, once (`records`), so
//! that `eval` may treat a missing entry as impossible.

use crate::program::{FORMAT_VERSION, MAGIC, MAX_BUNDLE_BYTES};
use crate::records::{self, Program};
use crate::scans::{MAX_WEIGHT, Scans};
use crate::stages::{Codes, Needs};
use crate::symbols::Symbols;
use jupiter_matchers::PatternLoadError;
use sha2::{Digest, Sha256};
use std::fmt;

/// Compiled policies, immutable, named by the digest of their bytes.
#[derive(Debug)]
pub struct Bundle {
    digest: BundleDigest,
    pub(crate) program: Program,
    pub(crate) scans: Scans,
    pub(crate) code: Codes,
    pub(crate) symbols: Symbols,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleDigest(String);

/// A policy of a loaded bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadedPolicy<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Enabled rules; disabled ones do not travel.
    pub rules: usize,
}

/// Why bytes are not a bundle we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// More than [`MAX_BUNDLE_BYTES`].
    TooLarge { bytes: usize },
    /// Not a bundle at all.
    NotABundle,
    /// A bundle of another version of the encoding.
    UnknownVersion { found: u16 },
    /// Cut short, or with bytes no bundle has.
    Malformed,
    /// Well-formed, but a part of it refers to what is not there or is out of order.
    Inconsistent(&'static str),
    /// Conditions too deep or too many for one exchange.
    TooCostly,
    /// More patterns for long texts than one exchange may cost.
    TooManyPatterns,
    /// A regular expression's table does not load.
    Pattern(PatternLoadError),
}

impl BundleDigest {
    /// The digest of a bundle's bytes.
    pub fn of(bytes: &[u8]) -> BundleDigest {
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(bytes) {
            for digit in [byte >> 4, byte & 15] {
                // A nibble is a digit.
                text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
            }
        }
        BundleDigest(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Bundle {
    /// Loads and checks the bytes made by `compile`. Never panics, whatever they are.
    pub fn load(bytes: &[u8]) -> Result<Bundle, LoadError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(LoadError::TooLarge { bytes: bytes.len() });
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(LoadError::NotABundle)?;
        let (version, body) = rest.split_first_chunk().ok_or(LoadError::Malformed)?;
        let found = u16::from_le_bytes(*version);
        if found != FORMAT_VERSION {
            return Err(LoadError::UnknownVersion { found });
        }
        let program = records::program(body)?;
        let scans = Scans::of(&program)?;
        Ok(Bundle {
            digest: BundleDigest::of(bytes),
            code: Codes::of(&program),
            scans,
            symbols: Symbols::of(&program.strings),
            program,
        })
    }

    pub fn digest(&self) -> &BundleDigest {
        &self.digest
    }

    /// What has to be known before its rules can be decided.
    pub fn needs(&self) -> Needs {
        Needs::of(self.program.needs, self.program.exact_from)
    }

    /// Names of the policies, in the order of their evaluation.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies().map(|policy| policy.name)
    }

    /// The policies, in the order of their evaluation.
    pub fn policies(&self) -> impl Iterator<Item = LoadedPolicy<'_>> {
        self.program.policies().map(|policy| LoadedPolicy {
            name: self.string(policy.name),
            version: self.string(policy.version),
            rules: policy.rules.len(),
        })
    }

    #[inline(always)]
    pub(crate) fn string(&self, id: u32) -> &str {
        // `load` checked every index.
        self.program
            .strings
            .get(id as usize)
            .map_or("", String::as_str)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::TooLarge { bytes } => {
                write!(
                    f,
                    "the bundle has {bytes} bytes, more than {MAX_BUNDLE_BYTES}"
                )
            }
            LoadError::NotABundle => write!(f, "the bytes are not a policy bundle"),
            LoadError::UnknownVersion { found } => write!(
                f,
                "the bundle has format {found}; this version reads format {FORMAT_VERSION}"
            ),
            LoadError::Malformed => write!(f, "the bundle is cut short or corrupt"),
            LoadError::Inconsistent(what) => write!(f, "the bundle is inconsistent: {what}"),
            LoadError::TooCostly => write!(f, "the bundle's conditions are too deep or too many"),
            LoadError::TooManyPatterns => write!(
                f,
                "the bundle's patterns for texts weigh more than {MAX_WEIGHT}"
            ),
            LoadError::Pattern(cause) => write!(f, "a pattern of the bundle is unusable: {cause}"),
        }
    }
}

impl std::error::Error for LoadError {}
