//! Text to tokens, as the CEL specification defines them.

use super::syntax::{At, Fault};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Number(f64),
    Text(String),
    /// One of [`SIGNS`].
    Sign(&'static str),
    End,
}

/// Longer ones first: the first that fits is taken.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "?", ":", "(", ")", "[", "]", "{", "}", ",",
    ".", "+", "-", "*", "/", "%",
];

/// Whole numbers below 2^53 are exact.
const TOO_LARGE_TO_BE_EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { text, offset: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.offset += taken.len();
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.take(end)
    }

    fn take_char(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.take(c.len_utf8());
        Some(c)
    }

    pub(super) fn next(&mut self) -> Result<(Token, At), Fault> {
        self.skip_blank();
        let start = self.offset;
        let token = self.token(start)?;
        Ok((token, start..self.offset))
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self, start: usize) -> Result<Token, Fault> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return Ok(Token::End);
        };
        let second = chars.next().unwrap_or_default();
        if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
            return self.number(start);
        }
        if let Some((raw, bytes, prefix)) = string_prefix(rest) {
            self.take(prefix);
            if bytes {
                let at = start..self.offset + 1;
                let message = "byte strings compare with no field";
                return Err(Fault::unsupported(at, message).help("remove the `b`"));
            }
            return self.string(start, raw);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(Token::Word(word.to_owned()));
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.take(sign.len());
            return Ok(Token::Sign(sign));
        }
        let at = start..start + first.len_utf8();
        let fault = Fault::syntax(at, format!("`{first}` has no meaning in an expression"));
        Err(match first {
            '=' => fault.help("write `==`"),
            '&' => fault.help("write `&&`"),
            '|' => fault.help("write `||`"),
            '“' | '”' | '‘' | '’' => fault.help("quotes are `\"` and `'`"),
            _ => fault,
        })
    }

    fn number(&mut self, start: usize) -> Result<Token, Fault> {
        let hexadecimal = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        let value = if hexadecimal {
            self.take(2);
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().map(|n| n as f64)
        } else {
            self.take_while(|c| c.is_ascii_digit());
            if self.rest().starts_with('.') {
                self.take(1);
                self.take_while(|c| c.is_ascii_digit());
            }
            if self.rest().starts_with(['e', 'E']) {
                self.take(1);
                if self.rest().starts_with(['+', '-']) {
                    self.take(1);
                }
                self.take_while(|c| c.is_ascii_digit());
            }
            let written = self.text.get(start..self.offset).unwrap_or_default();
            let complete = written.ends_with(|c: char| c.is_ascii_digit());
            written.parse().ok().filter(|_| complete)
        };
        let rest = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let at = start..self.offset;
        let written = self.text.get(at.clone()).unwrap_or_default();
        if matches!(rest, "u" | "U") && value.is_some() {
            let fault = Fault::unsupported(at, "numbers have one type, without `u`");
            return Err(fault.help("remove the `u`"));
        }
        let Some(value) = value.filter(|value: &f64| rest.is_empty() && value.is_finite()) else {
            return Err(Fault::syntax(at, format!("`{written}` is not a number")));
        };
        let whole = written
            .bytes()
            .all(|byte| byte.is_ascii_digit() || hexadecimal);
        if whole && value >= TOO_LARGE_TO_BE_EXACT {
            let message = "the number is too large to be compared exactly";
            return Err(Fault::unsupported(at, message).help("whole numbers are exact below 2^53"));
        }
        Ok(Token::Number(value))
    }

    fn string(&mut self, start: usize, raw: bool) -> Result<Token, Fault> {
        let quote = if self.rest().starts_with('"') {
            '"'
        } else {
            '\''
        };
        let long: String = std::iter::repeat_n(quote, 3).collect();
        let long = self.rest().starts_with(&long).then_some(long);
        self.take(long.as_ref().map_or(1, String::len));
        let mut value = String::new();
        loop {
            let at = self.offset;
            if let Some(long) = &long
                && self.rest().starts_with(long.as_str())
            {
                self.take(3);
                return Ok(Token::Text(value));
            }
            match self.take_char() {
                Some(c) if c == quote && long.is_none() => return Ok(Token::Text(value)),
                Some('\\') if !raw => value.push(self.escape(at)?),
                None | Some('\n' | '\r') if long.is_none() => {
                    let fault = Fault::syntax(start..at, "the text is not closed");
                    let help = format!(
                        "close it with `{quote}` in its line, or write `\\n` for a new line"
                    );
                    return Err(fault.help(help));
                }
                Some(c) => value.push(c),
                None => return Err(Fault::syntax(start..at, "the text is not closed")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, at: usize) -> Result<char, Fault> {
        let letter = self.take_char();
        let read = match letter {
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some(c @ ('\\' | '?' | '"' | '\'' | '`')) => Some(c),
            Some('x' | 'X') => self.code_point(2, 16),
            Some('u') => self.code_point(4, 16),
            Some('U') => self.code_point(8, 16),
            Some('0'..='3') => {
                self.offset -= 1;
                self.code_point(3, 8)
            }
            _ => None,
        };
        read.ok_or_else(|| {
            let fault = Fault::syntax(at..self.offset, "no such escape in a text");
            fault.help("write `\\\\` for a backslash; in a raw text, `r\"…\"`, it needs none")
        })
    }

    fn code_point(&mut self, digits: usize, radix: u32) -> Option<char> {
        let digits = self.take(digits);
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| plain)?;
        char::from_u32(code)
    }
}

/// Whether a text begins here: raw, bytes, and how long its prefix is.
fn string_prefix(rest: &str) -> Option<(bool, bool, usize)> {
    let mut bytes = rest.bytes().map(|byte| byte.to_ascii_lowercase());
    let quote = |byte: Option<u8>| matches!(byte, Some(b'"' | b'\''));
    let (first, second, third) = (bytes.next(), bytes.next(), bytes.next());
    match (first, second) {
        _ if quote(first) => Some((false, false, 0)),
        (Some(b'r'), _) if quote(second) => Some((true, false, 1)),
        (Some(b'b'), _) if quote(second) => Some((false, true, 1)),
        (Some(b'b'), Some(b'r')) | (Some(b'r'), Some(b'b')) if quote(third) => {
            Some((true, true, 2))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next()?.0 {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn texts_are_read_with_their_escapes() {
        for (written, value) in [
            (r#""a\n\t\\\"'""#, "a\n\t\\\"'"),
            (r#"'\x41\u00e9\U0001F600\101\?\`'"#, "Aé😀A?`"),
            (r#"r"\d+\n""#, "\\d+\\n"),
            (r#"R'a\'"#, "a\\"),
            ("'''a'b\n\"c\"'''", "a'b\n\"c\""),
            (r#"r"""\" """"#, "\\\" "),
            ("''", ""),
            ("\"\"\"\"\"\"", ""),
            ("'é'", "é"),
        ] {
            let read = tokens(written);
            assert_eq!(read, Ok(vec![Token::Text(value.to_owned())]), "{written}");
        }
    }

    #[test]
    fn numbers_are_whole_decimal_or_hexadecimal() {
        for (written, value) in [
            ("0", 0.0),
            ("12", 12.0),
            (".5", 0.5),
            ("1.25e-2", 0.0125),
            ("2E3", 2000.0),
            ("0xff", 255.0),
            ("9007199254740991", 9_007_199_254_740_991.0),
        ] {
            assert_eq!(tokens(written), Ok(vec![Token::Number(value)]), "{written}");
        }
    }

    #[test]
    fn what_is_no_token_is_named_with_its_place() {
        for (text, at, message) in [
            ("a = b", 2..3, "`=` has no meaning"),
            ("a & b", 2..3, "`&` has no meaning"),
            ("“x”", 0..3, "`“` has no meaning"),
            ("'ab", 0..3, "not closed"),
            ("'''ab'", 0..6, "not closed"),
            ("'a\nb'", 0..2, "not closed"),
            (r"'a\qb'", 2..4, "no such escape"),
            (r"'\ud800'", 1..7, "no such escape"),
            (r"'\u+041'", 1..7, "no such escape"),
            (r"'\789'", 1..3, "no such escape"),
            (r"'\08'", 1..5, "no such escape"),
            (r"'\x4", 1..3, "no such escape"),
            ("1.", 0..2, "`1.` is not a number"),
            ("1e", 0..2, "`1e` is not a number"),
            ("0x", 0..2, "`0x` is not a number"),
            ("12ab", 0..4, "`12ab` is not a number"),
            ("1e999", 0..5, "`1e999` is not a number"),
            ("5u", 0..2, "without `u`"),
            ("9007199254740992", 0..16, "too large"),
            ("b'x'", 0..2, "byte strings"),
        ] {
            let fault = tokens(text).unwrap_err();
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert_eq!(fault.at, at, "{text}: {fault:?}");
        }
    }

    #[test]
    fn blanks_and_comments_are_skipped() {
        let read = tokens(" a // b\n\t&& c//");
        let word = |word: &str| Token::Word(word.to_owned());
        assert_eq!(read, Ok(vec![word("a"), Token::Sign("&&"), word("c")]));
    }
}
