//! Variables: named constants of a policy. They may refer to one another, not in circles.
//!
//! A mapping is read as a group: `limits: {free: 10}` is the variable `limits.free`.

use super::checker::{Checker, shown};
use super::diagnostics::{Code, Span, did_you_mean};
use super::templates::Part;
use super::yaml::{Node, Value};
use std::collections::BTreeMap;

/// A value known when the policy is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Bool(bool),
    Number(f64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
    EmptyList,
}

impl Constant {
    /// As a message shows it; lists with commas.
    pub(super) fn shown(&self) -> String {
        match self {
            Constant::Bool(value) => value.to_string(),
            Constant::Number(number) => number.to_string(),
            Constant::Text(text) => text.clone(),
            Constant::Texts(texts) => texts.join(", "),
            Constant::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
                numbers.join(", ")
            }
            Constant::EmptyList => String::new(),
        }
    }

    pub(super) fn describe(&self) -> &'static str {
        match self {
            Constant::Bool(_) => "a boolean",
            Constant::Number(_) => "a number",
            Constant::Text(_) => "a text",
            Constant::Texts(_) => "a list of texts",
            Constant::Numbers(_) => "a list of numbers",
            Constant::EmptyList => "an empty list",
        }
    }

    /// Bytes a copy takes, roughly.
    fn size(&self) -> usize {
        const NUMBER: usize = size_of::<f64>();
        match self {
            Constant::Bool(_) | Constant::Number(_) | Constant::EmptyList => NUMBER,
            Constant::Text(text) => text.len(),
            Constant::Texts(texts) => texts.iter().map(|text| text.len() + NUMBER).sum(),
            Constant::Numbers(numbers) => numbers.len() * NUMBER,
        }
    }
}

/// All variables of a policy by name.
#[derive(Debug, Default)]
pub(super) struct Variables {
    by_name: BTreeMap<String, Variable>,
    /// Bytes copied so far, see [`MAX_EXPANDED_BYTES`].
    expanded: usize,
}

#[derive(Debug)]
struct Variable {
    span: Span,
    used: bool,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Pending,
    /// Its definition is being read; meeting it again is a circle.
    Reading,
    /// `None` when the definition is faulty, which has been said.
    Known(Option<Constant>),
}

/// Longest chain of references from variable to variable.
const MAX_REFERENCES: usize = 32;

/// Most bytes that the uses of variables may add up to: `{{ a }}{{ a }}` in `b`,
/// `{{ b }}{{ b }}` in `c` and so on would double without end.
const MAX_EXPANDED_BYTES: usize = 16 * 1024 * 1024;

type Definitions<'n> = BTreeMap<String, &'n Node>;

impl Variables {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl Checker<'_> {
    /// Reads the `variables` mapping. References may point forward.
    pub(super) fn define_variables(&mut self, node: &Node) {
        let mut definitions = Definitions::new();
        self.collect("", node, &mut definitions);
        for name in definitions.keys() {
            if self.diagnostics.is_full() {
                break;
            }
            self.define(name, &definitions, 0);
        }
    }

    /// The value of a variable used in a condition or message; `None` after a diagnostic.
    pub(super) fn variable(&mut self, name: &str, span: Span) -> Option<Constant> {
        self.look_up(name, span, &Definitions::new(), 0)
    }

    /// Only of a policy without errors: what could not be read may use them.
    pub(super) fn warn_of_unused_variables(&mut self) {
        if self.diagnostics.has_errors() {
            return;
        }
        for (name, variable) in &self.variables.by_name {
            if !variable.used {
                let message = format!("variable `{}` is never used", shown(name));
                self.diagnostics
                    .add(Code::UnusedVariable, variable.span, message);
            }
        }
    }

    fn collect<'n>(&mut self, prefix: &str, node: &'n Node, definitions: &mut Definitions<'n>) {
        let Value::Map(entries) = &node.value else {
            let message = format!("`variables` is a mapping, and this is {}", node.describe());
            self.report(Code::WrongShape, node.span, message);
            return;
        };
        for entry in entries {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if entry.key.is_empty() || !entry.key.chars().all(word) {
                let message = format!("`{}` cannot name a variable", shown(&entry.key));
                let help = "names are letters, digits, `_` and `-`";
                self.report_with_help(Code::BadName, entry.key_span, message, help);
                continue;
            }
            let name = format!("{prefix}{}", entry.key);
            if matches!(entry.value.value, Value::Map(_)) {
                self.collect(&format!("{name}."), &entry.value, definitions);
                continue;
            }
            let variable = Variable {
                span: entry.key_span,
                used: false,
                state: State::Pending,
            };
            self.variables.by_name.insert(name.clone(), variable);
            definitions.insert(name, &entry.value);
        }
    }

    fn define(&mut self, name: &str, definitions: &Definitions<'_>, depth: usize) {
        let Some(variable) = self.variables.by_name.get_mut(name) else {
            return;
        };
        let (State::Pending, Some(node)) = (&variable.state, definitions.get(name)) else {
            return;
        };
        variable.state = State::Reading;
        let value = self.value_of(node, definitions, depth);
        if let Some(variable) = self.variables.by_name.get_mut(name) {
            variable.state = State::Known(value);
        }
    }

    /// A copy of a variable's value, its definition read first where it has not been.
    fn look_up(
        &mut self,
        name: &str,
        span: Span,
        definitions: &Definitions<'_>,
        depth: usize,
    ) -> Option<Constant> {
        if depth < MAX_REFERENCES {
            self.define(name, definitions, depth + 1);
        }
        let Some(variable) = self.variables.by_name.get_mut(name) else {
            let help = did_you_mean(name, self.variables.names())
                .unwrap_or_else(|| "define it under `variables`".to_owned());
            let message = format!("unknown variable `{}`", shown(name));
            self.report_with_help(Code::UnknownVariable, span, message, help);
            return None;
        };
        variable.used = true;
        let State::Known(value) = &variable.state else {
            let message = format!(
                "variable `{}` refers to itself, or through more than {MAX_REFERENCES} others",
                shown(name)
            );
            self.report(Code::VariableCycle, span, message);
            return None;
        };
        let value = value.clone()?;
        self.variables.expanded = self.variables.expanded.saturating_add(value.size());
        if self.variables.expanded > MAX_EXPANDED_BYTES {
            let message = format!("with variables filled in, more than {MAX_EXPANDED_BYTES} bytes");
            self.report(Code::TextTooLarge, span, message);
            return None;
        }
        Some(value)
    }

    fn value_of(
        &mut self,
        node: &Node,
        definitions: &Definitions<'_>,
        depth: usize,
    ) -> Option<Constant> {
        match &node.value {
            Value::Bool(value, _) => Some(Constant::Bool(*value)),
            Value::Number(number, _) => Some(Constant::Number(*number)),
            Value::Text(text) => self.text_of(text, node.span, definitions, depth),
            Value::List(items) => {
                let mut scalars = Vec::with_capacity(items.len());
                for item in items {
                    scalars.push(self.value_of(item, definitions, depth)?);
                }
                self.list_of(&scalars, node.span)
            }
            Value::Null | Value::Map(_) => {
                let message = format!("a variable cannot be {}", node.describe());
                let help =
                    "a variable is a text, a number, a boolean, or a list of texts or numbers";
                self.report_with_help(Code::VariableType, node.span, message, help);
                None
            }
        }
    }

    /// A list of one kind.
    pub(super) fn list_of(&mut self, scalars: &[Constant], span: Span) -> Option<Constant> {
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        for scalar in scalars {
            match scalar {
                Constant::Text(text) => texts.push(text.clone()),
                Constant::Number(number) => numbers.push(*number),
                other => {
                    let message =
                        format!("a list holds texts or numbers, not {}", other.describe());
                    self.report(Code::VariableType, span, message);
                    return None;
                }
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (true, true) => Some(Constant::EmptyList),
            (false, true) => Some(Constant::Texts(texts)),
            (true, false) => Some(Constant::Numbers(numbers)),
            (false, false) => {
                let message = "a list holds texts or numbers, not both";
                let help = "put quotes around the numbers, or remove them from the texts";
                self.report_with_help(Code::VariableType, span, message, help);
                None
            }
        }
    }

    fn text_of(
        &mut self,
        text: &str,
        span: Span,
        definitions: &Definitions<'_>,
        depth: usize,
    ) -> Option<Constant> {
        let parts = self.split(text, span)?;
        let mut whole = String::new();
        let alone = parts.len() == 1;
        for part in parts {
            let expression = match part {
                Part::Text(text) => {
                    whole.push_str(text);
                    continue;
                }
                Part::Expression(expression) => expression,
            };
            let Some(name) = expression.strip_prefix("variables.") else {
                let message = format!(
                    "`{}` is not known where variables are set",
                    shown(expression)
                );
                let help = "variables are constants; use the field in the condition or the message";
                self.report_with_help(Code::VariableType, span, message, help);
                return None;
            };
            let value = self.look_up(name, span, definitions, depth)?;
            if alone {
                // Alone, a reference keeps its type.
                return Some(value);
            }
            whole.push_str(&value.shown());
        }
        Some(Constant::Text(whole))
    }
}
