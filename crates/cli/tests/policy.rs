//! `mercator policy` against a control plane that runs without Envoy.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A control plane of its own; killed when dropped.
struct ControlPlane {
    child: Child,
    folder: tempfile::TempDir,
    server: String,
}

fn mercator(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercator"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MERCATOR_") {
            command.env_remove(name);
        }
    }
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl ControlPlane {
    fn start(policy: &str) -> ControlPlane {
        let folder = tempfile::tempdir().unwrap();
        let (admin, metrics) = (free_port(), free_port());
        let config = format!(
            "admin: {{listen: '127.0.0.1:{admin}'}}\nmetrics: {{listen: '127.0.0.1:{metrics}'}}\n\
             envoy: {{manage: false}}\n{policy}"
        );
        std::fs::write(folder.path().join("mercator.yaml"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = mercator(folder.path())
            .args(["run", "--config", "mercator.yaml"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let plane = ControlPlane {
            child,
            folder,
            server: format!("http://127.0.0.1:{admin}"),
        };
        plane.until("it to answer", || plane.run(&["policy", "list"]).code == 0);
        plane
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = mercator(self.folder.path())
            .args(args)
            .args(["--server", &self.server])
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn put(&self, model: &str) {
        self.write("guard.yaml", &policy(model));
        let ran = self.run(&["policy", "put", "guard.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            let log = self.folder.path().join("log");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "waited for {what}: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn policy(model: &str) -> String {
    format!(
        "mpl_version: \"1.0\"\nname: guard\nversion: \"1.0.0\"\nrules:\n  - name: one\n    \
         conditions:\n      - {{field: request.model, operator: \"==\", value: {model}}}\n    \
         actions: [{{type: deny, message: no}}]\n"
    )
}

#[test]
fn past_of_a_policy_is_told_compared_and_brought_back() {
    let plane = ControlPlane::start("");
    plane.put("first");
    plane.put("second");

    let history = plane.run(&["policy", "history", "guard"]);
    assert_eq!(history.code, 0, "{}", history.stderr);
    let lines: Vec<&str> = history.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", history.stdout);
    assert!(lines[0].contains("revision") && lines[1].trim_start().starts_with("2 "));
    let one = plane.json(&["policy", "history", "guard", "--limit", "1"]);
    assert_eq!(one["revisions"][0]["revision"], 2);
    assert_eq!(one["revisions"].as_array().unwrap().len(), 1);

    let diff = plane.run(&["policy", "diff", "guard"]);
    assert_eq!(diff.code, 0, "{}", diff.stderr);
    assert!(
        diff.stdout
            .starts_with("--- guard revision 1\n+++ guard revision 2\n"),
        "{}",
        diff.stdout
    );
    assert!(
        diff.stdout
            .contains("+      - {field: request.model, operator: \"==\", value: second}")
    );
    let same = plane.run(&["policy", "diff", "guard", "--from", "2", "--to", "2"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""));
    assert!(same.stderr.contains("the same"), "{}", same.stderr);

    let back = plane.run(&["policy", "rollback", "guard", "--to", "1"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert!(
        back.stdout
            .contains("as revision 3; the bundle is now sha256:"),
        "{}",
        back.stdout
    );
    assert_eq!(
        plane.run(&["policy", "show", "guard"]).stdout,
        policy("first")
    );

    assert_eq!(plane.run(&["policy", "delete", "guard"]).code, 0);
    let history = plane.run(&["policy", "history", "guard"]).stdout;
    assert!(history.contains("(deleted)"), "{history}");
    assert_eq!(
        plane.json(&["policy", "rollback", "guard", "--to", "2"])["revision"],
        5
    );

    for (args, said) in [
        (
            &["policy", "rollback", "guard", "--to", "9"][..],
            "no revision 9",
        ),
        (&["policy", "rollback", "guard", "--to", "4"], "deleted"),
        (&["policy", "history", "other"], "no policy `other`"),
        (&["policy", "diff", "other"], "no policy `other`"),
    ] {
        let ran = plane.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn source_is_told_with_file_and_line_of_what_is_wrong() {
    let plane = ControlPlane::start("policy: {source: dir, dir: {path: .}}");
    let told = plane.run(&["policy", "source"]);
    // The configuration lies there too, and is no policy.
    assert_eq!(told.code, 1, "{}", told.stderr);
    assert!(
        told.stdout.contains("mercator.yaml:1:1: "),
        "{}",
        told.stdout
    );
    let put = plane.run(&["policy", "rollback", "guard", "--to", "1"]);
    assert_eq!(put.code, 1);
    assert!(
        put.stderr.contains("policy_source_is_dir"),
        "{}",
        put.stderr
    );
    let json = plane.json(&["policy", "source"]);
    assert_eq!(json["error"]["diagnostics"][0]["file"], "mercator.yaml");

    let api = ControlPlane::start("");
    assert_eq!(api.run(&["policy", "source"]).stdout, "source        api\n");
}
