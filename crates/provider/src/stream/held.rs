//! The text of one channel between provider and client.

use super::{Channel, Judge, Ruling, Stop};
use crate::literal::{self, Edit, Form, Inside};
use std::ops::ControlFlow;

/// What came and did not leave yet.
#[derive(Debug)]
pub(super) struct Held {
    form: Form,
    /// As the literals decode.
    text: String,
    /// Where it begins in the text as the judge counts, and where in JSON.
    at: usize,
    inside: Inside,
    /// Bytes at its end that the judge does not know yet: half an escape.
    untold: usize,
    /// Bytes at its start that left although the judge does not know them yet.
    sent: usize,
    /// Up to where the judge knows the text, and where in JSON that is.
    told: usize,
    told_inside: Inside,
    ended: bool,
}

impl Held {
    pub(super) fn new(form: Form) -> Held {
        Held {
            form,
            text: String::new(),
            at: 0,
            inside: Inside::default(),
            untold: 0,
            sent: 0,
            told: 0,
            told_inside: Inside::default(),
            ended: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len() - self.sent
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Gives all of it, unjudged.
    pub(super) fn give_up(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        text.get(self.sent..).unwrap_or_default().to_owned()
    }

    /// Adds a piece; gives what leaves in its stead, `None` when that is the
    /// piece itself.
    pub(super) fn add(
        &mut self,
        channel: Channel,
        piece: &str,
        end: bool,
        judge: &mut dyn Judge,
    ) -> ControlFlow<Stop, Option<String>> {
        let nothing_was_held = self.bytes() == 0;
        self.text.push_str(piece);
        self.ended = end;
        let known = self.text.len() - self.untold - piece.len();
        let fresh = self.text.get(known..).unwrap_or_default();
        let ruling = match self.form {
            Form::Embedded => {
                let shown = literal::shown(fresh, self.told_inside, !end);
                self.untold = fresh.len() - shown.read;
                self.told += shown.text.len();
                self.told_inside = shown.inside;
                judge.on_text(channel, &shown.text, end)
            }
            Form::Plain | Form::Number => {
                self.told += fresh.len();
                judge.on_text(channel, fresh, end)
            }
        };
        let (upto, edits) = match ruling {
            Ruling::Release { upto, edits } => (upto, edits),
            Ruling::Stop => return ControlFlow::Break(Stop),
        };
        let leaving = self.release(upto, edits, end);
        let unchanged = nothing_was_held && leaving == piece;
        ControlFlow::Continue((!unchanged).then_some(leaving))
    }

    fn release(&mut self, upto: usize, edits: Vec<Edit>, all: bool) -> String {
        let edits: Vec<Edit> = literal::in_order(edits)
            .into_iter()
            .map(|edit| Edit {
                range: edit.range.start.saturating_sub(self.at)
                    ..edit.range.end.saturating_sub(self.at),
                with: edit.with,
            })
            .collect();
        // What is edited leaves.
        let edited_upto = edits.last().map_or(0, |edit| edit.range.end);
        let wanted = upto.min(self.told).saturating_sub(self.at).max(edited_upto);
        let (edits, cut, inside) = match self.form {
            Form::Embedded => {
                let mapped = literal::edits_in_json(&self.text, self.inside, &edits, wanted);
                (mapped.edits, mapped.cut, mapped.inside)
            }
            Form::Plain | Form::Number => {
                (edits, self.text.floor_char_boundary(wanted), self.inside)
            }
        };
        let last_edit = edits.last().map_or(0, |edit| edit.range.end);
        let cut = if all {
            self.text.len()
        } else {
            cut.max(last_edit)
        };
        let cut = self.text.ceil_char_boundary(cut);
        let gone: String = self.text.drain(..cut).collect();
        self.at += match self.form {
            Form::Embedded => literal::shown(&gone, self.inside, false).text.len(),
            Form::Plain | Form::Number => gone.len(),
        };
        self.inside = inside;

        let sent = self.sent.min(gone.len());
        self.sent -= sent;
        let edits: Vec<Edit> = edits
            .into_iter()
            .map(|edit| Edit {
                range: edit.range.start.saturating_sub(sent)..edit.range.end.saturating_sub(sent),
                with: edit.with,
            })
            .collect();
        let mut leaving = literal::edited(gone.get(sent..).unwrap_or_default(), &edits);
        if upto > self.told {
            // Whatever the rest of an escape may bring is of no concern.
            leaving.push_str(self.text.get(self.sent..).unwrap_or_default());
            self.sent = self.text.len();
        }
        leaving
    }
}
