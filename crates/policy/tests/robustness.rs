//! Outside bytes and texts never panic; what compiles loads, and is decided.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::facts::{ContextFacts, Facts, Message, RequestFacts};
use jupiter_policy::{
    Bundle, CompileError, MAX_BUNDLE_BYTES, Severity, check, compile, decide, render,
};
use proptest::prelude::*;

const EXAMPLES: [&str; 11] = [
    include_str!("../../../examples/policies/quickstart.yaml"),
    include_str!("../../../examples/policies/business-hours.yaml"),
    include_str!("../../../examples/policies/careful-parameters.yaml"),
    include_str!("../../../examples/policies/secrets-stay-home.yaml"),
    include_str!("../../../examples/policies/tool-governance.yaml"),
    include_str!("../../../examples/policies/departments.yaml"),
    include_str!("../../../examples/policies/model-allowlist.yaml"),
    include_str!("../../../examples/policies/multimodal.yaml"),
    include_str!("../../../examples/policies/rate-limits.yaml"),
    include_str!("../../../examples/policies/sensitive-content.yaml"),
    include_str!("../../../examples/policies/shadow-rollout.yaml"),
];

fn example_bundle() -> Vec<u8> {
    let policies: Vec<_> = EXAMPLES
        .iter()
        .map(|text| check(text).policy.unwrap())
        .collect();
    compile(&policies).unwrap()
}

/// What must hold whatever the text is.
fn survives(text: &str, facts: &Facts) {
    let checked = check(text);
    let errors = checked
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    assert_eq!(
        checked.policy.is_none(),
        errors > 0,
        "a policy is there exactly without errors"
    );
    render(&checked.diagnostics, text, "text");
    for diagnostic in &checked.diagnostics {
        let span = diagnostic.span;
        assert!(
            span.offset <= span.end_offset && span.end_offset <= text.len(),
            "{span:?}"
        );
        assert!(span.line >= 1 && span.column >= 1, "{span:?}");
    }
    if let Some(policy) = checked.policy {
        let bytes = compile(std::slice::from_ref(&policy)).unwrap();
        assert_eq!(bytes, compile(&[policy]).unwrap());
        decide(&Bundle::load(&bytes).unwrap(), facts);
    }
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        "(gpt-4o|user|CONFIDENTIAL|AKIA[0-9A-Z]{16}|é|\\PC{0,20})".prop_map(Some),
    ]
}

prop_compose! {
    fn facts()(
        texts in proptest::collection::vec(text(), 8),
        model in text(),
        user in text(),
        number in proptest::option::of(any::<f64>()),
        stream in any::<Option<bool>>(),
        time_unix_us in any::<u64>(),
    ) -> Facts {
        let some: Vec<String> = texts.into_iter().flatten().collect();
        let message = |text: &String| Message { role: text.clone(), content: text.clone() };
        Facts {
            request: RequestFacts {
                messages: some.iter().map(message).collect(),
                model,
                user: user.clone(),
                temperature: number,
                max_tokens: number,
                stream,
                stop: some.clone(),
                tools: some.clone(),
                other_texts: some,
                ..RequestFacts::default()
            },
            context: ContextFacts { user_id: user, time_unix_us, ..ContextFacts::default() },
            ..Facts::default()
        }
    }
}

/// Conditions over few fields and values, so that they meet often.
fn conditions() -> impl Strategy<Value = String> {
    let number = ("(==|!=|<|>|<=|>=)", 0..4u8).prop_map(|(operator, value)| {
        format!("{{field: request.max_tokens, operator: '{operator}', value: {value}}}")
    });
    let numbers = ("(in|not_in)", "\\[(1|2|1, 3)\\]").prop_map(|(operator, set)| {
        format!("{{field: request.max_tokens, operator: {operator}, value: {set}}}")
    });
    let text =
        ("(==|!=|contains|starts_with|ends_with)", "(a|b|ab)").prop_map(|(operator, value)| {
            format!("{{field: request.model, operator: '{operator}', value: {value}}}")
        });
    let texts = ("(in|not_in)", "\\[(a|b|a, b)\\]").prop_map(|(operator, set)| {
        format!("{{field: request.model, operator: {operator}, value: {set}}}")
    });
    let other = "request\\.(model|stream|max_tokens), operator: '(==|!=)', value: null"
        .prop_map(|condition| format!("{{field: {condition}}}"));
    let stream = "'(==|!=)', value: (true|false)"
        .prop_map(|condition| format!("{{field: request.stream, operator: {condition}}}"));
    let leaf = prop_oneof![number, numbers, text, texts, other, stream];
    let condition = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| format!("{{not: {it}}}")),
            proptest::collection::vec(inner.clone(), 1..4)
                .prop_map(|all| format!("{{any: [{}]}}", all.join(", "))),
            proptest::collection::vec(inner, 1..4)
                .prop_map(|all| format!("{{all: [{}]}}", all.join(", "))),
        ]
    });
    proptest::collection::vec(condition, 1..3).prop_map(|all| all.join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_texts_never_panic(text in "\\PC{0,200}") {
        survives(&text, &Facts::default());
    }

    #[test]
    fn yaml_like_texts_never_panic(text in "([\\[\\]{}:,&*!|>'\"#%@`?\\-]|[a-z ]|\n| {2}|é|\t){0,120}") {
        survives(&text, &Facts::default());
    }

    #[test]
    fn mutated_policies_never_panic(
        nth in 0..EXAMPLES.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..6usize, "\\PC{0,6}|\n|  "), 1..6),
        facts in facts(),
    ) {
        let mut chars: Vec<char> = EXAMPLES[nth].chars().collect();
        for (index, removed, inserted) in edits {
            let at = index.index(chars.len());
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, inserted.chars());
        }
        survives(&chars.into_iter().collect::<String>(), &facts);
    }

    /// What is said never to act never acts.
    #[test]
    fn rules_said_to_be_idle_are_idle(rules in proptest::collection::vec(conditions(), 1..5)) {
        let text: String = rules
            .iter()
            .enumerate()
            .map(|(nth, conditions)| {
                format!("  - {{name: r{nth}, conditions: [{conditions}], actions: [{{type: allow}}]}}\n")
            })
            .collect();
        let text = format!("mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n{text}");
        let checked = check(&text);
        let said = |rule: &str| {
            let idle = ["shadowed-rule", "unreachable-rule", "contradiction"];
            checked.diagnostics.iter().any(|it| {
                idle.contains(&it.code) && it.span.line == 5 + rule.get(1..).unwrap().parse::<usize>().unwrap()
            })
        };
        let bundle = Bundle::load(&compile(&[checked.policy.clone().unwrap()]).unwrap()).unwrap();
        for model in [None, Some("a"), Some("b"), Some("ab")] {
            for number in [None, Some(0.0), Some(1.0), Some(2.0), Some(2.5), Some(3.0)] {
                for stream in [None, Some(true), Some(false)] {
                    let request = RequestFacts {
                        model: model.map(str::to_owned),
                        max_tokens: number,
                        stream,
                        ..RequestFacts::default()
                    };
                    let facts = Facts { request, ..Facts::default() };
                    for matched in decide(&bundle, &facts).matched {
                        prop_assert!(!said(&matched.rule), "{} acts in\n{text}", matched.rule);
                    }
                }
            }
        }
    }

    /// Lines swapped and repeated keep more of the structure than single characters do.
    #[test]
    fn shuffled_policies_never_panic(
        nth in 0..EXAMPLES.len(),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        facts in facts(),
    ) {
        let mut lines: Vec<&str> = EXAMPLES[nth].lines().collect();
        for (one, other) in swaps {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines[one] = lines[other];
        }
        survives(&lines.join("\n"), &facts);
    }

    #[test]
    fn any_facts_are_decided_the_same_twice(facts in facts()) {
        let bundle = Bundle::load(&example_bundle()).unwrap();
        let decision = decide(&bundle, &facts);
        prop_assert_eq!(&decision, &decide(&bundle, &facts));
        prop_assert!(decision.matched.len() <= EXAMPLES.len());
    }

    #[test]
    fn broken_bundles_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
        facts in facts(),
    ) {
        let mut bytes = example_bundle();
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(index) = cut {
            bytes.truncate(index.index(bytes.len()));
        }
        if let Ok(bundle) = Bundle::load(&bytes) {
            decide(&bundle, &facts);
        }
    }
}

#[test]
fn every_single_byte_of_a_bundle_may_be_broken() {
    // Without patterns, whose own bytes are tried in their crate.
    let policy = check(EXAMPLES[1]).policy.unwrap();
    let bytes = compile(&[policy]).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x02, 0x7f, 0x80, 0xff] {
            let mut broken = bytes.clone();
            broken[at] ^= flip;
            if let Ok(bundle) = Bundle::load(&broken) {
                decide(&bundle, &Facts::default());
            }
        }
        assert!(Bundle::load(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn hostile_texts_are_refused_quickly() {
    let policy = |variables: &str, value: &str| {
        format!(
            "mpl_version: '1.0'\nname: a\nversion: 1.0.0\nvariables:\n{variables}\nrules:\n  - name: r\n    \
             conditions: [{{field: request.model, operator: '==', value: '{value}'}}]\n    \
             actions: [{{type: allow}}]\n"
        )
    };
    let doubling: String = (1..40)
        .map(|n| {
            format!(
                "  v{n}: '{{{{ variables.v{} }}}}{{{{ variables.v{} }}}}'\n",
                n - 1,
                n - 1
            )
        })
        .collect();
    let chain: String = (1..5000)
        .map(|n| format!("  v{n}: '{{{{ variables.v{} }}}}'\n", n - 1))
        .collect();
    let laughs: String = (1..30)
        .map(|n| format!("  a{n}: &a{n} [*a{}, *a{}, *a{}]\n", n - 1, n - 1, n - 1))
        .collect();
    let wrong: String = (0..20_000)
        .map(|n| format!("  v{n}: '{{{{ variables.w{n} }}}}'\n"))
        .collect();
    let texts = [
        "[".repeat(1_000_000),
        "{".repeat(1_000_000),
        "- ".repeat(500_000),
        "a: ".repeat(300_000),
        "? ".repeat(300_000),
        "a:\n ".repeat(200_000),
        "x".repeat(1_048_576),
        "x".repeat(1_048_577),
        "*a ".repeat(300_000),
        "&a ".repeat(300_000),
        "[1,".repeat(200_000),
        format!("[{}]", "1,".repeat(500_000)),
        "\"".repeat(1_000_000),
        "'a' ".repeat(200_000),
        "a: b\n".repeat(200_000),
        "!a ".repeat(300_000),
        "%a ".repeat(300_000),
        "--- \n".repeat(200_000),
        "#\n".repeat(500_000),
        "| \n".repeat(300_000),
        "\t".repeat(1_000_000),
        "\n".repeat(1_000_000),
        policy(
            &format!("  v0: aaaaaaaaaaaaaaaa\n{doubling}"),
            "{{ variables.v39 }}",
        ),
        policy(&format!("  v0: a\n{chain}"), "{{ variables.v4999 }}"),
        policy(&format!("  a0: &a0 [x, y, z]\n{laughs}"), "x"),
        policy(&wrong, "x"),
        policy("  v: x", &"{{ variables.v }}".repeat(40_000)),
        policy("  v: x", &"{{".repeat(400_000)),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        survives(&text, &Facts::default());
        let head: String = text.chars().take(20).collect();
        println!("{head:?} {:?}", start.elapsed());
        // Generous: a busy machine and an unoptimised build are no fault.
        assert!(
            start.elapsed().as_secs() < 20,
            "{head:?} took {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_circle_among_variables_is_found() {
    let text = "mpl_version: '1.0'\nname: a\nversion: 1.0.0\nvariables: {a: '{{ variables.b }}', b: '{{ variables.a }}'}\nrules: []\n";
    let codes: Vec<_> = check(text).diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["variable-cycle", "empty-rules"]);
}

#[test]
fn bundles_beyond_the_limit_are_refused_on_both_sides() {
    let list: Vec<String> = (0..12_000).map(|n| format!("model-number-{n}")).collect();
    let text = format!(
        "mpl_version: '1.0'\nname: long\nversion: 1.0.0\nrules:\n  - name: r\n    conditions:\n      \
         - {{field: request.model, operator: in, value: [{}]}}\n    actions: [{{type: allow}}]\n",
        list.join(", ")
    );
    let error = compile(&[check(&text).policy.unwrap()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("`long` with "), "{error}");
    assert!(Bundle::load(&vec![0; MAX_BUNDLE_BYTES + 1]).is_err());
}

#[test]
fn bundles_do_not_depend_on_the_order_policies_are_given_in() {
    let mut policies: Vec<_> = EXAMPLES
        .iter()
        .map(|text| check(text).policy.unwrap())
        .collect();
    let bytes = compile(&policies).unwrap();
    policies.reverse();
    assert_eq!(compile(&policies).unwrap(), bytes);
    let bundle = Bundle::load(&bytes).unwrap();
    let names: Vec<_> = bundle.policy_names().collect();
    assert_eq!(
        names,
        [
            "secrets-stay-home",
            "business-hours",
            "careful-parameters",
            "departments",
            "model-allowlist",
            "multimodal",
            "quickstart",
            "rate-limits",
            "sensitive-content",
            "shadow-rollout",
            "tool-governance"
        ]
    );
    policies.push(policies[0].clone());
    assert!(compile(&policies).is_err());
}

/// A policy whose one rule asks for any of many conditions.
fn any_of(conditions: impl Iterator<Item = String>) -> String {
    let conditions: Vec<String> = conditions.collect();
    format!(
        "mpl_version: '1.0'\nname: heavy\nversion: 1.0.0\nrules:\n  - name: r\n    conditions:\n      \
         any: [{}]\n    actions: [{{type: deny, message: no}}]\n",
        conditions.join(", ")
    )
}

#[test]
fn heavy_policies_make_a_bundle_within_bounds_or_a_reason() {
    let asks = |operator: &'static str, value: String| {
        format!("{{field: request.text, operator: {operator}, value: '{value}'}}")
    };
    let nested = |depth: usize| {
        let leaf = "{field: request.model, operator: ==, value: a}";
        format!("{}{leaf}{}", "{not: ".repeat(depth), "}".repeat(depth))
    };
    let keywords = |count: u32| (0..count).map(move |n| asks("contains", format!("keyword {n}")));
    for text in [
        any_of(keywords(1_000)),
        any_of(keywords(10_000)),
        any_of(keywords(30_000)),
        any_of((0..600).map(|n| asks("matches", format!("[a-z]{n}+x")))),
        any_of((0..60).map(|n| asks("matches", format!("(a|b{n}|c).{{20,60}}z")))),
        any_of(std::iter::once(asks(
            "matches",
            "(((a{1,9}){1,9}){1,9}){1,9}".to_owned(),
        ))),
        any_of((1..60).map(nested)),
    ] {
        let checked = check(&text);
        let Some(policy) = checked.policy else {
            assert!(
                checked
                    .diagnostics
                    .iter()
                    .any(|d| d.severity == Severity::Error)
            );
            continue;
        };
        match compile(&[policy]) {
            Ok(bytes) => assert!(bytes.len() <= MAX_BUNDLE_BYTES && Bundle::load(&bytes).is_ok()),
            Err(
                CompileError::TooLarge { .. }
                | CompileError::TooCostly
                | CompileError::TooManyPatterns,
            ) => {}
            Err(cause) => panic!("{cause}"),
        }
    }
}
