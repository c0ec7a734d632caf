//! What detectors tell: kinds, their names, and findings.

use core::fmt;

/// What a finding is. The names are stable: policies, records and metrics use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Email,
    Phone,
    CreditCard,
    Iban,
    Ssn,
    IpAddress,
    Passport,
    /// A key or token whose form names its provider; [`Finding::rule`] says which.
    ApiKey,
    PrivateKey,
    Jwt,
    /// A password in a URL, a connection string or an assignment.
    Password,
    /// A random-looking token next to a key word.
    HighEntropySecret,
    PromptInjection,
    Jailbreak,
}

/// What a kind is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Pii,
    Secret,
    Injection,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Email,
        Kind::Phone,
        Kind::CreditCard,
        Kind::Iban,
        Kind::Ssn,
        Kind::IpAddress,
        Kind::Passport,
        Kind::ApiKey,
        Kind::PrivateKey,
        Kind::Jwt,
        Kind::Password,
        Kind::HighEntropySecret,
        Kind::PromptInjection,
        Kind::Jailbreak,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::CreditCard => "credit_card",
            Kind::Iban => "iban",
            Kind::Ssn => "ssn",
            Kind::IpAddress => "ip_address",
            Kind::Passport => "passport",
            Kind::ApiKey => "api_key",
            Kind::PrivateKey => "private_key",
            Kind::Jwt => "jwt",
            Kind::Password => "password",
            Kind::HighEntropySecret => "high_entropy_secret",
            Kind::PromptInjection => "prompt_injection",
            Kind::Jailbreak => "jailbreak",
        }
    }

    /// The kind of a name that [`Kind::as_str`] gives.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub const fn class(self) -> Class {
        match self {
            Kind::Email
            | Kind::Phone
            | Kind::CreditCard
            | Kind::Iban
            | Kind::Ssn
            | Kind::IpAddress
            | Kind::Passport => Class::Pii,
            Kind::ApiKey
            | Kind::PrivateKey
            | Kind::Jwt
            | Kind::Password
            | Kind::HighEntropySecret => Class::Secret,
            Kind::PromptInjection | Kind::Jailbreak => Class::Injection,
        }
    }

    /// Of two findings that overlap, the one of the higher rank stays: a form with a
    /// checksum or a provider's mark says more than a shape or a neighbouring word.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Kind::PrivateKey => 9,
            Kind::ApiKey => 8,
            Kind::Jwt => 7,
            Kind::CreditCard | Kind::Iban => 6,
            Kind::Password => 5,
            Kind::Email | Kind::Ssn | Kind::IpAddress => 4,
            Kind::Passport => 3,
            Kind::Phone => 2,
            Kind::HighEntropySecret | Kind::PromptInjection | Kind::Jailbreak => 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Pii, Class::Secret, Class::Injection];

    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Pii => "pii",
            Class::Secret => "secret",
            Class::Injection => "injection",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which kinds are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u16);

impl KindSet {
    pub const NONE: KindSet = KindSet(0);
    pub const ALL: KindSet = KindSet((1 << Kind::ALL.len()) - 1);

    pub fn of_class(class: Class) -> KindSet {
        Kind::ALL
            .into_iter()
            .filter(|kind| kind.class() == class)
            .collect()
    }

    #[must_use]
    pub const fn with(self, kind: Kind) -> KindSet {
        KindSet(self.0 | 1 << kind as u16)
    }

    pub const fn has(self, kind: Kind) -> bool {
        self.0 >> kind as u16 & 1 == 1
    }

    #[must_use]
    pub const fn union(self, other: KindSet) -> KindSet {
        KindSet(self.0 | other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> KindSet {
        kinds.into_iter().fold(KindSet::NONE, KindSet::with)
    }
}

/// How sure a detector is, in percent: an order among forms, not a measured probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(u8);

impl Confidence {
    pub(super) const fn new(percent: u8) -> Confidence {
        Confidence(percent)
    }

    pub const fn percent(self) -> u8 {
        self.0
    }
}

/// What a detector noticed. The text itself is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// Which form of the kind, `github_token` for one; a fixed set of names.
    pub rule: &'static str,
    /// Offset of its first byte in the whole text.
    pub start: usize,
    /// Offset after its last byte in the whole text.
    pub end: usize,
    pub confidence: Confidence,
}

impl Finding {
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Never: a finding has bytes.
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}
