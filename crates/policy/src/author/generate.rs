//! Bundles of any structure, for tests: records of every kind, put together at random.
//!
//! What policies compile to is a small part of what a bundle can hold. Here any record may
//! follow any other as the table of signatures has it, and where asked for, in ways that it
//! does not allow.

use super::encode::Encoder;
use crate::records::{self, Operand, SIGNATURES, Signature};
use std::sync::LazyLock;

/// Longest list.
const LONGEST: u8 = 4;

/// Numbers that choose, told one after the other; 0 when there are no more.
struct Choices<'c>(&'c [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Below the limit, where that is not 0.
    fn below(&mut self, limit: usize) -> u32 {
        let number = u32::from(u16::from_le_bytes([self.byte(), self.byte()]));
        number.checked_rem(limit as u32).unwrap_or(0)
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        all.get(self.below(all.len()) as usize)
    }
}

/// A bundle that loads, whatever the choices: what would not is left out.
pub fn bundle(choices: &[u8]) -> Vec<u8> {
    grown(Choices(choices), 0)
}

/// The same, but some of what does not load is left in.
pub fn any_bundle(choices: &[u8]) -> Vec<u8> {
    let mut choices = Choices(choices);
    let kept = choices.byte() % 4;
    grown(choices, kept)
}

/// With so many in 64 of the records that do not load.
fn grown(mut choices: Choices<'_>, kept: u8) -> Vec<u8> {
    let mut grown = Grown::new();
    while !choices.0.is_empty() {
        let (encoder, kinds) = (grown.encoder.clone(), grown.kinds.len());
        grown.add(&mut choices);
        // Magic and version are not the reader's.
        let bytes = grown.encoder.bytes();
        let loads = records::program(bytes.get(6..).unwrap_or_default()).is_ok();
        if !loads && choices.byte() % 64 >= kept {
            grown.encoder = encoder;
            grown.kinds.truncate(kinds);
        }
    }
    grown.encoder.bytes()
}

struct Grown {
    encoder: Encoder,
    /// Of each record.
    kinds: Vec<u16>,
}

const TEXTS: [&str; 8] = ["", "a", "alpha", "gpt-4o", "search", "user", "ß", "Ω"];
static PATTERNS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let patterns = ["a+b?", "(?i)gpt", r"\d{2,3}"].into_iter();
    patterns
        .filter_map(|it| jupiter_matchers::compile(it).ok())
        .collect()
});
const NAMES: [&str; 2] = ["request.model", "request.messages"];
const CONSTANTS: [f64; 6] = [0.0, -1.5, 3.0, 1e300, f64::NAN, f64::NEG_INFINITY];

impl Grown {
    fn new() -> Grown {
        let mut encoder = Encoder::new(TEXTS.map(str::to_owned).to_vec());
        for pattern in PATTERNS.iter() {
            encoder.pattern(pattern);
        }
        for constant in CONSTANTS {
            encoder.constant(constant);
        }
        for name in NAMES {
            encoder.name(name);
        }
        Grown {
            encoder,
            kinds: Vec::new(),
        }
    }

    fn add(&mut self, choices: &mut Choices<'_>) {
        // The last kinds of records are made of the first: actions, rules, policies.
        let from = match choices.byte() {
            0..128 => 0,
            128..192 => SIGNATURES.len() - 24,
            _ => SIGNATURES.len() - 2,
        };
        let some = SIGNATURES.get(from..).unwrap_or_default();
        let Some(signature) = choices.of(some) else {
            return;
        };
        let operands = self.operands(signature, choices);
        let id = self.encoder.record(signature.op, &operands);
        if id as usize == self.kinds.len() {
            self.kinds.push(signature.kind);
        }
        if signature.kind == records::POLICY && !self.encoder.policies.contains(&id) {
            self.encoder.policies.push(id);
        }
    }

    fn operands(&self, signature: &Signature, choices: &mut Choices<'_>) -> Vec<u32> {
        let mut words = Vec::new();
        for operand in signature.operands {
            match operand {
                Operand::List(each) => {
                    let length = self.length(choices);
                    words.push(length);
                    words.extend((0..length).map(|_| self.operand(**each, choices)));
                }
                Operand::Set(each) => {
                    let length = self.length(choices);
                    let set = (0..length).map(|_| self.operand(**each, choices));
                    let mut set: Vec<u32> = set.collect();
                    set.sort_unstable();
                    set.dedup();
                    words.push(set.len() as u32);
                    words.extend(set);
                }
                single => words.push(self.operand(*single, choices)),
            }
        }
        words
    }

    fn length(&self, choices: &mut Choices<'_>) -> u32 {
        u32::from(choices.byte() % (LONGEST + 1))
    }

    fn operand(&self, operand: Operand, choices: &mut Choices<'_>) -> u32 {
        if choices.byte() < 4 {
            // Whatever it is, it rarely fits.
            return choices.below(80);
        }
        match operand {
            Operand::Any | Operand::List(_) | Operand::Set(_) => match choices.byte() {
                // Around nothing, from both sides.
                byte @ 0..128 => i32::from(byte.cast_signed() % 4).cast_unsigned(),
                byte => i32::from(byte.cast_signed() / 32).cast_unsigned(),
            },
            Operand::Below(limit) => choices.below(limit.into()),
            Operand::Text => choices.below(TEXTS.len()),
            Operand::Pattern => choices.below(PATTERNS.len()),
            Operand::Constant => choices.below(CONSTANTS.len()),
            Operand::Name => choices.below(NAMES.len()),
            Operand::Of(kinds, _) => {
                let of_kind = (0..).zip(&self.kinds).filter(|(_, it)| **it & kinds != 0);
                let of_kind: Vec<u32> = of_kind.map(|(id, _)| id).collect();
                // None fits: the record is wrong.
                choices.of(&of_kind).copied().unwrap_or(u32::MAX)
            }
            Operand::Maybe(inner) => match choices.byte() % 2 {
                0 => 0,
                _ => self.operand(*inner, choices).saturating_add(1),
            },
        }
    }
}
