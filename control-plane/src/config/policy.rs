//! The `policy` section: where policies come from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reader::{Document, Section};
use super::values::{self, Secret};
use crate::source::SourceKind;

/// Where policies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// Authors put them, by the API.
    Api,
    /// All in a folder.
    Dir { path: PathBuf },
    /// All of a branch of a Git repository.
    Git(GitConfig),
}

/// A branch of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitConfig {
    pub repository: Repository,
    pub branch: String,
    /// Folder of the policies, without `/` at its ends; empty at the root.
    pub subpath: String,
    pub poll_interval: Duration,
    pub signatures: Signatures,
}

/// Which commits are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signatures {
    /// All of the branch.
    NotAsked,
    /// Those signed by an OpenPGP key of the user's keyring that is trusted fully.
    OpenPgp,
    /// Those signed by an SSH key of this file (`ssh-keygen(1)`, ALLOWED SIGNERS).
    Ssh { allowed_signers: PathBuf },
}

/// Where a repository is, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Without any credential: for arguments, messages and logs.
    pub address: String,
    /// Value of `Authorization`, from the name and password in an HTTP URL.
    pub authorization: Option<Secret>,
}

impl PolicySource {
    pub fn kind(&self) -> SourceKind {
        match self {
            PolicySource::Api => SourceKind::Api,
            PolicySource::Dir { .. } => SourceKind::Dir,
            PolicySource::Git(_) => SourceKind::Git,
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Repository {
    /// A URL, `user@host:path` or a path. The text is never repeated: it may hold
    /// a password.
    pub fn parse(text: &str) -> Result<Repository, String> {
        const FORMS: &str =
            "expected is a URL (https, http, ssh, file), `user@host:path` or a path";
        let plain = |address: &str| Repository {
            address: address.to_owned(),
            authorization: None,
        };
        let printable = text.chars().all(|c| !c.is_control() && c != ' ');
        if text.is_empty() || text.starts_with('-') || !printable {
            return Err(FORMS.to_owned());
        }
        let Some((scheme, _)) = text.split_once("://") else {
            // `ext::` and its like name programs to run.
            return match text.contains("::") {
                true => Err(FORMS.to_owned()),
                false => Ok(plain(text)),
            };
        };
        let mut url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        match scheme {
            "file" => return Ok(plain(text)),
            "ssh" if url.password().is_some() => {
                return Err("ssh takes keys, no password in the URL".to_owned());
            }
            "ssh" => return Ok(plain(text)),
            "https" | "http" => {}
            _ => return Err(FORMS.to_owned()),
        }
        let (name, password) = (url.username(), url.password().unwrap_or_default());
        let authorization = (!name.is_empty() || !password.is_empty()).then(|| {
            let pair = format!("{}:{}", decoded(name), decoded(password));
            Secret::new(format!("Basic {}", STANDARD.encode(pair)))
        });
        // Only a URL without a host refuses this, and these have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Repository {
            address: url.to_string(),
            authorization,
        })
    }
}

/// `%40` is `@` again: what is sent is the password, not its form in a URL.
fn decoded(text: &str) -> String {
    let query = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    let pair = url::form_urlencoded::parse(query.as_bytes()).next();
    pair.map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// What the keys say, before it is known which of them count.
struct Written {
    kind: SourceKind,
    path: Option<PathBuf>,
    repository: Option<Repository>,
    branch: String,
    subpath: String,
    poll_interval: Duration,
    verify: bool,
    allowed_signers: Option<PathBuf>,
}

pub(super) fn read(document: &mut Document<'_>, root: &mut Section) -> Option<PolicySource> {
    let mut section = document.section(root, "policy");
    let kind = document.value(&mut section, "source", "api", source_kind);
    let mut dir = document.section(&mut section, "dir");
    let path = document.value(&mut dir, "path", "", values::optional(values::path));
    document.finish(&dir);
    let mut git = document.section(&mut section, "git");
    let repository = document.value(
        &mut git,
        "repository",
        "",
        values::optional(Repository::parse),
    );
    let branch = document.value(&mut git, "branch", "main", branch);
    let subpath = document.value(&mut git, "subpath", "", subpath);
    let poll = document.value(&mut git, "poll_interval", "30s", values::duration);
    let verify = document.value(&mut git, "verify_signatures", "false", values::boolean);
    let signers = document.value(
        &mut git,
        "allowed_signers",
        "",
        values::optional(values::path),
    );
    document.finish(&git);
    document.finish(&section);
    let written = Written {
        kind: kind?,
        path: path?,
        repository: repository?,
        branch: branch?,
        subpath: subpath?,
        poll_interval: poll?,
        verify: verify?,
        allowed_signers: signers?,
    };
    if written.allowed_signers.is_some() && !written.verify {
        let message = "asks for nothing without `verify_signatures: true`".to_owned();
        document.fault(&git, "allowed_signers", message);
        return None;
    }
    let missing = |source: &str| format!("`policy.source: {source}` needs this key");
    match written {
        Written {
            kind: SourceKind::Api,
            ..
        } => Some(PolicySource::Api),
        Written {
            kind: SourceKind::Dir,
            path: Some(path),
            ..
        } => Some(PolicySource::Dir { path }),
        Written {
            kind: SourceKind::Dir,
            ..
        } => {
            document.fault(&dir, "path", missing("dir"));
            None
        }
        Written {
            repository: Some(repository),
            ..
        } => Some(PolicySource::Git(GitConfig {
            repository,
            branch: written.branch,
            subpath: written.subpath,
            poll_interval: written.poll_interval,
            signatures: match (written.verify, written.allowed_signers) {
                (false, _) => Signatures::NotAsked,
                (true, None) => Signatures::OpenPgp,
                (true, Some(allowed_signers)) => Signatures::Ssh { allowed_signers },
            },
        })),
        Written { .. } => {
            document.fault(&git, "repository", missing("git"));
            None
        }
    }
}

fn source_kind(text: &str) -> Result<SourceKind, String> {
    let kinds = [SourceKind::Api, SourceKind::Dir, SourceKind::Git];
    values::choice(text, &kinds.map(|kind| (kind.as_str(), kind)))
}

/// What Git takes as a branch, as far as ordinary names go.
fn branch(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./+@#".contains(c);
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with(".lock")
            && !part.ends_with('.')
    };
    let well_formed = text.chars().all(allowed)
        && !text.contains("..")
        && !text.starts_with('-')
        && text.split('/').all(part);
    match well_formed {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not the name of a branch")),
    }
}

fn subpath(text: &str) -> Result<String, String> {
    let trimmed = text.trim_start_matches("./").trim_end_matches('/');
    let inside = |part: &str| !matches!(part, "" | "." | "..");
    let well_formed = trimmed.is_empty()
        || (trimmed.split('/').all(inside) && !trimmed.chars().any(char::is_control));
    match well_formed && !text.starts_with('/') {
        true => Ok(trimmed.to_owned()),
        false => Err(format!("`{text}` is not a folder inside the repository")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<PolicySource, String> {
        let config = Config::parse(text, "f", &|_| None);
        config.map(|c| c.policy).map_err(|error| error.to_string())
    }

    #[test]
    fn sources_are_what_they_are_called() {
        assert_eq!(parse(""), Ok(PolicySource::Api));
        let dir = parse("policy: {source: dir, dir: {path: /p}}");
        assert_eq!(dir, Ok(PolicySource::Dir { path: "/p".into() }));
        let text =
            "policy:\n  source: git\n  git: {repository: 'git@host:a/b.git', subpath: ./x/y/}";
        let Ok(PolicySource::Git(git)) = parse(text) else {
            panic!("not git");
        };
        assert_eq!(git.repository.address, "git@host:a/b.git");
        assert_eq!((git.branch.as_str(), git.subpath.as_str()), ("main", "x/y"));
        assert_eq!(git.poll_interval, Duration::from_secs(30));
        assert_eq!(git.signatures, Signatures::NotAsked);
    }

    #[test]
    fn signatures_are_checked_by_one_kind_of_key() {
        let git = |more: &str| {
            parse(&format!(
                "policy: {{source: git, git: {{repository: /r, {more}}}}}"
            ))
        };
        let signatures = |more: &str| match git(more) {
            Ok(PolicySource::Git(git)) => git.signatures,
            other => panic!("{other:?}"),
        };
        assert_eq!(signatures("verify_signatures: true"), Signatures::OpenPgp);
        let ssh = signatures("verify_signatures: true, allowed_signers: /s");
        assert_eq!(
            ssh,
            Signatures::Ssh {
                allowed_signers: "/s".into()
            }
        );
        let refusal = git("allowed_signers: /s").unwrap_err();
        assert!(refusal.contains("verify_signatures"), "{refusal}");
    }

    #[test]
    fn what_a_source_needs_must_be_written() {
        for (text, key) in [
            ("policy: {source: dir}", "`policy.dir.path`"),
            ("policy: {source: git}", "`policy.git.repository`"),
            ("policy: {source: svn}", "`policy.source`"),
            ("policy: {git: {branch: a..b}}", "`policy.git.branch`"),
            ("policy: {git: {branch: -x}}", "`policy.git.branch`"),
            ("policy: {git: {branch: a/.lock}}", "`policy.git.branch`"),
            ("policy: {git: {subpath: ../x}}", "`policy.git.subpath`"),
            ("policy: {git: {subpath: /x}}", "`policy.git.subpath`"),
            (
                "policy: {git: {repository: 'ext::sh -c x'}}",
                "`policy.git.repository`",
            ),
            (
                "policy: {git: {repository: '--upload-pack=x'}}",
                "`policy.git.repository`",
            ),
            (
                "policy: {git: {repository: 'ftp://h/x'}}",
                "`policy.git.repository`",
            ),
            (
                "policy: {git: {poll_interval: 30}}",
                "`policy.git.poll_interval`",
            ),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains(key), "{text}: {refusal}");
        }
    }

    #[test]
    fn credentials_leave_the_address_and_are_not_printed() {
        let repository = Repository::parse("https://bot:p%40ss+word@host/r.git").unwrap();
        assert_eq!(repository.address, "https://host/r.git");
        let expected = format!("Basic {}", STANDARD.encode("bot:p@ss+word"));
        assert_eq!(
            repository.authorization.as_ref().unwrap().expose(),
            expected
        );
        let told = format!("{repository:?} {repository}");
        assert!(!told.contains("p@ss") && !told.contains("bot"), "{told}");
        let refusal = Repository::parse("ssh://bot:hunter2@host/r").unwrap_err();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}
