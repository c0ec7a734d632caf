//! Runs a real program so that nothing of it outlives its test.
//!
//! Each program leads its own process group, writes its output to a file and
//! is killed, group and all, when it is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::{self, OrFail, fail};

/// A running program and where it writes.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Start `command`; its output goes to `log`.
    ///
    /// Settings of the surrounding shell do not reach it: a test means what it
    /// says on every machine.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Self {
        let output = File::create(&log).or_fail("cannot create a log file");
        let errors = output.try_clone().or_fail("cannot share a log file");
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
            .or_fail(&format!("cannot start {name} ({command:?})"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
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
        self.child.try_wait().or_fail("cannot wait for a child")
    }

    /// SIGKILL to this process alone: what it started lives on.
    pub fn kill(mut self) {
        signal(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        // Dropping would take the group along.
        self.name.clear();
    }

    /// SIGTERM, then wait for the end it makes.
    pub async fn stop(mut self) -> ExitStatus {
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

/// Send a signal; a process that is gone already is no failure.
pub(crate) fn signal(process: u32, signal: Signal) {
    if let Some(pid) = pid(process) {
        let _ = kill_process(pid, signal);
    }
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

/// Whether `process` runs with `argument` somewhere on its command line: a pid
/// read from a file may meanwhile belong to somebody else.
pub(crate) fn runs_with(process: u32, argument: &str) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{process}/cmdline")) else {
        return false;
    };
    String::from_utf8_lossy(&line).contains(argument)
}

/// The folder of the whole project.
pub fn project_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo's target folder: the test program runs from `<target>/debug/deps`.
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().or_fail("no path of this test program");
    program
        .ancestors()
        .find(|folder| folder.file_name() == Some(OsStr::new("deps")))
        .and_then(|deps| deps.ancestors().nth(2))
        .or_fail("this test program is not in cargo's target folder")
        .to_owned()
}

/// What `variable` names, else `otherwise`, which must exist.
pub(crate) fn built(variable: &str, otherwise: PathBuf) -> PathBuf {
    let path = std::env::var_os(variable).map_or(otherwise, PathBuf::from);
    if !path.is_file() {
        fail(&format!(
            "`{}` is missing; `./justw test` builds it, or set {variable}",
            path.display()
        ));
    }
    std::path::absolute(&path).or_fail("cannot make a path absolute")
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
        (Program::start("parent", command, log.clone()), log)
    }

    async fn child_of(log: &Path) -> u32 {
        wait::until("the child's pid", async || {
            let text = std::fs::read_to_string(log).or_fail("a log");
            text.trim().parse::<u32>()
        })
        .await
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
        program.kill();
        assert!(runs(child));
        signal(child, Signal::KILL);
        assert!(soon(|| !runs(child)));
    }
}
