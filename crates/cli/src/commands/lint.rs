//! `mercator lint`: checks policy texts where they are, without a server.
//!
//! The same check the control plane makes before it stores a policy
//! ([`jupiter_policy::check`]), with the same diagnostics.

use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use jupiter_policy::{Diagnostic, Policy, Severity};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Far above any policy a person writes; a larger file is something else.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// Policy files, folders to search for *.yaml and *.yml, or `-` for stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
}

/// One text and what was found in it.
struct Linted {
    origin: String,
    text: String,
    policy: Option<Policy>,
    diagnostics: Vec<Diagnostic>,
}

impl Linted {
    fn count(&self, severity: Severity) -> usize {
        let of_kind = |d: &&Diagnostic| d.severity == severity;
        self.diagnostics.iter().filter(of_kind).count()
    }
}

pub fn run(args: &LintArgs, format: Format) -> Result<Answer, Failure> {
    let mut linted = Vec::new();
    for (origin, text) in read_all(&args.paths)? {
        let checked = jupiter_policy::check(&text);
        linted.push(Linted {
            origin,
            text,
            policy: checked.policy,
            diagnostics: checked.diagnostics,
        });
    }
    let errors = linted.iter().map(|l| l.count(Severity::Error)).sum();
    let warnings = linted.iter().map(|l| l.count(Severity::Warning)).sum();
    let size = bundle_size(&linted);
    match format {
        Format::Text => show(&linted, errors, warnings, &size),
        Format::Json => output::print_json(&as_json(&linted, errors, warnings, &size)),
    }
    let invalid = errors > 0 || size.is_err() || (args.strict && warnings > 0);
    Ok(if invalid { Answer::No } else { Answer::Yes })
}

/// Bytes of the bundle these policies make together, or why they make none:
/// each may be valid and all of them still be too much.
fn bundle_size(linted: &[Linted]) -> Result<Option<usize>, String> {
    let policies: Option<Vec<Policy>> = linted.iter().map(|l| l.policy.clone()).collect();
    match policies {
        None => Ok(None),
        Some(policies) => match jupiter_policy::compile(&policies) {
            Ok(bytes) => Ok(Some(bytes.len())),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn show(linted: &[Linted], errors: usize, warnings: usize, size: &Result<Option<usize>, String>) {
    for one in linted {
        if !one.diagnostics.is_empty() {
            output::print(&jupiter_policy::render(
                &one.diagnostics,
                &one.text,
                &one.origin,
            ));
        }
    }
    if let Err(error) = size {
        output::print(&format!("error: together they make no bundle: {error}"));
    }
    if let Some(summary) = summary(linted, errors, warnings, size) {
        output::print(&summary);
    }
}

/// The last line; none where the diagnostics of the only text end in it already.
fn summary(
    linted: &[Linted],
    errors: usize,
    warnings: usize,
    size: &Result<Option<usize>, String>,
) -> Option<String> {
    let what = match linted {
        [one] => {
            let policy = one.policy.as_ref()?;
            format!("policy `{}` {}", policy.name(), policy.version())
        }
        many => format!("{} policies", many.len()),
    };
    let counts = format!(
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    let invalid = linted.iter().filter(|one| one.policy.is_none()).count();
    Some(match size {
        Ok(Some(bytes)) => format!("{what}: valid, {counts}; a bundle of {bytes} bytes"),
        Ok(None) => format!("{what}: {invalid} of them not valid, {counts}"),
        Err(_) => format!("{what}: too much for one bundle"),
    })
}

fn counted(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn as_json(
    linted: &[Linted],
    errors: usize,
    warnings: usize,
    size: &Result<Option<usize>, String>,
) -> Value {
    let files: Vec<Value> = linted
        .iter()
        .map(|one| {
            json!({
                "path": one.origin,
                "valid": one.policy.is_some(),
                "name": one.policy.as_ref().map(Policy::name),
                "version": one.policy.as_ref().map(Policy::version),
                "diagnostics": one.diagnostics,
            })
        })
        .collect();
    json!({
        "valid": errors == 0 && size.is_ok(),
        "errors": errors,
        "warnings": warnings,
        "bundle_bytes": size.as_ref().ok().copied().flatten(),
        "bundle_error": size.as_ref().err(),
        "files": files,
    })
}

/// The name and text of one policy that may be sent to a control plane; of any
/// other, what is wrong with it has been shown.
pub fn accepted(path: &Path, format: Format) -> Result<Option<(String, String)>, Failure> {
    let read = read_all(&[path.to_owned()])?;
    let [(origin, text)] = read.as_slice() else {
        return Err(Failure::new(format!("`{}` is a folder", path.display()))
            .help("put one policy at a time: `mercator policy put FILE`"));
    };
    let checked = jupiter_policy::check(text);
    if !checked.diagnostics.is_empty() {
        show_diagnostics(&checked.diagnostics, text, origin, format);
    }
    match checked.policy {
        Some(policy) => Ok(Some((policy.name().to_owned(), text.clone()))),
        None => {
            output::say("not valid, so not sent");
            Ok(None)
        }
    }
}

/// Beside a result rather than as one: on stderr, unless a script wants it.
fn show_diagnostics(diagnostics: &[Diagnostic], text: &str, origin: &str, format: Format) {
    let invalid = diagnostics.iter().any(|d| d.severity == Severity::Error);
    match format {
        Format::Text => output::say(jupiter_policy::render(diagnostics, text, origin).trim_end()),
        Format::Json if invalid => output::print_json(&json!({"diagnostics": diagnostics})),
        Format::Json => {}
    }
}

/// Every text to check with its name, folders replaced by what is in them.
fn read_all(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let text = read(std::io::stdin().lock()).map_err(|e| unreadable("<stdin>", &e))?;
            texts.push(("<stdin>".to_owned(), text));
        } else if path.is_dir() {
            let mut found = Vec::new();
            find(path, &mut found).map_err(|e| unreadable(&path.display().to_string(), &e))?;
            if found.is_empty() {
                return Err(Failure::new(format!(
                    "no *.yaml or *.yml file below `{}`",
                    path.display()
                ))
                .help("name the files themselves, or another folder"));
            }
            found.sort();
            for file in found {
                texts.push(read_file(&file)?);
            }
        } else {
            texts.push(read_file(path)?);
        }
    }
    Ok(texts)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // Links are not followed: one may lead back up.
        if entry.file_type()?.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<(String, String), Failure> {
    let origin = path.display().to_string();
    let text = std::fs::File::open(path)
        .and_then(read)
        .map_err(|e| unreadable(&origin, &e))?;
    Ok((origin, text))
}

fn read(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("larger than 4 MiB, so not a policy"));
    }
    Ok(text)
}

fn unreadable(origin: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("`{origin}` cannot be read: {error}"));
    match error.kind() {
        std::io::ErrorKind::InvalidData => failure.help("policies are UTF-8 text"),
        _ => failure,
    }
}
