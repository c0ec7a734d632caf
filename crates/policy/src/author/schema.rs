//! JSON Schema of the language, for editors: made from the tables the checker reads.
//!
//! It describes the canonical form; forms that are merely understood are left to `check`,
//! which says more than a schema can.

use super::MPL_VERSIONS;
use super::actions::{ACTIONS, LEVELS, keys};
use super::checker::Keys;
use super::conditions::{CONDITION, OPERATORS};
use super::document::{DURABILITY, MODES, ON_ERROR, PHASES, POLICY, RULE};
use super::fields::field_reference;
use super::functions::FUNCTIONS;
use super::limits::{BUDGET_TYPES, UNITS};
use super::manual::{about_action, about_key};
use super::requests::{METHODS, SEVERITIES};
use super::testing::{CASE, EXPECT, EXPECTED, FILE};
use serde_json::{Map, Value, json};

/// The schema of a policy document, draft 2020-12.
pub fn schema() -> Value {
    let actions: Vec<Value> = ACTIONS
        .iter()
        .map(|action| json!({"$ref": format!("#/$defs/{action}")}))
        .collect();
    let mut definitions = Map::new();
    definitions.insert("rule".to_owned(), rule());
    definitions.insert("condition".to_owned(), condition());
    definitions.insert("field".to_owned(), field());
    definitions.insert("action".to_owned(), json!({"oneOf": actions}));
    definitions.insert("case".to_owned(), case());
    for action in ACTIONS {
        definitions.insert((*action).to_owned(), self::action(action));
    }
    let policy = object(&POLICY, &["mpl_version", "name", "version", "rules"]);
    titled(policy, "Mercator Policy Language 1.0", definitions)
}

/// The schema of a file of tests, draft 2020-12.
pub fn tests_schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert("case".to_owned(), case());
    let file = object(&FILE, &["tests"]);
    titled(file, "Tests of policies", definitions)
}

fn titled(mut schema: Value, title: &str, definitions: Map<String, Value>) -> Value {
    if let Value::Object(members) = &mut schema {
        let dialect = json!("https://json-schema.org/draft/2020-12/schema");
        members.insert("$schema".to_owned(), dialect);
        members.insert("title".to_owned(), json!(title));
        members.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn rule() -> Value {
    let mut rule = object(&RULE, &["name", "actions"]);
    if let Value::Object(members) = &mut rule {
        let either = json!([{"required": ["conditions"]}, {"required": ["when"]}]);
        members.insert("anyOf".to_owned(), either);
        if let Some(Value::Object(properties)) = members.get_mut("properties") {
            properties.remove("match");
        }
    }
    rule
}

fn condition() -> Value {
    let known: Vec<Value> = CONDITION
        .known
        .iter()
        .filter(|key| ["field", "function", "all", "any", "not"].contains(*key))
        .map(|key| match *key {
            "field" => json!({
                "properties": {
                    "field": {"$ref": "#/$defs/field"},
                    "operator": {"enum": OPERATORS},
                    "value": value(),
                },
                "required": ["field", "operator"],
                "additionalProperties": false,
            }),
            "function" => json!({
                "properties": {
                    "function": {"enum": FUNCTIONS},
                    "args": {"type": "array"},
                    "operator": {"enum": OPERATORS},
                    "value": value(),
                },
                "required": ["function"],
                "additionalProperties": false,
            }),
            "not" => json!({
                "properties": {"not": {"$ref": "#/$defs/condition"}},
                "required": ["not"],
                "additionalProperties": false,
            }),
            group => json!({
                "properties": {group: {"type": "array", "items": {"$ref": "#/$defs/condition"}}},
                "required": [group],
                "additionalProperties": false,
            }),
        })
        .collect();
    json!({"type": "object", "oneOf": known})
}

/// A known path, or one with selectors, which only `check` reads.
fn field() -> Value {
    let paths: Vec<&str> = field_reference()
        .map(|info| info.path)
        .filter(|path| !path.contains('[') || path.contains("[*]"))
        .filter(|path| !path.contains("=K"))
        .collect();
    let selectors = json!({"type": "string", "pattern": "^request\\.messages\\["});
    json!({"anyOf": [{"enum": paths}, selectors]})
}

fn action(action: &str) -> Value {
    let keys = keys(action);
    let required: &[&str] = match action {
        "deny" => &["type", "message"],
        "log" => &["type", "level", "message"],
        "redact" => &["type", "fields", "method"],
        "modify" => &["type", "field", "value"],
        "alert" => &["type", "message"],
        "rate_limit" => &["type", "key", "limit", "window"],
        "budget" => &["type", "key", "limit", "window", "budget_type"],
        "tag" => &["type", "tags"],
        _ => &["type"],
    };
    let mut schema = object(&keys, required);
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), json!(about_action(action)));
        if action == "route" {
            let either = json!([{"required": ["provider"]}, {"required": ["model"]}]);
            members.insert("anyOf".to_owned(), either);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("type".to_owned(), json!({"const": action}));
        match action {
            "tag" => {
                let named = json!({"type": "object", "additionalProperties": {"type": "string"}});
                let either = json!({"anyOf": [texts(), named]});
                properties.insert("tags".to_owned(), either);
                for alternate in ["tag", "key", "value"] {
                    properties.remove(alternate);
                }
            }
            "modify" => {
                properties.insert("field".to_owned(), json!({"$ref": "#/$defs/field"}));
                properties.insert("value".to_owned(), value());
            }
            _ => {}
        }
        for (key, property) in properties {
            if let Value::Object(members) = property {
                members.insert("description".to_owned(), json!(about_key(action, key)));
            }
        }
    }
    schema
}

fn case() -> Value {
    let mut case = object(&CASE, &["name", "expect"]);
    let mut expect = object(&EXPECT, &[]);
    if let Some(Value::Object(properties)) = expect.get_mut("properties") {
        let words: Vec<&str> = EXPECTED.iter().map(|(word, _)| *word).collect();
        properties.insert("action".to_owned(), json!({"enum": words}));
        for list in ["rules", "actions", "logs", "facts"] {
            properties.insert(list.to_owned(), texts());
        }
    }
    if let Some(Value::Object(properties)) = case.get_mut("properties") {
        properties.insert("expect".to_owned(), expect);
    }
    case
}

/// A mapping with the keys of a table.
fn object(keys: &Keys, required: &[&str]) -> Value {
    let properties: Map<String, Value> = keys
        .known
        .iter()
        .map(|key| ((*key).to_owned(), of_key(key)))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What stands under a key; the same key means the same in every mapping but for those
/// that [`action`] and [`case`] replace.
fn of_key(key: &str) -> Value {
    match key {
        "mpl_version" => json!({"enum": MPL_VERSIONS}),
        "name" => json!({"type": "string", "minLength": 1, "maxLength": 100}),
        "version" => json!({"type": "string", "pattern": "^\\d+\\.\\d+\\.\\d+$"}),
        "priority" => json!({"type": "integer", "minimum": -1_000_000, "maximum": 1_000_000}),
        "enabled" => json!({"type": "boolean"}),
        "phase" => words(PHASES),
        "mode" => words(MODES),
        "on_error" => words(ON_ERROR),
        "durability" => words(DURABILITY),
        "tags" | "policies" => texts(),
        "variables" | "request" | "context" | "processing" | "response" | "metadata" => {
            json!({"type": "object"})
        }
        "rules" => json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/rule"}}),
        "conditions" => json!({"type": "array", "items": {"$ref": "#/$defs/condition"}}),
        "actions" => {
            json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/action"}})
        }
        "tests" => json!({"type": "array", "items": {"$ref": "#/$defs/case"}}),
        "level" => json!({"enum": LEVELS}),
        "severity" => json!({"enum": SEVERITIES}),
        "method" => json!({"enum": METHODS}),
        "budget_type" => json!({"enum": BUDGET_TYPES}),
        "fields" => {
            json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/field"}})
        }
        "limit" => json!({"anyOf": [{"type": "number", "minimum": 0}, template()]}),
        "window" => {
            let units: Vec<&str> = UNITS.iter().map(|(unit, _)| *unit).collect();
            let pattern = format!("^[0-9]+({}|mo)$", units.join("|"));
            json!({"anyOf": [{"type": "string", "pattern": pattern}, template()]})
        }
        _ => json!({"type": "string"}),
    }
}

fn words<T>(table: &[(&str, T)]) -> Value {
    let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
    json!({"enum": words})
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn template() -> Value {
    json!({"type": "string", "pattern": "^\\{\\{.*\\}\\}$"})
}

fn value() -> Value {
    json!({"type": ["string", "number", "boolean", "array", "null"]})
}
