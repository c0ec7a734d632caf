//! The bytes of a program, written: what `crate::records` reads.

use crate::names;
use crate::program::{
    BoolField, Entry, FORMAT_VERSION, Field, List, MAGIC, NumberField, StringId, TextField,
};
use crate::records::Op;
use crate::views::Word;
use std::collections::HashMap;

/// A program while it grows. Equal records are one, evaluated once.
#[derive(Debug, Clone, Default)]
pub(super) struct Encoder {
    strings: Vec<String>,
    patterns: Vec<Vec<u8>>,
    constants: Vec<f64>,
    names: Vec<String>,
    /// What each record is and its operands, lists behind their lengths.
    records: Vec<Vec<u32>>,
    known: HashMap<Vec<u32>, u32>,
    pub policies: Vec<u32>,
    pub needs: u32,
    pub exact_from: u32,
}

impl Encoder {
    /// The texts are in order and without duplicates.
    pub(super) fn new(strings: Vec<String>) -> Encoder {
        Encoder {
            strings,
            ..Encoder::default()
        }
    }

    pub(super) fn record(&mut self, op: Op, operands: &[u32]) -> u32 {
        let mut words = vec![op as u32];
        words.extend(operands);
        if let Some(known) = self.known.get(&words) {
            return *known;
        }
        let id = number(self.records.len());
        self.records.push(words.clone());
        self.known.insert(words, id);
        id
    }

    /// A record whose last operand is a list.
    pub(super) fn listed(&mut self, op: Op, operands: &[u32], list: &[u32]) -> u32 {
        let mut words = operands.to_vec();
        words.push(number(list.len()));
        words.extend(list);
        self.record(op, &words)
    }

    /// Changes the operand of a record; its parts stay what they are.
    pub(super) fn set_flags(&mut self, record: u32, operand: usize, flags: u32) {
        let record = self.records.get_mut(record as usize);
        if let Some(word) = record.and_then(|record| record.get_mut(operand + 1)) {
            *word |= flags;
        }
    }

    pub(super) fn string(&self, text: &str) -> StringId {
        let found = self
            .strings
            .binary_search_by(|known| known.as_str().cmp(text));
        // Every text was collected before; the loader would refuse this index.
        found.map_or(StringId::MAX, number)
    }

    pub(super) fn constant(&mut self, constant: f64) -> u32 {
        let same = |known: &f64| known.to_bits() == constant.to_bits();
        let known = self.constants.iter().position(same);
        number(known.unwrap_or_else(|| {
            self.constants.push(constant);
            self.constants.len() - 1
        }))
    }

    pub(super) fn pattern(&mut self, pattern: &[u8]) -> u32 {
        let known = self.patterns.iter().position(|known| known == pattern);
        number(known.unwrap_or_else(|| {
            self.patterns.push(pattern.to_vec());
            self.patterns.len() - 1
        }))
    }

    pub(super) fn name(&mut self, name: &str) -> u32 {
        let known = self.names.iter().position(|known| known == name);
        number(known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        }))
    }

    /// A field's record, with its name before the other operands.
    fn named(&mut self, op: Op, field: Field, operands: &[u32]) -> u32 {
        let mut words = vec![self.name(&names::path(field))];
        words.extend(operands);
        self.record(op, &words)
    }

    pub(super) fn list(&mut self, list: List) -> [u32; 2] {
        [self.name(names::list_path(list)), place(list)]
    }

    pub(super) fn field(&mut self, field: Field) -> u32 {
        match field {
            Field::Text(field) => self.text_field(field),
            Field::Number(field) => self.number_field(field),
            Field::Bool(field) => self.bool_field(field),
            Field::Messages => self.named(Op::Messages, field, &[]),
        }
    }

    pub(super) fn text_field(&mut self, field: TextField) -> u32 {
        let named = Field::Text(field);
        let op = match field {
            TextField::Single(field) => {
                return self.named(Op::SingleText, named, &[place(field)]);
            }
            TextField::MessageRole(index) => {
                return self.named(Op::MessageRole, named, &[index.cast_unsigned()]);
            }
            TextField::MessageContent(index) => {
                return self.named(Op::MessageContent, named, &[index.cast_unsigned()]);
            }
            TextField::RoleContent(role) => {
                return self.named(Op::RoleContent, named, &[place(role)]);
            }
            TextField::Parts(filter) => {
                let kind = filter.kind.number();
                return match filter.message {
                    None => self.named(Op::Parts, named, &[kind]),
                    Some(index) => self.named(Op::PartsOf, named, &[kind, index.cast_unsigned()]),
                };
            }
            TextField::Entry(Entry::Role) => Op::EntryRole,
            TextField::Entry(Entry::Content) => Op::EntryContent,
            TextField::Entry(Entry::Name) => Op::EntryName,
            TextField::EveryRole => Op::EveryRole,
            TextField::EveryContent => Op::EveryContent,
            TextField::EveryText => Op::EveryText,
            TextField::Tools => Op::Tools,
            TextField::Stop => Op::Stop,
            TextField::PiiTypes => Op::PiiTypes,
            TextField::SensitiveCategories => Op::SensitiveCategories,
            TextField::UserRoles => Op::UserRoles,
            TextField::ResponseContent => Op::ResponseContent,
            TextField::ResponseText => Op::ResponseText,
            TextField::AttachmentTypes => Op::AttachmentTypes,
        };
        self.named(op, named, &[])
    }

    pub(super) fn number_field(&mut self, field: NumberField) -> u32 {
        match field {
            NumberField::Length(text) => {
                let text = self.text_field(text);
                self.named(Op::LengthField, Field::Number(field), &[text])
            }
            plain => self.named(Op::NumberField, Field::Number(field), &[place(plain)]),
        }
    }

    pub(super) fn bool_field(&mut self, field: BoolField) -> u32 {
        match field {
            BoolField::Found(detector, text) => {
                let text = self.text_field(text);
                self.named(Op::FoundField, Field::Bool(field), &[place(detector), text])
            }
            plain => self.named(Op::BoolField, Field::Bool(field), &[place(plain)]),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        varint(&mut bytes, self.needs);
        varint(&mut bytes, self.exact_from);
        varint(&mut bytes, number(self.strings.len()));
        for text in &self.strings {
            varint(&mut bytes, number(text.len()));
            bytes.extend_from_slice(text.as_bytes());
        }
        varint(&mut bytes, number(self.patterns.len()));
        for pattern in &self.patterns {
            varint(&mut bytes, number(pattern.len()));
            bytes.extend_from_slice(pattern);
        }
        varint(&mut bytes, number(self.constants.len()));
        for constant in &self.constants {
            bytes.extend_from_slice(&constant.to_le_bytes());
        }
        varint(&mut bytes, number(self.names.len()));
        for name in &self.names {
            varint(&mut bytes, number(name.len()));
            bytes.extend_from_slice(name.as_bytes());
        }
        varint(&mut bytes, number(self.records.len()));
        for word in self.records.iter().flatten() {
            varint(&mut bytes, *word);
        }
        varint(&mut bytes, number(self.policies.len()));
        for policy in &self.policies {
            varint(&mut bytes, *policy);
        }
        bytes
    }
}

/// The number of a word.
pub(super) fn place<T: Word>(word: T) -> u32 {
    let place = T::ALL.iter().position(|it| *it == word);
    // Every word has its number; the loader would refuse this one.
    place.map_or(u32::MAX, number)
}

fn number(count: usize) -> u32 {
    // That many are far beyond the size of a bundle, which is checked.
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Bundle, LoadError};
    use crate::program::{MAX_COST, MAX_DEPTH};

    /// What loading says of one rule with this condition and this action.
    fn loaded(build: impl FnOnce(&mut Encoder) -> (u32, u32)) -> Result<(), LoadError> {
        let mut program = Encoder::new(vec!["a".to_owned(), "b".to_owned()]);
        program.name("field");
        let (condition, action) = build(&mut program);
        let rule = program.listed(Op::Rule, &[0, 0, condition], &[action]);
        let policy = program.listed(Op::Policy, &[0, 0, 0], &[rule]);
        program.policies.push(policy);
        Bundle::load(&program.bytes()).map(|_| ())
    }

    fn condition(build: impl FnOnce(&mut Encoder) -> u32) -> Result<(), LoadError> {
        loaded(|program| (build(program), program.record(Op::Allow, &[])))
    }

    fn text(program: &mut Encoder, field: Op) -> u32 {
        let field = program.record(field, &[0]);
        program.record(Op::TextConstant, &[field, 0, 0, 1])
    }

    fn refused(result: &Result<(), LoadError>) -> bool {
        matches!(result, Err(LoadError::Inconsistent(_)))
    }

    #[test]
    fn entries_are_read_within_their_own_quantifier_alone() {
        const MESSAGES: u32 = 0;
        const TOOLS: u32 = 1;
        let of = |list: u32, entry: Op| {
            condition(|program| {
                let body = text(program, entry);
                program.record(Op::Quantified, &[0, list, 0, body])
            })
        };
        assert_eq!(of(MESSAGES, Op::EntryRole), Ok(()));
        assert_eq!(of(TOOLS, Op::EntryName), Ok(()));
        assert!(refused(&of(TOOLS, Op::EntryRole)));
        assert!(refused(&of(MESSAGES, Op::EntryName)));
        assert!(refused(&condition(|it| text(it, Op::EntryRole))));
        assert!(refused(&loaded(|program| {
            let entry = program.record(Op::EntryContent, &[0]);
            (
                program.record(Op::Always, &[]),
                program.record(Op::ModifyNull, &[entry]),
            )
        })));
    }

    #[test]
    fn nothing_long_is_read_for_each_entry() {
        let body = |field: Op| {
            condition(|program| {
                let long = text(program, field);
                program.record(Op::Quantified, &[0, 0, 0, long])
            })
        };
        assert_eq!(body(Op::EveryText), Err(LoadError::TooCostly));
        assert_eq!(body(Op::ResponseContent), Ok(()));
        let nested = condition(|program| {
            let body = text(program, Op::EntryRole);
            let inner = program.record(Op::Quantified, &[0, 0, 0, body]);
            program.record(Op::Quantified, &[0, 0, 1, inner])
        });
        assert_eq!(nested, Err(LoadError::TooCostly));
        let searched = condition(|program| {
            let field = program.record(Op::ResponseContent, &[0]);
            let contains = program.record(Op::TextConstant, &[field, 0, 2, 1]);
            program.record(Op::Quantified, &[0, 0, 0, contains])
        });
        assert_eq!(searched, Err(LoadError::TooCostly));
    }

    #[test]
    fn messages_show_no_prompt_but_may_say_how_long_it_is() {
        let message = |prompt: bool| {
            loaded(|program| {
                let text = program.record(Op::EveryText, &[0]);
                let length = program.record(Op::LengthField, &[0, text]);
                let shown = if prompt { text } else { length };
                let piece = program.record(Op::PieceField, &[shown]);
                let template = program.listed(Op::Template, &[], &[piece]);
                let always = program.record(Op::Always, &[]);
                (always, program.record(Op::Deny, &[template, 0]))
            })
        };
        assert!(refused(&message(true)));
        assert_eq!(message(false), Ok(()));
    }

    #[test]
    fn conditions_are_bounded_in_depth_and_cost_however_they_share_parts() {
        let deep = |depth: u32| {
            condition(|program| {
                let leaf = program.record(Op::Always, &[]);
                (1..depth).fold(leaf, |inner, _| program.record(Op::Not, &[inner]))
            })
        };
        assert_eq!(deep(MAX_DEPTH), Ok(()));
        assert_eq!(deep(MAX_DEPTH + 1), Err(LoadError::TooCostly));
        // Each level asks the one below twice: few records, many steps.
        let doubled = condition(|program| {
            let leaf = program.record(Op::Always, &[]);
            (0..20).fold(leaf, |inner, _| {
                program.listed(Op::All, &[], &[inner, inner])
            })
        });
        assert_eq!(doubled, Err(LoadError::TooCostly));
        let wide = |count: u32| {
            condition(|program| {
                let leaf = program.record(Op::Always, &[]);
                program.listed(Op::All, &[], &vec![leaf; count as usize])
            })
        };
        assert_eq!(wide(MAX_COST - 1), Ok(()));
        assert_eq!(wide(MAX_COST), Err(LoadError::TooCostly));
    }

    #[test]
    fn records_refer_to_what_is_there_before_them_and_fits() {
        for (what, op, operands) in [
            ("itself", Op::Not, [0, 0, 0, 0]),
            ("a text beyond the last", Op::PieceText, [2, 0, 0, 0]),
            ("a pattern that is not there", Op::TextMatches, [0, 0, 0, 0]),
            ("an order there is not", Op::NumberConstant, [0, 6, 0, 0]),
        ] {
            let result = condition(|program| program.record(op, operands.get(..3).unwrap_or(&[])));
            assert!(result.is_err(), "{what}");
        }
        let field_as_condition = condition(|program| program.record(Op::EveryText, &[0]));
        assert!(refused(&field_as_condition));
        let out_of_order = condition(|program| {
            let field = program.record(Op::EveryRole, &[0]);
            program.listed(Op::TextIn, &[field, 0], &[1, 0])
        });
        assert!(refused(&out_of_order));
    }
}
