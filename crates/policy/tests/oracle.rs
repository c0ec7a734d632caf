//! The `cel` crate as an oracle: a rule holds exactly where CEL says `true`.
//!
//! Both readings of a missing field are tried: left out, so that touching it is an error
//! which ends the rule, and null. What we accept means the same under both.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use cel::{Context, Program, Value};
use jupiter_policy::facts::{ContextFacts, Facts, Message, RequestFacts};
use jupiter_policy::{Bundle, check, compile, decide, render};
use proptest::prelude::*;
use serde_json::json;
use std::cell::Cell;

/// How a missing field is shown to the oracle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Missing {
    LeftOut,
    Null,
}

/// Who reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    Us,
    Oracle(Missing),
}

#[derive(Debug, Clone)]
enum Cond {
    Literal(bool),
    Has(&'static str, bool),
    Text(Text, TextTest),
    SameText(Text, Text),
    AnyText(TextTest),
    Stream(Option<bool>),
    Compare(&'static str, Num, Num),
    NumberIn(&'static str, Vec<u8>),
    NameIn(&'static str, &'static str),
    Not(Box<Cond>),
    All(Vec<Cond>),
    Any(Vec<Cond>),
    If(Box<[Cond; 3]>),
    /// Every or some entry of a list, and what is bound.
    Quantified(bool, &'static str, Box<Cond>),
    /// Guarded by `has`, or by its opposite.
    Guarded(Vec<&'static str>, bool, Box<Cond>),
}

#[derive(Debug, Clone)]
struct Text {
    path: &'static str,
    lower: bool,
}

#[derive(Debug, Clone)]
enum TextTest {
    Equals(&'static str),
    Differs(&'static str),
    In(Vec<&'static str>),
    Method(&'static str, &'static str),
    Matches(&'static str),
}

#[derive(Debug, Clone)]
enum Num {
    Literal(u8),
    Field(&'static str),
    Size(&'static str),
    Negative(Box<Num>),
    Pair(&'static str, Box<[Num; 2]>),
}

const TEXTS: [&str; 5] = [
    "request.model",
    "request.user",
    "context.environment",
    "request.messages[0].content",
    "request.messages[1].content",
];
const NUMBERS: [&str; 3] = [
    "request.max_tokens",
    "request.temperature",
    "context.time.hour",
];
const LISTS: [&str; 3] = ["request.messages", "request.tools", "request.stop"];
const WORDS: [&str; 7] = ["", "a", "b", "ab", "a'b\\\"", "é", "ba\n"];

impl Cond {
    fn print(&self, reader: Reader) -> String {
        let list = |conds: &[Cond], sign: &str| {
            let parts: Vec<String> = conds.iter().map(|it| it.print(reader)).collect();
            format!("({})", parts.join(sign))
        };
        match self {
            Cond::Literal(value) => value.to_string(),
            Cond::Has(path, as_null) => has(path, *as_null, reader),
            Cond::Text(text, test) => test.print(&text.print()),
            Cond::SameText(one, other) => match reader {
                // Two nulls are equal in CEL, and two missing fields are not.
                Reader::Oracle(Missing::Null) => format!(
                    "({0} != null && {1} != null && {0} == {1})",
                    one.print(),
                    other.print()
                ),
                _ => format!("{} == {}", one.print(), other.print()),
            },
            Cond::AnyText(test) => match reader {
                Reader::Us => test.print("request.text"),
                Reader::Oracle(_) => format!("texts.exists(t, {})", test.print("t")),
            },
            Cond::Stream(None) => "request.stream".to_owned(),
            Cond::Stream(Some(value)) => format!("request.stream == {value}"),
            Cond::Compare(sign, left, right) => {
                let both = format!("{} {sign} {}", left.print(reader), right.print(reader));
                match (reader, *sign) {
                    (Reader::Oracle(Missing::Null), "==") => {
                        let fields = [left.fields(), right.fields()].concat();
                        let guards: String = fields
                            .iter()
                            .map(|it| format!("{it} != null && "))
                            .collect();
                        format!("({guards}{both})")
                    }
                    _ => format!("({both})"),
                }
            }
            Cond::NumberIn(path, set) => {
                let set: Vec<String> = set
                    .iter()
                    .map(|it| Num::Literal(*it).print(reader))
                    .collect();
                format!("{path} in [{}]", set.join(", "))
            }
            Cond::NameIn(word, list) => format!("{} in {list}", quoted(word)),
            Cond::Not(inner) => format!("!({})", inner.print(reader)),
            Cond::All(parts) => list(parts, " && "),
            Cond::Any(parts) => list(parts, " || "),
            Cond::If(parts) => {
                let [condition, then, otherwise] = parts.each_ref().map(|it| it.print(reader));
                format!("(({condition}) ? ({then}) : ({otherwise}))")
            }
            Cond::Quantified(every, list, body) => {
                let name = if *every { "all" } else { "exists" };
                format!("{list}.{name}(x, {})", body.print(reader))
            }
            Cond::Guarded(paths, holds, inner) => {
                let guards: Vec<String> = paths.iter().map(|it| has(it, false, reader)).collect();
                let guards = guards.join(" && ");
                match holds {
                    true => format!("(!({guards}) || ({}))", inner.print(reader)),
                    false => format!("({guards} && ({}))", inner.print(reader)),
                }
            }
        }
    }
}

fn has(path: &str, as_null: bool, reader: Reader) -> String {
    let list = LISTS.contains(&path) || path == "request.text";
    match reader {
        Reader::Us if as_null && !list => format!("{path} != null"),
        Reader::Us => format!("has({path})"),
        Reader::Oracle(_) if path == "request.text" => "size(texts) > 0".to_owned(),
        Reader::Oracle(_) if list => format!("size({path}) > 0"),
        Reader::Oracle(_) if path.ends_with("[0].content") => "size(request.messages) > 0".into(),
        Reader::Oracle(_) if path.ends_with("[1].content") => "size(request.messages) > 1".into(),
        Reader::Oracle(Missing::Null) => format!("{path} != null"),
        Reader::Oracle(Missing::LeftOut) => format!("has({path})"),
    }
}

impl Text {
    fn print(&self) -> String {
        let call = if self.lower { ".lowerAscii()" } else { "" };
        format!("{}{call}", self.path)
    }
}

impl TextTest {
    fn print(&self, text: &str) -> String {
        match self {
            TextTest::Equals(word) => format!("{text} == {}", quoted(word)),
            TextTest::Differs(word) => format!("{text} != {}", quoted(word)),
            TextTest::In(words) => {
                let words: Vec<String> = words.iter().map(|it| quoted(it)).collect();
                format!("{text} in [{}]", words.join(", "))
            }
            TextTest::Method(name, word) => format!("{text}.{name}({})", quoted(word)),
            TextTest::Matches(pattern) => format!("{text}.matches(r'{pattern}')"),
        }
    }
}

impl Num {
    fn print(&self, reader: Reader) -> String {
        match (self, reader) {
            (Num::Literal(number), Reader::Us) => number.to_string(),
            // Numbers have one type here, two in CEL.
            (Num::Literal(number), Reader::Oracle(_)) => format!("{number}.0"),
            (Num::Field(path), _) => (*path).to_owned(),
            (Num::Size(path), Reader::Us) => format!("size({path})"),
            (Num::Size(path), Reader::Oracle(_)) => format!("double(size({path}))"),
            (Num::Negative(inner), _) => format!("-({})", inner.print(reader)),
            (Num::Pair(sign, sides), _) => {
                let [left, right] = sides.each_ref().map(|side| side.print(reader));
                format!("({left} {sign} {right})")
            }
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        match self {
            Num::Literal(_) | Num::Size(_) => Vec::new(),
            Num::Field(path) => vec![path],
            Num::Negative(inner) => inner.fields(),
            Num::Pair(_, sides) => sides.iter().flat_map(Num::fields).collect(),
        }
    }
}

fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", word.replace('\n', "\\n"))
}

fn any_of<const N: usize>(from: [&'static str; N]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(from.to_vec())
}

fn text_test() -> impl Strategy<Value = TextTest> {
    prop_oneof![
        any_of(WORDS).prop_map(TextTest::Equals),
        any_of(WORDS).prop_map(TextTest::Differs),
        prop::collection::vec(any_of(WORDS), 0..3).prop_map(TextTest::In),
        (
            any_of(["contains", "startsWith", "endsWith"]),
            any_of(WORDS)
        )
            .prop_map(|(name, word)| TextTest::Method(name, word)),
        any_of(["a", "^b$", "(?i)A|é", "[ab]{2}", "x*"]).prop_map(TextTest::Matches),
    ]
}

fn several_test() -> impl Strategy<Value = TextTest> {
    text_test().prop_filter("methods alone", |test| {
        matches!(test, TextTest::Method(..) | TextTest::Matches(_))
    })
}

fn text() -> impl Strategy<Value = Text> {
    (any_of(TEXTS), any::<bool>()).prop_map(|(path, lower)| Text { path, lower })
}

fn number() -> impl Strategy<Value = Num> {
    let leaf = prop_oneof![
        (0..5u8).prop_map(Num::Literal),
        any_of(NUMBERS).prop_map(Num::Field),
        any_of(LISTS).prop_map(Num::Size),
        any_of(TEXTS).prop_map(Num::Size),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| Num::Negative(Box::new(it))),
            (any_of(["+", "-", "*"]), inner.clone(), inner)
                .prop_map(|(sign, left, right)| Num::Pair(sign, Box::new([left, right]))),
        ]
    })
}

const SIGNS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

/// A predicate of a macro, about its entry.
fn predicate(list: &'static str) -> impl Strategy<Value = Cond> {
    let paths: &[&'static str] = match list {
        "request.messages" => &["x.content"],
        _ => &["x"],
    };
    let entry = prop::sample::select(paths.to_vec());
    let entry = (entry, any::<bool>()).prop_map(|(path, lower)| Text { path, lower });
    let leaf = prop_oneof![
        4 => (entry, text_test()).prop_map(|(text, test)| Cond::Text(text, test)),
        1 => any::<bool>().prop_map(Cond::Literal),
        1 => Just(Cond::Stream(None)),
        1 => (any_of(SIGNS), (0..5u8).prop_map(Num::Literal)).prop_map(|(sign, size)| {
            let size = Num::Pair("+", Box::new([size, Num::Literal(0)]));
            Cond::Compare(sign, Num::Field("context.time.hour"), size)
        }),
    ];
    leaf.prop_recursive(2, 8, 3, connected)
}

fn connected(inner: BoxedStrategy<Cond>) -> impl Strategy<Value = Cond> {
    prop_oneof![
        inner.clone().prop_map(|it| Cond::Not(Box::new(it))),
        prop::collection::vec(inner.clone(), 1..4).prop_map(Cond::All),
        prop::collection::vec(inner.clone(), 1..4).prop_map(Cond::Any),
        [inner.clone(), inner.clone(), inner].prop_map(|parts| Cond::If(Box::new(parts))),
    ]
}

fn condition() -> impl Strategy<Value = Cond> {
    let quantified = any_of(LISTS).prop_flat_map(|list| {
        (any::<bool>(), predicate(list))
            .prop_map(move |(every, body)| Cond::Quantified(every, list, Box::new(body)))
    });
    let asked = [
        "request.model",
        "request.user",
        "context.environment",
        "request.messages[0].content",
        "request.messages[1].content",
        "request.max_tokens",
        "request.temperature",
        "request.stream",
        "request.messages",
        "request.tools",
        "request.text",
    ];
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Cond::Literal),
        2 => (any_of(asked), any::<bool>()).prop_map(|(path, null)| Cond::Has(path, null)),
        4 => (text(), text_test()).prop_map(|(text, test)| Cond::Text(text, test)),
        1 => (any_of(TEXTS), text()).prop_map(|(path, other)| {
            Cond::SameText(Text { path, lower: false }, Text { lower: false, ..other })
        }),
        2 => several_test().prop_map(Cond::AnyText),
        1 => any::<Option<bool>>().prop_map(Cond::Stream),
        3 => (any_of(SIGNS), number(), number())
            .prop_map(|(sign, left, right)| Cond::Compare(sign, left, right)),
        1 => (any_of(NUMBERS), prop::collection::vec(0..5u8, 0..3))
            .prop_map(|(path, set)| Cond::NumberIn(path, set)),
        1 => (any_of(WORDS), any_of(["request.tools", "request.stop"]))
            .prop_map(|(word, list)| Cond::NameIn(word, list)),
        2 => quantified,
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let guards = prop::collection::vec(
            any_of([
                "request.model",
                "request.user",
                "context.environment",
                "request.max_tokens",
                "request.temperature",
                "request.stream",
                "request.messages[1].content",
            ]),
            1..7,
        );
        prop_oneof![
            3 => connected(inner.clone()),
            2 => (guards, any::<bool>(), inner).prop_map(|(mut paths, holds, inner)| {
                paths.push("request.messages[0].content");
                Cond::Guarded(paths, holds, Box::new(inner))
            }),
        ]
    })
}

prop_compose! {
    fn facts()(
        model in prop::option::of(any_of(WORDS)),
        user in prop::option::of(any_of(WORDS)),
        environment in prop::option::of(any_of(WORDS)),
        contents in prop::collection::vec(any_of(WORDS), 0..4),
        others in prop::collection::vec(any_of(WORDS), 0..2),
        tools in prop::collection::vec(any_of(WORDS), 0..3),
        stop in prop::collection::vec(any_of(WORDS), 0..3),
        max_tokens in prop::option::of(0..5u8),
        temperature in prop::option::of(0..5u8),
        stream in any::<Option<bool>>(),
        hour in 0..5u64,
    ) -> Facts {
        let all = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let message = |content: &&str| Message { role: "user".into(), content: (*content).into() };
        Facts {
            request: RequestFacts {
                model: model.map(str::to_owned),
                user: user.map(str::to_owned),
                messages: contents.iter().map(message).collect(),
                other_texts: all(others),
                tools: all(tools),
                stop: all(stop),
                max_tokens: max_tokens.map(f64::from),
                temperature: temperature.map(|it| f64::from(it) / 2.0),
                stream,
                ..RequestFacts::default()
            },
            context: ContextFacts {
                environment: environment.map(str::to_owned),
                time_unix_us: hour * 3_600_000_000,
                ..ContextFacts::default()
            },
            ..Facts::default()
        }
    }
}

/// What we say; `None` where the expression is refused.
fn ours(cond: &Cond, facts: &Facts) -> Option<bool> {
    let expression = cond.print(Reader::Us);
    let text = format!(
        "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    when: |\n      \
         {expression}\n    actions: [{{type: allow}}]\n"
    );
    let checked = check(&text);
    let Some(policy) = checked.policy else {
        let asks = |code| matches!(code, "needs-has" | "too-deep" | "too-costly");
        let errors = checked
            .diagnostics
            .iter()
            .filter(|d| !matches!(d.severity, jupiter_policy::Severity::Warning));
        for found in errors {
            let said = render(&checked.diagnostics, &text, "text");
            assert!(asks(found.code), "{said}");
        }
        return None;
    };
    let bundle = Bundle::load(&compile(&[policy]).unwrap()).unwrap();
    Some(!decide(&bundle, facts).matched.is_empty())
}

fn oracle(cond: &Cond, facts: &Facts, missing: Missing) -> bool {
    let program = Program::compile(&cond.print(Reader::Oracle(missing))).unwrap();
    let request = &facts.request;
    let contents = request.messages.iter().map(|it| it.content.clone());
    let messages: Vec<_> = contents
        .clone()
        .map(|content| json!({"role": "user", "content": content}))
        .collect();
    let texts: Vec<String> = contents.chain(request.other_texts.clone()).collect();
    let mut fields = json!({
        "model": request.model, "user": request.user, "max_tokens": request.max_tokens,
        "temperature": request.temperature, "stream": request.stream, "messages": messages,
        "tools": request.tools, "stop": request.stop,
    });
    let hour = (facts.context.time_unix_us / 3_600_000_000) as f64;
    let mut around = json!({"environment": facts.context.environment, "time": {"hour": hour}});
    if missing == Missing::LeftOut {
        for object in [&mut fields, &mut around] {
            object
                .as_object_mut()
                .unwrap()
                .retain(|_, value| !value.is_null());
        }
    }
    let mut context = Context::default();
    context.add_variable("request", fields).unwrap();
    context.add_variable("context", around).unwrap();
    context.add_variable("texts", texts).unwrap();
    context
        .add_function(
            "lowerAscii",
            |text: cel::extractors::This<std::sync::Arc<String>>| text.0.to_ascii_lowercase(),
        )
        .unwrap();
    matches!(program.execute(&context), Ok(Value::Bool(true)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_holds_exactly_where_cel_says_true(cond in condition(), facts in facts()) {
        if let Some(ours) = ours(&cond, &facts) {
            for missing in [Missing::LeftOut, Missing::Null] {
                prop_assert_eq!(ours, oracle(&cond, &facts, missing), "{:?}\n{}\n{}", missing,
                    cond.print(Reader::Us), cond.print(Reader::Oracle(missing)));
            }
        }
    }
}

#[test]
fn enough_of_what_is_generated_is_accepted_and_holds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let count = Cell::new((0, 0));
    for _ in 0..1000 {
        let cond = condition().new_tree(&mut runner).unwrap().current();
        let facts = facts().new_tree(&mut runner).unwrap().current();
        let (accepted, held) = count.get();
        match ours(&cond, &facts) {
            None => {}
            Some(holds) => count.set((accepted + 1, held + usize::from(holds))),
        }
    }
    let (accepted, held) = count.get();
    assert!(
        accepted > 400 && held > 100,
        "{accepted} accepted, {held} held"
    );
}
