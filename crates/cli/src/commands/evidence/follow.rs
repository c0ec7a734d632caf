//! `mercator evidence query --follow`: records as they come.

use super::{Filters, row, text, with_subjects};
use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use std::collections::BTreeSet;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Records that came by another way, or after an outage, have older ids than
/// some that were shown before; so far back they are looked for.
const LATE: &str = "10min";

/// The API's own limit of one page: more do not come in a second to one screen.
const PAGE: &str = "500";

/// Ids that are remembered as shown: more than a page a second for [`LATE`] has
/// no place on a screen.
const REMEMBERED: usize = 20_000;

/// Widths of the columns but the last: nobody knows what is still to come.
const WIDTHS: [usize; 7] = [19, 5, 3, 24, 28, 20, 6];

pub async fn run(client: &Client, filters: &Filters, format: Format) -> Result<Answer, Failure> {
    // Ids that were shown, the oldest first: UUIDv7 sort by time.
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let mut first = true;
    loop {
        let mut filters = filters.clone();
        if !first || filters.since.is_none() {
            filters.since = super::moment(LATE).ok();
        }
        let mut parameters = filters.parameters();
        parameters.push(("limit", PAGE.to_owned()));
        let mut page = client.get(&["v1", "evidence"], &parameters).await?;
        for record in with_subjects(&mut page).iter().rev() {
            let id = text(record, "/id").unwrap_or_default();
            if shown.insert(id.to_owned()) {
                match format {
                    Format::Text => output::print(&line(&row(record))),
                    Format::Json => output::print(&record.to_string()),
                }
            }
        }
        while shown.len() > REMEMBERED {
            shown.pop_first();
        }
        first = false;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn line(cells: &[String; 8]) -> String {
    let widths = WIDTHS.iter().copied().chain([0]);
    let cells = cells.iter().zip(widths).map(|(cell, width)| {
        let cell = if cell.is_empty() { "-" } else { cell };
        let shown = match width {
            0 => output::plain(cell),
            width => output::cut(&output::plain(cell), width),
        };
        format!("{shown:width$}")
    });
    cells.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_columns_whatever_comes() {
        let cells = |model: &str| {
            let cells = [
                "2026-11-23 17:09:05",
                "deny",
                "403",
                model,
                "p/no",
                "",
                "7",
                "0197",
            ];
            line(&cells.map(str::to_owned))
        };
        let (short, long) = (cells("gpt-4o"), cells(&"very-long-".repeat(9)));
        assert_eq!(short.find("p/no"), long.replace('…', "x").find("p/no"));
        assert!(
            short.ends_with("-                     7       0197"),
            "{short}"
        );
    }
}
