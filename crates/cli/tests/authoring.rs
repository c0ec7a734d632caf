//! What authors do with files alone: test, decide, compile, lint for code review.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const YES: i32 = 0;
const NO: i32 = 1;
const COULD_NOT_TELL: i32 = 2;

const POLICY: &str = r#"mpl_version: "1.0"
name: models
version: "1.0.0"
rules:
  - name: trial
    mode: shadow
    conditions: [{field: request.max_tokens, operator: ">", value: 100}]
    actions: [{type: deny, message: "too long", code: too_long}]
  - name: no-old-models
    conditions:
      - {field: request.model, operator: starts_with, value: gpt-3}
      - not: {field: request.user, operator: "==", value: ada}
    actions: [{type: deny, message: "{{ request.model }} is too old", code: old_model}]
  - name: rest
    conditions: []
    actions: [{type: allow}]
"#;

const TESTS: &str = r#"policies: [../models.yaml]
tests:
  - name: an old model is refused
    request: {model: gpt-3.5-turbo}
    expect: {action: deny, reason: gpt-3.5-turbo is too old, rule: no-old-models}
  - name: a new one passes
    request: {model: gpt-4o, max_tokens: 5000}
    expect: {action: allow, shadow: trial, rules: [models/rest]}
"#;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A folder with a policy and a file of tests below it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        std::fs::create_dir(desk.path().join("tests")).unwrap();
        desk.write("models.yaml", POLICY);
        desk.write("tests/models.yaml", TESTS);
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mercator"));
        command.current_dir(self.path()).args(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MERCATOR_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut child = self
            .command(args)
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
}

#[test]
fn cases_are_decided_and_what_they_left_alone_is_told() {
    let desk = Desk::new();
    let ran = desk.run(&["test", "tests/models.yaml"]);
    assert_eq!(ran.code, YES, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(
        ran.stdout,
        "\
tests/models.yaml
result  case                     decision  rules
ok      an old model is refused  deny      no-old-models
ok      a new one passes         allow     rest, (trial)

Never decided anything
policy  rule           what        condition
models  no-old-models  never held  request.user == ada

2 cases, all passed; 3 of 3 rules and 2 of 3 conditions decided
"
    );
    assert_eq!(ran.stderr, "");
    // What never decided anything is advice, unless asked otherwise.
    assert_eq!(desk.run(&["test", "--strict", "tests"]).code, NO);
}

#[test]
fn cases_come_from_beside_rules_and_from_folders() {
    let desk = Desk::new();
    let beside = format!(
        "{POLICY}tests:\n  - {{name: ada may, request: {{model: gpt-3, user: ada}}, expect: {{action: allow}}}}\n"
    );
    desk.write("models.yaml", &beside);
    let ran = desk.run(&["test", "--strict", "."]);
    assert_eq!(ran.code, YES, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .ends_with("3 cases, all passed; 3 of 3 rules and 3 of 3 conditions decided\n"),
        "{}",
        ran.stdout
    );
    // Without `policies` a file of tests is about all policies that are named.
    desk.write("tests/models.yaml", TESTS.split_once('\n').unwrap().1);
    assert_eq!(desk.run(&["test", "."]).code, YES);
    let alone = desk.run(&["test", "tests"]);
    assert_eq!(alone.code, COULD_NOT_TELL);
    assert!(
        alone.stderr.contains("policies: [FILE]"),
        "{}",
        alone.stderr
    );
}

#[test]
fn a_case_that_comes_out_otherwise_is_told_with_its_line() {
    let desk = Desk::new();
    desk.write(
        "tests/models.yaml",
        &TESTS.replace("gpt-3.5-turbo}", "gpt-4o}"),
    );
    let ran = desk.run(&["test", "tests", "--junit", "junit.xml"]);
    assert_eq!(ran.code, NO);
    assert!(
        ran.stdout.contains(
            "FAILED tests/models.yaml:3: an old model is refused\n  \
             expected action `deny`, got `allow`\n  \
             expected reason `gpt-3.5-turbo is too old`, got `nothing`\n"
        ),
        "{}",
        ran.stdout
    );
    let junit = desk.read("junit.xml");
    for part in [
        "<testsuites name=\"mercator test\" tests=\"2\" skipped=\"0\" failures=\"1\"",
        "<testcase name=\"an old model is refused\" classname=\"tests/models.yaml\"",
        "line=\"3\"",
        "<failure message=\"expected action `deny`, got `allow`\"",
    ] {
        assert!(junit.contains(part), "{part}: {junit}");
    }
    // To stdout, it stands in the place of the table.
    let piped = desk.run(&["test", "tests", "--junit", "-"]);
    assert_eq!(piped.code, NO);
    assert!(piped.stdout.starts_with("<?xml"), "{}", piped.stdout);
    assert!(!piped.stdout.contains("result "), "{}", piped.stdout);
}

#[test]
fn results_are_json_for_scripts() {
    let desk = Desk::new();
    let json = desk.run(&["test", "tests", "--format", "json"]).json();
    assert_eq!(json["passed"], true);
    assert_eq!(json["cases"], 2);
    assert_eq!(json["suites"][0]["path"], "tests/models.yaml");
    let case = &json["suites"][0]["cases"][0];
    assert_eq!((&case["line"], &case["passed"]), (&3.into(), &true.into()));
    assert_eq!(case["decision"]["denial"]["code"], "old_model");
    let covered = &json["coverage"]["by_rule"][1];
    assert_eq!(covered["rule"], "no-old-models");
    assert_eq!(covered["conditions"][0]["decided"], true);
    assert_eq!(covered["conditions"][1]["decided"], false);
}

#[test]
fn what_cannot_be_tried_is_told_apart_from_what_fails() {
    let desk = Desk::new();
    desk.write(
        "models.yaml",
        &POLICY.replace("request.model,", "request.modle,"),
    );
    let broken = desk.run(&["test", "tests"]);
    assert_eq!(broken.code, NO);
    assert_eq!(broken.stdout, "");
    assert!(
        broken.stderr.contains("did you mean `request.model`?"),
        "{}",
        broken.stderr
    );

    desk.write("models.yaml", POLICY);
    let none = desk.run(&["test", "models.yaml"]);
    assert_eq!(none.code, COULD_NOT_TELL);
    assert!(none.stderr.contains("no cases"), "{}", none.stderr);

    desk.write("tests/models.yaml", &TESTS.replace("../models", "../model"));
    let gone = desk.run(&["test", "tests"]);
    assert_eq!(gone.code, COULD_NOT_TELL);
    assert!(
        gone.stderr.contains("names it under `policies`"),
        "{}",
        gone.stderr
    );
}

#[test]
fn watching_runs_again_when_a_file_changes() {
    let desk = Desk::new();
    let mut child = desk
        .command(&["test", "tests", "--watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |end: &str| {
        let found = lines.any(|line| line.unwrap().contains(end));
        assert!(found, "the output ended before `{end}`");
    };
    until("2 cases, all passed");
    // A policy that only a file of tests names is watched, too.
    desk.write("models.yaml", &POLICY.replace("gpt-3", "gpt-5"));
    until("2 cases, 1 failed");
    desk.write("models.yaml", POLICY);
    until("2 cases, all passed");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn one_exchange_is_decided_and_explained() {
    let desk = Desk::new();
    desk.write(
        "exchange.json",
        r#"{"model": "gpt-3.5-turbo", "max_tokens": 500}"#,
    );
    let ran = desk.run(&["decide", "models.yaml", "--exchange", "exchange.json"]);
    assert_eq!(ran.code, NO, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "\
decision  deny
rule      models/no-old-models
code      old_model
message   gpt-3.5-turbo is too old
facts     request.model, request.user

models
  would act    trial (deny)
      yes  request.max_tokens > 100
  acted        no-old-models (deny)
      yes  all of
      yes    request.model starts_with gpt-3
      yes    not
      no       request.user == ada
  not reached  rest (allow)
"
    );
    let allowed = desk.run_with(
        &["decide", "models.yaml", "--format", "json"],
        "request: {model: gpt-3, user: ada}\ncontext: {environment: production}\n",
    );
    assert_eq!(allowed.code, YES, "{}", allowed.stderr);
    let json = allowed.json();
    assert_eq!(json["decision"]["verdict"], "allow");
    assert_eq!(json["rules"][1]["state"], "no_match");
    assert_eq!(json["rules"][1]["condition"]["parts"][1]["holds"], false);

    let case = ["decide", "models.yaml", "-e", "tests/models.yaml", "--case"];
    let named = desk.run(&[&case[..], &["a new one passes"]].concat());
    assert_eq!(named.code, YES, "{}", named.stderr);
    assert!(
        named.stdout.contains("acted        rest"),
        "{}",
        named.stdout
    );
    let unnamed = desk.run(&[&case[..], &["another"]].concat());
    assert_eq!(unnamed.code, COULD_NOT_TELL);
}

#[test]
fn an_exchange_that_cannot_be_read_is_no_verdict() {
    let desk = Desk::new();
    let ran = desk.run_with(&["decide", "models.yaml"], "{\"stream\": \"yes\"}");
    assert_eq!(ran.code, COULD_NOT_TELL);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("<stdin>:1:"), "{}", ran.stderr);
    let both = desk.run(&["decide", "-"]);
    assert_eq!(both.code, COULD_NOT_TELL);
    assert!(both.stderr.contains("--exchange FILE"), "{}", both.stderr);
}

#[test]
fn a_bundle_goes_through_a_pipe_that_stays_one() {
    use std::os::unix::fs::FileTypeExt;
    let desk = Desk::new();
    let pipe = desk.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    let ran = desk.run(&["compile", "models.yaml", "--output", "pipe"]);
    assert_eq!(ran.code, YES, "{}", ran.stderr);
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let bundle = jupiter_policy::Bundle::load(&reader.join().unwrap()).unwrap();
    assert_eq!(ran.stdout, format!("{}\n", bundle.digest().as_str()));
}

#[test]
fn a_bundle_is_written_and_named_by_its_digest() {
    let desk = Desk::new();
    let ran = desk.run(&["compile", ".", "--output", "bundle"]);
    assert_eq!(ran.code, YES, "{}", ran.stderr);
    let bytes = std::fs::read(desk.path().join("bundle")).unwrap();
    let bundle = jupiter_policy::Bundle::load(&bytes).unwrap();
    assert_eq!(ran.stdout, format!("{}\n", bundle.digest().as_str()));
    assert!(ran.stderr.contains("1 policy in "), "{}", ran.stderr);

    let json = desk
        .run(&["compile", "models.yaml", "--format", "json"])
        .json();
    assert_eq!(json["digest"], bundle.digest().as_str());
    assert_eq!(json["bytes"], bytes.len());
    assert_eq!(json["policies"][0]["name"], "models");

    // Every process hashes with keys of its own, and no order of files matters.
    desk.write("other.yaml", &POLICY.replace("name: models", "name: other"));
    let digest = |paths: &[&str]| desk.run(&[&["compile"], paths].concat()).stdout;
    let together = digest(&["models.yaml", "other.yaml"]);
    assert_ne!(together, ran.stdout);
    for _ in 0..4 {
        assert_eq!(digest(&["other.yaml", "models.yaml"]), together);
    }

    desk.write("models.yaml", "name: x\n");
    let broken = desk.run(&["compile", "models.yaml", "--output", "other"]);
    assert_eq!(broken.code, NO);
    assert!(!desk.path().join("other").exists());
}

#[test]
fn lint_reads_files_of_tests_for_what_they_are() {
    let desk = Desk::new();
    let ran = desk.run(&["lint", "--strict", "."]);
    assert_eq!(ran.code, YES, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.starts_with("2 files: valid, no errors"),
        "{}",
        ran.stdout
    );
    desk.write(
        "tests/models.yaml",
        &TESTS.replace("action: deny", "action: denny"),
    );
    let slip = desk.run(&["lint", "tests"]);
    assert_eq!(slip.code, NO);
    assert!(
        slip.stdout.contains("did you mean `deny`?"),
        "{}",
        slip.stdout
    );
}

#[test]
fn lint_writes_what_code_review_tools_read() {
    let desk = Desk::new();
    let faulty = POLICY
        .replace("request.model,", "request.modle,")
        .replace("rules:", "metadata: {owner: ada}\nrules:");
    desk.write("a b.yaml", &faulty);
    let ran = desk.run(&["lint", ".", "--sarif", "lint.sarif"]);
    assert_eq!(ran.code, NO);
    assert!(
        ran.stdout.contains("error[unknown-field]"),
        "{}",
        ran.stdout
    );
    let log: Value = serde_json::from_str(&desk.read("lint.sarif")).unwrap();

    let schema: Value = serde_json::from_str(include_str!("data/sarif-2.1.0.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&log)
        .map(|it| it.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let mut slip = log.clone();
    slip["runs"][0]["results"][0]["level"] = "fatal".into();
    assert!(!validator.is_valid(&slip));

    let run = &log["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2, "{log:#}");
    for (result, code, level) in [
        (&results[0], "key-ignored", "warning"),
        (&results[1], "unknown-field", "error"),
    ] {
        assert_eq!(
            (&result["ruleId"], &result["level"]),
            (&code.into(), &level.into())
        );
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], code);
        assert_eq!(rules[index]["defaultConfiguration"]["level"], level);
    }
    let place = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
    let region = &place["region"];
    let line = faulty
        .lines()
        .position(|line| line.contains("modle"))
        .unwrap();
    let column = faulty.lines().nth(line).unwrap().find("request").unwrap();
    assert_eq!(region["startLine"], line + 1);
    assert_eq!(region["endLine"], line + 1);
    assert_eq!(region["startColumn"], column + 1);
    assert_eq!(region["endColumn"], column + 1 + "request.modle".len());
    assert!(
        results[1]["message"]["text"]
            .as_str()
            .unwrap()
            .contains("did you mean `request.model`?")
    );

    let piped = desk.run(&["lint", "models.yaml", "--sarif", "-"]);
    assert_eq!(piped.code, YES);
    assert_eq!(piped.json()["runs"][0]["results"], Value::Array(Vec::new()));
}
