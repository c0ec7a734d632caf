//! Texts without which a pattern cannot match: searching them first skips most of a text.
//!
//! Literals are folded to ASCII lower case, as the scanner folds the text: one search
//! serves patterns with and without `(?i)`, and the table that runs next is exact anyway.

use crate::table::{Lane, MAX_LITERAL_BYTES, MAX_LITERALS, MIN_LITERAL_BYTES};
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind};
use std::collections::BTreeSet;

/// How the pattern is searched, and the literals for it.
pub(super) fn required(tree: &Hir) -> (Lane, Vec<Vec<u8>>) {
    if let Some(literals) = extract(tree, ExtractKind::Prefix) {
        return (Lane::Prefix, literals);
    }
    match inner(tree) {
        Some(literals) => (Lane::Required, literals),
        None => (Lane::Always, Vec::new()),
    }
}

/// Literals one of which stands somewhere in every match; of several such sets, the one
/// whose shortest literal is longest.
fn inner(tree: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut best = extract(tree, ExtractKind::Suffix);
    let mut consider = |found: Option<Vec<Vec<u8>>>| {
        let length = |set: &Option<Vec<Vec<u8>>>| set.as_ref().map(|set| shortest(set));
        if length(&found) > length(&best) {
            best = found;
        }
    };
    match tree.kind() {
        HirKind::Capture(capture) => consider(required_anywhere(&capture.sub)),
        HirKind::Repetition(repeat) if repeat.min > 0 => {
            consider(required_anywhere(&repeat.sub));
        }
        HirKind::Concat(parts) => {
            for start in 1..parts.len().min(32) {
                let rest = parts.get(start..).unwrap_or_default();
                consider(extract(&Hir::concat(rest.to_vec()), ExtractKind::Prefix));
            }
        }
        _ => {}
    }
    best
}

fn required_anywhere(tree: &Hir) -> Option<Vec<Vec<u8>>> {
    extract(tree, ExtractKind::Prefix).or_else(|| inner(tree))
}

fn shortest(literals: &[Vec<u8>]) -> usize {
    literals.iter().map(Vec::len).min().unwrap_or(0)
}

fn extract(tree: &Hir, kind: ExtractKind) -> Option<Vec<Vec<u8>>> {
    let prefix = matches!(kind, ExtractKind::Prefix);
    let found = Extractor::new().kind(kind).extract(tree);
    let found = found.literals()?;
    // INVARIANT: all of one length, so that the order of their ends is that of their starts.
    let length = found.iter().map(|literal| literal.len()).min()?;
    let length = length.min(MAX_LITERAL_BYTES);
    if length < MIN_LITERAL_BYTES {
        return None;
    }
    let literals: BTreeSet<Vec<u8>> = found
        .iter()
        .filter_map(|literal| {
            let bytes = literal.as_bytes();
            let part = match prefix {
                true => bytes.get(..length),
                false => bytes.get(bytes.len() - length..),
            };
            part.map(<[u8]>::to_ascii_lowercase)
        })
        .collect();
    (literals.len() <= MAX_LITERALS).then(|| literals.into_iter().collect())
}
