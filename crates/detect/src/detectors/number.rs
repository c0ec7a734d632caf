//! Numbers: groups of digits and what stands between them, read as cards, social security
//! numbers, addresses and phone numbers.
//!
//! A cluster of groups is read once; its shapes are tried from each group. Checksums and
//! ranges decide where there are some, words nearby where a shape alone says little.

use super::context::{Context, Topic};
use super::engine::Engine;
use super::kind::Kind;
use super::phone;
use super::text::{ALNUM, COLON, DASH, DIGIT, DOT, HEX, LETTER, Text, UNDERSCORE, UPPER, is};

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
}

impl Cluster {
    /// The groups from the nth on.
    pub(super) fn from(&self, nth: usize) -> &[Group] {
        self.groups.get(nth..self.count).unwrap_or_default()
    }

    fn push(&mut self, group: Group) {
        if let Some(free) = self.groups.get_mut(self.count) {
            *free = group;
            self.count += 1;
        }
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
        let end = text.run(at, DIGIT, MAX_DIGITS);
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
        let (cluster, end) = cluster(text, at, self.back(at));
        self.state.numbers_from = end;
        if digits(cluster.from(0)) >= 7 || cluster.from(0).len() >= 4 {
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
        while let Some(group) = cluster.from(nth).first() {
            let groups = cluster.from(nth);
            // Of the forms below only an IPv4 address has fewer digits.
            let enough = groups.iter().take(7).map(Group::len).sum::<usize>() >= 7;
            if !enough
                && group.gap != DOT_GAP
                && groups.get(1).is_none_or(|next| next.gap != DOT_GAP)
            {
                nth += 1;
                continue;
            }
            let free = nth == 0 || group.gap != DOT_GAP;
            let read = ip4(text, groups, nth == 0, &context)
                .or_else(|| card(text, groups, &context))
                .or_else(|| ssn(text, groups, &context))
                .or_else(|| {
                    let alone = nth == 0;
                    free.then(|| phone::phone(text, groups, alone, &context))
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

    /// An IPv6 address around `at`; where it ends.
    fn ip6(&mut self, text: &Text<'_>, at: usize) -> Option<usize> {
        let start = text.run_back(at, HEX | COLON, self.back(at).max(at.saturating_sub(40)));
        let before = text.before(start);
        if is(before, ALNUM | DOT | UNDERSCORE) {
            return None;
        }
        let end = text.run(start, HEX | COLON, 46);
        self.state.addresses_from = end;
        let (mut groups, mut digits, mut pairs, mut length) = (0, 0, 0, 0);
        let mut at = start;
        let mut v4 = None;
        while at < end {
            if text.at(at) == b':' {
                if text.at(at + 1) == b':' {
                    pairs += 1;
                    at += 1;
                    if text.at(at + 1) == b':' {
                        return None;
                    }
                }
                length = 0;
            } else {
                length += 1;
                digits += 1;
                if length == 1 {
                    groups += 1;
                }
                if length > 4 {
                    return None;
                }
            }
            at += 1;
        }
        let mut stop = end;
        if text.at(stop) == b'.' && is(text.at(stop + 1), DIGIT) {
            // The last part may be written as IPv4.
            let from = text.run_back(stop, DIGIT, start);
            stop = quad(text, from)?;
            v4 = Some(stop);
            groups += 1;
        }
        // A colon at the end belongs to the sentence.
        if v4.is_none() && text.before(stop) == b':' && text.at(stop.wrapping_sub(2)) != b':' {
            stop -= 1;
        }
        let whole = pairs == 0 && groups == 8;
        let known = matches!(
            text.at(start).to_ascii_lowercase(),
            b'2' | b'3' | b'f' | b':'
        );
        let cut =
            pairs == 1 && groups <= 7 && (digits >= 8 || (known && digits >= 1 && groups >= 1));
        if !(whole || cut) || is(text.at(stop), ALNUM | UNDERSCORE) || stop <= start + 2 {
            return None;
        }
        self.hold = self.hold.min(start);
        self.note(Kind::IpAddress, "ipv6", (start, stop), 90);
        Some(stop)
    }
}

/// Whether a colon follows the hexadecimal digits here.
fn next_colon(text: &Text<'_>, at: usize) -> bool {
    let end = text.run(at, HEX, 4);
    text.at(end) == b':' && is(text.at(end + 1), HEX | COLON)
}

/// The groups from `at` on, and where the last of them ends.
fn cluster(text: &Text<'_>, at: usize, floor: usize) -> (Cluster, usize) {
    let mut cluster = Cluster::default();
    let mut start = at;
    let mut gap = lead(text, at, floor);
    let mut done = at;
    while cluster.count < MAX_GROUPS {
        let end = text.run(start, DIGIT, MAX_DIGITS);
        if end - start >= MAX_DIGITS
            || (is(text.at(end), LETTER | UNDERSCORE) && !phone::extends(text, end))
        {
            // Part of a word: that is looked at for itself.
            break;
        }
        cluster.push(Group { start, end, gap });
        done = end;
        let Some((next, between)) = between(text, end) else {
            break;
        };
        start = next;
        gap = between;
    }
    (cluster, done.max(at + 1))
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
fn between(text: &Text<'_>, from: usize) -> Option<(usize, Gap)> {
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

/// Whether the groups have these lengths, all with the same single sign between.
pub(super) fn shaped(groups: &[Group], lengths: &[usize], signs: &[Gap]) -> bool {
    groups.len() >= lengths.len()
        && groups
            .iter()
            .zip(lengths)
            .all(|(group, length)| group.len() == *length)
        && match groups.get(1).filter(|_| lengths.len() > 1) {
            Some(second) => {
                signs.contains(&second.gap)
                    && groups
                        .iter()
                        .take(lengths.len())
                        .skip(1)
                        .all(|group| group.gap == second.gap)
            }
            None => true,
        }
}

/// The value of a short group.
pub(super) fn value(text: &Text<'_>, group: &Group) -> usize {
    (group.start..group.end.min(group.start + 9)).fold(0, |value, at| {
        value * 10 + usize::from(text.at(at).wrapping_sub(b'0'))
    })
}

fn ip4(text: &Text<'_>, groups: &[Group], first: bool, context: &Context) -> Option<Read> {
    let start = groups.first()?.start;
    if !first && groups.first()?.gap == DOT_GAP {
        return None;
    }
    let parts = groups.get(..4)?;
    if !parts.iter().skip(1).all(|part| part.gap == DOT_GAP)
        || !parts.iter().all(|part| octet(text, part))
        || (first && matches!(text.before(start), b'.' | b'-' | b'$'))
    {
        return None;
    }
    let end = parts.last()?.end;
    if groups.get(4).is_some_and(|next| next.gap == DOT_GAP)
        || is(text.at(end), LETTER | UNDERSCORE)
    {
        return None;
    }
    let version = context.near(Topic::Version, start, 14) && !context.near(Topic::Ip, start, 40);
    if version || text.before(start) == 0xa7 {
        return None;
    }
    let small = parts.iter().all(|part| part.len() == 1);
    let percent = match (small, context.near(Topic::Ip, start, NEAR)) {
        (_, true) => 95,
        (true, false) => 60,
        (false, false) => 85,
    };
    Some(Read {
        kind: Kind::IpAddress,
        rule: "ipv4",
        start,
        end,
        percent,
        groups: 4,
    })
}

fn octet(text: &Text<'_>, group: &Group) -> bool {
    let length = group.len();
    length <= 3 && value(text, group) <= 255 && (length == 1 || text.at(group.start) != b'0')
}

/// Where four octets that begin here end.
fn quad(text: &Text<'_>, from: usize) -> Option<usize> {
    let mut at = from;
    for nth in 0..4 {
        let end = text.run(at, DIGIT, 4);
        let group = Group {
            start: at,
            end,
            gap: 0,
        };
        if end == at || !octet(text, &group) {
            return None;
        }
        at = end;
        if nth < 3 {
            if text.at(at) != b'.' {
                return None;
            }
            at += 1;
        }
    }
    Some(at)
}

/// Lengths of the groups of card numbers.
const CARD_SHAPES: [&[usize]; 6] = [
    &[4, 4, 4, 4],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 3],
    &[4, 4, 5],
];

fn card(text: &Text<'_>, groups: &[Group], context: &Context) -> Option<Read> {
    let first = groups.first()?;
    let start = first.start;
    let long = (12..=19).contains(&first.len());
    let four = first.len() == 4
        && groups
            .get(1)
            .is_some_and(|next| matches!(next.len(), 4 | 6));
    if !long && !four {
        return None;
    }
    let shape = CARD_SHAPES
        .iter()
        .rev()
        .filter(|shape| shaped(groups, shape, &[SPACE_GAP, DASH_GAP, DOT_GAP]))
        .max_by_key(|shape| shape.len());
    let (taken, grouped) = match shape {
        Some(shape) => (shape.len(), true),
        None if long => (1, false),
        None => return None,
    };
    let parts = groups.get(..taken)?;
    let end = parts.last()?.end;
    // A longer row of like groups is something else.
    if grouped
        && groups
            .get(taken)
            .is_some_and(|next| next.gap == parts.get(1).map_or(0, |g| g.gap))
    {
        return None;
    }
    if matches!(text.before(start), b'.' | b'$')
        || (text.at(end) == b'.' && is(text.at(end + 1), DIGIT))
    {
        return None;
    }
    let count = digits(parts);
    let near = context.near(Topic::Card, start, NEAR);
    if !issued(text, parts, count) || !luhn(text, parts) {
        return None;
    }
    let usual = matches!(count, 14..=16);
    let percent = match (grouped, usual, near) {
        (_, _, true) => 98,
        (true, _, false) => 95,
        (false, true, false) => 85,
        (false, false, false) => return None,
    };
    // By chance one order number in ten has the right sum.
    let percent = match !grouped && !near && context.near(Topic::Number, start, 14) {
        true => 60,
        false => percent,
    };
    Some(Read {
        kind: Kind::CreditCard,
        rule: "credit_card",
        start,
        end,
        percent,
        groups: taken,
    })
}

/// Whether an issuer has numbers that begin so and are so long.
fn issued(text: &Text<'_>, groups: &[Group], count: usize) -> bool {
    let mut prefix = 0;
    let mut taken = 0;
    for at in groups
        .iter()
        .flat_map(|group| group.start..group.end)
        .take(6)
    {
        prefix = prefix * 10 + u32::from(text.at(at).wrapping_sub(b'0'));
        taken += 1;
    }
    if taken < 6 {
        return false;
    }
    let (two, three, four) = (prefix / 10_000, prefix / 1_000, prefix / 100);
    match count {
        12 => matches!(two, 50 | 56..=58) || matches!(four, 6304 | 6759 | 6761..=6763 | 6390),
        13 => {
            prefix / 100_000 == 4
                || matches!(two, 50 | 56..=58)
                || matches!(four, 6304 | 6759 | 6761..=6763)
        }
        14 => two == 36 || two == 38 || two == 39 || matches!(three, 300..=305) || three == 309,
        15 => matches!(two, 34 | 37) || matches!(four, 1800 | 2131) || matches!(two, 50 | 56..=58),
        16 => {
            prefix / 100_000 == 4
                || matches!(two, 50..=58)
                || matches!(four, 2200..=2204 | 2221..=2720)
                || matches!(two, 35 | 60 | 62 | 63 | 64 | 65 | 67 | 81)
                || matches!(two, 30 | 36 | 38 | 39)
        }
        17..=19 => {
            prefix / 100_000 == 4 || matches!(two, 50 | 56..=58 | 35 | 60 | 62 | 63 | 64 | 65 | 67)
        }
        _ => false,
    }
}

fn luhn(text: &Text<'_>, groups: &[Group]) -> bool {
    let mut sum = 0;
    let mut double = false;
    let mut zeros = 0;
    for at in groups
        .iter()
        .rev()
        .flat_map(|group| (group.start..group.end).rev())
    {
        let digit = u32::from(text.at(at).wrapping_sub(b'0'));
        zeros += u32::from(digit == 0);
        sum += match (double, digit * 2) {
            (false, _) => digit,
            (true, twice) if twice > 9 => twice - 9,
            (true, twice) => twice,
        };
        double = !double;
    }
    sum % 10 == 0 && zeros < 13
}

fn ssn(text: &Text<'_>, groups: &[Group], context: &Context) -> Option<Read> {
    let first = groups.first()?;
    let start = first.start;
    let near = context.near(Topic::Ssn, start, 64);
    let (taken, percent) = if shaped(groups, &[3, 2, 4], &[DASH_GAP]) {
        (3, if near { 98 } else { 85 })
    } else if near && shaped(groups, &[3, 2, 4], &[SPACE_GAP, DOT_GAP]) {
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

/// Lengths of IBANs by country.
const IBAN_LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IR", 26),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"MZ", 25),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Where an IBAN that begins at `start` ends.
pub(super) fn iban(text: &Text<'_>, start: usize) -> Option<usize> {
    let country = [text.at(start), text.at(start + 1)];
    let length = IBAN_LENGTHS
        .iter()
        .find(|(code, _)| **code == country)
        .map(|(_, length)| usize::from(*length))?;
    let mut kept = [0; 34];
    let mut at = start;
    let mut count = 0;
    while count < length {
        let byte = text.at(at);
        if is(byte, DIGIT | UPPER) {
            *kept.get_mut(count)? = byte;
            count += 1;
        } else if !matches!(byte, b' ' | b'-')
            || matches!(text.before(at), b' ' | b'-')
            || count < 4
        {
            return None;
        }
        at += 1;
    }
    if is(text.at(at), ALNUM) {
        return None;
    }
    let kept = kept.get(..length)?;
    let (head, tail) = kept.split_at_checked(4)?;
    let rest = tail
        .iter()
        .chain(head)
        .fold(0, |rest: u32, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            _ => (rest * 100 + u32::from(byte.wrapping_sub(b'A')) + 10) % 97,
        });
    (rest == 1).then_some(at)
}
