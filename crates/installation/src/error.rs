//! Why a part of an installation is not there.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error("there is no `{program}` here")]
    Missing {
        program: &'static str,
        /// How one comes by it.
        help: &'static str,
    },
    #[error("cannot {what} `{}`: {cause}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error("{program} cannot be started: {cause}")]
    Start { program: String, cause: io::Error },
    #[error("{program} failed: {said}")]
    Failed { program: String, said: String },
    #[error("{program} ended, {status}: {said}")]
    Ended {
        program: String,
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    #[error("{program} does not run")]
    NotRunning { program: String },
    #[error("waited {} s for {what}; last seen: {seen}", waited.as_secs())]
    TooLong {
        what: String,
        waited: Duration,
        seen: String,
    },
    #[error("no port of loopback is free")]
    NoPort,
    #[error("Postgres does not run as root, and there is no user `postgres` or `nobody`")]
    NoUser,
    #[error("there is no standby to promote")]
    NoStandby,
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
    #[error("the configuration of HAProxy names a server `{0}`, which has no number")]
    Unnumbered(String),
}

impl InstallationError {
    /// The next step, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            InstallationError::Missing { help, .. } => Some(help),
            InstallationError::NoUser => {
                Some("run it as another user than root, or make a user `postgres`")
            }
            _ => None,
        }
    }

    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| InstallationError::File { what, path, cause }
    }

    pub(crate) fn not_running(program: &str) -> Self {
        InstallationError::NotRunning {
            program: program.to_owned(),
        }
    }
}
