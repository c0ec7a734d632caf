//! `mercator doctor`: what a live installation lacks for high availability.
//!
//! `ask` reads what the control planes and HAProxy tell, `haproxy` reads the
//! latter's statistics, `judge` holds it against the checklist. Nothing is
//! changed. What no API can tell is listed as such, with the way to find out:
//! silence must not look like a yes.

mod ask;
mod haproxy;
mod judge;

use crate::client::CredentialArgs;
use crate::exit::{Answer, Failure};
use crate::output::{self, Format, plain};
use anstyle::{AnsiColor, Style};
use judge::{Check, Verdict};
use serde_json::json;
use std::path::PathBuf;
use url::Url;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing that can be asked is missing; 1 something is; 2 not everything could be asked.\n\
                  What must be looked at by hand is listed, and changes no exit code."
)]
pub struct DoctorArgs {
    /// Admin address of an instance; give each one, or one of them
    #[arg(
        long,
        env = "MERCATOR_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8081"
    )]
    target: Vec<String>,
    /// Statistics page of the HAProxy in front of them
    #[arg(long, value_name = "URL")]
    haproxy_stats: Option<Url>,
    /// Folder with the reports of drills
    #[arg(long, value_name = "DIR")]
    drill_reports: Option<PathBuf>,
    #[command(flatten)]
    credential: CredentialArgs,
}

pub async fn run(args: DoctorArgs, format: Format) -> Result<Answer, Failure> {
    let token = args.credential.token()?;
    let facts = ask::facts(
        &args.target,
        &token,
        args.haproxy_stats.as_ref(),
        args.drill_reports.as_deref(),
    )
    .await?;
    let checks = judge::all(&facts);
    match format {
        Format::Json => output::print_json(&json!({"checks": checks})),
        Format::Text => output::print(&text(&checks)),
    }
    let any = |verdict| checks.iter().any(|check| check.verdict == verdict);
    Ok(match (any(Verdict::Missing), any(Verdict::NotAnswered)) {
        (true, _) => Answer::No,
        (false, true) => Answer::CouldNotTell,
        (false, false) => Answer::Yes,
    })
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let (style, word) = match check.verdict {
            Verdict::Ok => (GOOD, "ok"),
            Verdict::Missing => (BAD, "MISSING"),
            Verdict::NotAnswered => (BAD, "NO ANSWER"),
            Verdict::ByHand => (DIM, "cannot tell"),
        };
        let (about, found) = (check.about, plain(&check.found));
        text += &format!("{style}{word:<11}{style:#}  {about}: {found}\n");
        if let Some(way) = check.way {
            text += &format!("{:13}{DIM}→ {way}{DIM:#}\n", "");
        }
    }
    let count = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    text + &format!(
        "\n{} ok, {} missing, {} not answered, {} to be looked at by hand\n",
        count(Verdict::Ok),
        count(Verdict::Missing),
        count(Verdict::NotAnswered),
        count(Verdict::ByHand)
    )
}
