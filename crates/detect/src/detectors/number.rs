//! Numbers: groups of digits and what stands between them, read as cards, social security
//! numbers, addresses and phone numbers.
//!
//! A cluster of groups is read once; its shapes are tried from each group. Checksums and
//! ranges decide where there are some, words nearby where a shape alone says little.

use super::address::{ip4, next_colon};
use super::card::card;
use super::context::{Context, Topic};
use super::engine::Engine;
use super::kind::Kind;
use super::phone;
use super::text::{COLON, DASH, DIGIT, DOT, HEX, LETTER, Text, UNDERSCORE, is};
use super::words::{TOPS, within};

/// Groups of a cluster that are looked at together.
pub(super) const MAX_GROUPS: usize = 12;
/// A longer run of digits is no number we know.
const MAX_DIGITS: usize = 40;
/// How far a telling word may be.
pub(super) const NEAR: usize = 48;

/// What stands between two groups.
pub(super) type Gap = u8;
pub(super) const SPACE_GAP: Gap = 1;
pub(super) const DASH_GAP: Gap = 1 << 1;
pub(super) const DOT_GAP: Gap = 1 << 2;
pub(super) const SLASH_GAP: Gap = 1 << 3;
pub(super) const OPEN_GAP: Gap = 1 << 4;
pub(super) const CLOSE_GAP: Gap = 1 << 5;
pub(super) const PLUS_GAP: Gap = 1 << 6;
/// More than one sign of a kind.
pub(super) const WIDE_GAP: Gap = 1 << 7;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    /// What stands before it.
    pub(super) gap: Gap,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Groups of digits that stand together.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    groups: [Group; MAX_GROUPS],
    count: usize,
    lengths: Lengths,
    /// Which groups stand after a dot and nothing else: the first lowest.
    dotted: u32,
}

/// How long groups are, four bits for each, the first lowest: 0 for none, [`LONG`] for more.
pub(super) type Lengths = u64;
const LONG: usize = 15;
/// The lengths of the first seven groups.
const FIRST_SEVEN: Lengths = 0x0fff_ffff;
/// Of how many digits the first group of a card or of a social security number is, one bit
/// each.
const CARDS_AND_SSNS: u32 = 1 << 3 | 1 << 4 | 1 << 9 | 0b1111 << 12;

/// How many digits groups of these lengths have, or fewer where some are longer than [`LONG`].
#[inline]
pub(super) const fn sum(lengths: Lengths) -> usize {
    const EVEN: Lengths = 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (lengths & EVEN) + (lengths >> 4 & EVEN);
    (pairs.wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize
}

/// Groups of these lengths.
pub(super) const fn lengths<const COUNT: usize>(of: [u8; COUNT]) -> Lengths {
    let mut all = 0;
    let mut left: &[u8] = &of;
    while let [rest @ .., last] = left {
        all = all << 4 | *last as Lengths;
        left = rest;
    }
    all
}

/// Whether groups begin with those of these lengths.
#[inline]
pub(super) const fn begin_so(lengths: Lengths, shape: Lengths) -> bool {
    lengths & (!0 >> (shape.leading_zeros() & !3)) == shape
}

impl Cluster {
    /// The groups from the nth on.
    pub(super) fn from(&self, nth: usize) -> &[Group] {
        self.groups.get(nth..self.count).unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, group: Group) {
        if let Some(free) = self.groups.get_mut(self.count) {
            *free = group;
            self.lengths |= (group.len().min(LONG) as Lengths) << (4 * self.count);
            self.dotted |= u32::from(group.gap == DOT_GAP) << self.count;
            self.count += 1;
        }
    }

    /// Reads the groups from `at` on; where the last of them ends.
    fn read(&mut self, text: &Text<'_>, at: usize, floor: usize) -> usize {
        let mut start = at;
        let mut gap = lead(text, at, floor);
        let mut done = at;
        while self.count < MAX_GROUPS {
            if let Some((end, between)) = short(text, start) {
                self.push(Group { start, end, gap });
                done = end;
                (start, gap) = (end + 1, between);
                continue;
            }
            let end = text.run_of_digits(start, MAX_DIGITS);
            if end - start >= MAX_DIGITS
                || (is(text.at(end), LETTER | UNDERSCORE) && !phone::extends(text, end))
            {
                // Part of a word: that is looked at for itself.
                break;
            }
            self.push(Group { start, end, gap });
            done = end;
            let Some((next, between)) = between(text, end) else {
                break;
            };
            start = next;
            gap = between;
        }
        done.max(at + 1)
    }
}

/// Something found: kind, rule, range, confidence, and how many groups it took.
pub(super) struct Read {
    pub(super) kind: Kind,
    pub(super) rule: &'static str,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) percent: u8,
    pub(super) groups: usize,
}

impl Engine {
    pub(super) fn number(&mut self, text: &Text<'_>, at: usize) {
        let before = text.before(at);
        if at >= self.state.addresses_from
            && (is(before, HEX | COLON) || next_colon(text, at))
            && let Some(end) = self.ip6(text, at)
        {
            self.state.numbers_from = end;
            return;
        }
        if before == b'$' {
            self.crypt(text, at);
            if self.has_fresh() {
                return;
            }
        }
        let end = text.run_of_digits(at, MAX_DIGITS);
        let within = is(before, LETTER | UNDERSCORE)
            || (before == b'-' && at >= 2 && is(text.at(at - 2), LETTER));
        let next = text.at(end);
        let goes_on = is(next, LETTER | UNDERSCORE) && !phone::extends(text, end);
        if within || goes_on || end - at >= MAX_DIGITS {
            self.token(text, at);
            return;
        }
        // A short number by itself is nothing.
        if end - at < 6 && !is(next, DOT | DASH) && between(text, end).is_none() {
            self.state.numbers_from = end;
            return;
        }
        // Filled where it stands: in wasm a copy is a call.
        let mut cluster = Cluster::default();
        let end = cluster.read(text, at, self.back(at));
        self.state.numbers_from = end;
        if sum(cluster.lengths) >= 7 || cluster.count >= 4 {
            self.shapes(text, &cluster);
        }
        if !self.has_fresh() {
            // Values such as `123-abc…` and ids of digits alone.
            self.token(text, at);
        }
    }

    fn shapes(&mut self, text: &Text<'_>, cluster: &Cluster) {
        let Some(first) = cluster.from(0).first().copied() else {
            return;
        };
        self.state.context.read(text, first.start);
        let context = self.state.context;
        let mut nth = 0;
        while nth < cluster.count {
            let groups = cluster.from(nth);
            let lengths = cluster.lengths >> (4 * nth);
            let dotted = cluster.dotted >> nth;
            let free = nth == 0 || dotted & 1 == 0;
            // Of these forms only an IPv4 address may have fewer digits.
            let enough = sum(lengths & FIRST_SEVEN) >= 7;
            let may_be_ip = free && dotted & 0b1110 == 0b1110;
            if !enough && !may_be_ip {
                nth += 1;
                continue;
            }
            let may_be_card = enough && CARDS_AND_SSNS >> (lengths & 15) & 1 == 1;
            let ip = may_be_ip.then(|| ip4(text, groups, nth == 0, &context));
            let read = ip
                .flatten()
                .or_else(|| {
                    let card = may_be_card.then(|| card(text, groups, lengths, &context));
                    card.flatten()
                })
                .or_else(|| {
                    let ssn = may_be_card.then(|| ssn(text, groups, lengths, &context));
                    ssn.flatten()
                })
                .or_else(|| {
                    let alone = nth == 0;
                    (free && enough && phone::may_begin(text, groups, lengths, &context))
                        .then(|| phone::phone(text, groups, lengths, alone, &context))
                        .flatten()
                });
            match read {
                Some(read) => {
                    self.note(read.kind, read.rule, (read.start, read.end), read.percent);
                    self.state.numbers_from = self.state.numbers_from.max(read.end);
                    nth += read.groups;
                }
                None => nth += 1,
            }
        }
    }
}

/// Where a short group ends that one sign and another digit follow, and the sign: all of it in
/// eight bytes.
#[inline]
fn short(text: &Text<'_>, start: usize) -> Option<(usize, Gap)> {
    let eight = text.eight(start)?;
    text.count(1);
    let others = (!within(eight, b'0', b'9') | eight) & TOPS;
    // The first of them, and whether the next is one.
    let sign = others & others.wrapping_neg();
    if sign == 0 || sign << 8 == 0 || others & sign << 8 != 0 {
        return None;
    }
    let length = sign.trailing_zeros() / 8;
    let gap = match (eight >> (length * 8)) as u8 {
        b' ' => SPACE_GAP,
        b'-' => DASH_GAP,
        b'.' => DOT_GAP,
        b'/' => SLASH_GAP,
        b'(' => OPEN_GAP,
        b')' => CLOSE_GAP,
        _ => return None,
    };
    Some((start + length as usize, gap))
}

/// Signs before the first group that belong to a number.
fn lead(text: &Text<'_>, at: usize, floor: usize) -> Gap {
    if at <= floor {
        return 0;
    }
    match text.before(at) {
        b'+' => PLUS_GAP,
        b'(' if at - floor >= 2 && text.before(at - 1) == b'+' => PLUS_GAP | OPEN_GAP,
        b'(' => OPEN_GAP,
        _ => 0,
    }
}

/// What stands between two groups, and where the next begins.
#[inline]
fn between(text: &Text<'_>, from: usize) -> Option<(usize, Gap)> {
    // Nearly always one space.
    if text.at(from) == b' ' && is(text.at(from + 1), DIGIT) {
        return Some((from + 1, SPACE_GAP));
    }
    signs_between(text, from)
}

fn signs_between(text: &Text<'_>, from: usize) -> Option<(usize, Gap)> {
    let mut at = from;
    let mut gap = 0;
    for _ in 0..4 {
        let (sign, width) = match text.at(at) {
            b' ' => (SPACE_GAP, 1),
            b'-' => (DASH_GAP, 1),
            b'.' => (DOT_GAP, 1),
            b'/' => (SLASH_GAP, 1),
            b'(' => (OPEN_GAP, 1),
            b')' => (CLOSE_GAP, 1),
            byte if byte.is_ascii_digit() => return (gap != 0).then_some((at, gap)),
            0xc2 if text.at(at + 1) == 0xa0 => (SPACE_GAP, 2),
            0xe2 if text.at(at + 1) == 0x80 && matches!(text.at(at + 2), 0x90..=0x93) => {
                (DASH_GAP, 3)
            }
            0xe2 if text.at(at + 1) == 0x80 && text.at(at + 2) == 0xaf => (SPACE_GAP, 3),
            _ => return None,
        };
        if gap & sign != 0 {
            gap |= WIDE_GAP;
        }
        gap |= sign;
        at += width;
    }
    is(text.at(at), DIGIT).then_some((at, gap))
}

pub(super) fn digits(groups: &[Group]) -> usize {
    groups.iter().map(Group::len).sum()
}

/// Whether groups begin with those of a shape, all with the same of these signs between.
pub(super) fn shaped(groups: &[Group], lengths: Lengths, shape: Lengths, signs: &[Gap]) -> bool {
    begin_so(lengths, shape) && {
        let count = 16 - shape.leading_zeros() as usize / 4;
        let mut gaps = groups.iter().take(count).skip(1).map(|group| group.gap);
        let first = gaps.next().unwrap_or(0);
        signs.contains(&first) && gaps.all(|gap| gap == first)
    }
}

const SSN: Lengths = lengths([3, 2, 4]);

/// The value of a short group.
pub(super) fn value(text: &Text<'_>, group: &Group) -> usize {
    (group.start..group.end.min(group.start + 9)).fold(0, |value, at| {
        value * 10 + usize::from(text.at(at).wrapping_sub(b'0'))
    })
}

fn ssn(text: &Text<'_>, groups: &[Group], lengths: Lengths, context: &Context) -> Option<Read> {
    let first = groups.first()?;
    let start = first.start;
    if !matches!(first.len(), 3 | 9) {
        return None;
    }
    let near = context.near(Topic::Ssn, start, 64);
    let (taken, percent) = if shaped(groups, lengths, SSN, &[DASH_GAP]) {
        (3, if near { 98 } else { 85 })
    } else if near && shaped(groups, lengths, SSN, &[SPACE_GAP, DOT_GAP]) {
        (3, 90)
    } else if near && first.len() == 9 {
        (1, 85)
    } else {
        return None;
    };
    let parts = groups.get(..taken)?;
    let end = parts.last()?.end;
    if groups.get(taken).is_some_and(|next| next.gap == DASH_GAP) || text.before(start) == b'-' {
        return None;
    }
    let mut number = 0;
    for at in parts.iter().flat_map(|group| group.start..group.end) {
        number = number * 10 + u32::from(text.at(at).wrapping_sub(b'0'));
    }
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    if area == 0 || area == 666 || area >= 900 || group == 0 || serial == 0 {
        return None;
    }
    Some(Read {
        kind: Kind::Ssn,
        rule: "us_ssn",
        start,
        end,
        percent,
        groups: taken,
    })
}
