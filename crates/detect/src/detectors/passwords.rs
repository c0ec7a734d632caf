//! Passwords: in URLs, in assignments to a word for password, on command lines.

use super::engine::Engine;
use super::kind::Kind;
use super::text::{
    ALNUM, DASH, DIGIT, DOT, HIGH, LETTER, PLUS, SLASH, SPACE, TOKEN, Text, UNDERSCORE, is,
};

/// How far the options of a command are looked at.
const MAX_COMMAND: usize = 112;
/// Longest login name before a password.
const MAX_LOGIN: usize = 64;
/// Longest value that is looked at.
const MAX_VALUE: usize = 128;
/// Longest name and password of a URL.
const MAX_AUTHORITY: usize = 160;

/// A value that is not quoted, as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plain {
    from: usize,
    until: usize,
    signs: Signs,
}

/// How many signs of each class are in a value.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    letters: usize,
    digits: usize,
    others: usize,
}

impl Signs {
    fn of(value: &[u8]) -> Signs {
        let mut signs = Signs::default();
        for byte in value {
            signs.take(*byte);
        }
        signs
    }

    fn take(&mut self, byte: u8) {
        let (letter, digit, other) = Signs::class(byte);
        self.letters += letter;
        self.digits += digit;
        self.others += other;
    }

    fn leave(&mut self, byte: u8) {
        let (letter, digit, other) = Signs::class(byte);
        self.letters -= letter;
        self.digits -= digit;
        self.others -= other;
    }

    #[inline]
    fn class(byte: u8) -> (usize, usize, usize) {
        let letter = is(byte, LETTER | HIGH);
        let digit = is(byte, DIGIT);
        let other = !is(
            byte,
            LETTER | HIGH | DIGIT | DOT | DASH | UNDERSCORE | SLASH | SPACE,
        );
        (usize::from(letter), usize::from(digit), usize::from(other))
    }
}

impl Engine {
    /// A password in a URL whose scheme begins at `at`.
    pub(super) fn url(&mut self, text: &Text<'_>, at: usize) {
        let scheme = text.run(at, ALNUM | PLUS | DOT | DASH, 24);
        if !text.has(scheme, b"://") {
            return;
        }
        let from = scheme + 3;
        let stops = |byte: u8| {
            byte <= b' ' || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b'|')
        };
        let mut colon = None;
        let (mut first_sign, mut sign) = (None, None);
        let mut at = from;
        while at - from < MAX_AUTHORITY {
            match text.at(at) {
                byte if stops(byte) => break,
                b'/' | b'?' | b'#' if colon.is_none() || sign.is_some() => break,
                b':' if colon.is_none() && sign.is_none() => {
                    colon = Some(at);
                    // As far as one before was read nothing ends this one either.
                    at = at.max(self.state.authority_until.saturating_sub(1));
                }
                b'@' => {
                    sign = Some(at);
                    first_sign.get_or_insert(at);
                }
                _ => {}
            }
            at += 1;
        }
        if colon.is_some() {
            let until = first_sign.unwrap_or(at);
            self.state.authority_until = self.state.authority_until.max(until);
        }
        let (Some(colon), Some(sign)) = (colon, sign) else {
            return;
        };
        let value = text.slice(colon + 1, sign);
        // A port, a path and an `@` after it: not a password.
        let path = value.first().is_some_and(u8::is_ascii_digit) && value.contains(&b'/');
        if value.is_empty() || path || self.placeholder(text, colon + 1, sign) {
            return;
        }
        self.note(Kind::Password, "url_password", (colon + 1, sign), 90);
        self.state.values_from = self.state.values_from.max(sign);
    }

    /// A value assigned to a word for password, which stands at `at`.
    pub(super) fn password(&mut self, text: &Text<'_>, at: usize, after: usize) {
        if after - at <= 4 && is(text.at(after), LETTER | DIGIT) {
            return;
        }
        let name = text.run(after, TOKEN | DOT, 24);
        let mut from = name;
        if matches!(
            text.at(from),
            b'"' | b'\'' | b'`' | b']' | b'\\' | b'*' | b'<'
        ) {
            from += 1;
        }
        if matches!(text.at(from), b'"' | b']' | b'*') {
            from += 1;
        }
        let space = text.run(from, SPACE, 4);
        // `key="Password" value="…"`
        let from = match text.has(space, b"value=") {
            true => space + 5,
            false => space,
        };
        let (value, said) = match text.at(from) {
            b':' | b'=' => {
                let mut at = from + 1;
                while at - from < 3 && matches!(text.at(at), b'=' | b'>' | b':') {
                    at += 1;
                }
                (at, false)
            }
            b'>' => (from + 1, false),
            b'i' if text.has(from, b"is ") => (from + 3, true),
            b'w' if text.has(from, b"was ") => (from + 4, true),
            0xef if text.has(from, "：".as_bytes()) => (from + 3, false),
            0xe6 if text.has(from, "是".as_bytes()) => (from + 3, false),
            // `login name password value`
            byte if space == name + 1 && byte > b' ' && logs_in(text, at) => (space, true),
            _ => return,
        };
        self.password_value(text, value, said);
    }

    /// A value that was said to be a password, which stands at `from` or after spaces.
    pub(super) fn password_value(&mut self, text: &Text<'_>, from: usize, said: bool) {
        let mut from = text.run(from, SPACE, 6);
        let quote = match text.at(from) {
            b'\\' if matches!(text.at(from + 1), b'"' | b'\'') => {
                from += 1;
                Some(text.at(from))
            }
            quote @ (b'"' | b'\'' | b'`') => Some(quote),
            _ => None,
        };
        from += usize::from(quote.is_some());
        if self.is_outranked(from, Kind::Password) {
            return;
        }
        let (end, signs) = match quote {
            Some(quote) => {
                let end = quoted(text, from, quote);
                let dotted = text.slice(from, end).contains(&b'.');
                let signs = Signs::of(text.slice(from, end));
                if dotted && signs.digits == 0 && signs.others == 0 {
                    return;
                }
                (end, signs)
            }
            None => self.plain(text, from),
        };
        let value = text.slice(from, end);
        if value.len() < 4 {
            return;
        }
        let (letters, digits) = (signs.letters, signs.digits);
        let strong = (digits > 0 && letters > 0)
            || (signs.others > 0 && value.len() > signs.others)
            || digits >= 6;
        let enough = match (quote, said) {
            (Some(_), _) => {
                (4..=64).contains(&value.len())
                    && !value.contains(&b' ')
                    && (strong || value.len() >= 6 && letters >= 6)
            }
            (None, true) => value.len() >= 5 && strong && digits > 0,
            (None, false) => value.len() >= 5 && strong,
        };
        if enough && !self.placeholder(text, from, end) {
            self.note(Kind::Password, "assigned_password", (from, end), 75);
            self.state.values_from = self.state.values_from.max(end);
        }
    }

    /// Where a value that is not quoted ends, and what is in it; an empty one is none.
    ///
    /// Such values end alike wherever they begin: none is read twice.
    fn plain(&mut self, text: &Text<'_>, from: usize) -> (usize, Signs) {
        let mut plain = self.state.plain;
        if !(plain.from..plain.until).contains(&from) {
            plain = Plain {
                from,
                until: from,
                signs: Signs::default(),
            };
        }
        for byte in text.slice(plain.from, from) {
            plain.signs.leave(*byte);
        }
        plain.from = from;
        while plain.until - from < MAX_VALUE {
            let byte = text.at(plain.until);
            if byte <= b' ' || ends_plain(byte) || byte == b'<' && plain.until > from {
                break;
            }
            plain.signs.take(byte);
            plain.until += 1;
        }
        self.state.plain = plain;
        let Plain {
            until: mut end,
            mut signs,
            ..
        } = plain;
        // A call gives the value.
        if matches!(text.at(end), b'(' | b'[') {
            return (from, Signs::default());
        }
        while end > from && matches!(text.before(end), b'.' | b'?' | b':' | b'*') {
            end -= 1;
            signs.leave(text.at(end));
        }
        (end, signs)
    }

    /// Whether a value stands for one that is filled in elsewhere.
    fn placeholder(&mut self, text: &Text<'_>, from: usize, end: usize) -> bool {
        let value = text.slice(from, end);
        let is_within = |(start, stop): (usize, usize)| from <= start && stop <= end;
        // What was found is not looked for again.
        if is_within(self.state.filled_in) {
            return true;
        }
        if reserved(value) {
            let open = is_within(self.state.opened)
                || !value.iter().any(u8::is_ascii_digit)
                || !value.iter().any(u8::is_ascii_alphabetic)
                || !matches!(value.first(), Some(b'$' | b'#' | b'*' | b'%' | b'&'))
                || value.len() < 8
                || value.ends_with(b"%");
            if open {
                return true;
            }
            let mut pairs = value.windows(2);
            let opens = pairs.position(|pair| matches!(pair, b"${" | b"$(" | b"{{" | b"**"));
            if let Some(at) = opens {
                self.state.opened = (from + at, from + at + 2);
                return true;
            }
        }
        let part = value.iter().enumerate().find_map(|(at, first)| {
            let mut parts = filled_in(*first).iter();
            let part = parts.find(|part| {
                let there = value.get(at..at + part.len());
                there.is_some_and(|there| there.eq_ignore_ascii_case(part))
            })?;
            Some((from + at, from + at + part.len()))
        });
        if let Some(part) = part {
            self.state.filled_in = part;
            return true;
        }
        let first = value.first().copied().unwrap_or(0);
        value.iter().all(|byte| byte.eq_ignore_ascii_case(&first))
            || PLACEHOLDERS
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// `-u name:password` on a command line.
    pub(super) fn curl(&mut self, text: &Text<'_>, from: usize) {
        // What was read for a command before is not read again.
        let mut at = from.max(self.state.options_from);
        while at - from < MAX_COMMAND {
            match text.at(at) {
                b'\n' | 0 => return,
                b'-' if text.before(at) == b' ' && text.has(at, b"-u ") => break,
                b'-' if text.before(at) == b' ' && text.has(at, b"--user ") => break,
                _ => at += 1,
            }
        }
        if at - from >= MAX_COMMAND {
            self.state.options_from = at;
            return;
        }
        let at = text.run(at, DASH | LETTER, 8);
        let mut start = text.run(at, SPACE, 4);
        start += usize::from(matches!(text.at(start), b'"' | b'\''));
        let (mut colon, mut end) = (None, start);
        while end - start < 128 && !matches!(text.at(end), 0..=b' ' | b'"' | b'\'') {
            if text.at(end) == b':' && colon.is_none() {
                colon = Some(end + 1);
            }
            end += 1;
        }
        if let Some(value) = colon
            && !self.placeholder(text, value, end)
        {
            self.note(Kind::Password, "command_password", (value, end), 80);
            self.state.values_from = self.state.values_from.max(end);
        }
    }
}

/// Where a value in quotes ends; at its beginning if it does not end in time.
fn quoted(text: &Text<'_>, from: usize, quote: u8) -> usize {
    let mut end = from;
    while end - from < MAX_VALUE {
        let byte = text.at(end);
        if byte == quote || byte == b'\\' || byte < b' ' {
            break;
        }
        end += 1;
    }
    match text.at(end) {
        byte if byte == quote || byte == b'\\' => end,
        _ => from,
    }
}

/// Whether a value that is not quoted ends before a sign.
#[inline]
fn ends_plain(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b';' | b'>' | b'"' | b'\'' | b'`' | b')' | b']' | b'}' | b'&' | b'(' | b'|'
    )
}

/// Whether `login` and a name stand before a place.
fn logs_in(text: &Text<'_>, at: usize) -> bool {
    let end = text.run_back(at, SPACE, at.saturating_sub(2));
    let mut name = end;
    while end - name < MAX_LOGIN && text.before(name) > b' ' {
        name -= 1;
    }
    text.slice(name.saturating_sub(6), name) == b"login "
}

/// Parts of values that are filled in elsewhere, of those that begin with a byte.
fn filled_in(first: u8) -> &'static [&'static [u8]] {
    match first.to_ascii_lowercase() {
        b'$' => &[b"${", b"$("],
        b'{' => &[b"{{"],
        b'.' => &[b"..."],
        b'*' => &[b"***"],
        b'<' => &[b"<pass"],
        b'c' => &[b"changeme"],
        b'e' => &[b"example"],
        b'g' => &[b"getenv"],
        b'o' => &[b"os.environ"],
        b'p' => &[b"placeholder", b"process.env"],
        b'r' => &[b"redacted"],
        b'x' => &[b"xxxx"],
        b'y' => &[b"your"],
        _ => &[],
    }
}

/// Values that are none.
const PLACEHOLDERS: &[&str] = &[
    "null",
    "none",
    "true",
    "false",
    "undefined",
    "required",
    "optional",
    "string",
    "password",
    "passwd",
    "secret",
    "invalid",
    "incorrect",
    "empty",
    "nil",
    "hidden",
    "protected",
    "expired",
    "reset",
    "text",
    "input",
    "varchar",
    "username",
];

/// Whether a value begins with a sign that templates and paths begin with.
fn reserved(value: &[u8]) -> bool {
    matches!(
        value.first().copied().unwrap_or(0),
        0 | b'$'
            | b'{'
            | b'<'
            | b'%'
            | b'*'
            | b'['
            | b'('
            | b'/'
            | b'|'
            | b'='
            | b'-'
            | b'&'
            | b'#'
            | b','
    )
}
