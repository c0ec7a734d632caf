//! The bytes of a program, read.
//!
//! The encoding is postcard's, written by its derived `Serialize` in `author`. It is read
//! by hand because the derived reader would be a third of the filter's policy engine; a
//! test holds the two to be equal. Lengths are bounded by the bytes that are left, so
//! reading takes memory in proportion to them.

use crate::decision::{AlertSeverity, BudgetUnit, LogLevel, RedactMethod, Window};
use crate::facts::{Detector, PartKind};
use crate::program::{
    Action, BoolField, BoolValue, Case, Entry, Field, KindFilter, List, NewValue, Node,
    NumberField, NumberNode, NumberValue, Order, PartFilter, Piece, PolicyProgram, Program, Role,
    RuleProgram, SingleText, TextField, TextNode, TextTest, TextValue,
};
use crate::settings::{Durability, Mode, OnError, Phase, RuleSettings};

/// The program that these bytes are, all of them.
pub(crate) fn program(bytes: &[u8]) -> Option<Program> {
    let mut reader = Reader(bytes);
    let program = Program::decode(&mut reader)?;
    reader.0.is_empty().then_some(program)
}

/// What is still to be read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow. Takes
    /// `most` bytes at most, the last of them up to `last`.
    #[inline(never)]
    fn varint(&mut self, most: u32, last: u8) -> Option<u64> {
        let mut number = 0;
        for nth in 0..most {
            let byte = self.byte()?;
            if nth + 1 == most && byte > last {
                return None;
            }
            number |= u64::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        Some(self.varint(5, 0x0f)? as u32)
    }

    /// A number of entries, each of which takes a byte at least.
    fn length(&mut self) -> Option<usize> {
        let length = self.number()? as usize;
        (length <= self.0.len()).then_some(length)
    }

    fn word<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.number()? as usize).copied()
    }
}

/// Reads itself, or nothing where the bytes are not of its kind.
pub(crate) trait Decode: Sized {
    fn decode(from: &mut Reader<'_>) -> Option<Self>;
}

impl Decode for bool {
    fn decode(from: &mut Reader<'_>) -> Option<bool> {
        match from.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Decode for u8 {
    fn decode(from: &mut Reader<'_>) -> Option<u8> {
        from.byte()
    }
}

impl Decode for u32 {
    fn decode(from: &mut Reader<'_>) -> Option<u32> {
        from.number()
    }
}

impl Decode for u64 {
    fn decode(from: &mut Reader<'_>) -> Option<u64> {
        from.varint(10, 1)
    }
}

/// The lowest bit is the sign.
impl Decode for i32 {
    fn decode(from: &mut Reader<'_>) -> Option<i32> {
        let number = from.number()?;
        Some((number >> 1) as i32 ^ -((number & 1) as i32))
    }
}

impl Decode for f64 {
    fn decode(from: &mut Reader<'_>) -> Option<f64> {
        let bytes = from.take(8)?.try_into().ok()?;
        Some(f64::from_le_bytes(bytes))
    }
}

impl Decode for String {
    fn decode(from: &mut Reader<'_>) -> Option<String> {
        let length = from.length()?;
        let text = std::str::from_utf8(from.take(length)?).ok()?;
        Some(text.to_owned())
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(from: &mut Reader<'_>) -> Option<Option<T>> {
        match bool::decode(from)? {
            false => Some(None),
            true => T::decode(from).map(Some),
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    #[inline(never)]
    fn decode(from: &mut Reader<'_>) -> Option<Vec<T>> {
        let length = from.length()?;
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(T::decode(from)?);
        }
        Some(items)
    }
}

impl<A: Decode, B: Decode> Decode for (A, B) {
    fn decode(from: &mut Reader<'_>) -> Option<(A, B)> {
        Some((A::decode(from)?, B::decode(from)?))
    }
}

/// Enums without contents: their variants in the order of their declaration.
macro_rules! words {
    ($($kind:ident: $($variant:ident)*;)*) => {$(
        impl Decode for $kind {
            fn decode(from: &mut Reader<'_>) -> Option<$kind> {
                from.word(&[$($kind::$variant),*])
            }
        }
    )*};
}

/// Structs: their fields in the order of their declaration.
macro_rules! records {
    ($($kind:ident: $($field:ident)*;)*) => {$(
        impl Decode for $kind {
            fn decode(from: &mut Reader<'_>) -> Option<$kind> {
                Some($kind { $($field: Decode::decode(from)?),* })
            }
        }
    )*};
}

/// Enums with contents, each variant with its number.
macro_rules! choices {
    ($($kind:ident:
        $($number:literal $variant:ident $(($($part:ident)*))? $({$($field:ident)*})?),*;
    )*) => {$(
        impl Decode for $kind {
            #[inline(never)]
            fn decode(from: &mut Reader<'_>) -> Option<$kind> {
                Some(match from.number()? {
                    $($number => {
                        $($(let $part = Decode::decode(from)?;)*)?
                        $($(let $field = Decode::decode(from)?;)*)?
                        $kind::$variant $(($($part),*))? $({$($field),*})?
                    })*
                    _ => return None,
                })
            }
        }
    )*};
}

words! {
    LogLevel: Debug Info Warn Error;
    RedactMethod: Mask Remove Replace Tokenize;
    AlertSeverity: Low Medium High Critical;
    BudgetUnit: Tokens UsdMicros;
    Detector: Pii Injection Sensitive;
    PartKind: Text Image Audio Video File Other;
    Phase: Request Response;
    Mode: Enforce Shadow;
    OnError: Closed Open;
    Durability: BestEffort Required;
    Case: AsIs LowerAscii Lower Upper;
    List: Messages Tools Stop;
    Order: Equal NotEqual Less Greater AtMost AtLeast;
    Role: System Developer User Assistant Tool Function;
    Entry: Role Content Name;
    SingleText: Model User Environment ClientIp UserId DayOfWeek Date Tier Department Region
        SensitiveSeverity InjectionType SentimentLabel ResponseModel FinishReason;
}

records! {
    Program: strings string_sets number_sets patterns templates numbers nodes policies;
    PolicyProgram: name version store_unmatched store_always rules;
    RuleProgram: name settings condition actions;
    RuleSettings: phase mode on_error durability;
    TextNode: field case test negated;
    PartFilter: message kind;
}

choices! {
    Action:
        0 Allow, 1 Deny {message code}, 2 Log {level message},
        3 Redact {fields method replacement}, 4 Modify {field value},
        5 Route {provider model reason}, 6 Alert {webhook message severity},
        7 RateLimit {key limit window}, 8 Budget {key limit unit window}, 9 Tag (tags);
    NewValue: 0 Null, 1 Bool (value), 2 Number (value), 3 Text (template), 4 Texts (texts);
    Window: 0 Seconds (number), 1 Months (number);
    Piece: 0 Text (id), 1 Field (field), 2 Cased (field case);
    Node:
        0 Constant (value), 1 Not (child), 2 All (children), 3 Any (children),
        4 If (condition then otherwise), 5 Quantified {list every body},
        6 Compare {left order right}, 7 Present (field), 8 Text (node),
        9 Number {field order value}, 10 NumberIn {field set negated},
        11 Bool {field value negated};
    NumberNode:
        0 Constant (value), 1 Field (field), 2 Count (list), 3 Length (field),
        4 Sum (left right), 5 Difference (left right), 6 Product (left right);
    TextTest:
        0 Equals (value), 1 Has (value), 2 Contains (value), 3 StartsWith (value),
        4 EndsWith (value), 5 In (set), 6 Matches (pattern);
    TextValue: 0 Constant (id), 1 Field (field), 2 Template (id);
    NumberValue: 0 Constant (value), 1 Field (field);
    BoolValue: 0 Constant (value), 1 Field (field);
    Field: 0 Text (field), 1 Number (field), 2 Bool (field), 3 Messages;
    TextField:
        0 Single (field), 1 MessageRole (index), 2 MessageContent (index), 3 Entry (entry),
        4 EveryRole, 5 EveryContent, 6 EveryText, 7 Tools, 8 Stop, 9 RoleContent (role),
        10 Parts (filter), 11 PiiTypes, 12 SensitiveCategories, 13 UserRoles,
        14 ResponseContent, 15 ResponseText;
    KindFilter: 0 Any, 1 Is (kind), 2 IsNot (kind);
    BoolField: 0 Stream, 1 HasPii, 2 HasSensitiveContent, 3 HasInjection, 4 Found (detector field);
}

/// Those without contents first, then the length of a text.
impl Decode for NumberField {
    #[inline(never)]
    fn decode(from: &mut Reader<'_>) -> Option<NumberField> {
        use NumberField::*;
        const PLAIN: [NumberField; 35] = [
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
        ];
        match from.number()? as usize {
            nth if nth < PLAIN.len() => PLAIN.get(nth).copied(),
            nth if nth == PLAIN.len() => Some(Length(TextField::decode(from)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use std::fmt::Debug;

    /// What `postcard` makes of the bytes and what it leaves, as text: no number equals NaN.
    fn derived<T: DeserializeOwned + Debug>(bytes: &[u8]) -> String {
        format!("{:?}", postcard::take_from_bytes::<T>(bytes).ok())
    }

    fn ours<T: Decode + Debug>(bytes: &[u8]) -> String {
        let mut reader = Reader(bytes);
        let read = T::decode(&mut reader);
        format!("{:?}", read.map(|it| (it, reader.0)))
    }

    /// Small numbers, and some of two bytes.
    fn number() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0..4u8).prop_map(|byte| vec![byte]),
            2 => (0..128u8).prop_map(|byte| vec![byte]),
            1 => (0..128u8, 0..128u8).prop_map(|(low, high)| vec![low | 0x80, high]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_are_read_as_the_derived_reader_reads_them(
            kind in 0..40u8,
            rest in proptest::collection::vec(number(), 0..40),
        ) {
            let bytes = [vec![kind], rest.concat()].concat();
            prop_assert_eq!(ours::<Node>(&bytes), derived::<Node>(&bytes));
            prop_assert_eq!(ours::<Action>(&bytes), derived::<Action>(&bytes));
            prop_assert_eq!(ours::<NumberNode>(&bytes), derived::<NumberNode>(&bytes));
            prop_assert_eq!(ours::<Vec<Piece>>(&bytes), derived::<Vec<Piece>>(&bytes));
            prop_assert_eq!(ours::<Field>(&bytes), derived::<Field>(&bytes));
            prop_assert_eq!(ours::<PolicyProgram>(&bytes), derived::<PolicyProgram>(&bytes));
            prop_assert_eq!(ours::<Vec<f64>>(&bytes), derived::<Vec<f64>>(&bytes));
            prop_assert_eq!(ours::<Vec<String>>(&bytes), derived::<Vec<String>>(&bytes));
        }
    }
}
