//! `mercator evidence gaps`: what is missing, and why.

use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub struct GapsArgs {
    /// At most so many of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

/// No: something is missing. What was recovered or has not ended yet is told, and is no gap.
pub async fn run(client: &Client, args: &GapsArgs, format: Format) -> Result<Answer, Failure> {
    let limit = [("limit", args.limit.to_string())];
    let gaps = client.get(&["v1", "evidence", "gaps"], &limit).await?;
    match format {
        Format::Json => output::print_json(&gaps),
        Format::Text => show(&gaps),
    }
    let gaps_of = [
        "missing_records",
        "unrecorded_exchanges",
        "envoy_ends_total",
    ];
    let complete = gaps_of.iter().all(|kind| count(&gaps, kind) == 0);
    Ok(if complete { Answer::Yes } else { Answer::No })
}

fn count(gaps: &Value, key: &str) -> u64 {
    gaps.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn show(gaps: &Value) {
    let mut table = Table::new(&[
        Column::left("cause"),
        Column::left("time"),
        Column::left("what").may_cut(),
        Column::left("where"),
    ]);
    for kind in [
        "missing",
        "unrecorded",
        "envoy_ends",
        "recovered",
        "unfinished",
    ] {
        let items = gaps.get(kind).and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            table.row(row(kind, item));
        }
    }
    let missing = count(gaps, "missing_records");
    let unrecorded = count(gaps, "unrecorded_exchanges");
    let recovered = count(gaps, "recovered_records");
    let unfinished = count(gaps, "unfinished_records");
    let ends = count(gaps, "envoy_ends_total");
    if missing + unrecorded + recovered + unfinished + ends > 0 {
        output::print(&table.for_stdout(0));
    }
    output::say(&format!(
        "{missing} records missing, {unrecorded} exchanges unrecorded, {ends} times envoy ended, \
         {recovered} records recovered from the access log, {unfinished} without an end"
    ));
}

fn row(kind: &str, item: &Value) -> [String; 4] {
    let text = |key| item.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key| item.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (time, what, place) = match kind {
        "missing" => {
            let (first, last) = (number("first_seq"), number("last_seq"));
            let what = match first == last {
                true => format!("number {first}"),
                false => format!("numbers {first} to {last}"),
            };
            let epoch: String = text("epoch").chars().take(8).collect();
            (
                text("last_received_at"),
                what,
                format!("{} {epoch}", text("emitter")),
            )
        }
        "unrecorded" => {
            let id = item
                .get("request_id")
                .and_then(Value::as_str)
                .unwrap_or("-");
            let what = format!(
                "{} {}, request {id}",
                number("status_code"),
                text("details")
            );
            (text("found_at"), what, text("instance").to_owned())
        }
        "envoy_ends" => (
            text("until"),
            format!("{}, since {}", text("how"), output::when(text("since"))),
            text("instance").to_owned(),
        ),
        _ => (
            text("received_at"),
            text("id").to_owned(),
            "stored".to_owned(),
        ),
    };
    [text("cause").to_owned(), output::when(time), what, place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_name_what_is_missing_and_where() {
        let missing = json!({
            "cause": "not_delivered", "emitter": "jupiter-1", "epoch": "0123456789abcdef",
            "first_seq": 3, "last_seq": 5, "last_received_at": "2026-11-23T17:09:05.123456Z",
        });
        assert_eq!(
            row("missing", &missing),
            [
                "not_delivered",
                "2026-11-23 17:09:05",
                "numbers 3 to 5",
                "jupiter-1 01234567"
            ]
        );
        let unrecorded = json!({
            "cause": "not_recorded", "found_at": "2026-11-23T17:09:05Z", "instance": "jupiter-1",
            "request_id": null, "status_code": 503, "details": "wasm_fail_stream",
        });
        assert_eq!(
            row("unrecorded", &unrecorded)[2],
            "503 wasm_fail_stream, request -"
        );
    }
}
