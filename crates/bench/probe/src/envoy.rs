//! Runs the module inside Envoy: as a service of its own, without listeners or traffic,
//! configured once at the start.

use crate::tasks::{END, MARK, Task, configuration};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The lines that the module answers. A module that never ends is ended by Envoy, which
/// watches the thread that configures it.
pub fn ask(envoy: &Path, module: &Path, task: &Task) -> Result<Vec<String>, String> {
    let said = |cause: std::io::Error| format!("`{}`: {cause}", envoy.display());
    let configuration = configuration(task).map_err(|cause| cause.to_string())?;
    let folder = tempfile::tempdir().map_err(said)?;
    let config = folder.path().join("envoy.json");
    std::fs::write(&config, bootstrap(module, &configuration).to_string()).map_err(said)?;
    let mut envoy = Running(
        Command::new(envoy)
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "1"])
            .args(["--log-level", "warning", "--log-format", "%v"])
            .stderr(Stdio::piped())
            .spawn()
            .map_err(said)?,
    );
    let mut answers = Vec::new();
    let mut others = Vec::new();
    for line in BufReader::new(envoy.0.stderr.take().ok_or("Envoy has no log")?).lines() {
        let line = line.map_err(|cause| cause.to_string())?;
        match line.split_once(MARK) {
            Some((_, END)) => return Ok(answers),
            Some((_, answer)) => answers.push(answer.to_owned()),
            None => others.push(line),
        }
    }
    Err(format!("Envoy ended:\n{}", others.join("\n")))
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bootstrap(module: &Path, configuration: &str) -> serde_json::Value {
    json!({
        "watchdogs": {"main_thread_watchdog": {"kill_timeout": "300s"}},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.wasm",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
                "singleton": true,
                "config": {
                    "name": "probe",
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": configuration,
                    },
                    "vm_config": {
                        "vm_id": "probe",
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": module}},
                    },
                },
            },
        }],
    })
}
