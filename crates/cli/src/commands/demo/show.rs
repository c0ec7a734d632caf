//! How the demo looks: short, aligned, and told in words, colour only on top.

use super::Story;
use super::calls::Exchange;
use super::checks::Check;
use crate::commands::evidence::deciding_rule;
use crate::output::{self, Column, Format, Table, cut, plain};
use crate::quickstart::{self, Running};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

const INDENT: usize = 3;
/// Of an answer's text; enough to recognise it.
const WIDTH: usize = 60;

pub fn opening(running: &Running, format: Format) {
    if format == Format::Json {
        return;
    }
    output::print(&format!(
        "\n{TITLE}One instance, at work{TITLE:#}\n\
         Traffic   {} (Envoy with the filter), a fake provider behind it\n\
         Policy    {}, in force as bundle {}\n",
        running.traffic_url(),
        quickstart::SAMPLE_POLICY_PATH,
        short_digest(&running.digest),
    ));
}

pub fn exchange(number: usize, title: &str, exchange: &Exchange, format: Format) {
    if format == Format::Json {
        return;
    }
    let mut lines = vec![
        format!("\n{TITLE}{number}  {title}{TITLE:#}"),
        format!(
            "   request   POST {}  {}",
            quickstart::CHAT_PATH,
            prompt(exchange.sent)
        ),
        format!("   answer    {}", answer(exchange)),
    ];
    if let Some(message) = exchange.error_message() {
        let code = exchange.error_code().unwrap_or("-");
        lines.push(format!("   code      {}", plain(code)));
        lines.push(format!("   message   {}", plain(message)));
    }
    if let Some(usage) = exchange.usage() {
        lines.push(format!("   tokens    {} in, {} out", usage.0, usage.1));
    }
    if let Some(id) = &exchange.decision_id {
        lines.push(format!("   decision  {}", plain(id)));
    }
    output::print(&lines.join("\n"));
}

/// `gpt-4o-mini "Say hello."`, streamed or not.
fn prompt(sent: &str) -> String {
    let request: Value = serde_json::from_str(sent).unwrap_or_default();
    let of = |pointer| {
        let value = request.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    };
    format!("{} \"{}\"", of("/model"), of("/messages/0/content"))
}

fn answer(exchange: &Exchange) -> String {
    let millis = exchange.took.as_secs_f64() * 1e3;
    let status = exchange.status;
    if exchange.error_message().is_some() || status != 200 {
        let word = if status == 403 { "REFUSED" } else { "FAILED" };
        return format!("{BAD}{word}{BAD:#} {status} after {millis:.0} ms");
    }
    let text = cut(&plain(&exchange.text), WIDTH);
    match &exchange.stream {
        Some(streamed) => format!(
            "{GOOD}STREAMED{GOOD:#} {status}, {} chunks from {:.0} to {millis:.0} ms: \"{text}\"",
            streamed.chunks,
            streamed.first_after.as_secs_f64() * 1e3,
        ),
        None => format!("{GOOD}ALLOWED{GOOD:#} {status} after {millis:.0} ms: \"{text}\""),
    }
}

/// The evidence, and whether all of it held.
pub fn verdict(story: &Story, checks: &[Check], format: Format) {
    match format {
        Format::Json => output::print_json(&as_json(story, checks)),
        Format::Text => {
            output::print(&format!(
                "\n{TITLE}The evidence of it{TITLE:#}\n{}",
                indented(&table(story))
            ));
            output::print(&conclusion(checks));
        }
    }
}

fn table(story: &Story) -> String {
    let mut table = Table::new(&[
        Column::right("call"),
        Column::left("decision"),
        Column::left("rule").may_cut(),
        Column::right("status"),
        Column::left("outcome"),
        Column::right("tokens"),
        Column::left("bundle"),
        Column::left("emitter"),
        Column::right("seq"),
    ]);
    for (index, record) in story.records.iter().enumerate() {
        let Some(record) = record else { continue };
        let of = |pointer| {
            let value = record.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        let number = |pointer| {
            let value = record.pointer(pointer).and_then(Value::as_u64);
            value.map_or(String::new(), |n| n.to_string())
        };
        let tokens = match number("/gen_ai.usage.input_tokens") {
            input if input.is_empty() => input,
            input => format!("{input}+{}", number("/gen_ai.usage.output_tokens")),
        };
        table.row([
            (index + 1).to_string(),
            of("/decision").to_owned(),
            deciding_rule(record).unwrap_or_default(),
            number("/http.response.status_code"),
            of("/outcome").to_owned(),
            tokens,
            short_digest(of("/policy/digest")),
            of("/emitter/epoch").chars().take(8).collect(),
            number("/emitter/seq"),
        ]);
    }
    table.for_stdout(INDENT)
}

fn conclusion(checks: &[Check]) -> String {
    let mut text = format!("\n{TITLE}Checked{TITLE:#}\n");
    for check in checks {
        let word = match check.held {
            true => format!("{GOOD}ok{GOOD:#}    "),
            false => format!("{BAD}FAILED{BAD:#}"),
        };
        text.push_str(&format!("   {word}  {}\n", check.claim));
    }
    let failed = checks.iter().filter(|check| !check.held).count();
    text.push_str(&match failed {
        0 => format!("\n{GOOD}All of it held.{GOOD:#}\n"),
        n => format!("\n{BAD}{n} of {} did not hold.{BAD:#}\n", checks.len()),
    });
    text
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("{:INDENT$}{line}\n", ""))
        .collect()
}

/// Enough of a digest to recognise it: 8 of 64 digits.
fn short_digest(digest: &str) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    match digits.is_empty() {
        true => String::new(),
        false => cut(&plain(digits), 9),
    }
}

fn as_json(story: &Story, checks: &[Check]) -> Value {
    let exchange = |e: &Exchange| {
        json!({
            "request": serde_json::from_str::<Value>(e.sent).unwrap_or_default(),
            "status": e.status,
            "duration_us": u64::try_from(e.took.as_micros()).unwrap_or(u64::MAX),
            "decision_id": e.decision_id,
            "chunks": e.stream.as_ref().map(|s| s.chunks),
            "answer": e.answer,
        })
    };
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| json!({"claim": check.claim, "held": check.held}))
        .collect();
    json!({
        "held": checks.iter().all(|c| c.get("held") == Some(&Value::Bool(true))),
        "checks": checks,
        "exchanges": [
            exchange(&story.allowed),
            exchange(&story.refused),
            exchange(&story.streamed),
        ],
        "records": story.records,
        "emitters": story.emitters,
    })
}
