//! Which words begin something: the literals of all lanes, found by their first bytes.
//!
//! The sources are static tables ([`super::families`], [`super::phrases`], the lists here);
//! the index over them is made once, at the first scan.

use super::families::{FAMILIES, Part, parts};
use super::known::Known;
use super::phrase_list::MARKS;
use super::phrases::{Phrases, fold};
use super::text::Text;
use super::wide::WidePhrases;
use std::sync::LazyLock;

pub(super) static INDEX: LazyLock<Index> = LazyLock::new(Index::new);

/// Something is known by its first bytes alone.
pub(super) const HARD: u8 = 1;
/// Phrases begin with such a word.
pub(super) const PHRASE: u8 = 1 << 1;
/// It may be a word that tells a phrase.
pub(super) const RARE: u8 = 1 << 2;

/// It is known by a form: a key of a provider, or a scheme.
pub(super) const FORM: u8 = 1 << 3;

/// Keys and tokens of a known form are so long or longer.
pub(super) const LEAST: usize = 12;

/// Bits of the tables below.
const FOUR: u32 = 14;
const THREE: u32 = 12;
const SIEVE: u32 = 15;

/// Words that a URL with a password may begin with; of `postgresql+psycopg2` the last part.
const SCHEMES: &[&str] = &[
    "http", "ftp:", "ftps", "sftp", "ssh:", "post", "mysq", "mari", "mong", "srv:", "redi", "amqp",
    "mssq", "sqls", "orac", "ldap", "smtp", "imap", "pop3", "rtsp", "rtmp", "svn:", "git:", "mqtt",
    "nats", "kafk", "clic", "cock", "neo4", "bolt", "couc", "elas", "psyc", "pymy", "asyn", "aiom",
    "pg80", "snow", "vert", "reds", "jdbc", "tcp:", "wss:", "sock", "proxy", "dock", "rabb",
    "mems", "trin", "pres", "hive", "vnc:", "rdp:", "smb:", "s3:/",
];

/// Words before an assignment of a password.
const PASSWORD_KEYS: &[&str] = &[
    "password",
    "passwd",
    "passwrd",
    "passphrase",
    "passcode",
    "pwd",
    "psw",
    "passwort",
    "kennwort",
    "contraseña",
    "contrasena",
    "senha",
    "wachtwoord",
    "hasło",
    "haslo",
    "lösenord",
    "пароль",
    "пароля",
    "密码",
    "密碼",
    "パスワード",
    "비밀번호",
    "parola",
    "şifre",
    "heslo",
    "jelszó",
    "mot de passe",
    "pass",
    "userpass",
    "dbpass",
    "mypass",
    "rootpass",
    "pgpassword",
    "dbpassword",
    "userpassword",
    "rootpassword",
    "adminpassword",
    "mypassword",
    "keypassword",
    "storepassword",
    "ftppassword",
    "dbpasswd",
    "dbpwd",
    "userpwd",
    "loginpassword",
];

/// Words that a password follows after a space.
const PASSWORD_COMMANDS: &[&str] = &["convertto-securestring", "sshpass -p", "identified by"];

/// What to do where a literal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Index into [`FAMILIES`].
    Family(usize),
    Scheme,
    PasswordKey,
    /// A password follows after a space.
    PasswordCommand,
    /// A command line that may have `-u name:password` in it.
    Curl,
    Pem,
    /// Index into [`MARKS`].
    Mark(usize),
    /// Phrases may begin with a word that begins like this.
    Phrase,
    /// Index into the starts of [`WidePhrases`].
    Wide(usize),
}

#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) literal: Box<[u8]>,
    /// Its first eight bytes, or fewer, with a bit set where letters differ by case; and
    /// which bytes these are.
    begin: u64,
    there: u64,
    /// Whether ASCII letters match in either case.
    folded: bool,
    /// Whether these first bytes are all there is to compare.
    short: bool,
    /// The first bytes as they are, where these are all there is to compare.
    exact: Option<u64>,
    pub(super) act: Act,
}

impl Anchor {
    fn new(literal: &[u8], folded: bool, act: Act) -> Anchor {
        let mut begin = [0; 8];
        let mut there = [0; 8];
        for ((to, is), from) in begin.iter_mut().zip(&mut there).zip(literal) {
            *to = *from;
            *is = 0xff;
        }
        let there = u64::from_le_bytes(there);
        let exact = (!folded && literal.len() <= 8).then_some(u64::from_le_bytes(begin));
        Anchor {
            literal: literal.into(),
            begin: (u64::from_le_bytes(begin) | CASES) & there,
            there,
            folded,
            short: folded && literal.len() <= 8 && literal.iter().all(u8::is_ascii_alphabetic),
            exact,
            act,
        }
    }

    /// Its first bytes as [`CASES`] has them, and which these are.
    pub(super) fn first(&self) -> (u64, u64) {
        (self.begin, self.there)
    }

    /// Whether it stands at a place, of which the first bytes are given.
    #[inline]
    pub(super) fn stands(&self, text: &Text<'_>, at: usize, first: Option<u64>) -> bool {
        match first {
            Some(first) if (first | CASES) & self.there != self.begin => false,
            Some(_) if self.short => true,
            Some(first) if self.exact.is_some() => self.exact == Some(first & self.there),
            _ => self.stands_whole(text, at),
        }
    }

    fn stands_whole(&self, text: &Text<'_>, at: usize) -> bool {
        match self.folded {
            true => text.has_folded(at, &self.literal),
            false => text.has(at, &self.literal),
        }
    }
}

/// The bits that tell small letters from capitals.
pub(super) const CASES: u64 = 0x2020_2020_2020_2020;

pub(super) struct Index {
    /// Words in ASCII that begin something by themselves: neither keys of providers nor
    /// schemes.
    pub(super) known: Known,
    /// One bit by the hash of the first three bytes of what is [`HARD`] or [`RARE`].
    sieve: Box<[u32; 1 << (SIEVE - 5)]>,
    /// Flags by the hash of a key of four bytes, and of one of three.
    four: Box<[u8; 1 << FOUR]>,
    three: Box<[u8; 1 << THREE]>,
    /// Where the anchors of a key are; open addressing.
    slots: Box<[(u32, u16, u16)]>,
    /// Sorted by key; those of three bytes have a zero above.
    anchors: Vec<Anchor>,
    /// The parts of each of [`FAMILIES`].
    pub(super) forms: Vec<Vec<Part>>,
    pub(super) phrases: Phrases,
    pub(super) wide: WidePhrases,
}

/// More than twice the number of keys.
const SLOTS: usize = 4096;

/// What the index knows of a word that phrases begin with. Shorter ones are not noticed.
fn begin(word: &str) -> &[u8] {
    let bytes = word.as_bytes();
    bytes
        .get(..4)
        .or_else(|| bytes.get(..3))
        .unwrap_or_default()
}

/// First four bytes of a word, without the difference of small and capital letters.
#[inline]
pub(super) fn key(bytes: &[u8]) -> u32 {
    let bytes = bytes.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_le_bytes(bytes) | 0x2020_2020
}

/// The key of the first three bytes.
#[inline]
fn short(key: u32) -> u32 {
    key & 0x00ff_ffff
}

#[inline]
fn hash(key: u32, bits: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

impl Index {
    fn new() -> Index {
        let mut anchors = Vec::new();
        let mut add = |literal: &str, folded: bool, act: Act| {
            let literal = match folded {
                true => literal.to_ascii_lowercase(),
                false => literal.to_owned(),
            };
            anchors.push(Anchor::new(literal.as_bytes(), folded, act));
        };
        for (nth, family) in FAMILIES.iter().enumerate() {
            add(family.prefix, family.any_case, Act::Family(nth));
        }
        for scheme in SCHEMES {
            add(scheme, true, Act::Scheme);
        }
        for word in PASSWORD_KEYS {
            for form in fold(word) {
                add(&form, true, Act::PasswordKey);
            }
        }
        for word in PASSWORD_COMMANDS {
            add(word, true, Act::PasswordCommand);
        }
        add("curl ", false, Act::Curl);
        add("BEGIN ", false, Act::Pem);
        for (nth, (_, mark)) in MARKS.iter().enumerate() {
            add(mark, false, Act::Mark(nth));
        }
        let phrases = Phrases::new();
        let mut begins: Vec<&[u8]> = phrases.starts().map(begin).collect();
        begins.sort_unstable();
        begins.dedup();
        begins.retain(|begin| !begin.is_empty());
        for begin in begins {
            anchors.push(Anchor::new(&begin.to_ascii_lowercase(), true, Act::Phrase));
        }
        let wide = WidePhrases::new();
        for (nth, start) in wide.starts().enumerate() {
            anchors.push(Anchor::new(start.as_bytes(), false, Act::Wide(nth)));
        }
        Index::of(anchors, phrases, wide)
    }

    fn of(anchors: Vec<Anchor>, phrases: Phrases, wide: WidePhrases) -> Index {
        let mut tables = Index {
            known: Known::new(&anchors, &phrases),
            sieve: Box::new([0; 1 << (SIEVE - 5)]),
            four: Box::new([0; 1 << FOUR]),
            three: Box::new([0; 1 << THREE]),
            slots: Box::default(),
            anchors: Vec::new(),
            forms: Vec::new(),
            phrases,
            wide,
        };
        let telling: Vec<String> = tables.phrases.telling().map(str::to_owned).collect();
        for word in telling {
            tables.mark(begin(&word), RARE);
        }
        let mut keyed: Vec<(u32, Anchor)> = Vec::with_capacity(anchors.len());
        for anchor in anchors {
            let flag = match anchor.act {
                Act::Phrase => PHRASE,
                Act::Family(_) | Act::Scheme => HARD | FORM,
                _ => HARD,
            };
            keyed.push((tables.mark(&anchor.literal, flag), anchor));
        }
        keyed.sort_by_key(|(key, _)| *key);
        let mut slots = vec![(0, 0, 0); SLOTS].into_boxed_slice();
        for (nth, (key, _)) in keyed.iter().enumerate() {
            if let Some(slot) = find(&slots, *key).and_then(|at| slots.get_mut(at)) {
                let from = if slot.2 == 0 { nth as u16 } else { slot.1 };
                *slot = (*key, from, nth as u16 + 1);
            }
        }
        Index {
            slots,
            anchors: keyed.into_iter().map(|(_, anchor)| anchor).collect(),
            forms: FAMILIES
                .iter()
                .map(|family| parts(family.body).unwrap_or_default())
                .collect(),
            ..tables
        }
    }

    /// Notes that something begins with these bytes; its key.
    fn mark(&mut self, literal: &[u8], flag: u8) -> u32 {
        let mut bytes = literal.to_vec();
        bytes.resize(bytes.len().max(4), 0);
        let (key, slot) = match literal.len() {
            3 => {
                let key = short(key(&bytes));
                (key, self.three.get_mut(hash(key, THREE)))
            }
            _ => {
                let key = key(&bytes);
                (key, self.four.get_mut(hash(key, FOUR)))
            }
        };
        if let Some(slot) = slot {
            *slot |= flag;
        }
        let bit = hash(short(key), SIEVE);
        if flag != PHRASE
            && let Some(word) = self.sieve.get_mut(bit >> 5)
        {
            *word |= 1 << (bit & 31);
        }
        key
    }

    /// Whether something [`HARD`] or [`RARE`] may begin with these bytes; never a wrong no.
    #[inline]
    pub(super) fn sifts(&self, key: u32) -> bool {
        let bit = hash(short(key), SIEVE);
        self.sieve
            .get(bit >> 5)
            .is_some_and(|word| word >> (bit & 31) & 1 == 1)
    }

    /// What may begin with these bytes; never too little.
    #[inline]
    pub(super) fn flags(&self, key: u32) -> u8 {
        let four = self.four.get(hash(key, FOUR)).copied().unwrap_or(0);
        let three = self.three.get(hash(short(key), THREE)).copied();
        four | three.unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    /// All that begins with these bytes.
    pub(super) fn anchors(&self, key: u32) -> impl Iterator<Item = &Anchor> {
        self.with(key).iter().chain(self.with(short(key)))
    }

    fn with(&self, key: u32) -> &[Anchor] {
        let slot = find(&self.slots, key).and_then(|at| self.slots.get(at));
        slot.and_then(|(_, from, to)| self.anchors.get(usize::from(*from)..usize::from(*to)))
            .unwrap_or_default()
    }
}

/// The slot of a key, or the free one where it belongs.
fn find(slots: &[(u32, u16, u16)], key: u32) -> Option<usize> {
    let start = (key.wrapping_mul(0x85eb_ca6b) >> 20) as usize;
    (0..SLOTS).map(|step| (start + step) % SLOTS).find(|at| {
        slots
            .get(*at)
            .is_none_or(|slot| slot.2 == 0 || slot.0 == key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::blocks::FIRST_TOKEN;

    fn is_token(byte: &u8) -> bool {
        (FIRST_TOKEN..0x80).contains(byte)
    }

    #[test]
    fn keys_of_every_family_begin_with_a_run_of_tokens() {
        let letter = |family: &&super::super::families::Family| {
            // Those that begin with a digit are found as numbers are.
            family
                .prefix
                .starts_with(|it: char| it.is_ascii_alphabetic())
        };
        for family in FAMILIES.iter().filter(letter) {
            let mut bytes = family.prefix.as_bytes().to_vec();
            for part in parts(family.body).into_iter().flatten() {
                match part {
                    Part::Literal(literal) => bytes.extend(literal.as_bytes()),
                    // Of a run any byte of its class may come first.
                    Part::Run(class, least, _) => {
                        let any = (0..=u8::MAX).filter(|byte| super::super::text::is(*byte, class));
                        let worst = any.min_by_key(is_token).unwrap_or(0);
                        bytes.extend(core::iter::repeat_n(worst, least));
                    }
                    Part::Uuid => bytes.extend([b'0'; 36]),
                }
            }
            let begin = bytes.get(..LEAST).unwrap_or_default();
            assert!(
                begin.len() == LEAST && begin.iter().all(is_token),
                "{}: {}",
                family.prefix,
                family.body
            );
        }
    }
}
