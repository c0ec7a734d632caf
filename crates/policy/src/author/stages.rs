//! What has to be known before the rules of a bundle can be decided, and which of them
//! hold for good while an answer is still coming: nothing that follows could make them false.

use crate::load::Bundle;
use crate::program::{
    Action, BoolField, BoolValue, Field, NewValue, Node, NodeId, NumberField, NumberNode,
    NumberValue, Order, Piece, RuleProgram, SingleText, TextField, TextNode, TextTest, TextValue,
};
use crate::records::Program;
use crate::settings::{Mode, Phase, strictest};
use crate::stages::{ExactFrom, Needs};

pub(super) fn needs(program: &Program) -> Needs {
    let mut needs = Needs::default();
    for policy in program.policies() {
        needs.store_first = strictest(needs.store_first, policy.store_unmatched);
        for rule in policy.rules.iter().filter_map(|rule| program.rule(*rule)) {
            needs.add_rule(program, rule);
        }
    }
    needs
}

impl Needs {
    fn add_rule(&mut self, program: &Program, rule: RuleProgram<'_>) {
        let phase = rule.settings.phase;
        self.response |= phase == Phase::Response;
        if rule.settings.mode == Mode::Enforce {
            self.store_first = strictest(self.store_first, rule.settings.store_first());
        }
        visit(program, rule.condition, &mut |field, against| {
            self.add(field, against, phase);
        });
        for action in rule.actions.iter().filter_map(|it| program.action(*it)) {
            if let Action::Redact { fields, .. } = action {
                let read = fields.iter().filter_map(|field| program.field(*field));
                let answers = read.filter(|field| is_of_answer(*field)).count();
                self.response_findings |= answers > 0;
                self.request_findings |= answers < fields.len();
            }
            for template in templates(program, action) {
                visit_template(program, template, &mut |field, against| {
                    self.add(field, against, phase);
                });
            }
        }
    }

    fn add(&mut self, field: Field, against: Against, phase: Phase) {
        if phase == Phase::Response
            && let Field::Text(text) | Field::Number(NumberField::Length(text)) = field
        {
            // The roles of messages and the like are kept anyway.
            self.request_text_in_response |= text.is_prompt() && !is_answer_text(text);
        }
        match field {
            Field::Bool(BoolField::Found(_, text)) => match is_answer_text(text) {
                true => self.response_findings = true,
                false => self.request_findings = true,
            },
            Field::Number(number) if is_estimate(number) => {
                let exact = self.estimates.get_or_insert(NEVER);
                match number {
                    NumberField::EstimatedPromptTokens | NumberField::EstimatedTotalTokens => {
                        exact.tokens = exact.tokens.min(against.power(1.0));
                    }
                    NumberField::PromptCost | NumberField::TotalCost => {
                        exact.nano = exact.nano.min(against.power(1e9));
                    }
                    // The length of an answer is what the request allows, and not counted.
                    _ => {}
                }
            }
            field if is_analysis(field) => match phase {
                Phase::Request => self.request_findings = true,
                Phase::Response => self.response_findings = true,
            },
            _ => {}
        }
    }
}

/// No comparison asks for more.
const NEVER: ExactFrom = ExactFrom {
    tokens: 1 << 63,
    nano: 1 << 63,
};

/// What a field is held against.
#[derive(Clone, Copy)]
enum Against {
    /// A constant alone.
    Constant(f64),
    /// Whatever its value is, it counts.
    Anything,
}

impl Against {
    /// The greatest power of two that is no more than the constant, in so many parts of its
    /// unit; 0 where there is none, or less than 2.
    fn power(self, parts: f64) -> u64 {
        match self {
            // A cast takes what is out of range to the next number that is not.
            Against::Constant(constant) => match (constant * parts) as u64 {
                0 | 1 => 0,
                whole => 1 << whole.ilog2(),
            },
            Against::Anything => 0,
        }
    }
}

fn is_estimate(field: NumberField) -> bool {
    matches!(
        field,
        NumberField::EstimatedPromptTokens
            | NumberField::EstimatedCompletionTokens
            | NumberField::EstimatedTotalTokens
            | NumberField::PromptCost
            | NumberField::CompletionCost
            | NumberField::TotalCost
    )
}

/// The templates of an action.
fn templates(program: &Program, action: Action<'_>) -> Vec<u32> {
    match action {
        Action::Allow | Action::Redact { .. } => vec![],
        Action::Deny { message, .. } | Action::Log { message, .. } => vec![message],
        Action::Alert { message, .. } => vec![message],
        Action::Modify { value, .. } => match value {
            NewValue::Text(template) => vec![template],
            NewValue::Null | NewValue::Bool(_) | NewValue::Number(_) | NewValue::Texts(_) => vec![],
        },
        Action::Route {
            provider,
            model,
            reason,
        } => [provider, model, reason].into_iter().flatten().collect(),
        Action::RateLimit { key, .. } | Action::Budget { key, .. } => vec![key],
        Action::Tag(tags) => {
            let tags = tags.iter().filter_map(|tag| program.tag(*tag));
            tags.map(|(_, value)| value).collect()
        }
    }
}

/// Whether a condition that holds for the beginning of an answer holds for all of it.
pub(super) fn holds_for_good(bundle: &Bundle, id: NodeId) -> bool {
    let program = &bundle.program;
    let mut reads_answer = false;
    visit(program, id, &mut |field, _| {
        reads_answer |= is_of_answer(field) || is_analysis(field);
    });
    if !reads_answer {
        return true;
    }
    match program.node(id) {
        Some(Node::All(children) | Node::Any(children)) => {
            let mut children = children.iter();
            children.all(|child| holds_for_good(bundle, *child))
        }
        Some(Node::Text(TextNode {
            field: TextField::PiiTypes | TextField::SensitiveCategories,
            test: TextTest::Has(TextValue::Constant(_)),
            negated: false,
            ..
        })) => true,
        // Of what a search finds in the beginning, nothing goes away.
        Some(Node::Text(_)) => bundle.scans.answers(id),
        Some(Node::Bool {
            field:
                BoolField::Found(..)
                | BoolField::HasPii
                | BoolField::HasInjection
                | BoolField::HasSensitiveContent,
            value: BoolValue::Constant(true),
            negated: false,
        }) => true,
        // The highest of what was found.
        Some(Node::Number {
            field: NumberField::PiiConfidence | NumberField::InjectionConfidence,
            order: Order::Greater | Order::AtLeast,
            value: NumberValue::Constant(_),
        }) => true,
        _ => false,
    }
}

fn is_of_answer(field: Field) -> bool {
    match field {
        Field::Text(text) => is_answer_text(text),
        Field::Bool(BoolField::Found(_, text)) => is_answer_text(text),
        Field::Number(NumberField::Length(text)) => is_answer_text(text),
        Field::Number(
            NumberField::UsagePromptTokens
            | NumberField::UsageCompletionTokens
            | NumberField::UsageTotalTokens,
        ) => true,
        Field::Number(_) | Field::Bool(_) | Field::Messages => false,
    }
}

fn is_answer_text(field: TextField) -> bool {
    matches!(
        field,
        TextField::ResponseContent
            | TextField::ResponseText
            | TextField::Single(SingleText::ResponseModel | SingleText::FinishReason)
    )
}

/// What detectors say of the text at hand: the request, or in the response phase the answer.
fn is_analysis(field: Field) -> bool {
    match field {
        Field::Text(text) | Field::Number(NumberField::Length(text)) => matches!(
            text,
            TextField::PiiTypes
                | TextField::SensitiveCategories
                | TextField::Single(SingleText::SensitiveSeverity | SingleText::InjectionType)
        ),
        Field::Number(NumberField::PiiConfidence | NumberField::InjectionConfidence) => true,
        Field::Bool(
            BoolField::HasPii | BoolField::HasInjection | BoolField::HasSensitiveContent,
        ) => true,
        Field::Number(_) | Field::Bool(_) | Field::Messages => false,
    }
}

/// The fields that a condition reads; those of lists that it counts are not among them.
pub(crate) fn fields_of(program: &Program, condition: NodeId) -> Vec<Field> {
    let mut fields = Vec::new();
    visit(program, condition, &mut |field, _| fields.push(field));
    fields
}

/// Tells every field that a condition reads, and what it is held against. Ends: children
/// come before their parents.
fn visit(program: &Program, id: NodeId, tell: &mut dyn FnMut(Field, Against)) {
    let Some(node) = program.node(id) else {
        return;
    };
    match node {
        Node::Constant(_) => {}
        Node::Not(child) => visit(program, child, tell),
        Node::All(children) | Node::Any(children) => {
            for child in children {
                visit(program, *child, tell);
            }
        }
        Node::If(condition, then, otherwise) => {
            for child in [condition, then, otherwise] {
                visit(program, child, tell);
            }
        }
        Node::Quantified { body, .. } => visit(program, body, tell),
        Node::Compare { left, right, .. } => {
            visit_number(program, left, tell);
            visit_number(program, right, tell);
        }
        // Whether it is there is the same for any number.
        Node::Present(field) => tell(field, Against::Constant(f64::INFINITY)),
        Node::Text(text) => {
            tell(Field::Text(text.field), Against::Anything);
            match text.test {
                TextTest::Equals(value)
                | TextTest::Has(value)
                | TextTest::Contains(value)
                | TextTest::StartsWith(value)
                | TextTest::EndsWith(value) => match value {
                    TextValue::Constant(_) => {}
                    TextValue::Field(field) => tell(Field::Text(field), Against::Anything),
                    TextValue::Template(template) => visit_template(program, template, tell),
                },
                TextTest::In(_) | TextTest::Matches(_) => {}
            }
        }
        Node::Number { field, value, .. } => match value {
            NumberValue::Constant(constant) => {
                tell(Field::Number(field), Against::Constant(constant));
            }
            NumberValue::Field(other) => {
                tell(Field::Number(field), Against::Anything);
                tell(Field::Number(other), Against::Anything);
            }
        },
        Node::NumberIn { field, .. } => tell(Field::Number(field), Against::Anything),
        Node::Bool { field, value, .. } => {
            tell(Field::Bool(field), Against::Anything);
            if let BoolValue::Field(other) = value {
                tell(Field::Bool(other), Against::Anything);
            }
        }
    }
}

fn visit_number(program: &Program, id: u32, tell: &mut dyn FnMut(Field, Against)) {
    match program.number(id) {
        None | Some(NumberNode::Constant(_) | NumberNode::Count(_)) => {}
        Some(NumberNode::Field(field)) => tell(Field::Number(field), Against::Anything),
        Some(NumberNode::Length(text)) => tell(Field::Text(text), Against::Anything),
        Some(
            NumberNode::Sum(left, right)
            | NumberNode::Difference(left, right)
            | NumberNode::Product(left, right),
        ) => {
            visit_number(program, left, tell);
            visit_number(program, right, tell);
        }
    }
}

fn visit_template(program: &Program, template: u32, tell: &mut dyn FnMut(Field, Against)) {
    for piece in program.pieces(template) {
        match piece {
            Piece::Text(_) => {}
            Piece::Field(field) => tell(field, Against::Anything),
            Piece::Cased(field, _) => tell(Field::Text(field), Against::Anything),
        }
    }
}
