//! Diagnostics as a SARIF 2.1.0 log, which code review tools read.
//!
//! One run; every code that occurs is one of its rules, with a link into the reference.
//! Columns count Unicode code points, as our own do, and ends are exclusive in both.

use crate::texts::Checked;
use jupiter_policy::author::Code;
use jupiter_policy::{Diagnostic, Severity};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub(super) fn log(files: &[Checked]) -> Value {
    let occurring: Vec<Code> = Code::ALL
        .iter()
        .copied()
        .filter(|code| {
            let mut all = files.iter().flat_map(|one| &one.diagnostics);
            all.any(|found| found.code == code.as_str())
        })
        .collect();
    let results: Vec<Value> = files
        .iter()
        .flat_map(|one| one.diagnostics.iter().map(move |found| (one, found)))
        .map(|(one, found)| result(one, found, &occurring))
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "mercator lint",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": occurring.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "shortDescription": {"text": code.meaning()},
        "help": {"text": code.way_out()},
        "defaultConfiguration": {"level": level(code.severity())},
    })
}

fn result(one: &Checked, found: &Diagnostic, occurring: &[Code]) -> Value {
    let text = match &found.help {
        Some(help) => format!("{}. Help: {help}", found.message),
        None => found.message.clone(),
    };
    let span = found.span;
    json!({
        "ruleId": found.code,
        "ruleIndex": occurring.iter().position(|code| code.as_str() == found.code),
        "level": level(found.severity),
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(&one.origin)},
                "region": {
                    "startLine": span.line,
                    "startColumn": span.column,
                    "endLine": span.end_line,
                    "endColumn": span.end_column,
                },
            },
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The path as a URI reference: tools resolve relative ones against the repository.
fn uri(origin: &str) -> String {
    let mut uri = match origin.starts_with('/') {
        true => "file://".to_owned(),
        false => String::new(),
    };
    for byte in origin.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
