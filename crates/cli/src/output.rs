//! What people and scripts read: tables that fit the terminal, and JSON.
//!
//! Data goes to stdout, talk to stderr. A closed pipe (`| head`) ends the
//! output quietly. Tables are cut only where a person looks at them: into a
//! file or a pipe every value goes in full.

use crate::exit::Failure;
use std::io::{IsTerminal, Write};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What `--format` may say; most commands know the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FormatArg {
    Text,
    Json,
    Jsonl,
    Csv,
    Ocsf,
    Cloudevents,
}

impl FormatArg {
    /// For commands that know text and JSON.
    pub fn plain(self) -> Result<Format, Failure> {
        match self {
            FormatArg::Text => Ok(Format::Text),
            FormatArg::Json => Ok(Format::Json),
            _ => Err(Failure::new("this command writes `text` or `json`")
                .help("the other formats are those of `mercator evidence export`")),
        }
    }
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Writes a result to stdout.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // Nobody listens any more: nothing to tell, and no one to tell it to.
    let _ = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            out.flush()
        } else {
            out.write_all(b"\n").and_then(|()| out.flush())
        }
    });
}

/// Writes a JSON result to stdout.
pub fn print_json(value: &serde_json::Value) {
    // `{:#}` of a `Value` is pretty JSON and cannot fail.
    print(&format!("{value:#}"));
}

/// Says something that is not the result, on stderr.
pub fn say(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// Makes text from outside safe to show: no control characters, so that a
/// record cannot rewrite the screen of the one who reads it.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// `no errors`, `1 error`, `2 errors`.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    match n {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// `2026-11-23T17:09:05.123456Z` as people read it: `2026-11-23 17:09:05`.
pub fn when(time: &str) -> String {
    let seconds = time.split_once('.').map_or(time, |(seconds, _)| seconds);
    seconds.replace('T', " ")
}

/// One column of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
    /// Columns that may not be cut keep their width: half an id is no id.
    may_cut: bool,
}

impl Column {
    pub const fn left(title: &'static str) -> Column {
        Column {
            title,
            right: false,
            may_cut: false,
        }
    }

    pub const fn right(title: &'static str) -> Column {
        Column {
            title,
            right: true,
            may_cut: false,
        }
    }

    pub const fn may_cut(mut self) -> Column {
        self.may_cut = true;
        self
    }
}

/// Rows under titles, aligned.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

const GAP: usize = 2;
/// Below this a cut column says nothing.
const LEAST_WIDTH: usize = 8;

impl Table {
    pub fn new(columns: &[Column]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty value shows as `-`.
    pub fn row(&mut self, values: impl IntoIterator<Item = String>) {
        let row = values
            .into_iter()
            .map(|value| match value.is_empty() {
                true => "-".to_owned(),
                false => plain(&value),
            })
            .collect();
        self.rows.push(row);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as wide as the terminal allows beside `indent` columns, or in
    /// full where there is no terminal.
    pub fn for_stdout(&self, indent: usize) -> String {
        self.render(terminal_width().map(|width| width.saturating_sub(indent)))
    }

    fn render(&self, limit: Option<usize>) -> String {
        let widths = self.widths(limit);
        let mut text = String::new();
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((column, width), value) in self.columns.iter().zip(&widths).zip(row) {
                let value = cut(value, *width);
                let pad = " ".repeat(width.saturating_sub(value.width()));
                if column.right {
                    line.push_str(&pad);
                    line.push_str(&value);
                } else {
                    line.push_str(&value);
                    line.push_str(&pad);
                }
                line.push_str(&" ".repeat(GAP));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| c.title.width()).collect();
        for row in &self.rows {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value.width());
            }
        }
        let Some(limit) = limit else { return widths };
        let gaps = GAP * self.columns.len().saturating_sub(1);
        // The widest column that may be cut gives first, one cell at a time.
        while widths.iter().sum::<usize>() + gaps > limit {
            let widest = widths
                .iter_mut()
                .zip(&self.columns)
                .filter(|(width, column)| column.may_cut && **width > LEAST_WIDTH)
                .max_by_key(|(width, _)| **width);
            match widest {
                Some((width, _)) => *width -= 1,
                None => break,
            }
        }
        widths
    }
}

/// Columns of the terminal on stdout; none when it is not one.
pub fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// `text` in at most `width` cells, `…` where something was left out.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::left("name"),
            Column::right("n"),
            Column::left("description").may_cut(),
        ]);
        table.row([
            "a".into(),
            "10".into(),
            "what it is for, at some length".into(),
        ]);
        table.row(["bcd".into(), "9".into(), String::new()]);
        table
    }

    #[test]
    fn table_is_aligned_and_never_cut_outside_a_terminal() {
        assert_eq!(
            table().render(None),
            "name   n  description\n\
             a     10  what it is for, at some length\n\
             bcd    9  -\n"
        );
    }

    #[test]
    fn table_fits_the_terminal_by_cutting_what_may_be_cut() {
        assert_eq!(
            table().render(Some(30)),
            "name   n  description\n\
             a     10  what it is for, at …\n\
             bcd    9  -\n"
        );
        // No room at all: what must not be cut stays whole.
        assert!(table().render(Some(5)).contains("bcd"));
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn wide_characters_count_as_two_cells() {
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 6), "日本語");
    }
}
