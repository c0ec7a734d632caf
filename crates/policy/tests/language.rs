//! Functions, selectors, actions, modes and phases: what they decide.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::facts::{
    Detector, Facts, Finding, Message, Part, PartKind, Place, RequestFacts, ResponseFacts,
};
use jupiter_policy::{
    ActionRequest, AlertSeverity, BudgetUnit, Bundle, ChosenTexts, Decision, Effect, ModifyValue,
    RedactMethod, Verdict, Window, check, compile, decide, render,
};

fn rules(rules: &str) -> String {
    format!("mpl_version: \"1.0\"\nname: p\nversion: 1.0.0\nrules:\n{rules}")
}

fn decided(text: &str, facts: &Facts) -> Decision {
    let checked = check(text);
    let said = render(&checked.diagnostics, text, "text");
    let policy = checked.policy.ok_or(said).unwrap();
    decide(&Bundle::load(&compile(&[policy]).unwrap()).unwrap(), facts)
}

fn holds(condition: &str, facts: &Facts) -> bool {
    let rule =
        format!("  - name: r\n    conditions: [{condition}]\n    actions: [{{type: allow}}]\n");
    !decided(&rules(&rule), facts).matched.is_empty()
}

fn acting(actions: &str, facts: &Facts) -> Decision {
    let rule = format!("  - {{name: r, conditions: [], actions: [{actions}]}}\n");
    decided(&rules(&rule), facts)
}

fn chat() -> Facts {
    let message = |role: &str, content: &str| Message {
        role: role.to_owned(),
        content: content.to_owned(),
    };
    let part = |message, kind| Part { message, kind };
    Facts {
        request: RequestFacts {
            model: Some("GPT-4o".to_owned()),
            messages: vec![message("system", "Be kind"), message("user", "Grüße")],
            tools: vec!["search".to_owned(), "mail".to_owned()],
            parts: Some(vec![
                part(0, PartKind::Text),
                part(1, PartKind::Text),
                part(1, PartKind::Image),
            ]),
            ..RequestFacts::default()
        },
        ..Facts::default()
    }
}

#[test]
fn functions_compute_what_they_say() {
    let facts = chat();
    for (condition, expected) in [
        (
            "{function: len, args: [request.tools], operator: '==', value: 2}",
            true,
        ),
        (
            "{function: len, args: ['{{ request.tools }}'], operator: '>', value: 2}",
            false,
        ),
        (
            "{function: len, args: [request.messages], operator: '==', value: 2}",
            true,
        ),
        (
            "{function: len, args: ['request.messages[1].content'], operator: '==', value: 5}",
            true,
        ),
        (
            "{function: len, args: [request.text], operator: '==', value: 12}",
            true,
        ),
        (
            "{function: len, args: [request.stop], operator: '==', value: 0}",
            true,
        ),
        (
            "{function: len, args: [request.user], operator: '==', value: 0}",
            false,
        ),
        (
            "{function: len, args: [context.user_attributes.roles], operator: '<', value: 5}",
            false,
        ),
        (
            "{function: lower, args: [request.model], operator: '==', value: gpt-4o}",
            true,
        ),
        (
            "{function: lower, args: [request.model], operator: in, value: [gpt-4o]}",
            true,
        ),
        (
            "{function: upper, args: [request.model], operator: ends_with, value: O}",
            true,
        ),
        (
            "{function: upper, args: [request.model], operator: '!=', value: GPT-4O}",
            false,
        ),
        (
            "{field: request.model, operator: '==', value: '{{ lower(request.model) }}'}",
            false,
        ),
        (
            "{function: contains, args: [[mail, run], request.tools]}",
            true,
        ),
        (
            "{function: contains, args: [[run], request.tools], operator: '==', value: true}",
            false,
        ),
        (
            "{function: contains, args: [[run], request.tools], operator: '==', value: false}",
            true,
        ),
        (
            "{function: contains, args: [[GPT-4o], request.model], operator: '!=', value: true}",
            false,
        ),
        ("{function: contains, args: [request.tools, mail]}", true),
        ("{function: contains, args: [request.tools, mai]}", false),
        (
            "{function: contains, args: [request.tools, [run, search]]}",
            true,
        ),
        (
            "{function: contains, args: [request.text, [x, kind]]}",
            true,
        ),
        (
            "{function: contains, args: [{function: lower, args: [request.model]}, gpt]}",
            true,
        ),
        (
            "{function: contains, args: ['lower(request.model)', GPT]}",
            false,
        ),
    ] {
        assert_eq!(holds(condition, &facts), expected, "{condition}");
    }
}

#[test]
fn selectors_choose_messages_and_parts() {
    let facts = chat();
    let len = |path: &str, number: usize| {
        holds(
            &format!("{{function: len, args: ['{path}'], operator: '==', value: {number}}}"),
            &facts,
        )
    };
    assert!(len("request.messages[*].content[type=image]", 1));
    assert!(len("request.messages[*].content[type!=text]", 1));
    assert!(len("request.messages[-1].content[*].type", 2));
    assert!(len("request.messages[0].content[type=image]", 0));
    assert!(len("request.messages[7].content[*].type", 0));
    assert!(len("request.messages[role=user].content", 1));
    assert!(holds(
        "{field: 'request.messages[role=user].content', operator: contains, value: Gr}",
        &facts
    ));
    assert!(!holds(
        "{field: 'request.messages[role=user].content', operator: contains, value: kind}",
        &facts
    ));
    let unknown = Facts::default();
    let images = "{function: len, args: ['request.messages[*].content[type=image]'], operator: '<', value: 9}";
    assert!(
        !holds(images, &unknown),
        "parts nobody told of have no number"
    );
}

#[test]
fn detectors_are_asked_about_the_text_they_looked_at() {
    let mut facts = chat();
    assert!(!holds("{function: has_pii, args: [request.text]}", &facts));
    assert!(!holds(
        "{function: has_pii, operator: '==', value: false}",
        &facts
    ));
    facts.processing.findings = Some(vec![Finding {
        detector: Detector::Pii,
        place: Place::Message(1),
    }]);
    for (argument, expected) in [
        ("request.text", true),
        ("request.messages", true),
        ("'request.messages[*].content'", true),
        ("'request.messages[-1].content'", true),
        ("'request.messages[0].content'", false),
        ("'request.messages[role=system].content'", false),
        ("'request.messages[role=user].content'", true),
    ] {
        let condition = format!("{{function: has_pii, args: [{argument}]}}");
        assert_eq!(holds(&condition, &facts), expected, "{argument}");
    }
    assert!(holds(
        "{function: has_injection, operator: '==', value: false}",
        &facts
    ));
}

#[test]
fn actions_are_named_with_their_templates_filled_in() {
    let decision = acting(
        "{type: redact, fields: [request.messages, 'request.messages[0].content'], method: replace, replacement: '[gone]'}, \
         {type: modify, field: request.max_tokens, value: 100}, \
         {type: modify, field: request.model, value: '{{ lower(request.model) }}'}, \
         {type: modify, field: request.user, value: null}, \
         {type: route, model: gpt-4o-mini, reason: 'not {{ request.model }}'}, \
         {type: alert, message: '{{ len(request.tools) }} tools'}, \
         {type: rate_limit, key: '{{ request.model }}', limit: 5, window: 15min}, \
         {type: budget, key: all, limit: 2.5, window: 1mo, budget_type: cost}, \
         {type: tag, tags: {model: '{{ request.model }}'}}, \
         {type: deny, message: no}, {type: log, level: info, message: never}",
        &chat(),
    );
    let text = |text: &str| Some(text.to_owned());
    let asked: Vec<_> = decision.actions.into_iter().map(|it| it.action).collect();
    assert_eq!(
        asked,
        [
            ActionRequest::Redact {
                fields: vec![
                    "request.messages".to_owned(),
                    "request.messages[0].content".to_owned()
                ],
                texts: ChosenTexts {
                    messages: vec![0, 1],
                    ..ChosenTexts::default()
                },
                method: RedactMethod::Replace,
                replacement: text("[gone]"),
            },
            ActionRequest::Modify {
                field: "request.max_tokens".to_owned(),
                texts: ChosenTexts::default(),
                value: ModifyValue::Number(100.0),
            },
            ActionRequest::Modify {
                field: "request.model".to_owned(),
                texts: ChosenTexts::default(),
                value: ModifyValue::Text("gpt-4o".to_owned()),
            },
            ActionRequest::Modify {
                field: "request.user".to_owned(),
                texts: ChosenTexts::default(),
                value: ModifyValue::Null,
            },
            ActionRequest::Route {
                provider: None,
                model: text("gpt-4o-mini"),
                reason: text("not GPT-4o"),
            },
            ActionRequest::Alert {
                webhook: None,
                message: "2 tools".to_owned(),
                severity: AlertSeverity::Medium,
            },
            ActionRequest::RateLimit {
                key: "GPT-4o".to_owned(),
                limit: 5,
                window: Window::Seconds(900),
            },
            ActionRequest::Budget {
                key: "all".to_owned(),
                limit: 2_500_000,
                unit: BudgetUnit::UsdMicros,
                window: Window::Months(1),
            },
            ActionRequest::Tag {
                tags: vec![("model".to_owned(), "GPT-4o".to_owned())],
            },
        ]
    );
    assert_eq!(decision.verdict, Verdict::Deny);
    assert!(decision.logs.is_empty());
}

#[test]
fn a_shadow_rule_is_recorded_and_never_acts() {
    let text = rules(
        "  - {name: misses, mode: shadow, conditions: [{field: request.user, operator: exists}], actions: [{type: deny, message: no}]}\n\
         \x20 - {name: watched, mode: shadow, conditions: [{field: request.model, operator: exists}], actions: [{type: log, level: info, message: x}, {type: deny, message: no}]}\n\
         \x20 - {name: second, mode: shadow, conditions: [{field: request.tools, operator: exists}], actions: [{type: deny, message: no}]}\n\
         \x20 - {name: acts, conditions: [{field: request.tools, operator: contains, value: mail}], actions: [{type: allow}]}\n\
         \x20 - {name: late, mode: shadow, conditions: [{field: request.model, operator: contains, value: G}], actions: [{type: deny, message: no}]}\n",
    );
    let decision = decided(&text, &chat());
    assert_eq!(decision.verdict, Verdict::Allow);
    let named = |rules: &[jupiter_policy::MatchedRule]| -> Vec<(String, Effect)> {
        rules
            .iter()
            .map(|it| (it.rule.clone(), it.effect))
            .collect()
    };
    assert_eq!(
        named(&decision.matched),
        [("acts".to_owned(), Effect::Allow)]
    );
    assert_eq!(
        named(&decision.shadow),
        [("watched".to_owned(), Effect::Deny)]
    );
    assert!(decision.logs.is_empty());
    assert_eq!(decision.facts, ["request.tools"]);
}

#[test]
fn a_policy_in_shadow_mode_leaves_later_policies_their_say() {
    let shadow = "mpl_version: \"1.0\"\nname: watched\nversion: 1.0.0\npriority: 5\nmode: shadow\nrules:\n\
                  \x20 - {name: r, conditions: [], actions: [{type: deny, message: no}]}\n";
    let text = rules("  - {name: r, conditions: [], actions: [{type: deny, message: no}]}\n");
    let policies = [shadow, &text].map(|text| check(text).policy.unwrap());
    let decision = decide(
        &Bundle::load(&compile(&policies).unwrap()).unwrap(),
        &chat(),
    );
    assert_eq!(decision.denial.unwrap().policy, "p");
    assert_eq!(decision.shadow[0].policy, "watched");
}

#[test]
fn response_rules_are_passed_over() {
    let facts = Facts {
        response: ResponseFacts {
            content: Some("secret".to_owned()),
            ..ResponseFacts::default()
        },
        ..chat()
    };
    let text = rules(
        "  - {name: answer, conditions: [{field: response.content, operator: contains, value: secret}], actions: [{type: deny, message: no}]}\n\
         \x20 - {name: said, phase: response, conditions: [], actions: [{type: deny, message: no}]}\n\
         \x20 - {name: request, conditions: [], actions: [{type: allow}]}\n",
    );
    let decision = decided(&text, &facts);
    assert_eq!(decision.matched[0].rule, "request");
    assert!(decision.facts.is_empty());
}

#[test]
fn only_what_decided_is_named() {
    let text = rules(
        "  - name: r\n    conditions:\n      - any:\n          - {field: request.user, operator: exists}\n          \
         - {field: request.model, operator: '!=', value: '{{ request.user }}'}\n      \
         - not: {field: request.tools, operator: contains, value: x}\n    actions: [{type: allow}]\n",
    );
    assert_eq!(
        decided(&text, &chat()).facts,
        ["request.model", "request.user", "request.tools"]
    );
}
