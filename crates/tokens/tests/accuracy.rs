//! How far estimates are from the exact tokenizers, measured and told.
//!
//! Nothing in the estimator is fitted to any text, so all of these are held
//! out. The texts in `corpus/` were written for this project or are files of
//! it; the rest is generated. `docs/reference/tokens.md` carries the table, and
//! `just bless` rewrites it there.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use jupiter_tokens::models::MODELS;
use jupiter_tokens::prices::{AS_OF, LIST_PRICES, SOURCES};
use jupiter_tokens::{Vocabulary, count};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tiktoken_rs::CoreBPE;

const CODE: &[&str] = &["javascript", "python", "rust", "shell", "sql"];
const DATA: &[&str] = &["json", "markdown", "yaml"];
/// Of one measurement; what a user of the estimate would send at once.
const CHUNK_BYTES: usize = 256;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn exact(vocabulary: Vocabulary) -> &'static CoreBPE {
    match vocabulary {
        Vocabulary::O200k => tiktoken_rs::o200k_base_singleton(),
        Vocabulary::Cl100k => tiktoken_rs::cl100k_base_singleton(),
    }
}

/// A text in parts of about [`CHUNK_BYTES`], cut where it has spaces or between characters.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks = vec![String::new()];
    for c in text.chars() {
        let last = chunks.last_mut().unwrap();
        let full =
            last.len() >= CHUNK_BYTES && (c.is_whitespace() || last.len() >= CHUNK_BYTES * 2);
        match full {
            true => chunks.push(String::from(c)),
            false => last.push(c),
        }
    }
    chunks.retain(|chunk| chunk.len() >= CHUNK_BYTES / 2);
    chunks
}

/// A reproducible stream of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length)
            .map(|_| alphabet.get(self.next() as usize % alphabet.len()).unwrap())
            .collect()
    }
}

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Texts that no one wrote: the group's name and its chunks.
fn generated() -> Vec<(String, Vec<String>)> {
    let mut numbers = Numbers(1);
    let base64 = (0..20).map(|_| numbers.text(BASE64, 600)).collect();
    let hex = (0..20)
        .map(|_| numbers.text("0123456789abcdef", 600))
        .collect();
    let letters = (0..20)
        .map(|_| numbers.text("abcdefghijklmnopqrstuvwxyz", 600))
        .collect();
    let tables = (0..20)
        .map(|_| {
            (0..20).fold(String::new(), |mut table, row| {
                let (a, b, c) = (
                    numbers.next() % 10_000,
                    numbers.next() % 100,
                    numbers.next(),
                );
                writeln!(
                    table,
                    "{row};{a}.{b:02};{:?};2026-{:02}-{:02}",
                    c % 3 == 0,
                    c % 12 + 1,
                    c % 28 + 1
                )
                .unwrap();
                table
            })
        })
        .collect();
    let emoji = (0..10)
        .map(|_| numbers.text("😀🚀✅🇫🇷👩‍💻♥️→•“”…", 120))
        .collect();
    vec![
        ("base64".to_owned(), base64),
        ("hexadecimal".to_owned(), hex),
        ("random letters".to_owned(), letters),
        ("tables of numbers".to_owned(), tables),
        ("emoji and symbols".to_owned(), emoji),
    ]
}

fn groups() -> Vec<(String, Vec<String>)> {
    let mut names: Vec<String> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort_by_key(|name| {
        let kind = match name.as_str() {
            name if CODE.contains(&name) => 1,
            name if DATA.contains(&name) => 2,
            _ => 0,
        };
        (kind, name.clone())
    });
    let mut groups: Vec<_> = names
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(corpus().join(format!("{name}.txt"))).unwrap();
            (name, chunks(&text))
        })
        .collect();
    groups.extend(generated());
    groups
}

/// Absolute errors of the chunks, in hundredths of a percent of the exact count.
fn errors(vocabulary: Vocabulary, chunks: &[String]) -> Vec<u64> {
    chunks
        .iter()
        .map(|chunk| {
            let exact = exact(vocabulary).encode_ordinary(chunk).len() as u64;
            count(vocabulary, chunk).tokens.abs_diff(exact) * 10_000 / exact
        })
        .collect()
}

fn mean(errors: &[u64]) -> u64 {
    errors.iter().sum::<u64>().div_ceil(errors.len() as u64)
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[test]
fn mean_error_is_within_what_is_promised_for_every_kind_of_text() {
    for (name, chunks) in groups() {
        for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
            let mean = mean(&errors(vocabulary, &chunks));
            assert!(mean <= 150, "{name}, {vocabulary:?}: {}%", percent(mean));
        }
    }
}

/// Mean and worst error of each group, as the reference shows them.
fn errors_table() -> String {
    let mut table = String::from(
        "| Text | chunks | bytes per token | o200k mean | o200k worst | cl100k mean | cl100k worst |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut all = (vec![], vec![], vec![]);
    let mut row = |name: &str, chunks: &[String], o200k: &[u64], cl100k: &[u64]| {
        let bytes: usize = chunks.iter().map(String::len).sum();
        let tokens: usize = chunks
            .iter()
            .map(|chunk| exact(Vocabulary::O200k).encode_ordinary(chunk).len())
            .sum();
        let density = bytes * 10 / tokens;
        let worst = |errors: &[u64]| percent(errors.iter().copied().max().unwrap());
        writeln!(
            table,
            "| {name} | {} | {}.{} | {} % | {} % | {} % | {} % |",
            chunks.len(),
            density / 10,
            density % 10,
            percent(mean(o200k)),
            worst(o200k),
            percent(mean(cl100k)),
            worst(cl100k),
        )
        .unwrap();
    };
    for (name, chunks) in groups() {
        let o200k = errors(Vocabulary::O200k, &chunks);
        let cl100k = errors(Vocabulary::Cl100k, &chunks);
        row(&name, &chunks, &o200k, &cl100k);
        all.0.extend(chunks);
        all.1.extend(o200k);
        all.2.extend(cl100k);
    }
    row("all", &all.0, &all.1, &all.2);
    table
}

fn models_table() -> String {
    let mut table = String::from("| Model | vocabulary | factor |\n| --- | --- | --- |\n");
    for (prefix, vocabulary, permille) in MODELS {
        let vocabulary = match vocabulary {
            Vocabulary::O200k => "o200k",
            Vocabulary::Cl100k => "cl100k",
        };
        let factor = (permille / 1_000, permille % 1_000 / 10);
        writeln!(
            table,
            "| `{prefix}…` | {vocabulary} | {}.{:02} |",
            factor.0, factor.1
        )
        .unwrap();
    }
    table + "| any other | o200k | 1.00 |\n"
}

fn prices_table() -> String {
    let mut table = format!(
        "List prices as of {AS_OF}, from {}:\n\n",
        SOURCES.join(" and ")
    );
    table.push_str("| Model | input, USD per million tokens | output |\n| --- | --- | --- |\n");
    let dollars = |nano: u64| format!("{}.{:03}", nano / 1_000, nano % 1_000);
    for (prefix, input, output) in LIST_PRICES {
        writeln!(
            table,
            "| `{prefix}…` | {} | {} |",
            dollars(*input),
            dollars(*output)
        )
        .unwrap();
    }
    table
}

#[test]
fn reference_tells_what_is_measured_and_what_is_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/tokens.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let made = [
        ("errors", errors_table()),
        ("models", models_table()),
        ("prices", prices_table()),
    ]
    .iter()
    .fold(page.clone(), |page, (name, table)| {
        let (before, rest) = page.split_once(&format!("<!-- {name} -->\n")).unwrap();
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        format!("{before}<!-- {name} -->\n{table}<!-- end -->{after}")
    });
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    } else {
        assert!(
            page == made,
            "docs/reference/tokens.md is not what is measured; `just bless` rewrites it"
        );
    }
}
