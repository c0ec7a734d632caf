//! Runs the `git` program: bounded, without questions, hooks or secrets on show.
//!
//! It gets an environment of its own making, so that neither a variable of the
//! surrounding shell changes what it does nor a provider's key reaches it. A
//! credential travels in the environment alone, never in arguments.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::config::Secret;

/// More than any tree of policies takes to list or read.
const MAX_OUTPUT: u64 = 40 * 1024 * 1024;

/// How much of what git complains is repeated.
const MAX_COMPLAINT: usize = 600;

/// What the surrounding shell may tell git: how to find programs, keys and
/// proxies, whom to trust.
const PASSED_ON: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "GNUPGHOME",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Whatever the user's own settings say.
const SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "submodule.recurse=false",
    "fetch.fsckObjects=true",
    // Housekeeping ends with the command that began it.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
];

/// Why git has nothing to say.
#[derive(Debug)]
pub(super) enum GitError {
    Missing,
    TimedOut(Duration),
    TooLarge,
    /// It ended with a complaint, perhaps an empty one.
    Failed(String),
    Io(io::Error),
}

impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GitError::Missing => f.write_str(
                "the program `git` is not on PATH: install it, or choose another `policy.source`",
            ),
            GitError::TimedOut(after) => write!(f, "git did not end within {after:?}"),
            GitError::TooLarge => f.write_str("more than policies can have"),
            GitError::Failed(said) if said.is_empty() => f.write_str("git failed"),
            GitError::Failed(said) => write!(f, "git failed: {said}"),
            GitError::Io(error) => write!(f, "git cannot be run: {error}"),
        }
    }
}

/// Git at work on one mirror.
#[derive(Debug)]
pub(super) struct Git {
    mirror: PathBuf,
    authorization: Option<Secret>,
}

impl Git {
    pub(super) fn new(mirror: PathBuf, authorization: Option<Secret>) -> Git {
        Git {
            mirror,
            authorization,
        }
    }

    pub(super) fn mirror(&self) -> &Path {
        &self.mirror
    }

    /// What it writes to stdout.
    pub(super) async fn run(&self, args: &[&str], within: Duration) -> Result<Vec<u8>, GitError> {
        self.run_with(args, Vec::new(), within).await
    }

    /// The same with `input` on stdin.
    pub(super) async fn run_with(
        &self,
        args: &[&str],
        input: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, GitError> {
        let mut child = self
            .command(args)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => GitError::Missing,
                _ => GitError::Io(error),
            })?;
        let mut group = Group::of(&child);
        let ended = tokio::time::timeout(within, talk(&mut child, input)).await;
        if matches!(ended, Ok(Ok(_))) {
            group.ended();
        }
        ended.map_err(|_| GitError::TimedOut(within))?
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:file")
            .env("GIT_DIR", &self.mirror)
            // Without a promise of more it would fetch what it lacks, unasked.
            .env("GIT_NO_LAZY_FETCH", "1");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            command.env(
                "GIT_SSH_COMMAND",
                "ssh -o BatchMode=yes -o ConnectTimeout=10",
            );
        }
        if let Some(authorization) = &self.authorization {
            let header = format!("Authorization: {}", authorization.expose());
            command
                .env("GIT_CONFIG_COUNT", "2")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env("GIT_CONFIG_VALUE_0", header)
                // A server that points elsewhere must not have the header sent there.
                .env("GIT_CONFIG_KEY_1", "http.followRedirects")
                .env("GIT_CONFIG_VALUE_1", "false");
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Helpers (ssh, git-remote-https) are to end with it.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Writes, reads and waits, all at once: either end may fill its pipe.
async fn talk(child: &mut Child, input: Vec<u8>) -> Result<Vec<u8>, GitError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A git that reads no further says why on stderr.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), out, complaint) = tokio::join!(write, read(stdout), read(stderr));
    let (out, complaint) = (out?, complaint?);
    let status = child.wait().await.map_err(GitError::Io)?;
    match status.success() {
        true => Ok(out),
        false => Err(GitError::Failed(plain(&complaint))),
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, GitError> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let mut bounded = pipe.take(MAX_OUTPUT + 1);
        bounded
            .read_to_end(&mut bytes)
            .await
            .map_err(GitError::Io)?;
    }
    match bytes.len() as u64 > MAX_OUTPUT {
        true => Err(GitError::TooLarge),
        false => Ok(bytes),
    }
}

/// One line for people, as a server may have said anything.
fn plain(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    joined
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_COMPLAINT)
        .collect()
}

/// A git and what it started; killed unless it ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(Pid::from_raw))
    }

    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
