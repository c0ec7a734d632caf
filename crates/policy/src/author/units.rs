//! Numbers that fit their field only in another unit, or not at all.

use super::checker::{Checker, shown};
use super::diagnostics::Code;
use super::operands::{Operand, Place};
use super::variables::Constant;
use crate::program::NumberField;

/// What a number field can be: from, to, and what the number says.
pub(super) struct Range {
    pub least: f64,
    pub most: f64,
    unit: &'static str,
}

/// Every number field has one.
pub(super) fn range(field: NumberField) -> Range {
    use NumberField as F;
    let (least, most, unit) = match field {
        F::Hour => (0.0, 23.0, "hours run from 0 to 23, UTC"),
        F::Minute => (0.0, 59.0, "minutes run from 0 to 59"),
        F::Day => (1.0, 31.0, "days run from 1 to 31"),
        F::Month => (1.0, 12.0, "months run from 1 to 12"),
        F::Year => (1970.0, 9999.0, "a year has four digits"),
        // Later than the year 5000 it would be milliseconds.
        F::Timestamp => (0.0, 1e11, "a timestamp counts seconds since 1970"),
        F::Temperature => (0.0, 2.0, "temperatures run from 0 to 2"),
        F::TopP => (0.0, 1.0, "`top_p` is a share, from 0 to 1"),
        F::FrequencyPenalty | F::PresencePenalty => (-2.0, 2.0, "penalties run from -2 to 2"),
        F::PiiConfidence | F::InjectionConfidence => {
            (0.0, 1.0, "confidence is a share, from 0 to 1")
        }
        F::SentimentScore => (-1.0, 1.0, "the score runs from -1 to 1"),
        F::RiskScore | F::ComplexityScore => (1.0, 10.0, "the score runs from 1 to 10"),
        F::ContextWindowPercent => (0.0, 100.0, "a percentage runs from 0 to 100"),
        F::PromptCost | F::CompletionCost | F::TotalCost => {
            (0.0, 10_000.0, "the cost of one request, in US dollars")
        }
        F::DailyCost | F::MonthlyCost => (0.0, f64::INFINITY, "costs are US dollars, from 0 on"),
        F::MaxTokens
        | F::TurnCount
        | F::MessageCount
        | F::AttachmentCount
        | F::AttachmentBytes
        | F::Length(_)
        | F::EstimatedPromptTokens
        | F::EstimatedCompletionTokens
        | F::EstimatedTotalTokens
        | F::ContextWindowUsage
        | F::RequestsThisHour
        | F::RequestsToday
        | F::DailyTokenUsage
        | F::MonthlyTokenUsage
        | F::UsagePromptTokens
        | F::UsageCompletionTokens
        | F::UsageTotalTokens => (0.0, f64::INFINITY, "it counts from 0 on"),
    };
    Range { least, most, unit }
}

impl Checker<'_> {
    /// Warns of a constant that the field never has.
    pub(super) fn check_units(&mut self, field: NumberField, operand: &Operand, at: Place<'_>) {
        let range = range(field);
        let numbers = match operand {
            Operand::Constant(Constant::Number(number)) => std::slice::from_ref(number),
            Operand::Constant(Constant::Numbers(numbers)) => numbers,
            _ => return,
        };
        // `risk_score > 0` and `confidence >= 0` are odd, and harmless.
        let outside = |number: &&f64| {
            let zero = **number == 0.0 && range.least > 0.0;
            !zero && (**number < range.least || **number > range.most)
        };
        let Some(number) = numbers.iter().find(outside) else {
            self.check_share(field, numbers, at);
            return;
        };
        self.uses.suspicious = true;
        let message = format!("`{}` is never {number}", shown(at.path));
        self.report_with_help(Code::SuspiciousUnit, at.value, message, range.unit);
    }

    /// `0.8` where `80` is meant.
    fn check_share(&mut self, field: NumberField, numbers: &[f64], at: Place<'_>) {
        if field != NumberField::ContextWindowPercent {
            return;
        }
        if let Some(number) = numbers.iter().find(|it| **it > 0.0 && **it <= 1.0) {
            let message = format!("`{}` compared with {number}", shown(at.path));
            let percent = (number * 100.0).round();
            let help = format!("a percentage runs from 0 to 100: write {percent}");
            self.report_with_help(Code::SuspiciousUnit, at.value, message, help);
        }
    }
}
