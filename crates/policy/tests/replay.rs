//! Requests decided anew from what evidence keeps.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::facts::Facts;
use jupiter_policy::{
    Bundle, Kept, Policy, Replayed, Verdict, check, compile, decide, render, replay,
};
use proptest::prelude::*;

const DENY: &str = "{type: deny, message: no}";
const LOG: &str = "{type: log, level: info, message: seen}";
const MINI: &str = "{field: request.model, operator: '==', value: mini}";
const SECRET: &str = "{field: request.text, operator: contains, value: secret}";
const ALICE: &str = "{field: context.user_attributes.user_id, operator: '==', value: alice}";

fn policy(name: &str, rules: &[(&str, &str, &str)]) -> Policy {
    let rules: Vec<String> = rules
        .iter()
        .map(|(rule, condition, action)| {
            format!("  - {{name: {rule}, conditions: [{condition}], actions: [{action}]}}\n")
        })
        .collect();
    let rules = rules.concat();
    let text = format!("mpl_version: \"1.0\"\nname: {name}\nversion: 1.0.0\nrules:\n{rules}");
    let checked = check(&text);
    let said = render(&checked.diagnostics, &text, "text");
    checked.policy.ok_or(said).unwrap()
}

fn bundle(policies: &[Policy]) -> Bundle {
    Bundle::load(&compile(policies).unwrap()).unwrap()
}

fn facts(model: &str, user: &str) -> Facts {
    let mut facts = Facts::default();
    facts.request.model = Some(model.to_owned());
    facts.context.user_id = Some(user.to_owned());
    facts.context.time_unix_us = 1_795_367_345_000_000;
    facts
}

const KEPT: Kept = Kept {
    model: true,
    user_id: true,
    environment: false,
};

/// `allow`, `deny`, with the rule; or `?` with rule and fields.
fn told(policies: &[Policy], model: &str, user: &str) -> String {
    match replay(&bundle(policies), &facts(model, user), KEPT) {
        Replayed::Decided { verdict, by } => {
            let verdict = if verdict == Verdict::Deny {
                "deny"
            } else {
                "allow"
            };
            let by = by.map_or("-".to_owned(), |by| format!("{}/{}", by.policy, by.rule));
            format!("{verdict} {by}")
        }
        Replayed::Untold {
            policy,
            rule,
            fields,
        } => {
            format!("? {policy}/{rule} {}", fields.join(","))
        }
    }
}

#[test]
fn what_was_kept_decides_and_what_was_not_is_said() {
    let both = format!("{MINI}, {SECRET}");
    let either = format!("{{any: [{MINI}, {SECRET}]}}");
    for (rules, model, expected) in [
        (vec![("r", MINI, DENY)], "mini", "deny p/r"),
        (vec![("r", MINI, DENY)], "large", "allow -"),
        (vec![("r", SECRET, DENY)], "mini", "? p/r request.text"),
        // Whatever the text was, nothing is refused.
        (vec![("r", SECRET, LOG)], "mini", "allow -"),
        // The model alone decides.
        (vec![("r", &both, DENY)], "large", "allow -"),
        (vec![("r", &both, DENY)], "mini", "? p/r request.text"),
        (vec![("r", &either, DENY)], "mini", "deny p/r"),
        // Refused by the one or the other.
        (
            vec![("r", SECRET, DENY), ("s", MINI, DENY)],
            "mini",
            "deny p/s",
        ),
        (
            vec![("r", SECRET, LOG), ("s", MINI, DENY)],
            "mini",
            "? p/r request.text",
        ),
        (
            vec![("r", MINI, LOG), ("s", SECRET, DENY)],
            "mini",
            "allow p/r",
        ),
    ] {
        assert_eq!(
            told(&[policy("p", &rules)], model, "bob"),
            expected,
            "{rules:?}"
        );
    }
    let doubtful = policy("a", &[("r", SECRET, DENY)]);
    let refuses = policy("b", &[("s", ALICE, DENY)]);
    let both = [doubtful, refuses];
    assert_eq!(
        told(&both, "mini", "alice"),
        "deny b/s",
        "whatever the other says"
    );
    assert_eq!(told(&both, "mini", "bob"), "? a/r request.text");
}

proptest! {
    /// Whatever was not kept: what replay decides is what `decide` says.
    #[test]
    fn a_decided_replay_is_never_wrong(
        rules in proptest::collection::vec(
            (0_usize..6, any::<bool>(), any::<bool>(), any::<bool>()), 1..5),
        model in prop_oneof![Just("mini"), Just("large")],
        user in prop_oneof![Just("alice"), Just("bob")],
        text in prop_oneof![Just("a secret"), Just("nothing")],
    ) {
        let conditions: Vec<String> = rules.iter().map(|(kind, negated, ..)| {
            let condition = match kind {
                0 => MINI.to_owned(),
                1 => SECRET.to_owned(),
                2 => ALICE.to_owned(),
                3 => format!("{{all: [{MINI}, {SECRET}]}}"),
                4 => format!("{{any: [{ALICE}, {SECRET}]}}"),
                _ => format!("{{not: {{any: [{MINI}, {{all: [{ALICE}, {SECRET}]}}]}}}}"),
            };
            match negated {
                true => format!("{{not: {condition}}}"),
                false => condition,
            }
        }).collect();
        let mut sets: [Vec<(String, &str, &str)>; 2] = [vec![], vec![]];
        for (n, ((_, _, denies, second), condition)) in rules.iter().zip(&conditions).enumerate() {
            let action = if *denies { DENY } else { LOG };
            sets[usize::from(*second)].push((format!("r{n}"), condition, action));
        }
        let policies: Vec<Policy> = ["p", "q"].iter().zip(&sets)
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(name, rules)| {
                let rules: Vec<_> = rules.iter().map(|(a, b, c)| (a.as_str(), *b, *c)).collect();
                policy(name, &rules)
            })
            .collect();
        let bundle = bundle(&policies);
        let kept = facts(model, user);
        let mut whole = kept.clone();
        whole.request.other_texts = vec![text.to_owned()];
        if let Replayed::Decided { verdict, .. } = replay(&bundle, &kept, KEPT) {
            prop_assert_eq!(verdict, decide(&bundle, &whole).verdict);
        }
    }
}
