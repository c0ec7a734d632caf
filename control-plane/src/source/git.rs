//! A branch of a Git repository, by the `git` program.
//!
//! Git itself checks signatures and speaks to every kind of server. A bare mirror
//! is kept beside the database: it serves when the repository cannot be reached,
//! and nothing is ever checked out. Only what the commit's tree says is read.

mod program;
mod tree;

use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use self::program::{Git, GitError};
use super::{Look, Reach, Snapshot, SourceFault};
use crate::config::{GitConfig, Signatures};

/// A first fetch over a slow line; whoever needs longer has more than policies there.
const FETCH_WITHIN: Duration = Duration::from_secs(120);

/// For what needs no network.
const LOCAL_WITHIN: Duration = Duration::from_secs(20);

/// Longest name of a committer that is taken over.
const MAX_AUTHOR: usize = 200;

#[derive(Debug)]
pub(super) struct GitReader {
    config: GitConfig,
    git: Git,
    /// Names repository and branch, so that a mirror made for another one is
    /// never mistaken for this one's.
    reference: String,
    last: Option<Snapshot>,
}

impl GitReader {
    pub(super) fn new(config: GitConfig, mirror: PathBuf) -> GitReader {
        let mut hash = Sha256::new();
        for part in [&config.repository.address, &config.branch] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hex: String = hash
            .finalize()
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect();
        GitReader {
            git: Git::new(mirror, config.repository.authorization.clone()),
            config,
            reference: format!("refs/mercator/{hex}"),
            last: None,
        }
    }

    pub(super) async fn look(&mut self, reach: Reach) -> Look {
        let fetched = match reach {
            Reach::All => self.fetch().await,
            Reach::AtHand => Ok(()),
        };
        let fault = fetched.err();
        let commit = match self.commit().await {
            Ok(Some(commit)) => commit,
            Ok(None) => {
                return Look {
                    snapshot: None,
                    fault,
                };
            }
            Err(error) => return self.broken_mirror(fault, error),
        };
        if let Err(refused) = self.verify(&commit).await {
            return Look::failed(refused.of_revision(&commit));
        }
        match self.snapshot(&commit).await {
            Ok(snapshot) => Look {
                snapshot: Some(snapshot),
                fault,
            },
            Err(refused) => Look::failed(refused.of_revision(&commit)),
        }
    }

    /// Brings the mirror up to date.
    async fn fetch(&self) -> Result<(), SourceFault> {
        let repository = &self.config.repository.address;
        self.prepare()
            .await
            .map_err(|error| fault_of("mirror", &error))?;
        let refspec = format!("+refs/heads/{}:{}", self.config.branch, self.reference);
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--depth=1",
            "--end-of-options",
            repository,
            &refspec,
        ];
        let fetched = self.git.run(&fetch, FETCH_WITHIN).await;
        fetched.map(drop).map_err(|error| {
            let what = format!("branch `{}` of `{repository}`", self.config.branch);
            fault_of(&what, &error)
        })
    }

    async fn prepare(&self) -> Result<(), GitError> {
        let mirror = self.git.mirror();
        if mirror.join("HEAD").exists() {
            // Nobody else works there, so a lock is that of a git that was killed.
            remove_locks(mirror, &self.reference);
            return Ok(());
        }
        crate::envoy::files::create_private_dir(mirror).map_err(GitError::Io)?;
        // No template: it is where hooks would come from.
        self.git
            .run(&["init", "--quiet", "--bare", "--template="], LOCAL_WITHIN)
            .await?;
        Ok(())
    }

    /// The commit the mirror has of the branch.
    async fn commit(&self) -> Result<Option<String>, GitError> {
        if !self.git.mirror().join("HEAD").exists() {
            return Ok(None);
        }
        let known = ["for-each-ref", "--format=%(objectname)", &self.reference];
        let out = self.git.run(&known, LOCAL_WITHIN).await?;
        let commit = String::from_utf8_lossy(&out).trim().to_owned();
        let is_hex = commit.bytes().all(|b| b.is_ascii_hexdigit());
        Ok((is_hex && matches!(commit.len(), 40 | 64)).then_some(commit))
    }

    /// A mirror that cannot be read is made anew at the next look.
    fn broken_mirror(&self, fault: Option<SourceFault>, error: GitError) -> Look {
        if matches!(error, GitError::Failed(_)) {
            // What is left, if it cannot be removed, is found again then.
            let _ = fs::remove_dir_all(self.git.mirror());
        }
        Look::failed(fault.unwrap_or_else(|| fault_of("mirror", &error)))
    }

    /// Whether the commit is signed as asked. INVARIANT: one kind of key counts;
    /// the programs of the others are made to fail.
    async fn verify(&self, commit: &str) -> Result<(), SourceFault> {
        let signers;
        let (ssh, openpgp) = match &self.config.signatures {
            Signatures::NotAsked => return Ok(()),
            Signatures::OpenPgp => ("gpg.ssh.allowedSignersFile=/dev/null", "gpg.program=gpg"),
            Signatures::Ssh { allowed_signers } => {
                // Git says "not signed by a known key" of a file that is not there.
                if let Err(error) = fs::metadata(allowed_signers) {
                    let path = allowed_signers.display();
                    let message = format!("`{path}` (`allowed_signers`) cannot be read: {error}");
                    return Err(SourceFault::new("signature_refused", message));
                }
                signers = format!("gpg.ssh.allowedSignersFile={}", allowed_signers.display());
                (signers.as_str(), "gpg.program=false")
            }
        };
        let verify = [
            "-c",
            ssh,
            "-c",
            openpgp,
            "-c",
            "gpg.x509.program=false",
            // A key that merely lies in a keyring proves nothing.
            "-c",
            "gpg.minTrustLevel=fully",
            "verify-commit",
            commit,
        ];
        match self.git.run(&verify, LOCAL_WITHIN).await {
            Ok(_) => Ok(()),
            Err(GitError::Failed(said)) => {
                let why = match said.is_empty() {
                    true => "it is not signed",
                    false => &said,
                };
                let message = format!("commit {commit} is not signed as asked: {why}");
                Err(SourceFault::new("signature_refused", message))
            }
            Err(error) => Err(fault_of("signature", &error)),
        }
    }

    async fn snapshot(&mut self, commit: &str) -> Result<Snapshot, SourceFault> {
        if let Some(last) = self.last.as_ref().filter(|last| last.revision == commit) {
            return Ok(last.clone());
        }
        let files = tree::read(&self.git, commit, &self.config.subpath, LOCAL_WITHIN).await?;
        let snapshot = Snapshot {
            files,
            revision: commit.to_owned(),
            commit: Some(commit.to_owned()),
            author: self.committer(commit).await?,
        };
        self.last = Some(snapshot.clone());
        Ok(snapshot)
    }

    async fn committer(&self, commit: &str) -> Result<String, SourceFault> {
        let read = self
            .git
            .run(&["cat-file", "commit", commit], LOCAL_WITHIN)
            .await;
        let text = read.map_err(|error| fault_of("commit", &error))?;
        Ok(committer_in(&String::from_utf8_lossy(&text)))
    }
}

/// `Name <address>` of a commit's header.
fn committer_in(commit: &str) -> String {
    let header = commit.lines().take_while(|line| !line.is_empty());
    let line = header
        .into_iter()
        .find_map(|line| line.strip_prefix("committer "));
    let who = line
        .and_then(|line| line.rsplit_once('>'))
        .map(|(who, _)| format!("{who}>"));
    let plain = who.unwrap_or_else(|| "git".to_owned());
    plain
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_AUTHOR)
        .collect()
}

fn fault_of(what: &str, error: &GitError) -> SourceFault {
    let code = match error {
        GitError::Missing => "git_missing",
        GitError::TimedOut(_) => "timed_out",
        GitError::TooLarge => "too_large",
        GitError::Failed(_) if what.starts_with("branch") => "fetch_failed",
        GitError::Failed(_) | GitError::Io(_) => "unreadable",
    };
    SourceFault::new(code, format!("{what}: {error}"))
}

fn remove_locks(mirror: &std::path::Path, reference: &str) {
    let names = [
        "shallow.lock",
        "packed-refs.lock",
        "config.lock",
        "HEAD.lock",
        "gc.pid",
    ];
    let locks = names.map(str::to_owned).into_iter();
    for lock in locks.chain([format!("{reference}.lock")]) {
        match fs::remove_file(mirror.join(&lock)) {
            Ok(()) => tracing::warn!(lock, "a lock left in the mirror was removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(lock, %error, "a lock in the mirror cannot be removed"),
        }
    }
}

#[cfg(test)]
mod tests;
