//! Whether every request that was answered has its record.
//!
//! A killed Envoy may take the record of its last answers along; from when to when, the
//! installation lists (`docs/adr/0007-witness-written-behind.md`). A record that is not there
//! after all waiting and falls into such a time is told apart from one that is lost.

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
    /// Of these: requests that may have been under way, or just over, when an Envoy ended, by
    /// the installation's own list. Looked for only where the drill kills an Envoy.
    pub listed: usize,
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

/// What is looked for, and for how long.
#[derive(Debug)]
pub struct Search<'a> {
    /// When the load began.
    pub since: SystemTime,
    pub ids: &'a [Uuid],
    pub missing_before: u64,
    pub within: Duration,
    /// The longest a request takes, where the drill kills an Envoy.
    pub killed: Option<Duration>,
}

/// Looks until all are there, or the time is over. What fails meanwhile is tried
/// again: a database may still be on its way back.
pub async fn look(client: &Client, search: &Search<'_>) -> Records {
    let began = Instant::now();
    let missing_before = search.missing_before;
    let mut left: HashSet<Uuid> = search.ids.iter().copied().collect();
    let mut records = Records {
        expected: left.len(),
        not_found: left.len(),
        listed: 0,
        missing_before,
        missing_after: missing_before,
        complete_after_seconds: None,
        error: None,
    };
    loop {
        let looked = strike(client, search.since, &mut left).await;
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
        if began.elapsed() >= search.within {
            if let Some(longest) = search.killed
                && !left.is_empty()
            {
                match listed(client, &left, longest).await {
                    Ok(listed) => records.listed = listed,
                    Err(error) => records.error = Some(Failure::from(error).to_string()),
                }
            }
            return records;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many of these requests may have been under way, or just over, when an Envoy ended. When
/// one began its id tells, by the clock of its instance, as the list does.
async fn listed(
    client: &Client,
    left: &HashSet<Uuid>,
    longest: Duration,
) -> Result<usize, ClientError> {
    let limit = ("limit", "1000".to_owned());
    let gaps = client.get(&["v1", "evidence", "gaps"], &[limit]).await?;
    let ends = gaps.get("envoy_ends").and_then(Value::as_array);
    Ok(of_ends(ends.map_or(&[], Vec::as_slice), left, longest))
}

fn of_ends(ends: &[Value], left: &HashSet<Uuid>, longest: Duration) -> usize {
    // Times are of one form, so that their order is that of their texts.
    let at_an_end = |began: &str, over: &str| {
        ends.iter().any(|end| {
            let time = |key| end.get(key).and_then(Value::as_str);
            let (since, until) = (time("since"), time("until"));
            since.is_some_and(|since| since <= over) && until.is_some_and(|until| began <= until)
        })
    };
    left.iter()
        .filter_map(Uuid::get_timestamp)
        .filter(|id| {
            let (seconds, nanos) = id.to_unix();
            let began = Duration::new(seconds, nanos);
            let text = |time: Duration| {
                rfc3339_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
            };
            at_an_end(&text(began), &text(began + longest))
        })
        .count()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Builder;

    #[test]
    fn what_was_under_way_when_an_envoy_ended_is_listed() {
        // 2026-11-22T17:09:05Z
        let at = |milliseconds: i64| {
            let since_1970 = 1_795_367_345_000_i64 + milliseconds;
            let since_1970 = u64::try_from(since_1970).unwrap();
            Builder::from_unix_timestamp_millis(since_1970, &[7; 10]).into_uuid()
        };
        let ends = [json!({
            "cause": "envoy_ended",
            "since": "2026-11-22T17:09:05.000000Z",
            "until": "2026-11-22T17:09:06.000000Z",
        })];
        let longest = Duration::from_secs(2);
        for (milliseconds, listed) in [(-2_001, 0), (-2_000, 1), (500, 1), (1_000, 1), (1_001, 0)] {
            let left = HashSet::from([at(milliseconds)]);
            assert_eq!(of_ends(&ends, &left, longest), listed, "{milliseconds}");
            assert_eq!(of_ends(&[], &left, longest), 0, "{milliseconds}");
        }
        // What is no id of ours has no time.
        assert_eq!(of_ends(&ends, &HashSet::from([Uuid::max()]), longest), 0);
    }
}
