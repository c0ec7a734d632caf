//! The policies and tests a command line names: found, read and checked.
//!
//! Shared by every command that works on files rather than on a server. A file is read
//! once, however often and by whatever name it is named.

use crate::exit::Failure;
use crate::output::{self, Format};
use jupiter_policy::author::testing::{self, TestCase};
use jupiter_policy::{Diagnostic, Policy, Severity};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Far above any policy a person writes; a larger file is something else.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What stands for stdin.
const STDIN: &str = "<stdin>";

/// One text as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// As it was named, for people.
    pub origin: String,
    /// Where it lies, one name for each file; nowhere for stdin.
    pub path: Option<PathBuf>,
    pub text: String,
}

/// A text and what was found in it.
#[derive(Debug, Clone)]
pub struct Checked {
    pub origin: String,
    pub path: Option<PathBuf>,
    pub text: String,
    pub found: Found,
    pub diagnostics: Vec<Diagnostic>,
}

/// What a text holds; without contents where they are faulty.
#[derive(Debug, Clone)]
pub enum Found {
    Policy(Option<Policy>),
    Tests(Option<TestFile>),
}

/// A file of tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    pub cases: Vec<TestCase>,
    /// Where the policies lie that it names.
    pub policies: Option<Vec<PathBuf>>,
}

impl Checked {
    pub fn count(&self, severity: Severity) -> usize {
        let of_kind = |d: &&Diagnostic| d.severity == severity;
        self.diagnostics.iter().filter(of_kind).count()
    }

    pub fn policy(&self) -> Option<&Policy> {
        match &self.found {
            Found::Policy(policy) => policy.as_ref(),
            Found::Tests(_) => None,
        }
    }

    pub fn is_valid(&self) -> bool {
        self.count(Severity::Error) == 0
    }
}

/// Whether a text is a policy or a file of tests, and what is wrong with it.
pub fn check(text: Text) -> Checked {
    let (found, diagnostics) = if testing::is_file_of_tests(&text.text) {
        let tests = testing::parse_tests(&text.text);
        let folder = text.path.as_deref().and_then(Path::parent);
        let beside = |path: &String| folder.unwrap_or(Path::new("")).join(path);
        let policies = tests.policies;
        let file = tests.cases.map(|cases| TestFile {
            cases,
            policies: policies.map(|paths| paths.iter().map(beside).collect()),
        });
        (Found::Tests(file), tests.diagnostics)
    } else {
        let checked = jupiter_policy::check(&text.text);
        (Found::Policy(checked.policy), checked.diagnostics)
    };
    Checked {
        origin: text.origin,
        path: text.path,
        text: text.text,
        found,
        diagnostics,
    }
}

/// The policies the paths name; of faulty ones, what is wrong has been shown. That
/// there are warnings is mentioned, no more: they would bury the result.
pub fn policies(paths: &[PathBuf], format: Format) -> Result<Option<Vec<Policy>>, Failure> {
    let checked: Vec<Checked> = read_all(paths)?.into_iter().map(check).collect();
    let of_policies = |one: &&Checked| matches!(one.found, Found::Policy(_));
    let read: Vec<&Checked> = checked.iter().filter(of_policies).collect();
    if read.is_empty() {
        return Err(Failure::new("no policy among the files named")
            .help("name the files of the policies, or a folder of them"));
    }
    let faulty: Vec<&Checked> = read.iter().copied().filter(|one| !one.is_valid()).collect();
    complain(&faulty, format);
    let warnings: usize = read.iter().map(|one| one.count(Severity::Warning)).sum();
    if faulty.is_empty() && warnings > 0 {
        let warnings = output::counted(warnings, "warning", "warnings");
        output::say(&format!("{warnings}; `mercator lint` tells"));
    }
    Ok(read.iter().map(|one| one.policy().cloned()).collect())
}

/// Shows what is wrong beside a result, on stderr; where nothing will follow, a script
/// finds it in the place of the result.
pub fn complain(checked: &[&Checked], format: Format) {
    let faulty = checked.iter().any(|one| !one.is_valid());
    let noted = checked.iter().filter(|one| !one.diagnostics.is_empty());
    match format {
        Format::Text => {
            for one in noted {
                let said = jupiter_policy::render(&one.diagnostics, &one.text, &one.origin);
                output::say(said.trim_end());
            }
        }
        Format::Json if faulty => {
            let files =
                noted.map(|one| json!({"path": one.origin, "diagnostics": one.diagnostics}));
            output::print_json(&json!({"valid": false, "files": files.collect::<Vec<_>>()}));
        }
        Format::Json => {}
    }
}

/// Every text with its name, folders replaced by what is in them.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Text>, Failure> {
    let mut texts: Vec<Text> = Vec::new();
    let mut add = |text: Text| {
        let known = |other: &Text| other.path.is_some() && other.path == text.path;
        if !texts.iter().any(known) {
            texts.push(text);
        }
    };
    for path in paths {
        if path.as_os_str() == "-" {
            let text = read(std::io::stdin().lock()).map_err(|e| unreadable(STDIN, &e))?;
            add(Text {
                origin: STDIN.to_owned(),
                path: None,
                text,
            });
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
                add(read_file(&file)?);
            }
        } else {
            add(read_file(path)?);
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

pub fn read_file(path: &Path) -> Result<Text, Failure> {
    let origin = path.display().to_string();
    let read = || {
        let text = std::fs::File::open(path).and_then(read)?;
        Ok((text, path.canonicalize()?))
    };
    let (text, path) = read().map_err(|e| unreadable(&origin, &e))?;
    Ok(Text {
        origin,
        path: Some(path),
        text,
    })
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

/// Writes a report to a file, or to stdout where it is named `-`.
pub fn write_report(to: &Path, report: &str) -> Result<(), Failure> {
    if to.as_os_str() == "-" {
        output::print(report);
        return Ok(());
    }
    std::fs::write(to, report)
        .map_err(|e| Failure::new(format!("`{}` cannot be written: {e}", to.display())))
}
