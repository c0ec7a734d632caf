//! Passwords: in URLs, in assignments to a word for password, on command lines.

use super::engine::Engine;
use super::kind::Kind;
use super::text::{
    ALNUM, DASH, DIGIT, DOT, HIGH, LETTER, PLUS, SLASH, SPACE, TOKEN, Text, UNDERSCORE, class, is,
};

/// How far the options of a command are looked at.
const MAX_COMMAND: usize = 112;
/// Longest login name before a password.
const MAX_LOGIN: usize = 64;
/// Longest value that is looked at.
const MAX_VALUE: usize = 128;
/// Longest name and password of a URL.
const MAX_AUTHORITY: usize = 160;

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
        let mut sign = None;
        let mut at = from;
        while at - from < MAX_AUTHORITY {
            match text.at(at) {
                byte if stops(byte) => break,
                b'/' | b'?' | b'#' if colon.is_none() || sign.is_some() => break,
                b':' if colon.is_none() && sign.is_none() => {
                    colon = Some(at);
                    // As far as one before was read in vain nothing ends this one either.
                    at = at.max(self.state.authority_until.saturating_sub(1));
                }
                b'@' => sign = Some(at),
                _ => {}
            }
            at += 1;
        }
        if colon.is_some() && sign.is_none() {
            self.state.authority_until = self.state.authority_until.max(at);
        }
        let (Some(colon), Some(sign)) = (colon, sign) else {
            return;
        };
        let value = text.slice(colon + 1, sign);
        // A port, a path and an `@` after it: not a password.
        let path = value.contains(&b'/') && value.first().is_some_and(u8::is_ascii_digit);
        if value.is_empty() || path || placeholder(value) {
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
        // Values that are not quoted end alike wherever they begin: none is read twice.
        let (since, until) = self.state.value;
        let mut end = match quote {
            None if (since..until).contains(&from) => until.min(from + MAX_VALUE),
            _ => from,
        };
        while end - from < MAX_VALUE {
            let byte = text.at(end);
            let stops = match quote {
                Some(quote) => byte == quote || byte == b'\\' || byte < b' ',
                None => {
                    byte <= b' '
                        || byte == b'<' && end > from
                        || matches!(
                            byte,
                            b',' | b';'
                                | b'>'
                                | b'"'
                                | b'\''
                                | b'`'
                                | b')'
                                | b']'
                                | b'}'
                                | b'&'
                                | b'('
                                | b'|'
                        )
                }
            };
            if stops {
                break;
            }
            end += 1;
        }
        if quote.is_none() {
            let is_within = (since..until).contains(&from);
            self.state.value = (from, if is_within { until.max(end) } else { end });
        }
        let call = quote.is_none() && matches!(text.at(end), b'(' | b'[');
        while quote.is_none() && end > from && matches!(text.before(end), b'.' | b'?' | b':' | b'*')
        {
            end -= 1;
        }
        let value = text.slice(from, end);
        let open = quote.is_some_and(|quote| text.at(end) != quote && text.at(end) != b'\\');
        if call || open || value.len() < 4 {
            return;
        }
        let (mut letters, mut digits, mut signs) = (0, 0, 0);
        for byte in value {
            match class(*byte) {
                DIGIT => digits += 1,
                class if class & (LETTER | HIGH) != 0 => letters += 1,
                class if class & (DOT | DASH | UNDERSCORE | SLASH | SPACE) != 0 => {}
                _ => signs += 1,
            }
        }
        let dotted = value.contains(&b'.') && digits == 0 && signs == 0;
        let strong =
            (digits > 0 && letters > 0) || (signs > 0 && value.len() > signs) || digits >= 6;
        let enough = match (quote, said) {
            (Some(_), _) => {
                (4..=64).contains(&value.len())
                    && !value.contains(&b' ')
                    && !dotted
                    && (strong || value.len() >= 6 && letters >= 6)
            }
            (None, true) => value.len() >= 5 && strong && digits > 0,
            (None, false) => value.len() >= 5 && strong && !dotted,
        };
        if enough && !placeholder(value) {
            self.note(Kind::Password, "assigned_password", (from, end), 75);
            self.state.values_from = self.state.values_from.max(end);
        }
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
            && !placeholder(text.slice(value, end))
        {
            self.note(Kind::Password, "command_password", (value, end), 80);
            self.state.values_from = self.state.values_from.max(end);
        }
    }
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

/// Whether a value stands for one that is filled in elsewhere.
fn placeholder(value: &[u8]) -> bool {
    let first = value.first().map_or(0, u8::to_ascii_lowercase);
    let has = |part: &[u8]| value.windows(part.len()).any(|window| window == part);
    matches!(
        first,
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
    ) && !(matches!(first, b'$' | b'#' | b'*' | b'%' | b'&')
        && value.len() >= 8
        && !has(b"${")
        && !has(b"$(")
        && !has(b"{{")
        && !has(b"**")
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && !value.ends_with(b"%"))
        || value.iter().all(|byte| byte.eq_ignore_ascii_case(&first))
        || value.iter().enumerate().any(|(at, first)| {
            filled_in(*first).iter().any(|part| {
                let there = value.get(at..at + part.len());
                there.is_some_and(|there| there.eq_ignore_ascii_case(part))
            })
        })
        || [
            &b"null"[..],
            b"none",
            b"true",
            b"false",
            b"undefined",
            b"required",
            b"optional",
            b"string",
            b"password",
            b"passwd",
            b"secret",
            b"invalid",
            b"incorrect",
            b"empty",
            b"nil",
            b"hidden",
            b"protected",
            b"expired",
            b"reset",
            b"text",
            b"input",
            b"varchar",
            b"username",
        ]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}
