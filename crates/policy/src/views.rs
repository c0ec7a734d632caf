//! What the records of a program mean.
//!
//! Records were checked when they were read (`records`); here is none left that does not
//! fit, so `None` only stands for what cannot be.

use crate::decision::{AlertSeverity, BudgetUnit, LogLevel, RedactMethod, Window};
use crate::facts::{Detector, PartKind};
use crate::program::{
    Action, BoolField, BoolValue, Case, Entry, Field, KindFilter, List, NewValue, Node, NodeId,
    NumberField, NumberId, NumberNode, NumberValue, Order, PartFilter, Piece, PolicyProgram, Role,
    RuleProgram, SingleText, TextField, TextNode, TextTest, TextValue,
};
use crate::records::{Op, Program, Record};
use crate::settings::{Durability, Mode, OnError, Phase, RuleSettings};

/// Words: the number of each is its place.
pub(crate) trait Word: Copy + PartialEq + 'static {
    const ALL: &'static [Self];

    fn numbered(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

macro_rules! words {
    ($($kind:ident: $($variant:ident)*;)*) => {$(
        impl Word for $kind {
            const ALL: &'static [$kind] = &[$($kind::$variant),*];
        }
    )*};
}

words! {
    LogLevel: Debug Info Warn Error;
    RedactMethod: Mask Remove Replace Tokenize;
    AlertSeverity: Low Medium High Critical;
    BudgetUnit: Tokens UsdMicros;
    Detector: Pii Injection Sensitive;
    Case: AsIs LowerAscii Lower Upper;
    List: Messages Tools Stop;
    Order: Equal NotEqual Less Greater AtMost AtLeast;
    Role: System Developer User Assistant Tool Function;
    SingleText: Model User Environment ClientIp UserId DayOfWeek Date Tier Department Region
        SensitiveSeverity InjectionType SentimentLabel ResponseModel FinishReason;
    BoolField: Stream HasPii HasSensitiveContent HasInjection;
    NumberField: Temperature MaxTokens TopP FrequencyPenalty PresencePenalty TurnCount Hour
        Minute Day Month Year Timestamp EstimatedPromptTokens EstimatedCompletionTokens
        EstimatedTotalTokens PromptCost CompletionCost TotalCost PiiConfidence
        InjectionConfidence SentimentScore RiskScore ComplexityScore ContextWindowUsage
        ContextWindowPercent RequestsThisHour RequestsToday DailyTokenUsage MonthlyTokenUsage
        DailyCost MonthlyCost UsagePromptTokens UsageCompletionTokens UsageTotalTokens
        MessageCount AttachmentCount AttachmentBytes;
}

/// Which kinds of parts: any, each one alone, all but each one.
impl KindFilter {
    fn of(number: u32) -> Option<KindFilter> {
        let Some(number) = number.checked_sub(1) else {
            return Some(KindFilter::Any);
        };
        let kinds = PartKind::ALL.len();
        let kind = *PartKind::ALL.get(number as usize % kinds)?;
        Some(match (number as usize) < kinds {
            true => KindFilter::Is(kind),
            false => KindFilter::IsNot(kind),
        })
    }

    #[cfg(feature = "author")]
    pub(crate) fn number(self) -> u32 {
        let all = (0..13).map(KindFilter::of);
        // Every filter has its number.
        let mut found = (0..).zip(all).filter(|(_, it)| *it == Some(self));
        found.next().map_or(0, |(number, _)| number)
    }
}

// Flags of a rule.
pub(crate) const ON_ANSWERS: u32 = 1;
pub(crate) const IN_SHADOW: u32 = 1 << 1;
pub(crate) const OPEN_ON_ERROR: u32 = 1 << 2;
pub(crate) const STORED_FIRST: u32 = 1 << 3;
pub(crate) const HOLDS_FOR_GOOD: u32 = 1 << 4;

impl Program {
    pub fn record(&self, id: u32) -> Option<Record> {
        self.records.get(id as usize).copied()
    }

    pub fn constant(&self, id: u32) -> Option<f64> {
        self.constants.get(id as usize).copied()
    }

    #[inline(never)]
    pub fn field(&self, id: u32) -> Option<Field> {
        let Record {
            op,
            operands: [_, first, second, ..],
        } = self.record(id)?;
        let text = match op {
            Op::SingleText => TextField::Single(SingleText::numbered(first)?),
            Op::MessageRole => TextField::MessageRole(first.cast_signed()),
            Op::MessageContent => TextField::MessageContent(first.cast_signed()),
            Op::EntryRole => TextField::Entry(Entry::Role),
            Op::EntryContent => TextField::Entry(Entry::Content),
            Op::EntryName => TextField::Entry(Entry::Name),
            Op::EveryRole => TextField::EveryRole,
            Op::EveryContent => TextField::EveryContent,
            Op::EveryText => TextField::EveryText,
            Op::Tools => TextField::Tools,
            Op::Stop => TextField::Stop,
            Op::RoleContent => TextField::RoleContent(Role::numbered(first)?),
            Op::Parts | Op::PartsOf => TextField::Parts(PartFilter {
                message: (op == Op::PartsOf).then_some(second.cast_signed()),
                kind: KindFilter::of(first)?,
            }),
            Op::PiiTypes => TextField::PiiTypes,
            Op::SensitiveCategories => TextField::SensitiveCategories,
            Op::UserRoles => TextField::UserRoles,
            Op::ResponseContent => TextField::ResponseContent,
            Op::ResponseText => TextField::ResponseText,
            Op::AttachmentTypes => TextField::AttachmentTypes,
            Op::NumberField => return NumberField::numbered(first).map(Field::Number),
            Op::LengthField => {
                return Some(Field::Number(NumberField::Length(self.text_field(first)?)));
            }
            Op::BoolField => return BoolField::numbered(first).map(Field::Bool),
            Op::FoundField => {
                let found = BoolField::Found(Detector::numbered(first)?, self.text_field(second)?);
                return Some(Field::Bool(found));
            }
            Op::Messages => return Some(Field::Messages),
            _ => return None,
        };
        Some(Field::Text(text))
    }

    pub fn text_field(&self, id: u32) -> Option<TextField> {
        match self.field(id)? {
            Field::Text(field) => Some(field),
            _ => None,
        }
    }

    fn number_field(&self, id: u32) -> Option<NumberField> {
        match self.field(id)? {
            Field::Number(field) => Some(field),
            _ => None,
        }
    }

    fn bool_field(&self, id: u32) -> Option<BoolField> {
        match self.field(id)? {
            Field::Bool(field) => Some(field),
            _ => None,
        }
    }

    /// The pieces of a template.
    pub fn pieces(&self, template: u32) -> impl Iterator<Item = Piece> {
        let pieces = self.record(template);
        let pieces = pieces.filter(|record| record.op == Op::Template);
        let pieces = pieces.map_or(&[][..], |record| self.list(record.operands[0]));
        pieces.iter().filter_map(|piece| self.piece(*piece))
    }

    #[inline(never)]
    fn piece(&self, id: u32) -> Option<Piece> {
        let Record {
            op,
            operands: [first, second, ..],
        } = self.record(id)?;
        Some(match op {
            Op::PieceText => Piece::Text(first),
            Op::PieceField => Piece::Field(self.field(first)?),
            Op::PieceCased => Piece::Cased(self.text_field(first)?, Case::numbered(second)?),
            _ => return None,
        })
    }

    #[inline(never)]
    pub fn number(&self, id: NumberId) -> Option<NumberNode> {
        let Record {
            op,
            operands: [first, second, ..],
        } = self.record(id)?;
        Some(match op {
            Op::ConstantNumber => NumberNode::Constant(self.constant(first)?),
            Op::FieldNumber => NumberNode::Field(self.number_field(first)?),
            Op::CountNumber => NumberNode::Count(List::numbered(second)?),
            Op::LengthNumber | Op::EntryLengthNumber => NumberNode::Length(self.text_field(first)?),
            Op::Sum => NumberNode::Sum(first, second),
            Op::Difference => NumberNode::Difference(first, second),
            Op::Product => NumberNode::Product(first, second),
            _ => return None,
        })
    }

    /// `None` where the record is no condition.
    #[inline(never)]
    pub fn node(&self, id: NodeId) -> Option<Node<'_>> {
        let Record {
            op,
            operands: [first, second, third, fourth],
        } = self.record(id)?;
        let test = match op {
            Op::Never => return Some(Node::Constant(false)),
            Op::Always => return Some(Node::Constant(true)),
            Op::Not => return Some(Node::Not(first)),
            Op::All => return Some(Node::All(self.list(first))),
            Op::Some => return Some(Node::Any(self.list(first))),
            Op::If => return Some(Node::If(first, second, third)),
            Op::Quantified => {
                return Some(Node::Quantified {
                    list: List::numbered(second)?,
                    every: third == 1,
                    body: fourth,
                });
            }
            Op::Compare => {
                return Some(Node::Compare {
                    left: first,
                    order: Order::numbered(second)?,
                    right: third,
                });
            }
            Op::Present => return self.field(first).map(Node::Present),
            Op::NumberConstant | Op::NumberNumber => {
                return Some(Node::Number {
                    field: self.number_field(first)?,
                    order: Order::numbered(second)?,
                    value: match op {
                        Op::NumberConstant => NumberValue::Constant(self.constant(third)?),
                        _ => NumberValue::Field(self.number_field(third)?),
                    },
                });
            }
            Op::NumberIn => {
                return Some(Node::NumberIn {
                    field: self.number_field(first)?,
                    set: self.list(third),
                    negated: second == 1,
                });
            }
            Op::BoolConstant | Op::BoolBool => {
                return Some(Node::Bool {
                    field: self.bool_field(first)?,
                    value: match op {
                        Op::BoolConstant => BoolValue::Constant(third == 1),
                        _ => BoolValue::Field(self.bool_field(third)?),
                    },
                    negated: second == 1,
                });
            }
            Op::TextIn => TextTest::In(third),
            Op::TextMatches => TextTest::Matches(third),
            Op::TextConstant | Op::TextField | Op::TextTemplate => {
                let value = match op {
                    Op::TextConstant => TextValue::Constant(fourth),
                    Op::TextField => TextValue::Field(self.text_field(fourth)?),
                    _ => TextValue::Template(fourth),
                };
                match third {
                    0 => TextTest::Equals(value),
                    1 => TextTest::Has(value),
                    2 => TextTest::Contains(value),
                    3 => TextTest::StartsWith(value),
                    _ => TextTest::EndsWith(value),
                }
            }
            _ => return None,
        };
        Some(Node::Text(TextNode {
            field: self.text_field(first)?,
            case: Case::numbered(second & 3)?,
            test,
            negated: second & 4 != 0,
        }))
    }

    #[inline(never)]
    pub fn action(&self, id: u32) -> Option<Action<'_>> {
        let Record {
            op,
            operands: [first, second, third, fourth],
        } = self.record(id)?;
        let maybe = |number: u32| number.checked_sub(1);
        let value = match op {
            Op::Allow => return Some(Action::Allow),
            Op::Deny => {
                return Some(Action::Deny {
                    message: first,
                    code: second,
                });
            }
            Op::Log => {
                return Some(Action::Log {
                    level: LogLevel::numbered(second)?,
                    message: first,
                });
            }
            Op::Redact => {
                return Some(Action::Redact {
                    fields: self.list(first),
                    method: RedactMethod::numbered(second)?,
                    replacement: maybe(third),
                });
            }
            Op::Route => {
                return Some(Action::Route {
                    provider: maybe(first),
                    model: maybe(second),
                    reason: maybe(third),
                });
            }
            Op::Alert => {
                return Some(Action::Alert {
                    webhook: maybe(third),
                    message: first,
                    severity: AlertSeverity::numbered(second)?,
                });
            }
            Op::RateLimit => {
                let (limit, window) = self.limit(second, third);
                return Some(Action::RateLimit {
                    key: first,
                    limit,
                    window,
                });
            }
            Op::Budget => {
                let (limit, window) = self.limit(second, third);
                return Some(Action::Budget {
                    key: first,
                    limit,
                    unit: BudgetUnit::numbered(fourth)?,
                    window,
                });
            }
            Op::Tags => return Some(Action::Tag(self.list(first))),
            Op::ModifyNull => NewValue::Null,
            Op::ModifyBool => NewValue::Bool(second == 1),
            Op::ModifyNumber => NewValue::Number(self.constant(second)?),
            Op::ModifyText => NewValue::Text(second),
            Op::ModifyTexts => NewValue::Texts(self.list(second)),
            _ => return None,
        };
        Some(Action::Modify {
            field: first,
            value,
        })
    }

    fn limit(&self, months: u32, numbers: u32) -> (u64, Window) {
        let numbers = self.list(numbers);
        let word = |nth: usize| numbers.get(nth).copied().unwrap_or(0);
        let number = |nth| u64::from(word(nth)) | u64::from(word(nth + 1)) << 32;
        let window = match months {
            0 => Window::Seconds(number(2)),
            _ => Window::Months(word(2)),
        };
        (number(0), window)
    }

    /// Name and value of a tag.
    pub fn tag(&self, id: u32) -> Option<(u32, u32)> {
        let [name, value, ..] = self.record(id)?.operands;
        Some((name, value))
    }

    pub fn rule(&self, id: u32) -> Option<RuleProgram<'_>> {
        let [name, flags, condition, actions] = self.record(id)?.operands;
        let has = |flag: u32| flags & flag != 0;
        Some(RuleProgram {
            name,
            settings: RuleSettings {
                phase: either(has(ON_ANSWERS), Phase::Response, Phase::Request),
                mode: either(has(IN_SHADOW), Mode::Shadow, Mode::Enforce),
                on_error: either(has(OPEN_ON_ERROR), OnError::Open, OnError::Closed),
                durability: either(
                    has(STORED_FIRST),
                    Durability::Required,
                    Durability::BestEffort,
                ),
            },
            holds_for_good: has(HOLDS_FOR_GOOD),
            condition,
            actions: self.list(actions),
        })
    }

    pub fn policy(&self, id: u32) -> Option<PolicyProgram<'_>> {
        let [name, version, stored, rules] = self.record(id)?.operands;
        Some(PolicyProgram {
            name,
            version,
            store_unmatched: stored_first(stored % 3),
            store_always: stored_first(stored / 3),
            rules: self.list(rules),
        })
    }

    pub fn policies(&self) -> impl Iterator<Item = PolicyProgram<'_>> {
        self.policies.iter().filter_map(|id| self.policy(*id))
    }
}

fn either<T>(first: bool, yes: T, no: T) -> T {
    if first { yes } else { no }
}

/// Whether something is stored first, and what happens when it cannot be.
pub(crate) fn stored_first(number: u32) -> Option<OnError> {
    match number {
        1 => Some(OnError::Closed),
        2 => Some(OnError::Open),
        _ => None,
    }
}

#[cfg(feature = "author")]
pub(crate) fn stored_first_number(stored: Option<OnError>) -> u32 {
    match stored {
        None => 0,
        Some(OnError::Closed) => 1,
        Some(OnError::Open) => 2,
    }
}
