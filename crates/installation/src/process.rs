//! Runs a real program so that nothing of it outlives who started it.
//!
//! Each program leads its own process group, so that Ctrl-C does not reach it,
//! writes its output to a file and is killed, group and all, when it is dropped.

use crate::InstallationError;
use crate::wait;
use rustix::process::{Pid, kill_process, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

pub use rustix::process::Signal;

/// Of a log, what an error tells.
const SAID_LINES: usize = 8;

/// A running program and where it writes.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`; its output goes to `log`.
    ///
    /// Settings of the surrounding shell do not reach it: a configuration means
    /// what it says on every machine.
    pub fn start(
        name: &str,
        mut command: Command,
        log: PathBuf,
    ) -> Result<Program, InstallationError> {
        let made = || {
            let output = File::create(&log)?;
            Ok((output.try_clone()?, output))
        };
        let (output, errors) = made().map_err(InstallationError::file("write", &log))?;
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("MERCATOR_") {
                command.env_remove(key);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|cause| InstallationError::Start {
                program: format!("{name} ({})", command.get_program().display()),
                cause,
            })?;
        Ok(Program {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // It is our child, and nobody else waits for it.
        self.child.try_wait().ok().flatten()
    }

    /// A program that ended is not worth waiting for.
    pub fn check_alive(&mut self) -> Result<(), InstallationError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(InstallationError::Ended {
                program: self.name.clone(),
                status,
                said: self.last_lines(),
            }),
        }
    }

    fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(SAID_LINES);
        let last: Vec<&str> = lines.into_iter().skip(skipped).collect();
        last.join("\n")
    }

    /// SIGKILL to this process alone: what it started lives on.
    pub fn kill(mut self) {
        signal(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        // Dropping would take the group along.
        self.name.clear();
    }

    /// SIGTERM, then wait for the end it makes.
    pub async fn stop(mut self) -> Result<ExitStatus, InstallationError> {
        signal(self.pid(), Signal::TERM);
        let what = format!("{} to stop after SIGTERM", self.name);
        wait::until(&what, async || self.ended().ok_or("still running")).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        if let Some(group) = pid(self.child.id()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Sends a signal; a process that is gone already is no failure.
pub fn signal(process: u32, signal: Signal) {
    if let Some(pid) = pid(process) {
        let _ = kill_process(pid, signal);
    }
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

/// Whether `process` runs with `argument` somewhere on its command line: a pid
/// read from a file may meanwhile belong to somebody else.
pub fn runs_with(process: u32, argument: &str) -> bool {
    let Ok(line) = fs::read(format!("/proc/{process}/cmdline")) else {
        return false;
    };
    String::from_utf8_lossy(&line).contains(argument)
}

/// Whether it is there, and not only waits for its parent to ask how it ended.
pub(crate) fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}

/// The processes that this one started: those of Postgres lead groups of their
/// own, so they are found by their parent.
pub fn children_of(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: state, then parent.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        (parent_of(pid)? == parent).then_some(pid)
    });
    pids.collect()
}

/// The program of this name on `PATH`, or in one of these folders.
pub fn on_path(name: &str, also: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(also.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A shell that starts a child and tells its pid, and where it tells it.
    fn parent(folder: &Path) -> (Program, PathBuf) {
        let log = folder.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let program = Program::start("parent", command, log.clone()).unwrap();
        (program, log)
    }

    async fn child_of(log: &Path) -> u32 {
        let told = wait::until("the child's pid", async || {
            let text = fs::read_to_string(log).unwrap();
            text.trim().parse::<u32>()
        });
        told.await.unwrap()
    }

    fn runs(process: u32) -> bool {
        runs_with(process, "sleep")
    }

    fn soon(condition: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if condition() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    #[tokio::test]
    async fn dropped_program_takes_what_it_started_along() {
        let folder = tempfile::tempdir().unwrap();
        let (program, log) = parent(folder.path());
        let child = child_of(&log).await;
        assert!(runs(child));
        drop(program);
        assert!(soon(|| !runs(child)));
    }

    #[tokio::test]
    async fn killed_program_leaves_what_it_started_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (program, log) = parent(folder.path());
        let child = child_of(&log).await;
        assert!(children_of(program.pid()).contains(&child));
        program.kill();
        assert!(runs(child));
        signal(child, Signal::KILL);
        assert!(soon(|| !runs(child)));
    }

    #[tokio::test]
    async fn program_that_ended_is_told_with_what_it_said_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        let mut program = Program::start("it", command, folder.path().join("log")).unwrap();
        let ended = wait::until("its end", async || program.check_alive().err().ok_or(()));
        let error = ended.await.unwrap().to_string();
        assert_eq!(error, "it ended, exit status: 3: no such thing");
    }

    #[test]
    fn program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let command = Command::new("/no/such/program");
        let error = Program::start("it", command, folder.path().join("log")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("it (/no/such/program) cannot be started: "),
            "{error}"
        );
    }
}
