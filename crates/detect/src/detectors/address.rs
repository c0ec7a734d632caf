//! IP addresses, written as people and machines write them.

use super::context::{Context, Topic};
use super::engine::Engine;
use super::kind::Kind;
use super::number::{DOT_GAP, Group, NEAR, Read, value};
use super::text::{ALNUM, COLON, DIGIT, DOT, HEX, LETTER, Text, UNDERSCORE, is};
use super::words::within;

/// Longest row of hexadecimal digits and colons that is looked at as one.
const MAX_TOKEN: usize = 512;
/// Two colons and a digit.
const LEAST_ADDRESS: usize = 3;
/// Longest IPv6 address.
const MAX_ADDRESS: usize = 45;

impl Engine {
    /// An IPv6 address around `at`; where it ends.
    pub(super) fn ip6(&mut self, text: &Text<'_>, at: usize) -> Option<usize> {
        let start = text.run_back(at, HEX | COLON, self.back(at).max(at.saturating_sub(40)));
        let before = text.before(start);
        if is(before, ALNUM | DOT | UNDERSCORE) {
            return None;
        }
        let end = text.run(start, HEX | COLON, MAX_TOKEN);
        self.state.addresses_from = end;
        if !(LEAST_ADDRESS..=MAX_ADDRESS).contains(&(end - start)) {
            return None;
        }
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
#[inline]
pub(super) fn next_colon(text: &Text<'_>, at: usize) -> bool {
    // Nearly never one of the five bytes in which it would stand is one.
    if let Some(eight) = text.eight(at)
        && within(eight, b':', b':') & 0xff_ffff_ffff == 0
    {
        text.count(1);
        return false;
    }
    let end = text.run(at, HEX, 4);
    text.at(end) == b':' && is(text.at(end + 1), HEX | COLON)
}

pub(super) fn ip4(
    text: &Text<'_>,
    groups: &[Group],
    first: bool,
    context: &Context,
) -> Option<Read> {
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
