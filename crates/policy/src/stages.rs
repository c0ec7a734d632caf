//! Which rules are asked when, and what has to be known before.
//!
//! A request is decided once, an answer once when it is there. While an answer is still
//! coming, only those rules of the response phase are asked that hold for good once they
//! hold: nothing that follows could make them false.

use crate::code::Code;
use crate::program::{
    Action, BoolField, BoolValue, Field, Node, NodeId, NumberField, NumberNode, NumberValue, Order,
    Piece, Program, RuleProgram, SingleText, TextField, TextNode, TextTest, TextValue,
};
use crate::scans::Scans;
use crate::settings::{Mode, OnError, Phase, strictest};

/// When rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Request,
    Response,
    /// The answer is still coming.
    Streaming,
}

/// The rules of each stage as jumps.
#[derive(Debug)]
pub(crate) struct Codes {
    request: Code,
    response: Code,
    streaming: Code,
}

impl Codes {
    pub(crate) fn of(program: &Program, scans: &Scans) -> Codes {
        let answers = |rule: &RuleProgram| rule.settings.phase == Phase::Response;
        Codes {
            request: Code::of(program, |rule| !answers(rule)),
            response: Code::of(program, answers),
            streaming: Code::of(program, |rule| {
                answers(rule) && holds_for_good(program, scans, rule.condition)
            }),
        }
    }

    pub(crate) fn at(&self, stage: Stage) -> &Code {
        match stage {
            Stage::Request => &self.request,
            Stage::Response => &self.response,
            Stage::Streaming => &self.streaming,
        }
    }
}

/// What has to be known before a bundle's rules can be decided and carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// What detectors find in requests.
    pub request_findings: bool,
    /// What detectors find in answers.
    pub response_findings: bool,
    /// The answer: there are rules on it.
    pub response: bool,
    /// The texts of the request, still when the answer is there.
    pub request_text_in_response: bool,
    /// How many tokens a request is and what it will cost.
    pub estimates: bool,
    /// What any policy or rule asks for: it holds for what could not be judged.
    pub store_first: Option<OnError>,
}

impl Needs {
    pub(crate) fn of(program: &Program) -> Needs {
        let mut needs = Needs::default();
        for policy in &program.policies {
            needs.store_first = strictest(needs.store_first, policy.store_unmatched);
            for rule in &policy.rules {
                needs.add_rule(program, rule);
            }
        }
        needs
    }

    fn add_rule(&mut self, program: &Program, rule: &RuleProgram) {
        let phase = rule.settings.phase;
        self.response |= phase == Phase::Response;
        if rule.settings.mode == Mode::Enforce {
            self.store_first = strictest(self.store_first, rule.settings.store_first());
        }
        visit(program, rule.condition, &mut |field| self.add(field, phase));
        for action in &rule.actions {
            if let Action::Redact { fields, .. } = action {
                let answers = fields.iter().filter(|field| is_of_answer(**field)).count();
                self.response_findings |= answers > 0;
                self.request_findings |= answers < fields.len();
            }
            for template in templates(action) {
                visit_template(program, template, &mut |field| self.add(field, phase));
            }
        }
    }

    fn add(&mut self, field: Field, phase: Phase) {
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
            Field::Number(
                NumberField::EstimatedPromptTokens
                | NumberField::EstimatedCompletionTokens
                | NumberField::EstimatedTotalTokens
                | NumberField::PromptCost
                | NumberField::CompletionCost
                | NumberField::TotalCost,
            ) => self.estimates = true,
            field if is_analysis(field) => match phase {
                Phase::Request => self.request_findings = true,
                Phase::Response => self.response_findings = true,
            },
            _ => {}
        }
    }
}

/// The templates of an action.
fn templates(action: &Action) -> Vec<u32> {
    use crate::program::NewValue;
    match action {
        Action::Allow | Action::Redact { .. } => vec![],
        Action::Deny { message, .. } | Action::Log { message, .. } => vec![*message],
        Action::Alert { message, .. } => vec![*message],
        Action::Modify { value, .. } => match value {
            NewValue::Text(template) => vec![*template],
            NewValue::Null | NewValue::Bool(_) | NewValue::Number(_) | NewValue::Texts(_) => vec![],
        },
        Action::Route {
            provider,
            model,
            reason,
        } => [provider, model, reason]
            .into_iter()
            .flatten()
            .copied()
            .collect(),
        Action::RateLimit { key, .. } | Action::Budget { key, .. } => vec![*key],
        Action::Tag(tags) => tags.iter().map(|(_, value)| *value).collect(),
    }
}

/// Whether a condition that holds for the beginning of an answer holds for all of it.
fn holds_for_good(program: &Program, scans: &Scans, id: NodeId) -> bool {
    let mut reads_answer = false;
    visit(program, id, &mut |field| {
        reads_answer |= is_of_answer(field) || is_analysis(field);
    });
    if !reads_answer {
        return true;
    }
    match program.nodes.get(id as usize) {
        Some(Node::All(children) | Node::Any(children)) => {
            let mut children = children.iter();
            children.all(|child| holds_for_good(program, scans, *child))
        }
        Some(Node::Text(TextNode {
            field: TextField::PiiTypes | TextField::SensitiveCategories,
            test: TextTest::Has(TextValue::Constant(_)),
            negated: false,
            ..
        })) => true,
        // Of what a search finds in the beginning, nothing goes away.
        Some(Node::Text(_)) => scans.answers(id),
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

/// Tells every field that a condition reads. Ends: children come before their parents.
/// The fields that a condition reads; those of lists that it counts are not among them.
#[cfg(feature = "author")]
pub(crate) fn fields_of(program: &Program, condition: NodeId) -> Vec<Field> {
    let mut fields = Vec::new();
    visit(program, condition, &mut |field| fields.push(field));
    fields
}

fn visit(program: &Program, id: NodeId, tell: &mut dyn FnMut(Field)) {
    let Some(node) = program.nodes.get(id as usize) else {
        return;
    };
    match node {
        Node::Constant(_) => {}
        Node::Not(child) => visit(program, *child, tell),
        Node::All(children) | Node::Any(children) => {
            for child in children {
                visit(program, *child, tell);
            }
        }
        Node::If(condition, then, otherwise) => {
            for child in [condition, then, otherwise] {
                visit(program, *child, tell);
            }
        }
        Node::Quantified { body, .. } => visit(program, *body, tell),
        Node::Compare { left, right, .. } => {
            visit_number(program, *left, tell);
            visit_number(program, *right, tell);
        }
        Node::Present(field) => tell(*field),
        Node::Text(text) => {
            tell(Field::Text(text.field));
            match text.test {
                TextTest::Equals(value)
                | TextTest::Has(value)
                | TextTest::Contains(value)
                | TextTest::StartsWith(value)
                | TextTest::EndsWith(value) => match value {
                    TextValue::Constant(_) => {}
                    TextValue::Field(field) => tell(Field::Text(field)),
                    TextValue::Template(template) => visit_template(program, template, tell),
                },
                TextTest::In(_) | TextTest::Matches(_) => {}
            }
        }
        Node::Number { field, value, .. } => {
            tell(Field::Number(*field));
            if let NumberValue::Field(other) = value {
                tell(Field::Number(*other));
            }
        }
        Node::NumberIn { field, .. } => tell(Field::Number(*field)),
        Node::Bool { field, value, .. } => {
            tell(Field::Bool(*field));
            if let BoolValue::Field(other) = value {
                tell(Field::Bool(*other));
            }
        }
    }
}

fn visit_number(program: &Program, id: u32, tell: &mut dyn FnMut(Field)) {
    match program.numbers.get(id as usize) {
        None | Some(NumberNode::Constant(_) | NumberNode::Count(_)) => {}
        Some(NumberNode::Field(field)) => tell(Field::Number(*field)),
        Some(NumberNode::Length(text)) => tell(Field::Text(*text)),
        Some(
            NumberNode::Sum(left, right)
            | NumberNode::Difference(left, right)
            | NumberNode::Product(left, right),
        ) => {
            visit_number(program, *left, tell);
            visit_number(program, *right, tell);
        }
    }
}

fn visit_template(program: &Program, template: u32, tell: &mut dyn FnMut(Field)) {
    let pieces = program.templates.get(template as usize);
    for piece in pieces.into_iter().flatten() {
        match piece {
            Piece::Text(_) => {}
            Piece::Field(field) => tell(*field),
            Piece::Cased(field, _) => tell(Field::Text(*field)),
        }
    }
}
