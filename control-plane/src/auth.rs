//! Who may do what: bearer tokens, each with one role.
//!
//! A token's text is shown once, to whoever asked for it; the store has its
//! SHA-256. The text has 256 random bits, so a plain hash cannot be guessed
//! from, and looking a hash up tells a clock nothing about the text.
//!
//! [`bootstrap`] keeps two token files working, for the people and for the
//! Envoy of this machine. Whoever may write the data directory owns the
//! database anyway, so a lost token is replaced by deleting its file and
//! starting again.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

use crate::envoy::files::write_private;
use crate::store::{NewToken, Store, StoreError, TokenInfo};

/// What the holder of a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// May do everything.
    Admin,
    /// Writes policies.
    Author,
    /// Reads what was decided, and by which policies.
    Auditor,
    /// An Envoy: delivers evidence, fetches its configuration.
    Emitter,
}

/// Something a role may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    ReadPolicies,
    WritePolicies,
    ReadBundles,
    ReadEvidence,
    WriteEvidence,
    /// What Envoy asks for over xDS.
    ReadConfiguration,
    ManageTokens,
    /// Erase subjects, place and release holds.
    ManageEvidence,
    /// Take the instance out of rotation, and put it back.
    ManageInstance,
    /// The description of the API itself.
    ReadApi,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Admin, Role::Author, Role::Auditor, Role::Emitter];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Author => "author",
            Role::Auditor => "auditor",
            Role::Emitter => "emitter",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    pub fn may(self, permission: Permission) -> bool {
        use Permission::*;
        match self {
            Role::Admin => true,
            Role::Author => matches!(permission, ReadPolicies | WritePolicies | ReadApi),
            Role::Auditor => {
                matches!(
                    permission,
                    ReadPolicies | ReadBundles | ReadEvidence | ReadApi
                )
            }
            Role::Emitter => {
                matches!(
                    permission,
                    WriteEvidence | ReadConfiguration | ReadBundles | ReadApi
                )
            }
        }
    }
}

/// Who asks, as far as a token tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's name; authors of changes are recorded by it.
    pub name: String,
    pub role: Role,
}

impl Principal {
    /// This program itself, for what it does without being asked.
    pub fn system() -> Principal {
        Principal {
            name: "mercator".to_owned(),
            role: Role::Admin,
        }
    }
}

/// A token's text. Neither `Debug` nor an error prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

const PREFIX: &str = "mjt_";

/// 32 bytes in base64url.
const RANDOM_CHARS: usize = 43;

impl TokenText {
    pub fn generate() -> Result<TokenText, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(TokenText(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(random)
        )))
    }

    /// `None` when the text cannot be a token.
    pub fn parse(text: &str) -> Option<TokenText> {
        let random = text.strip_prefix(PREFIX)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (random.len() == RANDOM_CHARS && random.bytes().all(allowed))
            .then(|| TokenText(text.to_owned()))
    }

    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text itself, for whoever asked for the token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// Why nobody is let in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    #[error("a bearer token is needed")]
    Missing,
    #[error("the token is not known, or was revoked")]
    Refused,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who sends this `authorization` header.
pub async fn authenticate(
    store: &dyn Store,
    authorization: Option<&str>,
) -> Result<Principal, AuthError> {
    let (scheme, text) = authorization
        .and_then(|header| header.trim().split_once(' '))
        .ok_or(AuthError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Missing);
    }
    let token = TokenText::parse(text.trim_start()).ok_or(AuthError::Refused)?;
    match store.token_by_hash(&token.sha256()).await? {
        Some(known) if known.revoked_at.is_none() => Ok(Principal {
            name: known.name,
            role: known.role,
        }),
        _ => Err(AuthError::Refused),
    }
}

/// Why no token was made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateTokenError {
    #[error("the system gives no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token; its text exists only in the answer.
pub async fn create_token(
    store: &dyn Store,
    creator: &Principal,
    name: &str,
    role: Role,
    now: Timestamp,
) -> Result<(TokenInfo, TokenText), CreateTokenError> {
    let text = TokenText::generate().map_err(CreateTokenError::NoRandomness)?;
    let token = new_token(&text, name, role, creator, now);
    Ok((store.create_token(token).await?, text))
}

fn new_token(
    text: &TokenText,
    name: &str,
    role: Role,
    creator: &Principal,
    now: Timestamp,
) -> NewToken {
    NewToken {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        role,
        sha256: text.sha256(),
        created_at: now,
        created_by: creator.name.clone(),
    }
}

/// Where the tokens of this machine are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFiles {
    pub admin: PathBuf,
    pub emitter: PathBuf,
}

impl TokenFiles {
    pub fn in_dir(data_dir: &Path) -> TokenFiles {
        TokenFiles {
            admin: data_dir.join("admin.token"),
            emitter: data_dir.join("emitter.token"),
        }
    }
}

/// Why a token file could not be made to work.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("token file `{path}` cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{path}` holds no token; delete it to get a new one at the next start")]
    NotAToken { path: PathBuf },
    #[error("`{path}` holds a token of the role `{}`", role.as_str())]
    WrongRole { path: PathBuf, role: Role },
    #[error("token file `{path}` cannot be written")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("no token could be made")]
    Create(#[from] CreateTokenError),
}

impl From<StoreError> for BootstrapError {
    fn from(error: StoreError) -> BootstrapError {
        BootstrapError::Create(error.into())
    }
}

/// Sees to it that `admin.token` and `emitter.token` each hold a token that works.
///
/// - No file: a new token is made, and the one made for this file before is revoked.
/// - A token the store does not know (a new database, or a token brought by the
///   operator): it is added.
/// - A token that was revoked: a new one takes its place.
///
/// `instance` keeps machines that share a database apart.
pub async fn bootstrap(
    store: &dyn Store,
    data_dir: &Path,
    instance: &str,
    now: Timestamp,
) -> Result<TokenFiles, BootstrapError> {
    let files = TokenFiles::in_dir(data_dir);
    ensure_file(store, &files.admin, Role::Admin, instance, now).await?;
    ensure_file(store, &files.emitter, Role::Emitter, instance, now).await?;
    Ok(files)
}

async fn ensure_file(
    store: &dyn Store,
    path: &Path,
    role: Role,
    instance: &str,
    now: Timestamp,
) -> Result<(), BootstrapError> {
    let name = format!("{}.token@{instance}", role.as_str());
    let system = Principal::system();
    if let Some(text) = read_token(path)? {
        match store.token_by_hash(&text.sha256()).await? {
            Some(known) if known.role != role => {
                return Err(BootstrapError::WrongRole {
                    path: path.to_owned(),
                    role: known.role,
                });
            }
            Some(known) if known.revoked_at.is_none() => return Ok(()),
            Some(_) => {}
            None => {
                store
                    .rotate_token(new_token(&text, &name, role, &system, now))
                    .await?;
                return Ok(());
            }
        }
    }
    let text = TokenText::generate().map_err(CreateTokenError::NoRandomness)?;
    // The file first: a token in a file that the store does not know is added
    // at the next start, one in the store without a file would be lost.
    let line = format!("{}\n", text.expose());
    write_private(path, line.as_bytes()).map_err(|source| BootstrapError::Unwritable {
        path: path.to_owned(),
        source,
    })?;
    store
        .rotate_token(new_token(&text, &name, role, &system, now))
        .await?;
    tracing::info!(file = %path.display(), role = role.as_str(), "made a new token");
    Ok(())
}

fn read_token(path: &Path) -> Result<Option<TokenText>, BootstrapError> {
    let unreadable = |source| BootstrapError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "a token file could be read by others; now by its owner only");
        // A file on a read-only mount stays as it is; the warning says so.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    }
    match TokenText::parse(text.trim()) {
        Some(token) => Ok(Some(token)),
        None => Err(BootstrapError::NotAToken {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
