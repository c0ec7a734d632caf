//! Email addresses, from their `@`.

use super::engine::Engine;
use super::kind::Kind;
use super::text::{ALNUM, DASH, DOT, HIGH, LETTER, PERCENT, PLUS, Text, UNDERSCORE, is};

const LOCAL: u16 = ALNUM | DOT | UNDERSCORE | PERCENT | PLUS | DASH;
const LABEL: u16 = ALNUM | DASH | HIGH;
const MAX_DOMAIN: usize = 253;
const MAX_LABEL: usize = 63;

/// What ends names of files and packages (`logo@2x.png`) rather than domains.
const NO_DOMAINS: &[&[u8]] = &[
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"html", b"json", b"yaml",
    b"yml", b"toml", b"lock", b"service", b"class",
];

impl Engine {
    pub(super) fn email(&mut self, text: &Text<'_>, at: usize) {
        if !self.wants(Kind::Email) {
            return;
        }
        let mut start = text.run_back(at, LOCAL, self.back(at));
        while start < at && !is(text.at(start), ALNUM | UNDERSCORE) {
            start += 1;
        }
        // `//name@host` is a URL, and a dot never ends a local part.
        if start == at
            || text.before(at) == b'.'
            || text.before(start) == b'/' && text.before(start - 1) == b'/'
        {
            return;
        }
        self.hold = start;
        let Some(end) = domain(text, at + 1) else {
            return;
        };
        // `git@host:path` names a repository.
        if text.slice(start, at) == b"git" && text.at(end) == b':' {
            return;
        }
        self.note(Kind::Email, "email", (start, end), 95);
    }
}

/// Where a domain of two labels or more ends.
fn domain(text: &Text<'_>, from: usize) -> Option<usize> {
    let mut at = from;
    let mut label = from;
    let mut end = None;
    loop {
        let stop = text.run(at, LABEL, MAX_LABEL + 1);
        if stop == at || stop - at > MAX_LABEL || stop - from > MAX_DOMAIN {
            break;
        }
        if label > from && top(text, at, stop) {
            end = Some(stop);
        }
        if text.at(stop) != b'.' {
            if end.is_some_and(|end| end < stop) {
                // The last label decides: `a@b.com.x1` is no address.
                end = None;
            }
            break;
        }
        label = stop + 1;
        at = stop + 1;
    }
    end
}

/// Whether a label can be the last.
fn top(text: &Text<'_>, start: usize, end: usize) -> bool {
    let length = end - start;
    if !(2..=24).contains(&length) {
        return false;
    }
    let lower: Vec<u8> = text.slice(start, end).to_ascii_lowercase();
    let letters = lower.iter().all(|byte| is(*byte, LETTER | HIGH));
    (letters || lower.starts_with(b"xn--")) && !NO_DOMAINS.contains(&lower.as_slice())
}
