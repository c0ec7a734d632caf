//! Phone numbers, international and national.
//!
//! International numbers are judged by country code and length. National forms that no
//! price, date or id is written in stand for themselves; the others count next to a word
//! such as `phone` or `call`, before or after, unless a word such as `order` is nearer.

use super::context::{Context, Topic, follows};
use super::kind::Kind;
use super::number::{
    CLOSE_GAP, DASH_GAP, DOT_GAP, Gap, Group, Lengths, NEAR, OPEN_GAP, PLUS_GAP, Read, SLASH_GAP,
    SPACE_GAP, WIDE_GAP, begin_so, digits, lengths, shaped, sum, value,
};
use super::text::{DIGIT, LETTER, Text, is};

/// Where a word such as `order` says what a number is.
const BESIDE: usize = 14;
/// Longest distance of a word that follows.
const AFTER: usize = 40;
/// Groups and digits of a number that a word tells, at most.
const MOST_TOLD: usize = 6;
const MOST_DIGITS: usize = 12;
const NANP: Lengths = lengths([3, 3, 4]);
const TRUNK: Lengths = lengths([1, 3, 3, 4]);
const LOCAL: Lengths = lengths([3, 7]);
const RUSSIA: Lengths = lengths([1, 3, 3, 2, 2]);
const CHINA: Lengths = lengths([3, 4, 4]);
const SIGNS: [Gap; 3] = [SPACE_GAP, DASH_GAP, DOT_GAP];

/// Country codes with the least and the most digits that follow.
const COUNTRIES: &[(u16, u8, u8)] = &[
    (1, 10, 10),
    (7, 10, 10),
    (20, 8, 10),
    (27, 9, 9),
    (30, 10, 10),
    (31, 9, 9),
    (32, 8, 9),
    (33, 9, 9),
    (34, 9, 9),
    (36, 8, 9),
    (39, 6, 12),
    (40, 9, 9),
    (41, 9, 9),
    (43, 6, 13),
    (44, 9, 10),
    (45, 8, 8),
    (46, 7, 10),
    (47, 8, 8),
    (48, 9, 9),
    (49, 6, 13),
    (51, 8, 9),
    (52, 10, 11),
    (53, 6, 8),
    (54, 10, 11),
    (55, 10, 11),
    (56, 8, 9),
    (57, 8, 10),
    (58, 10, 10),
    (60, 7, 10),
    (61, 9, 9),
    (62, 7, 12),
    (63, 8, 10),
    (64, 8, 10),
    (65, 8, 8),
    (66, 8, 9),
    (81, 9, 10),
    (82, 8, 11),
    (84, 9, 10),
    (86, 9, 11),
    (90, 10, 10),
    (91, 10, 10),
    (92, 9, 10),
    (93, 9, 9),
    (94, 9, 9),
    (95, 7, 10),
    (98, 10, 10),
];

/// The least and the most digits after each code of one or two digits; 0: no such code.
static AFTER_CODE: [(u8, u8); 100] = after_code();

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn after_code() -> [(u8, u8); 100] {
    let mut table = [(0, 0); 100];
    let mut nth = 0;
    while nth < COUNTRIES.len() {
        let (code, least, most) = COUNTRIES[nth];
        table[code as usize] = (least, most);
        nth += 1;
    }
    table
}

/// Whether what follows a group of digits is an extension and no word.
pub(super) fn extends(text: &Text<'_>, at: usize) -> bool {
    matches!(text.at(at), b'x' | b'X') && is(text.at(at + 1), DIGIT) && {
        let end = text.run(at + 1, DIGIT, 7);
        end - at <= 7 && !is(text.at(end), LETTER)
    }
}

/// Whether groups may begin with a phone number at all.
#[inline]
pub(super) fn may_begin(
    text: &Text<'_>,
    groups: &[Group],
    lengths: Lengths,
    context: &Context,
) -> bool {
    let Some(first) = groups.first() else {
        return false;
    };
    let lead = text.at(first.start);
    first.gap & (PLUS_GAP | OPEN_GAP) != 0
        || lead == b'0'
        || may_be_national(lead, lengths)
        || is_told(context, first.start)
        || is_short(groups, lengths)
}

/// Whether a word before says that a number is one.
#[inline]
fn is_told(context: &Context, start: usize) -> bool {
    context.near(Topic::Phone, start, NEAR)
        && context.last(Topic::Phone) >= context.last(Topic::Number)
}

/// Whether a word that follows may tell the number: it does so after the last of the groups.
#[inline]
fn is_short(groups: &[Group], lengths: Lengths) -> bool {
    groups.len() <= MOST_TOLD && (8..=MOST_DIGITS).contains(&sum(lengths))
}

pub(super) fn phone(
    text: &Text<'_>,
    groups: &[Group],
    lengths: Lengths,
    first: bool,
    context: &Context,
) -> Option<Read> {
    let start = groups.first()?.start;
    let before = text.before(start);
    if first
        && matches!(
            before,
            b'$' | b'#' | b'.' | b'_' | b'%' | b'/' | b'\\' | b'^' | b'<'
        )
    {
        return None;
    }
    let (rule, taken, percent) = international(text, groups)
        .or_else(|| national(text, groups, lengths, context))
        .or_else(|| told(text, groups, lengths, context))?;
    let parts = groups.get(..taken)?;
    let end = parts.last()?.end;
    // What goes on as a number or an amount is none.
    if (text.at(end) == b'.' && is(text.at(end + 1), DIGIT) && percent < 90)
        || matches!(text.at(end), b'%' | b'_' | b'@')
        || (text.at(end) == b',' && is(text.at(end + 1), DIGIT) && percent < 90)
    {
        return None;
    }
    let begin = match groups.first()?.gap {
        gap if gap & (PLUS_GAP | OPEN_GAP) == PLUS_GAP | OPEN_GAP => start - 2,
        gap if gap & (PLUS_GAP | OPEN_GAP) != 0 => start - 1,
        _ => start,
    };
    Some(Read {
        kind: Kind::Phone,
        rule,
        start: begin,
        end: extension(text, end),
        percent,
        groups: taken,
    })
}

/// `+` or `00`, a country code, a number of a length that is in use there.
fn international(text: &Text<'_>, groups: &[Group]) -> Option<(&'static str, usize, u8)> {
    let first = groups.first()?;
    let plus = first.gap & PLUS_GAP != 0;
    let zeros = text.at(first.start) == b'0' && text.at(first.start + 1) == b'0';
    let skip = match (plus, zeros, first.len()) {
        (true, false, _) => 0,
        (false, true, 2) | (false, true, 3..) => 2,
        (false, false, 3) if value(text, first) == 11 => 3,
        _ => return None,
    };
    // The digits after the prefix, with `(0)` left out.
    let mut number = [0u8; 20];
    let mut count = 0;
    let mut best = None;
    for (nth, group) in groups.iter().enumerate() {
        if nth > 0
            && (group.gap & WIDE_GAP != 0
                || group.gap & !(SPACE_GAP | DASH_GAP | DOT_GAP | SLASH_GAP | OPEN_GAP | CLOSE_GAP)
                    != 0)
        {
            break;
        }
        let trunk = nth > 0
            && group.len() == 1
            && group.gap & OPEN_GAP != 0
            && text.at(group.start) == b'0';
        let from = if nth == 0 {
            group.start + skip
        } else {
            group.start
        };
        if !trunk {
            for at in from..group.end {
                if let Some(free) = number.get_mut(count) {
                    *free = text.at(at).wrapping_sub(b'0');
                    count += 1;
                } else {
                    return best;
                }
            }
        }
        if count >= 7 && known(number.get(..count)?) {
            let percent = match (plus, nth) {
                (true, _) => 95,
                (false, 0) => continue,
                (false, _) => 80,
            };
            best = Some(("phone_international", nth + 1, percent));
        }
        if count > 15 {
            break;
        }
    }
    best
}

fn known(number: &[u8]) -> bool {
    let digit = |nth: usize| number.get(nth).copied().map(u16::from).unwrap_or(0);
    let (one, two) = (digit(0), digit(0) * 10 + digit(1));
    let rest = |length: usize| number.len() - length;
    if one == 0 {
        return false;
    }
    // No other code begins with one of a single digit.
    let (code, length) = match one {
        1 | 7 => (one, 1),
        _ => (two, 2),
    };
    let (least, most) = AFTER_CODE.get(usize::from(code)).copied().unwrap_or((0, 0));
    let (least, most) = (usize::from(least), usize::from(most));
    if most > 0 {
        let in_range = (least..=most).contains(&rest(length));
        // No area of North America begins with 0 or 1.
        let area = code != 1 || digit(1) >= 2;
        // The trunk digit is left out after a country code, except in Italy; many write it.
        let trunk = digit(length) == 0 && code != 39;
        let longer = trunk && (least..=most + 1).contains(&rest(length));
        let round = || {
            let zeros = number.iter().skip(length).filter(|digit| **digit == 0);
            zeros.count() + 1 >= number.len() - length
        };
        return area && (in_range || longer) && !round();
    }
    // Codes of three digits.
    matches!(
        two,
        21..=26
            | 29
            | 35
            | 37
            | 38
            | 42
            | 50
            | 59
            | 67
            | 68
            | 69
            | 80
            | 85
            | 87
            | 88
            | 96
            | 97
            | 99
    ) && (6..=11).contains(&rest(3))
        && number.iter().skip(3).any(|digit| *digit != 0)
}

/// Forms that stand for themselves.
fn national(
    text: &Text<'_>,
    groups: &[Group],
    lengths: Lengths,
    context: &Context,
) -> Option<(&'static str, usize, u8)> {
    let first = groups.first()?;
    let lead = text.at(first.start);
    let may = match first.len() {
        3 | 10 => true,
        1 => matches!(lead, b'1' | b'7' | b'8'),
        length => lead == b'0' && length <= 6,
    };
    if !may && first.gap & OPEN_GAP == 0 {
        return None;
    }
    if first.gap & OPEN_GAP == 0 && !may_be_national(lead, lengths) {
        return None;
    }
    let near = context.near(Topic::Phone, first.start, NEAR);
    let number = !near && context.near(Topic::Number, first.start, BESIDE);
    let mixed = [SPACE_GAP, DASH_GAP, DOT_GAP];
    let gaps_in = |count: usize, signs: &[Gap]| {
        groups
            .iter()
            .take(count)
            .skip(1)
            .all(|group| signs.contains(&group.gap))
    };
    let no_more = |count: usize| {
        groups.get(count).is_none_or(|next| {
            next.gap & WIDE_GAP != 0 || next.gap == SPACE_GAP || next.gap & OPEN_GAP != 0
        })
    };
    // North America: (555) 123-4567, 555-123-4567, 555.123.4567, 1-555-123-4567.
    let parens = groups
        .get(1)
        .is_some_and(|second| second.gap & CLOSE_GAP != 0);
    if begin_so(lengths, NANP) && first.gap & OPEN_GAP != 0 && parens && lead >= b'2' {
        return Some(("phone_nanp", 3, 92));
    }
    if begin_so(lengths, NANP) && lead >= b'2' && gaps_in(3, &mixed) && no_more(3) {
        return (!number).then_some(("phone_nanp", 3, if near { 95 } else { 85 }));
    }
    if begin_so(lengths, TRUNK)
        && lead == b'1'
        && groups
            .get(1)
            .is_some_and(|area| text.at(area.start) >= b'2')
        && no_more(4)
    {
        return Some(("phone_nanp", 4, 90));
    }
    if first.len() == 10 && lead >= b'2' && extends(text, first.end) {
        return Some(("phone_nanp", 1, 85));
    }
    if begin_so(lengths, LOCAL) && first.gap & OPEN_GAP != 0 && parens && lead >= b'2' {
        return Some(("phone_nanp", 2, 85));
    }
    // Russia: 8 (495) 123-45-67.
    if begin_so(lengths, RUSSIA) && matches!(lead, b'7' | b'8') {
        return Some(("phone_national", 5, 88));
    }
    // An area in parentheses.
    if first.gap & OPEN_GAP != 0 && parens && (2..=6).contains(&first.len()) {
        let most = groups.iter().take_while({
            let mut nth = 0;
            move |group| {
                nth += 1;
                nth <= 2 || SIGNS.contains(&group.gap)
            }
        });
        let taken = most.count().min(5);
        if let Some(taken) = (2..=taken).rev().find(|taken| {
            groups.get(..*taken).is_some_and(|parts| {
                (8..=12).contains(&digits(parts))
                    && parts.iter().skip(1).all(|part| part.len() >= 2)
            })
        }) {
            let certain = lead == b'0' || near || taken == 3;
            return (certain && !number).then_some((
                "phone_national",
                taken,
                if near { 92 } else { 80 },
            ));
        }
    }
    // A trunk zero: 020 7946 0958, 01 23 45 67 89, 0412-345-678, 030/1234567.
    if lead == b'0'
        && groups.len() >= 2
        && first.len() >= 2
        && first.len() <= 6
        && first.gap & OPEN_GAP == 0
    {
        let second = groups.get(1)?;
        let signs: &[Gap] = match second.gap {
            SLASH_GAP => &[SLASH_GAP, SPACE_GAP, DASH_GAP],
            DOT_GAP => &[DOT_GAP],
            _ => &[SPACE_GAP, DASH_GAP],
        };
        let slash = SPACE_GAP | SLASH_GAP;
        let dash = SPACE_GAP | DASH_GAP;
        let fits = |group: &Group, nth: usize| {
            signs.contains(&group.gap)
                || (nth == 1 && (group.gap & !WIDE_GAP == slash || group.gap & !WIDE_GAP == dash))
        };
        let most = groups
            .iter()
            .enumerate()
            .skip(1)
            .take_while(|(nth, group)| fits(group, *nth) && group.len() <= 8)
            .count()
            + 1;
        let taken = (2..=most.min(6)).rev().find(|taken| {
            groups.get(..*taken).is_some_and(|parts| {
                (9..=12).contains(&digits(parts))
                    && parts.iter().skip(1).all(|part| part.len() >= 2)
                    && !dated(text, parts)
            })
        });
        if let Some(taken) = taken.filter(|taken| no_more(*taken)) {
            return (!number).then_some(("phone_national", taken, if near { 92 } else { 75 }));
        }
    }
    // Mobile numbers of China: 138 1234 5678.
    if shaped(groups, lengths, CHINA, &[SPACE_GAP, DASH_GAP])
        && lead == b'1'
        && (b'3'..=b'9').contains(&text.at(first.start + 1))
        && no_more(3)
    {
        return Some(("phone_national", 3, 80));
    }
    None
}

/// Whether the first groups are as long as those of any form below that has no parentheses.
fn may_be_national(lead: u8, lengths: Lengths) -> bool {
    let length = |nth: usize| lengths >> (4 * nth) & 15;
    match length(0) {
        1 => length(1) == 3 && length(2) == 3,
        3 if length(1) == 3 && length(2) == 4 => true,
        3 if length(1) == 4 && length(2) == 4 => true,
        10 => true,
        2..=6 => lead == b'0' && length(1) > 0,
        _ => false,
    }
}

/// Forms that need a word.
fn told(
    text: &Text<'_>,
    groups: &[Group],
    lengths: Lengths,
    context: &Context,
) -> Option<(&'static str, usize, u8)> {
    let first = groups.first()?;
    let before = is_told(context, first.start);
    if !before && (!is_short(groups, lengths) || context.near(Topic::Number, first.start, NEAR)) {
        return None;
    }
    // One that a word follows has a digit more.
    let least = if before { 7 } else { 8 };
    let (mut taken, mut count, mut longest) = (0, 0, 0);
    for (nth, group) in groups.iter().enumerate().take(MOST_TOLD) {
        if nth > 0 && (group.gap & (WIDE_GAP | PLUS_GAP) != 0 || group.len() < 2) {
            break;
        }
        count += group.len();
        longest = longest.max(group.len());
        if count > MOST_DIGITS || (nth > 0 && longest > 8) {
            break;
        }
        if count >= least && !dated(text, groups.get(..=nth)?) {
            taken = nth + 1;
        }
    }
    if taken == 0 {
        return None;
    }
    let parts = groups.get(..taken)?;
    if before {
        return Some(("phone_told", taken, 80));
    }
    let end = parts.last()?.end;
    (taken == groups.len() && follows(text, end, Topic::Phone, AFTER)).then_some((
        "phone_told",
        taken,
        65,
    ))
}

/// Whether the groups begin like a date.
fn dated(text: &Text<'_>, groups: &[Group]) -> bool {
    let lengths: [usize; 3] = core::array::from_fn(|nth| groups.get(nth).map_or(0, Group::len));
    let year = |nth: usize| {
        groups
            .get(nth)
            .is_some_and(|group| matches!(value(text, group), 1900..=2099))
    };
    match lengths {
        [4, 1..=2, 1..=2] => year(0),
        [1..=2, 1..=2, 4] => year(2),
        [8, _, _] => {
            matches!(
                value(text, groups.first().unwrap_or(&Group::default())) / 10_000,
                1900..=2099
            )
        }
        [4, 4, 0] => year(0) && year(1),
        _ => false,
    }
}

/// Where a number ends with its extension: `x123`, `ext. 123`, `доб. 123`.
fn extension(text: &Text<'_>, end: usize) -> usize {
    let mut at = end;
    if text.at(at) == b' ' {
        at += 1;
    } else if text.at(at) == b',' && text.at(at + 1) == b' ' {
        at += 2;
    }
    let words: &[&str] = match text.at(at) {
        b'e' => &["extension", "ext"],
        b'E' => &["Ext", "EXT"],
        b'x' => &["x"],
        b'X' => &["X"],
        b'p' => &["poste"],
        b'D' => &["Durchwahl"],
        b'i' => &["int"],
        b'#' => &["#"],
        0xd0 => &["доб"],
        _ => return end,
    };
    let word = words.iter().find(|word| text.has(at, word.as_bytes()));
    let Some(word) = word else {
        return end;
    };
    at += word.len();
    if text.at(at) == b'.' {
        at += 1;
    }
    if matches!(text.at(at), b' ' | b':') {
        at += 1;
    }
    let stop = text.run(at, DIGIT, 7);
    match stop - at {
        1..=6 if !is(text.at(stop), LETTER) => stop,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn country_codes_are_in_order_and_none_begins_like_another() {
        assert!(COUNTRIES.is_sorted_by_key(|(code, _, _)| *code));
        let mut longer = COUNTRIES.iter().filter(|(code, _, _)| *code >= 10);
        assert!(longer.all(|(code, _, _)| !matches!(code / 10, 1 | 7)));
    }
}
