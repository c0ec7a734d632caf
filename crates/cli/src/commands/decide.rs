//! `mercator decide`: what the policies say of one exchange, and why.
//!
//! The function the filter decides with ([`jupiter_policy::decide`]), and beside it every
//! rule and condition with what came of it. Of the exchange nothing is shown.

use crate::exit::{Answer, Failure};
use crate::output::{self, Format, plain};
use crate::texts::{self, Checked, Found};
use jupiter_policy::author::testing::{
    self, ExplainedCondition, ExplainedRule, Explanation, RuleState,
};
use jupiter_policy::facts::Facts;
use jupiter_policy::{Bundle, Decision, Effect, Verdict};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Columns of what stands before a value, so that values are aligned.
const KEY_WIDTH: usize = 10;
const STATE_WIDTH: usize = 13;

#[derive(Debug, clap::Args)]
pub struct DecideArgs {
    /// Policy files, or folders to search for *.yaml and *.yml
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The exchange: a request's body, or `request`, `context`, `processing` and `response` as cases have them; `-` for stdin
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    exchange: PathBuf,
    /// The file is one of tests, and this its case
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
}

pub fn run(args: &DecideArgs, format: Format) -> Result<Answer, Failure> {
    let stdin = |path: &PathBuf| path.as_os_str() == "-";
    if stdin(&args.exchange) && args.paths.iter().any(stdin) {
        return Err(
            Failure::new("policies and exchange cannot both come from stdin")
                .help("name the exchange with `--exchange FILE`"),
        );
    }
    let Some(policies) = texts::policies(&args.paths, format)? else {
        output::say("not valid, so nothing was decided");
        return Ok(Answer::No);
    };
    let Some(facts) = facts(args, format)? else {
        return Ok(Answer::CouldNotTell);
    };
    let bundle = jupiter_policy::compile(&policies)
        .map_err(|e| e.to_string())
        .and_then(|bytes| Bundle::load(&bytes).map_err(|e| e.to_string()))
        .map_err(|e| Failure::no(format!("the policies make no bundle together: {e}")))?;
    let explanation = testing::explain(&bundle, &facts);
    match format {
        Format::Text => output::print(&text(&explanation)),
        Format::Json => output::print_json(&json!(explanation)),
    }
    Ok(match explanation.decision.verdict {
        Verdict::Allow => Answer::Yes,
        Verdict::Deny => Answer::No,
    })
}

/// What is known of the exchange; of a faulty one, what is wrong has been said.
fn facts(args: &DecideArgs, format: Format) -> Result<Option<Facts>, Failure> {
    let read = texts::read_all(std::slice::from_ref(&args.exchange))?;
    let [text] = read.as_slice() else {
        let path = args.exchange.display();
        return Err(Failure::new(format!(
            "`{path}` is a folder, and one exchange is decided"
        )));
    };
    let Some(name) = &args.case else {
        let exchange = testing::parse_exchange(&text.text);
        let checked = Checked {
            origin: text.origin.clone(),
            path: None,
            text: text.text.clone(),
            found: Found::Tests(None),
            diagnostics: exchange.diagnostics,
        };
        texts::complain(&[&checked], format);
        return Ok(exchange.facts);
    };
    // Cases stand in a file of their own or beside rules.
    let checked = texts::check(text.clone());
    texts::complain(&[&checked], format);
    let cases = match &checked.found {
        Found::Tests(Some(file)) => file.cases.as_slice(),
        Found::Policy(Some(policy)) => policy.tests(),
        Found::Tests(None) | Found::Policy(None) => return Ok(None),
    };
    match cases.iter().find(|case| case.name == *name) {
        Some(case) => Ok(Some(case.facts.clone())),
        None => Err(
            Failure::new(format!("no case `{name}` in `{}`", text.origin))
                .help("`mercator test` lists the cases of a file"),
        ),
    }
}

fn text(explanation: &Explanation) -> String {
    let mut out = verdict(&explanation.decision);
    let mut policy = None;
    for rule in &explanation.rules {
        // Writing to a string cannot fail.
        if policy != Some(&rule.policy) {
            let _ = writeln!(out, "\n{}", plain(&rule.policy));
            policy = Some(&rule.policy);
        }
        let (state, effect) = (state(rule), effect(rule.effect));
        let name = plain(&rule.rule);
        let _ = writeln!(out, "  {state:STATE_WIDTH$}{name} ({effect})");
        if let Some(condition) = &rule.condition {
            show(&mut out, condition, 0);
        }
    }
    out
}

fn verdict(decision: &Decision) -> String {
    let word = match decision.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    };
    let mut rows = vec![("decision", word.to_owned())];
    if let Some(denial) = &decision.denial {
        rows.push(("rule", format!("{}/{}", denial.policy, denial.rule)));
        rows.push(("code", denial.code.clone()));
        rows.push(("message", denial.message.clone()));
    }
    if !decision.facts.is_empty() {
        rows.push(("facts", decision.facts.join(", ")));
    }
    for line in &decision.logs {
        rows.push(("log", format!("{} {}", line.level.as_str(), line.message)));
    }
    for asked in &decision.actions {
        rows.push(("action", asked.action.kind().to_owned()));
    }
    let row = |(key, value): &(&str, String)| format!("{key:KEY_WIDTH$}{}\n", plain(value));
    rows.iter().map(row).collect()
}

fn state(rule: &ExplainedRule) -> &'static str {
    match rule.state {
        RuleState::Acted => "acted",
        RuleState::WouldAct => "would act",
        RuleState::NoMatch => "no match",
        RuleState::NotReached => "not reached",
        RuleState::ResponsePhase => "at response",
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Log => "log",
    }
}

fn show(out: &mut String, condition: &ExplainedCondition, depth: usize) {
    let holds = if condition.holds { "yes" } else { "no" };
    let (indent, text) = ("  ".repeat(depth), plain(&condition.text));
    let _ = writeln!(out, "      {holds:<5}{indent}{text}");
    for part in &condition.parts {
        show(out, part, depth + 1);
    }
}
