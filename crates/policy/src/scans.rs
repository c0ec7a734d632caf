//! What stands in the long texts of an exchange, found in one pass over each.
//!
//! Every keyword and pattern that conditions look for in messages or in the answer is
//! searched at once ([`jupiter_matchers::TextScanner`]), when the first such condition is
//! asked; the others only look up what was found. Texts no condition needs are not read.

use crate::eval::{Evaluation, ListEntry};
use crate::facts::Facts;
use crate::hearing::Heard;
use crate::load::LoadError;
use crate::program::{
    Case, Entry, Node, NodeId, StringId, TextField, TextNode, TextTest, TextValue,
};
use crate::records::Program;
use jupiter_matchers::{Found, Keyword, TextPattern, TextScanner};
use std::cell::OnceCell;
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

/// What a condition searches.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// A constant; whether in any case.
    Word(StringId, bool),
    Pattern(u32),
}

impl Scans {
    pub(crate) fn of(program: &Program) -> Result<Scans, LoadError> {
        let mut request = Search::new(program);
        let mut response = Search::new(program);
        // A word's bit is its place; patterns come behind all words, so theirs is known
        // when there are no more.
        let mut answers = vec![None; program.records.len()];
        for (id, slot) in (0..).zip(&mut answers) {
            if let Some((wanted, ascii, of_response)) = searched(program, id) {
                let search = if of_response {
                    &mut response
                } else {
                    &mut request
                };
                let bit = search.add(wanted);
                *slot = Some(Answer { bit, ascii });
            }
        }
        for (id, slot) in (0..).zip(&mut answers) {
            if let Some(answer) = slot
                && let Some((Wanted::Pattern(_), _, of_response)) = searched(program, id)
            {
                let search = if of_response { &response } else { &request };
                answer.bit += search.words.len() as u32;
            }
        }
        Ok(Scans {
            request: request.build()?,
            response: response.build()?,
            answers,
        })
    }
}

impl Scans {
    /// Whether scanning answers this condition.
    #[cfg(feature = "author")]
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

/// Keywords and patterns of one scanner while they are collected, each once.
struct Search<'p> {
    program: &'p Program,
    words: Vec<Keyword<'p>>,
    patterns: Vec<Arc<TextPattern>>,
    /// By constant and whether in any case, and then by pattern: its place plus one.
    known: Vec<u32>,
}

impl<'p> Search<'p> {
    fn new(program: &'p Program) -> Search<'p> {
        Search {
            program,
            words: Vec::new(),
            patterns: Vec::new(),
            known: vec![0; program.strings.len() * 2 + program.patterns.len()],
        }
    }

    /// Its place among the words, or among the patterns.
    fn add(&mut self, wanted: Wanted) -> u32 {
        let program = self.program;
        let (slot, fresh) = match wanted {
            Wanted::Word(id, any_case) => {
                let slot = id as usize * 2 + usize::from(any_case);
                (slot, self.words.len())
            }
            Wanted::Pattern(id) => {
                let slot = program.strings.len() * 2 + id as usize;
                (slot, self.patterns.len())
            }
        };
        let Some(known) = self.known.get_mut(slot) else {
            return 0;
        };
        if let Some(place) = known.checked_sub(1) {
            return place;
        }
        // A bundle has fewer bytes than this could count.
        let fresh = fresh as u32;
        *known = fresh + 1;
        match wanted {
            Wanted::Word(id, any_case) => {
                let text = program.strings.get(id as usize).map_or("", String::as_str);
                self.words.push(Keyword { text, any_case });
            }
            Wanted::Pattern(id) => self
                .patterns
                .extend(program.patterns.get(id as usize).cloned()),
        }
        fresh
    }

    #[inline(never)]
    fn build(self) -> Result<TextScanner, LoadError> {
        let weights = self.patterns.iter().map(|pattern| pattern.weight());
        match weights.fold(0, u32::saturating_add) > MAX_WEIGHT {
            true => Err(LoadError::TooManyPatterns),
            false => Ok(TextScanner::new(&self.words, self.patterns)),
        }
    }
}

/// What a condition searches, whether that holds for ASCII texts only, and whether the
/// text is of the answer.
#[inline(never)]
fn searched(program: &Program, id: NodeId) -> Option<(Wanted, bool, bool)> {
    let Some(Node::Text(node)) = program.node(id) else {
        return None;
    };
    let of_response = is_of_response(node.field)?;
    let (wanted, ascii) = wanted(program, &node)?;
    Some((wanted, ascii, of_response))
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
fn wanted(program: &Program, node: &TextNode) -> Option<(Wanted, bool)> {
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
                Case::AsIs => Some((Wanted::Word(id, false), false)),
                Case::LowerAscii => lower.then_some((Wanted::Word(id, true), false)),
                Case::Lower => (lower && word.is_ascii()).then_some((Wanted::Word(id, true), true)),
                Case::Upper => (upper && word.is_ascii()).then_some((Wanted::Word(id, true), true)),
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
        self.searched.messages.get_or_init(|| {
            let messages = self.facts.request.messages.iter();
            messages
                .map(|message| self.scan(false, &mut [message.content.as_str()].into_iter()))
                .collect()
        })
    }

    fn contents(&self) -> &Found {
        self.searched.contents.get_or_init(|| {
            // Messages that were looked at one by one are not read again.
            if let Some(messages) = self.searched.messages.get() {
                let mut all = Found::default();
                messages.iter().for_each(|found| all.merge(found));
                return all;
            }
            let messages = self.facts.request.messages.iter();
            self.scan(false, &mut messages.map(|message| message.content.as_str()))
        })
    }

    fn others(&self) -> &Found {
        let mut texts = self.facts.request.other_texts.iter().map(String::as_str);
        let scan = || self.scan(false, &mut texts);
        self.searched.others.get_or_init(scan)
    }

    fn content(&self) -> &Found {
        let mut texts = self.facts.response.content.iter().map(String::as_str);
        let scan = || self.scan(true, &mut texts);
        self.searched.content.get_or_init(scan)
    }

    fn answer(&self) -> &Found {
        let mut texts = self.facts.response.other_texts.iter().map(String::as_str);
        let scan = || self.scan(true, &mut texts);
        self.searched.answer.get_or_init(scan)
    }

    #[inline(never)]
    fn scan(&self, of_response: bool, texts: &mut dyn Iterator<Item = &str>) -> Found {
        let scans = &self.bundle.scans;
        let scanner = if of_response {
            &scans.response
        } else {
            &scans.request
        };
        scanner.scan_all(texts)
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
