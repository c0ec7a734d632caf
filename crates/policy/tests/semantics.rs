//! What conditions mean: missing fields, several texts, types, templates.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::facts::{ContextFacts, Facts, Message, RequestFacts};
use jupiter_policy::{
    Bundle, Decision, Effect, OnError, Policy, Verdict, check, compile, decide, render,
};

fn bundle(text: &str) -> Bundle {
    let checked = check(text);
    let said = render(&checked.diagnostics, text, "text");
    Bundle::load(&compile(&[checked.policy.ok_or(said).unwrap()]).unwrap()).unwrap()
}

fn policy(condition: &str, actions: &str) -> String {
    format!(
        "mpl_version: \"1.0\"\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    conditions: [{condition}]\n    \
         actions: [{actions}]\n"
    )
}

fn holds(condition: &str, facts: &Facts) -> bool {
    let bundle = bundle(&policy(condition, "{type: allow}"));
    !decide(&bundle, facts).matched.is_empty()
}

/// `field operator value` in short; a rule without a value asks `exists`.
fn is(field: &str, operator: &str, value: &str, facts: &Facts) -> bool {
    holds(
        &format!("{{field: '{field}', operator: '{operator}', value: {value}}}"),
        facts,
    )
}

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.to_owned(),
        content: content.to_owned(),
    }
}

fn chat() -> Facts {
    Facts {
        request: RequestFacts {
            model: Some("gpt-4o".to_owned()),
            messages: vec![message("system", "Be kind"), message("user", "Hello Welt")],
            max_tokens: Some(100.0),
            stream: Some(false),
            tools: vec!["search".to_owned(), "mail".to_owned()],
            other_texts: vec!["tool text".to_owned()],
            ..RequestFacts::default()
        },
        context: ContextFacts {
            user_id: Some("gpt-4o".to_owned()),
            time_unix_us: 1_769_504_400_000_000,
            ..ContextFacts::default()
        },
        ..Facts::default()
    }
}

#[test]
fn a_missing_field_is_null_and_only_equality_and_presence_see_it() {
    let nothing = Facts::default();
    for (operator, value, expected) in [
        ("==", "null", true),
        ("!=", "null", false),
        ("==", "x", false),
        ("!=", "x", true),
        ("contains", "''", false),
        ("starts_with", "''", false),
        ("ends_with", "''", false),
        ("matches", "''", false),
        ("in", "[x]", false),
        ("not_in", "[x]", false),
        ("exists", "true", false),
        ("exists", "false", true),
    ] {
        assert_eq!(
            is("request.model", operator, value, &nothing),
            expected,
            "{operator} {value}"
        );
    }
    for (operator, expected) in [
        ("==", false),
        ("!=", true),
        ("<", false),
        (">", false),
        ("<=", false),
        (">=", false),
    ] {
        assert_eq!(
            is("request.max_tokens", operator, "1", &nothing),
            expected,
            "{operator}"
        );
    }
    assert!(!is("request.max_tokens", "not_in", "[1]", &nothing));
    assert!(is("request.stream", "!=", "true", &nothing));
    assert!(!is("request.tools", "not_in", "[x]", &nothing));
    assert!(!is(
        "request.tools",
        "contains",
        "'{{ request.user }}'",
        &nothing
    ));
    assert!(
        is("request.model", "==", "'{{ request.user }}'", &nothing),
        "null equals null"
    );
    assert!(!is("request.model", "==", "'{{ request.user }}'", &chat()));
    assert!(!is("request.messages", "exists", "true", &nothing));
    assert!(holds(
        "{not: {field: request.model, operator: in, value: [x]}}",
        &nothing
    ));
}

#[test]
fn operators_on_one_text() {
    let facts = chat();
    for (operator, value, expected) in [
        ("==", "gpt-4o", true),
        ("==", "GPT-4o", false),
        ("!=", "gpt-4o", false),
        ("contains", "'4'", true),
        ("starts_with", "gpt", true),
        ("ends_with", "mini", false),
        ("matches", "'^gpt-\\d'", true),
        ("in", "[a, gpt-4o]", true),
        ("not_in", "[a, gpt-4o]", false),
        ("not_in", "[a, b]", true),
        ("in", "[]", false),
        ("not_in", "[]", true),
        ("==", "'{{ context.user_attributes.user_id }}'", true),
        (
            "starts_with",
            "'{{ context.user_attributes.user_id }}'",
            true,
        ),
        ("==", "'gpt-{{ request.max_tokens }}'", false),
        ("!=", "'gpt-{{ request.max_tokens }}'", true),
    ] {
        assert_eq!(
            is("request.model", operator, value, &facts),
            expected,
            "{operator} {value}"
        );
    }
    assert!(is("request.max_tokens", "in", "[1, 100]", &facts));
    assert!(is("request.max_tokens", ">=", "1e2", &facts));
    assert!(is("request.stream", "==", "false", &facts));
}

#[test]
fn several_texts_satisfy_when_any_of_them_does() {
    let facts = chat();
    for (field, operator, value, expected) in [
        ("request.text", "contains", "kind", true),
        ("request.text", "contains", "tool text", true),
        ("request.text", "contains", "Be kindHello", false),
        ("request.text", "matches", "'^Hello'", true),
        (
            "request.messages[*].content",
            "contains",
            "tool text",
            false,
        ),
        ("request.messages[*].role", "==", "user", true),
        ("request.messages[*].role", "!=", "user", true),
        (
            "request.messages[*].role",
            "not_in",
            "[user, system]",
            false,
        ),
        ("request.tools", "contains", "mail", true),
        ("request.tools", "contains", "mai", false),
        ("request.tools", "starts_with", "mai", true),
        ("request.tools", "in", "[mail]", true),
        ("request.tools", "not_in", "[mail]", true),
        ("request.tools", "not_in", "[mail, search]", false),
    ] {
        assert_eq!(
            is(field, operator, value, &facts),
            expected,
            "{field} {operator} {value}"
        );
    }
    let none = "{not: {field: 'request.messages[*].role', operator: '==', value: tool}}";
    assert!(holds(none, &facts));
}

#[test]
fn messages_are_counted_from_both_ends() {
    let facts = chat();
    assert!(is("request.messages[0].role", "==", "system", &facts));
    assert!(is("request.messages[-1].role", "==", "user", &facts));
    assert!(is("request.messages[-2].content", "==", "Be kind", &facts));
    assert!(is("request.messages[2].role", "==", "null", &facts));
    assert!(is("request.messages[-3].role", "==", "null", &facts));
    assert!(is(
        "request.messages[-2147483648].role",
        "==",
        "null",
        &facts
    ));
    assert!(is(
        "processing.conversation_context.turn_count",
        "==",
        "1",
        &facts
    ));
}

#[test]
fn time_is_utc() {
    let facts = chat();
    for (field, value) in [
        ("hour", "9"),
        ("minute", "0"),
        ("day", "27"),
        ("month", "1"),
        ("year", "2026"),
        ("day_of_week", "Tuesday"),
        ("date", "'2026-01-27'"),
        ("timestamp", "1769504400"),
    ] {
        assert!(
            is(&format!("context.time.{field}"), "==", value, &facts),
            "{field}"
        );
    }
}

fn denied(message: &str, facts: &Facts) -> String {
    let text = policy("", &format!("{{type: deny, message: '{message}'}}"));
    decide(&bundle(&text), facts).denial.unwrap().message
}

#[test]
fn messages_show_fields_cut_and_clean() {
    let mut facts = chat();
    facts.request.model = Some(format!("a\nb\u{1b}[31m{}", "x".repeat(1000)));
    let message = denied(
        "{{request.model}}|{{ request.tools }}|{{ request.user }}|{{ request.max_tokens }}",
        &facts,
    );
    let (model, rest) = message.split_once('|').unwrap();
    assert!(
        model.starts_with("a b [31mxxx") && model.ends_with("x…"),
        "{model}"
    );
    assert_eq!(model.chars().count(), 257);
    assert_eq!(rest, "search, mail||100");
}

#[test]
fn a_template_alone_keeps_its_type() {
    let text = "mpl_version: \"1.0\"\nname: p\nversion: 1.0.0\n\
        variables:\n  most: 50\n  alias: '{{ variables.most }}'\n  names: ['{{ variables.first }}', b]\n  first: gpt-4o\n  \
        group: {inner: true}\n\
        rules:\n  - name: r\n    conditions:\n      \
        - {field: request.max_tokens, operator: '>', value: '{{ variables.alias }}'}\n      \
        - {field: request.model, operator: in, value: '{{ variables.names }}'}\n      \
        - {field: request.stream, operator: '!=', value: '{{ variables.group.inner }}'}\n    \
        actions: [{type: deny, message: 'more than {{ variables.most }} of {{ variables.names }}'}]\n";
    let decision = decide(&bundle(text), &chat());
    assert_eq!(
        decision.denial.unwrap().message,
        "more than 50 of gpt-4o, b"
    );
}

#[test]
fn the_first_matching_rule_acts_and_disabled_rules_do_not() {
    let text = "mpl_version: \"1.0\"\nname: p\nversion: 1.0.0\nrules:\n\
        \x20 - {name: off, enabled: false, conditions: [], actions: [{type: deny, message: no}]}\n\
        \x20 - {name: misses, conditions: [{field: request.user, operator: exists}], actions: [{type: deny, message: no}]}\n\
        \x20 - {name: notes, conditions: [{field: request.model, operator: exists}], actions: [{type: log, level: info, message: seen}]}\n\
        \x20 - {name: late, conditions: [{field: request.model, operator: exists}], actions: [{type: deny, message: no}]}\n";
    let Decision {
        verdict,
        matched,
        logs,
        denial,
        ..
    } = decide(&bundle(text), &chat());
    assert_eq!((verdict, denial), (Verdict::Allow, None));
    assert_eq!(matched.len(), 1);
    assert_eq!(
        (matched[0].rule.as_str(), matched[0].effect),
        ("notes", Effect::Log)
    );
    assert_eq!(logs[0].message, "seen");
}

#[test]
fn an_empty_bundle_allows() {
    let bundle = Bundle::load(&compile(&[]).unwrap()).unwrap();
    assert_eq!(decide(&bundle, &chat()).verdict, Verdict::Allow);
    assert_eq!(bundle.digest().as_str().len(), "sha256:".len() + 64);
}

#[test]
fn json_is_read_as_well() {
    let text = r#"{"mpl_version": "1.0", "name": "p", "version": "1.0.0", "rules": [
        {"name": "r", "conditions": [{"field": "request.model", "operator": "==", "value": "gpt-4o"}],
         "actions": [{"type": "deny", "message": "tab\there"}]}]}"#;
    assert_eq!(
        decide(&bundle(text), &chat()).denial.unwrap().message,
        "tab\there"
    );
}

#[test]
fn what_is_stored_first_is_what_acting_rules_and_policies_ask_for() {
    let gpt4 = "conditions: [{field: request.model, operator: '==', value: gpt-4o}]";
    let other = "conditions: [{field: request.model, operator: '==', value: other}]";
    let answer = "conditions: [{field: response.content, operator: exists}]";
    let log = "actions: [{type: log, level: info, message: seen}]";
    let policy = |name: &str, head: &str, rules: &[String]| {
        let rules: Vec<String> = rules
            .iter()
            .enumerate()
            .map(|(n, rule)| format!("  - {{name: r{n}, {rule}, {log}}}\n"))
            .collect();
        format!(
            "mpl_version: \"1.0\"\nname: {name}\nversion: 1.0.0\n{head}rules:\n{}",
            rules.concat()
        )
    };
    let rule = |settings: &str, conditions: &str| format!("{settings}{conditions}");
    let required = "durability: required, ";
    let open = "durability: required, on_error: open, ";
    let all = "durability: required\n";
    for (policies, store_first) in [
        (vec![policy("p", "", &[rule("", gpt4)])], None),
        (
            vec![policy("p", "", &[rule(required, gpt4)])],
            Some(OnError::Closed),
        ),
        (
            vec![policy("p", "", &[rule(open, gpt4)])],
            Some(OnError::Open),
        ),
        (vec![policy("p", "", &[rule(required, other)])], None),
        (
            vec![policy("p", all, &[rule("", other)])],
            Some(OnError::Closed),
        ),
        (
            vec![policy("p", all, &[rule("durability: best_effort, ", gpt4)])],
            None,
        ),
        (
            vec![policy(
                "p",
                "",
                &[rule("mode: shadow, durability: required, ", gpt4)],
            )],
            None,
        ),
        (
            vec![policy("p", "", &[rule("", gpt4), rule(open, answer)])],
            Some(OnError::Open),
        ),
        (
            vec![
                policy("p", "", &[rule(open, gpt4)]),
                policy("q", "", &[rule(required, gpt4)]),
            ],
            Some(OnError::Closed),
        ),
    ] {
        let checked: Vec<Policy> = policies
            .iter()
            .map(|text| check(text).policy.unwrap_or_else(|| panic!("{text}")))
            .collect();
        let bundle = Bundle::load(&compile(&checked).unwrap()).unwrap();
        assert_eq!(
            decide(&bundle, &chat()).store_first,
            store_first,
            "{policies:#?}"
        );
        let asked = policies
            .iter()
            .any(|text| text.contains("required") && !text.contains("shadow"));
        assert_eq!(bundle.needs().store_first.is_some(), asked, "{policies:#?}");
    }
}
