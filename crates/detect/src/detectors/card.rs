//! Payment cards and IBANs: known prefixes and lengths, and checksums.

use super::context::{Context, Topic};
use super::kind::Kind;
use super::number::{
    DASH_GAP, DOT_GAP, Group, Lengths, NEAR, Read, SPACE_GAP, digits, lengths, shaped,
};
use super::text::{ALNUM, DIGIT, Text, is};

/// Groups of card numbers, the more of them first: how many, and how long.
const CARD_SHAPES: [(usize, Lengths); 6] = [
    (5, lengths([4, 4, 4, 4, 3])),
    (4, lengths([4, 4, 4, 4])),
    (4, lengths([4, 4, 4, 3])),
    (3, lengths([4, 6, 5])),
    (3, lengths([4, 6, 4])),
    (3, lengths([4, 4, 5])),
];

pub(super) fn card(
    text: &Text<'_>,
    groups: &[Group],
    lengths: Lengths,
    context: &Context,
) -> Option<Read> {
    let first = groups.first()?;
    let start = first.start;
    let long = (12..=19).contains(&first.len());
    let four = first.len() == 4
        && groups
            .get(1)
            .is_some_and(|next| matches!(next.len(), 4 | 6));
    if !(long || four) || !matches!(text.at(start), b'1'..=b'6' | b'8') {
        return None;
    }
    let signs = [SPACE_GAP, DASH_GAP, DOT_GAP];
    let shape = CARD_SHAPES
        .iter()
        .find(|(_, shape)| shaped(groups, lengths, *shape, &signs));
    let (taken, grouped) = match shape {
        Some((count, _)) => (*count, true),
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

/// The same, by the letters of the code; 0: none.
static LENGTHS: [[u8; 26]; 26] = by_letters();

/// What each byte is worth in a checksum: digits and capitals, and [`SIGN`] between them.
static WORTHS: [u8; 256] = worths();
const SIGN: u8 = 0xfe;
const NONE: u8 = 0xff;

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn by_letters() -> [[u8; 26]; 26] {
    let mut table = [[0; 26]; 26];
    let mut nth = 0;
    while nth < IBAN_LENGTHS.len() {
        let ([first, second], length) = IBAN_LENGTHS[nth];
        table[(*first - b'A') as usize][(*second - b'A') as usize] = length;
        nth += 1;
    }
    table
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn worths() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b' ' | b'-' => SIGN,
            _ => NONE,
        };
        at += 1;
    }
    table
}

/// The rest of a number by 97, with one more digit or letter after it.
#[inline]
fn rest(rest: u32, worth: u8) -> u32 {
    let rest = rest * if worth < 10 { 10 } else { 100 } + u32::from(worth);
    // Of 32 bits the rest is a product; of 64 it would be a division.
    match rest >> 20 {
        0 => rest,
        _ => rest % 97,
    }
}

/// Where an IBAN that begins at `start` ends.
pub(super) fn iban(text: &Text<'_>, start: usize) -> Option<usize> {
    let letter = |at: usize| usize::from(text.at(at).wrapping_sub(b'A'));
    let of_first = LENGTHS.get(letter(start))?;
    let length = usize::from(*of_first.get(letter(start + 1))?);
    if length == 0 {
        return None;
    }
    // The first four come last.
    let mut head = [0; 4];
    let mut sum = 0;
    let mut count = 0;
    let mut between = false;
    let there = text.from(start);
    let mut at = start + there.len();
    for (byte, here) in there.iter().zip(start..) {
        text.count(1);
        let worth = WORTHS.get(usize::from(*byte)).copied().unwrap_or(NONE);
        if worth < SIGN {
            match head.get_mut(count) {
                Some(first) => *first = worth,
                None => sum = rest(sum, worth),
            }
            count += 1;
            between = false;
            if count == length {
                at = here + 1;
                break;
            }
        } else if worth == NONE || between || count < 4 {
            return None;
        } else {
            between = true;
        }
    }
    // Where it is cut, this asks for more.
    if is(text.at(at), ALNUM) || count < length {
        return None;
    }
    let sum = head.into_iter().fold(sum, rest);
    (sum % 97 == 1).then_some(at)
}
