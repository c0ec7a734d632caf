//! `when:` as a CEL expression: what it means, and where its faults are pointed out.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::facts::{ContextFacts, Facts, Message, RequestFacts};
use jupiter_policy::{Bundle, Severity, check, compile, decide, render};
use proptest::prelude::*;

/// A policy whose one rule has this expression, on a line of its own.
fn policy(expression: &str) -> String {
    format!(
        "mpl_version: \"1.0\"\nname: p\nversion: 1.0.0\nvariables:\n  approved: [gpt-4o, gpt-4o-mini]\n  \
         max-tokens: 100\n  strict: true\nrules:\n  - name: uses-variables\n    conditions:\n      - \
         {{field: request.model, operator: in, value: '{{{{ variables.approved }}}}'}}\n      - {{field: \
         request.max_tokens, operator: '==', value: '{{{{ variables.max-tokens }}}}'}}\n      - {{field: \
         request.stream, operator: '==', value: '{{{{ variables.strict }}}}'}}\n    enabled: false\n    \
         actions: [{{type: allow}}]\n  - name: r\n    when: |\n      {}\n    actions: [{{type: allow}}]\n",
        expression.replace('\n', "\n      ")
    )
}

fn bundle(text: &str) -> Bundle {
    let checked = check(text);
    let said = render(&checked.diagnostics, text, "text");
    Bundle::load(&compile(&[checked.policy.ok_or(said).unwrap()]).unwrap()).unwrap()
}

fn holds(expression: &str, facts: &Facts) -> bool {
    !decide(&bundle(&policy(expression)), facts)
        .matched
        .is_empty()
}

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.to_owned(),
        content: content.to_owned(),
    }
}

fn chat() -> Facts {
    Facts {
        request: RequestFacts {
            model: Some("gpt-4o".to_owned()),
            messages: vec![
                message("system", "Be kind"),
                message("user", "Hello Welt é"),
            ],
            max_tokens: Some(100.0),
            stream: Some(false),
            tools: vec!["search".to_owned(), "mail".to_owned()],
            other_texts: vec!["tool text".to_owned()],
            ..RequestFacts::default()
        },
        context: ContextFacts {
            user_id: Some("gpt-4o".to_owned()),
            // A Tuesday, 09:00:00 UTC.
            time_unix_us: 1_769_504_400_000_000,
            ..ContextFacts::default()
        },
        ..Facts::default()
    }
}

#[test]
fn expressions_mean_what_they_say() {
    let chat = chat();
    for (expression, expected) in [
        ("true", true),
        ("!true", false),
        ("request.model == \"gpt-4o\"", true),
        ("'gpt-4o' == request.model", true),
        ("request.model == 'GPT-4o'", false),
        ("has(request.model) && request.model != 'x'", true),
        ("request.model in ['a', 'gpt-4o',]", true),
        ("request.model in []", false),
        ("request.model in variables.approved", true),
        ("request.max_tokens > 99 && request.max_tokens <= 1e2", true),
        ("100 < request.max_tokens", false),
        ("100 <= request.max_tokens", true),
        ("request.max_tokens == variables['max-tokens']", true),
        ("request.max_tokens in [1, 100]", true),
        ("request.max_tokens * 2 - 100 == 100", true),
        ("request.max_tokens + request.max_tokens in [200]", true),
        ("-request.max_tokens < -99", true),
        (
            "2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 7 - 2 - 1 == 4",
            true,
        ),
        (
            "context.time.hour * 60 + context.time.minute >= 9 * 60",
            true,
        ),
        ("context.time.hour * 60 + context.time.minute > 540", false),
        ("context.time.day_of_week in ['Tuesday']", true),
        ("has(request.stream) && !request.stream", true),
        ("request.stream", false),
        ("request.stream == false", true),
        ("variables.strict && request.model.startsWith('gpt-')", true),
        (
            "request.model.endsWith('-4o') && request.model.contains('t-4')",
            true,
        ),
        ("request.model.matches('^gpt-[0-9]o$')", true),
        ("request.model.matches(r'\\d')", true),
        ("request.model == context.user_attributes.user_id", true),
        ("request.model.lowerAscii() == 'gpt-4o'", true),
        ("request.messages[0].role == 'system'", true),
        ("request.messages[-1].content.startsWith('Hello')", true),
        (
            "request.messages[1].content.lowerAscii().contains('welt')",
            true,
        ),
        (
            "size(request.messages) == 2 && request.tools.size() == 2",
            true,
        ),
        ("size(request.messages[1].content) == 12", true),
        ("size(request.stop) == 0 && !has(request.stop)", true),
        (
            "size('abc') == 3 && size(variables.approved) == 2 && size([]) == 0",
            true,
        ),
        ("has(request.messages) && has(request.text)", true),
        ("request.text.contains('kind')", true),
        ("request.text.contains('tool text')", true),
        ("request.text.lowerAscii().contains('hello')", true),
        ("!request.text.contains('secret')", true),
        ("request.text.matches('(?i)WELT')", true),
        ("'mail' in request.tools", true),
        ("!('delete' in request.tools)", true),
        ("request.tools.exists(t, t == 'mail')", true),
        (
            "request.tools.exists(t, t.startsWith('se') && t.endsWith('ch'))",
            true,
        ),
        ("request.tools.all(t, t in ['search', 'mail'])", true),
        ("request.tools.all(t, t in ['search'])", false),
        ("request.tools.all(t, t != 'delete')", true),
        ("request.stop.all(s, s == 'x')", true),
        ("request.stop.exists(s, s != 'x')", false),
        (
            "request.messages.exists(m, m.role == 'user' && m.content.contains('Welt'))",
            true,
        ),
        (
            "request.messages.exists(m, m.role == 'system' && m.content.contains('Welt'))",
            false,
        ),
        (
            "request.messages.all(m, m.role == 'system' || size(m.content) > 5)",
            true,
        ),
        (
            "request.messages.all(m, m.role == 'user' ? m.content.contains('é') : size(m.content) < 8)",
            true,
        ),
        (
            "request.messages.exists(m, !(m.role in ['user', 'system']))",
            false,
        ),
        (
            "has(request.model) && request.messages.all(m, m.role != request.model)",
            true,
        ),
        (
            "request.messages.all(m, request.model == 'gpt-4o' && m.content != '')",
            true,
        ),
        ("has(request.stream) && request.stream ? false : true", true),
        (
            "has(request.model) ? request.model.contains('4') : false",
            true,
        ),
        ("request.model == null || request.model != null", true),
        (
            "// a comment\nrequest.model == // another\n  'gpt-4o'",
            true,
        ),
        (
            "1 == 1.0 && 0x10 == 16 && .5 < 1 && 'a' == \"a\" && 'a' in ['a']",
            true,
        ),
        ("true || request.user == 'x' && false", true),
    ] {
        assert_eq!(holds(expression, &chat), expected, "{expression}");
    }
}

#[test]
fn a_missing_field_satisfies_nothing_but_a_question_for_it() {
    let nothing = Facts::default();
    for (expression, expected) in [
        ("request.model == 'x'", false),
        ("request.model in ['x']", false),
        ("request.model == request.user", false),
        ("request.model.contains('')", false),
        ("request.model.matches('')", false),
        ("request.model.lowerAscii() == 'x'", false),
        ("request.max_tokens < 5", false),
        ("request.max_tokens >= 5", false),
        ("request.max_tokens == request.temperature", false),
        ("request.max_tokens + 1 > 0", false),
        ("0 - request.max_tokens < 1 - request.max_tokens", false),
        ("request.stream", false),
        ("request.stream == request.stream", false),
        ("request.stream == false", false),
        ("request.messages[0].role == 'user'", false),
        ("size(request.messages[0].content) == 0", false),
        ("has(request.model)", false),
        ("!has(request.model)", true),
        ("request.model == null", true),
        ("null != request.max_tokens", false),
        ("!has(request.model) || request.model != 'x'", true),
        ("has(request.model) && request.model != 'x'", false),
        ("has(request.model) ? request.model != 'x' : true", true),
        ("!(has(request.stream) && request.stream)", true),
        ("request.model == 'a' || !has(request.model)", true),
        // Lists are empty, never missing.
        ("size(request.tools) == 0", true),
        ("has(request.tools)", false),
        ("!('x' in request.tools)", true),
        ("!request.text.contains('x')", true),
        ("request.messages.all(m, m.role == 'user')", true),
        (
            "request.messages.all(m, m.role == 'user' && m.content != '')",
            true,
        ),
        ("request.messages.exists(m, m.role != 'user')", false),
        (
            "request.messages.exists(m, m.role != 'user' || m.content != '')",
            false,
        ),
    ] {
        assert_eq!(holds(expression, &nothing), expected, "{expression}");
    }
}

#[test]
fn when_and_conditions_hold_together() {
    let text = |when: &str, operator: &str| {
        format!(
            "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    when: {when}\n    \
             conditions: [{{field: request.model, operator: '{operator}', value: gpt-4o}}]\n    \
             actions: [{{type: allow}}]\n"
        )
    };
    for (when, operator, expected) in [
        ("size(request.tools) > 1", "==", true),
        ("size(request.tools) > 2", "==", false),
        ("size(request.tools) > 1", "!=", false),
    ] {
        let decision = decide(&bundle(&text(when, operator)), &chat());
        assert_eq!(!decision.matched.is_empty(), expected, "{when} {operator}");
    }
}

#[test]
fn a_negated_field_that_may_be_missing_must_be_asked_for_first() {
    let needs = |expression: &str| {
        let text = policy(expression);
        let found = check(&text).diagnostics;
        let needs: Vec<String> = found
            .iter()
            .map(|d| {
                assert_eq!(d.code, "needs-has", "{}", render(&found, &text, "text"));
                text.get(d.span.offset..d.span.end_offset)
                    .unwrap()
                    .to_owned()
            })
            .collect();
        needs
    };
    for (expression, fields) in [
        ("request.user != 'x'", vec!["request.user"]),
        ("!(request.user == 'x')", vec!["request.user"]),
        ("!(request.user in ['x'])", vec!["request.user"]),
        ("!(request.max_tokens < 5)", vec!["request.max_tokens"]),
        ("!request.stream", vec!["request.stream"]),
        (
            "!(request.max_tokens + request.temperature < 5)",
            vec!["request.max_tokens", "request.temperature"],
        ),
        ("request.stream ? true : false", vec!["request.stream"]),
        (
            "request.user != 'x' && has(request.user)",
            vec!["request.user"],
        ),
        (
            "has(request.model) || request.model != 'x'",
            vec!["request.model"],
        ),
        (
            "!has(request.model) && request.model != 'x'",
            vec!["request.model"],
        ),
        (
            "!(request.user == 'a' && request.user == 'b')",
            vec!["request.user"],
        ),
        (
            "request.messages.exists(m, m.role == 'user' && request.user != 'x')",
            vec!["request.user"],
        ),
        (
            "has(request.messages[0].role) && request.messages[1].role != 'user'",
            vec!["request.messages[1].role"],
        ),
        (
            "request.user == 'a' || request.user != 'b'",
            vec!["request.user"],
        ),
        ("!(request.user != 'x')", vec![]),
        ("has(request.user) && request.user != 'x'", vec![]),
        ("request.user != null && request.user != 'x'", vec![]),
        ("!has(request.user) || request.user != 'x'", vec![]),
        (
            "request.user == null || !(request.user in ['x', 'y'])",
            vec![],
        ),
        (
            "request.user.startsWith('a') && request.user != 'ab'",
            vec![],
        ),
        ("!(has(request.user) && request.user == 'x')", vec![]),
        ("has(request.user) ? request.user != 'x' : false", vec![]),
        (
            "has(request.stream) && request.stream ? true : false",
            vec![],
        ),
        (
            "has(request.messages[0].role) && request.messages[0].content != 'x'",
            vec![],
        ),
        (
            "has(request.user) && request.messages.exists(m, m.content != request.user)",
            vec![],
        ),
        (
            "!(context.time.hour < 8) && context.time.day_of_week != 'Sunday'",
            vec![],
        ),
        ("request.messages.exists(m, m.role != 'user')", vec![]),
        (
            "(has(request.user) || request.user == 'x') && request.user != 'y'",
            vec![],
        ),
    ] {
        assert_eq!(needs(expression), fields, "{expression}");
    }
}

/// A policy whose `when` is written as given, with whatever YAML that is.
fn written(when: &str) -> String {
    format!(
        "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    when: {when}\n    actions: \
         [{{type: allow}}]\n"
    )
}

/// The part of the text that its first diagnostic points at, with line and column.
fn pointed_at(text: &str) -> (String, usize, usize) {
    let found = check(text).diagnostics;
    let span = found.first().unwrap().span;
    let lines: Vec<&str> = text.lines().collect();
    let before = text.get(..span.offset).unwrap().lines().count();
    assert!(
        span.line >= before.saturating_sub(1).max(1) && span.line <= lines.len(),
        "{span:?}"
    );
    (
        text.get(span.offset..span.end_offset).unwrap().to_owned(),
        span.line,
        span.column,
    )
}

#[test]
fn faults_are_pointed_out_in_every_style_of_yaml() {
    for (when, part, line, column) in [
        // Plain, also over several lines.
        ("request.modle == 'x'", "request.modle", 6, 11),
        (
            "request.model == 'é' || request.modle == 'y'",
            "request.modle",
            6,
            35,
        ),
        (
            "request.model == 'x' ||\n      request.modle == 'y'",
            "request.modle",
            7,
            7,
        ),
        (
            "has(request.model) ||\n\n\n      request.modle == 'y'",
            "request.modle",
            9,
            7,
        ),
        // Single quotes, doubled inside.
        (
            "'request.model == ''x'' || request.modle == ''y'''",
            "request.modle",
            6,
            38,
        ),
        (
            "'request.model == ''x'' ||\n\n      request.modle == ''y'''",
            "request.modle",
            8,
            7,
        ),
        // Double quotes, with escapes.
        (
            r#""request.model == \"\u00e9\" || request.modle == 'y'""#,
            "request.modle",
            6,
            43,
        ),
        (
            "\"request.model == 'x' || \\\n        request.modle == 'y'\"",
            "request.modle",
            7,
            9,
        ),
        (
            r#""request.model ==\t\"x\" || request.mod\x6ce == 'y'""#,
            r"request.mod\x6ce",
            6,
            39,
        ),
        (
            r#""request.model == \"x\" || request.model == 5""#,
            "5",
            6,
            55,
        ),
        (
            r#""request.model in [\"x\", request.user]""#,
            "request.user",
            6,
            37,
        ),
        // Literal blocks.
        (
            "|\n      request.model == 'x' ||\n        request.modle == 'y'",
            "request.modle",
            8,
            9,
        ),
        (
            "|2-\n      request.model == 'x' ||\n        request.modle == 'y'",
            "request.modle",
            8,
            9,
        ),
        (
            "| # comment\n      // é comment\n      request.modle == 'y'\n\n",
            "request.modle",
            8,
            7,
        ),
        // Folded blocks.
        (
            ">-\n      request.model == 'x' ||\n      request.modle == 'y'",
            "request.modle",
            8,
            7,
        ),
        (
            ">\n      request.model == 'x' ||\n\n        request.modle == 'y'",
            "request.modle",
            9,
            9,
        ),
        // With an anchor, the whole scalar.
        ("&a 'request.modle'", "&a 'request.modle'", 6, 11),
    ] {
        let text = written(when);
        let found = pointed_at(&text);
        let said = render(&check(&text).diagnostics, &text, "text");
        assert_eq!(found, (part.to_owned(), line, column), "{said}");
        let crlf = text.replace('\n', "\r\n");
        let said = render(&check(&crlf).diagnostics, &crlf, "text");
        assert_eq!(pointed_at(&crlf), (part.to_owned(), line, column), "{said}");
    }
}

#[test]
fn an_alias_is_pointed_at_as_a_whole() {
    let text = "mpl_version: '1.0'\nname: p\nversion: 1.0.0\ndescription: &a request.modle == 'x'\nrules:\n  \
                - name: r\n    when: *a\n    actions: [{type: allow}]\n";
    assert_eq!(pointed_at(text), ("*a".to_owned(), 7, 11));
}

#[test]
fn a_fault_at_the_end_is_pointed_out_there() {
    let text = written("has(request.user) &&");
    let found = check(&text).diagnostics.remove(0);
    assert_eq!(
        found.message,
        "expected a field, a value, `!` or `(`, and found the end"
    );
    assert_eq!(
        (found.span.line, found.span.column, found.span.end_column),
        (6, 31, 31)
    );
}

/// What must hold whatever the expression is.
fn survives(text: &str) {
    let checked = check(text);
    let failed = checked
        .diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    assert_eq!(checked.policy.is_none(), failed, "{text}");
    for found in &checked.diagnostics {
        let span = found.span;
        assert!(text.get(span.offset..span.end_offset).is_some(), "{span:?}");
        assert!(span.line >= 1 && span.end_line >= span.line, "{span:?}");
        assert!(span.column >= 1 && span.end_column >= 1, "{span:?}");
    }
    render(&checked.diagnostics, text, "text");
    if let Some(policy) = checked.policy {
        let bytes = compile(std::slice::from_ref(&policy)).unwrap();
        assert_eq!(
            bytes,
            compile(&[policy]).unwrap(),
            "compiled the same twice"
        );
        let bundle = Bundle::load(&bytes).unwrap();
        for facts in [Facts::default(), chat()] {
            assert_eq!(decide(&bundle, &facts), decide(&bundle, &facts));
        }
    }
}

/// The expression in a literal block, and in double quotes.
fn survives_as_expression(expression: &str) {
    survives(&policy(expression));
    survives(&written(&serde_json::to_string(expression).unwrap()));
}

/// Words that make expressions, so that some of what is tried is nearly one.
#[rustfmt::skip] // A list reads best in lines.
const WORDS: &[&str] = &[
    "request.model", "request.user", "request.text", "request.tools", "request.stop",
    "request.messages", "request.messages[0].content", "request.messages[-1].role",
    "request.max_tokens", "request.stream", "context.time.hour", "context.time.day_of_week",
    "variables.approved", "variables['max-tokens']", "response.content", "x", "x.role",
    "x.content", "'x'", "\"é\\n\"", "r'\\d'", "'''a\nb'''", "5", "-1.5e3", "0x1F", "true",
    "false", "null", "[", "]", "(", ")", "{", "}", ",", ".", "!", "-", "+", "*", "/", "&&", "||",
    "==", "!=", "<", "<=", ">", ">=", " in ", "?", ":", "has(", "size(", ".contains(",
    ".startsWith(", ".endsWith(", ".matches(", ".lowerAscii()", ".exists(x, ", ".all(x, ",
    "// c\n", "\n", " ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_expressions_never_panic(text in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
        survives_as_expression(&text);
    }

    #[test]
    fn words_of_expressions_never_panic(words in proptest::collection::vec(prop::sample::select(WORDS), 0..24)) {
        survives_as_expression(&words.concat());
    }
}

#[test]
fn hostile_expressions_are_refused_quickly() {
    let repeated = |text: &str| text.repeat(8000 / text.len());
    let texts = [
        repeated("("),
        repeated("["),
        repeated("!"),
        repeated("-"),
        repeated("x."),
        repeated("x("),
        repeated("a?"),
        repeated("true ? "),
        repeated("true?true:"),
        repeated("has("),
        repeated("request.messages.exists(x, "),
        repeated("x.lowerAscii()."),
        repeated("\\"),
        repeated("'"),
        repeated("\""),
        repeated("//"),
        repeated("1"),
        repeated("9."),
        format!("{}true", repeated("true && ")),
        format!("{}true", repeated("true || true && ")),
        format!("{}5 > 0", repeated("5 + ")),
        format!("{}5 > 0", repeated("request.max_tokens + ")),
        format!("{}true", repeated("request.user == 'x' || ")),
        format!("{}true", repeated("request.user != 'x' || ")),
        format!("{}true", repeated("has(request.user) && ")),
        format!("request.model in [{}'x']", repeated("'y', ")),
        format!("request.max_tokens + 1 in [{}1]", repeated("2, ")),
        format!("request{}", repeated("[0]")),
        "request.text.matches('(a|b)*a(a|b){14}')".to_owned(),
        "x".repeat(10_000),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        survives_as_expression(&text);
        let head: String = text.chars().take(20).collect();
        // Generous: a busy machine and an unoptimised build are no fault.
        let took = start.elapsed();
        assert!(took.as_secs() < 20, "{head:?} took {took:?}");
    }
}

#[test]
fn a_chain_may_be_long_and_brackets_may_not_be_deep() {
    let long = vec!["request.user == 'x'"; 300].join(" || ");
    assert!(check(&policy(&long)).policy.is_some());
    let nested = |levels: usize| format!("{}true{}", "!(".repeat(levels), ")".repeat(levels));
    assert!(check(&policy(&nested(23))).policy.is_some());
    assert!(check(&policy(&nested(24))).policy.is_none());
    let bracketed = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    assert!(check(&policy(&bracketed(63))).policy.is_some());
    assert!(check(&policy(&bracketed(64))).policy.is_none());
}

#[test]
fn the_deepest_expressions_load() {
    let mut expression =
        "(has(request.user) && !(request.max_tokens == request.max_tokens + 1))".to_owned();
    for _ in 0..9 {
        expression = format!("!(size(request.tools) > 5 || {expression})");
    }
    let text = policy(&format!("has(request.max_tokens) && {expression}"));
    assert!(
        check(&text).policy.is_some(),
        "{}",
        render(&check(&text).diagnostics, &text, "")
    );
    survives(&text);
    let deeper = policy(&format!(
        "has(request.max_tokens) && !(request.stop.exists(s, s == 'x') || {expression})"
    ));
    survives(&deeper);
    assert_eq!(check(&deeper).diagnostics[0].code, "too-deep");
}
