//! Records as other programs want them. None of these can be verified.

use serde_json::{Value, json};

/// Columns of the table, and where their values are in a record.
const COLUMNS: [(&str, &str); 25] = [
    ("id", "/id"),
    ("time", "/time"),
    ("region", "/region"),
    ("decision", "/decision"),
    ("reason", "/reason"),
    ("outcome", "/outcome"),
    ("status_code", "/http.response.status_code"),
    ("subject", "/subject"),
    ("operation", "/gen_ai.operation.name"),
    ("provider", "/gen_ai.provider.name"),
    ("request_model", "/gen_ai.request.model"),
    ("response_model", "/gen_ai.response.model"),
    ("input_tokens", "/gen_ai.usage.input_tokens"),
    ("output_tokens", "/gen_ai.usage.output_tokens"),
    ("usage_estimated", "/usage_estimated"),
    ("cost_nano", "/cost_nano"),
    ("currency", "/currency"),
    ("request_inspection", "/request_inspection"),
    ("response_inspection", "/response_inspection"),
    ("method", "/http.request.method"),
    ("path", "/url.path"),
    ("duration_us", "/duration_us"),
    ("policy", "/policy/digest"),
    ("emitter", "/emitter/id"),
    ("trace_id", "/trace_id"),
];

pub fn csv_head() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    format!("index,{},matched_rules\r\n", names.join(","))
}

/// The record and, as another field, whom it is of.
fn with_subject(record: &[u8], subject: Option<&str>) -> Value {
    let mut record: Value = serde_json::from_slice(record).unwrap_or_default();
    if let (Value::Object(fields), Some(subject)) = (&mut record, subject) {
        fields.insert("subject".to_owned(), subject.into());
    }
    record
}

/// One row (RFC 4180), without its line feed.
pub fn csv(index: u64, record: &[u8], subject: Option<&str>) -> String {
    let record = with_subject(record, subject);
    let mut row = index.to_string();
    for (_, pointer) in COLUMNS {
        row.push(',');
        row.push_str(&cell(&match record.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                names.join(" ")
            }
            Some(other) => other.to_string(),
        }));
    }
    let rules = record.get("matched_rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().map(|matched| {
        let of = |key| matched.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("{}/{}", of("policy"), of("rule"))
    });
    row.push(',');
    row.push_str(&cell(&rules.collect::<Vec<_>>().join(" ")));
    row.push('\r');
    row
}

/// Models and paths are written by clients: what a spreadsheet would run as a
/// formula becomes text.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn of(record: &Value, pointer: &str) -> Value {
    record.pointer(pointer).cloned().unwrap_or(Value::Null)
}

/// CloudEvents 1.0, JSON format.
pub fn cloudevents(record: &[u8], subject: Option<&str>) -> String {
    let record = with_subject(record, subject);
    let text = |pointer| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let event = json!({
        "specversion": "1.0",
        "type": "mercator.evidence.v1",
        "source": format!("mercator/{}/{}", text("/region"), text("/emitter/id")),
        "id": of(&record, "/id"),
        "time": of(&record, "/time"),
        "subject": of(&record, "/subject"),
        "datacontenttype": "application/json",
        "data": record,
    });
    without_nulls(event).to_string()
}

/// Without members that nothing is known of.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name, without_nulls(member)))
            .collect(),
        other => other,
    }
}

/// OCSF 1.x, class API Activity (6003).
pub fn ocsf(record: &[u8], subject: Option<&str>) -> String {
    let record = with_subject(record, subject);
    let decision = record.get("decision").and_then(Value::as_str);
    let completed = record.get("outcome").and_then(Value::as_str) == Some("completed");
    let (disposition_id, disposition) = match decision {
        Some("allow") => (1, "Allowed"),
        Some("deny") => (2, "Blocked"),
        _ => (99, "Error"),
    };
    let status = if completed {
        (1, "Success")
    } else {
        (2, "Failure")
    };
    let event = json!({
        "category_uid": 6,
        "class_uid": 6003,
        "activity_id": 99,
        "activity_name": of(&record, "/gen_ai.operation.name"),
        "type_uid": 600_399,
        "severity_id": if decision == Some("allow") { 1 } else { 3 },
        "time": milliseconds(&record),
        "status_id": status.0,
        "status": status.1,
        "status_code": of(&record, "/http.response.status_code"),
        "status_detail": of(&record, "/reason"),
        "disposition_id": disposition_id,
        "disposition": disposition,
        "duration": record.get("duration_us").and_then(Value::as_u64).map(|us| us / 1_000),
        "metadata": {
            "uid": of(&record, "/id"),
            "version": "1.4.0",
            "product": {"name": "Mercator Jupiter", "vendor_name": "Mercator"},
            "correlation_uid": of(&record, "/trace_id"),
        },
        "actor": {"user": {"uid": of(&record, "/subject")}},
        "api": {
            "operation": of(&record, "/gen_ai.operation.name"),
            "service": {"name": of(&record, "/gen_ai.provider.name")},
            "request": {"uid": of(&record, "/request_id")},
            "response": {"code": of(&record, "/http.response.status_code")},
        },
        "http_request": {
            "http_method": of(&record, "/http.request.method"),
            "url": {"path": of(&record, "/url.path")},
        },
        "src_endpoint": {"name": of(&record, "/emitter/id")},
        "unmapped": record,
    });
    without_nulls(event).to_string()
}

/// From the id, which carries the time of the request.
fn milliseconds(record: &Value) -> Option<u64> {
    let id = record.get("id").and_then(Value::as_str)?;
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    u64::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        json!({
            "id": "0197f3a0-0000-7000-8000-000000000000", "time": "2026-11-23T17:09:05.123456Z",
            "region": "local", "decision": "deny", "outcome": "refused",
            "gen_ai.request.model": "=HYPERLINK(\"x\"),1", "duration_us": 4_321,
            "emitter": {"id": "jupiter-1"},
            "usage_estimated": ["input_tokens", "output_tokens"], "cost_nano": 12,
            "matched_rules": [{"policy": "p", "rule": "a"}, {"policy": "p", "rule": "b"}],
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn row_has_as_many_cells_as_the_head_and_runs_no_formula() {
        let row = csv(7, &record(), Some("key:01"));
        assert!(row.starts_with("7,0197f3a0-"), "{row}");
        assert!(row.contains(r#","'=HYPERLINK(""x""),1","#), "{row}");
        assert!(row.contains(",input_tokens output_tokens,12,"), "{row}");
        assert!(row.ends_with(",p/a p/b\r"), "{row}");
        let commas_in_quotes = 1;
        let cells = row.matches(',').count() - commas_in_quotes;
        assert_eq!(cells, csv_head().matches(',').count());
    }

    #[test]
    fn events_carry_the_record_and_its_id() {
        let event: Value = serde_json::from_str(&cloudevents(&record(), Some("key:01"))).unwrap();
        assert_eq!(event["subject"], "key:01");
        assert_eq!(event["source"], "mercator/local/jupiter-1");
        assert_eq!(event["data"]["decision"], "deny");
        assert!(!ocsf(&record(), None).contains("null"));
        let event: Value = serde_json::from_str(&ocsf(&record(), Some("key:01"))).unwrap();
        assert_eq!(event["actor"]["user"]["uid"], "key:01");
        assert_eq!(event["metadata"]["uid"], event["unmapped"]["id"]);
        assert_eq!(event["time"], 0x0197_f3a0_0000_u64);
        assert_eq!(
            (&event["disposition"], &event["duration"]),
            (&json!("Blocked"), &json!(4))
        );
    }
}
