//! A page of the reference for each action, function and group of fields: made from the
//! source, with an example whose cases are decided here. `just bless` rewrites them.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::testing;
use jupiter_policy::author::{
    ACTIONS, ACTIONS_NOT_PROVIDED, FUNCTIONS, FieldInfo, FieldType, OPERATORS, Provision,
    about_action, about_function, about_key, field_reference, schema,
};
use jupiter_policy::{Severity, check, render};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const MADE: &str = "Made from the source and compared in a test; `just bless` rewrites it.";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The example of a page, whose own cases come out as it says.
fn example(kind: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pages")
        .join(kind)
        .join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path);
    assert!(text.is_ok(), "{}: {text:?}", path.display());
    let text = text.unwrap_or_default();
    let checked = check(&text);
    let mut faults = checked.diagnostics;
    // A page may show what this version cannot do yet, and then says so.
    let lacking = [
        "fact-not-provided",
        "fact-never-computed",
        "action-not-provided",
        "phase-not-applied",
    ];
    faults.retain(|fault| !lacking.contains(&fault.code));
    assert!(faults.is_empty(), "{}", render(&faults, &text, name));
    let policy = checked.policy.unwrap();
    let cases = policy.tests().to_vec();
    for outcome in testing::run(&[policy], &cases).unwrap().outcomes {
        assert!(
            outcome.passed(),
            "{name}: {}: {:?}",
            outcome.name,
            outcome.differences
        );
    }
    format!("\n## Example\n\n```yaml\n{text}```\n")
}

/// Compares the pages of a kind with what is kept, and lets none be left over.
fn blessed(kind: &str, pages: &[(String, String)]) {
    let folder = root().join("docs/reference").join(kind);
    let bless = std::env::var_os("MERCATOR_BLESS").is_some();
    if bless {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, made) in pages {
        let path = folder.join(format!("{name}.md"));
        if bless {
            std::fs::write(&path, made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == *made,
            "docs/reference/{kind}/{name}.md is not what the source makes; `just bless` rewrites it"
        );
    }
    let names = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let kept = std::fs::read_dir(folder).unwrap();
    let kept: BTreeSet<String> = kept.map(|entry| names(entry.unwrap().path())).collect();
    let due: BTreeSet<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(kept, due);
}

/// What a value may be, in the words of the reference.
fn kind_of(property: &Value) -> String {
    if let Some(words) = property["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap()))
            .collect();
        return words.join(", ");
    }
    if let Some(word) = property["const"].as_str() {
        return format!("`{word}`");
    }
    if property["$ref"] == "#/$defs/field" {
        return "a field".to_owned();
    }
    if let Some(either) = property["anyOf"].as_array() {
        let kinds: BTreeSet<String> = either.iter().map(kind_of).collect();
        return kinds.into_iter().collect::<Vec<_>>().join(" or ");
    }
    match &property["type"] {
        Value::Array(_) => "a value".to_owned(),
        Value::String(word) => match word.as_str() {
            "string"
                if property["pattern"]
                    .as_str()
                    .is_some_and(|it| it.contains("{")) =>
            {
                "a template".to_owned()
            }
            "string" => "text".to_owned(),
            "array" if property.pointer("/items/$ref").is_some() => "fields".to_owned(),
            "array" => "list of texts".to_owned(),
            "object" => "mapping".to_owned(),
            other => other.to_owned(),
        },
        _ => "a value".to_owned(),
    }
}

#[test]
fn every_action_has_its_page() {
    let schema = schema();
    let mut pages = Vec::new();
    for action in ACTIONS {
        let about = about_action(action);
        assert!(about.ends_with('.'), "{action}");
        let provided = match ACTIONS_NOT_PROVIDED.contains(action) {
            true => {
                "**Not carried out by this version**: it is checked, compiled and named in the \
                 decision and its record, and nothing else happens (`action-not-provided`)."
            }
            false => "Carried out by this version.",
        };
        let mut page = format!("# `{action}`\n\n{about} {provided}\n\n{MADE}\n\n");
        page += "| Key | Value | | Meaning |\n| --- | --- | --- | --- |\n";
        let definition = &schema["$defs"][action];
        let required: Vec<&str> = definition["required"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for (key, property) in definition["properties"].as_object().unwrap() {
            let about = about_key(action, key);
            assert!(about.ends_with('.'), "{action}: {key}");
            let need = if required.contains(&key.as_str()) {
                "required"
            } else {
                ""
            };
            writeln!(
                page,
                "| `{key}` | {} | {need} | {about} |",
                kind_of(property)
            )
            .unwrap();
        }
        if definition["anyOf"].is_array() {
            page += "\nOne of `provider` and `model` is required.\n";
        }
        page += &example("actions", action);
        pages.push(((*action).to_owned(), page));
    }
    blessed("actions", &pages);
}

#[test]
fn every_function_has_its_page() {
    let mut pages = Vec::new();
    for function in FUNCTIONS {
        let about = about_function(function);
        assert!(about.ends_with('.'), "{function}");
        let gives = match *function {
            "len" => "A number, to compare with `operator` and `value`.",
            "lower" | "upper" => "A text, to compare with `operator` and `value`.",
            _ => "True or false: a condition by itself, or compared by `== true` and `== false`.",
        };
        let null = match *function {
            "contains" => "A missing field is contained in nothing.",
            _ => "Of a missing field it is null: every comparison but `!=` is false.",
        };
        let provided = match *function {
            "has_pii" | "has_injection" | "has_sensitive" => {
                let path = format!("{function}()");
                match is_provided(&path) {
                    true => "",
                    false => {
                        "\n**Not provided by this version**: it is null (`fact-not-provided`).\n"
                    }
                }
            }
            _ => "",
        };
        let mut page = format!("# `{function}`\n\n{about}\n\n{gives} {null}\n{provided}\n{MADE}\n");
        page += &example("functions", function);
        pages.push(((*function).to_owned(), page));
    }
    blessed("functions", &pages);
}

/// Whether a detector's function is said to be filled by this version.
fn is_provided(call: &str) -> bool {
    let name = call.trim_end_matches("()");
    let text = policy(&format!("{{function: {name}}}"));
    let found = check(&text).diagnostics;
    found.iter().all(|it| it.code != "fact-not-provided")
}

fn policy(condition: &str) -> String {
    format!(
        "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    \
         conditions: [{condition}]\n    actions: [{{type: allow}}]\n"
    )
}

/// A group of fields: a page's name, its title, and how the paths in it begin.
const GROUPS: &[(&str, &str, &[&str])] = &[
    ("request", "The request", &["request."]),
    ("response", "The response", &["response."]),
    (
        "estimates",
        "Estimates of tokens, cost and risk",
        &[
            "processing.token_estimate.",
            "processing.cost_estimate.",
            "processing.risk_score",
            "processing.complexity_score",
        ],
    ),
    (
        "content-analysis",
        "What detectors found",
        &["processing.content_analysis."],
    ),
    (
        "conversation",
        "The conversation",
        &["processing.conversation_context."],
    ),
    ("time", "The time", &["context.time."]),
    (
        "context",
        "Where the exchange takes place",
        &["context.environment", "context.client_ip"],
    ),
    ("user-attributes", "Who asks", &["context.user_attributes."]),
];

#[test]
fn every_group_of_fields_has_its_page() {
    let mut pages = Vec::new();
    let mut listed = 0;
    for (name, title, beginnings) in GROUPS {
        let mut page = format!(
            "# {title}\n\n{MADE} `when` expressions know the same fields.\n\n\
             | Field | Type | Provided | Operators | Values |\n| --- | --- | --- | --- | --- |\n"
        );
        let here = |field: &FieldInfo| beginnings.iter().any(|it| field.path.starts_with(it));
        for field in field_reference().filter(here) {
            let provided = match field.provision {
                Provision::Provided => "yes",
                Provision::Later => "later",
                Provision::Response => "in the response phase",
                Provision::Never => "never",
            };
            let operators = code(&operators(&field));
            let values = code(field.values.unwrap_or_default());
            let kind = match field.field_type {
                FieldType::Text => "text",
                FieldType::Texts => "several texts",
                FieldType::Names => "names",
                FieldType::Number => "number",
                FieldType::Bool => "boolean",
                FieldType::Messages => "messages",
            };
            let path = field.path;
            writeln!(
                page,
                "| `{path}` | {kind} | {provided} | {operators} | {values} |"
            )
            .unwrap();
            listed += 1;
        }
        page += "\nA missing value is null: `== null` holds, `!= …` holds, every other operator does not.\n";
        page += &example("fields", name);
        pages.push(((*name).to_owned(), page));
    }
    assert_eq!(
        listed,
        field_reference().count(),
        "a field is in no group, or in two"
    );
    blessed("fields", &pages);
}

fn code(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The operators that the checker takes with this field, whatever the value.
fn operators(field: &FieldInfo) -> Vec<&'static str> {
    let path = field
        .path
        .replace("[N]", "[0]")
        .replace("=R]", "=user]")
        .replace("=K]", "=image]");
    let word = field
        .values
        .and_then(|values| values.first())
        .unwrap_or(&"a");
    let values = [
        (*word).to_owned(),
        "5".to_owned(),
        "true".to_owned(),
        format!("[{word}]"),
        "[5]".to_owned(),
    ];
    let applies = |operator: &&'static str| {
        values.iter().any(|value| {
            let condition = format!("{{field: '{path}', operator: '{operator}', value: {value}}}");
            let mut found = check(&policy(&condition)).diagnostics.into_iter();
            found.all(|it| it.severity == Severity::Warning && it.code != "alternate-form")
        })
    };
    OPERATORS.iter().copied().filter(applies).collect()
}
