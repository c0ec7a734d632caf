//! Replaces all policies at once by those of a folder or a commit.
//!
//! A set takes effect as a whole, in one transaction, or changes nothing: one
//! faulty file keeps everything that is in force. A set without any policy is a
//! fault too, since it would have everything refused: a folder that is not
//! mounted, or a misspelt path, must not do that.

use jupiter_policy::{CompileError, Diagnostic, Policy, Severity, Span};
use std::collections::HashMap;
use std::sync::Arc;

use super::{
    ATTEMPTS, PolicyName, PublishedBundle, announce, bundle_of, in_background, stamp,
    unknown_outcome,
};
use crate::app::App;
use crate::metrics::PublishLabels;
use crate::store::{ActivePolicies, ChangeError, NewBundle, NewPolicy, Stamp, StoreError};

/// All policies that are to be in force, as their files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySet {
    pub files: Vec<PolicyFile>,
    /// Who is named as the author of what changes.
    pub author: String,
    /// The Git commit the files are of.
    pub commit: Option<String>,
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// As people of the folder or repository know it.
    pub path: String,
    pub text: String,
}

/// What is wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    pub file: String,
    pub diagnostic: Diagnostic,
}

/// Why a set is not in force.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("policies have errors: {}", first_of(.0))]
    Faulty(Vec<FileFault>),
    #[error(
        "there is no policy file (`*.yaml`, `*.yml`), and without a policy everything would be refused"
    )]
    Empty,
    #[error("the policies do not fit into one bundle: {0}")]
    DoesNotCompile(CompileError),
    #[error("others kept changing the policies")]
    Raced,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that did the work ended before its time.
    #[error("publishing was interrupted")]
    Interrupted,
}

fn first_of(faults: &[FileFault]) -> String {
    let Some(FileFault { file, diagnostic }) = faults.first() else {
        return "none".to_owned();
    };
    let (line, column) = (diagnostic.span.line, diagnostic.span.column);
    let first = format!("{file}:{line}:{column}: {}", diagnostic.message);
    match faults.len() {
        1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}

/// Makes `set` all that is in force. The same set again changes nothing.
pub async fn replace_all(app: &App, set: PolicySet) -> Result<Arc<PublishedBundle>, SetError> {
    let task_app = app.clone();
    // A task of its own, as for the changes of authors.
    let result = tokio::spawn(async move {
        let _turn = task_app.publisher.turn.lock().await;
        replace_in_turn(&task_app, set).await
    })
    .await
    .unwrap_or(Err(SetError::Interrupted));
    match result {
        Ok((bundle, false)) => Ok(bundle),
        Ok((bundle, true)) => {
            count(app, "published");
            Ok(bundle)
        }
        Err(error) => {
            count(app, error.result_label());
            Err(error)
        }
    }
}

/// The bundle in force, and whether it is a new one.
async fn replace_in_turn(
    app: &App,
    set: PolicySet,
) -> Result<(Arc<PublishedBundle>, bool), SetError> {
    let PolicySet {
        files,
        author,
        commit,
    } = set;
    let built = in_background(move || build(files)).await;
    let (policies, bundle) = built.map_err(|_| SetError::Interrupted)??;
    for _ in 0..ATTEMPTS {
        let active = app.store.active_policies().await?;
        let current = app.bundles.borrow().clone();
        if let Some(current) = current
            && current.commit == commit
            && current.revision == active.set.0
            && same(&active, &policies)
        {
            return Ok((current, false));
        }
        let stamp = Stamp {
            commit: commit.clone(),
            ..stamp(app, &author)
        };
        let replaced = app
            .store
            .replace_policies(active.set, policies.clone(), bundle.clone(), stamp)
            .await;
        match replaced {
            Ok(stored) => {
                let bundle = announce(app, stored, policies.len())?;
                tracing::info!(policies = policies.len(), author, commit,
                    bundle = %bundle.digest, "set of policies published");
                return Ok((bundle, true));
            }
            Err(ChangeError::Stale) => {}
            Err(ChangeError::Failed(error)) => return Err(unknown_outcome(app, error).into()),
        }
    }
    Err(SetError::Raced)
}

fn same(active: &ActivePolicies, policies: &[NewPolicy]) -> bool {
    let is_active = |new: &NewPolicy| {
        let mut active = active.policies.iter();
        active.any(|old| old.name == new.name && old.source == new.source)
    };
    active.policies.len() == policies.len() && policies.iter().all(is_active)
}

/// Checks every file, and makes a bundle of them when none has an error.
fn build(files: Vec<PolicyFile>) -> Result<(Vec<NewPolicy>, NewBundle), SetError> {
    if files.is_empty() {
        return Err(SetError::Empty);
    }
    let mut faults = Vec::new();
    let mut policies = Vec::new();
    let mut named: HashMap<String, String> = HashMap::new();
    for file in &files {
        let checked = jupiter_policy::check(&file.text);
        let Some(policy) = checked.policy else {
            let errors = checked.diagnostics.into_iter();
            let errors = errors.filter(|d| d.severity == Severity::Error);
            faults.extend(errors.map(|diagnostic| FileFault {
                file: file.path.clone(),
                diagnostic,
            }));
            continue;
        };
        let first = named.get(policy.name()).map(String::as_str);
        match name_fault(file, &policy, first) {
            Some(fault) => faults.push(fault),
            None => {
                named.insert(policy.name().to_owned(), file.path.clone());
                policies.push((policy, file.text.clone()));
            }
        }
    }
    if !faults.is_empty() {
        return Err(SetError::Faulty(faults));
    }
    let (policies, texts): (Vec<Policy>, Vec<String>) = policies.into_iter().unzip();
    let bundle = bundle_of(&policies).map_err(SetError::DoesNotCompile)?;
    let new = |(policy, source): (Policy, String)| NewPolicy {
        name: policy.name().to_owned(),
        source,
        version: policy.version().to_owned(),
        description: policy.description().map(str::to_owned),
    };
    Ok((policies.into_iter().zip(texts).map(new).collect(), bundle))
}

/// Names are unique over all files, and such as paths of the API can hold.
fn name_fault(file: &PolicyFile, policy: &Policy, first: Option<&str>) -> Option<FileFault> {
    let name = policy.name();
    let (code, message, help) = match first {
        Some(first) => (
            "duplicate-policy",
            format!("the policy `{name}` is also in `{first}`"),
            "give one of them another name",
        ),
        None if PolicyName::parse(name).is_none() => (
            "bad-name",
            format!("`{name}` cannot be the name of a policy in force"),
            "use letters, digits, `-`, `_` and `.`",
        ),
        None => return None,
    };
    Some(FileFault {
        file: file.path.clone(),
        diagnostic: Diagnostic {
            severity: Severity::Error,
            code,
            message,
            span: name_span(&file.text),
            help: Some(help.to_owned()),
        },
    })
}

/// The line of the policy's name; a text that was valid has one.
fn name_span(text: &str) -> Span {
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        if content.starts_with("name:") {
            return Span {
                line: index + 1,
                column: 1,
                end_line: index + 1,
                end_column: content.chars().count() + 1,
                offset,
                end_offset: offset + content.len(),
            };
        }
        offset += line.len();
    }
    Span {
        line: 1,
        column: 1,
        end_line: 1,
        end_column: 1,
        ..Span::default()
    }
}

impl SetError {
    fn result_label(&self) -> &'static str {
        match self {
            SetError::Faulty(_) | SetError::Empty | SetError::DoesNotCompile(_) => "invalid",
            SetError::Raced | SetError::Store(_) | SetError::Interrupted => "failed",
        }
    }

    /// Trying the same set again would end the same way.
    pub fn is_of_the_set(&self) -> bool {
        match self {
            SetError::Faulty(_) | SetError::Empty | SetError::DoesNotCompile(_) => true,
            SetError::Raced | SetError::Store(_) | SetError::Interrupted => false,
        }
    }
}

fn count(app: &App, result: &'static str) {
    let labels = PublishLabels {
        operation: "replace",
        result,
    };
    app.metrics.publishes.get_or_create(&labels).inc();
}

#[cfg(test)]
mod tests;
