//! Whether every request that was answered has its record.

use crate::client::{Client, ClientError};
use crate::exit::Failure;
use jupiter_evidence::rfc3339_micros;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const PAGE: &str = "500";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Instances' clocks may be a little behind this one.
const CLOCKS: Duration = Duration::from_secs(60);

/// What became of the records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Records {
    /// Answers that named their record.
    pub expected: usize,
    pub not_found: usize,
    /// Places in emitters' sequences that no record takes.
    pub missing_before: u64,
    pub missing_after: u64,
    /// From the end of the load until nothing was missing; `None`: something is.
    pub complete_after_seconds: Option<f64>,
    /// Why it was not looked any further.
    pub error: Option<String>,
}

/// Records missing at the moment.
pub async fn missing(client: &Client) -> Result<u64, ClientError> {
    let gaps = client.get(&["v1", "evidence", "gaps"], &[]).await?;
    let count = |name| gaps.get(name).and_then(Value::as_u64).unwrap_or(0);
    Ok(count("missing_records") + count("unrecorded_exchanges"))
}

/// Looks until all are there, or the time is over. What fails meanwhile is tried
/// again: a database may still be on its way back.
pub async fn look(
    client: &Client,
    since: SystemTime,
    ids: &[Uuid],
    missing_before: u64,
    within: Duration,
) -> Records {
    let began = Instant::now();
    let mut left: HashSet<Uuid> = ids.iter().copied().collect();
    let mut records = Records {
        expected: left.len(),
        not_found: left.len(),
        missing_before,
        missing_after: missing_before,
        complete_after_seconds: None,
        error: None,
    };
    loop {
        let looked = strike(client, since, &mut left).await;
        let missing = match looked {
            Ok(()) => missing(client).await,
            Err(error) => Err(error),
        };
        records.not_found = left.len();
        match missing {
            Ok(missing) => {
                records.missing_after = missing;
                records.error = None;
                if left.is_empty() && missing <= missing_before {
                    let took = began.elapsed().as_secs_f64();
                    records.complete_after_seconds = Some((took * 10.0).round() / 10.0);
                    return records;
                }
            }
            Err(error) => records.error = Some(Failure::from(error).to_string()),
        }
        if began.elapsed() >= within {
            return records;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Strikes off those whose record is there.
async fn strike(
    client: &Client,
    since: SystemTime,
    left: &mut HashSet<Uuid>,
) -> Result<(), ClientError> {
    let since = since.checked_sub(CLOCKS).unwrap_or(since);
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = rfc3339_micros(u64::try_from(since.as_micros()).unwrap_or(0));
    let mut cursor: Option<String> = None;
    while !left.is_empty() {
        let mut parameters = vec![("since", since.clone()), ("limit", PAGE.to_owned())];
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page = client.get(&["v1", "evidence"], &parameters).await?;
        let records = page.get("records").and_then(Value::as_array);
        for record in records.into_iter().flatten() {
            let id = record.get("id").and_then(Value::as_str);
            if let Some(id) = id.and_then(|id| id.parse().ok()) {
                left.remove(&id);
            }
        }
        cursor = page
            .get("next_cursor")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}
