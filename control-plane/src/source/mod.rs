//! Where policies come from when no author puts them: a folder, or a Git
//! repository.
//!
//! [`Follower`] looks there again and again. What it finds becomes all that is
//! in force, in one step ([`crate::publish::set`]), or nothing changes: the last
//! good set stays until a better one is there. How the last look went is in
//! [`SourceState`], for the API, metrics and health. While policies come from
//! elsewhere, authors cannot change them here.

mod dir;
mod files;
mod git;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use self::dir::DirReader;
use self::git::GitReader;
use crate::app::App;
use crate::config::PolicySource;
use crate::publish::set::{self, FileFault, PolicyFile, PolicySet, SetError};

pub use self::state::{SourceFault, SourceState, SourceStatus};

/// How often a folder is read. Reading beats being told of changes: it works the
/// same on network mounts, bind mounts and the swapped links of Kubernetes
/// volumes, and a policy folder is small.
const LOOK_AT_DIR_EVERY: Duration = Duration::from_secs(1);

/// Who may change policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Authors, by the API.
    Api,
    /// Who writes to a folder.
    Dir,
    /// Who pushes to a Git repository.
    Git,
}

impl SourceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::Api => "api",
            SourceKind::Dir => "dir",
            SourceKind::Git => "git",
        }
    }

    /// Told to authors whose change would not last.
    pub fn why_the_api_may_not(self) -> &'static str {
        match self {
            SourceKind::Api => "policies are changed here",
            SourceKind::Dir => {
                "policies come from a folder (`policy.source: dir`): change them there"
            }
            SourceKind::Git => {
                "policies come from a Git repository (`policy.source: git`): change them there"
            }
        }
    }
}

/// What a source holds at one moment.
#[derive(Debug, Clone)]
struct Snapshot {
    files: Vec<PolicyFile>,
    /// Names this content: a commit, or a digest.
    revision: String,
    commit: Option<String>,
    author: String,
}

/// What came of looking.
#[derive(Debug, Default)]
struct Look {
    /// `None`: nothing that can be told from something half written.
    snapshot: Option<Snapshot>,
    /// What is wrong with the way there, whatever is at hand.
    fault: Option<SourceFault>,
}

impl Look {
    fn failed(fault: SourceFault) -> Look {
        Look {
            snapshot: None,
            fault: Some(fault),
        }
    }
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// What this machine has: at start, where nobody wants to wait.
    AtHand,
    All,
}

#[derive(Debug)]
enum Reader {
    Dir(DirReader),
    Git(Box<GitReader>),
}

/// Keeps what is in force the same as what the source holds.
#[derive(Debug)]
pub struct Follower {
    app: App,
    reader: Reader,
    every: Duration,
    in_force: Option<String>,
    /// Content that cannot be in force, and why: not to be tried again.
    refused: Option<(String, SourceFault)>,
}

impl Follower {
    /// `None` when authors put policies themselves.
    pub fn new(app: &App, source: &PolicySource, data_dir: &Path) -> Option<Follower> {
        let (reader, every) = match source {
            PolicySource::Api => return None,
            PolicySource::Dir { path } => {
                (Reader::Dir(DirReader::new(path.clone())), LOOK_AT_DIR_EVERY)
            }
            PolicySource::Git(git) => {
                let mirror = data_dir.join("policy-git");
                (
                    Reader::Git(Box::new(GitReader::new(git.clone(), mirror))),
                    git.poll_interval,
                )
            }
        };
        Some(Follower {
            app: app.clone(),
            reader,
            every,
            in_force: None,
            refused: None,
        })
    }

    /// Puts in force what is at hand, before anything is enforced.
    pub async fn begin(&mut self) {
        self.look(Reach::AtHand).await;
    }

    /// Goes on until `stop`.
    pub async fn follow(mut self, stop: CancellationToken) {
        loop {
            let turn = async {
                self.look(Reach::All).await;
                tokio::time::sleep(self.every).await;
            };
            tokio::select! {
                () = turn => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&mut self, reach: Reach) {
        let now = self.app.clock.now();
        let look = match &mut self.reader {
            Reader::Dir(dir) => dir.look().await,
            Reader::Git(git) => git.look(reach).await,
        };
        let taken = match look.snapshot {
            Some(snapshot) => self.take(snapshot).await,
            None if look.fault.is_none() => return,
            None => Ok(()),
        };
        let state = Arc::clone(&self.app.source);
        if let Some(revision) = &self.in_force {
            let bundle = self.app.bundles.borrow().clone();
            state.in_force(revision, bundle.and_then(|bundle| bundle.commit.clone()));
        }
        match taken.err().or(look.fault) {
            Some(fault) => state.failed(now, fault),
            // What is at hand may be old: only the source itself can confirm it.
            None if reach == Reach::AtHand && state.kind() == SourceKind::Git => {}
            None => state.succeeded(now),
        }
    }

    async fn take(&mut self, snapshot: Snapshot) -> Result<(), SourceFault> {
        let revision = snapshot.revision;
        if self.in_force.as_ref() == Some(&revision) {
            return Ok(());
        }
        if let Some((refused, fault)) = &self.refused
            && *refused == revision
        {
            return Err(fault.clone());
        }
        let set = PolicySet {
            files: snapshot.files,
            author: snapshot.author,
            commit: snapshot.commit,
        };
        match set::replace_all(&self.app, set).await {
            Ok(_) => {
                self.in_force = Some(revision);
                self.refused = None;
                Ok(())
            }
            Err(error) => {
                let fault = SourceFault::of_set(&error).of_revision(&revision);
                if error.is_of_the_set() {
                    self.refused = Some((revision, fault.clone()));
                }
                Err(fault)
            }
        }
    }
}

impl SourceFault {
    fn of_set(error: &SetError) -> SourceFault {
        let (code, files): (_, &[FileFault]) = match error {
            SetError::Faulty(faults) => ("invalid_policies", faults),
            SetError::Empty => ("no_policies", &[]),
            SetError::DoesNotCompile(_) => ("bundle_too_large", &[]),
            SetError::Store(_) => ("store_unavailable", &[]),
            SetError::Raced | SetError::Interrupted => ("interrupted", &[]),
        };
        SourceFault {
            files: files.to_vec(),
            ..SourceFault::new(code, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
