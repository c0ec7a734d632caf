//! Which fields made a condition hold, by their names.
//!
//! The names are those that the bundle carries (written by `author::encode` from `names`);
//! nothing of a field's text is told. One walk serves every kind of record, by the table in
//! `records`.

use crate::eval::Evaluation;
use crate::program::NodeId;
use crate::records::{FIELD, Op, Operand, Program, Record, SIGNATURES};

impl Program {
    /// The name of a field, or of the list that a record counts or goes through.
    pub fn name_of(&self, id: u32) -> &str {
        let record = self.record(id);
        record.map_or("", |record| self.name(record.operands[0]))
    }

    fn name(&self, index: u32) -> &str {
        // `load` checked every index.
        self.names.get(index as usize).map_or("", String::as_str)
    }
}

impl Evaluation<'_> {
    /// Adds the names of the fields that made a condition what it is.
    pub fn grounds(&self, id: NodeId, names: &mut Vec<String>) {
        let Some(record) = self.bundle.program.record(id) else {
            return;
        };
        let [first, second, third, _] = record.operands;
        match record.op {
            // One that decides is ground enough; where none does, all of them are.
            Op::All | Op::Some => {
                let children = self.bundle.program.list(first);
                let decisive = record.op == Op::Some;
                match children.iter().find(|it| self.holds(**it) == decisive) {
                    Some(child) => self.grounds(*child, names),
                    None => self.grounds_of_parts(&record, names),
                }
            }
            Op::If => {
                self.grounds(first, names);
                let chosen = if self.holds(first) { second } else { third };
                self.grounds(chosen, names);
            }
            _ => self.grounds_of_parts(&record, names),
        }
    }

    /// Adds the record's own name and those of all that it is made of.
    fn grounds_of_parts(&self, record: &Record, names: &mut Vec<String>) {
        let program = &self.bundle.program;
        let Some(signature) = SIGNATURES.get(record.op as usize) else {
            return;
        };
        for (operand, word) in signature.operands.iter().zip(record.operands) {
            match operand {
                Operand::Name => {
                    let name = program.name(word);
                    if !names.iter().any(|known| known == name) {
                        names.push(name.to_owned());
                    }
                    // A field's name says what it is made of.
                    if signature.kind & FIELD != 0 {
                        return;
                    }
                }
                Operand::Of(..) => self.grounds(word, names),
                Operand::List(Operand::Of(..)) => {
                    for part in program.list(word) {
                        self.grounds(*part, names);
                    }
                }
                _ => {}
            }
        }
    }
}
