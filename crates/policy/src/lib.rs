//! Policies: the vocabulary, and the total function [`decide`].

pub mod facts;

use facts::Facts;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleDigest(String);

impl BundleDigest {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug)]
pub struct Bundle {
    digest: BundleDigest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    Truncated,
}

impl Bundle {
    pub fn load(_bytes: &[u8]) -> Result<Bundle, LoadError> {
        Ok(Bundle {
            digest: BundleDigest(String::new()),
        })
    }

    pub fn digest(&self) -> &BundleDigest {
        &self.digest
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub policy: String,
    pub rule: String,
    pub message: String,
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRule {
    pub policy: String,
    pub rule: String,
    pub effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    pub policy: String,
    pub rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub denial: Option<Denial>,
    pub matched: Vec<MatchedRule>,
    pub logs: Vec<LogLine>,
}

pub fn decide(_bundle: &Bundle, _facts: &Facts) -> Decision {
    Decision {
        verdict: Verdict::Allow,
        denial: None,
        matched: vec![],
        logs: vec![],
    }
}
