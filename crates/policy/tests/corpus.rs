//! Policies as the public writes them: whatever strays from the language and has one
//! clear meaning is read, and only warned of.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::{Bundle, check, compile, render};
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn policies_in_use_load_with_at_most_warnings() {
    let mut policies = Vec::new();
    let mut said = String::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let checked = check(&text);
        if checked.policy.is_none() {
            said += &render(&checked.diagnostics, &text, &path.display().to_string());
        }
        policies.extend(checked.policy);
    }
    assert!(said.is_empty(), "{said}");
    assert!(policies.len() >= 10, "only {} policies", policies.len());
    let bundle = Bundle::load(&compile(&policies).unwrap()).unwrap();
    assert_eq!(bundle.policy_names().count(), policies.len());
}

#[test]
fn every_form_that_strays_is_named_with_the_form_to_write() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        for found in check(&text).diagnostics {
            if found.code == "alternate-form" || found.code == "key-ignored" {
                assert!(
                    found.help.is_some(),
                    "{}: {}",
                    path.display(),
                    found.message
                );
            }
        }
    }
}

/// What the usual words are understood as is what the canonical ones say.
#[test]
fn forms_that_stray_mean_what_their_canonical_forms_mean() {
    let policy = |conditions: &str, actions: &str| {
        let text = format!(
            "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    \
             conditions: [{conditions}]\n    actions: [{actions}]\n"
        );
        let policy = check(&text).policy.unwrap_or_else(|| panic!("{text}"));
        compile(&[policy]).unwrap()
    };
    let allow = "{type: allow}";
    for (stray, canonical) in [
        (
            "{field: request.user, operator: not_contains, value: x}",
            "{not: {field: request.user, operator: contains, value: x}}",
        ),
        (
            "{field: request.user, operator: not_exists}",
            "{field: request.user, operator: exists, value: false}",
        ),
        (
            "{or: [{field: request.stream, operator: eq, value: true}, {and: [{field: request.max_tokens, operator: gt, value: 5}, {field: request.user, operator: regex, value: x}]}]}",
            "{any: [{field: request.stream, operator: '==', value: true}, {all: [{field: request.max_tokens, operator: '>', value: 5}, {field: request.user, operator: matches, value: x}]}]}",
        ),
        (
            "{field: request.messages, operator: contains, value: x}",
            "{field: 'request.messages[*].content', operator: contains, value: x}",
        ),
        (
            "{field: len(request.tools), operator: '>', value: 5}",
            "{function: len, args: [request.tools], operator: '>', value: 5}",
        ),
        (
            "{field: processing.content_analysis.pii_detection.detected, operator: '==', value: true}",
            "{field: processing.content_analysis.pii_detection.has_pii, operator: '==', value: true}",
        ),
    ] {
        assert!(policy(stray, allow) == policy(canonical, allow), "{stray}");
    }
    for (stray, canonical) in [
        ("{tag: x}", "{type: tag, tags: [x]}"),
        (
            "{type: tag, tags: ['team: {{ request.user }}']}",
            "{type: tag, tags: {team: '{{ request.user }}'}}",
        ),
        ("{type: tag, key: a, value: b}", "{type: tag, tags: {a: b}}"),
        (
            "{type: log, level: critical, message: x}",
            "{type: log, level: error, message: x}",
        ),
        (
            "{type: rate_limit, key: x, limit: 5, window: 3600}",
            "{type: rate_limit, key: x, limit: 5, window: 1h}",
        ),
        ("{deny: {message: x}}", "{type: deny, message: x}"),
    ] {
        assert!(policy("", stray) == policy("", canonical), "{stray}");
    }
}
