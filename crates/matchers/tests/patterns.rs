//! What patterns match, what they cost, and that broken bytes stay harmless.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_matchers::{MAX_PATTERN_BYTES, PatternError, TextPattern, compile};
use proptest::prelude::*;

fn matches(pattern: &str, text: &str) -> bool {
    let bytes = compile(pattern).unwrap();
    TextPattern::load(&bytes).unwrap().is_match(text)
}

#[test]
fn pattern_is_found_anywhere_unless_anchored() {
    assert!(matches("b+", "aabba"));
    assert!(matches("", ""));
    assert!(matches("^gpt-4", "gpt-4o"));
    assert!(!matches("^gpt-4", "my gpt-4o"));
    assert!(matches("mini$", "gpt-4o-mini"));
    assert!(!matches("mini$", "gpt-4o-mini-2024"));
    assert!(matches("(?m)^b$", "a\nb\nc"));
}

#[test]
fn shorthands_are_ascii_and_the_rest_is_unicode() {
    assert!(matches(r"\b\d{3}-\d{2}-\d{4}\b", "ssn 123-45-6789."));
    assert!(!matches(r"\b\d{3}-\d{2}-\d{4}\b", "ssn 1123-45-67890"));
    assert!(!matches(r"^\d$", "٣"));
    assert!(matches(r"^\D$", "٣"));
    assert!(matches(r"^[\w\s]+$", "ab c_1"));
    assert!(!matches(r"^[\w\s]+$", "é"));
    assert!(matches(r"^[^\W\d]+$", "abc"));
    assert!(matches(r"^é.ü$", "éßü"));
    assert!(matches(r"(?i)straße", "STRAßE"));
    assert!(matches(r"a\Bb", "ab"));
    assert!(matches(r"\\d", r"\d"));
    assert!(matches(r"(?x) ^ a \s b $", "a b"));
    assert!(matches(r"\bworld\b", "hello wörld world"));
}

#[test]
fn usual_patterns_stay_small() {
    for pattern in [
        r"(?i)\b(ignore|disregard) (all )?(previous|prior) (instructions|prompts)\b",
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
        r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
        r"sk-[A-Za-z0-9]{20,}",
        "^(gpt-4|claude-3).*",
        "AKIA[0-9A-Z]{16}",
    ] {
        let bytes = compile(pattern).unwrap();
        assert!(bytes.len() < 16 * 1024, "{pattern}: {} bytes", bytes.len());
        assert!(TextPattern::load(&bytes).is_ok());
    }
}

#[test]
fn faults_are_told_apart() {
    let unclosed = compile("a(b").unwrap_err();
    assert!(
        matches!(
            unclosed,
            PatternError::Syntax {
                start: 1,
                end: 2,
                ..
            }
        ),
        "{unclosed:?}"
    );
    assert!(matches!(
        compile(r"(a)\1").unwrap_err(),
        PatternError::Syntax { .. }
    ));
    assert!(matches!(
        compile(r"a(?=b)").unwrap_err(),
        PatternError::Syntax { .. }
    ));
    assert_eq!(
        compile(r"(a|b)*a(a|b){14}c").unwrap_err(),
        PatternError::TooLarge
    );
    // Two windows multiply each other.
    assert_eq!(
        compile(r"foo.{0,40}bar.{0,40}baz").unwrap_err(),
        PatternError::TooLarge
    );
    assert_eq!(compile(r"\pL{200}").unwrap_err(), PatternError::TooLarge);
    assert_eq!(
        compile(r"((a{100}){100}){100}").unwrap_err(),
        PatternError::TooLarge
    );
    let long = "a".repeat(5000);
    assert_eq!(
        compile(&long).unwrap_err(),
        PatternError::TextTooLong { bytes: 5000 }
    );
    assert!(compile(&"(".repeat(4000)).is_err());
    assert!(compile(&("(".repeat(1000) + &")".repeat(1000))).is_err());
}

#[test]
fn same_pattern_gives_same_bytes() {
    let pattern = r"(?i)(alpha|beta|gamma)[0-9]{1,4}\b";
    assert_eq!(compile(pattern), compile(pattern));
}

#[test]
fn bytes_load_from_any_address() {
    let bytes = compile("needle").unwrap();
    for shift in 0..8 {
        let mut moved = vec![0u8; shift];
        moved.extend_from_slice(&bytes);
        assert!(
            TextPattern::load(&moved[shift..])
                .unwrap()
                .is_match("a needle")
        );
    }
}

#[test]
fn cut_or_padded_bytes_are_refused() {
    let bytes = compile(r"\bneedle[0-9]+").unwrap();
    for end in 0..bytes.len() {
        assert!(TextPattern::load(&bytes[..end]).is_err(), "{end}");
    }
    let mut padded = bytes;
    padded.extend_from_slice(&[0, 0, 0, 0]);
    assert!(TextPattern::load(&padded).is_err());
}

#[test]
fn flipped_bytes_never_panic() {
    let bytes = compile(r"(?i)\bneedle[0-9]+x?").unwrap();
    assert!(bytes.len() <= MAX_PATTERN_BYTES);
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut broken = bytes.clone();
            broken[position] ^= flip;
            if let Ok(pattern) = TextPattern::load(&broken) {
                pattern.is_match("a Needle12 é and more, NEEDLE7x");
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_patterns_never_panic(pattern in ".{0,40}", text in ".{0,60}") {
        if let Ok(bytes) = compile(&pattern) {
            TextPattern::load(&bytes).unwrap().is_match(&text);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = TextPattern::load(&bytes);
    }

    /// Another engine of the same family is the oracle; only shorthands differ, so none here.
    #[test]
    fn agrees_with_another_engine(pattern in "[abé.*+?|()^$\\[\\]]{0,8}", text in "[abé\n]{0,10}") {
        if let (Ok(bytes), Ok(oracle)) =
            (compile(&pattern), regex_automata::meta::Regex::new(&pattern))
        {
            let ours = TextPattern::load(&bytes).unwrap();
            prop_assert_eq!(ours.is_match(&text), oracle.is_match(&text));
        }
    }
}

#[test]
fn counted_repeats_stay_small() {
    for pattern in [
        r"foo.{0,40}bar",
        r"(?i)\b(ignore|disregard)\b.{0,40}\b(instructions|prompts)\b",
        r"(?:\d[ -]*?){13,16}",
        r"\b(?:\d[ -]*?){13,16}\b",
        r"[A-Za-z0-9+/]{40,}={0,2}",
        r"password\W{0,20}\w{8,64}",
        r"(?s)begin.{0,200}end",
    ] {
        let start = std::time::Instant::now();
        let bytes = compile(pattern).map(|bytes| bytes.len());
        println!("{pattern}: {bytes:?} in {:?}", start.elapsed());
        assert!(bytes.is_ok_and(|bytes| bytes < 32 * 1024), "{pattern}");
    }
}
