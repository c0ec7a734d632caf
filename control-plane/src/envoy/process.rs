//! One Envoy process: started by us, or found running.
//!
//! Both are followed by a pidfd, so that a signal never reaches a stranger who
//! was given the same process id.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Child;

use super::files::write_private;

/// How often one that is not our child is looked at: nobody tells us of its end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How Envoy is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    /// Absolute.
    pub(super) binary: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Also takes what Envoy prints, such as the stack of a crash.
    pub(super) log: PathBuf,
    pub(super) pid_file: PathBuf,
}

/// A running Envoy.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    handle: OwnedFd,
    /// `None` when somebody else started it: then its end has no status.
    child: Option<Child>,
}

impl Launch {
    /// Starts Envoy in a process group of its own: Ctrl-C in a terminal is for
    /// us, who stop it in order.
    pub(super) fn spawn(&self) -> io::Result<Process> {
        let log = append(&self.log)?;
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = tokio::process::Command::from(command).spawn()?;
        let followed = child
            .id()
            .ok_or_else(|| io::Error::other("it ended at once"))
            .and_then(|pid| Ok((pid, follow(pid)?)))
            .and_then(|(pid, handle)| {
                write_private(&self.pid_file, format!("{pid}\n").as_bytes())?;
                Ok((pid, handle))
            });
        match followed {
            Ok((pid, handle)) => Ok(Process {
                pid,
                handle,
                child: Some(child),
            }),
            Err(error) => {
                // One that cannot be followed must not stay behind.
                let _ = child.start_kill();
                Err(error)
            }
        }
    }

    /// The Envoy an earlier control plane left running with this configuration
    /// file, and whether it was started exactly as this launch would.
    pub(super) fn orphan(&self, config_file: &Path) -> Option<(Process, bool)> {
        let pid: u32 = fs::read_to_string(&self.pid_file)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        // Followed first, looked at second: what is looked at is what is followed.
        let handle = follow(pid).ok()?;
        let arguments = command_line(pid)?;
        arguments
            .iter()
            .any(|argument| argument == config_file.as_os_str())
            .then_some(())?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let same = arguments.get(1..) == Some(&self.arguments)
            && program.is_some()
            && program == fs::canonicalize(&self.binary).ok();
        let child = None;
        Some((Process { pid, handle, child }, same))
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end and says how it ended.
    pub(super) async fn ended(&mut self) -> String {
        match &mut self.child {
            Some(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            None => {
                while is_running(&self.handle) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                "it was not our child".to_owned()
            }
        }
    }

    /// Ignores that it may have ended: then there is nothing left to signal.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

fn follow(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A pidfd becomes readable when its process ends.
fn is_running(handle: &OwnedFd) -> bool {
    let mut looked_at = [PollFd::new(handle, PollFlags::IN)];
    // Interrupted or out of memory: look again later.
    !matches!(poll(&mut looked_at, Some(&Timespec::default())), Ok(1..))
}

fn command_line(pid: u32) -> Option<Vec<OsString>> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Some(
        bytes
            .split(|byte| *byte == 0)
            .map(|argument| OsString::from_vec(argument.to_vec()))
            .collect(),
    )
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
