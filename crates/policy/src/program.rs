//! The typed program a bundle holds: what `compile` writes and `load` checks.
//!
//! Everything an evaluation needs is resolved: fields are enums with a known type,
//! constants are interned in one sorted table (so that `==` and `in` compare numbers),
//! conditions are nodes in one array whose children come before their parents.
//! Change anything here and [`FORMAT_VERSION`] must rise.

use crate::decision::LogLevel;
use serde::{Deserialize, Serialize};

/// First bytes of a bundle.
pub(crate) const MAGIC: &[u8; 4] = b"MJPB";

/// Version of the encoding that follows the magic, as two little-endian bytes.
pub const FORMAT_VERSION: u16 = 1;

/// Most bytes of a bundle: at this size Envoy applies a new one in 0.2 s.
pub const MAX_BUNDLE_BYTES: usize = 200 * 1024;

/// Deepest nesting of conditions; the evaluator's recursion is bounded by it.
pub(crate) const MAX_DEPTH: u32 = 32;

/// Most conditions evaluated for one exchange, all policies together.
pub(crate) const MAX_COST: u32 = 20_000;

/// Index into [`Program::strings`].
pub(crate) type StringId = u32;
/// Index into [`Program::nodes`].
pub(crate) type NodeId = u32;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// INVARIANT: sorted and without duplicates, so an index stands for a text.
    pub strings: Vec<String>,
    /// INVARIANT: each sorted by index and without duplicates.
    pub string_sets: Vec<Vec<StringId>>,
    pub number_sets: Vec<Vec<f64>>,
    /// Compiled regular expressions, see `jupiter_detect`.
    pub patterns: Vec<Vec<u8>>,
    pub templates: Vec<Vec<Piece>>,
    /// INVARIANT: a node refers only to nodes before it.
    pub nodes: Vec<Node>,
    /// In the order of their evaluation.
    pub policies: Vec<PolicyProgram>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyProgram {
    pub name: StringId,
    pub version: StringId,
    pub rules: Vec<RuleProgram>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleProgram {
    pub name: StringId,
    pub condition: NodeId,
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action {
    Allow,
    Deny { message: u32, code: StringId },
    Log { level: LogLevel, message: u32 },
}

/// A part of a message or of a text put together when an exchange is decided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Piece {
    Text(StringId),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Node {
    Constant(bool),
    Not(NodeId),
    All(Vec<NodeId>),
    Any(Vec<NodeId>),
    /// Whether the field has a value.
    Present(Field),
    Text(TextNode),
    Number {
        field: NumberField,
        order: Order,
        value: NumberValue,
    },
    NumberIn {
        field: NumberField,
        set: u32,
        negated: bool,
    },
    Bool {
        field: BoolField,
        value: BoolValue,
        negated: bool,
    },
}

/// Holds when the test, or with `negated` its opposite, holds for any text of the field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct TextNode {
    pub field: TextField,
    pub test: TextTest,
    pub negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum TextTest {
    Equals(TextValue),
    /// Equal, and false on null: a list has the name.
    Has(TextValue),
    Contains(TextValue),
    StartsWith(TextValue),
    EndsWith(TextValue),
    /// Index into [`Program::string_sets`].
    In(u32),
    /// Index into [`Program::patterns`].
    Matches(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum TextValue {
    Constant(StringId),
    Field(TextField),
    Template(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum NumberValue {
    Constant(f64),
    Field(NumberField),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum BoolValue {
    Constant(bool),
    Field(BoolField),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Field {
    Text(TextField),
    Number(NumberField),
    Bool(BoolField),
    /// The messages themselves: only their presence can be asked.
    Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TextField {
    Single(SingleText),
    /// Counted from the start, or from the end when negative (-1 is the last).
    MessageRole(i32),
    MessageContent(i32),
    /// The rest have any number of texts.
    EveryRole,
    EveryContent,
    EveryText,
    Tools,
    Stop,
}

/// Fields with at most one text. Their interned symbol is looked up once per exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SingleText {
    Model,
    User,
    Environment,
    ClientIp,
    UserId,
    DayOfWeek,
    Date,
}

impl SingleText {
    pub(crate) const COUNT: usize = 7;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NumberField {
    Temperature,
    MaxTokens,
    TopP,
    FrequencyPenalty,
    PresencePenalty,
    TurnCount,
    Hour,
    Minute,
    Day,
    Month,
    Year,
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BoolField {
    Stream,
}

impl TextField {
    /// At most one text, so that it can stand as a value.
    pub(crate) fn is_single(self) -> bool {
        matches!(
            self,
            TextField::Single(_) | TextField::MessageRole(_) | TextField::MessageContent(_)
        )
    }

    /// Holds what people or models wrote: never shown in messages, which reach logs.
    pub(crate) fn is_prompt(self) -> bool {
        matches!(
            self,
            TextField::MessageContent(_)
                | TextField::EveryContent
                | TextField::EveryText
                | TextField::Stop
        )
    }
}
