//! Finds the Envoy to run and makes sure that it is one we know.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The oldest version that what `super::bootstrap` writes was tried with.
const OLDEST: Version = Version(1, 40, 0);

/// A program that does not tell its version within this is not Envoy.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error(
        "there is no `{}`: install Envoy, or set `envoy.binary` to where it is, or `envoy.manage: false` if it runs elsewhere",
        .0.display()
    )]
    NotFound(PathBuf),
    #[error(
        "`{}` cannot be run ({cause}): set `envoy.binary` to an Envoy for this machine",
        path.display()
    )]
    NotRunnable { path: PathBuf, cause: String },
    #[error(
        "`{}` is Envoy {found}, and {OLDEST} is the oldest that will do",
        path.display()
    )]
    TooOld { path: PathBuf, found: Version },
}

/// The program, by its absolute path, and its version.
pub async fn find(name: &Path) -> Result<(PathBuf, Version), BinaryError> {
    let not_found = || BinaryError::NotFound(name.to_owned());
    let path = locate(name).ok_or_else(not_found)?;
    let not_runnable = |cause: String| BinaryError::NotRunnable {
        path: path.clone(),
        cause,
    };
    let asked = tokio::process::Command::new(&path)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .map_err(|_| not_runnable("it does not answer `--version`".to_owned()))?
        .map_err(|error| not_runnable(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = version_in(&text)
        .ok_or_else(|| not_runnable("it does not answer `--version` as Envoy does".to_owned()))?;
    if version < OLDEST {
        let found = version;
        return Err(BinaryError::TooOld { path, found });
    }
    Ok((path, version))
}

/// As a shell does: a name without a slash is looked for on `PATH`.
fn locate(name: &Path) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if name.components().count() > 1 {
        vec![name.to_owned()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .collect()
    };
    let found = candidates.into_iter().find(|path| path.is_file())?;
    std::path::absolute(found).ok()
}

/// From `envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_in(text: &str) -> Option<Version> {
    let (_, after) = text.split_once("version: ")?;
    after.split('/').find_map(|part| {
        let mut numbers = part.split('-').next()?.split('.').map(str::parse);
        match (numbers.next()?, numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor), Ok(patch)) => Some(Version(major, minor, patch)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_as_envoy_prints_it() {
        let text = "\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version_in(text), Some(Version(1, 40, 0)));
        assert_eq!(
            version_in("x version: ab/1.41.1-dev/Modified/DEBUG"),
            Some(Version(1, 41, 1))
        );
        for text in [
            "",
            "envoy",
            "envoy version: ",
            "version: a/b.c.d/1.2",
            "curl 7.88.1",
        ] {
            assert_eq!(version_in(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_envoy_is_said_so() {
        let error = find(Path::new("no-such-envoy-here")).await.unwrap_err();
        assert!(matches!(error, BinaryError::NotFound(_)));
        assert!(error.to_string().contains("envoy.binary"), "{error}");
        let error = find(Path::new("/bin/true")).await.unwrap_err();
        assert!(matches!(error, BinaryError::NotRunnable { .. }), "{error}");
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(Version(1, 9, 9) < Version(1, 40, 0));
        assert!(OLDEST <= Version(1, 40, 0));
    }
}
