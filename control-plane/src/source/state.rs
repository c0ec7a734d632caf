//! How the last looks at the source went.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SourceKind;
use crate::metrics::Metrics;
use crate::publish::set::FileFault;

/// Why what the source holds is not in force, or could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFault {
    /// Stable, for programs.
    pub code: &'static str,
    pub message: String,
    /// The commit or content that is at fault.
    pub revision: Option<String>,
    /// What is wrong in which file.
    pub files: Vec<FileFault>,
}

impl SourceFault {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> SourceFault {
        SourceFault {
            code,
            message: message.into(),
            revision: None,
            files: Vec::new(),
        }
    }

    pub(super) fn of_revision(self, revision: &str) -> SourceFault {
        SourceFault {
            revision: Some(revision.to_owned()),
            ..self
        }
    }
}

/// What is known at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// What of the source is in force: a commit, or a digest of a folder's content.
    pub revision: Option<String>,
    pub commit: Option<String>,
    pub last_attempt_at: Option<Timestamp>,
    /// When the source was last seen to be what is in force.
    pub last_success_at: Option<Timestamp>,
    /// Of the last attempt; `None` when it went well.
    pub fault: Option<SourceFault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    source: &'static str,
    commit: String,
}

/// Where policies come from, and how the last look there went.
#[derive(Debug)]
pub struct SourceState {
    kind: SourceKind,
    status: Mutex<SourceStatus>,
    info: Family<InfoLabels, Gauge>,
    last_success: Gauge,
    failures: Counter,
}

impl SourceState {
    pub fn new(kind: SourceKind, metrics: &Metrics) -> SourceState {
        let state = SourceState {
            kind,
            status: Mutex::default(),
            info: Family::default(),
            last_success: Gauge::default(),
            failures: Counter::default(),
        };
        state.show_commit(None);
        metrics.register(|r| {
            let help = "1 for where policies come from, and for the commit in force";
            r.register("policy_source_info", help, state.info.clone());
            // Nobody looks anywhere for policies that authors put.
            if kind == SourceKind::Api {
                return;
            }
            let help = "Unix time when the policies of the source were last seen in force";
            let name = "policy_source_last_success_timestamp_seconds";
            r.register(name, help, state.last_success.clone());
            let help = "Looks at the source that ended with its policies not in force";
            r.register("policy_source_failures", help, state.failures.clone());
        });
        state
    }

    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    pub fn status(&self) -> SourceStatus {
        self.lock().clone()
    }

    pub(super) fn in_force(&self, revision: &str, commit: Option<String>) {
        let mut status = self.lock();
        if status.revision.as_deref() == Some(revision) {
            return;
        }
        status.revision = Some(revision.to_owned());
        self.show_commit(commit.as_deref());
        status.commit = commit;
    }

    pub(super) fn succeeded(&self, at: Timestamp) {
        let mut status = self.lock();
        if status.fault.take().is_some() {
            tracing::info!(
                source = self.kind.as_str(),
                "policies of the source are in force"
            );
        }
        status.last_attempt_at = Some(at);
        status.last_success_at = Some(at);
        self.last_success.set(at.as_second());
    }

    pub(super) fn failed(&self, at: Timestamp, fault: SourceFault) {
        self.failures.inc();
        let mut status = self.lock();
        status.last_attempt_at = Some(at);
        // Said once, however often it is found again.
        if status.fault.as_ref() != Some(&fault) {
            tracing::error!(
                source = self.kind.as_str(),
                code = fault.code,
                revision = fault.revision,
                "policies of the source are not in force, the last good ones stay: {}",
                fault.message
            );
            status.fault = Some(fault);
        }
    }

    fn show_commit(&self, commit: Option<&str>) {
        let labels = InfoLabels {
            source: self.kind.as_str(),
            commit: commit.unwrap_or_default().to_owned(),
        };
        self.info.clear();
        self.info.get_or_create(&labels).set(1);
    }

    fn lock(&self) -> MutexGuard<'_, SourceStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
