//! The past of policies: what was in force, and how texts differ.
//!
//! Reads only. Every revision is kept for ever, deletions among them; what
//! brings one back is [`crate::publish::rollback_policy`].

use similar::TextDiff;
use std::time::Duration;

use crate::app::App;
use crate::store::{PastRevision, StoreError};

/// Two long texts without a line in common could be compared for minutes; after
/// this the result is right, but not the shortest.
const DIFF_WITHIN: Duration = Duration::from_secs(1);

/// Why there is nothing to show of the past.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no policy `{0}`, and there never was")]
    UnknownPolicy(String),
    #[error("there is no revision {revision} of the policy `{name}`")]
    UnknownRevision { name: String, revision: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that did the work ended before its time.
    #[error("comparing was interrupted")]
    Interrupted,
}

/// How one revision of a policy became another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `None`: compared with the time before the first revision.
    pub from: Option<u64>,
    pub to: u64,
    /// Unified; empty when the texts are the same. A deletion has no lines.
    pub unified: String,
}

/// One revision of a policy, whether it is in force or not.
pub async fn revision(app: &App, name: &str, revision: u64) -> Result<PastRevision, HistoryError> {
    match app.store.policy_revision(name, revision).await? {
        Some(past) => Ok(past),
        None => {
            // Whether the policy or just the revision is unknown.
            latest(app, name).await?;
            let name = name.to_owned();
            Err(HistoryError::UnknownRevision { name, revision })
        }
    }
}

/// Compares two revisions. Without `to` it is the one in force, else the last;
/// without `from` the one before `to`.
pub async fn difference(
    app: &App,
    name: &str,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<Difference, HistoryError> {
    let to = match (to, app.store.policy(name).await?) {
        (Some(to), _) => to,
        (None, Some(active)) => active.revision,
        (None, None) => latest(app, name).await?,
    };
    let new = revision(app, name, to).await?;
    let from = from.or_else(|| to.checked_sub(1).filter(|before| *before > 0));
    let old = match from {
        Some(from) => revision(app, name, from).await?.source,
        None => None,
    };
    let headers = match from {
        Some(from) => (
            format!("{name} revision {from}"),
            format!("{name} revision {to}"),
        ),
        None => (format!("{name} before"), format!("{name} revision {to}")),
    };
    let (old, new) = (old.unwrap_or_default(), new.source.unwrap_or_default());
    let unified = tokio::task::spawn_blocking(move || unified(&old, &new, &headers)).await;
    Ok(Difference {
        from,
        to,
        unified: unified.map_err(|_| HistoryError::Interrupted)?,
    })
}

async fn latest(app: &App, name: &str) -> Result<u64, HistoryError> {
    let history = app.store.policy_history(name, None, 1).await?;
    let latest = history.revisions.first().map(|latest| latest.revision);
    latest.ok_or_else(|| HistoryError::UnknownPolicy(name.to_owned()))
}

fn unified(old: &str, new: &str, (from, to): &(String, String)) -> String {
    TextDiff::configure()
        .timeout(DIFF_WITHIN)
        .diff_lines(old, new)
        .unified_diff()
        .header(from, to)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn diff(old: &str, new: &str) -> String {
        unified(
            old,
            new,
            &("a revision 1".to_owned(), "a revision 2".to_owned()),
        )
    }

    #[test]
    fn difference_is_one_that_patch_understands() {
        let text = diff("one\ntwo\nthree\n", "one\n2\nthree");
        let expected = "--- a revision 1\n+++ a revision 2\n@@ -1,3 +1,3 @@\n \
                        one\n-two\n-three\n+2\n+three\n\\ No newline at end of file\n";
        assert_eq!(text, expected);
        assert_eq!(diff("same\n", "same\n"), "");
    }

    #[test]
    fn texts_without_a_common_line_are_compared_in_bounded_time() {
        let lines = |word: &str| {
            (0..50_000)
                .map(|n| format!("{word}{n}\n"))
                .collect::<String>()
        };
        let started = Instant::now();
        assert!(!diff(&lines("a"), &lines("b")).is_empty());
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
    }
}
