//! Candidate policies over stored evidence: which decisions would differ.
//!
//! Records keep few facts and no text. What those do not decide is told as
//! untold, by rule and missing fields, and never guessed
//! ([`jupiter_policy::replay`]). Only requests that policies decided are
//! replayed: what was refused before or passed unread is counted apart. One
//! call reads a bounded number of records and says where to go on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jupiter_evidence::{DecisionKind, EvidenceRecord};
use jupiter_policy::facts::{ContextFacts, Facts, RequestFacts};
use jupiter_policy::{Bundle, Kept, MatchedRule, Replayed, Verdict};
use uuid::Uuid;

use crate::app::App;
use crate::publish::{self, PublishError};
use crate::store::{EvidenceFilter, StoreError};

/// Records of one reading of the store.
const PAGE: u32 = 500;

/// Ids told for each difference.
const EXAMPLES: usize = 3;

/// Longest text that records take over whole (`filter/src/record.rs`).
const CLIPPED_AT: usize = 256;

#[derive(Debug)]
pub struct Request {
    /// Texts of policies; those in force with other names are evaluated beside them.
    pub policies: Vec<String>,
    pub filter: EvidenceFilter,
    /// What `context.environment` was; records do not say.
    pub environment: Option<String>,
    pub before: Option<Uuid>,
    pub limit: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub records: u64,
    pub same: u64,
    /// Records of requests that no policy decided.
    pub not_judged: u64,
    pub differing: BTreeMap<Change, Differing>,
    /// Rule (`policy/rule`) and the fields it needed, and how many exchanges that concerns.
    pub untold: BTreeMap<(String, Vec<String>), u64>,
    /// Where to go on; `None` at the end.
    pub next: Option<Uuid>,
}

/// From one decision to the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub was: &'static str,
    pub would_be: &'static str,
    /// `policy/rule`: the one that would refuse, or that did.
    pub rule: Option<String>,
}

#[derive(Debug, Default)]
pub struct Differing {
    pub exchanges: u64,
    /// Exchanges of each subject; the empty name: not known.
    pub subjects: BTreeMap<String, u64>,
    pub examples: Vec<Uuid>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Policies(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a stored record cannot be read")]
    Unreadable,
}

pub async fn replay(app: &App, request: Request) -> Result<Report, ReplayError> {
    let bundle = publish::candidate(app, request.policies).await?;
    let mut report = Report {
        next: request.before,
        ..Report::default()
    };
    let mut left = request.limit;
    loop {
        let page = app
            .store
            .query_evidence(&request.filter, report.next, left.min(PAGE))
            .await?;
        left = left.saturating_sub(PAGE);
        report.next = page.next;
        for (text, subject) in page.records.iter().zip(&page.subjects) {
            let record = serde_json::from_str(text).map_err(|_| ReplayError::Unreadable)?;
            let environment = request.environment.as_deref();
            report.add(&bundle, &record, subject.name(), environment);
        }
        if report.next.is_none() || left == 0 {
            return Ok(report);
        }
    }
}

impl Report {
    fn add(
        &mut self,
        bundle: &Bundle,
        record: &EvidenceRecord,
        subject: Option<&str>,
        environment: Option<&str>,
    ) {
        self.records += 1;
        let Some(was) = decided(record) else {
            self.not_judged += 1;
            return;
        };
        let (facts, kept) = kept_facts(record, subject, environment);
        let (verdict, by) = match jupiter_policy::replay(bundle, &facts, kept) {
            Replayed::Decided { verdict, by } => (verdict, by),
            Replayed::Untold {
                policy,
                rule,
                fields,
            } => {
                let key = (format!("{policy}/{rule}"), fields);
                *self.untold.entry(key).or_default() += 1;
                return;
            }
        };
        if verdict == was {
            self.same += 1;
            return;
        }
        let rule = match verdict {
            Verdict::Deny => by.map(|MatchedRule { policy, rule, .. }| format!("{policy}/{rule}")),
            Verdict::Allow => denying(record),
        };
        let change = Change {
            was: word(was),
            would_be: word(verdict),
            rule,
        };
        let differing = self.differing.entry(change).or_default();
        differing.exchanges += 1;
        let subject = subject.unwrap_or_default();
        *differing.subjects.entry(subject.to_owned()).or_default() += 1;
        if differing.examples.len() < EXAMPLES {
            differing.examples.push(record.id);
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

fn denying(record: &EvidenceRecord) -> Option<String> {
    let mut denying = record.matched_rules.iter().filter(|m| m.effect == "deny");
    denying.next().map(|m| format!("{}/{}", m.policy, m.rule))
}

/// What policies said of the request; `None` where they were not asked. A refused answer
/// belongs to a request that was allowed.
fn decided(record: &EvidenceRecord) -> Option<Verdict> {
    record.operation.as_ref()?;
    let answered = record.response_rules.iter().any(|m| m.effect == "deny");
    match record.decision {
        DecisionKind::Error => None,
        DecisionKind::Allow => Some(Verdict::Allow),
        DecisionKind::Deny if denying(record).is_some() => Some(Verdict::Deny),
        DecisionKind::Deny => answered.then_some(Verdict::Allow),
    }
}

fn kept_facts(
    record: &EvidenceRecord,
    subject: Option<&str>,
    environment: Option<&str>,
) -> (Facts, Kept) {
    let model = record.request_model.as_deref();
    // A digest of a key stands for its subject in policies, with its prefix.
    let user_id = subject.map(|subject| match subject.split_once(':') {
        Some(("jwt" | "header", name)) => name.to_owned(),
        _ => subject.to_owned(),
    });
    let whole = |text: &str| text.chars().count() < CLIPPED_AT;
    let kept = Kept {
        model: model.is_none_or(whole),
        user_id: user_id.as_deref().is_none_or(whole),
        environment: environment.is_some(),
    };
    let time: Option<Timestamp> = record.time.parse().ok();
    let time_unix_us = time.and_then(|time| u64::try_from(time.as_microsecond()).ok());
    let facts = Facts {
        request: RequestFacts {
            model: model.map(str::to_owned),
            ..RequestFacts::default()
        },
        context: ContextFacts {
            environment: environment.map(str::to_owned),
            user_id,
            time_unix_us: time_unix_us.unwrap_or_default(),
            ..ContextFacts::default()
        },
        ..Facts::default()
    };
    (facts, kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::samples::{SampleEmitter, batch};
    use crate::testing::TestApp;

    fn policy(value: &str, more: &str) -> String {
        format!(
            "mpl_version: \"1.0\"\nname: models\nversion: 1.0.0\nrules:\n  - name: refused\n    \
             conditions:\n      - {{field: request.model, operator: in, value: [{value}]}}\n{more}    \
             actions: [{{type: deny, message: no}}]\n"
        )
    }

    async fn replayed(test: &TestApp, text: String, limit: u32) -> Report {
        let request = Request {
            policies: vec![text],
            filter: EvidenceFilter::default(),
            environment: None,
            before: None,
            limit,
        };
        replay(&test.app, request).await.unwrap()
    }

    /// Ten allowed requests in turn of two models and subjects, one refused, one unread.
    async fn recorded() -> TestApp {
        let test = TestApp::start().await;
        let mut emitter = SampleEmitter::new(1);
        let mut records = Vec::new();
        for number in 0..10 {
            let subject = format!("jwt:user-{}", number % 2);
            records.push(emitter.next_of(Some(&subject), |record| {
                record.operation = Some("chat".to_owned());
                record.decision = DecisionKind::Allow;
                record.matched_rules.clear();
                record.request_model = Some(format!("model-{}", number % 2));
            }));
        }
        records.push(emitter.next(|record| {
            record.operation = Some("chat".to_owned());
            record.decision = DecisionKind::Deny;
            record.request_model = Some("model-2".to_owned());
            record.matched_rules = vec![jupiter_evidence::MatchedRule {
                policy: "models".to_owned(),
                rule: "old".to_owned(),
                effect: "deny".to_owned(),
            }];
        }));
        records.push(emitter.next(|record| {
            record.decision = DecisionKind::Error;
            record.matched_rules.clear();
        }));
        test.app
            .store
            .append_evidence(batch(records))
            .await
            .unwrap();
        test
    }

    #[tokio::test]
    async fn differences_are_told_by_rule_and_subject() {
        let test = recorded().await;
        let report = replayed(&test, policy("model-1", ""), 1_000).await;
        assert_eq!((report.records, report.same, report.not_judged), (12, 5, 1));
        assert_eq!((report.untold.len(), report.next), (0, None));
        let told: Vec<_> = report
            .differing
            .iter()
            .map(|(change, differing)| {
                let rule = change.rule.as_deref().unwrap_or("-");
                let subjects: Vec<_> = differing.subjects.iter().collect();
                format!(
                    "{} -> {} {rule}: {} of {subjects:?}",
                    change.was, change.would_be, differing.exchanges
                )
            })
            .collect();
        assert_eq!(
            told[0],
            "allow -> deny models/refused: 5 of [(\"jwt:user-1\", 5)]"
        );
        assert!(
            told[1].starts_with("deny -> allow models/old: 1 of"),
            "{told:?}"
        );
        assert_eq!(told.len(), 2);
    }

    #[tokio::test]
    async fn what_records_do_not_keep_is_said() {
        let test = recorded().await;
        let text = "      - {field: request.text, operator: contains, value: secret}\n";
        let report = replayed(&test, policy("model-1", text), 1_000).await;
        let needed = ("models/refused".to_owned(), vec!["request.text".to_owned()]);
        assert_eq!(report.untold, BTreeMap::from([(needed, 5)]));
        assert_eq!(report.same, 5);
    }

    #[tokio::test]
    async fn limit_ends_a_replay_where_the_next_goes_on() {
        let test = recorded().await;
        let first = replayed(&test, policy("model-1", ""), 7).await;
        assert_eq!(first.records, 7);
        assert!(first.next.is_some());
    }

    #[tokio::test]
    async fn invalid_candidate_is_refused_with_its_diagnostics() {
        let test = recorded().await;
        let request = Request {
            policies: vec!["name: [".to_owned()],
            filter: EvidenceFilter::default(),
            environment: None,
            before: None,
            limit: 1,
        };
        let refused = replay(&test.app, request).await;
        assert!(
            matches!(
                refused,
                Err(ReplayError::Policies(PublishError::Invalid { .. }))
            ),
            "{refused:?}"
        );
    }
}
