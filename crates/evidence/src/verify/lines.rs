//! Lines against the leaves they should be.

use super::{Finding, Report};
use crate::LeafHash;
use crate::tree::Hash;
use memchr::{memchr, memmem};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// What a line says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFacts {
    pub leaf: Hash,
    /// `None` where the line is no record.
    pub id: Option<Uuid>,
    /// `None` for a record without a place in a sequence.
    pub place: Option<Place>,
    /// Digest of the bundle that decided.
    pub policy: Option<Arc<str>>,
}

/// Where an emitter put its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) emitter: Arc<str>,
    pub(super) epoch: Arc<str>,
    pub(super) seq: u64,
    /// `None` where it names no predecessor.
    pub(super) prev: Option<Hash>,
}

/// The members of a record that matter here, as they stand in its canonical bytes.
///
/// In canonical JSON the order of members is known, and a quote within a text is
/// written `\"`: the bytes `,"emitter":{` are the member or nothing. What does not look
/// so is read as JSON; a line that was altered to look so is found by its hash.
struct Canonical<'a> {
    epoch: &'a [u8],
    emitter: &'a str,
    prev: &'a [u8],
    seq: u64,
    id: Uuid,
    policy: Option<&'a str>,
}

const EMITTER: &[u8] = br#","emitter":{"epoch":""#;
const ID: &[u8] = br#","id":""#;
const POLICY: &[u8] = br#","policy":{"#;

impl<'a> Canonical<'a> {
    fn of(line: &'a [u8]) -> Option<Canonical<'a>> {
        let (epoch, rest) = text(behind(line, EMITTER)?)?;
        let (emitter, rest) = text(rest.strip_prefix(ID)?)?;
        let (prev, rest) = text(rest.strip_prefix(br#","prev":""#)?)?;
        let (seq, rest) = number(rest.strip_prefix(br#","seq":"#)?)?;
        let rest = rest.strip_prefix(b"}")?;
        let (id, rest) = text(behind(rest, ID)?)?;
        let policy = match behind(rest, POLICY) {
            None => None,
            Some(mut rest) => loop {
                // `commit` and `confirmed` stand before it, where there are any.
                let (name, value) = text(rest.strip_prefix(b"\"")?)?;
                let (value, next) = text(value.strip_prefix(b":\"")?)?;
                if name == b"digest" {
                    break Some(std::str::from_utf8(value).ok()?);
                }
                rest = next.strip_prefix(b",")?;
            },
        };
        Some(Canonical {
            epoch,
            emitter: std::str::from_utf8(emitter).ok()?,
            prev,
            seq,
            id: Uuid::try_parse_ascii(id).ok()?,
            policy,
        })
    }
}

fn behind<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    bytes.get(memmem::find(bytes, mark)? + mark.len()..)
}

/// A text without escapes up to its quote, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr(b'"', bytes)?)?;
    (!text.contains(&b'\\')).then_some((text, rest.get(1..)?))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[derive(Deserialize)]
struct Wire<'a> {
    id: Uuid,
    #[serde(borrow)]
    emitter: WireEmitter<'a>,
    #[serde(borrow, default)]
    policy: Option<WirePolicy<'a>>,
}

#[derive(Deserialize)]
struct WireEmitter<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    epoch: Cow<'a, str>,
    seq: u64,
    prev: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WirePolicy<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

/// Names that many lines have in common, kept once.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

impl LineFacts {
    /// Reads a line, without its line end. It may be anything.
    pub fn read(line: &[u8], names: &mut Names) -> LineFacts {
        let leaf = LeafHash::of(line).0;
        match Canonical::of(line) {
            Some(record) => LineFacts {
                leaf,
                id: Some(record.id),
                place: std::str::from_utf8(record.epoch)
                    .ok()
                    .filter(|epoch| !epoch.is_empty())
                    .map(|epoch| Place {
                        emitter: names.shared(record.emitter),
                        epoch: names.shared(epoch),
                        seq: record.seq,
                        prev: hash(record.prev),
                    }),
                policy: record.policy.map(|digest| names.shared(digest)),
            },
            None => LineFacts::read_json(leaf, line, names),
        }
    }

    fn read_json(leaf: Hash, line: &[u8], names: &mut Names) -> LineFacts {
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(line) else {
            return LineFacts {
                leaf,
                id: None,
                place: None,
                policy: None,
            };
        };
        let emitter = wire.emitter;
        // Written before the exchange ended: it got no place.
        let place = (!emitter.epoch.is_empty()).then(|| Place {
            emitter: names.shared(&emitter.id),
            epoch: names.shared(&emitter.epoch),
            seq: emitter.seq,
            prev: hash(emitter.prev.as_bytes()),
        });
        LineFacts {
            leaf,
            id: Some(wire.id),
            place,
            policy: wire.policy.map(|policy| names.shared(&policy.digest)),
        }
    }
}

fn hash(hex: &[u8]) -> Option<Hash> {
    let mut hash = [0; 32];
    let (pairs, rest) = hex.as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(hash)
}

/// Finds what was changed, put in, left out, repeated or moved; how many lines
/// are at their place.
pub(super) fn compare(
    report: &mut Report,
    lines: &[LineFacts],
    shown: &[Range<u64>],
    leaves: &[Hash],
) -> u64 {
    let same = |(line, leaf): (&LineFacts, &Hash)| line.leaf == *leaf;
    if lines.len() == leaves.len() && lines.iter().zip(leaves).all(same) {
        return lines.len() as u64;
    }
    let indexes: Vec<u64> = shown.iter().cloned().flatten().take(leaves.len()).collect();
    // A proof with more hashes than places was refused already.
    let leaves = leaves.get(..indexes.len()).unwrap_or_default();
    let index_of = |place: usize| indexes.get(place).copied().unwrap_or(u64::MAX);
    let places: HashMap<&Hash, usize> = leaves.iter().zip(0..).collect();
    let mut found = HashSet::new();
    // The line and the place of every record that is here for the first time.
    let mut at: Vec<(usize, usize)> = Vec::new();
    let mut strange: Vec<usize> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        match places.get(&line.leaf) {
            None => strange.push(number),
            Some(place) if found.insert(*place) => at.push((number, *place)),
            Some(place) => report.findings.push(Finding::Repeated {
                line: number as u64,
                index: index_of(*place),
            }),
        }
    }
    let in_order = longest_rising(&at);
    let moved = at.iter().filter(|pair| !in_order.contains(pair));
    report
        .findings
        .extend(moved.map(|(line, place)| Finding::OutOfOrder {
            line: *line as u64,
            index: index_of(*place),
        }));
    // Between two records at their places: strange lines take the places of
    // missing ones, as far as there are any.
    let mut strange = strange.into_iter().peekable();
    let (mut next_place, end) = (0, (lines.len(), leaves.len()));
    for (number, place) in in_order.into_iter().chain([end]) {
        let missing = (next_place..place).filter(|place| !found.contains(place));
        let mut missing = missing.collect::<Vec<_>>().into_iter();
        while let Some(line) = strange.next_if(|line| *line < number) {
            let id = lines.get(line).and_then(|line| line.id);
            let line = line as u64;
            report.findings.push(match missing.next() {
                Some(place) => Finding::Changed {
                    line,
                    index: index_of(place),
                    id,
                },
                None => Finding::Inserted { line, id },
            });
        }
        deleted(report, missing.map(index_of));
        next_place = place + 1;
    }
    found.len() as u64
}

fn deleted(report: &mut Report, indexes: impl Iterator<Item = u64>) {
    for index in indexes {
        match report.findings.last_mut() {
            Some(Finding::Deleted { first, count }) if *first + *count == index => *count += 1,
            _ => report.findings.push(Finding::Deleted {
                first: index,
                count: 1,
            }),
        }
    }
}

/// The longest choice of pairs whose second numbers rise as their first do
/// (patience sorting): what is not in it was moved.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the pair that ends a rise of it lowest; and for each pair
    // the one before it in the rise it ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let second = |at: usize| pairs.get(at).map_or(0, |pair| pair.1);
    for (at, (_, place)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| second(*end) < *place);
        before.push(
            length
                .checked_sub(1)
                .and_then(|last| ends.get(last).copied()),
        );
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut rise = Vec::new();
    let mut next = ends.last().copied();
    while let Some(at) = next {
        rise.extend(pairs.get(at).copied());
        next = before.get(at).copied().flatten();
    }
    rise.reverse();
    rise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::EmitterChain;
    use crate::envelope::tests::sample;
    use proptest::prelude::*;

    fn both(line: &[u8]) -> (LineFacts, LineFacts) {
        let names = &mut Names::default();
        let leaf = LeafHash::of(line).0;
        let fast = LineFacts::read(line, names);
        (fast, LineFacts::read_json(leaf, line, names))
    }

    proptest! {
        /// Whatever texts a record holds, both ways of reading it tell the same.
        #[test]
        fn canonical_records_are_read_as_json_is(
            texts in proptest::collection::vec(
                prop_oneof![
                    any::<String>(),
                    Just(r#"","emitter":{"epoch":""#.to_owned()),
                    Just(r#"x","id":"y","policy":{"digest":"z"#.to_owned()),
                    Just("\\".to_owned()),
                ],
                6,
            ),
            outside: bool,
            with_policy: bool,
            seq in 0_u64..3,
        ) {
            let mut record = sample();
            record.request_model = Some(texts[0].clone());
            record.path = texts[1].clone();
            record.request_id = Some(texts[2].clone());
            record.reason = Some(texts[3].clone());
            record.emitter.id = texts[4].clone();
            record.deciding_facts = vec![texts[5].clone()];
            if !with_policy {
                record.policy = None;
            }
            let mut chain = EmitterChain::start([3; 16]);
            for _ in 0..seq {
                chain.seal(&mut sample()).unwrap();
            }
            let line = match outside {
                true => record.to_canonical().unwrap(),
                false => chain.seal(&mut record).unwrap().canonical,
            };
            let (fast, slow) = both(&line);
            prop_assert_eq!(fast, slow);
        }

        #[test]
        fn any_line_is_read_without_a_panic(line: Vec<u8>, cut in 0_usize..600) {
            both(&line);
            let record = sample().to_canonical().unwrap();
            both(&record[..cut.min(record.len())]);
        }
    }

    #[test]
    fn records_are_read_without_parsing_json() {
        let mut record = sample();
        let line = EmitterChain::start([3; 16]).seal(&mut record).unwrap();
        let read = Canonical::of(&line.canonical).unwrap();
        assert_eq!((read.id, read.seq), (record.id, 0));
        assert_eq!(
            read.policy,
            record.policy.as_ref().map(|policy| policy.digest.as_str())
        );
    }
}
