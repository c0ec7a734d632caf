//! `mercator evidence`: what was decided, when, for whom and why.
//!
//! Looking at records is here; taking them away with their proofs is in
//! `export` and `proof`, seeing that the log only grows in `checkpoint`, what is
//! missing in `gaps`, what was let go in `retentions`, watching in `follow`, erasing in
//! `lifecycle`.

mod checkpoint;
mod export;
mod follow;
mod gaps;
mod lifecycle;
mod log;
mod proof;
mod retentions;
mod views;

pub use export::{progress, proof_path};

use crate::client::{Client, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, FormatArg, Table};
use jupiter_evidence::rfc3339_micros;
use reqwest::header::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The API's own limit of one page.
const PAGE: u64 = 500;

#[derive(Debug, clap::Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: EvidenceCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum EvidenceCommand {
    /// List records, the latest first
    Query(QueryArgs),
    /// Show one record in full
    Show {
        /// Its id: the `x-mercator-decision-id` of an answer
        id: String,
    },
    /// Write records to a file, with the proof that `mercator verify` needs
    Export(export::ExportArgs),
    /// Get the proof of one record, to be kept beside it
    Proof(proof::ProofArgs),
    /// Print the newest checkpoint, and see that the log contains the one of last time
    Checkpoint(checkpoint::CheckpointArgs),
    /// List what is missing, and why; exit code 1 where something is
    Gaps(gaps::GapsArgs),
    /// List what was archived and let go since it was old enough
    #[command(
        after_help = "Numbers are places in the log. How long which records are kept, \
                      `evidence.retention` of the configuration says. `mercator verify` proves \
                      the files of the archive, and tells what was let go from what is missing."
    )]
    Retentions,
    /// Erase whom records are of, for good
    Erase(lifecycle::EraseArgs),
    /// Legal holds: keep subjects from being erased
    Hold(lifecycle::HoldArgs),
}

/// Which records; all conditions hold together.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which records")]
pub struct Filters {
    /// Only from then on: a time (2026-11-23T17:00:00Z) or so long ago (30s, 15min, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Only before then: a time or so long ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
    /// Only of this subject, such as key:0123456789abcdef
    #[arg(long)]
    subject: Option<String>,
    /// Only calls of this model
    #[arg(long)]
    model: Option<String>,
    /// Only with this decision
    #[arg(long, value_parser = ["allow", "deny", "error"])]
    decision: Option<String>,
    /// Only where this rule matched
    #[arg(long)]
    rule: Option<String>,
}

#[derive(Debug, clap::Args)]
struct QueryArgs {
    /// At most so many records
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Go on where an earlier listing ended
    #[arg(long)]
    cursor: Option<String>,
    /// Show records as they come, until interrupted
    #[arg(long, short, conflicts_with_all = ["limit", "cursor", "until"])]
    follow: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Filters {
    fn is_empty(&self) -> bool {
        self.parameters().is_empty()
    }

    /// As the API takes them.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let filters = [
            ("since", &self.since),
            ("until", &self.until),
            ("subject", &self.subject),
            ("model", &self.model),
            ("decision", &self.decision),
            ("rule", &self.rule),
        ];
        let given = filters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        given.collect()
    }

    /// Every record that matches with its place in the log, and how many have none yet.
    async fn with_indexes(&self, client: &Client) -> Result<(Vec<Found>, u64), Failure> {
        let (mut found, mut waiting) = (Vec::new(), 0);
        let mut cursor: Option<String> = None;
        loop {
            let mut parameters = self.parameters();
            parameters.push(("limit", PAGE.to_string()));
            parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page = client.read_as(&["v1", "evidence"], &parameters).await?;
            let records = page.records.into_iter().zip(page.subjects);
            for (index, (record, subject)) in page.leaf_indexes.into_iter().zip(records) {
                match index {
                    Some(index) => found.push(Found {
                        index,
                        record,
                        subject,
                    }),
                    None => waiting += 1,
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok((found, waiting));
            }
        }
    }
}

/// A record with its place in the log.
struct Found {
    index: u64,
    record: Box<RawValue>,
    subject: Option<Subject>,
}

/// Whom a record is of: no part of the record itself.
#[derive(Debug, serde::Deserialize)]
struct Subject {
    name: Option<String>,
}

impl Subject {
    /// As it is shown and exported.
    fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or("(erased)")
    }
}

/// The records of a page, each with its subject beside its own fields.
fn with_subjects(page: &mut Value) -> Vec<Value> {
    let mut taken = |key| match page.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let (mut records, subjects) = (taken("records"), taken("subjects"));
    for (record, subject) in records.iter_mut().zip(subjects) {
        let subject: Option<Subject> = serde_json::from_value(subject).unwrap_or_default();
        if let (Value::Object(fields), Some(subject)) = (record, subject) {
            fields.insert("subject".to_owned(), subject.shown().into());
        }
    }
    records
}

/// A page of records, in their own bytes.
#[derive(serde::Deserialize)]
struct Page {
    records: Vec<Box<RawValue>>,
    subjects: Vec<Option<Subject>>,
    leaf_indexes: Vec<Option<u64>>,
    next_cursor: Option<String>,
}

pub async fn run(args: EvidenceArgs, format: FormatArg) -> Result<Answer, Failure> {
    let client = args.server.client()?;
    match args.command {
        EvidenceCommand::Query(query) if query.follow => {
            follow::run(&client, &query.filters, format.plain()?).await
        }
        EvidenceCommand::Query(query) => list(&client, &query, format.plain()?).await,
        EvidenceCommand::Show { id } => show(&client, &id, format.plain()?).await,
        EvidenceCommand::Export(args) => export::run(&client, args, format).await,
        EvidenceCommand::Proof(args) => proof::run(&client, &args).await,
        EvidenceCommand::Checkpoint(args) => checkpoint::run(&client, &args).await,
        EvidenceCommand::Gaps(args) => gaps::run(&client, &args, format.plain()?).await,
        EvidenceCommand::Retentions => retentions::run(&client, format.plain()?).await,
        EvidenceCommand::Erase(args) => lifecycle::erase(&client, &args, format.plain()?).await,
        EvidenceCommand::Hold(args) => lifecycle::hold(&client, &args, format.plain()?).await,
    }
}

async fn list(client: &Client, query: &QueryArgs, format: Format) -> Result<Answer, Failure> {
    let (records, next) = fetch(client, query).await?;
    match format {
        Format::Json => output::print_json(&json!({"records": records, "next_cursor": next})),
        Format::Text => show_list(&records, next.as_deref()),
    }
    Ok(Answer::Yes)
}

async fn show(client: &Client, id: &str, format: Format) -> Result<Answer, Failure> {
    let (record, arrival) = client.evidence(id).await?;
    match format {
        // Byte for byte: this is what the leaf hash is made of.
        Format::Json => output::print(&String::from_utf8_lossy(&record)),
        Format::Text => {
            let personal = client.get(&["v1", "evidence", id, "personal"], &[]).await?;
            output::print(&details(&record, &personal, &arrival));
        }
    }
    Ok(Answer::Yes)
}

/// As many pages as the limit asks for.
async fn fetch(
    client: &Client,
    query: &QueryArgs,
) -> Result<(Vec<Value>, Option<String>), Failure> {
    let filters = query.filters.parameters();
    let mut records = Vec::new();
    let mut cursor = query.cursor.clone();
    loop {
        let missing = query.limit.saturating_sub(records.len() as u64);
        let mut parameters = filters.clone();
        parameters.push(("limit", missing.min(PAGE).to_string()));
        if let Some(cursor) = cursor.take() {
            parameters.push(("cursor", cursor));
        }
        let mut page = client.get(&["v1", "evidence"], &parameters).await?;
        records.extend(with_subjects(&mut page));
        cursor = text(&page, "/next_cursor").map(str::to_owned);
        if cursor.is_none() || records.len() as u64 >= query.limit {
            return Ok((records, cursor));
        }
    }
}

fn show_list(records: &[Value], next: Option<&str>) {
    if records.is_empty() {
        output::say("no record matches");
        return;
    }
    let mut table = Table::new(&[
        Column::left("time"),
        Column::left("decision"),
        Column::right("status"),
        Column::left("model").may_cut(),
        Column::left("rule").may_cut(),
        Column::left("subject"),
        Column::right("tokens"),
        Column::left("id"),
    ]);
    for record in records {
        table.row(row(record));
    }
    output::print(&table.for_stdout(0));
    if let Some(cursor) = next {
        output::say(&format!(
            "more: add `--cursor {cursor}`, or raise `--limit`"
        ));
    }
}

fn row(record: &Value) -> [String; 8] {
    let of = |pointer| text(record, pointer).unwrap_or_default().to_owned();
    let number = |pointer| record.pointer(pointer).and_then(Value::as_u64);
    let tokens = match (
        number("/gen_ai.usage.input_tokens"),
        number("/gen_ai.usage.output_tokens"),
    ) {
        (None, None) => String::new(),
        (input, output) => (input.unwrap_or(0) + output.unwrap_or(0)).to_string(),
    };
    [
        output::when(text(record, "/time").unwrap_or_default()),
        of("/decision"),
        number("/http.response.status_code").map_or(String::new(), |n| n.to_string()),
        of("/gen_ai.request.model"),
        deciding_rule(record).unwrap_or_else(|| of("/reason")),
        of("/subject"),
        tokens,
        of("/id"),
    ]
}

/// The rule that decided: the last that matched.
pub fn deciding_rule(record: &Value) -> Option<String> {
    let last = record.get("matched_rules")?.as_array()?.last()?;
    let policy = last.get("policy")?.as_str()?;
    let rule = last.get("rule")?.as_str()?;
    Some(format!("{policy}/{rule}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Every field of a record, one a line, nested ones by their path; below it
/// whom it is of, and what the control plane knows of its arrival.
fn details(record: &[u8], personal: &Value, arrival: &HeaderMap) -> String {
    let mut lines = Vec::new();
    let record: Value = serde_json::from_slice(record).unwrap_or_default();
    flatten("", &record, &mut lines);
    if text(personal, "/subject/name").is_some() || text(personal, "/salt").is_none() {
        let subject = text(personal, "/subject/name").unwrap_or("erased");
        lines.push(("(subject)".to_owned(), subject.to_owned()));
    }
    if let Some(salt) = text(personal, "/salt") {
        lines.push(("(salt)".to_owned(), salt.to_owned()));
    }
    for name in [
        "leaf-hash",
        "leaf-index",
        "received-at",
        "source",
        "provisional",
    ] {
        let value = arrival.get(format!("x-mercator-{name}"));
        if let Some(value) = value.and_then(|v| v.to_str().ok()) {
            lines.push((format!("({name})"), value.to_owned()));
        }
    }
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    lines
        .iter()
        .map(|(key, value)| format!("{key:width$}  {}\n", output::plain(value)))
        .collect()
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&below(key), value, lines);
            }
        }
        Value::Array(items) if items.iter().all(|i| !i.is_object() && !i.is_array()) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            lines.push((path.to_owned(), items.join(", ")));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&below(&index.to_string()), item, lines);
            }
        }
        other => lines.push((path.to_owned(), scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time as the API takes it; "so long ago" is counted back from now.
pub fn moment(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let Ok(number) = digits.parse::<u64>() else {
        // The API judges times; it knows the calendar.
        return Ok(text.to_owned());
    };
    let seconds: u64 = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "m" => return Err("`m` could be minutes or months; write `min`".to_owned()),
        _ => return Err("write a time such as 2026-11-23T17:00:00Z, or 30s, 15min, 2h, 7d".into()),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
    let back = number.saturating_mul(seconds).saturating_mul(1_000_000);
    Ok(rfc3339_micros(now.saturating_sub(back)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Value {
        json!({
            "id": "0197", "time": "2026-11-23T17:09:05.123456Z", "decision": "deny",
            "http.response.status_code": 403, "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4,
            "emitter": {"seq": 7, "prev": ""},
            "matched_rules": [
                {"policy": "p", "rule": "seen", "effect": "log"},
                {"policy": "p", "rule": "no", "effect": "deny"},
            ],
        })
    }

    #[test]
    fn list_names_the_rule_that_decided() {
        assert_eq!(
            row(&record()),
            [
                "2026-11-23 17:09:05",
                "deny",
                "403",
                "gpt-4o",
                "p/no",
                "",
                "7",
                "0197"
            ]
        );
    }

    #[test]
    fn list_gives_the_reason_where_no_rule_decided() {
        let record = json!({"decision": "error", "reason": "no_policy_bundle"});
        assert_eq!(row(&record)[4], "no_policy_bundle");
    }

    #[test]
    fn details_show_every_field_by_its_path() {
        let mut arrival = HeaderMap::new();
        arrival.insert("x-mercator-source", "outbox".parse().unwrap());
        let personal = json!({"subject": {"name": "jwt:ada"}, "salt": "07"});
        let text = details(record().to_string().as_bytes(), &personal, &arrival);
        assert!(
            text.contains("(subject)                   jwt:ada\n"),
            "{text}"
        );
        let erased = json!({"subject": {"name": null, "erased": true}, "salt": null});
        let erased = details(record().to_string().as_bytes(), &erased, &arrival);
        assert!(
            erased.contains("(subject)                   erased\n"),
            "{erased}"
        );
        assert!(text.contains("emitter.seq                 7\n"), "{text}");
        assert!(text.contains("matched_rules.1.rule        no\n"), "{text}");
        assert!(text.contains("emitter.prev                -\n"), "{text}");
        assert!(
            text.contains("(source)                    outbox\n"),
            "{text}"
        );
    }

    #[test]
    fn so_long_ago_becomes_a_time() {
        assert!(moment("15min").unwrap().ends_with('Z'));
        assert_eq!(
            moment("2026-11-23T17:00:00Z").unwrap(),
            "2026-11-23T17:00:00Z"
        );
        assert!(moment("5m").unwrap_err().contains("min"));
        assert!(moment("5").is_err());
        // Longer ago than time itself is the beginning of time.
        assert_eq!(moment("99999999d").unwrap(), "1970-01-01T00:00:00.000000Z");
    }
}
