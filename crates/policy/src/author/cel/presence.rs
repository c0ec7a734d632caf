//! Fields that may be missing: where an expression's answer would depend on how that is read.
//!
//! In CEL a missing field is an error that ends the rule; in `conditions` it is null. Both
//! agree that a comparison does not hold, and part ways once that is negated. So a field
//! that may be missing stands under `!` or `!=`, or before `?`, only where `has()` before
//! it has settled the matter.

use super::syntax::At;
use crate::program::{Field, NumberField, SingleText, TextField};

/// A use of a field that matters where the field is missing.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub field: Field,
    pub at: At,
}

/// What a condition says of missing fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Presence {
    /// Where it holds though a field is missing.
    pub holds: Vec<Need>,
    /// Where it fails because a field is missing.
    pub fails: Vec<Need>,
    /// Present whenever it holds.
    pub if_true: Vec<Field>,
    /// Present whenever it fails.
    pub if_false: Vec<Field>,
}

impl Presence {
    /// Of a comparison that a missing field makes false.
    pub(super) fn compared(uses: Vec<Need>) -> Presence {
        Presence {
            if_true: uses.iter().map(|need| need.field).collect(),
            fails: uses,
            ..Presence::default()
        }
    }

    /// Of `has()`.
    pub(super) fn asked(field: Field) -> Presence {
        Presence {
            if_true: vec![known(field)],
            ..Presence::default()
        }
    }

    pub(super) fn negated(self) -> Presence {
        Presence {
            holds: self.fails,
            fails: self.holds,
            if_true: self.if_false,
            if_false: self.if_true,
        }
    }

    /// Of all parts together, the earlier ones guarding the later ones.
    pub(super) fn all(parts: Vec<Presence>) -> Presence {
        let mut whole = Presence::default();
        let mut shared: Option<Vec<Field>> = None;
        for part in parts {
            let Presence {
                mut holds,
                mut fails,
                if_true,
                if_false,
            } = part;
            guard(&mut holds, &whole.if_true);
            guard(&mut fails, &whole.if_true);
            whole.holds.append(&mut holds);
            whole.fails.append(&mut fails);
            add(&mut whole.if_true, if_true);
            shared = Some(match shared {
                None => if_false,
                Some(shared) => common(shared, &if_false),
            });
        }
        whole.if_false = shared.unwrap_or_default();
        whole
    }

    pub(super) fn any(parts: Vec<Presence>) -> Presence {
        let parts = parts.into_iter().map(Presence::negated).collect();
        Presence::all(parts).negated()
    }

    /// Of `condition ? then : otherwise`: the condition decides in both directions.
    pub(super) fn choice(condition: Presence, then: Presence, otherwise: Presence) -> Presence {
        let decides = Presence {
            holds: [condition.holds.clone(), condition.fails.clone()].concat(),
            fails: [condition.fails, condition.holds].concat(),
            ..Presence::default()
        };
        let after = |fields: Vec<Field>, mut branch: Presence| {
            guard(&mut branch.holds, &fields);
            guard(&mut branch.fails, &fields);
            add(&mut branch.if_true, fields.clone());
            add(&mut branch.if_false, fields);
            branch
        };
        let then = after(condition.if_true, then);
        let otherwise = after(condition.if_false, otherwise);
        Presence {
            holds: [decides.holds, then.holds, otherwise.holds].concat(),
            fails: [decides.fails, then.fails, otherwise.fails].concat(),
            if_true: common(then.if_true, &otherwise.if_true),
            if_false: common(then.if_false, &otherwise.if_false),
        }
    }

    /// Of a quantifier over this: what one entry says of fields is not said by all.
    pub(super) fn quantified(self) -> Presence {
        Presence {
            if_true: Vec::new(),
            if_false: Vec::new(),
            ..self
        }
    }
}

/// A use of this field, where it may be missing.
pub(super) fn need(field: Field, at: &At) -> Option<Need> {
    let always = match field {
        Field::Text(TextField::Single(text)) => {
            matches!(text, SingleText::DayOfWeek | SingleText::Date)
        }
        // Lists may be empty, and an empty list is an answer.
        Field::Text(field) => !field.is_single() || matches!(field, TextField::Entry(_)),
        Field::Number(number) => matches!(
            number,
            NumberField::TurnCount
                | NumberField::Hour
                | NumberField::Minute
                | NumberField::Day
                | NumberField::Month
                | NumberField::Year
                | NumberField::Timestamp
                | NumberField::MessageCount
                | NumberField::AttachmentCount
                | NumberField::AttachmentBytes
        ),
        Field::Bool(_) => false,
        Field::Messages => true,
    };
    (!always).then(|| Need {
        field: known(field),
        at: at.clone(),
    })
}

/// Role and content of a message are present together.
fn known(field: Field) -> Field {
    match field {
        Field::Text(TextField::MessageContent(index)) => Field::Text(TextField::MessageRole(index)),
        other => other,
    }
}

fn guard(needs: &mut Vec<Need>, present: &[Field]) {
    needs.retain(|need| !present.contains(&need.field));
}

fn add(fields: &mut Vec<Field>, more: Vec<Field>) {
    for field in more {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
}

fn common(mut fields: Vec<Field>, others: &[Field]) -> Vec<Field> {
    fields.retain(|field| others.contains(field));
    fields
}
