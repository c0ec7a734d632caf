//! `mercator evidence erase` and `mercator evidence hold`: forgetting whom records
//! are of, and keeping that from happening.

use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The subject's name and the key of its salts are destroyed. Its records stay, and \
                  `mercator verify` proves them as before; whose they are, and what the digests \
                  of its prompts are of, nobody can tell any more. There is no way back."
)]
pub struct EraseArgs {
    /// Whom to erase, as `mercator evidence query` shows it
    #[arg(long, required_unless_present = "list", requires = "reason")]
    subject: Option<String>,
    /// Why; it is kept for good and must not name the person
    #[arg(long)]
    reason: Option<String>,
    /// Only say what would be erased
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// List the erasures that were made
    #[arg(long, conflicts_with_all = ["subject", "reason", "dry_run", "yes"])]
    list: bool,
}

#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    #[command(subcommand)]
    command: HoldCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HoldCommand {
    /// Place a legal hold: what it covers is neither erased nor let go until it is released
    Add {
        /// Whom it is on
        #[arg(long, required_unless_present_any = ["everything", "since", "until"])]
        subject: Option<String>,
        /// It is on every subject
        #[arg(long, conflicts_with_all = ["subject", "since", "until"])]
        everything: bool,
        /// Only on exchanges from then on: a time (2026-11-23T17:00:00Z) or so long ago (7d)
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        since: Option<String>,
        /// Only on exchanges before then: a time or so long ago
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        until: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// List holds, released ones too
    List,
    /// Release a hold
    Release {
        /// Its id
        id: String,
    },
}

const ERASURES: [&str; 3] = ["v1", "evidence", "erasures"];
const HOLDS: [&str; 3] = ["v1", "evidence", "holds"];

pub async fn erase(client: &Client, args: &EraseArgs, format: Format) -> Result<Answer, Failure> {
    let (Some(subject), Some(reason)) = (&args.subject, &args.reason) else {
        return list_erasures(client, format).await;
    };
    let request = |dry_run| json!({"subject": subject, "reason": reason, "dry_run": dry_run});
    if args.dry_run || !args.yes {
        let found = client.post(&ERASURES, &request(true)).await?;
        if format == Format::Json && args.dry_run {
            output::print_json(&found);
        } else {
            say_found(subject, &found);
        }
        let held = !held_by(&found).is_empty();
        if args.dry_run {
            return Ok(if held { Answer::No } else { Answer::Yes });
        }
        if !held {
            confirm(subject)?;
        }
    }
    let erased = client.post(&ERASURES, &request(false)).await?;
    match format {
        Format::Json => output::print_json(&erased),
        Format::Text => output::print(&format!(
            "erased; {} records stay, nobody's (reference {})",
            records(&erased),
            of(&erased, "subject_ref")
        )),
    }
    Ok(Answer::Yes)
}

/// A person types the name again; a script says `--yes`.
fn confirm(subject: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::new("nothing was erased: nobody is here to confirm it")
                .help("add `--yes`, or `--dry-run` to only look"),
        );
    }
    let mut err = std::io::stderr();
    // Where stderr is closed the question is not seen, and the answer will not fit.
    let _ = write!(err, "this cannot be undone; type the subject again: ");
    let _ = err.flush();
    let mut typed = String::new();
    let read = std::io::stdin().read_line(&mut typed);
    match read.is_ok() && typed.trim_end_matches(['\r', '\n']) == subject {
        true => Ok(()),
        false => Err(Failure::no("nothing was erased: that is another subject")),
    }
}

fn say_found(subject: &str, found: &Value) {
    output::say(&format!(
        "{} has {} records",
        output::plain(subject),
        records(found)
    ));
    for hold in held_by(found) {
        output::say(&format!(
            "held since {} by {}: {} (hold {})",
            output::when(&of(hold, "placed_at")),
            of(hold, "placed_by"),
            of(hold, "reason"),
            of(hold, "id")
        ));
    }
}

fn held_by(found: &Value) -> &[Value] {
    let holds = found.get("holds").and_then(Value::as_array);
    holds.map(Vec::as_slice).unwrap_or_default()
}

fn records(found: &Value) -> u64 {
    found.get("records").and_then(Value::as_u64).unwrap_or(0)
}

fn of(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    output::plain(text)
}

async fn list_erasures(client: &Client, format: Format) -> Result<Answer, Failure> {
    let listed = client.get(&ERASURES, &[]).await?;
    if format == Format::Json {
        output::print_json(&listed);
        return Ok(Answer::Yes);
    }
    let mut table = Table::new(&[
        Column::left("erased"),
        Column::left("by"),
        Column::left("reason").may_cut(),
        Column::left("reference"),
    ]);
    let erasures = listed.get("erasures").and_then(Value::as_array);
    for erasure in erasures.into_iter().flatten() {
        table.row([
            output::when(&of(erasure, "erased_at")),
            of(erasure, "erased_by"),
            of(erasure, "reason"),
            of(erasure, "subject_ref"),
        ]);
    }
    output::print(&table.for_stdout(0));
    Ok(Answer::Yes)
}

pub async fn hold(client: &Client, args: &HoldArgs, format: Format) -> Result<Answer, Failure> {
    let told = match &args.command {
        HoldCommand::List => return list_holds(client, format).await,
        HoldCommand::Add {
            subject,
            since,
            until,
            reason,
            ..
        } => {
            let request =
                json!({"subject": subject, "since": since, "until": until, "reason": reason});
            client.post(&HOLDS, &request).await?
        }
        HoldCommand::Release { id } => {
            let path = ["v1", "evidence", "holds", id.as_str(), "release"];
            client.post(&path, &json!({})).await?
        }
    };
    match format {
        Format::Json => output::print_json(&told),
        Format::Text => {
            let released = told.get("released_at").is_some();
            let done = if released { "released" } else { "placed" };
            output::print(&format!(
                "hold {} on {} is {done}",
                of(&told, "id"),
                covered(&told)
            ));
        }
    }
    Ok(Answer::Yes)
}

fn covered(hold: &Value) -> String {
    let bound = |key, word| {
        let at = of(hold, key);
        match at.is_empty() {
            true => String::new(),
            false => format!(" {word} {}", output::when(&at)),
        }
    };
    let (since, until) = (bound("since", "from"), bound("until", "to"));
    format!("{}{since}{until}", on_whom(hold))
}

fn on_whom(hold: &Value) -> String {
    match hold.get("everything").and_then(Value::as_bool) {
        Some(true) => "everything".to_owned(),
        _ => match hold.get("subject").and_then(Value::as_str) {
            Some(subject) => output::plain(subject),
            None => "(erased)".to_owned(),
        },
    }
}

async fn list_holds(client: &Client, format: Format) -> Result<Answer, Failure> {
    let listed = client.get(&HOLDS, &[]).await?;
    if format == Format::Json {
        output::print_json(&listed);
        return Ok(Answer::Yes);
    }
    let mut table = Table::new(&[
        Column::left("placed"),
        Column::left("by"),
        Column::left("on").may_cut(),
        Column::left("reason").may_cut(),
        Column::left("released"),
        Column::left("id"),
    ]);
    let holds = listed.get("holds").and_then(Value::as_array);
    for hold in holds.into_iter().flatten() {
        let released = of(hold, "released_at");
        table.row([
            output::when(&of(hold, "placed_at")),
            of(hold, "placed_by"),
            covered(hold),
            of(hold, "reason"),
            match released.is_empty() {
                true => String::new(),
                false => output::when(&released),
            },
            of(hold, "id"),
        ]);
    }
    output::print(&table.for_stdout(0));
    Ok(Answer::Yes)
}
