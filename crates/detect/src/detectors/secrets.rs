//! Secrets: keys whose form names a provider, random values next to a key word, private keys.

use super::card::iban;
use super::chance::{Look, distinct};
use super::context::Topic;
use super::engine::Engine;
use super::families::FAMILIES;
use super::index::{Act, INDEX, key};
use super::kind::Kind;
use super::text::{
    ALNUM, DIGIT, DOT, EQUALS, HEX, LETTER, LOWER, PLUS, SLASH, SPACE, TILDE, TOKEN, Text,
    UNDERSCORE, UPPER, is,
};

/// A longer run is data, not a token.
const MAX_TOKEN: usize = 512;
/// Longest private key with its lines.
const MAX_PEM: usize = 8192;
/// How far before a value its key word may stand.
const KEY_REACH: usize = 56;
/// What the body of a value consists of; `=` only ends one.
const BODY: u16 = TOKEN | DOT | PLUS | SLASH | TILDE;

impl Engine {
    /// A word or value with the digit at `at` in it.
    pub(super) fn token(&mut self, text: &Text<'_>, at: usize) {
        let start = text.run_back(at, TOKEN, self.back(at));
        let end = text.run(at, TOKEN, MAX_TOKEN);
        self.hold = self.hold.min(start);
        self.state.numbers_from = self.state.numbers_from.max(end);
        let length = end - start;
        if at == start + 2
            && !is(text.before(start), ALNUM)
            && is(text.at(start), UPPER)
            && let Some(end) = iban(text, start)
        {
            self.note(Kind::Iban, "iban", (start, end), 97);
            self.state.numbers_from = end;
            return;
        }
        if length < 6 && text.at(end) != b'.' {
            return;
        }
        if at == start && !is(text.before(at), TOKEN) {
            let bytes: [u8; 4] = core::array::from_fn(|nth| text.at(at + nth));
            let first = text.eight(at);
            for anchor in INDEX.anchors(key(&bytes)) {
                if let Act::Family(nth) = anchor.act
                    && anchor.stands(text, at, first)
                {
                    self.family(text, at, nth);
                }
            }
        }
        if !self.has_fresh() && !is(text.before(start), ALNUM) {
            self.formed(text, start, end);
        }
        if !self.has_fresh() {
            self.passport(text, start, end);
        }
        if !self.has_fresh() && at >= self.state.values_from {
            self.keyed(text, at);
        }
    }

    /// Tokens whose form is in their middle.
    fn formed(&mut self, text: &Text<'_>, start: usize, end: usize) {
        let length = end - start;
        let all = |from: usize, to: usize, class: u16| (from..to).all(|at| is(text.at(at), class));
        let found = match (length, text.at(end)) {
            (34, _)
                if matches!(text.slice(start, start + 2), b"SK" | b"AC" | b"AP")
                    && all(start + 2, end, DIGIT | LOWER & HEX) =>
            {
                Some(("twilio_key", end))
            }
            (36 | 37, _)
                if all(start, start + 32, HEX)
                    && text.has(start + 32, b"-us")
                    && all(start + 35, end, DIGIT) =>
            {
                Some(("mailchimp_key", end))
            }
            (40.., _) if text.has(end - 4, b"_mmk") => Some(("maxmind_key", end)),
            (5..=16, b':') if all(start, end, DIGIT) && text.at(end + 1) == b'A' => {
                let stop = text.run(end + 1, TOKEN, 48);
                matches!(stop - end - 1, 34..=36).then_some(("telegram_bot_token", stop))
            }
            (15 | 16, b'|') if all(start, end, DIGIT) => {
                let stop = text.run(end + 1, TOKEN, 48);
                matches!(stop - end - 1, 27..=40).then_some(("facebook_app_token", stop))
            }
            (20.., b'.')
                if is(text.at(start), DIGIT) && text.has(end, b".apps.googleusercontent.com") =>
            {
                Some(("google_client_id", end + 27))
            }
            (14, b'.') if text.has(end, b".atlasv1.") => {
                let stop = text.run(end + 9, TOKEN | EQUALS, 80);
                (stop - end - 9 >= 55).then_some(("terraform_token", stop))
            }
            (23..=28, b'.') if matches!(text.at(start), b'M' | b'N' | b'O') => {
                let middle = text.run(end + 1, TOKEN, 8);
                let stop = text.run(middle + 1, TOKEN, 48);
                (middle - end - 1 == 6 && text.at(middle) == b'.' && stop - middle > 27)
                    .then_some(("discord_bot_token", stop))
            }
            _ => None,
        };
        if let Some((rule, stop)) = found.filter(|(_, stop)| !is(text.at(*stop), ALNUM)) {
            self.note(Kind::ApiKey, rule, (start, stop), 92);
            self.state.numbers_from = self.state.numbers_from.max(stop);
        }
    }

    /// A document number next to the word.
    fn passport(&mut self, text: &Text<'_>, start: usize, end: usize) {
        if !(6..=12).contains(&(end - start)) || is(text.before(start), ALNUM) {
            return;
        }
        let count = |class: u16| (start..end).filter(|at| is(text.at(*at), class)).count();
        if count(DIGIT) < 5 || count(DIGIT | UPPER) < end - start {
            return;
        }
        self.state.context.read(text, start);
        let context = &self.state.context;
        if context.near(Topic::Passport, start, 40)
            && context.last(Topic::Passport) > context.last(Topic::Secret)
        {
            self.note(Kind::Passport, "passport_number", (start, end), 80);
        }
    }

    /// A random-looking value that is assigned to a key word.
    fn keyed(&mut self, text: &Text<'_>, at: usize) {
        let start = text.run_back(at, BODY, self.back(at));
        let body = text.run(at, BODY, MAX_TOKEN);
        self.state.values_from = body;
        let end = match text.run(body, EQUALS, 3) {
            padded if padded - body <= 2 && !is(text.at(padded), ALNUM) => padded,
            _ => body,
        };
        let start = start + usize::from(text.at(start) == b'/');
        let mut end = end;
        while end > start && matches!(text.before(end), b'.' | b'/' | b'~') {
            end -= 1;
        }
        let length = end.saturating_sub(start);
        if !(10..=400).contains(&length) || body - at >= MAX_TOKEN {
            return;
        }
        let value = text.slice(start, end);
        let azure = (37..=41).contains(&length)
            && value.get(3).is_some_and(u8::is_ascii_digit)
            && value.get(4..6) == Some(b"Q~");
        if azure && Look::of(value).random(value) {
            self.hold = self.hold.min(start);
            self.note(Kind::ApiKey, "azure_client_secret", (start, end), 92);
            return;
        }
        let Some(told) = told(text, start) else {
            return;
        };
        self.state.context.read(text, start);
        let context = &self.state.context;
        let near = |topic: Topic| context.near(topic, start, KEY_REACH);
        let secret = near(Topic::Secret);
        let provider = near(Topic::Provider);
        let key = near(Topic::Key);
        if !(secret || provider || key) {
            return;
        }
        let look = Look::of(value);
        if !look.random(value) {
            return;
        }
        let public = near(Topic::Public)
            && context.last(Topic::Public) > context.last(Topic::Secret)
            && !(provider && key && context.last(Topic::Key) > context.last(Topic::Public));
        let digest = look.uuid || (look.hex && matches!(length, 40 | 64));
        let enough = match (secret, provider, key) {
            (true, _, _) => length >= 10,
            (false, true, true) => length >= 12,
            (false, true, false) => length >= 20 && told != Told::Said && !digest,
            (false, false, true) => length >= 20 && !digest,
            (false, false, false) => false,
        };
        if !enough || public {
            return;
        }
        self.hold = self.hold.min(start);
        let (rule, percent) = match (secret, provider) {
            (true, true) => ("provider_secret", 90),
            (true, false) => ("assigned_secret", 80),
            (false, true) => ("provider_key", 75),
            (false, false) => ("assigned_key", 65),
        };
        self.note(Kind::HighEntropySecret, rule, (start, end), percent);
        self.state.numbers_from = self.state.numbers_from.max(end);
    }

    /// A key whose prefix stands at `at`, where a key may begin.
    pub(super) fn family(&mut self, text: &Text<'_>, at: usize, nth: usize) {
        let Some(family) = FAMILIES.get(nth) else {
            return;
        };
        if self.is_outranked(at, family.kind) {
            return;
        }
        let mut end = at + family.prefix.len();
        for part in INDEX.forms.get(nth).into_iter().flatten() {
            match part.end(text, end) {
                Some(next) => end = next,
                None => return,
            }
        }
        if is(text.at(end), ALNUM | UNDERSCORE) {
            return;
        }
        let value = text.slice(at + family.prefix.len(), end);
        if value.len() >= 12 && distinct(value) < 5 {
            // `ghp_xxxxxxxx…` stands for a key.
            return;
        }
        self.note(family.kind, family.name, (at, end), 95);
        self.state.numbers_from = self.state.numbers_from.max(end);
        self.state.values_from = self.state.values_from.max(end);
    }

    /// A password hash as of crypt(3), of which the first digit stands at `at`.
    pub(super) fn crypt(&mut self, text: &Text<'_>, at: usize) {
        const SALT: u16 = ALNUM | DOT | SLASH;
        let (least, most, hash) = match text.at(at) {
            b'2' if matches!(text.at(at + 1), b'a' | b'b' | b'x' | b'y') => (53, 53, at + 6),
            b'1' => (22, 22, text.run(at + 2, SALT, 16) + 1),
            b'5' => (43, 43, text.run(at + 2, SALT, 16) + 1),
            b'6' => (86, 86, text.run(at + 2, SALT, 16) + 1),
            _ => return,
        };
        let end = text.run(hash, SALT, most);
        if text.before(hash) == b'$' && end - hash >= least && !is(text.at(end), ALNUM) {
            self.note(Kind::HighEntropySecret, "password_hash", (at - 1, end), 90);
            self.state.numbers_from = self.state.numbers_from.max(end);
            self.state.values_from = self.state.values_from.max(end);
        }
    }

    /// A private key whose `BEGIN` stands at `at`.
    pub(super) fn pem(&mut self, text: &Text<'_>, at: usize) {
        let Some(start) = at.checked_sub(5).filter(|start| text.has(*start, b"-----")) else {
            return;
        };
        let label = at + 6;
        let end = text.run(label, UPPER | DIGIT | SPACE, 48);
        let name = text.slice(label, end);
        let private = name.windows(11).any(|window| window == b"PRIVATE KEY");
        if !private || !text.has(end, b"-----") {
            return;
        }
        self.hold = start;
        let body = end + 5;
        let mut at = body;
        while at - body < MAX_PEM {
            match text.at(at) {
                0 => break,
                b'-' if text.has(at, b"-----") => break,
                _ => at += 1,
            }
        }
        let stop = if text.has(at, b"-----END") {
            let close = text.run(at + 5, UPPER | DIGIT | SPACE, 48);
            if text.has(close, b"-----") {
                close + 5
            } else {
                close
            }
        } else {
            body
        };
        self.note(Kind::PrivateKey, "private_key", (start, stop), 99);
        self.state.numbers_from = self.state.numbers_from.max(stop);
        self.state.values_from = self.state.values_from.max(stop);
    }
}

/// Whether a key may begin at a place: after what is part of no key, or after an escape.
pub(super) fn begins_key(text: &Text<'_>, at: usize) -> bool {
    let before = text.before(at);
    !is(before, TOKEN)
        || matches!(before, b'n' | b't' | b'r')
            && at.checked_sub(1).is_some_and(|at| text.before(at) == b'\\')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// `key = value`
    Assigned,
    /// `Bearer value`, `the key is value`
    Said,
}

/// Whether what stands before a value gives it to a name.
fn told(text: &Text<'_>, start: usize) -> Option<Told> {
    let mut at = start;
    let floor = start.saturating_sub(12);
    while at > floor
        && matches!(
            text.before(at),
            b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'(' | b'[' | b'{' | b'<' | b'*'
        )
    {
        at -= 1;
    }
    match text.before(at) {
        b'=' | b':' | b'>' | b',' | b'|' => Some(Told::Assigned),
        0x9a if text.slice(at.saturating_sub(3), at) == "：".as_bytes() => Some(Told::Assigned),
        b'\n' | b'\r' => {
            // A value on the line after `key:`.
            let at = text.run_back(at, SPACE, at.saturating_sub(8));
            matches!(text.before(at), b'=' | b':').then_some(Told::Assigned)
        }
        // `setToken("…")`
        byte if is(byte, ALNUM | UNDERSCORE) && text.slice(at, start).contains(&b'(') => {
            Some(Told::Assigned)
        }
        byte if byte.is_ascii_alphabetic() && at < start => {
            let word = text.run_back(at, LETTER, at.saturating_sub(14));
            let word = text.slice(word, at).to_ascii_lowercase();
            [
                &b"is"[..],
                b"bearer",
                b"basic",
                b"token",
                b"key",
                b"was",
                b"apikey",
                b"secret",
                b"be",
                b"to",
                b"as",
                b"value",
                b"equals",
                b"password",
                b"using",
                b"use",
                b"with",
                b"jeton",
                b"es",
                b"est",
                b"ist",
            ]
            .contains(&word.as_slice())
            .then_some(Told::Said)
        }
        _ => None,
    }
}
