//! The words of a program: what conditions, actions and fields there are.
//!
//! A bundle holds records (`records`); what they mean is said in these types, which
//! borrow from the program (`views`). Everything an evaluation needs is resolved: fields
//! have a known type, constants are interned in one sorted table, so that `==` and `in`
//! compare numbers. Change anything here and `records` must follow, and
//! [`FORMAT_VERSION`] must rise.

use crate::decision::{AlertSeverity, BudgetUnit, LogLevel, RedactMethod, Window};
use crate::facts::{Detector, PartKind};
use crate::letters;
use crate::settings::{OnError, RuleSettings};
use std::borrow::Cow;

/// First bytes of a bundle.
pub(crate) const MAGIC: &[u8; 4] = b"MJPB";

/// Version of the encoding that follows the magic, as two little-endian bytes.
pub const FORMAT_VERSION: u16 = 8;

/// Most bytes of a bundle: at this size Envoy applies a new one in 0.2 s.
pub const MAX_BUNDLE_BYTES: usize = 200 * 1024;

/// Deepest nesting of conditions; the evaluator's recursion is bounded by it.
pub(crate) const MAX_DEPTH: u32 = 32;

/// Most conditions evaluated for one exchange, all policies together.
pub(crate) const MAX_COST: u32 = 20_000;

/// A quantifier's body costs as if its list had this many entries. A longer list costs in
/// proportion: quantifiers do not nest, so evaluation stays linear in the exchange.
pub(crate) const COUNTED_ENTRIES: u32 = 100;

/// Index into the strings of a program.
pub(crate) type StringId = u32;
/// Index of a record that is a condition.
pub(crate) type NodeId = u32;
/// Index of a record that is a computed number.
pub(crate) type NumberId = u32;
/// Where a list begins, see `Program::list`.
pub(crate) type ListId = u32;

/// A policy in a program. The rules are records, in the order of their evaluation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyProgram<'p> {
    pub name: StringId,
    pub version: StringId,
    /// The record is stored first when none of the rules acts on the request.
    pub store_unmatched: Option<OnError>,
    /// The record is stored first whatever acts on the request: rules on its answer,
    /// which are asked when it has left, ask for it.
    pub store_always: Option<OnError>,
    pub rules: &'p [u32],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleProgram<'p> {
    pub name: StringId,
    pub settings: RuleSettings,
    /// What holds for the beginning of an answer holds for all of it, so that it can be
    /// asked while the answer comes. Said by the compiler.
    pub holds_for_good: bool,
    pub condition: NodeId,
    /// Records.
    pub actions: &'p [u32],
}

/// Messages and keys are templates: lists of pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'p> {
    Allow,
    Deny {
        message: ListId,
        code: StringId,
    },
    Log {
        level: LogLevel,
        message: ListId,
    },
    /// The fields are records.
    Redact {
        fields: &'p [u32],
        method: RedactMethod,
        replacement: Option<StringId>,
    },
    /// The field is a record.
    Modify {
        field: u32,
        value: NewValue<'p>,
    },
    Route {
        provider: Option<ListId>,
        model: Option<ListId>,
        reason: Option<ListId>,
    },
    Alert {
        webhook: Option<StringId>,
        message: ListId,
        severity: AlertSeverity,
    },
    RateLimit {
        key: ListId,
        limit: u64,
        window: Window,
    },
    Budget {
        key: ListId,
        limit: u64,
        unit: BudgetUnit,
        window: Window,
    },
    /// Records, see `Program::tag`.
    Tag(&'p [u32]),
}

/// What a field is set to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NewValue<'p> {
    Null,
    Bool(bool),
    Number(f64),
    /// A template.
    Text(ListId),
    Texts(&'p [StringId]),
}

/// A part of a message or of a text put together when an exchange is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Piece {
    Text(StringId),
    Field(Field),
    Cased(TextField, Case),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'p> {
    Constant(bool),
    Not(NodeId),
    All(&'p [NodeId]),
    Any(&'p [NodeId]),
    /// The second where the first holds, else the third.
    If(NodeId, NodeId, NodeId),
    /// Whether the body holds for every entry of the list, or for some entry.
    /// INVARIANT: bodies have no quantifiers, and read nothing long but the entry.
    Quantified {
        list: List,
        every: bool,
        body: NodeId,
    },
    /// False when either side is missing.
    Compare {
        left: NumberId,
        order: Order,
        right: NumberId,
    },
    /// Whether the field has a value.
    Present(Field),
    Text(TextNode),
    Number {
        field: NumberField,
        order: Order,
        value: NumberValue,
    },
    /// The set has indices of constants.
    NumberIn {
        field: NumberField,
        set: &'p [u32],
        negated: bool,
    },
    Bool {
        field: BoolField,
        value: BoolValue,
        negated: bool,
    },
}

/// Holds when the test, or with `negated` its opposite, holds for any text of the field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TextNode {
    pub field: TextField,
    pub case: Case,
    pub test: TextTest,
    pub negated: bool,
}

/// What a field's text becomes before it is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    AsIs,
    LowerAscii,
    Lower,
    Upper,
}

/// A number computed from others; missing when any of them is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NumberNode {
    Constant(f64),
    Field(NumberField),
    /// Entries of a list.
    Count(List),
    /// Characters of a text.
    Length(TextField),
    Sum(NumberId, NumberId),
    Difference(NumberId, NumberId),
    Product(NumberId, NumberId),
}

/// Lists of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Messages,
    Tools,
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TextTest {
    Equals(TextValue),
    /// Equal, and false on null: a list has the name.
    Has(TextValue),
    Contains(TextValue),
    StartsWith(TextValue),
    EndsWith(TextValue),
    /// A list of constants, in order.
    In(ListId),
    /// Index into the patterns of a program.
    Matches(u32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TextValue {
    Constant(StringId),
    Field(TextField),
    Template(ListId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NumberValue {
    Constant(f64),
    Field(NumberField),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum BoolValue {
    Constant(bool),
    Field(BoolField),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Text(TextField),
    Number(NumberField),
    Bool(BoolField),
    /// The messages themselves: only their presence can be asked.
    Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextField {
    Single(SingleText),
    /// Counted from the start, or from the end when negative (-1 is the last).
    MessageRole(i32),
    MessageContent(i32),
    /// Of the entry a quantifier looks at.
    Entry(Entry),
    /// The rest have any number of texts.
    EveryRole,
    EveryContent,
    EveryText,
    Tools,
    Stop,
    /// Contents of the messages with this role.
    RoleContent(Role),
    /// Kinds of the parts that messages are made of.
    Parts(PartFilter),
    PiiTypes,
    SensitiveCategories,
    UserRoles,
    ResponseContent,
    /// All text of the answer.
    ResponseText,
    /// Media types of the attachments that the request carries.
    AttachmentTypes,
}

/// Roles that a message can be chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

impl Role {
    #[cfg(feature = "author")]
    pub(crate) const ALL: [Role; 6] = [
        Role::System,
        Role::Developer,
        Role::User,
        Role::Assistant,
        Role::Tool,
        Role::Function,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Function => "function",
        }
    }
}

/// Which parts, of one message or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartFilter {
    /// Counted as for [`TextField::MessageContent`]; `None` for all.
    pub message: Option<i32>,
    pub kind: KindFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KindFilter {
    Any,
    Is(PartKind),
    IsNot(PartKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Of a message.
    Role,
    Content,
    /// The entry itself, where it is a text.
    Name,
}

/// Fields with at most one text. Their interned symbol is looked up once per exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SingleText {
    Model,
    User,
    Environment,
    ClientIp,
    UserId,
    DayOfWeek,
    Date,
    Tier,
    Department,
    Region,
    SensitiveSeverity,
    InjectionType,
    SentimentLabel,
    ResponseModel,
    FinishReason,
}

impl SingleText {
    pub(crate) const COUNT: usize = 15;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    EstimatedPromptTokens,
    EstimatedCompletionTokens,
    EstimatedTotalTokens,
    PromptCost,
    CompletionCost,
    TotalCost,
    PiiConfidence,
    InjectionConfidence,
    SentimentScore,
    RiskScore,
    ComplexityScore,
    ContextWindowUsage,
    ContextWindowPercent,
    RequestsThisHour,
    RequestsToday,
    DailyTokenUsage,
    MonthlyTokenUsage,
    DailyCost,
    MonthlyCost,
    UsagePromptTokens,
    UsageCompletionTokens,
    UsageTotalTokens,
    MessageCount,
    AttachmentCount,
    /// Of all attachments that the request carries, decoded.
    AttachmentBytes,
    /// Texts of a list, characters of a text.
    Length(TextField),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoolField {
    Stream,
    HasPii,
    HasSensitiveContent,
    HasInjection,
    /// Whether the detector noticed something in any text of the field.
    Found(Detector, TextField),
}

impl TextField {
    /// At most one text, so that it can stand as a value.
    pub(crate) fn is_single(self) -> bool {
        matches!(
            self,
            TextField::Single(_)
                | TextField::MessageRole(_)
                | TextField::MessageContent(_)
                | TextField::Entry(_)
                | TextField::ResponseContent
        )
    }

    /// Holds what people or models wrote: never shown in messages, which reach logs.
    #[cfg(feature = "author")]
    pub(crate) fn is_prompt(self) -> bool {
        matches!(
            self,
            TextField::MessageContent(_)
                | TextField::EveryContent
                | TextField::EveryText
                | TextField::Stop
                | TextField::RoleContent(_)
                | TextField::ResponseContent
                | TextField::ResponseText
                | TextField::Entry(_)
        )
    }
}

impl Order {
    #[inline(always)]
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Order::Equal => left == right,
            Order::NotEqual => left != right,
            Order::Less => left < right,
            Order::Greater => left > right,
            Order::AtMost => left <= right,
            Order::AtLeast => left >= right,
        }
    }
}

impl Case {
    pub(crate) fn of(self, text: &str) -> Cow<'_, str> {
        match self {
            Case::AsIs => Cow::Borrowed(text),
            Case::LowerAscii => Cow::Owned(text.to_ascii_lowercase()),
            Case::Lower => Cow::Owned(letters::lower(text)),
            Case::Upper => Cow::Owned(letters::upper(text)),
        }
    }
}
