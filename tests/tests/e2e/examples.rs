//! The example policies do through Envoy what their cases say.
//!
//! A case that a client's request can bring about is asked for real, in an
//! instance of the environment it names; those that speak of time, the caller's
//! attributes or what detectors found are decided in the policy crate's own tests.

use std::path::{Path, PathBuf};

use jupiter_testkit::{Answer, Instance};
use serde_json::{Value, json};

use crate::support::record_of;

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

pub(crate) fn case_files() -> Vec<(PathBuf, Value)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(examples().join("cases"))
        .expect("examples/cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a case file");
        let cases = serde_saphyr::from_str(&text).expect("cases");
        (path, cases)
    };
    files.into_iter().map(read).collect()
}

/// The environment an instance has when nothing else is said.
const USUAL: &str = "production";

/// A case that a client can bring about: where, and by which path and body.
struct Asked<'c> {
    case: &'c Value,
    environment: String,
    path: &'static str,
    body: Value,
}

/// `None` where no client's request can bring about what the case is about.
fn asked(case: &Value) -> Option<Asked<'_>> {
    let given = case.as_object()?;
    let beyond = ["processing", "response", "metadata"];
    if beyond.iter().any(|key| given.contains_key(*key)) {
        return None;
    }
    let environment = match given.get("context") {
        None => USUAL.to_owned(),
        Some(context) => {
            let context = context.as_object()?;
            let alone = context.len() == 1;
            context
                .get("environment")?
                .as_str()
                .filter(|_| alone)?
                .to_owned()
        }
    };
    let mut body = given.get("request")?.as_object()?.clone();
    if !body.contains_key("model") {
        return None;
    }
    if let Some(tools) = body.get("tools").and_then(Value::as_array) {
        let tool = |tool: &Value| match tool {
            Value::String(name) => json!({"type": "function", "function": {"name": name}}),
            whole => whole.clone(),
        };
        let tools = tools.iter().map(tool).collect();
        body.insert("tools".to_owned(), tools);
    }
    let path = match body.contains_key("input") {
        true => "/v1/embeddings",
        false => "/v1/chat/completions",
    };
    if path != "/v1/embeddings" {
        body.entry("messages").or_insert_with(|| json!([]));
    }
    Some(Asked {
        case,
        environment,
        path,
        body: Value::Object(body),
    })
}

/// The policies of a file of cases, by name.
fn policies_of(file: &Value) -> Vec<String> {
    let paths = file["policies"].as_array().expect("policies");
    let name = |path: &Value| {
        let path = Path::new(path.as_str().expect("a path"));
        let stem = path.file_stem().expect("a file");
        stem.to_string_lossy().into_owned()
    };
    paths.iter().map(name).collect()
}

/// The given policies, and no others, in force.
async fn enforce(instance: &Instance, names: &[String]) {
    let admin = instance.admin();
    for name in names {
        let path = examples().join("policies").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(path).expect("an example policy");
        admin.put_policy(name, &text).await.expect_success();
    }
    let listed = admin.get("/v1/policies").await.expect_success().json();
    for policy in listed["policies"].as_array().expect("a list") {
        let name = policy["name"].as_str().expect("a name").to_owned();
        if !names.contains(&name) {
            let path = format!("/v1/policies/{name}");
            admin.delete(&path).await.expect_success();
        }
    }
    instance.wait_for_bundle().await;
}

fn assert_decided(name: &str, expect: &Value, answer: &Answer, record: &Value) {
    let denied = expect["action"] == "deny";
    let verdict = if denied { "deny" } else { "allow" };
    assert_eq!(record["decision"], verdict, "{name}: {record}");
    assert_eq!(record["reason"], expect["code"], "{name}: {record}");
    assert_eq!(answer.status == 403, denied, "{name}: {}", answer.text());
    let recorded = |key: &str| -> Vec<String> {
        let rules = record[key].as_array().into_iter().flatten();
        rules.map(rule).collect()
    };
    let expected = expect["rules"].as_array().into_iter().flatten();
    let expected: Vec<&str> = expected.filter_map(Value::as_str).collect();
    assert_eq!(recorded("matched_rules"), expected, "{name}");
    let shadow: Vec<&str> = expect["shadow"].as_str().into_iter().collect();
    assert_eq!(recorded("shadow_rules"), shadow, "{name}");
}

fn rule(rule: &Value) -> String {
    let text = |key: &str| rule[key].as_str().unwrap_or_default();
    format!("{}/{}", text("policy"), text("rule"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_decide_through_envoy_as_their_cases_say() {
    let files = case_files();
    let mut count = 0;
    for environment in [USUAL, "development", "staging"] {
        let builder = Instance::builder().envoy("concurrency: 1");
        let instance = builder.environment(environment).start().await;
        for (path, file) in &files {
            let cases = file["tests"].as_array().expect("tests").iter();
            let cases: Vec<Asked> = cases
                .filter_map(asked)
                .filter(|asked| asked.environment == environment)
                .collect();
            if !cases.is_empty() {
                enforce(&instance, &policies_of(file)).await;
            }
            for asked in cases {
                let name = format!("{}: {}", path.display(), asked.case["name"]);
                let traffic = instance.traffic();
                let request = traffic.post(asked.path, &asked.body);
                let answer = traffic.complete(request).await;
                let record = record_of(&instance, &answer).await;
                assert_decided(&name, &asked.case["expect"], &answer, &record);
                count += 1;
            }
        }
    }
    assert!(count >= 20, "only {count} cases were asked");
}
