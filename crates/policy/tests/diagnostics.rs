//! Every kind of diagnostic, with the text that causes it and what is said.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::Code;
use jupiter_policy::{Diagnostic, Severity, check, render};
use std::collections::BTreeSet;

const HEAD: &str = "mpl_version: \"1.0\"\nname: demo\nversion: 1.0.0\n";
const ALLOW: &str = "    actions: [{type: allow}]\n";

/// A policy whose one rule has this condition.
fn condition(text: &str) -> String {
    format!("{HEAD}rules:\n  - name: r\n    conditions: [{text}]\n{ALLOW}")
}

/// A policy whose one rule has these actions.
fn actions(text: &str) -> String {
    format!("{HEAD}rules:\n  - name: r\n    conditions: []\n    actions: [{text}]\n")
}

/// A policy with these lines before a rule without fault.
fn head(text: &str) -> String {
    format!("{text}rules:\n  - name: r\n    conditions: []\n{ALLOW}")
}

fn rules(text: &str) -> String {
    format!("{HEAD}rules:\n{text}")
}

fn log(name: &str, conditions: &str) -> String {
    let actions = "    actions: [{type: log, level: info, message: x}]\n";
    format!("  - name: {name}\n    conditions: {conditions}\n{actions}")
}

/// A policy with these cases beside its rule.
fn tests(text: &str) -> String {
    head(&format!("{HEAD}tests: [{text}]\n"))
}

fn rule(name: &str, conditions: &str) -> String {
    format!("  - name: {name}\n    conditions: {conditions}\n{ALLOW}")
}

/// Code, text, part of the message, part of the help ("" for none).
#[rustfmt::skip] // A table reads best with a line for each row.
fn cases() -> Vec<(Code, String, &'static str, &'static str)> {
    use Code as C;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let many = format!("{HEAD}rules: [{}]\n", "1,".repeat(100_001));
    let not = format!("{}{}", "{not: ".repeat(40), "}".repeat(40));
    let matches = |pattern: &str| {
        condition(&format!(
            "{{field: request.text, operator: matches, value: '{pattern}'}}"
        ))
    };
    let model = |operator: &str, value: &str| {
        condition(&format!(
            "{{field: request.model, operator: '{operator}', value: {value}}}"
        ))
    };
    let field = |path: &str, operator: &str, value: &str| {
        condition(&format!(
            "{{field: '{path}', operator: '{operator}', value: {value}}}"
        ))
    };
    let when = |expression: &str| {
        format!("{HEAD}rules:\n  - name: r\n    when: |\n      {expression}\n{ALLOW}")
    };
    let listed = |times: usize| vec!["request.model == 'x'"; times].join(" || ");
    vec![
        (C::TextTooLarge, "x".repeat(1024 * 1024 + 1), "more than 1048576", ""),
        (C::TextTooLarge, actions(&format!("{{type: deny, message: {}}}", "x".repeat(5000))), "more than 4096 bytes", ""),
        (C::YamlSyntax, "a: [1".into(), "this is not YAML: ", ""),
        (C::YamlUnsupported, "--- a\n--- b\n".into(), "a second document begins", ""),
        (C::YamlUnsupported, "name: !secret x\n".into(), "YAML tags mean nothing", "begins with `!`"),
        (C::YamlUnsupported, "? [a]\n: b\n".into(), "a key is a text", ""),
        (C::TooDeep, deep, "nested deeper than 64 levels", ""),
        (C::TooDeep, condition(&not), "conditions nested deeper than 28 levels", ""),
        (C::TooManyNodes, many, "more than 100000 values", ""),
        (C::DuplicateKey, head(&format!("{HEAD}name: other\n")), "`name` is given twice", ""),
        (C::WrongShape, String::new(), "the text is empty", ""),
        (C::WrongShape, "- a\n".into(), "a policy is a mapping, and this is a list", ""),
        (C::WrongShape, head(&format!("{HEAD}priority: high\n")), "`priority` is a whole number", ""),
        (C::WrongShape, rules("  - {name: r, enabled: yes, conditions: [], actions: [{type: allow}]}\n"), "`enabled` is a boolean", "`true` or `false`"),
        (C::WrongShape, condition("{any: [{not: {field: request.model, operator: exists}}], not: {}}"), "one of `any` and `not`, not both", "under `all`"),
        (C::WrongShape, condition("{all: [{field: request.user, operator: exists}], operator: '=='}"), "`operator` has no meaning beside `all`", ""),
        (C::MissingKey, head("mpl_version: \"1.0\"\nversion: 1.0.0\n"), "a policy needs `name`", ""),
        (C::MissingKey, actions("{type: deny, code: x}"), "a `deny` needs `message`", ""),
        (C::MissingKey, actions("{type: log, message: x}"), "a `log` needs `level`", ""),
        (C::MissingKey, actions("{message: x}"), "an action needs `type`", ""),
        (C::MissingKey, condition("{field: request.model, operator: '=='}"), "`==` needs a `value`", ""),
        (C::MissingKey, condition("{}"), "a condition is empty", "`any`, `all`, `not`"),
        (C::UnknownKey, head(&format!("{HEAD}descripton: x\n")), "unknown key `descripton` in a policy", "did you mean `description`?"),
        (C::UnknownKey, actions("{type: allow, message: x}"), "unknown key `message` in an `allow`", "takes `type`"),
        (C::UnquotedText, head("mpl_version: 1.0\nname: demo\nversion: 1.0.0\n"), "`mpl_version` is a text, and this is a number", "write \"1.0\""),
        (C::KeyIgnored, rules("  - {name: r, priority: 5, conditions: [], actions: [{type: allow}]}\n"), "`priority` has no effect in a rule", "in the order they are written"),
        (C::KeyIgnored, head(&format!("{HEAD}metadata: {{team: x}}\n")), "`metadata` has no effect in a policy", "`description`"),
        (C::KeyIgnored, head(&format!("{HEAD}tests: [{{name: a, metadata: {{shoe_size: 5}}, expect: {{action: allow}}}}]\n")), "`shoe_size` stands for no field", "under `context`"),
        (C::AlternateForm, model("=", "x"), "`=` is understood as `==`", "write `==`"),
        (C::AlternateForm, model("regex", "x"), "`regex` is understood as `matches`", "write `matches`"),
        (C::AlternateForm, field("request.tools", "!=", "[]"), "a comparison with an empty list is understood as `exists`", ""),
        (C::AlternateForm, field("request.messages", "contains", "x"), "the text of messages is understood as `request.messages[*].content`", ""),
        (C::AlternateForm, field("request.tools[*].name", "contains", "x"), "`request.tools[*].name` is understood as `request.tools`", ""),
        (C::AlternateForm, field("len(request.tools)", ">", "3"), "a function in `field` is understood as `function: len` with `args`", ""),
        (C::AlternateForm, field("context.time.day_of_week", "in", "[Monday, tuesday]"), "`tuesday` is understood as `Tuesday`", ""),
        (C::AlternateForm, condition("{function: len, args: request.tools, operator: '>', value: 5}"), "`args` without brackets", ""),
        (C::AlternateForm, condition("{function: contains, args: [request.tools, variables.x]}").replace("rules:", "variables: {x: a}\nrules:"), "a variable without braces", "{{ variables.name }}"),
        (C::AlternateForm, condition("{field: request.model, value: x}"), "`value` alone is understood as `operator", ""),
        (C::AlternateForm, rules("  - {name: r, match: {request.model: x, request.max_tokens: [1, 2]}, actions: [{type: allow}]}\n"), "`match` is understood as `conditions`", ""),
        (C::AlternateForm, rules("  - {name: r, conditions: {field: request.model, operator: exists}, actions: [{type: allow}]}\n"), "one condition by itself", "a list"),
        (C::AlternateForm, rules("  - {name: r, conditions: [], actions: {type: allow}}\n"), "one action by itself", "a list"),
        (C::AlternateForm, actions("allow"), "`allow` by itself", "`type: allow`"),
        (C::AlternateForm, actions("{deny: {message: x}}"), "`deny` as a key", "`type: deny`"),
        (C::AlternateForm, head(&format!("{HEAD}tests: [{{name: a, expect: {{action: block}}}}]\n")), "`block` is understood as `deny`", ""),
        (C::MplVersion, head("mpl_version: \"2.0\"\nname: demo\nversion: 1.0.0\n"), "unknown language version `2.0`", "this version reads `1.0`"),
        (C::BadName, head("mpl_version: \"1.0\"\nname: My Policy\nversion: 1.0.0\n"), "`My Policy` cannot be a name", "`my-policy`"),
        (C::BadName, head(&format!("{HEAD}variables: {{a.b: 1}}\n")), "`a.b` cannot name a variable", "letters, digits"),
        (C::BadVersion, head("mpl_version: \"1.0\"\nname: demo\nversion: v1\n"), "`v1` is not a semantic version", "\"1.0.0\""),
        (C::BadDate, head(&format!("{HEAD}created: yesterday\n")), "`created` is a date", "2026-01-31"),
        (C::DuplicateTag, head(&format!("{HEAD}tags: [a, b, a]\n")), "tag `a` is given twice", ""),
        (C::DuplicateRule, rules(&(rule("a", "[{field: request.user, operator: exists}]") + &rule("a", "[]"))), "rule `a` is already defined in line 5", ""),
        (C::EmptyRules, rules("  []\n"), "at least one rule", ""),
        (C::EmptyActions, actions(""), "a rule does nothing", "allows, denies, logs"),
        (C::EmptyGroup, condition("{any: []}"), "an empty `any` never holds", ""),
        (C::EmptyGroup, condition("{all: []}"), "an empty `all` always holds", ""),
        (C::UnreachableRule, rules(&(rule("a", "[]") + &rule("b", "[]"))), "rule `b`, and any after it, is never reached: rule `a` in line 5", "move the general rule"),
        (C::UnreachableRule, rules(&(log("a", "[]") + &rule("b", "[]"))), "`a` neither allows nor denies, and still ends the policy", ""),
        (C::ShadowedRule, rules(&(rule("a", "[{field: request.max_tokens, operator: '>', value: 10}]") + &rule("b", "[{field: request.max_tokens, operator: '>=', value: 20}, {field: request.user, operator: exists}]"))), "rule `b` is never reached: whatever it matches is taken by `a` in line 5", "narrower rule first"),
        (C::ShadowedRule, rules(&(log("a", "[{field: request.model, operator: in, value: [x, y]}]") + &rule("b", "[{field: request.model, operator: '==', value: y}]"))), "taken by `a` in line 5; `a` neither allows nor denies, and still ends the policy", ""),
        (C::ShadowedRule, rules(&(rule("a", "[{field: request.model, operator: '==', value: x}]") + &rule("b", "[{field: request.model, operator: '==', value: y}]") + &rule("c", "[{any: [{field: request.model, operator: '==', value: x}, {field: request.model, operator: '==', value: y}]}]"))), "by `a` in line 5 and `b` in line 8", ""),
        (C::Contradiction, condition("{field: request.max_tokens, operator: '>', value: 10}, {field: request.max_tokens, operator: '<', value: 5}"), "the conditions of rule `r` never hold together", "no value of `request.max_tokens`"),
        (C::Contradiction, condition("{field: request.model, operator: in, value: [a, b]}, {field: request.model, operator: '==', value: c}"), "never hold together", "`request.model`"),
        (C::Contradiction, condition("{field: request.model, operator: '==', value: a}, {field: request.model, operator: starts_with, value: b}"), "never hold together", "`request.model`"),
        (C::Contradiction, condition("{field: request.user, operator: '==', value: null}, {field: request.user, operator: '==', value: a}"), "never hold together", "`request.user`"),
        (C::Contradiction, condition("{field: context.time.day_of_week, operator: in, value: [Monday]}, {not: {field: context.time.day_of_week, operator: not_in, value: [Sunday]}}"), "never hold together", "day_of_week"),
        (C::Contradiction, condition("{field: context.time.hour, operator: '<', value: 0}"), "never hold together", "context.time.hour"),
        (C::Contradiction, condition("{field: request.text, operator: contains, value: a}, {not: {field: request.text, operator: contains, value: a}}"), "never hold together", "request.text"),
        (C::Contradiction, condition("{function: lower, args: [request.model], operator: '==', value: GPT}"), "`lower` never gives `GPT`", "write `gpt`"),
        (C::PhaseConflict, rules("  - {name: r, phase: request, conditions: [{field: response.content, operator: contains, value: x}], actions: [{type: allow}]}\n"), "`response.content` is not known in the request phase", "phase: response"),
        (C::TargetGone, rules("  - {name: r, conditions: [{field: response.content, operator: contains, value: x}], actions: [{type: redact, fields: [request.text], method: mask}]}\n"), "`request.text` has left when the rule is decided", "change the request in a rule"),
        (C::SettingNotApplied, head(&format!("{HEAD}on_error: closed\n")), "`on_error` has nothing to decide on", "durability: required"),
        (C::SettingNotApplied, rules("  - {name: r, on_error: open, conditions: [], actions: [{type: allow}]}\n"), "`on_error` has nothing to decide on", "durability: required"),
        (C::UnreachableAction, actions("{type: allow}, {type: log, level: info, message: x}"), "never reached", "`allow` and `deny` last"),
        (C::UnknownField, field("request.modle", "==", "x"), "unknown field `request.modle`", "did you mean `request.model`?"),
        (C::UnknownField, field("request.messages[first].role", "==", "x"), "unknown field", "messages are chosen by a number"),
        (C::FactNotProvided, field("processing.risk_score", ">", "7"), "`processing.risk_score` is not provided by this version: it is null", "conditions on it are false"),
        (C::FactNotProvided, field("request.messages[*].content[type=image]", "exists", "true"), "is not provided by this version", ""),
        (C::FactNotProvided, actions("{type: deny, message: '{{ response.model }}'}"), "`response.model` is not provided", "shown as nothing"),
        (C::FactNeverComputed, field("processing.content_analysis.sentiment.label", "==", "negative"), "nothing computes `processing.content_analysis.sentiment.label`", ""),
        (C::UnknownOperator, model("contians", "x"), "unknown operator `contians`", "did you mean `contains`?"),
        (C::UnknownFunction, condition("{function: length, args: [x]}"), "unknown function `length`", ""),
        (C::FunctionArguments, condition("{function: len, args: []}"), "`len` takes one argument, and this is 0", ""),
        (C::FunctionArguments, condition("{function: len, args: [request.max_tokens], operator: '>', value: 1}"), "`len` cannot take a number", "counts the characters"),
        (C::FunctionArguments, condition("{function: contains, args: [[a, b], a]}"), "`contains` cannot take a list of texts and a text", "name a field"),
        (C::FunctionArguments, condition("{function: contains, args: [request.tools]}"), "and this is 1 arguments", ""),
        (C::FunctionArguments, actions("{type: deny, message: '{{ contains(request.tools, a) }}'}"), "`contains` cannot be shown", ""),
        (C::OperatorType, model(">", "5"), "`>` does not apply to `request.model`, which is a text", "`starts_with`"),
        (C::OperatorType, field("request.text", "!=", "x"), "`!=` does not apply to `request.text`, which is several texts", "`not:` around `==`"),
        (C::OperatorType, field("request.max_tokens", "contains", "5"), "`contains` does not apply to `request.max_tokens`, which is a number", "`<=`"),
        (C::OperatorType, field("context.time.date", ">", "2026-01-01"), "`>` does not apply", "context.time.year"),
        (C::ValueType, model("==", "5"), "`==` on `request.model` needs a text, and this is a number", "put quotes"),
        (C::ValueType, model("in", "gpt-4o"), "`in` on `request.model` needs a list of texts, and this is a text", "put brackets"),
        (C::ValueType, model("==", "[a, b]"), "needs a text, and this is a list of texts", "use `in`"),
        (C::ValueType, model("contains", "null"), "needs a text, and this is null", "missing"),
        (C::ValueType, field("request.max_tokens", ">", "'5'"), "needs a number, and this is a text", "remove the quotes"),
        (C::ValueType, field("request.stream", "==", "'yes'"), "needs a boolean, and this is a text", "without quotes"),
        (C::ValueType, field("context.time.day_of_week", "==", "1"), "needs a text, and this is a number", "one of `Monday`"),
        (C::ValueType, model("exists", "maybe"), "`exists` takes `true` or `false`", ""),
        (C::ValueType, model("==", "{a: b}"), "a value cannot be a mapping", ""),
        (C::ValueType, model("in", "['{{ request.user }}']"), "a list holds constants, not a text", ""),
        (C::UnknownValue, field("context.time.day_of_week", "in", "[Monday, Mondey]"), "unknown value of `context.time.day_of_week`: `Mondey`", "did you mean `Monday`?"),
        (C::UnknownValue, field("request.messages[*].role", "==", "usr"), "unknown value of `request.messages[*].role`: `usr`", "did you mean `user`?"),
        (C::UnknownValue, head(&format!("{HEAD}mode: shadwo\n")), "unknown mode `shadwo`", "did you mean `shadow`?"),
        (C::SuspiciousUnit, field("context.time.hour", ">", "24"), "`context.time.hour` is never 24", "0 to 23"),
        (C::SuspiciousUnit, field("context.time.timestamp", ">", "1769504400000"), "is never 1769504400000", "seconds since 1970"),
        (C::SuspiciousUnit, field("request.temperature", ">", "50"), "is never 50", "0 to 2"),
        (C::UnknownValue, actions("{type: log, level: wran, message: x}"), "unknown level `wran`", "did you mean `warn`?"),
        (C::BadPattern, matches("a(b"), "unusable pattern: unclosed group", "look at `(`"),
        (C::BadPattern, matches("(a)\\1"), "unusable pattern: backreferences are not supported", ""),
        (C::PatternTooLarge, matches("[a-z]{2000}"), "would take more than 64 KiB", "two simpler patterns"),
        (C::PatternNotConstant, field("request.text", "matches", "'{{ request.user }}'"), "a pattern cannot depend on the exchange", "compiled"),
        (C::PatternNotConstant, when("request.text.matches(request.model)"), "a pattern cannot depend on the exchange", "compiled"),
        (C::BadPattern, when("request.text.matches('a(b')"), "unusable pattern: unclosed group", "look at `(`"),
        (C::CelSyntax, when("request.model == "), "expected a field, a value, `!` or `(`, and found the end", ""),
        (C::CelSyntax, when("request.model = 'x'"), "`=` has no meaning in an expression", "write `==`"),
        (C::CelSyntax, when("request.stream and true"), "expected an operator, or the end, and found `and`", "write `&&`"),
        (C::CelSyntax, when("not request.stream"), "`not` is no operator of CEL", "write `!`"),
        (C::CelSyntax, when("// nothing"), "the expression is empty", "write a condition"),
        (C::CelSyntax, when("request.model == 'x"), "the text is not closed", "close it with `'`"),
        (C::CelSyntax, when("request.model == 'a\\d'"), "no such escape in a text", "raw text"),
        (C::CelSyntax, when("request.if == 'x' && while"), "`while` is no field", ""),
        (C::CelUnsupported, when("request.max_tokens / 2 > 5"), "`/` has no value for every number", "multiply"),
        (C::CelUnsupported, when("{'a': 1} == request.model"), "mappings compare with no field", ""),
        (C::CelUnsupported, when("request.model == b'x'"), "byte strings", "remove the `b`"),
        (C::CelUnsupported, when("request.max_tokens == 5u"), "numbers have one type", "remove the `u`"),
        (C::CelUnsupported, when("request['model'] == 'x'"), "fields are not found by a text", "write `.name`"),
        (C::CelUnsupported, when("request.messages[size(request.tools)].role == 'user'"), "an index is a whole number", "`.exists(x, …)`"),
        (C::CelUnsupported, when("(request.max_tokens < 5) == true"), "a condition is compared with nothing", "write it alone"),
        (C::CelUnsupported, when("request.user.lowerAscii() == request.model.lowerAscii()"), "only one side of a comparison", "with a constant"),
        (C::NeedsHas, when("request.user != 'x'"), "`request.user` may be missing, and its comparison is negated here", "`has(request.user) && …`"),
        (C::NeedsHas, when("!(request.max_tokens < 5)"), "`request.max_tokens` may be missing", "`!has(request.max_tokens) || …`"),
        (C::NeedsHas, when("request.stream ? true : false"), "`request.stream` may be missing", "`has(request.stream) && …`"),
        (C::TooCostly, when("request.messages.exists(m, request.tools.exists(t, t == m.content))"), "a macro within a macro", "side by side"),
        (C::TooCostly, when("request.messages.exists(m, m.role == 'user' && request.text.contains('x'))"), "`request.text.contains('x')` reads a text again for each entry", "move it out"),
        (C::TooCostly, when(&format!("request.messages.exists(m, m.role == 'user' && ({}))", listed(250))), "`when` takes more than 20000 steps", "counts a hundred times"),
        (C::TextTooLarge, when(&listed(400)), "`when` has more than 8192 bytes", "`variables`"),
        (C::TooDeep, when(&format!("{}true", "!".repeat(70))), "more than 24 levels", ""),
        (C::UnknownField, when("request.modle == 'x'"), "unknown field `request.modle`", "did you mean `request.model`?"),
        (C::UnknownField, when("request.messages.exists(m, m.text == 'x')"), "unknown field `m.text`", "`.role` and `.content`"),
        (C::UnknownFunction, when("request.model.starts_with('x')"), "unknown function `starts_with`", "write `startsWith`"),
        (C::UnknownFunction, when("len(request.tools) > 5"), "unknown function `len`", "write `size`"),
        (C::UnknownFunction, when("timestamp('x') == request.model"), "unknown function `timestamp`", "functions are `has`"),
        (C::OperatorType, when("request.tools.contains('x')"), "`contains` does not apply to `request.tools`", "write `\"…\" in request.tools`"),
        (C::OperatorType, when("request.text == 'x'"), "`==` does not apply to `request.text`, which is several texts", "write `request.text.contains("),
        (C::OperatorType, when("request.text.exists(t, t == 'x')"), "macros look at lists", "any of the texts"),
        (C::ValueType, when("request.model == 5"), "a text belongs here, and this is a number", "put quotes"),
        (C::ValueType, when("request.model > 'x'"), "a number belongs here, and this is a text", "texts have `==`"),
        (C::ValueType, when("request.max_tokens > '5'"), "a number belongs here, and this is a text", "remove the quotes"),
        (C::ValueType, when("request.model"), "a condition belongs here, and `request.model` is a text", "compare it"),
        (C::ValueType, when("size(request.model)"), "`size` is a value, and is used otherwise here", "write it as in"),
        (C::ValueType, when("5 == 'x'"), "a text never equals a number", "nothing is converted"),
        (C::ValueType, when("request.model in 'x'"), "`in` asks whether", "a list"),
        (C::ValueType, when("request.model in [request.user]"), "a list holds constants", "a == b || a == c"),
        (C::ValueType, when("has(request.model == 'x')"), "`has` asks for one field", "has(request.user)"),
        (C::ValueType, when("request.model.contains('a', 'b')"), "`contains` is a condition, and is used otherwise here", "write it as in"),
        (C::UnknownValue, when("context.time.day_of_week == 'monday'"), "unknown value of the field: `monday`", "did you mean `Monday`?"),
        (C::UnknownValue, when("request.model.lowerAscii() == 'GPT'"), "`GPT` is not in small letters", "write `gpt`"),
        (C::BadName, when("request.messages.exists(request, request.role == 'user')"), "`request` cannot name a variable", "such as `m`"),
        (C::UnknownVariable, when("request.model in variables.modles"), "unknown variable `modles`", ""),
        (C::UnknownAction, actions("{type: block}"), "unknown action `block`", "one of `allow`"),
        (C::UnknownAction, actions("{type: denny}"), "unknown action `denny`", "did you mean `deny`?"),
        (C::ActionNotProvided, actions("{type: route, provider: openai}"), "`provider` of a `route` is not chosen", "nothing else happens"),
        (C::ActionNotProvided, actions("{type: modify, field: request.stream, value: false}"), "setting `request.stream` is not carried out", "nothing else happens"),
        (C::ActionNotProvided, actions("{type: alert, message: x}"), "action `alert` is not carried out by this version", "nothing else happens"),
        (C::ActionTarget, actions("{type: redact, fields: [request.max_tokens], method: mask}"), "`request.max_tokens` holds no text", "request.text"),
        (C::ActionNotProvided, rules("  - {name: r, phase: response, conditions: [], actions: [{type: modify, field: response.content, value: x}]}\n"), "in a stream, `response.content` is not set", "whole answers are changed"),
        (C::ActionTarget, actions("{type: modify, field: context.client_ip, value: x}"), "`context.client_ip` is not a part of the exchange", "begins with `request.`"),
        (C::ActionTarget, actions("{type: modify, field: request.messages, value: x}"), "cannot be set to a value", ""),
        (C::ValueType, actions("{type: modify, field: request.max_tokens, value: many}"), "the field is a number, and the value is a text", ""),
        (C::MissingKey, actions("{type: route, reason: x}"), "a `route` needs `provider` or `model`", ""),
        (C::MissingKey, actions("{type: budget, key: x, limit: 5, window: 1d}"), "a `budget` needs `budget_type`", "`type` says that this is a budget"),
        (C::MissingKey, actions("{type: tag}"), "a `tag` needs `tags`", ""),
        (C::DuplicateKey, actions("{type: budget, type: tokens, key: x, limit: 500, window: 1d, budget_type: tokens}"), "`type` is given twice", "`budget_type`"),
        (C::UnknownValue, actions("{type: redact, fields: [request.text], method: hash}"), "unknown method `hash`", "`mask`"),
        (C::UnknownValue, actions("{type: alert, message: x, severity: urgent}"), "unknown severity `urgent`", ""),
        (C::UnknownValue, actions("{type: budget, key: x, limit: 5, window: 1d, budget_type: token}"), "unknown budget type `token`", "did you mean `tokens`?"),
        (C::KeyIgnored, actions("{type: redact, fields: [request.text], method: mask, replacement: x}"), "`replacement` belongs to the method `replace`", ""),
        (C::AlternateForm, actions("{type: redact, fields: request.text, method: mask}"), "one field by itself", ""),
        (C::AlternateForm, actions("{type: rate_limit, key: x, limit: 5, window: 3600}"), "`3600` seconds is understood as `1h`", "write `1h`"),
        (C::AlternateForm, actions("{type: rate_limit, key: x, limit: 5, window: hour}"), "`hour` is understood as `1h`", ""),
        (C::AlternateForm, actions("{type: tag, tag: x}"), "`tag` is understood as `tags: [name]`", ""),
        (C::AlternateForm, actions("{type: tag, key: x, value: y}"), "`key` and `value`", "tags: {name: value}"),
        (C::BadLimit, actions("{type: rate_limit, key: x, limit: 0.5, window: 1h}"), "`limit` counts requests, and this is 0.5", "whole number"),
        (C::BadLimit, actions("{type: rate_limit, key: x, limit: many, window: 1h}"), "`limit` is a number, and this is a text", "a variable"),
        (C::BadLimit, actions("{type: budget, key: x, limit: -5, window: 1h, budget_type: cost}"), "an amount of US dollars, and this is -5", ""),
        (C::BadWindow, actions("{type: rate_limit, key: x, limit: 5, window: 1m}"), "`1m` may be minutes or months", "write `1min` or `1mo`"),
        (C::BadWindow, actions("{type: rate_limit, key: x, limit: 5, window: soon}"), "`soon` is not a span of time", "`1h`"),
        (C::BadWindow, actions("{type: rate_limit, key: x, limit: 5, window: 0}"), "this is 0", ""),
        (C::BadWindow, actions("{type: rate_limit, key: x, limit: 5, window: 13mo}"), "too long", "a year at most"),
        (C::SuspiciousUnit, actions("{type: budget, key: x, limit: 50, window: 1d, budget_type: tokens}"), "a budget of 50 tokens", "budget_type: cost"),
        (C::SuspiciousUnit, actions("{type: budget, key: x, limit: 5000000, window: 1d, budget_type: cost}"), "a budget of 5000000 US dollars", "budget_type: tokens"),
        (C::SuspiciousUnit, actions("{type: rate_limit, key: x, limit: 5, window: '3600000s'}").replace("'3600000s'", "\"{{ variables.w }}\"").replace("rules:", "variables: {w: 3600000}\nrules:"), "a window of 3600000 seconds", "write `1h`"),
        (C::SuspiciousUnit, field("processing.conversation_context.context_window_percent", ">", "0.8"), "compared with 0.8", "write 80"),
        (C::BadWebhook, actions("{type: alert, message: x, webhook: 'ftp://a'}"), "`ftp://a` is not the address of a webhook", "https://"),
        (C::BadWebhook, actions("{type: alert, message: x, webhook: 'https://a/{{ request.user }}'}"), "cannot depend on the exchange", ""),
        (C::PromptInMessage, actions("{type: alert, message: '{{ request.messages[role=user].content }}'}"), "would put text of the prompt", ""),
        (C::PhaseMixed, condition("{field: response.content, operator: contains, value: x}, {field: request.model, operator: '==', value: x}"), "reads the request (`request.model`) and the response (`response.content`)", "phase: response"),
        (C::BadCase, tests("{name: a, expect: {}}"), "`expect` asks for nothing", "action: allow"),
        (C::BadCase, tests("{name: a, context: {tier: x}, expect: {action: allow}}"), "`context` cannot be read: unknown field `tier`", ""),
        (C::BadCase, tests("{name: a, context: {time: noon}, expect: {action: allow}}"), "is not a time", "2026-01-31T09:30:00Z"),
        (C::BadCase, tests("{name: a, expect: {action: allow}}, {name: a, expect: {action: allow}}"), "case `a` is already there in line 4", ""),
        (C::WrongShape, tests("{name: a, request: {messages: [{content: x}]}, expect: {action: allow}}"), "a message needs `role`", ""),
        (C::EmptyTests, head(&format!("{HEAD}tests: []\n")), "`tests` holds no case", ""),
        (C::BadCode, actions("{type: tag, tags: ['a b']}"), "`a b` cannot be a tag", ""),
        (C::BadCode, actions("{type: deny, message: x, code: ''}"), "`` cannot be a code", ""),
        (C::BadCode, actions("{type: deny, message: x, code: 'a b'}"), "`a b` cannot be a code", "model_not_approved"),
        (C::PromptInMessage, actions("{type: log, level: info, message: 'said {{ request.messages[0].content }}'}"), "`request.messages[0].content` would put text of the prompt into a message", "logs and evidence"),
        (C::PromptInMessage, actions("{type: deny, message: '{{ request.text }}'}"), "would put text of the prompt", ""),
        (C::TemplateSyntax, actions("{type: deny, message: 'a {{ b'}"), "`{{` is not closed", "{{ variables.name }}"),
        (C::TemplateSyntax, actions("{type: deny, message: '{{ }}'}"), "nothing stands between", ""),
        (C::UnknownVariable, model("==", "'{{ variables.modle }}'"), "unknown variable `modle`", "define it"),
        (C::UnusedVariable, head(&format!("{HEAD}variables: {{left: 1}}\n")), "variable `left` is never used", ""),
        (C::VariableType, head(&format!("{HEAD}variables: {{a: null}}\n")), "a variable cannot be nothing", "a text, a number"),
        (C::VariableType, head(&format!("{HEAD}variables: {{a: [1, b]}}\n")), "not both", "quotes"),
        (C::VariableType, head(&format!("{HEAD}variables: {{a: '{{{{ request.model }}}}'}}\n")), "is not known where variables are set", "constants"),
        (C::VariableCycle, head(&format!("{HEAD}variables: {{a: '{{{{ variables.a }}}}'}}\n")), "variable `a` refers to itself", ""),
    ]
}

fn find(code: Code, text: &str) -> (Diagnostic, String) {
    let checked = check(text);
    let short = if text.len() < 2000 { text } else { "(long)" };
    let said = render(&checked.diagnostics, text, "text");
    let found = checked
        .diagnostics
        .into_iter()
        .find(|d| d.code == code.as_str());
    assert!(
        found.is_some(),
        "no {} for\n{short}\nbut\n{said}",
        code.as_str()
    );
    (found.unwrap(), said)
}

#[test]
fn every_fault_is_named_and_explained() {
    let mut wrong = Vec::new();
    for (code, text, message, help) in cases() {
        let (found, said) = find(code, &text);
        assert_eq!(found.severity, code.severity());
        let given = found.help.unwrap_or_default();
        if !found.message.contains(message) || !given.contains(help) {
            wrong.push(format!("wanted `{message}` and `{help}` in\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fault_is_the_only_one_said_of_its_text() {
    // What this version lacks is said beside what is wrong.
    let lacking = [Code::ActionNotProvided, Code::FactNotProvided];
    let mut wrong = Vec::new();
    for (code, text, ..) in cases() {
        let others = |found: &Diagnostic| {
            let lacks = lacking.iter().any(|code| code.as_str() == found.code);
            found.code != code.as_str() && !lacks
        };
        let found = check(&text).diagnostics;
        if found.iter().any(others) {
            let shown: String = text.chars().take(500).collect();
            wrong.push(render(&found, &shown, code.as_str()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let tried: BTreeSet<_> = cases()
        .into_iter()
        .map(|(code, ..)| code.as_str())
        .collect();
    let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(tried, all);
}

/// What the reference says of a code: meaning, way out, and the first case as `mercator
/// lint` shows it.
fn entry(code: Code) -> String {
    let all = cases();
    let (_, text, ..) = all.iter().find(|(of, ..)| *of == code).unwrap();
    let (found, _) = find(code, text);
    let shown = render(&[found], text, "policy.yaml");
    // Without the line that counts, and of long messages what fits a page.
    let shown: Vec<String> = shown
        .lines()
        .take_while(|line| !line.is_empty())
        .map(narrow)
        .collect();
    let severity = match code.severity() {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    };
    format!(
        "\n## {}\n\n{severity}. {}\n\n```text\n{}\n```\n\n**Way out.** {}\n",
        code.as_str(),
        code.meaning(),
        shown.join("\n"),
        code.way_out()
    )
}

fn narrow(line: &str) -> String {
    const WIDTH: usize = 100;
    match line.char_indices().nth(WIDTH) {
        None => line.trim_end().to_owned(),
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
    }
}

const REFERENCE: &str = "\
# Diagnostics

What `mercator lint`, the API and the console say of a policy or a file of tests. Codes are
stable: tools may match on them. A policy with an error is not accepted; a warning is advice, and
`mercator lint --strict` fails on it. Each entry shows a text that causes it, as `mercator lint`
shows it. Made from the source and compared in a test; `just bless` rewrites it.
";

#[test]
fn every_code_has_an_entry_in_the_reference() {
    let entries: String = Code::ALL.iter().map(|code| entry(*code)).collect();
    let index: String = Code::ALL
        .iter()
        .map(|code| format!("- [`{0}`](#{0})\n", code.as_str()))
        .collect();
    let made = format!("{REFERENCE}\n{index}{entries}");
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/diagnostics.md"
    );
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reference/diagnostics.md is not what the source makes; `just bless` rewrites it"
    );
}

#[test]
fn every_code_says_in_sentences_what_it_means_and_what_to_do() {
    for code in Code::ALL {
        for text in [code.meaning(), code.way_out()] {
            assert!(
                text.ends_with('.') && text.len() > 8,
                "{}: {text}",
                code.as_str()
            );
        }
    }
}

#[test]
fn positions_count_characters_and_offsets_count_bytes() {
    let text = condition("{field: request.model, operator: '==', value: 'ééé'}, {field: nope}");
    let (found, _) = find(Code::UnknownField, &text);
    let start = text.find("nope").unwrap();
    assert_eq!(
        (found.span.offset, found.span.end_offset),
        (start, start + 4)
    );
    let line = text.lines().nth(5).unwrap();
    let (before, _) = line.split_once("nope").unwrap();
    assert_eq!(found.span.column, before.chars().count() + 1);
    assert_eq!(found.span.line, 6);
}

#[test]
fn all_faults_of_a_text_are_said_at_once_in_its_order() {
    let text = format!(
        "{HEAD}extra: 1\nrules:\n  - name: Bad\n    conditions:\n      - {{field: a, operator: b, value: '{{{{ variables.c }}}}'}}\n    \
         actions: [{{type: d}}, {{type: deny}}]\n"
    );
    let codes: Vec<_> = check(&text)
        .diagnostics
        .into_iter()
        .map(|d| d.code)
        .collect();
    assert_eq!(
        codes,
        [
            "unknown-key",
            "bad-name",
            "unknown-field",
            "unknown-operator",
            "unknown-variable",
            "unknown-action",
            "missing-key"
        ]
    );
}

#[test]
fn diagnostics_are_json_for_the_api() {
    let (found, _) = find(Code::UnknownAction, &actions("{type: denny}"));
    assert_eq!(
        serde_json::to_value(found).unwrap(),
        serde_json::json!({
            "severity": "error",
            "code": "unknown-action",
            "message": "unknown action `denny`",
            "span": {"line": 7, "column": 22, "end_line": 7, "end_column": 27, "offset": 104, "end_offset": 109},
            "help": "did you mean `deny`?",
        })
    );
}
