//! The keys that sign the log, and the file that tells others their public
//! halves.
//!
//! All keys given sign every checkpoint: to rotate, the new key is put above
//! the old one, and the old one taken away once everyone knows the new one. The
//! public halves of all keys that ever signed stay in `evidence.pub`, so that
//! old checkpoints can still be verified. A key that was there once and is lost
//! is not silently replaced: whoever verifies would not know the new one.

use jupiter_evidence::tree::{KeyError, NoteSigner, NoteVerifier};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Secret;
use crate::envoy::files::write_private;

/// In the data directory, one key a line, the newest first.
const SECRET_FILE: &str = "evidence.key";
const PUBLIC_FILE: &str = "evidence.pub";

/// Why the log cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("{place}: {cause}")]
    BadKey { place: String, cause: KeyError },
    #[error(
        "{place}: a key is for the log `{found}`, this one is `{origin}`: \
         put the key's own name into `evidence.origin`, or take the key away"
    )]
    OtherLog {
        place: String,
        found: String,
        origin: String,
    },
    #[error("{0}: there is no key in it")]
    NoKey(String),
    #[error(
        "`{}` is gone, and `{}` says that there was one: put it back from where you keep it; \
         to begin with a new key that nobody knows yet, remove the second file too",
        secret.display(), public.display()
    )]
    Lost { secret: PathBuf, public: PathBuf },
    #[error("no random bytes for a key")]
    NoRandomness,
}

/// What signs, and what is believed.
#[derive(Debug, Clone)]
pub struct LogKeys {
    pub(crate) signers: Vec<NoteSigner>,
    /// All that ever signed.
    pub(crate) known: Vec<NoteVerifier>,
}

impl LogKeys {
    /// The keys of the log `origin`: those configured, or those of the file in
    /// `data_dir`, which is made at the first start.
    pub fn load(
        data_dir: &Path,
        origin: &str,
        configured: Option<&Secret>,
    ) -> Result<LogKeys, KeysError> {
        let secret = data_dir.join(SECRET_FILE);
        let public = data_dir.join(PUBLIC_FILE);
        let mut known = read_public(&public)?;
        let (place, text) = match configured {
            Some(keys) => {
                let place = "`evidence.signing_key`".to_owned();
                (place, keys.expose().replace(',', "\n"))
            }
            None => {
                let text = read_or_make(&secret, origin, &public, known.is_empty())?;
                (format!("`{}`", secret.display()), text)
            }
        };
        let signers = read_signers(&text, &place, origin)?;
        let before = known.len();
        for signer in signers.iter().rev() {
            let verifier = signer.verifier();
            if !known.contains(&verifier) {
                known.insert(0, verifier);
            }
        }
        if known.len() > before {
            let lines: String = known.iter().map(|key| format!("{key}\n")).collect();
            write_private(&public, lines.as_bytes()).map_err(at(&public))?;
        }
        Ok(LogKeys { signers, known })
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> KeysError {
    |cause| KeysError::File {
        path: path.to_owned(),
        cause,
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn read_public(path: &Path) -> Result<Vec<NoteVerifier>, KeysError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(at(path))?,
    };
    let keys = lines(&text).map(|line| {
        line.parse().map_err(|cause| KeysError::BadKey {
            place: format!("`{}`", path.display()),
            cause,
        })
    });
    keys.collect()
}

fn read_signers(text: &str, place: &str, origin: &str) -> Result<Vec<NoteSigner>, KeysError> {
    let mut signers = Vec::new();
    for line in lines(text) {
        let signer: NoteSigner = line.parse().map_err(|cause| KeysError::BadKey {
            place: place.to_owned(),
            cause,
        })?;
        let name = signer.verifier().name().to_owned();
        if name != origin {
            return Err(KeysError::OtherLog {
                place: place.to_owned(),
                found: name,
                origin: origin.to_owned(),
            });
        }
        signers.push(signer);
    }
    match signers.is_empty() {
        true => Err(KeysError::NoKey(place.to_owned())),
        false => Ok(signers),
    }
}

fn read_or_make(
    secret: &Path,
    origin: &str,
    public: &Path,
    first_start: bool,
) -> Result<String, KeysError> {
    match fs::read_to_string(secret) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        text => return text.map_err(at(secret)),
    }
    if !first_start {
        return Err(KeysError::Lost {
            secret: secret.to_owned(),
            public: public.to_owned(),
        });
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| KeysError::NoRandomness)?;
    let signer = NoteSigner::new(origin, &seed).map_err(|cause| KeysError::BadKey {
        place: "`evidence.origin`".to_owned(),
        cause,
    })?;
    let text = format!("{}\n", signer.to_secret_text());
    write_private(secret, text.as_bytes()).map_err(at(secret))?;
    tracing::info!(file = %secret.display(), "made a key to sign evidence with: keep a copy");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn load(folder: &Path) -> Result<LogKeys, KeysError> {
        LogKeys::load(folder, "mercator/local", None)
    }

    #[test]
    fn first_start_makes_a_private_key_and_the_next_one_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path()).unwrap();
        let secret = folder.path().join(SECRET_FILE);
        let mode = fs::metadata(&secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = load(folder.path()).unwrap();
        assert_eq!(again.known, first.known);
        let public = fs::read_to_string(folder.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(public.trim(), first.known[0].to_string());
        fs::remove_file(secret).unwrap();
        assert!(matches!(load(folder.path()), Err(KeysError::Lost { .. })));
    }

    #[test]
    fn rotated_key_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let old = load(folder.path()).unwrap();
        let secret = folder.path().join(SECRET_FILE);
        let old_text = fs::read_to_string(&secret).unwrap();
        let new = NoteSigner::new("mercator/local", &[7; 32]).unwrap();
        fs::write(&secret, format!("{}\n{old_text}", new.to_secret_text())).unwrap();
        let both = load(folder.path()).unwrap();
        assert_eq!(both.signers.len(), 2);
        assert_eq!(both.known, [new.verifier(), old.known[0].clone()]);
        fs::write(&secret, new.to_secret_text()).unwrap();
        let last = load(folder.path()).unwrap();
        assert_eq!((last.signers.len(), last.known), (1, both.known));
    }

    #[test]
    fn key_of_another_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path()).unwrap();
        let refused = LogKeys::load(folder.path(), "mercator/other", None);
        assert!(matches!(refused, Err(KeysError::OtherLog { .. })));
        fs::write(folder.path().join(SECRET_FILE), "\n").unwrap();
        assert!(matches!(load(folder.path()), Err(KeysError::NoKey(_))));
        fs::write(folder.path().join(SECRET_FILE), "no key").unwrap();
        let refused = load(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("not a note key"), "{refused}");
        assert!(!refused.contains("no key"), "{refused}");
    }
}
