//! `mercator test`: do the policies decide as their cases say?
//!
//! Cases beside rules are decided by their own policy alone; those of a file of tests by
//! the policies it names, or else by all that the command line names. What the cases
//! never made a difference for is told beside the results. Screens are made in `show`,
//! the report for build servers in `junit`.

mod junit;
mod show;

use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use crate::texts::{self, Checked, Found, TestFile, Text};
use jupiter_policy::Policy;
use jupiter_policy::author::testing::{self, Outcome, RuleCoverage, TestCase};
use std::path::PathBuf;
use std::time::Duration;

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Policies and files of tests, folders to search for *.yaml and *.yml, or `-` for stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Let rules and conditions that no case decided fail, too
    #[arg(long)]
    strict: bool,
    /// Also write the results as JUnit XML; `-` for stdout, in place of the table
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run again whenever a file changes, until interrupted
    #[arg(long, conflicts_with = "junit")]
    watch: bool,
}

/// What came of all cases.
struct Tested {
    suites: Vec<Suite>,
    /// Of every rule of every policy, over all suites.
    coverage: Vec<Covered>,
}

/// The cases of one file.
struct Suite {
    origin: String,
    /// Files of the policies that decided.
    policies: Vec<String>,
    /// Each with the line of its name.
    outcomes: Vec<(usize, Outcome)>,
}

/// One rule, and the file it stands in.
struct Covered {
    origin: String,
    rule: RuleCoverage,
}

impl Covered {
    fn decided(&self) -> bool {
        self.rule.matched > 0
    }
}

impl Tested {
    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let all = self.suites.iter().flat_map(|suite| &suite.outcomes);
        all.map(|(_, outcome)| outcome)
    }

    fn cases(&self) -> usize {
        self.outcomes().count()
    }

    fn failed(&self) -> usize {
        self.outcomes().filter(|one| !one.passed()).count()
    }

    fn rules_decided(&self) -> usize {
        self.coverage.iter().filter(|one| one.decided()).count()
    }

    /// All conditions, and those that held in one case and failed in another.
    fn conditions(&self) -> (usize, usize) {
        let all = self.coverage.iter().flat_map(|one| &one.rule.conditions);
        let decided = all.clone().filter(|one| one.decided());
        (all.count(), decided.count())
    }

    fn covers_all(&self) -> bool {
        let (all, decided) = self.conditions();
        all == decided && self.rules_decided() == self.coverage.len()
    }
}

pub fn run(args: &TestArgs, format: Format) -> Result<Answer, Failure> {
    if args.watch {
        return watch(args, format);
    }
    judge(args, read(&args.paths)?, format)
}

/// Runs whenever the texts are others than before. Two looks have to agree, so that a
/// file amid being written is left alone.
fn watch(args: &TestArgs, format: Format) -> Result<Answer, Failure> {
    let mut run: Option<Result<Vec<Text>, Failure>> = None;
    let mut before = None;
    loop {
        let seen = read(&args.paths);
        if before.as_ref() == Some(&seen) && run.as_ref() != Some(&seen) {
            match seen.clone().and_then(|texts| judge(args, texts, format)) {
                Ok(_) => {}
                Err(failure) => output::say(&failure.to_string()),
            }
            output::say("\nwaiting for a change; Ctrl-C ends");
            run = Some(seen.clone());
        }
        before = Some(seen);
        std::thread::sleep(LOOK_EVERY);
    }
}

/// All texts, those included that files of tests name.
fn read(paths: &[PathBuf]) -> Result<Vec<Text>, Failure> {
    let mut texts = texts::read_all(paths)?;
    let mut named = Vec::new();
    for text in &texts {
        if let Found::Tests(Some(file)) = texts::check(text.clone()).found {
            for path in file.policies.into_iter().flatten() {
                named.push(texts::read_file(&path).map_err(|failure| {
                    failure.help(format!("`{}` names it under `policies`", text.origin))
                })?);
            }
        }
    }
    for text in named {
        if texts.iter().all(|other| other.path != text.path) {
            texts.push(text);
        }
    }
    Ok(texts)
}

fn judge(args: &TestArgs, texts: Vec<Text>, format: Format) -> Result<Answer, Failure> {
    let checked: Vec<Checked> = texts.into_iter().map(texts::check).collect();
    let faulty: Vec<&Checked> = checked.iter().filter(|one| !one.is_valid()).collect();
    if !faulty.is_empty() {
        texts::complain(&faulty, format);
        output::say("not valid, so nothing was tried");
        return Ok(Answer::No);
    }
    let tested = test(&checked)?;
    if tested.cases() == 0 {
        return Err(Failure::new("no cases among the files named")
            .help("write them under `tests`, beside the rules or in a file of their own"));
    }
    let mut shown = true;
    if let Some(file) = &args.junit {
        texts::write_report(file, &junit::report(&tested)?)?;
        shown = file.as_os_str() != "-";
    }
    match format {
        Format::Text if shown => output::print(&show::text(&tested)),
        Format::Json if shown => output::print_json(&show::json(&tested)),
        _ => {}
    }
    let fails = tested.failed() > 0 || (args.strict && !tested.covers_all());
    Ok(if fails { Answer::No } else { Answer::Yes })
}

fn test(checked: &[Checked]) -> Result<Tested, Failure> {
    let policies: Vec<(&Checked, &Policy)> = checked
        .iter()
        .filter_map(|one| Some((one, one.policy()?)))
        .collect();
    let mut tested = Tested {
        suites: Vec::new(),
        coverage: Vec::new(),
    };
    for (one, policy) in &policies {
        // Also without cases, so that its rules count as what nothing decided.
        decide(&mut tested, one, &[(one, policy)], policy.tests())?;
    }
    for one in checked {
        if let Found::Tests(Some(file)) = &one.found {
            let chosen = chosen(one, file, &policies)?;
            decide(&mut tested, one, &chosen, &file.cases)?;
        }
    }
    Ok(tested)
}

/// The policies a file of tests is about.
fn chosen<'c>(
    one: &Checked,
    file: &TestFile,
    policies: &[(&'c Checked, &'c Policy)],
) -> Result<Vec<(&'c Checked, &'c Policy)>, Failure> {
    let Some(paths) = &file.policies else {
        if policies.is_empty() {
            let message = format!("no policy for the cases of `{}`", one.origin);
            return Err(Failure::new(message)
                .help("name the policies too, or write `policies: [FILE]` into the file"));
        }
        return Ok(policies.to_vec());
    };
    let mut chosen = Vec::new();
    for path in paths {
        let canonical = path.canonicalize().ok();
        let is_it = |(policy, _): &&(&Checked, &Policy)| policy.path == canonical;
        match policies.iter().find(is_it) {
            Some(found) => chosen.push(*found),
            None => {
                let (path, origin) = (path.display(), &one.origin);
                return Err(Failure::new(format!(
                    "`{path}`, which `{origin}` names, is not a policy"
                )));
            }
        }
    }
    Ok(chosen)
}

fn decide(
    tested: &mut Tested,
    one: &Checked,
    policies: &[(&Checked, &Policy)],
    cases: &[TestCase],
) -> Result<(), Failure> {
    let together: Vec<Policy> = policies
        .iter()
        .map(|(_, policy)| (*policy).clone())
        .collect();
    let report = testing::run(&together, cases).map_err(|error| {
        Failure::no(format!(
            "the policies of `{}` make no bundle: {error}",
            one.origin
        ))
    })?;
    for rule in report.coverage.rules {
        let of = |(_, policy): &&(&Checked, &Policy)| policy.name() == rule.policy;
        let origin = policies.iter().find(of).map(|(one, _)| one.origin.clone());
        tested.cover(origin.unwrap_or_default(), rule);
    }
    if !cases.is_empty() {
        let lines = cases.iter().map(|case| case.span.line);
        tested.suites.push(Suite {
            origin: one.origin.clone(),
            policies: policies.iter().map(|(one, _)| one.origin.clone()).collect(),
            outcomes: lines.zip(report.outcomes).collect(),
        });
    }
    Ok(())
}

impl Tested {
    /// Adds what a suite reached of a rule to what the suites before it did.
    fn cover(&mut self, origin: String, rule: RuleCoverage) {
        let is_it = |one: &&mut Covered| one.origin == origin && one.rule.rule == rule.rule;
        let Some(known) = self.coverage.iter_mut().find(is_it) else {
            self.coverage.push(Covered { origin, rule });
            return;
        };
        known.rule.evaluated += rule.evaluated;
        known.rule.matched += rule.matched;
        for (sum, more) in known.rule.conditions.iter_mut().zip(&rule.conditions) {
            sum.held += more.held;
            sum.failed += more.failed;
        }
    }
}
