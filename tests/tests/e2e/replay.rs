//! A candidate policy over what was recorded, before it is in force.

use std::path::Path;

use jupiter_testkit::Instance;
use serde_json::{Value, json};

use crate::support::{GUARD, REFUSED_MODEL, ask, guarded, question, wait_for_totals};
use crate::tamper::{mercator, told};

fn replay(instance: &Instance, folder: &Path, policy: &str) -> (Option<i32>, Value) {
    std::fs::write(folder.join("candidate.yaml"), policy).expect("it is written");
    let admin = instance.admin();
    let token = admin.token().expect("an admin has a token");
    let arguments = [
        "replay",
        "candidate.yaml",
        "--server",
        admin.base_url(),
        "--token",
        token,
        "--format",
        "json",
    ];
    let output = mercator(folder, &arguments);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("no report: {}", told(&output)));
    (output.status.code(), report)
}

#[tokio::test]
async fn candidate_is_told_apart_from_what_is_in_force_by_recorded_requests() {
    let instance = guarded().await;
    for (model, times) in [("gpt-4o", 4), ("gpt-4o-mini", 3), (REFUSED_MODEL, 2)] {
        for _ in 0..times {
            ask(&instance, &question(model)).await;
        }
    }
    wait_for_totals(&instance, 9).await;
    let folder = tempfile::tempdir().expect("a folder");

    let (code, same) = replay(&instance, folder.path(), GUARD);
    assert_eq!((code, &same["same"]), (Some(0), &json!(9)), "{same:#}");

    let stricter = GUARD.replace(
        "value: claude-opus}",
        "value: claude-opus}\n          \
         - {field: request.model, operator: \"==\", value: gpt-4o-mini}",
    );
    let stricter = stricter.replace("value: gpt-4-turbo}", "value: gpt-9}");
    let (code, report) = replay(&instance, folder.path(), &stricter);
    assert_eq!(code, Some(1), "{report:#}");
    let differing = report["differing"].as_array().expect("a list");
    let told: Vec<_> = differing
        .iter()
        .map(|one| {
            (
                one["was"].as_str().expect("a text"),
                one["would_be"].as_str().expect("a text"),
                one["rule"].as_str().expect("a text"),
                one["exchanges"].as_u64().expect("a number"),
            )
        })
        .collect();
    let rule = "guard/approved-models";
    assert_eq!(
        told,
        [("allow", "deny", rule, 3), ("deny", "allow", rule, 2)]
    );
    assert_eq!(report["same"], 4);
    let subject = &differing[0]["subjects"][0]["subject"];
    assert!(
        subject
            .as_str()
            .is_some_and(|name| name.starts_with("key:")),
        "{report:#}"
    );

    let reads_text = GUARD.replace(
        "- {field: request.model, operator: starts_with, value: gpt-4-turbo}",
        "- {field: request.text, operator: contains, value: capital}",
    );
    let (_, report) = replay(&instance, folder.path(), &reads_text);
    let untold = &report["untold"][0];
    assert_eq!(untold["rule"], rule);
    assert_eq!(untold["fields"], json!(["request.text"]));
    assert_eq!(untold["exchanges"], 9);

    // Nothing came of it.
    let policies = instance.admin().get("/v1/policies").await.json();
    assert_eq!(policies["policies"][0]["revision"], 1, "{policies:#}");
    assert_eq!(ask(&instance, &question("gpt-4o-mini")).await.status, 200);
}
