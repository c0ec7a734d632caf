//! Finds Envoy, and runs one without a control plane.

use std::path::{Path, PathBuf};
use std::process::Command;

use jupiter_installation::Program;

use crate::places::project_root;
use crate::wait::OrFail;

/// The Envoy that tests run: `TESTKIT_ENVOY`, else what setup fetched,
/// else the one on `PATH`.
pub fn envoy_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("TESTKIT_ENVOY") {
        return PathBuf::from(named);
    }
    let fetched = project_root().join(".tools/envoy/envoy");
    if fetched.is_file() {
        return fetched;
    }
    jupiter_installation::on_path("envoy", &[]).or_fail(
        "no Envoy here; `./justw test` fetches one into .tools/envoy, \
         or put `envoy` on PATH, or set TESTKIT_ENVOY",
    )
}

/// Run Envoy on a configuration as it lies there, with so many worker threads.
pub fn start_envoy(config: &Path, log: PathBuf, workers: u32) -> Program {
    let mut command = Command::new(envoy_binary());
    command
        .arg("--config-path")
        .arg(config)
        // Several Envoys on one machine would otherwise share a memory segment.
        .arg("--disable-hot-restart")
        .args(["--concurrency", &workers.to_string()])
        .args(["--log-level", "warning"])
        // As `mercator run` does: a line of the access log is written when it is made.
        .args(["--file-flush-min-size-kb", "0"]);
    Program::start("envoy", command, log).or_fail("cannot start Envoy")
}
