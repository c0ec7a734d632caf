//! What stands in the long texts of an exchange, found in one pass over each.
//!
//! Every keyword and pattern that conditions look for in messages or in the answer is
//! searched at once ([`jupiter_detect::TextScanner`]), when the first such condition is
//! asked; the others only look up what was found. Texts no condition needs are not read.

use crate::eval::{Evaluation, ListEntry};
use crate::facts::Facts;
use crate::hearing::Heard;
use crate::load::LoadError;
use crate::program::{
    Case, Entry, Node, NodeId, Program, TextField, TextNode, TextTest, TextValue,
};
use jupiter_detect::{Found, Keyword, TextPattern, TextScanner};
use std::cell::OnceCell;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Most a byte of a hostile text may cost, see [`TextPattern::weight`].
pub(crate) const MAX_WEIGHT: u32 = 512;

/// The searches of a bundle.
#[derive(Debug)]
pub(crate) struct Scans {
    request: TextScanner,
    pub response: TextScanner,
    /// By node.
    answers: Vec<Option<Answer>>,
}

/// Where the answer to a condition is found.
#[derive(Debug, Clone, Copy)]
struct Answer {
    bit: u32,
    /// Only good for texts that are all ASCII, where changing case is a matter of bytes.
    ascii: bool,
}

/// What was found in one exchange so far.
#[derive(Default)]
pub(crate) struct Searched {
    messages: OnceCell<Vec<Found>>,
    contents: OnceCell<Found>,
    others: OnceCell<Found>,
    content: OnceCell<Found>,
    answer: OnceCell<Found>,
    ascii: OnceCell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted<'p> {
    Word(&'p str, bool),
    Pattern(u32),
}

impl Scans {
    pub(crate) fn of(program: &Program, patterns: &[Arc<TextPattern>]) -> Result<Scans, LoadError> {
        let mut request = Search::default();
        let mut response = Search::default();
        let answers: Vec<Option<(Wanted<'_>, bool, bool)>> = program
            .nodes
            .iter()
            .map(|node| {
                let Node::Text(node) = node else {
                    return None;
                };
                let of_response = is_of_response(node.field)?;
                let (wanted, ascii) = wanted(program, node)?;
                match of_response {
                    true => response.add(wanted),
                    false => request.add(wanted),
                }
                Some((wanted, ascii, of_response))
            })
            .collect();
        let request = request.build(patterns)?;
        let response = response.build(patterns)?;
        let answers = answers.into_iter().map(|answer| {
            let (wanted, ascii, of_response) = answer?;
            let bits = if of_response { &response.1 } else { &request.1 };
            let bit = u32::try_from(bits.binary_search(&wanted).ok()?).ok()?;
            Some(Answer { bit, ascii })
        });
        Ok(Scans {
            answers: answers.collect(),
            request: request.0,
            response: response.0,
        })
    }
}

impl Scans {
    /// Whether scanning answers this condition.
    pub(crate) fn answers(&self, id: NodeId) -> bool {
        matches!(self.answers.get(id as usize), Some(Some(_)))
    }
}

impl Searched {
    /// The answer's texts were searched as they came.
    pub(crate) fn is_heard(&self, heard: &Heard) {
        // A fresh evaluation has searched nothing yet.
        let _ = self.content.set(heard.content.clone());
        let _ = self.answer.set(heard.others.clone());
    }
}

/// Keywords and patterns of one scanner while they are collected.
#[derive(Default)]
struct Search<'p> {
    wanted: Vec<Wanted<'p>>,
}

impl<'p> Search<'p> {
    fn add(&mut self, wanted: Wanted<'p>) {
        self.wanted.push(wanted);
    }

    /// The scanner, and what it searches in the order of its bits.
    fn build(
        self,
        patterns: &[Arc<TextPattern>],
    ) -> Result<(TextScanner, Vec<Wanted<'p>>), LoadError> {
        // Words come before patterns, as the scanner numbers them.
        let mut wanted = BinaryHeap::from(self.wanted).into_sorted_vec();
        wanted.dedup();
        let mut words = Vec::new();
        let mut searched = Vec::new();
        let mut weight = 0u32;
        for wanted in &wanted {
            match wanted {
                Wanted::Word(text, any_case) => words.push(Keyword {
                    text,
                    any_case: *any_case,
                }),
                Wanted::Pattern(id) => {
                    let pattern = patterns.get(*id as usize);
                    let pattern = pattern.ok_or(LoadError::Inconsistent("a pattern is missing"))?;
                    weight = weight.saturating_add(pattern.weight());
                    searched.push(Arc::clone(pattern));
                }
            }
        }
        match weight > MAX_WEIGHT {
            true => Err(LoadError::TooManyPatterns),
            false => Ok((TextScanner::new(&words, searched), wanted)),
        }
    }
}

/// Long texts are scanned, those of the request and those of the response apart.
fn is_of_response(field: TextField) -> Option<bool> {
    match field {
        TextField::EveryText
        | TextField::EveryContent
        | TextField::MessageContent(_)
        | TextField::RoleContent(_)
        | TextField::Entry(Entry::Content) => Some(false),
        TextField::ResponseContent | TextField::ResponseText => Some(true),
        _ => None,
    }
}

/// What a condition searches, and whether that holds for ASCII texts only.
fn wanted<'p>(program: &'p Program, node: &TextNode) -> Option<(Wanted<'p>, bool)> {
    if node.negated {
        return None;
    }
    match (node.test, node.case) {
        (TextTest::Matches(pattern), Case::AsIs) => Some((Wanted::Pattern(pattern), false)),
        (TextTest::Contains(TextValue::Constant(id)), case) => {
            let word = program.strings.get(id as usize)?.as_str();
            let lower = !word.bytes().any(|byte| byte.is_ascii_uppercase());
            let upper = !word.bytes().any(|byte| byte.is_ascii_lowercase());
            match case {
                Case::AsIs => Some((Wanted::Word(word, false), false)),
                Case::LowerAscii => lower.then_some((Wanted::Word(word, true), false)),
                Case::Lower => {
                    (lower && word.is_ascii()).then_some((Wanted::Word(word, true), true))
                }
                Case::Upper => {
                    (upper && word.is_ascii()).then_some((Wanted::Word(word, true), true))
                }
            }
        }
        _ => None,
    }
}

impl Evaluation<'_> {
    /// The answer to a text condition, if it is one that scanning answers.
    pub fn scanned(&self, id: NodeId, field: TextField) -> Option<bool> {
        let answers = &self.bundle.scans.answers;
        let answer = answers.get(id as usize).copied().flatten()?;
        if answer.ascii && !self.is_ascii() {
            return None;
        }
        let bit = answer.bit as usize;
        Some(match field {
            TextField::EveryContent => self.contents().has(bit),
            TextField::EveryText => self.contents().has(bit) || self.others().has(bit),
            TextField::MessageContent(index) => self.has(self.position(index), bit),
            TextField::Entry(_) => match self.entry.get() {
                Some(ListEntry::Message(nth, _)) => self.has(Some(nth), bit),
                Some(ListEntry::Name(_)) | None => false,
            },
            TextField::RoleContent(role) => {
                let messages = self.facts.request.messages.iter();
                let mut found = messages.zip(self.messages());
                found.any(|(message, found)| message.role == role.as_str() && found.has(bit))
            }
            TextField::ResponseContent => self.content().has(bit),
            TextField::ResponseText => self.content().has(bit) || self.answer().has(bit),
            _ => return None,
        })
    }

    fn has(&self, message: Option<usize>, bit: usize) -> bool {
        let found = message.and_then(|message| self.messages().get(message));
        found.is_some_and(|found| found.has(bit))
    }

    fn messages(&self) -> &[Found] {
        let scanner = &self.bundle.scans.request;
        self.searched.messages.get_or_init(|| {
            let messages = self.facts.request.messages.iter();
            messages
                .map(|message| scanner.scan(&message.content))
                .collect()
        })
    }

    fn contents(&self) -> &Found {
        let scanner = &self.bundle.scans.request;
        self.searched.contents.get_or_init(|| {
            // Messages that were looked at one by one are not read again.
            if let Some(messages) = self.searched.messages.get() {
                let mut all = Found::default();
                messages.iter().for_each(|found| all.merge(found));
                return all;
            }
            let messages = self.facts.request.messages.iter();
            scanner.scan_all(messages.map(|message| message.content.as_str()))
        })
    }

    fn others(&self) -> &Found {
        let scanner = &self.bundle.scans.request;
        let texts = self.facts.request.other_texts.iter();
        let scan = || scanner.scan_all(texts.map(String::as_str));
        self.searched.others.get_or_init(scan)
    }

    fn content(&self) -> &Found {
        let scanner = &self.bundle.scans.response;
        let text = self.facts.response.content.as_deref();
        let scan = || scanner.scan_all(text.into_iter());
        self.searched.content.get_or_init(scan)
    }

    fn answer(&self) -> &Found {
        let scanner = &self.bundle.scans.response;
        let texts = self.facts.response.other_texts.iter();
        let scan = || scanner.scan_all(texts.map(String::as_str));
        self.searched.answer.get_or_init(scan)
    }

    fn is_ascii(&self) -> bool {
        *self.searched.ascii.get_or_init(|| all_ascii(self.facts))
    }
}

fn all_ascii(facts: &Facts) -> bool {
    let response = &facts.response;
    let answers = response.content.iter().chain(&response.other_texts);
    facts.request.texts().all(str::is_ascii) && answers.into_iter().all(|text| text.is_ascii())
}
