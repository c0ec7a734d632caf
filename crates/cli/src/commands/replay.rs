//! `mercator replay`: what candidate policies would have decided, before they are in force.
//!
//! The control plane reads its evidence page by page; what records do not keep is told,
//! not guessed.

use super::evidence::{moment, progress};
use super::lint;
use crate::client::{Client, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Records of one call.
const PAGE: u64 = 2_000;

/// Subjects shown for each difference; JSON has all of them.
const SUBJECTS: usize = 3;

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Candidate policies; each takes the place of the one in force of its name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only exchanges from then on: a time or so long ago (30s, 15min, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Only exchanges before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
    /// Only of this subject
    #[arg(long)]
    subject: Option<String>,
    /// Only calls of this model
    #[arg(long)]
    model: Option<String>,
    /// What `context.environment` was; records do not say
    #[arg(long)]
    environment: Option<String>,
    /// At most so many records, the latest
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    limit: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// An answer of the control plane.
#[derive(Deserialize)]
struct Page {
    records: u64,
    same: u64,
    not_judged: u64,
    differing: Vec<Differing>,
    untold: Vec<Untold>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Differing {
    was: String,
    would_be: String,
    rule: Option<String>,
    exchanges: u64,
    subjects: Vec<OfSubject>,
    examples: Vec<String>,
}

#[derive(Deserialize)]
struct OfSubject {
    subject: Option<String>,
    exchanges: u64,
}

#[derive(Deserialize)]
struct Untold {
    rule: String,
    fields: Vec<String>,
    exchanges: u64,
}

/// All answers together.
#[derive(Default)]
struct Replayed {
    records: u64,
    same: u64,
    not_judged: u64,
    /// By what it was, what it would be, and the rule.
    differing: BTreeMap<(String, String, String), Group>,
    untold: BTreeMap<(String, String), u64>,
}

#[derive(Default)]
struct Group {
    exchanges: u64,
    subjects: BTreeMap<String, u64>,
    examples: Vec<String>,
}

/// Yes: every decision stays. No: some would differ. Could not tell: none would, as far
/// as the facts that records keep go.
pub async fn run(args: ReplayArgs, format: Format) -> Result<Answer, Failure> {
    let mut policies = Vec::new();
    for file in &args.files {
        match lint::accepted(file, format)? {
            Some((_, text)) => policies.push(text),
            None => return Ok(Answer::No),
        }
    }
    let client = args.server.client()?;
    let replayed = all_pages(&client, &args, &policies).await?;
    match format {
        Format::Text => show(&replayed),
        Format::Json => output::print_json(&replayed.as_json()),
    }
    Ok(
        match (replayed.differing.is_empty(), replayed.untold.is_empty()) {
            (false, _) => Answer::No,
            (true, true) => Answer::Yes,
            (true, false) => Answer::CouldNotTell,
        },
    )
}

async fn all_pages(
    client: &Client,
    args: &ReplayArgs,
    policies: &[String],
) -> Result<Replayed, Failure> {
    let bar = progress(args.limit, "records at most");
    let mut replayed = Replayed::default();
    let mut cursor: Option<String> = None;
    loop {
        let body = json!({
            "policies": policies, "since": args.since, "until": args.until,
            "subject": args.subject, "model": args.model, "environment": args.environment,
            "cursor": cursor, "limit": PAGE.min(args.limit - replayed.records),
        });
        let page = client.post(&["v1", "policies", "replay"], &body).await?;
        let page: Page = serde_json::from_value(page)
            .map_err(|_| Failure::new("the server's answer is no replay"))?;
        bar.inc(page.records);
        cursor = page.next_cursor.clone();
        replayed.add(page);
        if cursor.is_none() || replayed.records >= args.limit {
            bar.finish_and_clear();
            return Ok(replayed);
        }
    }
}

impl Replayed {
    fn add(&mut self, page: Page) {
        self.records += page.records;
        self.same += page.same;
        self.not_judged += page.not_judged;
        for one in page.differing {
            let key = (one.was, one.would_be, one.rule.unwrap_or_default());
            let group = self.differing.entry(key).or_default();
            group.exchanges += one.exchanges;
            for of in one.subjects {
                let subject = of.subject.unwrap_or_default();
                *group.subjects.entry(subject).or_default() += of.exchanges;
            }
            let room = SUBJECTS.saturating_sub(group.examples.len());
            group.examples.extend(one.examples.into_iter().take(room));
        }
        for one in page.untold {
            *self
                .untold
                .entry((one.rule, one.fields.join(", ")))
                .or_default() += one.exchanges;
        }
    }

    fn as_json(&self) -> Value {
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let differing = self.differing.iter().map(|((was, would_be, rule), group)| {
            let subjects = group.subjects.iter().map(
                |(subject, exchanges)| json!({"subject": named(subject), "exchanges": exchanges}),
            );
            json!({
                "was": was, "would_be": would_be, "rule": named(rule),
                "exchanges": group.exchanges, "subjects": subjects.collect::<Vec<_>>(),
                "examples": group.examples,
            })
        });
        let untold = self.untold.iter().map(|((rule, fields), exchanges)| {
            let fields: Vec<&str> = fields.split(", ").collect();
            json!({"rule": rule, "fields": fields, "exchanges": exchanges})
        });
        json!({
            "records": self.records, "same": self.same, "not_judged": self.not_judged,
            "differing": differing.collect::<Vec<_>>(), "untold": untold.collect::<Vec<_>>(),
        })
    }
}

fn show(replayed: &Replayed) {
    let mut table = Table::new(&[
        Column::left("was"),
        Column::left("would be"),
        Column::left("rule"),
        Column::right("exchanges"),
        Column::left("subjects").may_cut(),
    ]);
    for ((was, would_be, rule), group) in &replayed.differing {
        table.row([
            was.clone(),
            would_be.clone(),
            output::plain(rule),
            group.exchanges.to_string(),
            subjects(group),
        ]);
    }
    for ((rule, fields), exchanges) in &replayed.untold {
        table.row([
            String::new(),
            "untold".to_owned(),
            output::plain(rule),
            exchanges.to_string(),
            format!("needs {fields}, which records do not keep"),
        ]);
    }
    if !table.is_empty() {
        output::print(&table.for_stdout(0));
    }
    let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.sum::<u64>();
    output::say(&format!(
        "{} records: {} decided as before, {} otherwise, {} untold, {} that no policy decided",
        replayed.records,
        replayed.same,
        sum(&mut replayed.differing.values().map(|group| group.exchanges)),
        sum(&mut replayed.untold.values().copied()),
        replayed.not_judged,
    ));
}

/// Those with most exchanges.
fn subjects(group: &Group) -> String {
    let mut most: Vec<(&String, &u64)> = group.subjects.iter().collect();
    most.sort_by_key(|(_, exchanges)| std::cmp::Reverse(**exchanges));
    let shown = most.iter().take(SUBJECTS).map(|(subject, exchanges)| {
        let name = if subject.is_empty() {
            "unknown"
        } else {
            subject
        };
        format!("{} {exchanges}", output::plain(name))
    });
    let mut shown: Vec<String> = shown.collect();
    if most.len() > SUBJECTS {
        shown.push(format!("and {} more", most.len() - SUBJECTS));
    }
    shown.join(", ")
}
