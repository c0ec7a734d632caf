//! The command as a script sees it: what it prints where, and how it exits.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const YES: i32 = 0;
const NO: i32 = 1;
const COULD_NOT_TELL: i32 = 2;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercator"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("MERCATOR_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn run_in(folder: &Path, args: &[&str], stdin: &str) -> Ran {
    let mut child = command(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes the pipe; that is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), args, "")
}

const VALID: &str = r#"
mpl_version: "1.0"
name: only-small-models
version: "1.0.0"
rules:
  - name: refuse-large
    conditions:
      - {field: request.model, operator: "==", value: gpt-4}
    actions:
      - {type: deny, message: "use a small model", code: large_model}
"#;

fn broken() -> String {
    VALID.replace("request.model", "request.modle")
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let ran = run(&["--help"]);
    assert_eq!(ran.code, YES);
    for word in [
        "run",
        "lint",
        "test",
        "decide",
        "compile",
        "policy",
        "evidence",
        "token",
        "envoy",
        "version",
        "completion",
        "Exit codes",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("fake-provider"));
}

#[test]
fn version_is_one_line_or_json() {
    let expected = format!("mercator {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["version"]).stdout, expected);
    let json: serde_json::Value =
        serde_json::from_str(&run(&["version", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn usage_errors_say_what_was_meant_and_tell_nothing() {
    let ran = run(&["evidense"]);
    assert_eq!(ran.code, COULD_NOT_TELL);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("evidence"), "{}", ran.stderr);
    assert_eq!(run(&["version", "--formt", "json"]).code, COULD_NOT_TELL);
    assert_eq!(run(&[]).code, COULD_NOT_TELL);
}

#[test]
fn completion_is_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completion", shell]);
        assert_eq!(ran.code, YES, "{shell}");
        assert!(ran.stdout.contains("mercator"), "{shell}");
    }
    assert_eq!(run(&["completion", "cmd.exe"]).code, COULD_NOT_TELL);
}

#[test]
fn lint_says_yes_to_a_valid_policy_from_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["lint", "-"], VALID);
    assert_eq!(ran.code, YES, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("`only-small-models` 1.0.0: valid"),
        "{}",
        ran.stdout
    );
}

#[test]
fn lint_says_no_to_a_broken_policy_and_where_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), broken()).unwrap();
    let ran = run_in(folder.path(), &["lint", "p.yaml"], "");
    assert_eq!(ran.code, NO);
    assert!(ran.stdout.contains("p.yaml:8:"), "{}", ran.stdout);
    assert!(ran.stdout.contains("request.model"), "{}", ran.stdout);
}

#[test]
fn lint_looks_through_folders() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("a.yaml"), VALID).unwrap();
    std::fs::write(folder.path().join("below/b.yml"), broken()).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no policy").unwrap();
    let ran = run_in(folder.path(), &["lint", ".", "--format", "json"], "");
    assert_eq!(ran.code, NO, "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["files"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["files"][0]["valid"], true, "{json}");
    let diagnostic = &json["files"][1]["diagnostics"][0];
    assert_eq!(diagnostic["severity"], "error", "{json}");
    assert!(diagnostic["span"]["line"].is_u64(), "{json}");
}

#[test]
fn lint_cannot_tell_about_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["lint", "missing.yaml"], "");
    assert_eq!(ran.code, COULD_NOT_TELL);
    assert!(ran.stderr.contains("`missing.yaml`"), "{}", ran.stderr);
    assert_eq!(
        run_in(folder.path(), &["lint", "."], "").code,
        COULD_NOT_TELL
    );
    std::fs::write(folder.path().join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    let ran = run_in(folder.path(), &["lint", "binary.yaml"], "");
    assert_eq!(ran.code, COULD_NOT_TELL);
    assert!(ran.stderr.contains("UTF-8"), "{}", ran.stderr);
}

#[test]
fn strict_lint_lets_warnings_fail() {
    let folder = tempfile::tempdir().unwrap();
    // A rule without conditions matches everything, so nothing after it is reached.
    let text = VALID.replace(
        "rules:\n",
        "rules:\n  - name: all\n    conditions: []\n    actions: [{type: allow}]\n",
    );
    let lax = run_in(folder.path(), &["lint", "-"], &text);
    assert_eq!(lax.code, YES, "{}{}", lax.stdout, lax.stderr);
    assert!(lax.stdout.contains("1 warning"), "{}", lax.stdout);
    assert_eq!(
        run_in(folder.path(), &["lint", "--strict", "-"], &text).code,
        NO
    );
}

#[test]
fn a_broken_policy_is_not_even_sent() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["policy", "put", "-"], &broken());
    assert_eq!(ran.code, NO, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("not sent"), "{}", ran.stderr);
}

#[test]
fn without_a_token_the_next_step_is_named() {
    let ran = run(&["policy", "list"]);
    assert_eq!(ran.code, COULD_NOT_TELL);
    assert!(ran.stderr.contains("data/admin.token"), "{}", ran.stderr);
    assert!(ran.stderr.contains("mercator run"), "{}", ran.stderr);
}

#[test]
fn without_a_control_plane_the_next_step_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    // Port 1 is nobody's; the token must not be in what is said.
    command
        .args(["evidence", "query", "--server", "http://127.0.0.1:1"])
        .env("MERCATOR_TOKEN", "mjt_not_to_be_shown");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(COULD_NOT_TELL));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("no control plane answers at http://127.0.0.1:1"),
        "{stderr}"
    );
    assert!(stderr.contains("mercator run"), "{stderr}");
    assert!(!stderr.contains("mjt_not_to_be_shown"), "{stderr}");
}

#[test]
fn unknown_configuration_keys_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m.yaml");
    std::fs::write(&config, "region: eu\nadmin:\n  lisen: 127.0.0.1:8081\n").unwrap();
    for args in [
        ["run", "--config", "m.yaml"],
        ["envoy", "--config", "m.yaml"],
    ] {
        let ran = run_in(folder.path(), &args, "");
        assert_eq!(ran.code, COULD_NOT_TELL);
        for word in ["m.yaml", "3", "lisen", "listen"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing was started");
}

#[test]
fn envoy_configuration_is_printed_as_yaml_and_as_json() {
    let yaml = run(&["envoy"]);
    assert_eq!(yaml.code, YES, "{}", yaml.stderr);
    assert!(yaml.stdout.contains("static_resources:"), "{}", yaml.stdout);
    let json = run(&["envoy", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["static_resources"]["listeners"].is_array(), "{json}");
    let ecds = run(&["envoy", "--ecds", "--format", "json"]);
    let ecds: serde_json::Value = serde_json::from_str(&ecds.stdout).unwrap();
    assert_eq!(ecds["resources"][0]["name"], "mercator", "{ecds}");
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.args(["run"]).env("MERCATOR_LOG", "a=b=c");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(COULD_NOT_TELL));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("MERCATOR_LOG"), "{stderr}");
}

#[test]
fn telemetry_that_cannot_be_had_is_refused_by_the_name_of_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command
        .args(["run"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(COULD_NOT_TELL));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("`OTEL_EXPORTER_OTLP_PROTOCOL` must be `http/protobuf`"),
        "{stderr}"
    );
    assert!(stderr.contains("docs/guides/opentelemetry.md"), "{stderr}");
}
