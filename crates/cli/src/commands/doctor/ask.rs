//! What the installation tells of itself.
//!
//! Every answer stands alone: that one is missing, and why, is a fact too.

use super::haproxy::{self, Server};
use crate::client::{self, Client, ClientError, Token};
use crate::exit::{Failure, with_causes};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ASK_WITHIN: Duration = Duration::from_secs(10);
/// Records that are looked at, the newest.
const RECORDS: &str = "500";

/// An answer, or in one line why there is none.
pub type Told<T> = Result<T, String>;

#[derive(Debug, Clone)]
pub struct Facts {
    pub now_us: u64,
    pub instances: Vec<InstanceFacts>,
    /// `None`: nobody said where it is.
    pub haproxy: Option<Told<Vec<Server>>>,
    /// Reports of drills; `None`: nobody said where they are.
    pub drills: Option<Told<Vec<Drill>>>,
    /// Of the database, which all share: as the first that answers tells it.
    pub evidence: EvidenceFacts,
}

/// What one control plane tells.
#[derive(Debug, Clone)]
pub struct InstanceFacts {
    pub url: String,
    /// TLS, or it never leaves this machine.
    pub private: bool,
    pub health: Told<Value>,
    pub version: Told<String>,
    /// Digest of the bundle in force; none without a policy.
    pub digest: Told<Option<String>>,
    pub source: Told<Value>,
    /// Its clock less ours, in seconds, as well as a header of whole seconds tells.
    pub clock_ahead: Told<i64>,
}

#[derive(Debug, Clone)]
pub struct EvidenceFacts {
    pub gaps: Told<Value>,
    pub emitters: Told<Vec<Value>>,
    /// The newest records, and where each stands in the log.
    pub records: Told<Vec<(Value, bool)>>,
}

/// What the report of a drill says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Drill {
    pub drill: String,
    pub started_at: String,
    pub held: bool,
    /// Of `mercator drill local`: it says nothing of an installation that is asked.
    #[serde(default)]
    pub local: bool,
}

pub async fn facts(
    targets: &[String],
    token: &Token,
    stats: Option<&Url>,
    reports: Option<&Path>,
) -> Result<Facts, Failure> {
    let mut instances = Vec::new();
    let mut evidence: Option<EvidenceFacts> = None;
    for target in targets {
        let client = Client::new(target, Some(token))?;
        instances.push(instance(target, &client).await);
        if evidence.as_ref().is_none_or(|known| known.gaps.is_err()) {
            evidence = Some(of_evidence(&client).await);
        }
    }
    let evidence = evidence.ok_or_else(|| Failure::new("there is no --target"))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Facts {
        now_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
        instances,
        haproxy: match stats {
            Some(url) => Some(servers(url).await),
            None => None,
        },
        drills: reports.map(drills),
        evidence,
    })
}

async fn instance(target: &str, client: &Client) -> InstanceFacts {
    let version = get(client, &["v1", "openapi.json"], &[]).await;
    let secure =
        Url::parse(target).is_ok_and(|url| url.scheme() == "https" || client::is_loopback(&url));
    InstanceFacts {
        url: target.to_owned(),
        private: secure,
        health: get(client, &["health", "deep"], &[]).await,
        version: version.and_then(|document| {
            let version = document.pointer("/info/version").and_then(Value::as_str);
            version
                .map(str::to_owned)
                .ok_or_else(|| "it names no version".to_owned())
        }),
        digest: client.bundle_digest().await.map_err(|error| why(&error)),
        source: get(client, &["v1", "policies", "source"], &[]).await,
        clock_ahead: clock_ahead(client).await,
    }
}

async fn of_evidence(client: &Client) -> EvidenceFacts {
    let limit = [("limit", RECORDS.to_owned())];
    let page = get(client, &["v1", "evidence"], &limit).await;
    let emitters = get(client, &["v1", "emitters"], &[]).await;
    let list = |page: &Value, name: &str| {
        let list = page.get(name).and_then(Value::as_array);
        list.cloned()
            .ok_or_else(|| format!("there are no `{name}` in the answer"))
    };
    EvidenceFacts {
        gaps: get(client, &["v1", "evidence", "gaps"], &[]).await,
        emitters: emitters.and_then(|page| list(&page, "emitters")),
        records: page.and_then(|page| {
            let sealed = list(&page, "leaf_indexes")?;
            let sealed = sealed.iter().map(Value::is_u64);
            Ok(list(&page, "records")?.into_iter().zip(sealed).collect())
        }),
    }
}

/// What a path answers; of health, also when it is bad.
async fn get(client: &Client, path: &[&str], query: &[(&str, String)]) -> Told<Value> {
    match client.get(path, query).await {
        Ok(answer) => Ok(answer),
        Err(ClientError::Refused(problem)) if problem.document.get("checks").is_some() => {
            Ok(problem.document)
        }
        Err(error) => Err(why(&error)),
    }
}

fn why(error: &ClientError) -> String {
    match error {
        ClientError::Refused(problem) => {
            format!("refused with {} {}", problem.status, problem.title)
        }
        // The last cause is the one that matters: `Connection refused`.
        ClientError::Unreachable { cause, .. } => {
            cause.rsplit(": ").next().unwrap_or_default().to_owned()
        }
        ClientError::Unreadable { cause, .. } => cause.clone(),
        ClientError::TimedOut { .. } => "no answer in time".to_owned(),
        ClientError::BadServer { cause, .. } => cause.clone(),
        ClientError::NoToken { .. } | ClientError::BadToken => {
            "there is no usable token".to_owned()
        }
    }
}

async fn clock_ahead(client: &Client) -> Told<i64> {
    let date = client.date(&["livez"]).await.map_err(|error| why(&error))?;
    let date = date.ok_or_else(|| "its answers tell no time".to_owned())?;
    // The header names the second that has begun: on the average half of it is past.
    let theirs = date + Duration::from_millis(500);
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Ok(match theirs.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    })
}

async fn servers(url: &Url) -> Told<Vec<Server>> {
    let mut url = url.clone();
    if !url.path().ends_with(";csv") {
        let path = format!("{};csv", url.path());
        url.set_path(&path);
    }
    let mut builder = reqwest::Client::builder().timeout(ASK_WITHIN);
    if client::is_loopback(&url) {
        builder = builder.no_proxy();
    }
    let told = async {
        let answer = builder.build()?.get(url).send().await?;
        answer.error_for_status()?.text().await
    };
    let text = told
        .await
        .map_err(|e: reqwest::Error| with_causes(&e.without_url()))?;
    haproxy::read(&text).ok_or_else(|| "what answers is no statistics of HAProxy".to_owned())
}

/// The reports that `mercator drill` left in a folder, as JSON.
fn drills(folder: &Path) -> Told<Vec<Drill>> {
    let unreadable = |error: std::io::Error| format!("`{}`: {error}", folder.display());
    let mut drills = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("drill-") && name.ends_with(".json") {
            let text = std::fs::read(entry.path()).map_err(unreadable)?;
            let drill = serde_json::from_slice(&text).map_err(|e| format!("`{name}`: {e}"))?;
            drills.push(drill);
        }
    }
    Ok(drills)
}
