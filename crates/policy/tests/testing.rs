//! Tests of policies: read, run, counted.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::testing::{ExpectedAction, RuleState, explain, parse_tests, run};
use jupiter_policy::facts::PartKind;
use jupiter_policy::{Bundle, Policy, check, compile, render};

const POLICY: &str = r#"
mpl_version: "1.0"
name: models
version: 1.0.0
rules:
  - name: no-old-models
    conditions:
      - {field: request.model, operator: starts_with, value: gpt-3}
      - {field: context.environment, operator: "==", value: production}
    actions: [{type: deny, code: old_model, message: "{{ request.model }} is too old"}]
  - name: expensive
    conditions: [{field: processing.cost_estimate.total_cost, operator: ">", value: 1}]
    actions: [{type: route, model: gpt-4o-mini}]
  - name: never
    conditions: [{field: request.user, operator: "==", value: nobody}]
    actions: [{type: allow}]
"#;

const TESTS: &str = r#"
tests:
  - name: "Refuse an old model"
    description: As it stands in files of the first generation
    request:
      model: gpt-3.5-turbo
      messages:
        - role: user
          content: Hello
    context: {environment: production}
    expect:
      action: block
      reason: gpt-3.5-turbo is too old
  - name: "Send expensive requests elsewhere"
    request: {model: gpt-4o}
    metadata:
      user_id: test-user
      estimated_cost: 1.50
    expect: {action: route, rule: models/expensive}
  - name: "Wrongly expected"
    request: {model: gpt-3.5-turbo}
    expect: {action: deny, code: old_model}
"#;

fn policy() -> Policy {
    check(POLICY).policy.unwrap()
}

#[test]
fn files_of_cases_are_run_and_differences_told() {
    let tests = parse_tests(TESTS);
    let codes: Vec<_> = tests.diagnostics.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["alternate-form"]);
    let cases = tests.cases.unwrap();
    assert_eq!(cases[0].expect.action, Some(ExpectedAction::Deny));
    assert_eq!(cases[1].facts.context.user_id.as_deref(), Some("test-user"));
    let report = run(&[policy()], &cases).unwrap();
    assert_eq!(report.failed(), 1);
    let told: Vec<_> = report.outcomes.iter().map(|it| &it.differences).collect();
    assert!(told[0].is_empty() && told[1].is_empty(), "{told:?}");
    assert_eq!(
        *told[2],
        [
            "expected action `deny`, got `allow`",
            "expected code `old_model`, got `nothing`"
        ]
    );
}

#[test]
fn coverage_names_what_never_decided_anything() {
    let cases = parse_tests(TESTS).cases.unwrap();
    let coverage = run(&[policy()], &cases).unwrap().coverage;
    let counts: Vec<_> = coverage
        .rules
        .iter()
        .map(|rule| (rule.rule.as_str(), rule.evaluated, rule.matched))
        .collect();
    // A rule after the one that acts is not looked at.
    assert_eq!(
        counts,
        [
            ("no-old-models", 3, 1),
            ("expensive", 2, 1),
            ("never", 1, 0)
        ]
    );
    let unmatched: Vec<_> = coverage.unmatched().map(|rule| &rule.rule).collect();
    assert_eq!(unmatched, ["never"]);
    let conditions: Vec<_> = coverage
        .rules
        .iter()
        .flat_map(|rule| &rule.conditions)
        .map(|it| (it.text.as_str(), it.decided()))
        .collect();
    assert_eq!(
        conditions,
        [
            ("request.model starts_with gpt-3", true),
            ("context.environment == production", true),
            ("processing.cost_estimate.total_cost > 1", true),
            ("request.user == nobody", false),
        ]
    );
}

#[test]
fn a_request_is_read_as_a_client_sends_it() {
    let text = r#"
tests:
  - name: all of it
    request:
      model: gpt-4o
      max_tokens: 10
      max_completion_tokens: 20
      temperature: 0.5
      stream: true
      stop: END
      user: ada
      tools: [{type: function, function: {name: search, description: finds}}, mail]
      messages:
        - {role: system, content: Be kind}
        - role: user
          content: [{type: text, text: See}, {type: image_url, image_url: {url: x}}, {type: text, text: this}]
        - {role: assistant, content: null, tool_calls: [{function: {name: f, arguments: "{}"}}]}
      prediction: {content: guess}
    context:
      time: "2026-01-27T09:00:00Z"
      user_attributes: {user_id: ada, tier: free, roles: [admin]}
    processing: {content_analysis: {prompt_injection: {type: override}}}
    response: {content: Hi}
    expect: allow
"#;
    let tests = parse_tests(text);
    let said = render(&tests.diagnostics, text, "tests");
    let facts = tests.cases.ok_or(said).unwrap().remove(0).facts;
    let request = &facts.request;
    assert_eq!(request.max_tokens, Some(20.0));
    assert_eq!(request.stop, ["END"]);
    assert_eq!(request.tools, ["search", "mail"]);
    assert_eq!(request.messages[1].content, "See\nthis");
    let kinds: Vec<_> = request.parts.iter().flatten().map(|it| it.kind).collect();
    use PartKind::{Image, Text};
    assert_eq!(kinds, [Text, Text, Image, Text]);
    for text in ["finds", "{}", "guess"] {
        assert!(request.texts().any(|it| it == text), "{text}");
    }
    assert_eq!(facts.context.time_unix_us, 1_769_504_400_000_000);
    assert_eq!(facts.context.user_id.as_deref(), Some("ada"));
    assert_eq!(facts.context.user_attributes.tier.as_deref(), Some("free"));
    assert_eq!(facts.response.content.as_deref(), Some("Hi"));
}

#[test]
fn what_no_test_can_mean_is_told_with_its_place() {
    for (text, code) in [
        ("tests:\n  - {name: a}\n", "missing-key"),
        (
            "tests:\n  - {name: a, expect: {action: alow}}\n",
            "unknown-value",
        ),
        ("test: []\n", "unknown-key"),
        (
            "tests:\n  - {name: a, request: {stream: 5}, expect: {action: allow}}\n",
            "wrong-shape",
        ),
        (
            "tests:\n  - {name: a, processing: {risk: 5}, expect: {action: allow}}\n",
            "bad-case",
        ),
    ] {
        let tests = parse_tests(text);
        assert!(tests.cases.is_none(), "{text}");
        assert!(
            tests.diagnostics.iter().any(|it| it.code == code),
            "{text}: {:?}",
            tests.diagnostics
        );
        assert!(tests.diagnostics.iter().all(|it| it.span.line > 0));
    }
}

#[test]
fn answers_are_decided_where_a_case_knows_them() {
    let policy = check(
        r#"
mpl_version: "1.0"
name: answers
version: 1.0.0
rules:
  - name: no-old-models
    conditions: [{field: request.model, operator: starts_with, value: gpt-3}]
    actions: [{type: deny, code: old_model, message: "no"}]
  - name: keys-stay-here
    conditions: [{field: response.content, operator: contains, value: AKIA}]
    actions: [{type: deny, code: credential, message: "no"}]
"#,
    );
    let cases = parse_tests(
        r#"
tests:
  - name: an answer is refused
    request: {model: gpt-4o}
    response: {content: AKIA}
    expect: {action: deny, code: credential, rules: [answers/keys-stay-here]}
  - name: a refused request has none
    request: {model: gpt-3}
    response: {content: AKIA}
    expect: {action: deny, code: old_model, rules: [answers/no-old-models]}
  - name: without an answer the request is decided
    request: {model: gpt-4o}
    expect: {action: allow, rules: []}
"#,
    );
    let cases = cases.cases.unwrap();
    let policies = [policy.policy.unwrap()];
    let report = run(&policies, &cases).unwrap();
    for outcome in &report.outcomes {
        assert!(
            outcome.passed(),
            "{}: {:?}",
            outcome.name,
            outcome.differences
        );
    }
    let counted: Vec<_> = report
        .coverage
        .rules
        .iter()
        .map(|it| (it.evaluated, it.matched))
        .collect();
    assert_eq!(counted, [(3, 1), (1, 1)]);

    let bundle = Bundle::load(&compile(&policies).unwrap()).unwrap();
    let states: Vec<Vec<RuleState>> = cases
        .iter()
        .map(|case| {
            explain(&bundle, &case.facts)
                .rules
                .iter()
                .map(|it| it.state)
                .collect()
        })
        .collect();
    use RuleState::{Acted, NoMatch, NotReached, ResponsePhase};
    assert_eq!(
        states,
        [
            [NoMatch, Acted],
            [Acted, NotReached],
            [NoMatch, ResponsePhase]
        ]
    );
}
