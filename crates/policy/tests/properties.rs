//! What the checker accepts never meets a type error, and means what it says.
//!
//! A second evaluator, as plain as can be, reads conditions and facts as untyped JSON and
//! gives up where an operator meets a value of the wrong type. On whatever `check` lets
//! pass it never gives up, and it agrees with `decide`.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::{OPERATORS, field_reference};
use jupiter_policy::facts::{
    Attachment, ContextFacts, Facts, Message, Part, PartKind, ProcessingFacts, RequestFacts,
    UserAttributes,
};
use jupiter_policy::{Bundle, Severity, check, compile, decide};
use proptest::prelude::*;
use serde_json::{Value, json};

const WORDS: [&str; 12] = [
    "a",
    "ab",
    "b",
    "",
    "é",
    "user",
    "system",
    "text",
    "image",
    "high",
    "Monday",
    "production",
];

/// An operator that met what it does not apply to.
#[derive(Debug)]
struct TypeError;

/// The value of a field: null, a scalar, or any number of texts.
fn resolve(path: &str, facts: &Facts) -> Value {
    let request = &facts.request;
    let content = |message: &Message| Value::from(message.content.clone());
    let role = |message: &Message| Value::from(message.role.clone());
    match path {
        "request.messages" => Value::from(vec!["message"; request.messages.len()]),
        "request.text" => request.texts().map(Value::from).collect(),
        "request.messages[0].role" => request.messages.first().map_or(Value::Null, role),
        "request.messages[0].content" => request.messages.first().map_or(Value::Null, content),
        "request.messages[*].role" => request.messages.iter().map(role).collect(),
        "request.messages[*].content" => request.messages.iter().map(content).collect(),
        "request.messages[role=user].content" => {
            let of_users = request.messages.iter().filter(|it| it.role == "user");
            of_users.map(content).collect()
        }
        "request.messages[*].content[*].type" => kinds(request, |_| true),
        "request.messages[*].content[type=image]" => kinds(request, |kind| kind == PartKind::Image),
        "processing.conversation_context.turn_count" => {
            let of_users = request.messages.iter().filter(|it| it.role == "user");
            Value::from(of_users.count())
        }
        "context.user_attributes.user_id" => json!(facts.context.user_id),
        // 2026-01-27 09:00 UTC, the only time of the generated facts.
        "context.time.hour" => json!(9),
        "context.time.minute" => json!(0),
        "context.time.day_of_week" => json!("Tuesday"),
        "context.time.day" => json!(27),
        "context.time.month" => json!(1),
        "context.time.year" => json!(2026),
        "context.time.date" => json!("2026-01-27"),
        "context.time.timestamp" => json!(NOON_SECONDS),
        "request.attachments.count" => json!(facts.request.attachments.len()),
        "request.attachments.bytes" => {
            let bytes = facts.request.attachments.iter().filter_map(|it| it.bytes);
            json!(bytes.sum::<u64>())
        }
        "request.attachments.media_types" => {
            let attachments = facts.request.attachments.iter();
            let types = attachments.filter_map(|it| it.media_type.as_deref());
            types.map(Value::from).collect()
        }
        plain => {
            let all = serde_json::to_value(facts).unwrap();
            let value = plain.split('.').fold(&all, |value, key| &value[key]);
            value.clone()
        }
    }
}

const NOON_SECONDS: u64 = 1_769_504_400;

fn kinds(request: &RequestFacts, wanted: impl Fn(PartKind) -> bool) -> Value {
    let Some(parts) = &request.parts else {
        return Value::Null;
    };
    let parts = parts.iter().filter(|part| wanted(part.kind));
    parts.map(|part| Value::from(part.kind.as_str())).collect()
}

/// Lists of which `contains` asks for a member; of others it asks for a part.
fn holds_names(path: &str) -> bool {
    let names = [
        "request.tools",
        "request.stop",
        "request.attachments.media_types",
    ];
    names.contains(&path)
        || path.contains("].content[")
        || ["pii_types", "categories", "roles"]
            .iter()
            .any(|end| path.ends_with(end))
}

fn holds(condition: &Value, facts: &Facts) -> Result<bool, TypeError> {
    let parts = |list: &Value| -> Result<Vec<bool>, TypeError> {
        let list = list.as_array().ok_or(TypeError)?;
        list.iter().map(|part| holds(part, facts)).collect()
    };
    if let Some(all) = condition.get("all") {
        return Ok(parts(all)?.into_iter().all(|it| it));
    }
    if let Some(any) = condition.get("any") {
        return Ok(parts(any)?.into_iter().any(|it| it));
    }
    if let Some(inner) = condition.get("not") {
        return Ok(!holds(inner, facts)?);
    }
    let operator = condition["operator"].as_str().ok_or(TypeError)?;
    let value = &condition["value"];
    if let Some(function) = condition.get("function") {
        let path = condition
            .pointer("/args/0")
            .and_then(Value::as_str)
            .ok_or(TypeError)?;
        let found = applied(
            function.as_str().ok_or(TypeError)?,
            path,
            resolve(path, facts),
        )?;
        return compare(&found, operator, value, holds_names(path));
    }
    let path = condition["field"].as_str().ok_or(TypeError)?;
    compare(&resolve(path, facts), operator, value, holds_names(path))
}

fn applied(function: &str, path: &str, found: Value) -> Result<Value, TypeError> {
    let cased = |text: &str| match function {
        "lower" => text.to_lowercase(),
        _ => text.to_uppercase(),
    };
    let characters = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    Ok(match (function, found) {
        (_, Value::Null) => Value::Null,
        ("len", Value::String(text)) => Value::from(text.chars().count()),
        ("len", Value::Array(texts)) if path == "request.text" => {
            Value::from(texts.iter().map(characters).sum::<usize>())
        }
        ("len", Value::Array(list)) => Value::from(list.len()),
        ("lower" | "upper", Value::String(text)) => Value::from(cased(&text)),
        ("lower" | "upper", Value::Array(texts)) => {
            texts.iter().filter_map(Value::as_str).map(cased).collect()
        }
        _ => return Err(TypeError),
    })
}

/// `names`: whether `contains` asks for a member of the list.
fn compare(found: &Value, operator: &str, value: &Value, names: bool) -> Result<bool, TypeError> {
    let missing = found.is_null() || found.as_array().is_some_and(Vec::is_empty);
    if operator == "exists" {
        return Ok(missing != (value != false));
    }
    if value.is_null() {
        return match operator {
            "==" => Ok(missing),
            "!=" => Ok(!missing),
            _ => Err(TypeError),
        };
    }
    if missing {
        return Ok(operator == "!=");
    }
    let among = |one: &Value| -> Result<bool, TypeError> {
        let list = value.as_array().ok_or(TypeError)?;
        let same_kind =
            |it: &Value| it.is_string() == one.is_string() && it.is_number() == one.is_number();
        match list.iter().all(same_kind) {
            true => Ok(list.iter().any(|it| equal(it, one))),
            false => Err(TypeError),
        }
    };
    match found {
        Value::Array(texts) => {
            let operator = if names && operator == "contains" {
                "=="
            } else {
                operator
            };
            let each = texts
                .iter()
                .map(|text| compare(text, operator, value, false));
            Ok(each
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .any(|it| it))
        }
        Value::String(text) => match operator {
            "in" => among(found),
            "not_in" => Ok(!among(found)?),
            _ => {
                let word = value.as_str().ok_or(TypeError)?;
                match operator {
                    "==" => Ok(text == word),
                    "!=" => Ok(text != word),
                    "contains" => Ok(text.contains(word)),
                    "starts_with" => Ok(text.starts_with(word)),
                    "ends_with" => Ok(text.ends_with(word)),
                    // The patterns tried are words.
                    "matches" => Ok(text.contains(word)),
                    _ => Err(TypeError),
                }
            }
        },
        Value::Number(_) => match operator {
            "in" => among(found),
            "not_in" => Ok(!among(found)?),
            _ => {
                let (one, other) = (found.as_f64().unwrap(), value.as_f64().ok_or(TypeError)?);
                match operator {
                    "==" => Ok(one == other),
                    "!=" => Ok(one != other),
                    "<" => Ok(one < other),
                    ">" => Ok(one > other),
                    "<=" => Ok(one <= other),
                    ">=" => Ok(one >= other),
                    _ => Err(TypeError),
                }
            }
        },
        Value::Bool(flag) => {
            let other = value.as_bool().ok_or(TypeError)?;
            match operator {
                "==" => Ok(*flag == other),
                "!=" => Ok(*flag != other),
                _ => Err(TypeError),
            }
        }
        Value::Null | Value::Object(_) => Err(TypeError),
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn paths() -> Vec<String> {
    field_reference()
        .map(|field| field.path)
        .filter(|path| !path.starts_with("response.") && !path.contains("type!=K"))
        .map(|path| {
            let path = path.replace("[N]", "[0]");
            path.replace("=R]", "=user]").replace("=K]", "=image]")
        })
        .collect()
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4u8).prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
        prop::collection::vec(prop::sample::select(&WORDS[..]), 1..3).prop_map(Value::from),
        prop::collection::vec(0..4u8, 1..3).prop_map(Value::from),
    ]
}

/// Any field with any operator and any value, most of them wrong.
fn leaf() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(paths());
    let operator = prop::sample::select(OPERATORS);
    let function = prop::sample::select(&["", "", "", "len", "lower", "upper"][..]);
    (path, operator, value(), function).prop_map(|(path, operator, value, function)| match function
    {
        "" if operator == "exists" => {
            json!({"field": path, "operator": operator, "value": value != false})
        }
        "" => json!({"field": path, "operator": operator, "value": value}),
        _ => {
            json!({"function": function, "args": [path], "operator": operator, "value": value})
        }
    })
}

fn tree() -> impl Strategy<Value = Value> {
    // A number stands for one of the leaves that the checker accepts.
    let leaf = (0..64u8).prop_map(Value::from);
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| json!({"not": it})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|it| json!({"any": it})),
            prop::collection::vec(inner, 1..3).prop_map(|it| json!({"all": it})),
        ]
    })
}

/// The tree with leaves in the place of their numbers.
fn planted(tree: &Value, leaves: &[Value]) -> Value {
    match tree {
        Value::Number(nth) => {
            let nth = usize::try_from(nth.as_u64().unwrap()).unwrap();
            leaves.get(nth % leaves.len()).unwrap().clone()
        }
        Value::Array(parts) => parts.iter().map(|part| planted(part, leaves)).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, part)| (key.clone(), planted(part, leaves)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// JSON is YAML.
fn policy(rules: &[Value]) -> String {
    let rule = |(nth, condition): (usize, &Value)| json!({"name": format!("r{nth}"), "conditions": [condition], "actions": [{"type": "allow"}]});
    let rules: Vec<Value> = rules.iter().enumerate().map(rule).collect();
    json!({"mpl_version": "1.0", "name": "p", "version": "1.0.0", "rules": rules}).to_string()
}

fn accepted(leaf: &Value) -> bool {
    let found = check(&policy(std::slice::from_ref(leaf))).diagnostics;
    let read_as_it_is = |code: &str| code != "alternate-form";
    found
        .iter()
        .all(|it| it.severity == Severity::Warning && read_as_it_is(it.code))
}

fn word() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(&WORDS[..]).prop_map(str::to_owned))
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        0..3,
    )
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop::option::of((0..4u8).prop_map(f64::from))
}

prop_compose! {
    fn facts()(
        (model, user, environment, severity) in (word(), word(), word(), word()),
        (tools, stop, other_texts, contents) in (words(), words(), words(), words()),
        roles in prop::option::of(words()),
        (one, two, three) in (number(), number(), number()),
        attached in prop::collection::vec((word(), prop::option::of(0..4u64)), 0..3),
        (flag, other) in (any::<Option<bool>>(), any::<Option<bool>>()),
        has_parts in any::<bool>(),
    ) -> Facts {
        let role = |nth: usize| if nth == 0 { "system" } else { "user" }.to_owned();
        let messages: Vec<Message> = contents
            .iter()
            .enumerate()
            .map(|(nth, content)| Message { role: role(nth), content: content.clone() })
            .collect();
        let attachments = attached.into_iter().map(|(media_type, bytes)| Attachment {
            message: 0,
            kind: PartKind::Image,
            media_type,
            bytes,
        });
        let parts = [PartKind::Text, PartKind::Image];
        let parts = parts.iter().zip(0..).map(|(kind, message)| Part { message, kind: *kind });
        let parts: Vec<Part> = parts.take(messages.len()).collect();
        let mut processing = ProcessingFacts {
            risk_score: one,
            complexity_score: two,
            ..ProcessingFacts::default()
        };
        processing.token_estimate.total_tokens = three;
        processing.cost_estimate.total_cost = one;
        processing.content_analysis.pii_detection.has_pii = flag;
        processing.content_analysis.pii_detection.pii_types = roles.clone();
        processing.content_analysis.sensitive_content.severity = severity.clone();
        processing.content_analysis.prompt_injection.has_prompt_injection = other;
        Facts {
            request: RequestFacts {
                model,
                user: user.clone(),
                messages,
                temperature: one,
                max_tokens: two,
                top_p: three,
                stream: flag,
                stop,
                tools,
                other_texts,
                parts: has_parts.then_some(parts),
                attachments: attachments.collect(),
                ..RequestFacts::default()
            },
            context: ContextFacts {
                environment,
                user_id: user,
                client_ip: severity,
                time_unix_us: NOON_SECONDS * 1_000_000,
                user_attributes: UserAttributes {
                    roles,
                    requests_today: two,
                    ..UserAttributes::default()
                },
            },
            processing,
            ..Facts::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_never_meets_a_type_error_and_means_what_it_says(
        leaves in prop::collection::vec(leaf(), 60),
        trees in prop::collection::vec(tree(), 1..5),
        facts in prop::collection::vec(facts(), 8),
    ) {
        let leaves: Vec<Value> = leaves.into_iter().filter(accepted).collect();
        prop_assume!(!leaves.is_empty());
        let rules: Vec<Value> = trees.iter().map(|tree| planted(tree, &leaves)).collect();
        let text = policy(&rules);
        let checked = check(&text);
        let compiled = compile(&[checked.policy.unwrap()]).unwrap();
        prop_assert_eq!(&compiled, &compile(&[check(&text).policy.unwrap()]).unwrap());
        let bundle = Bundle::load(&compiled).unwrap();
        for facts in &facts {
            let held: Result<Vec<bool>, TypeError> =
                rules.iter().map(|rule| holds(rule, facts)).collect();
            prop_assert!(held.is_ok(), "a type error in {text}\nwith {facts:?}");
            let first = held.unwrap().iter().position(|it| *it);
            let due = first.map(|nth| format!("r{nth}"));
            let found = decide(&bundle, facts).matched.first().map(|it| it.rule.clone());
            prop_assert_eq!(found, due, "{}\nwith {:?}", text, facts);
        }
    }
}

#[test]
fn enough_of_what_is_tried_is_accepted() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut tried = || leaf().new_tree(&mut runner).unwrap().current();
    let accepted = (0..1000).filter(|_| accepted(&tried())).count();
    assert!(
        accepted >= 50,
        "only {accepted} of 1000 conditions were accepted"
    );
}
