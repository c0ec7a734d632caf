//! Publishes policies: text in, a bundle in force out.
//!
//! A policy takes effect only as part of a bundle that was compiled from all
//! active policies and stored with them in one transaction
//! ([`crate::store::Store::put_policy`]); a broken one never replaces a good
//! one. What is in force is announced by a watch channel that the API, the
//! writer of Envoy's files and health follow. With no policy there is no
//! bundle, and filters refuse everything: unknown means closed.
//!
//! Either authors change single policies, or a [`crate::source`] replaces all of
//! them at once ([`set`]); never both.

pub mod set;

use jiff::Timestamp;
use jupiter_policy::{Bundle, BundleDigest, Checked, CompileError, Diagnostic, Policy};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

use crate::app::App;
use crate::auth::Principal;
use crate::metrics::{BundleLabels, PublishLabels};
use crate::source::SourceKind;
use crate::store::{
    ActivePolicies, ChangeError, NewBundle, NewPolicy, PolicyRevision, SetRevision, Stamp,
    StoreError, StoredBundle,
};

/// Other control planes may change policies meanwhile; more often than this in
/// a row somebody is looping.
const ATTEMPTS: usize = 5;

/// How often a store that failed amid a change is asked what became of it.
const RESYNC_EVERY: Duration = Duration::from_millis(500);

/// How long other control planes' changes may go unnoticed.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// A compiled bundle in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBundle {
    pub digest: BundleDigest,
    pub bytes: Vec<u8>,
    /// Since when it is in force.
    pub created_at: Timestamp,
    /// Counts the changes of the set of policies.
    pub revision: u64,
    /// The Git commit its policies came from.
    pub commit: Option<String>,
}

impl PublishedBundle {
    /// `None` when the bytes are not those that were stored.
    fn of(stored: StoredBundle) -> Option<PublishedBundle> {
        let digest = BundleDigest::of(&stored.bytes);
        (digest.as_str() == stored.digest).then_some(PublishedBundle {
            digest,
            bytes: stored.bytes,
            created_at: stored.activated_at,
            revision: stored.revision.0,
            commit: stored.commit,
        })
    }
}

/// The name of a policy, as it stands in paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyName(String);

impl PolicyName {
    /// Letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
    pub fn parse(text: &str) -> Option<PolicyName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let begins_well = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        (begins_well && text.len() <= 128 && text.bytes().all(allowed))
            .then(|| PolicyName(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the caller believes to be stored now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expected {
    #[default]
    Anything,
    Nothing,
    AnyRevision,
    Revision(u64),
}

impl Expected {
    fn fits(self, revision: Option<u64>) -> bool {
        match self {
            Expected::Anything => true,
            Expected::Nothing => revision.is_none(),
            Expected::AnyRevision => revision.is_some(),
            Expected::Revision(expected) => revision == Some(expected),
        }
    }
}

/// A policy that is in force.
#[derive(Debug, Clone)]
pub struct Put {
    /// There was no active policy of this name before.
    pub created: bool,
    pub policy: PolicyRevision,
    /// Warnings: the policy works, perhaps not as meant.
    pub diagnostics: Vec<Diagnostic>,
    pub bundle: Arc<PublishedBundle>,
}

/// Why a policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the policy has errors")]
    Invalid { diagnostics: Vec<Diagnostic> },
    #[error("the policy is named `{document}`, not `{name}`")]
    NameMismatch { name: PolicyName, document: String },
    #[error("there is no policy `{0}`")]
    UnknownPolicy(PolicyName),
    #[error("there is no revision {revision} of the policy `{name}`")]
    UnknownRevision { name: PolicyName, revision: u64 },
    #[error("revision {revision} deleted the policy `{name}`: it has no text to go back to")]
    RevisionDeleted { name: PolicyName, revision: u64 },
    #[error("{}", .0.why_the_api_may_not())]
    ManagedElsewhere(SourceKind),
    /// The stored revision is another one than the caller expected.
    #[error("the stored policy is not the one that was expected")]
    Unexpected { revision: Option<u64> },
    #[error("the policies do not fit into one bundle: {0}")]
    DoesNotCompile(CompileError),
    /// Stored by a version of this program that understood it.
    #[error("the stored policy `{name}` is not valid for this version")]
    StoredPolicyInvalid { name: String },
    #[error("others kept changing the policies")]
    Raced,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that did the work ended before its time.
    #[error("publishing was interrupted")]
    Interrupted,
}

/// Announces the bundle in force, and lets one change of it happen at a time.
#[derive(Debug)]
pub struct Publisher {
    current: watch::Sender<Option<Arc<PublishedBundle>>>,
    turn: Mutex<()>,
}

impl Default for Publisher {
    fn default() -> Publisher {
        Publisher {
            current: watch::Sender::new(None),
            turn: Mutex::new(()),
        }
    }
}

impl Publisher {
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<PublishedBundle>>> {
        self.current.subscribe()
    }
}

/// What is right and wrong with a policy's text.
pub async fn validate(source: String) -> Result<Checked, PublishError> {
    in_background(move || jupiter_policy::check(&source)).await
}

/// Makes `source` the active revision of the policy `name`.
pub async fn put_policy(
    app: &App,
    author: &Principal,
    name: &PolicyName,
    source: String,
    expected: Expected,
) -> Result<Put, PublishError> {
    by_api(app)?;
    let (task_app, author, name) = (app.clone(), author.name.clone(), name.clone());
    // A task of its own: a caller who goes away must not leave a stored bundle
    // unannounced.
    let result = tokio::spawn(async move {
        let _turn = task_app.publisher.turn.lock().await;
        put_in_turn(&task_app, author, &name, source, expected).await
    })
    .await
    .unwrap_or(Err(PublishError::Interrupted));
    count(app, "put", &result);
    result
}

/// Puts the text of an earlier revision in force again, as a new revision. It
/// may have been deleted meanwhile; it must still be valid for this version.
pub async fn rollback_policy(
    app: &App,
    author: &Principal,
    name: &PolicyName,
    revision: u64,
    expected: Expected,
) -> Result<Put, PublishError> {
    by_api(app)?;
    let (task_app, author, name) = (app.clone(), author.name.clone(), name.clone());
    let result = tokio::spawn(async move {
        let _turn = task_app.publisher.turn.lock().await;
        let source = past_text(&task_app, &name, revision).await?;
        put_in_turn(&task_app, author, &name, source, expected).await
    })
    .await
    .unwrap_or(Err(PublishError::Interrupted));
    count(app, "rollback", &result);
    result
}

/// Takes the policy `name` out of force.
pub async fn delete_policy(
    app: &App,
    author: &Principal,
    name: &PolicyName,
    expected: Expected,
) -> Result<(), PublishError> {
    by_api(app)?;
    let (task_app, author, name) = (app.clone(), author.name.clone(), name.clone());
    let result = tokio::spawn(async move {
        let _turn = task_app.publisher.turn.lock().await;
        delete_in_turn(&task_app, author, &name, expected).await
    })
    .await
    .unwrap_or(Err(PublishError::Interrupted));
    count(app, "delete", &result);
    result
}

/// Authors may change what no source replaces at its next look.
fn by_api(app: &App) -> Result<(), PublishError> {
    match app.source.kind() {
        SourceKind::Api => Ok(()),
        kind @ (SourceKind::Dir | SourceKind::Git) => Err(PublishError::ManagedElsewhere(kind)),
    }
}

async fn past_text(app: &App, name: &PolicyName, revision: u64) -> Result<String, PublishError> {
    let name = name.clone();
    match app.store.policy_revision(name.as_str(), revision).await? {
        Some(past) => past
            .source
            .ok_or(PublishError::RevisionDeleted { name, revision }),
        None => {
            let history = app.store.policy_history(name.as_str(), None, 1).await?;
            match history.revisions.is_empty() {
                true => Err(PublishError::UnknownPolicy(name)),
                false => Err(PublishError::UnknownRevision { name, revision }),
            }
        }
    }
}

async fn put_in_turn(
    app: &App,
    author: String,
    name: &PolicyName,
    source: String,
    expected: Expected,
) -> Result<Put, PublishError> {
    let (checked, source) = in_background(move || (jupiter_policy::check(&source), source)).await?;
    let diagnostics = checked.diagnostics;
    let Some(policy) = checked.policy else {
        return Err(PublishError::Invalid { diagnostics });
    };
    if policy.name() != name.as_str() {
        return Err(PublishError::NameMismatch {
            name: name.clone(),
            document: policy.name().to_owned(),
        });
    }
    for _ in 0..ATTEMPTS {
        let active = app.store.active_policies().await?;
        let current = active.policies.iter().find(|p| p.name == name.as_str());
        let revision = current.map(|p| p.revision);
        if !expected.fits(revision) {
            return Err(PublishError::Unexpected { revision });
        }
        if let Some(current) = current.filter(|p| p.source == source)
            && let Some(bundle) = app.bundles.borrow().clone()
        {
            // The same text again changes nothing, whoever repeats it.
            return Ok(Put {
                created: false,
                policy: current.clone(),
                diagnostics,
                bundle,
            });
        }
        let bundle = compile_with(&active, name, Some(policy.clone())).await?;
        let stored = app.store.put_policy(
            active.set,
            NewPolicy {
                name: name.to_string(),
                source: source.clone(),
                version: policy.version().to_owned(),
                description: policy.description().map(str::to_owned),
            },
            bundle,
            stamp(app, &author),
        );
        match stored.await {
            Ok((policy, stored)) => {
                let policies = active.policies.len() + usize::from(revision.is_none());
                let bundle = announce(app, stored, policies)?;
                tracing::info!(policy = %name, revision = policy.revision, author = policy.author,
                    bundle = %bundle.digest, "policy published");
                return Ok(Put {
                    created: revision.is_none(),
                    policy,
                    diagnostics,
                    bundle,
                });
            }
            Err(ChangeError::Stale) => {}
            Err(ChangeError::Failed(error)) => return Err(unknown_outcome(app, error).into()),
        }
    }
    Err(PublishError::Raced)
}

async fn delete_in_turn(
    app: &App,
    author: String,
    name: &PolicyName,
    expected: Expected,
) -> Result<(), PublishError> {
    for _ in 0..ATTEMPTS {
        let active = app.store.active_policies().await?;
        let current = active.policies.iter().find(|p| p.name == name.as_str());
        let Some(current) = current else {
            return Err(PublishError::UnknownPolicy(name.clone()));
        };
        if !expected.fits(Some(current.revision)) {
            return Err(PublishError::Unexpected {
                revision: Some(current.revision),
            });
        }
        let bundle = match active.policies.len() {
            1 => None,
            _ => Some(compile_with(&active, name, None).await?),
        };
        let stamp = stamp(app, &author);
        let deleted = app
            .store
            .delete_policy(active.set, name.as_str(), bundle, stamp)
            .await;
        match deleted {
            Ok(Some(stored)) => {
                let bundle = announce(app, stored, active.policies.len() - 1)?;
                tracing::info!(policy = %name, author, bundle = %bundle.digest, "policy deleted");
                return Ok(());
            }
            Ok(None) => {
                announce_none(app);
                tracing::warn!(policy = %name, author, "last policy deleted: everything is refused now");
                return Ok(());
            }
            Err(ChangeError::Stale) => {}
            Err(ChangeError::Failed(error)) => return Err(unknown_outcome(app, error).into()),
        }
    }
    Err(PublishError::Raced)
}

/// Announces what the store has in force. At start, and after a change whose
/// outcome is not known. A bundle of an older format is compiled anew.
pub async fn restore(app: &App) -> Result<(), PublishError> {
    let _turn = app.publisher.turn.lock().await;
    for _ in 0..ATTEMPTS {
        let active = app.store.active_policies().await?;
        let Some(stored) = app.store.current_bundle().await? else {
            announce_none(app);
            return Ok(());
        };
        if jupiter_policy::Bundle::load(&stored.bytes).is_ok() && stored.revision == active.set {
            announce(app, stored, active.policies.len())?;
            return Ok(());
        }
        if stored.revision != active.set {
            continue;
        }
        let policies = active.policies.len();
        let bundle = compile(stored_policies(&active, None)?).await?;
        let stamp = Stamp {
            commit: stored.commit,
            ..stamp(app, &Principal::system().name)
        };
        match app.store.replace_bundle(active.set, bundle, stamp).await {
            Ok(stored) => {
                announce(app, stored, policies)?;
                return Ok(());
            }
            Err(ChangeError::Stale) => {}
            Err(ChangeError::Failed(error)) => return Err(error.into()),
        }
    }
    Err(PublishError::Raced)
}

/// Announces what other control planes on the same store publish, until the
/// store is closed. `app` has announced what was in force at its start.
pub fn follow_others(app: &App) {
    let app = app.clone();
    tokio::spawn(async move {
        let mut seen = None;
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            match follow_once(&app, seen).await {
                Ok(set) => seen = Some(set),
                Err(PublishError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "not known whether other policies are in force")
                }
            }
        }
    });
}

/// The last change of the set, announced if it is another than was `seen`.
async fn follow_once(app: &App, seen: Option<SetRevision>) -> Result<SetRevision, PublishError> {
    let set = app.store.policy_set().await?;
    let announced = app.bundles.borrow().as_ref().map(|bundle| bundle.revision);
    if seen != Some(set) && announced != Some(set.0) {
        restore(app).await?;
    }
    Ok(set)
}

/// The store failed amid a change: it may have happened. Says so to the caller
/// and finds out as soon as the store answers again.
fn unknown_outcome(app: &App, error: StoreError) -> StoreError {
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            match restore(&app).await {
                Err(PublishError::Store(StoreError::Closed)) | Ok(()) => return,
                Err(error) => tracing::warn!(error = %error, "bundle in force not known yet"),
            }
            tokio::time::sleep(RESYNC_EVERY).await;
        }
    });
    error
}

fn announce(
    app: &App,
    stored: StoredBundle,
    policies: usize,
) -> Result<Arc<PublishedBundle>, StoreError> {
    let bundle = PublishedBundle::of(stored).ok_or(StoreError::Corrupt(
        "a bundle whose bytes are not those of its digest",
    ))?;
    let bundle = Arc::new(bundle);
    app.metrics.policies.set(policies as i64);
    app.metrics.bundle.clear();
    let labels = BundleLabels {
        digest: bundle.digest.to_string(),
    };
    app.metrics.bundle.get_or_create(&labels).set(1);
    app.metrics
        .bundle_published_at
        .set(bundle.created_at.as_second());
    app.publisher
        .current
        .send_replace(Some(Arc::clone(&bundle)));
    Ok(bundle)
}

fn announce_none(app: &App) {
    app.metrics.policies.set(0);
    app.metrics.bundle.clear();
    app.metrics.bundle_published_at.set(0);
    app.publisher.current.send_replace(None);
}

/// What would be in force with these policies in the place of those of their names.
pub async fn candidate(app: &App, texts: Vec<String>) -> Result<Bundle, PublishError> {
    let active = app.store.active_policies().await?;
    in_background(move || {
        let mut policies = Vec::new();
        for text in &texts {
            let checked = jupiter_policy::check(text);
            let diagnostics = checked.diagnostics;
            let policy = checked
                .policy
                .ok_or(PublishError::Invalid { diagnostics })?;
            policies.push(policy);
        }
        for stored in &active.policies {
            if policies.iter().any(|policy| policy.name() == stored.name) {
                continue;
            }
            let name = || stored.name.clone();
            let policy = jupiter_policy::check(&stored.source).policy;
            policies
                .push(policy.ok_or_else(|| PublishError::StoredPolicyInvalid { name: name() })?);
        }
        let bundle = bundle_of(&policies).map_err(PublishError::DoesNotCompile)?;
        Bundle::load(&bundle.bytes)
            .map_err(|error| PublishError::DoesNotCompile(CompileError::Unloadable(error)))
    })
    .await?
}

/// All active policies but `name`, and `policy` in its place.
async fn compile_with(
    active: &ActivePolicies,
    name: &PolicyName,
    policy: Option<Policy>,
) -> Result<NewBundle, PublishError> {
    let mut policies = stored_policies(active, Some(name))?;
    policies.extend(policy.map(Source::Checked));
    compile(policies).await
}

/// A policy on its way into a bundle.
enum Source {
    Checked(Policy),
    Stored { name: String, text: String },
}

fn stored_policies(
    active: &ActivePolicies,
    without: Option<&PolicyName>,
) -> Result<Vec<Source>, PublishError> {
    let without = without.map(PolicyName::as_str);
    let others = active
        .policies
        .iter()
        .filter(|p| Some(p.name.as_str()) != without);
    let stored = others.map(|p| Source::Stored {
        name: p.name.clone(),
        text: p.source.clone(),
    });
    Ok(stored.collect())
}

async fn compile(sources: Vec<Source>) -> Result<NewBundle, PublishError> {
    in_background(move || {
        let policies = sources.into_iter().map(|source| match source {
            Source::Checked(policy) => Ok(policy),
            Source::Stored { name, text } => jupiter_policy::check(&text)
                .policy
                .ok_or(PublishError::StoredPolicyInvalid { name }),
        });
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        bundle_of(&policies).map_err(PublishError::DoesNotCompile)
    })
    .await?
}

fn bundle_of(policies: &[Policy]) -> Result<NewBundle, CompileError> {
    let bytes = jupiter_policy::compile(policies)?;
    Ok(NewBundle {
        digest: BundleDigest::of(&bytes).to_string(),
        bytes,
    })
}

/// Checking and compiling take milliseconds to a second: not on a thread that
/// answers requests.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PublishError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PublishError::Interrupted)
}

fn stamp(app: &App, author: &str) -> Stamp {
    Stamp {
        author: author.to_owned(),
        at: app.clock.now(),
        commit: None,
    }
}

fn count<T>(app: &App, operation: &'static str, result: &Result<T, PublishError>) {
    let result = match result {
        Ok(_) => "published",
        Err(PublishError::Invalid { .. } | PublishError::NameMismatch { .. }) => "invalid",
        Err(PublishError::DoesNotCompile(_)) => "invalid",
        Err(PublishError::UnknownPolicy(_) | PublishError::Unexpected { .. }) => "refused",
        Err(PublishError::UnknownRevision { .. } | PublishError::RevisionDeleted { .. }) => {
            "refused"
        }
        Err(PublishError::ManagedElsewhere(_)) => "refused",
        Err(PublishError::StoredPolicyInvalid { .. } | PublishError::Raced) => "failed",
        Err(PublishError::Store(_) | PublishError::Interrupted) => "failed",
    };
    let labels = PublishLabels { operation, result };
    app.metrics.publishes.get_or_create(&labels).inc();
}

#[cfg(test)]
mod tests;
