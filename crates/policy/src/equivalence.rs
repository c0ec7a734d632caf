//! Jumps, scans and kept answers say what the plain conditions say.

use crate::author::generate;
use crate::eval::Evaluation;
use crate::facts::{ContextFacts, Facts, Message, RequestFacts, ResponseFacts};
use crate::load::Bundle;
use crate::program::Node;
use crate::stages::Stage;
use proptest::prelude::*;

/// Every shape of condition over texts, numbers and flags, some of them asked twice.
const POLICY: &str = r#"
mpl_version: "1.0"
name: shapes
version: 1.0.0
rules:
  - name: words
    conditions:
      - any:
          - {field: request.text, operator: contains, value: CONFIDENTIAL}
          - {field: request.text, operator: matches, value: '(?i)\bsecret\s*[:=]\s*\S+'}
          - {field: "request.messages[-1].content", operator: matches, value: '\d{3}-\d{2}'}
          - not: {field: "request.messages[0].content", operator: contains, value: é}
    actions: [{type: log, level: info, message: m}]
  - name: again
    conditions:
      - {field: request.text, operator: contains, value: CONFIDENTIAL}
      - {field: request.model, operator: in, value: [gpt-4o, claude]}
      - {field: request.model, operator: "!=", value: claude}
    actions: [{type: log, level: info, message: m}]
  - name: numbers
    conditions:
      - not:
          all:
            - {field: request.temperature, operator: ">", value: 1}
            - any:
                - {field: request.max_tokens, operator: "<=", value: 100}
                - {field: request.stream, operator: "==", value: true}
                - {field: request.stream, operator: "!=", value: false}
      - {field: request.text, operator: matches, value: '(?i)\bsecret\s*[:=]\s*\S+'}
    actions: [{type: allow}]
  - name: parts
    conditions:
      - any:
          - {field: request.user, operator: starts_with, value: a}
          - {field: request.model, operator: ends_with, value: "-4"}
          - {field: request.tools, operator: contains, value: search}
          - not: {field: request.model, operator: contains, value: "4"}
    actions: [{type: log, level: info, message: m}]
  - name: models
    conditions:
      - {field: request.model, operator: not_in, value: [gpt-4o, other]}
      - {field: request.user, operator: "==", value: null}
      - {field: request.model, operator: matches, value: '^gpt-[0-9]'}
    actions: [{type: deny, message: m}]
"#;

fn text() -> impl Strategy<Value = String> {
    "(CONFIDENTIAL|confidential|secret[:= ]{1,2}x?|[0-9]{2,3}-[0-9]{2}|é|K|[ a-z]{0,3}){0,4}"
}

prop_compose! {
    fn facts()(
        messages in proptest::collection::vec((text(), "user|tool"), 0..4),
        other_texts in proptest::collection::vec(text(), 0..2),
        content in proptest::option::of(text()),
        model in proptest::option::of("gpt-4o|gpt-4|claude|x"),
        user in proptest::option::of("a"),
        temperature in proptest::option::of(0.0..2.0f64),
        max_tokens in proptest::option::of(0.0..200.0f64),
        tools in proptest::collection::vec("search|mail", 0..3),
        stream in any::<Option<bool>>(),
        time_unix_us in any::<u64>(),
    ) -> Facts {
        let message = |(content, role)| Message { role, content };
        Facts {
            request: RequestFacts {
                messages: messages.into_iter().map(message).collect(),
                other_texts, model, user, temperature, max_tokens, stream, tools,
                ..RequestFacts::default()
            },
            context: ContextFacts { time_unix_us, ..ContextFacts::default() },
            response: ResponseFacts { content, ..ResponseFacts::default() },
            ..Facts::default()
        }
    }
}

/// `None` when the policy does not compile, which the caller asserts.
fn bundle() -> Option<Bundle> {
    let policy = crate::check(POLICY).policy?;
    Bundle::load(&crate::compile(&[policy]).ok()?).ok()
}

#[test]
fn the_policy_compiles() {
    assert!(bundle().is_some(), "{:?}", crate::check(POLICY).diagnostics);
}

/// Whether jumps and scans say what the plain conditions say.
fn agree(bundle: &Bundle, facts: &Facts) -> Result<(), TestCaseError> {
    let evaluation = Evaluation::new(bundle, facts, Stage::Request);
    let program = &bundle.program;
    for id in (0..).take(program.records.len()) {
        if let Some(Node::Text(text)) = program.node(id)
            && let Some(found) = evaluation.scanned(id, text.field)
        {
            prop_assert_eq!(found, evaluation.text_holds(&text), "{:?}", text);
        }
    }
    for (policy, nth) in program.policies().zip(0..) {
        for from in 0..=policy.rules.len() {
            let rules = policy.rules.iter().filter_map(|rule| program.rule(*rule));
            let mut rules = rules.enumerate().skip(from);
            let plain = rules
                .find(|(_, rule)| Stage::Request.asks(rule) && evaluation.holds(rule.condition));
            let code = bundle.code.at(Stage::Request);
            let by_code = code.first_match(nth, from, &evaluation);
            prop_assert_eq!(by_code, plain.map(|(place, _)| place));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shortcuts_agree_with_plain_conditions(facts in facts()) {
        let bundle = bundle();
        agree(bundle.as_ref().ok_or_else(|| TestCaseError::fail("no bundle"))?, &facts)?;
    }

    #[test]
    fn shortcuts_agree_with_plain_conditions_of_generated_bundles(
        choices in proptest::collection::vec(any::<u8>(), 0..800),
        facts in facts(),
    ) {
        let bundle = Bundle::load(&generate::bundle(&choices));
        agree(&bundle.map_err(|cause| TestCaseError::fail(cause.to_string()))?, &facts)?;
    }
}
