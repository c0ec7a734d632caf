//! The language reference says what the source says: codes, fields, operators, actions.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::{
    ACTIONS, ACTIONS_NOT_PROVIDED, FUNCTIONS, FieldType, OPERATORS, Provision, field_reference,
    schema, tests_schema,
};

const PAGE: &str = include_str!("../../../docs/reference/policy-language.md");

fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n{heading}\n")).unwrap();
    rest.split_once("\n## ")
        .map_or(rest, |(section, _)| section)
}

/// The cells of a section's table rows that begin with a word in backticks.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn every_field_is_listed_in_order_with_type_provision_and_values() {
    let listed = rows(section("## Fields"));
    let fields: Vec<_> = field_reference().collect();
    let paths: Vec<_> = listed.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(
        paths,
        fields.iter().map(|field| field.path).collect::<Vec<_>>()
    );
    for (row, field) in listed.iter().zip(&fields) {
        let word = match field.field_type {
            FieldType::Text => "text",
            FieldType::Texts => "several texts",
            FieldType::Names => "names",
            FieldType::Number => "number",
            FieldType::Bool => "boolean",
            FieldType::Messages => "messages",
        };
        let provision = match field.provision {
            Provision::Provided => "provided",
            Provision::Later => "later",
            Provision::Response => "response",
            Provision::Never => "never",
        };
        assert_eq!((row[1], row[2]), (word, provision), "{}", field.path);
        for value in field.values.unwrap_or_default() {
            assert!(row[3].contains(&format!("`{value}`")), "{}", field.path);
        }
    }
}

#[test]
fn operators_actions_and_functions_are_listed() {
    let operators = section("## Conditions");
    for operator in OPERATORS {
        assert!(operators.contains(&format!("`{operator}`")), "{operator}");
    }
    let actions = section("## Actions");
    let listed: Vec<_> = rows(actions)
        .iter()
        .map(|row| row[0].trim_matches('`'))
        .collect();
    assert_eq!(listed, ACTIONS);
    for word in ACTIONS_NOT_PROVIDED {
        assert!(ACTIONS.contains(word), "{word}");
    }
    for function in FUNCTIONS {
        assert!(operators.contains(&format!("`{function}(")), "{function}");
    }
}

#[test]
fn the_example_on_the_page_is_a_sound_policy() {
    let (_, rest) = PAGE.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let checked = jupiter_policy::check(example);
    assert_eq!(checked.diagnostics, []);
    assert_eq!(checked.policy.unwrap().name(), "approved-models");
}

fn from_yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn schemas_in_the_reference_are_those_made_from_the_source() {
    for (name, schema) in [
        ("mpl.schema.json", schema()),
        ("mpl-tests.schema.json", tests_schema()),
    ] {
        let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        blessed(name, &made);
    }
}

/// Compares a generated page with what is kept; `just bless` rewrites it.
fn blessed(name: &str, made: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference");
    let path = format!("{folder}/{name}");
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reference/{name} is not what the source makes; `just bless` rewrites it"
    );
}

#[test]
fn the_schema_of_tests_admits_every_file_of_cases() {
    let schema = jsonschema::validator_for(&tests_schema()).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/cases");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let cases = from_yaml(&std::fs::read_to_string(&path).unwrap());
        let faults: Vec<String> = schema
            .iter_errors(&cases)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{}: {faults:?}", path.display());
    }
    let slip = serde_json::json!({"tests": [{"name": "a", "expect": {"acton": "deny"}}]});
    assert!(!schema.is_valid(&slip));
}

#[test]
fn the_schema_admits_every_example_and_refuses_slips() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policies");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let policy = from_yaml(&std::fs::read_to_string(&path).unwrap());
        let faults: Vec<String> = schema
            .iter_errors(&policy)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{}: {faults:?}", path.display());
    }
    let (_, rest) = PAGE.split_once("```yaml\n").unwrap();
    let (sound, _) = rest.split_once("```").unwrap();
    assert!(schema.is_valid(&from_yaml(sound)));
    for (right, wrong) in [
        ("request.model", "request.modle"),
        ("not_in", "not-in"),
        ("type: deny", "type: denny"),
        ("rules:", "rule:"),
        ("code:", "cod:"),
        ("\"1.0.0\"", "v1"),
    ] {
        let slip = sound.replacen(right, wrong, 1);
        assert!(!schema.is_valid(&from_yaml(&slip)), "{wrong}");
    }
}
