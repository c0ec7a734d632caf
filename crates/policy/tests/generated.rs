//! Bundles of any structure: loading never panics, and what loads is decided to an end.

use jupiter_policy::author::generate::{any_bundle, bundle};
use jupiter_policy::facts::{
    ContextFacts, Detector, Facts, Finding, Message, Part, PartKind, Place, RequestFacts,
    ResponseFacts,
};
use jupiter_policy::{Bundle, Decision, Heard, decide, decide_response, decide_streaming};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn text() -> impl Strategy<Value = String> {
    "(gpt-4o|alpha|user|search|[0-9]{2}|Ω|ß|a|\\PC){0,4}"
}

prop_compose! {
    fn facts()(
        texts in proptest::collection::vec(text(), 0..5),
        role in "(system|user|assistant|tool|)",
        model in proptest::option::of(text()),
        number in proptest::option::of(any::<f64>()),
        flag in any::<Option<bool>>(),
        time_unix_us in any::<u64>(),
        parts in proptest::option::of(0..7u32),
    ) -> Facts {
        let message = |text: &String| Message { role: role.clone(), content: text.clone() };
        let part = |message| Part { message, kind: PartKind::Image };
        let mut facts = Facts {
            request: RequestFacts {
                messages: texts.iter().map(message).collect(),
                parts: parts.map(|count| (0..count).map(part).collect()),
                model: model.clone(),
                temperature: number,
                max_tokens: number,
                stream: flag,
                stop: texts.clone(),
                tools: texts.clone(),
                other_texts: texts.clone(),
                ..RequestFacts::default()
            },
            context: ContextFacts { user_id: model.clone(), time_unix_us, ..ContextFacts::default() },
            response: ResponseFacts {
                content: model.clone(),
                other_texts: texts.clone(),
                ..ResponseFacts::default()
            },
            ..Facts::default()
        };
        facts.context.user_attributes.roles = model.map(|_| texts);
        facts.processing.risk_score = number;
        facts.processing.findings = flag.map(|_| {
            let finding = |place| Finding { detector: Detector::Pii, place };
            [Place::Message(1), Place::Other, Place::Response].map(finding).to_vec()
        });
        facts
    }
}

/// Asked at every stage.
fn decided(bundle: &Bundle, facts: &Facts) -> [Decision; 3] {
    let mut heard = Heard::default();
    let mut hearing = bundle.hearing(true);
    let content = facts.response.content.as_deref().unwrap_or_default();
    bundle.hear(&mut hearing, content, &mut heard);
    [
        decide(bundle, facts),
        decide_response(bundle, facts),
        decide_streaming(bundle, facts, &heard),
    ]
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_structure_is_refused_or_decided(choices in choices(), facts in facts()) {
        if let Ok(bundle) = Bundle::load(&any_bundle(&choices)) {
            decided(&bundle, &facts);
        }
    }

    #[test]
    fn every_structure_that_is_right_loads_and_is_decided(choices in choices(), facts in facts()) {
        let bytes = bundle(&choices);
        let loaded = Bundle::load(&bytes);
        let loaded = loaded.map_err(|cause| TestCaseError::fail(cause.to_string()))?;
        prop_assert_eq!(
            format!("{:?}", decided(&loaded, &facts)),
            format!("{:?}", decided(&Bundle::load(&bytes).unwrap(), &facts))
        );
    }

    #[test]
    fn bytes_changed_in_right_structures_are_refused_or_decided(
        choices in choices(),
        facts in facts(),
        edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = bundle(&choices);
        for (at, byte) in edits {
            // Behind magic and version.
            let at = 6 + usize::from(at) % (bytes.len() - 6);
            bytes[at] = byte;
        }
        if let Ok(bundle) = Bundle::load(&bytes) {
            decided(&bundle, &facts);
        }
    }
}

/// What is generated reaches what it is there for.
#[test]
fn generated_bundles_have_rules_that_act() {
    let mut runner = TestRunner::deterministic();
    let mut acted = [0; 3];
    let mut refused = 0;
    for _ in 0..400 {
        let choices = choices().new_tree(&mut runner).unwrap().current();
        let facts = facts().new_tree(&mut runner).unwrap().current();
        let bundle = Bundle::load(&bundle(&choices)).unwrap();
        for (acted, decision) in acted.iter_mut().zip(decided(&bundle, &facts)) {
            *acted += usize::from(!decision.matched.is_empty());
        }
        refused += usize::from(Bundle::load(&any_bundle(&choices)).is_err());
    }
    assert!(acted.iter().all(|acted| *acted > 10), "{acted:?}");
    assert!((40..360).contains(&refused), "{refused}");
}
