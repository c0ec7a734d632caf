//! Rules on answers: decided once the answer is there, or as soon as nothing can change them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "test helpers fail by panicking"
)]

use jupiter_policy::facts::{
    Detector, Facts, Finding, Message, PiiDetection, Place, RequestFacts, ResponseFacts,
};
use jupiter_policy::{
    ActionRequest, Bundle, ChosenAnswer, ChosenTexts, Decision, ExactFrom, Heard, Needs, Verdict,
    check, compile, decide, decide_response, decide_streaming,
};
use proptest::prelude::*;

fn bundle(rules: &str) -> Bundle {
    let text = format!("mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n{rules}");
    let checked = check(&text);
    let policy = checked
        .policy
        .unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    Bundle::load(&compile(&[policy]).unwrap()).unwrap()
}

fn rule(name: &str, conditions: &str, action: &str) -> String {
    format!(
        "  - {{name: {name}, phase: response, conditions: [{conditions}], actions: [{action}]}}\n"
    )
}

const DENY: &str = "{type: deny, message: no}";

fn answer(content: &str) -> Facts {
    Facts {
        response: ResponseFacts {
            content: Some(content.to_owned()),
            ..ResponseFacts::default()
        },
        ..Facts::default()
    }
}

fn rules(decision: &Decision) -> Vec<&str> {
    let matched = decision.matched.iter();
    matched.map(|matched| matched.rule.as_str()).collect()
}

#[test]
fn each_phase_asks_its_own_rules() {
    let bundle = bundle(
        &("  - {name: asked, conditions: [{field: request.model, operator: '==', value: m}], actions: [{type: log, level: info, message: x}]}\n"
            .to_owned()
            + &rule("told", "{field: response.content, operator: contains, value: secret}", DENY)),
    );
    let mut facts = answer("a secret");
    facts.request.model = Some("m".to_owned());
    assert_eq!(rules(&decide(&bundle, &facts)), ["asked"]);
    let decision = decide_response(&bundle, &facts);
    assert_eq!(rules(&decision), ["told"]);
    assert_eq!(decision.facts, ["response.content"]);
    assert_eq!(decision.verdict, Verdict::Deny);
}

/// What each condition says of an answer that is still coming, once it holds for the part.
#[test]
fn only_what_holds_for_good_acts_before_the_end() {
    let found = |pii: bool| {
        let mut facts = answer("my secret sauce");
        facts.response.finish_reason = Some("stop".to_owned());
        facts.request.model = Some("m".to_owned());
        if pii {
            let detection = PiiDetection {
                has_pii: Some(true),
                pii_types: Some(vec!["email".to_owned()]),
                confidence: Some(0.9),
            };
            facts.processing.content_analysis.pii_detection = detection;
            facts.processing.findings = Some(vec![Finding {
                detector: Detector::Pii,
                place: Place::Response,
            }]);
        }
        facts
    };
    let field = |field: &str, operator: &str, value: &str| {
        format!("{{field: {field}, operator: '{operator}', value: {value}}}")
    };
    let pii = "processing.content_analysis.pii_detection";
    for (condition, early) in [
        (field("response.content", "contains", "secret"), true),
        (field("response.text", "matches", "'s[a-z]+t'"), true),
        (field("request.model", "==", "m"), true),
        (
            "{not: {field: request.model, operator: '==', value: x}}".to_owned(),
            true,
        ),
        (
            "{function: has_pii, args: [response.content]}".to_owned(),
            true,
        ),
        (field(&format!("{pii}.has_pii"), "==", "true"), true),
        (
            field(&format!("{pii}.pii_types"), "contains", "email"),
            true,
        ),
        (field(&format!("{pii}.confidence"), ">=", "0.5"), true),
        (
            format!(
                "{{any: [{}, {}]}}",
                field("response.content", "contains", "secret"),
                field("request.model", "==", "x")
            ),
            true,
        ),
        (field("response.content", "starts_with", "my"), false),
        (field("response.content", "ends_with", "sauce"), false),
        (field("response.content", "==", "'my secret sauce'"), false),
        (
            "{not: {field: response.content, operator: contains, value: sorry}}".to_owned(),
            false,
        ),
        (field("response.finish_reason", "==", "stop"), false),
        (
            "{function: len, args: [response.content], operator: '<', value: 50}".to_owned(),
            false,
        ),
        (field(&format!("{pii}.confidence"), "<", "0.95"), false),
        (
            format!(
                "{{any: [{}, {}]}}",
                field("response.content", "contains", "secret"),
                field("response.finish_reason", "==", "stop")
            ),
            false,
        ),
    ] {
        let bundle = bundle(&rule("r", &condition, DENY));
        let facts = found(true);
        let mut heard = Heard::default();
        let mut hearing = bundle.hearing(true);
        bundle.hear(&mut hearing, "my secret sauce", &mut heard);
        let streaming = decide_streaming(&bundle, &facts, &heard).verdict;
        assert_eq!(
            streaming == Verdict::Deny,
            early,
            "{condition} amid the stream"
        );
        let whole = decide_response(&bundle, &facts).verdict;
        assert_eq!(whole, Verdict::Deny, "{condition} at the end");
    }
}

#[test]
fn what_is_needed_follows_from_the_rules() {
    let needs = |request_findings, response_findings, response| Needs {
        store_first: None,
        request_findings,
        response_findings,
        response,
        request_text_in_response: false,
        estimates: None,
    };
    let request = |conditions: &str, action: &str| {
        format!("  - {{name: r, conditions: [{conditions}], actions: [{action}]}}\n")
    };
    let allow = "{type: allow}";
    let model = "{field: request.model, operator: exists}";
    let has_pii =
        "{field: processing.content_analysis.pii_detection.has_pii, operator: '==', value: true}";
    let types =
        "{type: tag, tags: {pii: '{{ processing.content_analysis.pii_detection.pii_types }}'}}";
    for (text, expected) in [
        (request(model, allow), needs(false, false, false)),
        (request(has_pii, allow), needs(true, false, false)),
        (
            request("{function: has_injection, args: []}", allow),
            needs(true, false, false),
        ),
        (request(model, types), needs(true, false, false)),
        (
            request(
                model,
                "{type: redact, fields: [request.text], method: mask}",
            ),
            needs(true, false, false),
        ),
        (
            request(
                model,
                "{type: redact, fields: [response.content], method: mask}",
            ),
            needs(false, true, false),
        ),
        (rule("r", model, allow), needs(false, false, true)),
        (rule("r", has_pii, allow), needs(false, true, true)),
        (
            rule("r", "{function: has_pii, args: [request.text]}", allow),
            needs(true, false, true),
        ),
        (
            rule("r", "{function: has_pii, args: [response.text]}", allow),
            needs(false, true, true),
        ),
    ] {
        assert_eq!(bundle(&text).needs(), expected, "{text}");
    }
    for (condition, wanted) in [
        ("{field: request.text, operator: contains, value: x}", true),
        (
            "{field: 'request.messages[0].role', operator: '==', value: user}",
            false,
        ),
    ] {
        let needs = bundle(&rule("r", condition, allow)).needs();
        assert_eq!(needs.request_text_in_response, wanted, "{condition}");
    }
}

#[test]
fn estimates_are_exact_from_the_least_constant_that_they_are_compared_with() {
    const NEVER: u64 = 1 << 63;
    let tokens = "processing.token_estimate.prompt_tokens";
    let total = "processing.token_estimate.total_tokens";
    let cost = "processing.cost_estimate.total_cost";
    let answer = "processing.token_estimate.completion_tokens";
    let of = |when: &str, rest: &str| {
        let rule = format!("  - {{name: r, when: \"{when}\", actions: [{rest}]}}\n");
        let estimates = bundle(&rule).needs().estimates;
        estimates.map(|ExactFrom { tokens, nano }| (tokens, nano))
    };
    let deny = "{type: deny, message: m}";
    for (when, expected) in [
        ("request.model == 'm'".to_owned(), None),
        (format!("{tokens} > 16000"), Some((8_192, NEVER))),
        (format!("{tokens} >= 8192"), Some((8_192, NEVER))),
        (
            format!("has({tokens}) && !({tokens} <= 8191)"),
            Some((4_096, NEVER)),
        ),
        (
            format!("{tokens} > 9000 || {total} == 300"),
            Some((256, NEVER)),
        ),
        (format!("{cost} > 2.5"), Some((NEVER, 1 << 31))),
        (
            format!("{cost} > 2.5 && {tokens} < 1.0"),
            Some((0, 1 << 31)),
        ),
        (format!("{cost} > 0"), Some((NEVER, 0))),
        (format!("{tokens} > -1"), Some((0, NEVER))),
        (format!("{answer} > 10"), Some((NEVER, NEVER))),
        (format!("{tokens} > {answer}"), Some((0, NEVER))),
        (format!("{tokens} * 2.0 > 100.0"), Some((0, NEVER))),
    ] {
        assert_eq!(of(&when, deny), expected, "{when}");
    }
    let told = format!("{{type: deny, message: '{{{{ {tokens} }}}}'}}");
    let big = format!("{tokens} > 16000");
    assert_eq!(of(&big, &told), Some((0, NEVER)), "a message tells it");
    let on_answer =
        format!("  - {{name: r, phase: response, when: \"{big}\", actions: [{deny}]}}\n");
    let needs = bundle(&on_answer).needs();
    assert_eq!(
        needs.estimates.map(|it| it.tokens),
        Some(8_192),
        "an answer is decided with the same estimate"
    );
}

#[test]
fn actions_name_the_texts_they_are_about() {
    let fields = "'request.messages[-1].content', 'request.messages[role=user].content', \
                  'request.messages[7].content', response.content";
    let bundle = bundle(&format!(
        "  - {{name: r, conditions: [], actions: [{{type: redact, fields: [{fields}], method: tokenize}}]}}\n"
    ));
    let message = |role: &str| Message {
        role: role.to_owned(),
        ..Message::default()
    };
    let facts = Facts {
        request: RequestFacts {
            messages: ["system", "user", "assistant"].map(message).into(),
            ..RequestFacts::default()
        },
        ..Facts::default()
    };
    let decision = decide(&bundle, &facts);
    let [asked] = decision.actions.as_slice() else {
        panic!("{decision:?}")
    };
    let ActionRequest::Redact { texts, .. } = &asked.action else {
        panic!("{asked:?}")
    };
    let expected = ChosenTexts {
        messages: vec![1, 2],
        other: false,
        answer: ChosenAnswer::Content,
    };
    assert_eq!(*texts, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cut anywhere, an answer is denied while it comes if it is denied as a whole, unless the
    /// match ends with it: then the match is still held. What a rule looks for is never let go.
    #[test]
    fn denial_amid_the_answer_is_that_of_the_whole(text in "[abc ]{0,20}", cuts in proptest::collection::vec(0usize..20, 0..6)) {
        thread_local!(static BUNDLE: Bundle = bundle(&rule(
            "r",
            "{any: [{field: response.content, operator: contains, value: abc}, {field: response.content, operator: matches, value: 'cab[bc]* '}]}",
            DENY,
        )));
        BUNDLE.with(|bundle| {
            let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(text.len())).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let mut heard = Heard::default();
            let mut hearing = bundle.hearing(true);
            let (mut denied, mut held_at_end) = (false, false);
            for pair in ends.windows(2) {
                let open = bundle.hear(&mut hearing, &text[pair[0]..pair[1]], &mut heard);
                denied = decide_streaming(bundle, &answer(&text[..pair[1]]), &heard).verdict == Verdict::Deny;
                if denied {
                    break;
                }
                let held = &text[pair[1] - open..pair[1]];
                let longest = ["ab", "a", ""].into_iter().find(|part| text[..pair[1]].ends_with(part));
                assert!(longest.is_some_and(|part| held.ends_with(part)), "{text:?} held {held:?}");
                held_at_end = open > 0;
            }
            let whole = decide_response(bundle, &answer(&text)).verdict == Verdict::Deny;
            assert!(whole || !denied, "{text:?} cut at {ends:?}");
            assert!(denied || !whole || held_at_end, "{text:?} cut at {ends:?}");
        });
    }
}
