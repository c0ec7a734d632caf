//! Makes the data in `crates/tokens/data` from the exact vocabularies and from Unicode.
//!
//! Runs in tests alone: they compare what is made with what is checked in;
//! with `MERCATOR_BLESS=1` (`just bless`) they rewrite it.
#![cfg(test)]

use crate::class::{self, PAGES};
use crate::table::{self, BUCKET_BYTES, LONGEST, Place, RANK_LIMIT, Table};
use crate::{Vocabulary, split};
use proptest::prelude::*;
use regex_syntax::hir::{Class, HirKind};
use std::path::Path;
use std::sync::LazyLock;
use tiktoken_rs::CoreBPE;

fn compare(name: &str, made: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name);
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == made,
        "data/{name} is not what the vocabulary gives; `just bless` rewrites it"
    );
}

fn exact(vocabulary: Vocabulary) -> &'static CoreBPE {
    match vocabulary {
        Vocabulary::O200k => tiktoken_rs::o200k_base_singleton(),
        Vocabulary::Cl100k => tiktoken_rs::cl100k_base_singleton(),
    }
}

/// All tokens but the special ones, by rank.
fn tokens(vocabulary: Vocabulary) -> Vec<(u32, Vec<u8>)> {
    let bpe = exact(vocabulary);
    let special = bpe.special_tokens();
    (0..RANK_LIMIT)
        .filter_map(|rank| Some((rank, bpe.decode_bytes(&[rank]).ok()?)))
        .filter(|(_, bytes)| !std::str::from_utf8(bytes).is_ok_and(|text| special.contains(text)))
        .collect()
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash, byte| table::roll(hash, *byte))
}

/// Cuckoo hashing: who finds both buckets full takes the place of another, who moves
/// to their other bucket. 19 of 20 places are taken in the end.
fn rank_table(tokens: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let stored: Vec<_> = tokens.iter().filter(|(_, bytes)| bytes.len() > 1).collect();
    let slots = BUCKET_BYTES / 4;
    let count = stored.len().div_ceil(slots) * 20 / 19;
    let mut buckets: Vec<Vec<usize>> = vec![vec![]; count];
    let place = |token: usize| Place::of(hash(&stored[token].1), count);
    for token in 0..stored.len() {
        let (mut token, mut bucket) = (token, place(token).buckets[0]);
        for turn in 0.. {
            assert!(turn < 10_000, "the table is too full");
            let both = place(token).buckets;
            if let Some(free) = both.into_iter().find(|b| buckets[*b].len() < slots) {
                buckets[free].push(token);
                break;
            }
            bucket = if both[0] == bucket { both[1] } else { both[0] };
            std::mem::swap(&mut token, &mut buckets[bucket][turn % slots]);
        }
    }
    let mut data = vec![];
    for bucket in &buckets {
        for slot in 0..slots {
            let entry = bucket
                .get(slot)
                .map_or(0, |&token| place(token).entry(stored[token].0));
            data.extend(entry.to_le_bytes());
        }
    }
    data
}

#[test]
fn rank_tables_hold_the_vocabularies() {
    for (vocabulary, name) in [
        (Vocabulary::O200k, "o200k.ranks"),
        (Vocabulary::Cl100k, "cl100k.ranks"),
    ] {
        let tokens = tokens(vocabulary);
        assert!(
            tokens
                .iter()
                .all(|(rank, bytes)| *rank < RANK_LIMIT && bytes.len() <= LONGEST)
        );
        assert_eq!(
            tokens.iter().filter(|(_, bytes)| bytes.len() == 1).count(),
            256
        );
        let made = rank_table(&tokens);
        let table = Table::new(&made);
        let (mut wrong, mut stored) = (0, 0);
        for (rank, bytes) in tokens.iter().filter(|(_, bytes)| bytes.len() > 1) {
            stored += 1;
            let found = table.rank(hash(bytes));
            assert!(found.is_some(), "every token is found");
            wrong += usize::from(found != Some(*rank));
        }
        // Two tokens with one tag in one bucket: the first is found for both.
        assert!(wrong * 1_000 < stored, "{wrong} of {stored}");
        compare(name, &made);
    }
}

#[test]
fn rank_tables_take_few_sequences_for_tokens_that_are_none() {
    for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
        let table = table::of(vocabulary);
        // 16 bytes that are no text: no token is like that.
        let taken = (0..100_000u128)
            .filter(|i| {
                table
                    .rank(hash(&(u128::MAX - i * 0x1234_5678_9abc_def1).to_le_bytes()))
                    .is_some()
            })
            .count();
        assert!(taken < 100, "{taken} of 100,000");
    }
}

/// The characters that a class of a regular expression holds.
fn members(pattern: &str) -> Vec<(u32, u32)> {
    let hir = regex_syntax::parse(pattern).unwrap();
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class
            .ranges()
            .iter()
            .map(|range| (u32::from(range.start()), u32::from(range.end())))
            .collect(),
        other => panic!("{pattern}: {other:?}"),
    }
}

#[test]
fn classes_are_unicodes() {
    let mut classes = vec![0u8; PAGES * 256];
    for (pattern, class) in [
        (r"[\p{Lu}\p{Lt}]", class::UPPER),
        (r"\p{Ll}", class::LOWER),
        (r"[\p{Lm}\p{Lo}]", class::CASELESS),
        (r"\p{M}", class::MARK),
        (r"\p{N}", class::NUMBER),
        (r"\s", class::SPACE),
        (r"[\r\n]", class::NEWLINE),
    ] {
        for (first, last) in members(pattern) {
            for code in first..=last {
                classes[code as usize] |= class;
            }
        }
    }
    let mut pages: Vec<&[u8]> = vec![];
    let mut made = vec![];
    for page in classes.chunks(256) {
        let known = pages.iter().position(|other| *other == page);
        let number = known.unwrap_or_else(|| {
            pages.push(page);
            pages.len() - 1
        });
        made.push(u8::try_from(number).unwrap());
    }
    made.extend(pages.concat());
    compare("classes.bin", &made);
}

/// Letters of all kinds, marks, digits, spaces, line ends, quotes: what the patterns tell apart.
fn mixed_text() -> impl Strategy<Value = String> {
    let character = prop::sample::select(
        "aabzAZéÉǅʰªßſñ\u{301}\u{308}ﾞ語かカสั้ن٣5²Ⅷ09  \t\u{a0}\u{3000}\r\n\n\u{85}'''sStTrReEvVlLdDmM.,/!?_-{}\"€😀"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(character, 0..24).prop_map(String::from_iter)
}

/// As published with the vocabularies.
fn pattern(vocabulary: Vocabulary) -> &'static fancy_regex::Regex {
    static O200K: LazyLock<fancy_regex::Regex> = LazyLock::new(|| {
        let alternatives = [
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ];
        fancy_regex::Regex::new(&alternatives.join("|")).unwrap()
    });
    static CL100K: LazyLock<fancy_regex::Regex> = LazyLock::new(|| {
        fancy_regex::Regex::new(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        )
        .unwrap()
    });
    match vocabulary {
        Vocabulary::O200k => &O200K,
        Vocabulary::Cl100k => &CL100K,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn pieces_are_those_of_the_patterns(text in mixed_text()) {
        for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
            let ours: Vec<_> = split::pieces(vocabulary, &text)
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect();
            let theirs: Vec<_> = pattern(vocabulary)
                .find_iter(&text)
                .map(|found| found.unwrap().as_str().to_owned())
                .collect();
            prop_assert_eq!(ours, theirs, "{:?}", vocabulary);
        }
    }
}
