//! Which files are policies, and how much of them is read.

use jupiter_policy::{Diagnostic, Severity, Span};

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

/// A file's text, or where it stops being one.
pub(super) fn policy_file(path: String, bytes: Vec<u8>) -> Result<PolicyFile, FileFault> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(PolicyFile { path, text }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..valid).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let message = "the file is not UTF-8 text";
            Err(fault(path, line, "not-utf8", message))
        }
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
        let fault = policy_file("a.yaml".to_owned(), b"a: 1\nb: \xff".to_vec()).unwrap_err();
        assert_eq!(
            (fault.diagnostic.span.line, fault.diagnostic.code),
            (2, "not-utf8")
        );
    }
}
