//! The language reference says what the source says: codes, fields, operators, actions.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::Severity;
use jupiter_policy::author::{
    ACTIONS, ACTIONS_NOT_PROVIDED, Code, FUNCTIONS, FieldType, OPERATORS, field_reference,
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
fn every_diagnostic_is_listed_in_order_with_its_severity() {
    let listed: Vec<_> = rows(section("## Diagnostics"))
        .into_iter()
        .map(|row| (row[0].trim_matches('`'), row[1]))
        .collect();
    let word = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let known: Vec<_> = Code::ALL
        .iter()
        .map(|code| (code.as_str(), word(code.severity())))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn every_field_is_listed_in_order_with_its_type() {
    let (provided, later) = section("## Fields").split_once("### Not provided").unwrap();
    let mut listed = rows(provided);
    let provided_count = listed.len();
    listed.extend(rows(later));
    let fields: Vec<_> = field_reference().collect();
    let paths: Vec<_> = listed.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(
        paths,
        fields.iter().map(|field| field.path).collect::<Vec<_>>()
    );
    for (nth, (row, field)) in listed.iter().zip(&fields).enumerate() {
        let word = match field.field_type {
            None => {
                assert!(nth >= provided_count, "{} is not provided", field.path);
                continue;
            }
            Some(FieldType::Text) => "text",
            Some(FieldType::Texts) => "several texts",
            Some(FieldType::Names) => "names",
            Some(FieldType::Number) => "number",
            Some(FieldType::Bool) => "boolean",
            Some(FieldType::Messages) => "messages",
        };
        assert!(row[1].starts_with(word), "{} is {word}", field.path);
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
    for word in ACTIONS_NOT_PROVIDED.iter().chain(FUNCTIONS) {
        assert!(actions.contains(&format!("`{word}`")), "{word}");
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
