//! What became of a policy, and going back.

use super::{accepted, field};
use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde_json::{Value, json};

pub(super) async fn history(
    client: &Client,
    name: &str,
    limit: usize,
    format: Format,
) -> Result<Answer, Failure> {
    let revisions = revisions(client, name, limit).await?;
    if format == Format::Json {
        output::print_json(&json!({"revisions": revisions}));
        return Ok(Answer::Yes);
    }
    let mut table = Table::new(&[
        Column::right("revision"),
        Column::left("version"),
        Column::left("when"),
        Column::left("by").may_cut(),
        Column::left("commit"),
        Column::left("description").may_cut(),
    ]);
    for revision in &revisions {
        let of = |name| field(revision, name);
        let description = match revision.get("deleted") {
            Some(Value::Bool(true)) => "(deleted)".to_owned(),
            _ => of("description"),
        };
        table.row([
            of("revision"),
            of("version"),
            output::when(&of("created_at")),
            of("author"),
            // As Git itself abbreviates it.
            of("commit").chars().take(10).collect(),
            description,
        ]);
    }
    output::print(&table.for_stdout(0));
    Ok(Answer::Yes)
}

/// Page after page, until there are enough.
async fn revisions(client: &Client, name: &str, limit: usize) -> Result<Vec<Value>, Failure> {
    let path = ["v1", "policies", name, "revisions"];
    let mut revisions = Vec::new();
    let mut cursor: Option<String> = None;
    while revisions.len() < limit {
        let wanted = (limit - revisions.len()).min(500);
        let mut query = vec![("limit", wanted.to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = client.get(&path, &query).await?;
        let listed = page.get("revisions").and_then(Value::as_array);
        revisions.extend_from_slice(listed.map(Vec::as_slice).unwrap_or_default());
        cursor = match page.get("next_cursor") {
            Some(Value::String(next)) => Some(next.clone()),
            _ => break,
        };
    }
    Ok(revisions)
}

pub(super) async fn rollback(
    client: &Client,
    name: &str,
    to: u64,
    format: Format,
) -> Result<Answer, Failure> {
    let path = ["v1", "policies", name, "rollback"];
    let answered = client.post(&path, &json!({"revision": to})).await;
    let put = accepted(answered, format)?;
    match format {
        Format::Json => output::print_json(&put),
        Format::Text => output::print(&format!(
            "policy `{name}` has the text of revision {to} again, as revision {}; the bundle is now {}",
            field(&put, "revision"),
            output::plain(&field(&put, "bundle_digest"))
        )),
    }
    Ok(Answer::Yes)
}

pub(super) async fn diff(
    client: &Client,
    name: &str,
    from: Option<u64>,
    to: Option<u64>,
    format: Format,
) -> Result<Answer, Failure> {
    let number = |name, value: Option<u64>| value.map(|value| (name, value.to_string()));
    let query: Vec<_> = number("from", from)
        .into_iter()
        .chain(number("to", to))
        .collect();
    let path = ["v1", "policies", name, "diff"];
    let difference = client.get(&path, &query).await?;
    if format == Format::Json {
        output::print_json(&difference);
        return Ok(Answer::Yes);
    }
    match field(&difference, "diff") {
        same if same.is_empty() => output::say("the texts are the same"),
        // Tabs and line breaks are the text's own; what could steer a terminal is not shown.
        diff => {
            for line in diff.lines() {
                let parts: Vec<String> = line.split('\t').map(output::plain).collect();
                output::print(&parts.join("\t"));
            }
        }
    }
    Ok(Answer::Yes)
}
