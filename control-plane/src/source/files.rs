//! Which files are policies, and how much of them is read.

use jupiter_policy::{Diagnostic, Severity, Span};

use super::SourceFault;
use crate::publish::set::{FileFault, PolicyFile};

/// More files than a bundle can hold the policies of.
pub(super) const MAX_FILES: usize = 1_000;

/// A policy and its comments; the language itself reads no longer texts, so one
/// byte more is enough to have it say so.
pub(super) const MAX_FILE_BYTES: u64 = 1024 * 1024 + 1;

/// What all files may have together.
pub(super) const MAX_TOTAL_BYTES: u64 = 32 * 1024 * 1024;

/// Whether a file's name says it is a policy. Hidden ones are not (editors and
/// Kubernetes volumes leave such), nor are tests of policies.
pub(super) fn is_policy(name: &str) -> bool {
    let Some((stem, "yaml" | "yml")) = name.rsplit_once('.') else {
        return false;
    };
    let is_test = stem.ends_with("_test") || stem.ends_with("_tests");
    !is_hidden(name) && !stem.is_empty() && !is_test
}

pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// The files as texts, or where each of the others stops being one.
pub(super) fn texts(
    contents: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<Vec<PolicyFile>, SourceFault> {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for (path, bytes) in contents {
        match String::from_utf8(bytes) {
            Ok(text) => files.push(PolicyFile { path, text }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..valid).unwrap_or_default();
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                let message = "the file is not UTF-8 text";
                faults.push(fault(path, line, "not-utf8", message));
            }
        }
    }
    match faults.is_empty() {
        true => Ok(files),
        false => Err(faulty(faults)),
    }
}

/// What is said of files that cannot be read as policies.
pub(super) fn faulty(files: Vec<FileFault>) -> SourceFault {
    SourceFault {
        files,
        ..SourceFault::new(
            "invalid_policies",
            "some policy files cannot be read as text",
        )
    }
}

/// What is wrong with a file rather than with its policy.
pub(super) fn fault(file: String, line: usize, code: &'static str, message: &str) -> FileFault {
    let span = Span {
        line,
        column: 1,
        end_line: line,
        end_column: 1,
        ..Span::default()
    };
    FileFault {
        file,
        diagnostic: Diagnostic {
            severity: Severity::Error,
            code,
            message: message.to_owned(),
            span,
            help: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_policies_from_what_lies_beside_them() {
        for name in ["a.yaml", "a.yml", "a.b.yaml", "test.yaml", "latest.yaml"] {
            assert!(is_policy(name), "{name}");
        }
        for name in [
            ".a.yaml",
            ".yaml",
            "a.yaml~",
            "a.json",
            "yaml",
            "a.YAML.swp",
            "a_test.yaml",
            "a_tests.yml",
            "README.md",
            "",
        ] {
            assert!(!is_policy(name), "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_found_by_line() {
        let contents = [
            ("a.yaml".to_owned(), b"a: 1\nb: \xff".to_vec()),
            ("b.yaml".to_owned(), b"fine".to_vec()),
        ];
        let refused = texts(contents).unwrap_err();
        assert_eq!(refused.files.len(), 1);
        let diagnostic = &refused.files[0].diagnostic;
        assert_eq!((diagnostic.span.line, diagnostic.code), (2, "not-utf8"));
    }
}
