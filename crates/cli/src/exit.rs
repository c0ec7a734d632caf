//! What a command's exit code means, and how it says that it failed.
//!
//! Three answers, the same for every command, so that a script can rely on
//! them: yes, no, could not tell. A [`Failure`] is always the third unless it
//! says otherwise, and names the next step where there is one.

use std::fmt;
use std::process::{ExitCode, Termination};

/// The answer a command gives to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, valid, allowed.
    Yes,
    /// Refused, invalid, not there.
    No,
    /// Something stood between the question and an answer.
    CouldNotTell,
}

impl Termination for Answer {
    fn report(self) -> ExitCode {
        match self {
            Answer::Yes => ExitCode::from(0),
            Answer::No => ExitCode::from(1),
            Answer::CouldNotTell => ExitCode::from(2),
        }
    }
}

/// Why a command has no result to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    help: Option<String>,
    answer: Answer,
}

impl Failure {
    /// Could not tell, and why.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            help: None,
            answer: Answer::CouldNotTell,
        }
    }

    /// The answer is no, and why.
    pub fn no(message: impl Into<String>) -> Failure {
        Failure {
            answer: Answer::No,
            ..Failure::new(message)
        }
    }

    /// Adds the next step.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    pub fn answer(&self) -> Answer {
        self.answer
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message.replace('\n', "\n       "))?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {}", help.replace('\n', "\n        ")),
            None => Ok(()),
        }
    }
}

/// An error with its causes on one line: `could not listen: address in use`.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many libraries already repeat their cause in their own message.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_its_next_step_below_the_message() {
        let failure = Failure::new("no answer").help("start it\nor not");
        assert_eq!(
            failure.to_string(),
            "error: no answer\n  help: start it\n        or not"
        );
        assert_eq!(failure.answer(), Answer::CouldNotTell);
        assert_eq!(Failure::no("denied").answer(), Answer::No);
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk full");
        let outer = std::io::Error::other(inner);
        assert_eq!(with_causes(&outer), "disk full");
    }
}
