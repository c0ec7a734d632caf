//! A scanner finds what each keyword and pattern finds alone, wherever a text is cut.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_matchers::{Found, Keyword, TextPattern, TextScanner, compile};
use proptest::prelude::*;
use std::sync::Arc;

/// One of each lane, with assertions, counted repeats, and literals inside each other.
const PATTERNS: [&str; 19] = [
    r"\babc[0-9]+",
    r"(?i)abc|bca",
    r"cab.{0,5}abc",
    r"(?:\d[ -]*?){5,8}",
    r"\b\d{3}-\d{2}\b",
    r"^abc",
    r"abc$",
    r"(?m)^b+$",
    r"[a-c]+é[a-c]+",
    r"[a-c]*@bca",
    r"(?i)aBc\s*[:=]\s*\S+",
    r"\Babc\B",
    r"a{3,}b",
    r"",
    r"xyz(?:abc)*!",
    r"(?:abca|bcab|cabc)b",
    r"\b(?:\d[ -]*?){13,14}\b",
    r"\b(?:[a-c][ -]*?){12,13}\b",
    r"\b(?:a[ -]*?|abc){11,12}\bc",
];

const WORDS: [&str; 8] = ["abc", "ABC", "bcab", "é", "a", "", "abcabcabc", "c 1"];

fn keyword(text: &str, any_case: bool) -> Keyword<'_> {
    Keyword { text, any_case }
}

fn scanner(words: &[&str], patterns: &[&str]) -> TextScanner {
    let load = |pattern: &&str| Arc::new(TextPattern::load(&compile(pattern).unwrap()).unwrap());
    let words: Vec<Keyword<'_>> = words.iter().map(|text| keyword(text, false)).collect();
    TextScanner::new(&words, patterns.iter().map(load).collect())
}

fn reference(words: &[&str], patterns: &[&str], text: &str) -> Vec<bool> {
    let words = words.iter().map(|word| text.contains(word));
    let patterns = patterns
        .iter()
        .map(|pattern| oracle(pattern).is_match(text));
    words.chain(patterns).collect()
}

/// The same dialect in another engine: shorthands are ASCII there only when told so.
fn oracle(pattern: &str) -> regex_automata::meta::Regex {
    let ascii = pattern
        .replace(r"\d", "[0-9]")
        .replace(r"\s", r"[\t\n\f\r\x20]")
        .replace(r"\S", r"[^\t\n\f\r\x20]")
        .replace(r"\b", r"(?-u:\b)")
        .replace(r"\B", r"(?-u:\B)");
    regex_automata::meta::Regex::builder()
        .syntax(regex_automata::util::syntax::Config::new().utf8(false))
        .build(&ascii)
        .unwrap()
}

fn bits(found: &Found, count: usize) -> Vec<bool> {
    (0..count).map(|index| found.has(index)).collect()
}

fn text() -> impl Strategy<Value = String> {
    "([abcABC]{0,4}|abc|cab|bca|[0-9 -]{1,6}|é|xyz|[ :=@!\n]){0,14}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_each_pattern_alone_and_with_another_engine(text in text()) {
        thread_local!(static SCANNER: TextScanner = scanner(&WORDS, &PATTERNS));
        let found = SCANNER.with(|scanner| scanner.scan(&text));
        let expected = reference(&WORDS, &PATTERNS, &text);
        prop_assert_eq!(bits(&found, expected.len()), expected);
    }

    #[test]
    fn cuts_do_not_matter(text in text(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        thread_local!(static SCANNER: TextScanner = scanner(&WORDS, &PATTERNS));
        SCANNER.with(|scanner| {
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let mut scan = scanner.start();
            for pair in ends.windows(2) {
                scan.push(&text.as_bytes()[pair[0]..pair[1]]);
            }
            assert_eq!(scan.finish(), scanner.scan(&text), "{text:?} cut at {ends:?}");
        });
    }

    /// What a scan lets go never belongs to a keyword, or to a match that begins with a literal.
    #[test]
    fn beginnings_of_matches_stay_open(text in text()) {
        const PREFIXES: [&str; 3] = [r"abca[0-9]+-", r"xyz(?:abc)*!", r"(?:abca|bcab|cabc)b"];
        thread_local!(static SCANNER: TextScanner = scanner(&WORDS, &PREFIXES));
        let words = WORDS.iter().filter(|word| !word.is_empty());
        let mut matches: Vec<(usize, usize)> = words
            .flat_map(|word| text.match_indices(word).map(|(at, word)| (at, at + word.len())))
            .collect();
        for pattern in PREFIXES {
            matches.extend(oracle(pattern).find_iter(&text).map(|it| (it.start(), it.end())));
        }
        SCANNER.with(|scanner| {
            let mut paused = scanner.start().pause();
            for (byte, read) in text.as_bytes().iter().zip(1..) {
                let mut scan = scanner.resume(paused);
                scan.push(&[*byte]);
                let released = read - scan.open_bytes();
                // Once a pattern was found, its further matches are nobody's business.
                let first = |pattern: usize| !scan.found().has(WORDS.len() + pattern);
                let all = (0..PREFIXES.len()).all(first);
                for (start, end) in &matches {
                    let inside = (*start..*end).contains(&read) && read > *start;
                    assert!(!all || !inside || released <= *start, "{text:?} at {read}: {released}");
                }
                paused = scan.pause();
            }
            assert_eq!(scanner.resume(paused).finish(), scanner.scan(&text));
        });
    }

    #[test]
    fn several_texts_are_found_as_their_union(texts in proptest::collection::vec(text(), 0..4)) {
        thread_local!(static SCANNER: TextScanner = scanner(&WORDS, &PATTERNS));
        SCANNER.with(|scanner| {
            let mut union = scanner.start().finish();
            if texts.is_empty() {
                union = scanner.scan_all(&mut [].into_iter());
            }
            for text in &texts {
                union.merge(&scanner.scan(text));
            }
            let all = scanner.scan_all(&mut texts.iter().map(String::as_str));
            if !texts.is_empty() {
                assert_eq!(all, union);
            }
        });
    }

    #[test]
    fn any_keywords_are_found(
        words in proptest::collection::vec("[abA]{0,4}|é|[abé]{5,9}", 1..30),
        text in "[abAcé]{0,60}",
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let found = scanner(&words, &[]).scan(&text);
        prop_assert_eq!(bits(&found, words.len()), reference(&words, &[], &text));
    }

    /// Long ones alone: the search steps over places.
    #[test]
    fn long_keywords_are_found(
        words in proptest::collection::vec("[abA]{3,9}|[abé]{5,9}", 1..6),
        text in "[abAcé]{0,90}",
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let scanner = scanner(&words, &[]);
        let expected = reference(&words, &[], &text);
        prop_assert_eq!(bits(&scanner.scan(&text), words.len()), expected.clone());
        let mut scan = scanner.start();
        text.as_bytes().chunks(2).for_each(|part| scan.push(part));
        prop_assert_eq!(bits(&scan.finish(), words.len()), expected);
    }

    #[test]
    fn keywords_in_any_case_are_found(word in "[aBé]{1,3}", text in "[aAbBé]{0,20}") {
        let scanner = TextScanner::new(&[keyword(&word, true), keyword(&word, false)], vec![]);
        let found = scanner.scan(&text);
        let folded = text.to_ascii_lowercase().contains(&word.to_ascii_lowercase());
        prop_assert_eq!(bits(&found, 2), [folded, text.contains(&word)]);
    }

    #[test]
    fn any_pattern_agrees_in_every_lane(
        pattern in "(abc|ABC|bca|[abc]{1,4}|a{1,3}|\\.\\{0,3\\}|\\[ab\\]\\*|\\(ab\\|ca\\)\\+|\\\\b|\\^|\\$|\\?|\\(\\?i\\)){1,5}",
        text in "[abcABC \n]{0,30}",
    ) {
        if let Ok(bytes) = compile(&pattern) {
            let alone = TextPattern::load(&bytes).unwrap();
            let expected = oracle(&pattern).is_match(&text);
            prop_assert_eq!(alone.is_match(&text), expected, "{} alone", &pattern);
            let scanner = TextScanner::new(&[], vec![Arc::new(alone)]);
            prop_assert_eq!(scanner.scan(&text).has(0), expected, "{} scanned", &pattern);
            let mut scan = scanner.start();
            for byte in text.as_bytes() {
                scan.push(&[*byte]);
            }
            prop_assert_eq!(scan.finish().has(0), expected, "{} byte by byte", &pattern);
        }
    }

    #[test]
    fn broken_patterns_scan_without_panic(
        nth in 0..PATTERNS.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        text in text(),
    ) {
        thread_local!(static COMPILED: Vec<Vec<u8>> = PATTERNS.map(|pattern| compile(pattern).unwrap()).into());
        let mut bytes = COMPILED.with(|compiled| compiled[nth].clone());
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(pattern) = TextPattern::load(&bytes) {
            pattern.is_match(&text);
            TextScanner::new(&[keyword("abc", true)], vec![Arc::new(pattern)]).scan(&text);
        }
    }
}

#[test]
fn a_thousand_keywords_and_hostile_texts_take_linear_time() {
    let words: Vec<String> = (0..1000).map(|n| format!("aaaaaaaa{n:04}aaaa")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let scanner = scanner(
        &words,
        &[r"aaa[a-z]*!", r"aaa.{0,40}bbb", r"(?:\d[ -]*?){13,16}"],
    );
    for text in [
        "a".repeat(400_000),
        "aaaaaaaa0".repeat(40_000),
        "1 - ".repeat(100_000),
    ] {
        let start = std::time::Instant::now();
        scanner.scan(&text);
        // Quadratic time would take hours.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
