//! `mercator drill` on a running instance whose control plane is frozen: no client
//! notices, and every record is there afterwards. `mercator drill local` on an
//! installation of its own, nothing of which is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use jupiter_testkit::{Instance, Program, envoy_binary, filter_module, target_dir, wait};
use serde_json::{Value, json};

const POLICY: &str = include_str!("../../../examples/policies/quickstart.yaml");

#[tokio::test]
async fn frozen_control_plane_costs_no_answer_and_no_record() {
    let instance = Instance::builder()
        .policy("quickstart", POLICY)
        .start()
        .await;
    let folder = tempfile::tempdir().expect("a folder");
    let pid = instance.control_plane_pid();
    let (freeze, thaw) = (format!("kill -STOP {pid}"), format!("kill -CONT {pid}"));
    let mut command = Command::new(target_dir().join("debug/mercator"));
    command
        .args([
            "drill",
            "run",
            "database-failover",
            "--target",
            &instance.traffic().url(""),
        ])
        .args(["--server", instance.admin().base_url(), "--format", "json"])
        .args([
            "--on-start",
            &freeze,
            "--on-end",
            &thaw,
            "--policy-mix",
            "10%",
        ])
        .args(["--steady", "1s", "--fault", "2s", "--recovery", "1s"])
        .args(["--reports", "reports"])
        .env("MERCATOR_TOKEN", instance.admin().token().expect("a token"))
        .current_dir(folder.path());
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("`mercator` is built"));
    let output = output.await.expect("it does not panic");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["results"]["requests"]["answered"], 180);
    assert_eq!(report["results"]["requests"]["denied"], 20);
    assert_eq!(report["records"]["expected"], 200);
    assert_eq!(report["records"]["not_found"], 0);
    let mut ask = Command::new(target_dir().join("debug/mercator"));
    ask.args(["doctor", "--target", instance.admin().base_url()])
        .args(["--drill-reports", "reports", "--format", "json"])
        .env("MERCATOR_TOKEN", instance.admin().token().expect("a token"))
        .current_dir(folder.path());
    let asked = tokio::task::spawn_blocking(move || ask.output().expect("`mercator` is built"));
    let asked = asked.await.expect("it does not panic");
    let told: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let checks = told["checks"].as_array().expect("checks");
    let drill = checks.iter().find(|check| check["id"] == "drill");
    assert_eq!(
        drill.expect("a check of drills")["verdict"],
        "ok",
        "{told:#}"
    );
    let files = std::fs::read_dir(folder.path().join("reports")).expect("reports");
    assert_eq!(files.count(), 2);
}

/// How many processes name this folder on their command line.
fn running_in(folder: &Path) -> usize {
    let folder = folder.to_str().expect("a path").to_owned() + "/";
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let names_it = |line: Vec<u8>| String::from_utf8_lossy(&line).contains(&folder);
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|line| names_it(line.clone()))
        .count()
}

#[tokio::test]
async fn local_installation_is_broken_judged_kept_and_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    // Postgres, which does not run as root, goes through here.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(folder.path(), open).expect("a folder of ours");
    let installation = folder.path().join("installation");
    let told = folder.path().join("told");
    let mut command = Command::new("sh");
    // A program of the tests hears nothing of settings of ours, so a shell sets them.
    command
        .args(["-c", "told=$1; shift; exec env \"$@\" >\"$told\"", "sh"])
        .arg(&told)
        .arg(format!(
            "MERCATOR_ENVOY__FILTER={}",
            filter_module().display()
        ))
        .arg(format!(
            "MERCATOR_ENVOY__BINARY={}",
            envoy_binary().display()
        ))
        .arg(target_dir().join("debug/mercator"))
        .args([
            "drill", "local", "--keep", "--format", "json", "--rate", "30",
        ])
        .args(["--drill", "database-failover", "--drill", "kill-instance"])
        .args(["--steady", "1s", "--fault", "2s", "--recovery", "1s"])
        .args(["--reports", "reports", "--dir", "installation"])
        .current_dir(folder.path());
    let log = folder.path().join("said");
    let mut drill =
        Program::start("mercator drill local", command, log.clone()).expect("`mercator` is built");
    let said = || fs::read_to_string(&log).expect("what it said");
    let ready = wait::PATIENCE * 4;
    let address = wait::until_within(ready, "the drills to be over", async || {
        if drill.ended().is_some() || !said().contains("Ctrl-C ends all of it") {
            return Err(said());
        }
        let line = said();
        let line = line
            .lines()
            .find_map(|line| line.strip_prefix("Traffic    "));
        let address = line
            .and_then(|line| line.split(' ').next())
            .map(str::to_owned);
        address.ok_or_else(said)
    })
    .await;

    // It is there to try things out: the load balancer, and the policy behind it.
    let request = json!({"model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "CONFIDENTIAL: the merger"}]});
    let answer = reqwest::Client::new()
        .post(format!("{address}/v1/chat/completions"))
        .json(&request)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 403);
    // HAProxy, a provider, three servers, three control planes, three Envoys.
    assert_eq!(running_in(&installation), 11, "{}", said());

    let asked = Command::new("kill")
        .args(["-INT", &drill.pid().to_string()])
        .status();
    assert!(asked.expect("kill runs").success());
    let status = wait::until("its end", async || drill.ended().ok_or_else(said)).await;
    assert_eq!(running_in(&installation), 0, "{}", said());
    assert!(installation.join("jupiter1/mercator.yaml").exists());

    let told = fs::read(&told).expect("what it told");
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(status.code(), Some(0), "{}\n{told:#}", said());
    assert_eq!(told["held"], true);
    for (drill, name) in [(0, "database-failover"), (1, "kill-instance")] {
        let drill = &told["drills"][drill];
        assert_eq!(
            (&drill["drill"], &drill["held"]),
            (&json!(name), &json!(true))
        );
        let report = &drill["report"];
        assert!(
            report["results"]["requests"]["denied"].as_u64() >= Some(11),
            "{report:#}"
        );
        assert_eq!(report["records"]["not_found"], 0);
        assert_eq!(
            (&report["local"], &report["on_end"]["code"]),
            (&json!(true), &json!(0))
        );
    }
    let evidence = &told["evidence"];
    assert_eq!(evidence["verified"], true, "{evidence:#}");
    let expected = told["drills"].as_array().expect("drills").iter();
    let expected: u64 = expected
        .filter_map(|drill| drill["report"]["records"]["expected"].as_u64())
        .sum();
    assert!(
        expected >= 230 && evidence["records"].as_u64() >= Some(expected),
        "{evidence:#}"
    );
    let files = fs::read_dir(folder.path().join("reports")).expect("reports");
    let mut files: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    // Two a drill, two of both, and the folder of the evidence.
    assert_eq!(files.len(), 7, "{files:?}");
}

#[test]
fn local_installation_without_a_program_names_it_and_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(target_dir().join("debug/mercator"))
        .args(["drill", "local", "--dir", "installation"])
        .env("MERCATOR_ENVOY__BINARY", "/no/such/envoy")
        .current_dir(folder.path())
        .output()
        .expect("`mercator` is built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("there is no `envoy` here") && said.contains("./justw setup"),
        "{said}"
    );
    assert!(!folder.path().join("installation").exists());
}
