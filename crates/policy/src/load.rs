//! Bundle bytes to a [`Bundle`] that can be evaluated without a doubt.
//!
//! Every index, order and bound is checked here, once, so that `eval` may treat a
//! missing entry as impossible: conditions cannot refer to themselves, nest deeper than
//! `MAX_DEPTH`, or cost more than [`MAX_COST`] steps over all policies (see `shape`).

use crate::decode;
use crate::program::{
    Action, FORMAT_VERSION, Field, MAGIC, MAX_BUNDLE_BYTES, MAX_COST, NewValue, Node, Piece,
    Program, RuleProgram, TextField, TextTest, TextValue,
};
use crate::scans::{MAX_WEIGHT, Scans};
use crate::shape;
use crate::stages::{Codes, Needs};
use crate::symbols::Symbols;
use jupiter_detect::TextPattern;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Compiled policies, immutable, named by the digest of their bytes.
#[derive(Debug)]
pub struct Bundle {
    digest: BundleDigest,
    pub(crate) program: Program,
    pub(crate) patterns: Vec<Arc<TextPattern>>,
    pub(crate) scans: Scans,
    pub(crate) code: Codes,
    needs: Needs,
    pub(crate) symbols: Symbols,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleDigest(String);

/// A policy of a loaded bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadedPolicy<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Enabled rules; disabled ones do not travel.
    pub rules: usize,
}

/// Why bytes are not a bundle we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// More than [`MAX_BUNDLE_BYTES`].
    TooLarge { bytes: usize },
    /// Not a bundle at all.
    NotABundle,
    /// A bundle of another version of the encoding.
    UnknownVersion { found: u16 },
    /// Cut short, or with bytes no bundle has.
    Malformed,
    /// Well-formed, but a part of it refers to what is not there or is out of order.
    Inconsistent(&'static str),
    /// Conditions too deep or too many for one exchange.
    TooCostly,
    /// More patterns for long texts than one exchange may cost.
    TooManyPatterns,
    /// A regular expression's table does not load.
    Pattern(String),
}

impl BundleDigest {
    /// The digest of a bundle's bytes.
    pub fn of(bytes: &[u8]) -> BundleDigest {
        use fmt::Write;
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(bytes) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        BundleDigest(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Bundle {
    /// Loads and checks the bytes made by `compile`. Never panics, whatever they are.
    pub fn load(bytes: &[u8]) -> Result<Bundle, LoadError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(LoadError::TooLarge { bytes: bytes.len() });
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(LoadError::NotABundle)?;
        let (version, body) = rest.split_first_chunk().ok_or(LoadError::Malformed)?;
        let found = u16::from_le_bytes(*version);
        if found != FORMAT_VERSION {
            return Err(LoadError::UnknownVersion { found });
        }
        let program = decode::program(body).ok_or(LoadError::Malformed)?;
        verify(&program)?;
        let patterns: Vec<_> = program
            .patterns
            .iter()
            .map(|bytes| TextPattern::load(bytes).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(|cause| LoadError::Pattern(cause.to_string()))?;
        let scans = Scans::of(&program, &patterns)?;
        Ok(Bundle {
            digest: BundleDigest::of(bytes),
            code: Codes::of(&program, &scans),
            needs: Needs::of(&program),
            scans,
            symbols: Symbols::of(&program.strings),
            program,
            patterns,
        })
    }

    pub fn digest(&self) -> &BundleDigest {
        &self.digest
    }

    /// What has to be known before its rules can be decided.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Names of the policies, in the order of their evaluation.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies().map(|policy| policy.name)
    }

    /// The policies, in the order of their evaluation.
    pub fn policies(&self) -> impl Iterator<Item = LoadedPolicy<'_>> {
        self.program.policies.iter().map(|policy| LoadedPolicy {
            name: self.string(policy.name),
            version: self.string(policy.version),
            rules: policy.rules.len(),
        })
    }

    pub(crate) fn string(&self, id: u32) -> &str {
        // `load` checked every index.
        self.program
            .strings
            .get(id as usize)
            .map_or("", String::as_str)
    }
}

fn verify(program: &Program) -> Result<(), LoadError> {
    let ordered = |strings: &[String]| strings.is_sorted_by(|a, b| a < b);
    ensure(ordered(&program.strings), "strings are out of order")?;
    for set in &program.string_sets {
        ensure(set.is_sorted_by(|a, b| a < b), "a set is out of order")?;
        for id in set {
            has(&program.strings, *id, "a set names a missing string")?;
        }
    }
    for piece in program.templates.iter().flatten() {
        if let Piece::Text(id) = piece {
            has(&program.strings, *id, "a template names a missing string")?;
        }
    }
    for node in &program.nodes {
        verify_leaf(program, node)?;
    }
    let shapes = shape::of_nodes(program)?;
    let mut cost = 0u32;
    for policy in &program.policies {
        has(&program.strings, policy.name, "a policy has no name")?;
        has(&program.strings, policy.version, "a policy has no version")?;
        for rule in &policy.rules {
            verify_rule(program, rule)?;
            let shape = shapes.get(rule.condition as usize);
            let shape = shape.ok_or(LoadError::Inconsistent("a rule has no condition"))?;
            ensure(shape.is_closed(), "a rule reads an entry of no list")?;
            cost = cost.saturating_add(shape.cost);
        }
    }
    if cost > MAX_COST {
        return Err(LoadError::TooCostly);
    }
    Ok(())
}

fn verify_leaf(program: &Program, node: &Node) -> Result<(), LoadError> {
    match node {
        Node::Text(text) => match text.test {
            TextTest::Equals(value)
            | TextTest::Has(value)
            | TextTest::Contains(value)
            | TextTest::StartsWith(value)
            | TextTest::EndsWith(value) => verify_text_value(program, value),
            TextTest::In(set) => has(&program.string_sets, set, "a set is missing"),
            TextTest::Matches(pattern) => has(&program.patterns, pattern, "a pattern is missing"),
        },
        Node::NumberIn { set, .. } => has(&program.number_sets, *set, "a set is missing"),
        // Their parts are checked by `shape`.
        Node::Not(_)
        | Node::All(_)
        | Node::Any(_)
        | Node::If(..)
        | Node::Quantified { .. }
        | Node::Compare { .. }
        | Node::Constant(_)
        | Node::Present(_)
        | Node::Number { .. }
        | Node::Bool { .. } => Ok(()),
    }
}

fn verify_text_value(program: &Program, value: TextValue) -> Result<(), LoadError> {
    match value {
        TextValue::Constant(id) => has(&program.strings, id, "a constant is missing"),
        TextValue::Template(id) => has(&program.templates, id, "a template is missing"),
        TextValue::Field(field) => ensure(field.is_single(), "a value has several texts"),
    }
}

fn verify_rule(program: &Program, rule: &RuleProgram) -> Result<(), LoadError> {
    has(&program.strings, rule.name, "a rule has no name")?;
    for action in &rule.actions {
        verify_action(program, action)?;
    }
    Ok(())
}

fn verify_action(program: &Program, action: &Action) -> Result<(), LoadError> {
    let string = |id: &u32| has(&program.strings, *id, "an action names a missing string");
    let shown = |template: &u32| shows_no_prompt(program, *template);
    match action {
        Action::Allow => Ok(()),
        Action::Deny { message, code } => string(code).and(shown(message)),
        Action::Log { message, .. } => shown(message),
        Action::Redact {
            fields,
            replacement,
            ..
        } => {
            let mut fields = fields.iter();
            ensure(fields.all(|field| !is_entry(*field)), ENTRY)?;
            replacement.iter().try_for_each(string)
        }
        Action::Modify { field, value } => {
            ensure(!is_entry(*field), ENTRY)?;
            match value {
                NewValue::Null | NewValue::Bool(_) | NewValue::Number(_) => Ok(()),
                // What a request is changed to may hold its own text.
                NewValue::Text(template) => has(&program.templates, *template, NO_MESSAGE),
                NewValue::Texts(texts) => texts.iter().try_for_each(string),
            }
        }
        Action::Route {
            provider,
            model,
            reason,
        } => provider
            .iter()
            .chain(model)
            .chain(reason)
            .try_for_each(shown),
        Action::Alert {
            webhook, message, ..
        } => webhook.iter().try_for_each(string).and(shown(message)),
        Action::RateLimit { key, .. } | Action::Budget { key, .. } => shown(key),
        Action::Tag(tags) => tags
            .iter()
            .try_for_each(|(name, value)| string(name).and(shown(value))),
    }
}

fn is_entry(field: Field) -> bool {
    matches!(field, Field::Text(TextField::Entry(_)))
}

const ENTRY: &str = "an action changes an entry of no list";

const NO_MESSAGE: &str = "an action has no message";

/// Messages reach logs, labels and other services.
fn shows_no_prompt(program: &Program, template: u32) -> Result<(), LoadError> {
    let pieces = program.templates.get(template as usize);
    let pieces = pieces.ok_or(LoadError::Inconsistent(NO_MESSAGE))?;
    let prompt = pieces.iter().any(|piece| match piece {
        Piece::Text(_) => false,
        Piece::Field(Field::Text(field)) | Piece::Cased(field, _) => field.is_prompt(),
        Piece::Field(_) => false,
    });
    ensure(!prompt, "a message shows text of the prompt")
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), LoadError> {
    holds
        .then_some(())
        .ok_or(LoadError::Inconsistent(otherwise))
}

fn has<T>(table: &[T], index: u32, otherwise: &'static str) -> Result<(), LoadError> {
    ensure(table.len() > index as usize, otherwise)
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::TooLarge { bytes } => {
                write!(
                    f,
                    "the bundle has {bytes} bytes, more than {MAX_BUNDLE_BYTES}"
                )
            }
            LoadError::NotABundle => write!(f, "the bytes are not a policy bundle"),
            LoadError::UnknownVersion { found } => write!(
                f,
                "the bundle has format {found}; this version reads format {FORMAT_VERSION}"
            ),
            LoadError::Malformed => write!(f, "the bundle is cut short or corrupt"),
            LoadError::Inconsistent(what) => write!(f, "the bundle is inconsistent: {what}"),
            LoadError::TooCostly => write!(f, "the bundle's conditions are too deep or too many"),
            LoadError::TooManyPatterns => write!(
                f,
                "the bundle's patterns for texts weigh more than {MAX_WEIGHT}"
            ),
            LoadError::Pattern(cause) => write!(f, "a pattern of the bundle is unusable: {cause}"),
        }
    }
}

impl std::error::Error for LoadError {}
