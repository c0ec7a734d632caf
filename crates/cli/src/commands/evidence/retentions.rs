//! `mercator evidence retentions`: what was let go, when, and which file has it.
//!
//! What the signed statements say is shown as it is told; proving them is what
//! `mercator verify` does.

use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use jupiter_evidence::retention::{LeavesGone, Retention};
use serde_json::Value;

pub async fn run(client: &Client, format: Format) -> Result<Answer, Failure> {
    let listed = client.get(&["v1", "evidence", "retentions"], &[]).await?;
    match format {
        Format::Json => output::print_json(&listed),
        Format::Text => show(&listed),
    }
    Ok(Answer::Yes)
}

fn show(listed: &Value) {
    let mut table = Table::new(&[
        Column::left("let go"),
        Column::right("records"),
        Column::left("numbers"),
        Column::left("archive"),
    ]);
    let mut all = 0;
    let retentions = listed.get("retentions").and_then(Value::as_array);
    for retention in retentions.into_iter().flatten() {
        all += records(retention);
        table.row(row(retention));
    }
    if !table.is_empty() {
        output::print(&table.for_stdout(0));
    }
    output::say(&output::counted(
        usize::try_from(all).unwrap_or(usize::MAX),
        "record is retained no more",
        "records are retained no more",
    ));
}

fn records(retention: &Value) -> u64 {
    let records = retention.get("records").and_then(Value::as_u64);
    records.unwrap_or(0)
}

fn row(retention: &Value) -> [String; 4] {
    let text = |key| {
        let text = retention.get(key).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    let statement = Retention::unverified(text("note"));
    [
        output::when(text("let_go_at")),
        records(retention).to_string(),
        statement.map_or_else(|| "unreadable".to_owned(), |it| numbers(&it.leaves)),
        output::plain(text("archive")),
    ]
}

/// From the first to the last of them. Runs are told apart by what was kept between them.
fn numbers(leaves: &[LeavesGone]) -> String {
    let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else {
        return "none".to_owned();
    };
    let apart = leaves.iter().zip(leaves.iter().skip(1));
    let apart = apart.filter(|(one, next)| one.first + one.count != next.first);
    let all = match (first.first, last.first + last.count - 1) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    };
    match apart.count() {
        0 => all,
        apart => format!("{all}, in {} parts", apart + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gone(first: u64, count: u64) -> LeavesGone {
        LeavesGone {
            count,
            first,
            sha256: String::new(),
        }
    }

    #[test]
    fn numbers_name_the_first_the_last_and_how_many_runs_there_are() {
        assert_eq!(numbers(&[gone(7, 1)]), "7");
        assert_eq!(numbers(&[gone(0, 4)]), "0 to 3");
        // A statement has a tile's leaves together; the next tile's follow them.
        assert_eq!(numbers(&[gone(0, 256), gone(256, 4)]), "0 to 259");
        assert_eq!(
            numbers(&[gone(0, 2), gone(3, 1), gone(9, 1)]),
            "0 to 9, in 3 parts"
        );
    }

    #[test]
    fn statement_that_cannot_be_read_is_told() {
        let retention = json!({
            "let_go_at": "2026-11-23T17:09:05.123456Z", "records": 4, "archive": "a.jsonl",
            "note": "no note",
        });
        assert_eq!(
            row(&retention),
            ["2026-11-23 17:09:05", "4", "unreadable", "a.jsonl"]
        );
    }
}
