//! A decision is the same natively and inside Envoy.
//!
//! The policy engine runs as the filter has it, compiled to wasm, and decides in Envoy
//! what this test decides itself: bundles and facts go there as bytes, decisions come
//! back as text and are compared whole, numbers and messages included.

use std::path::{Path, PathBuf};

use jupiter_bench_probe::envoy;
use jupiter_bench_probe::tasks::Task;
use jupiter_policy::author::generate;
use jupiter_policy::author::testing::parse_tests;
use jupiter_policy::facts::{ContextFacts, Facts, Message, RequestFacts};
use jupiter_policy::{Bundle, check, compile, decide, render};
use jupiter_testkit::{envoy_binary, target_dir};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::examples::case_files;

/// Asserts that Envoy decides all facts by all bundles as we do; how many decisions.
fn assert_same(bundles: Vec<Vec<u8>>, facts: Vec<Facts>) -> usize {
    let decided = |bundle: &Vec<u8>| {
        let bundle = Bundle::load(bundle).expect("a bundle that loads");
        let decision = |facts: &Facts| {
            let decision = decide(&bundle, facts);
            serde_json::to_string(&decision).expect("a decision as JSON")
        };
        facts.iter().map(decision).collect::<Vec<_>>()
    };
    let ours: Vec<String> = bundles.iter().flat_map(decided).collect();
    let task = Task::Decide { bundles, facts };
    let theirs = envoy::ask(&envoy_binary(), &module(), &task).expect("decisions");
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    ours.len()
}

/// The policy engine as `./justw e2e` builds it.
fn module() -> PathBuf {
    let module = target_dir().join("wasm32-unknown-unknown/filter/jupiter_bench_probe.wasm");
    let advice = "is missing; `./justw test` builds it";
    assert!(module.is_file(), "`{}` {advice}", module.display());
    module
}

fn bundle(text: &str) -> Vec<u8> {
    let checked = check(text);
    let policy = checked.policy;
    let policy = policy.unwrap_or_else(|| panic!("{}", render(&checked.diagnostics, text, "it")));
    compile(&[policy]).expect("a bundle")
}

fn example(path: &Path) -> Vec<u8> {
    bundle(&std::fs::read_to_string(path).expect("an example"))
}

#[test]
fn examples_are_decided_in_envoy_as_they_are_natively() {
    let mut bundles = Vec::new();
    let mut facts = Vec::new();
    for (path, _) in case_files() {
        let file = parse_tests(&std::fs::read_to_string(&path).expect("cases"));
        let beside = path.parent().expect("a folder");
        for policy in file.policies.expect("policies") {
            bundles.push(example(&beside.join(policy)));
        }
        facts.extend(
            file.cases
                .expect("cases")
                .into_iter()
                .map(|case| case.facts),
        );
    }
    let decisions = assert_same(bundles, facts);
    assert!(decisions > 300, "only {decisions} decisions were compared");
}

/// Conditions in which a difference would show: numbers at their edges, time, letters
/// beyond ASCII, patterns, arithmetic.
fn condition() -> impl Strategy<Value = String> {
    let number = "-?[0-9]{1,3}(\\.[0-9]{1,3})?|1e3[0-9]|5e-32[0-4]|-0\\.0|9007199254740993";
    let field = "request\\.(temperature|max_tokens|top_p)|context\\.time\\.(hour|minute|timestamp|day|month|year)|processing\\.risk_score";
    let compared = (field, "(<|>|<=|>=|==|!=)", number)
        .prop_map(|(field, sign, number)| format!("{field} {sign} {number}"));
    let computed = (field, "[+*-]", field, "(<|>|<=|>=|==)", number).prop_map(
        |(left, operator, right, sign, number)| {
            format!("{left} {operator} {right} {sign} {number}")
        },
    );
    let word = "(a|ß|İ|Ω|ǅ|é|STRASSE|ſ|K|x1)";
    let texts = "(request\\.model|request\\.user|request\\.text)";
    let text = (texts, "(contains|startsWith|endsWith)", word)
        .prop_map(|(field, test, word)| format!("{field}.{test}('{word}')"));
    let lowered = (texts, word).prop_map(|(field, word)| {
        format!(
            "{field}.lowerAscii().contains('{}')",
            word.to_ascii_lowercase()
        )
    });
    let pattern = (
        texts,
        "(a|\\.|\\[\\^a\\]|\\[a-zß\\])",
        "(\\{1,3\\}|\\+|\\?|)",
        "(b|\\$|1|)",
    )
        .prop_map(|(field, one, many, end)| format!("{field}.matches('{one}{many}{end}')"));
    let any_case = (texts, word).prop_map(|(field, word)| format!("{field}.matches('(?i){word}')"));
    let length = (
        "(request\\.text|request\\.messages|request\\.tools)",
        0..20u8,
    )
        .prop_map(|(field, length)| format!("size({field}) > {length}"));
    let day = "(Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
        .prop_map(|day| format!("context.time.day_of_week == '{day}'"));
    let each =
        word.prop_map(|word| format!("request.messages.exists(m, m.content.contains('{word}'))"));
    let leaf = prop_oneof![
        compared, computed, text, lowered, pattern, any_case, length, day, each
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        (inner.clone(), "(&&|\\|\\|)", inner)
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})"))
    })
}

/// A policy that says in its message what the fields were.
fn policy() -> impl Strategy<Value = String> {
    proptest::collection::vec(condition(), 1..6).prop_map(|conditions| {
        let rule = |(nth, condition): (usize, &String)| {
            format!(
                "  - name: rule-{nth}\n    when: |\n      {condition}\n    actions:\n      - type: deny\n        \
                 message: '{{{{ request.model }}}} {{{{ request.temperature }}}} {{{{ request.max_tokens }}}} \
                 {{{{ request.top_p }}}} {{{{ context.time.date }}}} {{{{ context.time.timestamp }}}}'\n"
            )
        };
        let rules: String = conditions.iter().enumerate().map(rule).collect();
        format!("mpl_version: '1.0'\nname: generated\nversion: 1.0.0\nrules:\n{rules}")
    })
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        proptest::num::f64::ANY.prop_map(Some),
        (-1000..1000i32).prop_map(|it| Some(f64::from(it) / 8.0)),
        Just(Some(9_007_199_254_740_993.0)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    "(a|ß|İ|Ω|ǅ|é|STRASSE|ſ|K|x1|b|1|\\PC){0,6}"
}

fn facts() -> impl Strategy<Value = Facts> {
    let numbers = [(); 4].map(|()| number());
    let texts = proptest::collection::vec(text(), 0..4);
    let time = prop_oneof![any::<u64>(), 0..4_102_444_800_000_000u64];
    (numbers, proptest::option::of(text()), texts, text(), time).prop_map(
        |([temperature, max_tokens, top_p, risk], model, texts, user, time_unix_us)| {
            let message = |content: &String| Message {
                role: "user".to_owned(),
                content: content.clone(),
            };
            let mut facts = Facts {
                request: RequestFacts {
                    model,
                    user: Some(user),
                    messages: texts.iter().map(message).collect(),
                    temperature,
                    max_tokens,
                    top_p,
                    tools: texts,
                    ..RequestFacts::default()
                },
                context: ContextFacts {
                    time_unix_us,
                    ..ContextFacts::default()
                },
                ..Facts::default()
            };
            facts.processing.risk_score = risk;
            facts
        },
    )
}

#[test]
fn generated_policies_are_decided_in_envoy_as_they_are_natively() {
    let mut runner = TestRunner::deterministic();
    let mut some = |policies: usize, exchanges: usize| {
        let mut bundles = Vec::new();
        while bundles.len() < policies {
            let text = policy().new_tree(&mut runner).expect("a policy").current();
            // Some of what is generated can never hold, or compares the same twice.
            if let Some(policy) = check(&text).policy {
                bundles.push(compile(&[policy]).expect("a bundle"));
            }
        }
        let facts = (0..exchanges)
            .map(|_| facts().new_tree(&mut runner).expect("facts").current())
            .collect();
        (bundles, facts)
    };
    let (bundles, facts) = some(150, 40);
    assert_eq!(assert_same(bundles, facts), 6_000);
}

#[test]
fn generated_structures_are_decided_in_envoy_as_they_are_natively() {
    let mut runner = TestRunner::deterministic();
    let choices = proptest::collection::vec(any::<u8>(), 200..900);
    let bundles = (0..300).map(|_| {
        let choices = choices.new_tree(&mut runner).expect("choices").current();
        generate::bundle(&choices)
    });
    let bundles = bundles.collect();
    let facts = (0..10).map(|_| facts().new_tree(&mut runner).expect("facts").current());
    let facts = facts.collect();
    assert_eq!(assert_same(bundles, facts), 3_000);
}
