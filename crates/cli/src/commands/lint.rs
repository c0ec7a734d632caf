//! `mercator lint`: checks policies and files of tests where they are, without a server.
//!
//! The same check the control plane makes before it stores a policy
//! ([`jupiter_policy::check`]), with the same diagnostics; `sarif` writes them for code
//! review tools.

mod sarif;

use crate::exit::{Answer, Failure};
use crate::output::{self, Format, counted};
use crate::texts::{self, Checked, Found};
use jupiter_policy::{Policy, Severity};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// Policies and files of tests, folders to search for *.yaml and *.yml, or `-` for stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
    /// Also write a SARIF 2.1.0 log for code review tools; `-` for stdout, in place of the text
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

/// Everything that was found.
struct Linted {
    files: Vec<Checked>,
    errors: usize,
    warnings: usize,
    /// Bytes of the bundle the policies make together, or why they make none: each may
    /// be valid and all of them still be too much.
    bundle: Result<Option<usize>, String>,
}

pub fn run(args: &LintArgs, format: Format) -> Result<Answer, Failure> {
    let read = texts::read_all(&args.paths)?;
    let linted = Linted::of(read.into_iter().map(texts::check).collect());
    let mut shown = true;
    if let Some(file) = &args.sarif {
        let log = sarif::log(&linted.files);
        texts::write_report(file, &format!("{log:#}"))?;
        shown = file.as_os_str() != "-";
    }
    match format {
        Format::Text if shown => show(&linted),
        Format::Json if shown => output::print_json(&as_json(&linted)),
        _ => {}
    }
    let warned = args.strict && linted.warnings > 0;
    let invalid = linted.errors > 0 || linted.bundle.is_err() || warned;
    Ok(if invalid { Answer::No } else { Answer::Yes })
}

impl Linted {
    fn of(files: Vec<Checked>) -> Linted {
        let sum = |severity| files.iter().map(|one| one.count(severity)).sum();
        let (errors, warnings) = (sum(Severity::Error), sum(Severity::Warning));
        let bundle = bundle_size(&files);
        Linted {
            files,
            errors,
            warnings,
            bundle,
        }
    }
}

fn bundle_size(files: &[Checked]) -> Result<Option<usize>, String> {
    let of_policies = files.iter().filter_map(|one| match &one.found {
        Found::Policy(policy) => Some(policy.clone()),
        Found::Tests(_) => None,
    });
    match of_policies.collect::<Option<Vec<Policy>>>() {
        Some(policies) if !policies.is_empty() => match jupiter_policy::compile(&policies) {
            Ok(bytes) => Ok(Some(bytes.len())),
            Err(error) => Err(error.to_string()),
        },
        _ => Ok(None),
    }
}

fn show(linted: &Linted) {
    for one in &linted.files {
        if !one.diagnostics.is_empty() {
            output::print(&jupiter_policy::render(
                &one.diagnostics,
                &one.text,
                &one.origin,
            ));
        }
    }
    if let Err(error) = &linted.bundle {
        output::print(&format!("error: together they make no bundle: {error}"));
    }
    if let Some(summary) = summary(linted) {
        output::print(&summary);
    }
}

/// The last line; none where the diagnostics of the only text end in it already.
fn summary(linted: &Linted) -> Option<String> {
    let invalid = linted.files.iter().filter(|one| !one.is_valid()).count();
    let what = match linted.files.as_slice() {
        [_] if invalid > 0 => return None,
        [one] => match &one.found {
            Found::Policy(Some(policy)) => {
                format!("policy `{}` {}", policy.name(), policy.version())
            }
            _ => "a file of tests".to_owned(),
        },
        many => counted(many.len(), "file", "files"),
    };
    let counts = format!(
        "{}, {}",
        counted(linted.errors, "error", "errors"),
        counted(linted.warnings, "warning", "warnings")
    );
    Some(match &linted.bundle {
        Ok(Some(bytes)) if invalid == 0 => {
            format!("{what}: valid, {counts}; a bundle of {bytes} bytes")
        }
        Ok(_) if invalid == 0 => format!("{what}: valid, {counts}"),
        Ok(_) => format!("{what}: {invalid} of them not valid, {counts}"),
        Err(_) => format!("{what}: too much for one bundle"),
    })
}

fn as_json(linted: &Linted) -> Value {
    let file = |one: &Checked| {
        json!({
            "path": one.origin,
            "valid": one.is_valid(),
            "name": one.policy().map(Policy::name),
            "version": one.policy().map(Policy::version),
            "diagnostics": one.diagnostics,
        })
    };
    json!({
        "valid": linted.errors == 0 && linted.bundle.is_ok(),
        "errors": linted.errors,
        "warnings": linted.warnings,
        "bundle_bytes": linted.bundle.as_ref().ok().copied().flatten(),
        "bundle_error": linted.bundle.as_ref().err(),
        "files": linted.files.iter().map(file).collect::<Vec<Value>>(),
    })
}

/// The name and text of one policy that may be sent to a control plane; of any
/// other, what is wrong with it has been shown.
pub fn accepted(path: &Path, format: Format) -> Result<Option<(String, String)>, Failure> {
    let mut read = texts::read_all(&[path.to_owned()])?;
    let (Some(text), true) = (read.pop(), read.is_empty()) else {
        return Err(Failure::new(format!("`{}` is a folder", path.display()))
            .help("put one policy at a time: `mercator policy put FILE`"));
    };
    let checked = texts::check(text);
    if let Found::Tests(_) = checked.found {
        let message = format!("`{}` is a file of tests, and no policy", path.display());
        return Err(Failure::new(message).help("`mercator test` runs them"));
    }
    texts::complain(&[&checked], format);
    match checked.policy() {
        Some(policy) => Ok(Some((policy.name().to_owned(), checked.text.clone()))),
        None => {
            output::say("not valid, so not sent");
            Ok(None)
        }
    }
}
