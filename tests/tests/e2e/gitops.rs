//! Whoever brings policies, and however badly: what was good stays enforced,
//! what is good is enforced, and everyone can see which it is.

use jupiter_testkit::{Answer, Instance, InstanceBuilder, wait};
use serde_json::{Value, json};

use crate::repository::{Key, Repository};
use crate::support::{REFUSED_MODEL, ask, assert_record, question, record_of};

const VERSION_A: &str = include_str!("policies/refuse-a.yaml");
const VERSION_B: &str = include_str!("policies/refuse-b.yaml");

/// What Envoy says to the model that both versions refuse.
async fn refusal(instance: &Instance) -> (Answer, String) {
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question(REFUSED_MODEL))
        .header("connection", "close");
    let answer = traffic.complete(request).await;
    let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
    (answer, code.unwrap_or_default())
}

/// Assert that both workers of Envoy enforce this version, now.
async fn assert_enforced(instance: &Instance, due: &str) {
    for _ in 0..6 {
        let (answer, code) = refusal(instance).await;
        assert_eq!(
            (answer.status, code.as_str()),
            (403, due),
            "{}",
            answer.text()
        );
    }
    let allowed = ask(instance, &question("gpt-4o")).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
}

/// Wait until both workers enforce this version.
async fn wait_until_enforced(instance: &Instance, due: &str) {
    wait::until(due, async || {
        for _ in 0..6 {
            let (answer, code) = refusal(instance).await;
            if code != due {
                return Err((answer.status, code));
            }
        }
        Ok(())
    })
    .await;
    assert_enforced(instance, due).await;
}

async fn source(instance: &Instance) -> Value {
    instance
        .admin()
        .get("/v1/policies/source")
        .await
        .expect(200)
        .json()
}

/// Wait until the source's error has this code; the whole of what it tells.
async fn wait_for_error(instance: &Instance, code: &str) -> Value {
    wait::until(code, async || match source(instance).await {
        told if told["error"]["code"] == code => Ok(told),
        told => Err(told),
    })
    .await
}

fn from_git(repository: &Repository) -> InstanceBuilder {
    Instance::builder()
        .policy_source("source: git")
        .policy_source("git:")
        .policy_source(&format!("  repository: {}", repository.path().display()))
        .policy_source("  subpath: policies")
        .policy_source("  poll_interval: 300ms")
}

#[tokio::test]
async fn bad_policy_by_the_api_leaves_the_good_one_enforced() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let admin = instance.admin();
    let bad = VERSION_B.replace("request.model", "request.modle");
    let problem = admin.put_policy("versioned", &bad).await.expect(422).json();
    let diagnostic = &problem["diagnostics"][0];
    assert_eq!(diagnostic["code"], "unknown-field", "{problem:#}");
    assert_eq!(diagnostic["span"]["line"], 8, "{problem:#}");
    assert_enforced(&instance, "version_a").await;
}

#[tokio::test]
async fn of_two_authors_racing_one_is_enforced_and_the_other_told() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let admin = instance.admin();
    let read = admin.get("/v1/policies/versioned").await.expect(200);
    let etag = read.header("etag").expect("an etag").to_owned();
    // Both have read the same revision; each means to be the next.
    let (ann, bob) = (admin.if_match(&etag), admin.if_match(&etag));
    let bobs = VERSION_B.replace("version_b", "version_bob");
    let (anns, bobs) = tokio::join!(
        ann.put_policy("versioned", VERSION_B),
        bob.put_policy("versioned", &bobs),
    );
    let (due, lost) = match (anns.status, bobs.status) {
        (200, 412) => ("version_b", bobs),
        (412, 200) => ("version_bob", anns),
        other => panic!("both or none of the authors won: {other:?}"),
    };
    assert_eq!(lost.json()["code"], "precondition_failed");
    assert_eq!(lost.json()["revision"], 2);
    wait_until_enforced(&instance, due).await;
    let history = admin
        .get("/v1/policies/versioned/revisions")
        .await
        .expect(200)
        .json();
    assert_eq!(
        history["revisions"].as_array().map(Vec::len),
        Some(2),
        "{history:#}"
    );
}

#[tokio::test]
async fn rollback_is_enforced_and_brings_back_what_was_deleted() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let admin = instance.admin();
    admin.put_policy("versioned", VERSION_B).await.expect(200);
    wait_until_enforced(&instance, "version_b").await;
    let path = "/v1/policies/versioned/rollback";
    let body = json!({"revision": 1});
    admin
        .if_match("\"1\"")
        .post_json(path, &body)
        .await
        .expect(412);
    let back = admin
        .if_match("\"2\"")
        .post_json(path, &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&back["revision"], &back["source"]),
        (&json!(3), &json!(VERSION_A))
    );
    wait_until_enforced(&instance, "version_a").await;
    let diff = admin
        .get("/v1/policies/versioned/diff")
        .await
        .expect(200)
        .json();
    assert!(
        diff["diff"]
            .as_str()
            .expect("text")
            .contains("+      - {type: deny, message: \"refused by version a\"")
    );

    admin
        .delete("/v1/policies/versioned")
        .await
        .expect_success();
    wait::until("everything to be refused", async || {
        match refusal(&instance).await {
            (answer, _) if answer.status == 503 => Ok(()),
            (answer, code) => Err((answer.status, code)),
        }
    })
    .await;
    admin
        .post_json(path, &json!({"revision": 2}))
        .await
        .expect(200);
    wait_until_enforced(&instance, "version_b").await;
}

#[tokio::test]
async fn bad_commit_changes_nothing_and_a_good_one_is_in_the_records() {
    let repository = Repository::new();
    let first = repository.commit("versioned.yaml", VERSION_A);
    let instance = from_git(&repository).start().await;
    wait_until_enforced(&instance, "version_a").await;
    let (refused, _) = refusal(&instance).await;
    let digest = instance.digest_in_force().await;
    let in_force = json!({"digest": digest, "commit": first});
    assert_record(
        &record_of(&instance, &refused).await,
        &json!({"policy": in_force}),
    );

    // One good file beside a bad one: neither counts.
    let another = VERSION_B
        .replace("name: versioned", "name: another")
        .replace("gpt-4-turbo", "another-model");
    repository.commit("another.yaml", &another);
    wait::until("both policies", async || match source(&instance).await {
        told if told["commit"] != json!(first) => Ok(()),
        told => Err(told),
    })
    .await;
    let second = source(&instance).await["commit"].clone();
    let bad = VERSION_B.replace("operator: \"==\"", "operator: \"resembles\"");
    let third = repository.commit("versioned.yaml", &bad);
    let told = wait_for_error(&instance, "invalid_policies").await;
    assert_eq!(
        (&told["commit"], &told["error"]["revision"]),
        (&second, &json!(third))
    );
    let diagnostic = &told["error"]["diagnostics"][0];
    assert_eq!(diagnostic["file"], "policies/versioned.yaml", "{told:#}");
    assert_eq!(diagnostic["span"]["line"], 8, "{told:#}");
    assert_enforced(&instance, "version_a").await;
    let metrics = instance.metrics().get("/metrics").await.expect(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("mercator_policy_source_failures_total"),
        "{metrics}"
    );
    let ready = instance.admin().get("/readyz?verbose").await.expect(200);
    assert!(String::from_utf8_lossy(&ready.body).contains("[i]policy_source behind"));
    // Nor can an author change anything here.
    let refused = instance
        .admin()
        .put_policy("versioned", VERSION_B)
        .await
        .expect(409);
    assert_eq!(refused.json()["code"], "policy_source_is_git");

    let fourth = repository.commit("versioned.yaml", VERSION_B);
    wait::until("the good commit", async || match source(&instance).await {
        told if told["commit"] == json!(fourth) && told["error"] == Value::Null => Ok(()),
        told => Err(told),
    })
    .await;
    instance.wait_for_bundle().await;
    let admin = instance.admin();
    wait::until("a record of the good commit", async || {
        let (answer, _) = refusal(&instance).await;
        let record = admin.wait_for_record(&answer.decision_id()).await;
        match &record["policy"]["commit"] {
            commit if *commit == json!(fourth) => Ok(()),
            commit => Err(commit.clone()),
        }
    })
    .await;
    let history = admin
        .get("/v1/policies/versioned/revisions")
        .await
        .expect(200)
        .json();
    assert_eq!(history["revisions"][0]["commit"], json!(fourth));
    assert_eq!(history["revisions"][0]["author"], "Ann <ann@example.org>");
}

#[tokio::test]
async fn unsigned_commit_is_refused_where_signatures_are_asked_for() {
    let (repository, ours, theirs) = (Repository::new(), Key::new(), Key::new());
    repository.commit_signed("versioned.yaml", VERSION_A, &ours);
    let signers = ours.allowed_signers();
    let instance = from_git(&repository)
        .policy_source("  verify_signatures: true")
        .policy_source(&format!("  allowed_signers: {}", signers.display()))
        .start()
        .await;
    wait_until_enforced(&instance, "version_a").await;

    let unsigned = repository.commit("versioned.yaml", VERSION_B);
    let told = wait_for_error(&instance, "signature_refused").await;
    assert_eq!(told["error"]["revision"], json!(unsigned), "{told:#}");
    assert_enforced(&instance, "version_a").await;

    let foreign = repository.commit_signed("versioned.yaml", VERSION_B, &theirs);
    wait::until(
        "the key of a stranger to be refused",
        async || match source(&instance).await {
            told if told["error"]["revision"] == json!(foreign) => Ok(told),
            told => Err(told),
        },
    )
    .await;
    assert_eq!(
        source(&instance).await["error"]["code"],
        "signature_refused"
    );
    assert_enforced(&instance, "version_a").await;

    repository.commit_signed("versioned.yaml", VERSION_B, &ours);
    wait_until_enforced(&instance, "version_b").await;
}

#[tokio::test]
async fn instance_starts_from_its_mirror_while_the_repository_is_away() {
    let repository = Repository::new();
    let commit = repository.commit("versioned.yaml", VERSION_A);
    let mut instance = from_git(&repository).start().await;
    wait_until_enforced(&instance, "version_a").await;
    assert!(instance.stop().await.success());
    // Even without its database, which is what a fresh volume would be.
    for file in [
        "mercator.db",
        "mercator.db-wal",
        "mercator.db-shm",
        "admin.token",
        "emitter.token",
    ] {
        let _ = std::fs::remove_file(instance.data_dir().join(file));
    }
    repository.hide();
    instance.start_control_plane().await;
    wait_until_enforced(&instance, "version_a").await;
    let told = wait_for_error(&instance, "fetch_failed").await;
    assert_eq!(told["commit"], json!(commit));
    assert_eq!(told["last_success_at"], Value::Null);
}

#[tokio::test]
async fn changed_file_of_a_folder_is_enforced_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("versioned.yaml");
    std::fs::write(&file, VERSION_A).expect("a file");
    let instance = Instance::builder()
        .policy_source("source: dir")
        .policy_source(&format!("dir: {{path: {}}}", folder.path().display()))
        .start()
        .await;
    wait_until_enforced(&instance, "version_a").await;
    std::fs::write(&file, VERSION_B.replace("type: deny", "type: denny")).expect("a file");
    let told = wait_for_error(&instance, "invalid_policies").await;
    assert_eq!(
        told["error"]["diagnostics"][0]["file"], "versioned.yaml",
        "{told:#}"
    );
    assert_enforced(&instance, "version_a").await;
    std::fs::write(&file, VERSION_B).expect("a file");
    wait_until_enforced(&instance, "version_b").await;
    let path = "/v1/policies/versioned";
    let refused = instance.admin().delete(path).await.expect(409);
    assert_eq!(refused.json()["code"], "policy_source_is_dir");
    std::fs::remove_file(&file).expect("it was there");
    wait_for_error(&instance, "no_policies").await;
    assert_enforced(&instance, "version_b").await;
}
