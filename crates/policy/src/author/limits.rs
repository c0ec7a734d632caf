//! Actions that count: `rate_limit` and `budget`, and the windows they count in.

use super::checker::{Checker, Fields, shown};
use super::diagnostics::{Code, Span};
use super::operands::Operand;
use super::typed::{Action, Template};
use super::variables::Constant;
use super::yaml::{Node, Value};
use crate::decision::{BudgetUnit, Window};

pub(super) const BUDGET_TYPES: &[&str] = &["tokens", "cost"];

/// Units a window is written in, with their seconds; a month has none.
pub(super) const UNITS: &[(&str, u64)] = &[
    ("s", 1),
    ("min", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];

/// Words for one unit, and what is written instead.
const WORDS: &[(&str, &str)] = &[
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("hourly", "h"),
    ("day", "d"),
    ("days", "d"),
    ("daily", "d"),
    ("week", "w"),
    ("weeks", "w"),
    ("weekly", "w"),
    ("month", "mo"),
    ("months", "mo"),
    ("monthly", "mo"),
];

/// Longest window: counters are not kept for ever.
const MAX_SECONDS: u64 = 366 * 86_400;
const MAX_MONTHS: u32 = 12;

/// Largest limit that keeps exact in every place it passes.
const MAX_LIMIT: f64 = 9_007_199_254_740_991.0;

impl Checker<'_> {
    pub(super) fn rate_limit(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let key = self.limit_key(fields);
        let limit = self
            .require(fields, "limit")
            .and_then(|node| self.count(node, 1.0, "requests"));
        let window = self
            .require(fields, "window")
            .and_then(|node| self.window(node));
        Some(Action::RateLimit {
            key: key?,
            limit: limit?,
            window: window?,
        })
    }

    pub(super) fn budget(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let key = self.limit_key(fields);
        let unit = match self.optional_text(fields, "budget_type") {
            Some((text, span)) => {
                let words = BUDGET_TYPES;
                self.word(text, span, Code::UnknownValue, "budget type", words)
            }
            None => {
                let message = "a `budget` needs `budget_type`";
                let help = "write `budget_type: tokens` or `budget_type: cost`; `type` says that \
                            this is a budget";
                self.report_with_help(Code::MissingKey, fields.span(), message, help);
                None
            }
        };
        let window = self
            .require(fields, "window")
            .and_then(|node| self.window(node));
        let node = self.require(fields, "limit");
        let (unit, limit) = match unit? {
            "tokens" => (BudgetUnit::Tokens, self.count(node?, 0.0, "tokens")),
            _ => (BudgetUnit::UsdMicros, self.dollars(node?)),
        };
        Some(Action::Budget {
            key: key?,
            limit: limit?,
            unit,
            window: window?,
        })
    }

    /// Who is counted together.
    fn limit_key(&mut self, fields: &Fields<'_>) -> Option<Template> {
        let (text, span) = self.required_text(fields, "key")?;
        self.bounded_message(text, span)
    }

    fn limit(&mut self, node: &Node) -> Option<f64> {
        match self.operand(node)? {
            Operand::Constant(Constant::Number(number)) => Some(number),
            other => {
                let message = format!("`limit` is a number, and this is {}", other.describe());
                let help = "write a number, or a variable that holds one";
                self.report_with_help(Code::BadLimit, node.span, message, help);
                None
            }
        }
    }

    fn count(&mut self, node: &Node, least: f64, what: &str) -> Option<u64> {
        let number = self.limit(node)?;
        if number.fract() != 0.0 || number < least || number > MAX_LIMIT {
            let message = format!("`limit` counts {what}, and this is {number}");
            let help = format!("write a whole number from {least} on");
            self.report_with_help(Code::BadLimit, node.span, message, help);
            return None;
        }
        if what == "tokens" && number > 0.0 && number < 100.0 {
            let message = format!("a budget of {number} tokens is less than one answer");
            let help = "for dollars, write `budget_type: cost`";
            self.report_with_help(Code::SuspiciousUnit, node.span, message, help);
        }
        Some(number as u64)
    }

    /// US dollars to millionths.
    fn dollars(&mut self, node: &Node) -> Option<u64> {
        const MOST_LIKELY: f64 = 1_000_000.0;
        let number = self.limit(node)?;
        if !(0.0..=MAX_LIMIT / 1e6).contains(&number) {
            let message = format!("`limit` is an amount of US dollars, and this is {number}");
            let help = "write an amount from 0 on";
            self.report_with_help(Code::BadLimit, node.span, message, help);
            return None;
        }
        if number >= MOST_LIKELY {
            let message = format!("a budget of {number} US dollars");
            let help = "for tokens, write `budget_type: tokens`";
            self.report_with_help(Code::SuspiciousUnit, node.span, message, help);
        }
        Some((number * 1e6).round() as u64)
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        match self.operand(node)? {
            Operand::Constant(Constant::Number(seconds)) => self.seconds(node, seconds),
            Operand::Constant(Constant::Text(text)) => self.written_window(&text, node.span),
            other => {
                let message = format!(
                    "`window` is a span of time, and this is {}",
                    other.describe()
                );
                self.report_with_help(Code::BadWindow, node.span, message, HELP);
                None
            }
        }
    }

    fn seconds(&mut self, node: &Node, seconds: f64) -> Option<Window> {
        if seconds.fract() != 0.0 || seconds < 1.0 {
            let message = format!("`window` is a span of time, and this is {seconds}");
            self.report_with_help(Code::BadWindow, node.span, message, HELP);
            return None;
        }
        let whole = seconds as u64;
        let window = self.bounded_window(whole, node.span)?;
        let canonical = format!("`{}`", shortest(whole));
        if matches!(node.value, Value::Number(..)) {
            self.alternate(&format!("`{whole}` seconds"), &canonical, node.span);
        }
        if whole >= 1_000_000 && whole.is_multiple_of(60_000) {
            let message = format!("a window of {whole} seconds, which is {canonical}");
            let help = format!(
                "if milliseconds are meant, write `{}`",
                shortest(whole / 1_000)
            );
            self.report_with_help(Code::SuspiciousUnit, node.span, message, help);
        }
        Some(window)
    }

    fn written_window(&mut self, text: &str, span: Span) -> Option<Window> {
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
        let unit = unit.trim();
        let number = match number {
            // `hour` is `1h`.
            "" if WORDS.iter().any(|(word, _)| *word == unit) => Some(1),
            number => number.parse::<u32>().ok().filter(|number| *number > 0),
        };
        let Some(number) = number else {
            let message = format!("`{}` is not a span of time", shown(text));
            self.report_with_help(Code::BadWindow, span, message, HELP);
            return None;
        };
        if unit == "m" {
            let message = format!("`{number}m` may be minutes or months");
            let help = format!("write `{number}min` or `{number}mo`");
            self.report_with_help(Code::BadWindow, span, message, help);
            return None;
        }
        let known = |unit: &str| unit == "mo" || UNITS.iter().any(|(known, _)| *known == unit);
        let canonical = match WORDS.iter().find(|(word, _)| *word == unit) {
            Some((_, canonical)) => canonical,
            None if unit.is_empty() => "s",
            None if known(unit) => unit,
            None => {
                let message = format!("`{}` is not a span of time", shown(text));
                self.report_with_help(Code::BadWindow, span, message, HELP);
                return None;
            }
        };
        let written = format!("{number}{canonical}");
        if written != text {
            self.alternate(&format!("`{}`", shown(text)), &format!("`{written}`"), span);
        }
        if canonical == "mo" {
            if number > MAX_MONTHS {
                return self.too_long(span);
            }
            return Some(Window::Months(number));
        }
        let seconds = UNITS.iter().find(|(unit, _)| *unit == canonical);
        let seconds = seconds.map_or(1, |(_, seconds)| *seconds);
        self.bounded_window(u64::from(number).saturating_mul(seconds), span)
    }

    fn bounded_window(&mut self, seconds: u64, span: Span) -> Option<Window> {
        match seconds > MAX_SECONDS {
            true => self.too_long(span),
            false => Some(Window::Seconds(seconds)),
        }
    }

    fn too_long(&mut self, span: Span) -> Option<Window> {
        let help = "a window lasts a year at most: `366d`, `12mo`";
        self.report_with_help(Code::BadWindow, span, "the window is too long", help);
        None
    }
}

const HELP: &str = "write a number and a unit: `90s`, `15min`, `1h`, `1d`, `1w`, `1mo`";

/// Seconds in the largest unit that divides them.
fn shortest(seconds: u64) -> String {
    let fits = |(_, length): &&(&str, u64)| seconds.is_multiple_of(*length);
    match UNITS.iter().rev().find(fits) {
        Some((unit, length)) => format!("{}{unit}", seconds / length),
        None => format!("{seconds}s"),
    }
}
