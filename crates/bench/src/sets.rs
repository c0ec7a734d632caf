//! The request and the sets of rules. Nothing is drawn by lot: two runs measure the same.

use jupiter_bench_probe::tasks::{Set, Timings};
use jupiter_policy::facts::{ContextFacts, Facts, UserAttributes};
use jupiter_policy::{Policy, Severity, check, compile, render};
use jupiter_provider::{Api, read_request};
use serde_json::json;

/// 2026-03-04, 10:30 UTC: a Wednesday.
const TIME_UNIX_US: u64 = 1_772_620_200_000_000;

/// Conditions on everything but text; none holds for [`facts`].
pub const ON_FACTS: [&str; 20] = [
    "request.model == 'gpt-4-turbo'",
    "request.model in ['o1-preview', 'o1-mini', 'gpt-4.5-preview']",
    "request.model.startsWith('claude-')",
    "has(request.model) && !(request.model in ['gpt-4o', 'gpt-4o-mini', 'gpt-4.1'])",
    "request.max_tokens > 4096",
    "request.temperature > 1.5",
    "request.temperature < 0.0 || request.top_p > 1.0",
    "size(request.messages) > 50",
    "request.messages.exists(m, m.role == 'tool')",
    "'execute_shell' in request.tools",
    "request.tools.exists(t, t.startsWith('admin_'))",
    "context.environment == 'staging' && request.stream",
    "context.user_attributes.tier == 'free' && request.model == 'gpt-4o'",
    "context.user_attributes.department in ['contractors', 'interns'] && request.max_tokens > 500",
    "'auditor' in context.user_attributes.roles",
    "context.time.hour < 6 || context.time.hour >= 22",
    "context.time.day_of_week in ['Saturday', 'Sunday'] && context.user_attributes.tier == 'trial'",
    "context.user_attributes.region == 'eu' && request.model.endsWith('-us')",
    "processing.token_estimate.total_tokens > 16000",
    "processing.content_analysis.pii_detection.has_pii && context.environment == 'production'",
];

/// Conditions on the text, which has to be read to answer them.
pub const ON_TEXT: [&str; 4] = [
    "request.text.contains('BEGIN RSA PRIVATE KEY')",
    "request.text.matches('AKIA[0-9A-Z]{16}')",
    r"request.text.matches('\\b[0-9]{3}-[0-9]{2}-[0-9]{4}\\b')",
    "request.text.matches('(?i)ignore (all )?previous instructions')",
];

/// A chat request of two kilobytes.
pub fn body() -> Vec<u8> {
    let asked = "Our quarterly report is due on Friday. Please go through the notes below, sort \
                 them by customer, and tell me which of the open questions have been answered \
                 since the last meeting. Keep it short: a table with three columns will do. ";
    let notes = "- The pilot in Lyon went well; they want 40 more seats from April on.\n\
                 - Delivery of the second batch is late by two weeks, the carrier says.\n\
                 - Invoice 2291 is still unpaid, accounting has sent a second reminder.\n";
    json!({
        "model": "gpt-4o",
        "max_tokens": 800,
        "temperature": 0.7,
        "stream": true,
        "top_p": 1.0,
        "user": "u-4711",
        "messages": [
            {"role": "system", "content": "You are the assistant of the sales team. Answer in \
                English, name your sources, and say so when you do not know."},
            {"role": "user", "content": format!("{asked}{}", notes.repeat(2))},
            {"role": "assistant", "content": "Two of the open questions have been answered. The \
                table follows; for the third I found nothing in the notes."},
            {"role": "user", "content": format!("Thank you. Now these, please:\n{}", notes.repeat(2))},
        ],
        "tools": [
            {"type": "function", "function": {"name": "search_documents",
                "description": "Finds documents of the team by their words.",
                "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}},
            {"type": "function", "function": {"name": "send_mail",
                "description": "Writes a mail for the user to send.",
                "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}}},
        ],
    })
    .to_string()
    .into_bytes()
}

/// What is known of [`body`] and of who sent it.
pub fn facts() -> Facts {
    let text = |text: &str| Some(text.to_owned());
    let request = read_request(Api::ChatCompletions, &body()).unwrap_or_default();
    let mut facts = Facts {
        request: request.facts,
        context: ContextFacts {
            environment: text("production"),
            client_ip: text("10.1.2.3"),
            user_id: text("u-4711"),
            time_unix_us: TIME_UNIX_US,
            user_attributes: UserAttributes {
                tier: text("enterprise"),
                department: text("sales"),
                roles: Some(vec!["developer".to_owned(), "analyst".to_owned()]),
                region: text("eu"),
                ..UserAttributes::default()
            },
        },
        ..Facts::default()
    };
    facts.processing.token_estimate.total_tokens = Some(1_300.0);
    let analysis = &mut facts.processing.content_analysis;
    analysis.pii_detection.has_pii = Some(false);
    facts
}

/// A thousand conditions as a large organisation has them, department by department.
pub fn a_thousand() -> Vec<String> {
    let rule = |n: usize| match n % 10 {
        0..=3 => format!(
            "context.user_attributes.department == 'department-{}' && request.model == 'model-{}'",
            n / 4,
            n % 7
        ),
        4 | 5 => format!("request.model in ['model-{n}-a', 'model-{n}-b', 'model-{n}-c']"),
        6 => format!(
            "request.max_tokens > {} && context.user_attributes.tier == 'tier-{}'",
            4_000 + n,
            n % 5
        ),
        7 => format!("'tool-{n}' in request.tools"),
        8 => format!(
            "context.user_attributes.region == 'region-{n}' && context.time.hour >= {}",
            n % 24
        ),
        _ => format!("request.user == 'user-{n}' || request.user == 'user-{n}-test'"),
    };
    (0..1_000).map(rule).collect()
}

/// Everything that is timed.
pub fn timings(samples: u32) -> Result<Timings, String> {
    let mut matching = facts();
    let analysis = &mut matching.processing.content_analysis;
    analysis.pii_detection.has_pii = Some(true);
    Ok(Timings {
        samples,
        body: body(),
        sets: vec![
            set("20 rules", owned(&ON_FACTS), facts())?,
            set("20 rules, the last matches", owned(&ON_FACTS), matching)?,
            set("20 rules, 4 of them read the text", mixed(), facts())?,
            set("1,000 rules", a_thousand(), facts())?,
        ],
    })
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).into()).collect()
}

/// 20 conditions, of which four are on the text.
fn mixed() -> Vec<String> {
    let (first, _) = ON_FACTS.split_at(ON_FACTS.len() - ON_TEXT.len());
    [owned(first), owned(&ON_TEXT)].concat()
}

/// The bundle of 20 rules of which four read the text.
pub fn twenty_with_text() -> Result<Vec<u8>, String> {
    Ok(set("", mixed(), Facts::default())?.bundle)
}

fn set(name: &str, expressions: Vec<String>, facts: Facts) -> Result<Set, String> {
    // A policy holds so many rules as people keep in one.
    let policies = expressions.chunks(100).zip(0..).map(|(expressions, nth)| {
        let rules: String = expressions.iter().zip(0..).map(rule).collect();
        policy(&format!(
            "mpl_version: '1.0'\nname: policy-{nth}\nversion: 1.0.0\nrules:\n{rules}"
        ))
    });
    let policies: Vec<Policy> = policies.collect::<Result<_, _>>()?;
    let bundle = compile(&policies).map_err(|cause| cause.to_string())?;
    Ok(Set {
        name: name.to_owned(),
        bundle,
        facts,
        expressions,
    })
}

fn rule((expression, nth): (&String, usize)) -> String {
    format!(
        "  - name: rule-{nth}\n    when: |\n      {expression}\n    actions:\n      \
         - {{type: deny, code: refused, message: 'Not allowed for {{{{ request.model }}}}.'}}\n"
    )
}

fn policy(text: &str) -> Result<Policy, String> {
    let checked = check(text);
    checked.policy.ok_or_else(|| {
        let mut errors = checked.diagnostics;
        errors.retain(|found| found.severity == Severity::Error);
        render(&errors, text, "policy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupiter_policy::{Bundle, Verdict, decide};

    #[test]
    fn the_sets_compile_and_decide_what_their_names_say() {
        let sets = timings(1).expect("sets that compile").sets;
        let decided = sets.iter().map(|set| {
            let bundle = Bundle::load(&set.bundle).expect("a bundle that loads");
            let rules: usize = bundle.policies().map(|policy| policy.rules).sum();
            (rules, decide(&bundle, &set.facts).verdict)
        });
        let decided: Vec<_> = decided.collect();
        let (allow, deny) = (Verdict::Allow, Verdict::Deny);
        assert_eq!(
            decided,
            [(20, allow), (20, deny), (20, allow), (1_000, allow)]
        );
    }
}
