//! Diagnostics as a person reads them: position, excerpt, caret, help.

use super::diagnostics::{Diagnostic, Severity, Span};
use std::fmt::Write;

/// Longest part of a line that is shown.
const MAX_SHOWN_CHARS: usize = 160;

/// Renders diagnostics in the manner of rustc, without colour. `origin` names the text.
pub fn render(diagnostics: &[Diagnostic], text: &str, origin: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for diagnostic in diagnostics {
        // Writing to a string cannot fail.
        let _ = render_one(&mut out, diagnostic, &lines, origin);
    }
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors + warnings > 0 {
        let _ = writeln!(
            out,
            "{origin}: {}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        );
    }
    out
}

fn render_one(
    out: &mut String,
    diagnostic: &Diagnostic,
    lines: &[&str],
    origin: &str,
) -> std::fmt::Result {
    let kind = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let span = diagnostic.span;
    let number = span.line.to_string();
    let gutter = " ".repeat(number.len());
    writeln!(out, "{kind}[{}]: {}", diagnostic.code, diagnostic.message)?;
    writeln!(out, "{gutter}--> {origin}:{}:{}", span.line, span.column)?;
    if let Some(line) = span.line.checked_sub(1).and_then(|index| lines.get(index)) {
        let (shown, indent, width) = excerpt(line, span);
        writeln!(out, "{gutter} |")?;
        writeln!(out, "{number} | {shown}")?;
        writeln!(
            out,
            "{gutter} | {}{}",
            " ".repeat(indent),
            "^".repeat(width)
        )?;
    }
    if let Some(help) = &diagnostic.help {
        writeln!(out, "{gutter} = help: {help}")?;
    }
    writeln!(out)
}

/// The line without control characters, and where the caret goes below it.
fn excerpt(line: &str, span: Span) -> (String, usize, usize) {
    let start = span.column.saturating_sub(1);
    // A long line is shown around its fault.
    let skipped = if start > MAX_SHOWN_CHARS / 2 && line.chars().count() > MAX_SHOWN_CHARS {
        start - MAX_SHOWN_CHARS / 2
    } else {
        0
    };
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(MAX_SHOWN_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let length = shown.chars().count();
    let indent = (start - skipped).min(length);
    let end = if span.end_line == span.line {
        span.end_column.saturating_sub(1).saturating_sub(skipped)
    } else {
        length
    };
    (shown, indent, end.min(length).saturating_sub(indent).max(1))
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use crate::author::check;

    #[test]
    fn a_diagnostic_shows_place_excerpt_and_way_out() {
        let text = "mpl_version: \"1.0\"\nname: demo\nversion: 1.0.0\nrules:\n  - name: r\n    \
                    conditions:\n      - {field: request.modle, operator: \"==\", value: x}\n    \
                    actions:\n      - type: allow\n";
        let rendered = super::render(&check(text).diagnostics, text, "demo.yaml");
        assert_eq!(
            rendered,
            r#"error[unknown-field]: unknown field `request.modle`
 --> demo.yaml:7:17
  |
7 |       - {field: request.modle, operator: "==", value: x}
  |                 ^^^^^^^^^^^^^
  = help: did you mean `request.model`?

demo.yaml: 1 error, 0 warnings
"#
        );
    }
}
