//! What must hold whatever the bytes are; shared by the targets.

use jupiter_policy::facts::{Facts, Message, RequestFacts};
use jupiter_policy::{Bundle, Severity, check, compile, decide, render};

/// A text is checked, and where it is a policy, compiled, loaded and decided.
pub fn policy_text(text: &str) {
    let checked = check(text);
    let errors = checked
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error);
    assert_eq!(
        checked.policy.is_none(),
        errors.count() > 0,
        "a policy is there exactly without errors"
    );
    for found in &checked.diagnostics {
        let span = found.span;
        assert!(span.offset <= span.end_offset && span.end_offset <= text.len());
        assert!(span.line >= 1 && span.column >= 1);
    }
    render(&checked.diagnostics, text, "text");
    let Some(policy) = checked.policy else {
        return;
    };
    // One policy may be too large or too costly by itself; then that is said.
    if let Ok(bytes) = compile(std::slice::from_ref(&policy)) {
        assert_eq!(compile(&[policy]).as_ref(), Ok(&bytes));
        bundle(&bytes);
    }
}

/// Bytes are loaded, and what loads decides.
pub fn bundle(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::load(bytes) {
        for facts in exchanges() {
            decide(&bundle, &facts);
        }
    }
}

/// One without anything, one with something in every list.
fn exchanges() -> [Facts; 2] {
    let text = |text: &str| Some(text.to_owned());
    let message = |role: &str, content: &str| Message {
        role: role.to_owned(),
        content: content.to_owned(),
    };
    let mut full = Facts {
        request: RequestFacts {
            model: text("gpt-4o"),
            user: text("u"),
            messages: vec![message("system", "be kind"), message("user", "Straße 12 A")],
            temperature: Some(0.5),
            max_tokens: Some(f64::MAX),
            top_p: Some(f64::NAN),
            stream: Some(true),
            stop: vec!["END".to_owned()],
            tools: vec!["search".to_owned()],
            other_texts: vec!["text of a tool".to_owned()],
            ..RequestFacts::default()
        },
        ..Facts::default()
    };
    full.context.time_unix_us = u64::MAX;
    full.context.user_attributes.roles = Some(vec!["admin".to_owned()]);
    [Facts::default(), full]
}

/// The example policies, each a bundle of its own.
pub fn example_bundles() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let bundle = |path| {
        let text = std::fs::read_to_string(path).expect("an example");
        let policy = check(&text).policy.expect("a policy");
        compile(&[policy]).expect("a bundle")
    };
    paths.iter().map(bundle).collect()
}
