//! What operators and their machines rely on: health, roles, limits, discovery.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use jupiter_testkit::{Admin, Instance, envoy_binary, target_dir, wait};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{GUARD, ask, guarded, question};

#[tokio::test]
async fn health_answers_http_1_0() {
    let instance = guarded().await;
    let answer = instance
        .traffic()
        .raw(b"GET /health HTTP/1.0\r\n\r\n", Duration::from_secs(5))
        .await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = answer.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("HTTP/1.") && line.contains(" 200"),
        "{answer}"
    );
    assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
}

#[tokio::test]
async fn health_is_not_an_exchange() {
    let instance = guarded().await;
    for _ in 0..5 {
        instance.traffic().get("/health").await;
        instance.traffic().get("/health/deep").await;
    }
    let answer = ask(&instance, &question("gpt-4o")).await;
    crate::support::record_of(&instance, &answer).await;
    // What deep health asks for itself is one, once in ten seconds.
    let records = instance.admin().evidence("").await;
    let of_clients = records.iter().filter(|r| r["reason"] != "health_probe");
    assert_eq!(of_clients.count(), 1);
}

#[tokio::test]
async fn deep_health_has_exactly_the_documented_shape() {
    let instance = guarded().await;
    // Through Envoy, and at the control plane itself; open in both places.
    let through_envoy = instance.traffic().get("/health/deep").await;
    assert_eq!(through_envoy.status, 200, "{}", through_envoy.text());
    let direct = instance.admin().with_token(None);
    let direct = direct.get("/health/deep").await.expect(200).json();
    for mut health in [through_envoy.json(), direct] {
        let uptime = health["uptime_seconds"].as_u64().expect("whole seconds");
        assert!(uptime < 600);
        health["uptime_seconds"] = json!(3600);
        assert_eq!(
            health,
            json!({
                "status": "healthy",
                "checks": {
                    "database": "ok",
                    "providers": {"openai": "ok", "anthropic": "ok"},
                    "policy_engine": "ok",
                    "evidence_storage": "ok",
                },
                "uptime_seconds": 3600,
            })
        );
    }
}

#[tokio::test]
async fn probes_and_metrics_are_open_and_true() {
    let instance = guarded().await;
    let open = instance.admin().with_token(None);
    for path in ["/livez", "/readyz", "/health"] {
        open.get(path).await.expect(200);
    }
    let metrics = instance.metrics().get("/metrics").await.expect(200);
    let text = String::from_utf8(metrics.body).expect("text");
    assert!(text.contains("# TYPE "), "{text}");
    // Metrics have a port of their own.
    assert_ne!(open.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn nothing_but_health_is_open() {
    let instance = guarded().await;
    let open = instance.admin().with_token(None);
    let stranger = instance.admin().with_token(Some("mjt_not-a-token"));
    let id = "0197a000-0000-7000-8000-000000000000";
    let doors = [
        (Method::GET, "/v1/policies".to_owned()),
        (Method::GET, "/v1/policies/guard".to_owned()),
        (Method::PUT, "/v1/policies/guard".to_owned()),
        (Method::DELETE, "/v1/policies/guard".to_owned()),
        (Method::POST, "/v1/policies/validate".to_owned()),
        (Method::GET, "/v1/bundles/current".to_owned()),
        (Method::POST, "/v3/discovery:extension_configs".to_owned()),
        (Method::POST, "/v1/evidence".to_owned()),
        (Method::GET, "/v1/evidence".to_owned()),
        (Method::GET, format!("/v1/evidence/{id}")),
        (Method::GET, "/v1/emitters".to_owned()),
        (Method::GET, "/v1/tokens".to_owned()),
        (Method::POST, "/v1/tokens".to_owned()),
        (Method::DELETE, format!("/v1/tokens/{id}")),
    ];
    for (method, path) in doors {
        for admin in [&open, &stranger] {
            let reply = admin
                .send(method.clone(), &path, "application/yaml", b"x".to_vec())
                .await;
            assert_eq!(reply.status, 401, "{method} {path}");
            assert_eq!(
                reply.header("content-type"),
                Some("application/problem+json")
            );
            assert!(
                reply.header("www-authenticate").is_some(),
                "{method} {path}"
            );
        }
    }
    // The door is closed, not gone.
    instance.admin().get("/v1/policies/guard").await.expect(200);
}

/// A token of `role`, made by the first one.
async fn bearer(instance: &Instance, role: &str) -> Admin {
    let admin = instance.admin();
    let made = admin
        .post_json(
            "/v1/tokens",
            &json!({"name": format!("a {role}"), "role": role}),
        )
        .await
        .expect_success()
        .json();
    let token = made["token"].as_str().expect("the token's text");
    assert!(token.starts_with("mjt_"), "not a token of ours");
    admin.with_token(Some(token))
}

#[tokio::test]
async fn each_role_may_do_its_part_and_no_more() {
    let instance = guarded().await;
    let discovery = json!({"resource_names": ["mercator"]}).to_string();
    let doors: [(Method, &str, &str, &str, &[&str]); 8] = [
        (Method::GET, "/v1/policies", "", "", &["author", "auditor"]),
        (
            Method::PUT,
            "/v1/policies/guard",
            "application/yaml",
            GUARD,
            &["author"],
        ),
        (
            Method::POST,
            "/v1/policies/validate",
            "application/yaml",
            GUARD,
            &["author"],
        ),
        (
            Method::GET,
            "/v1/bundles/current",
            "",
            "",
            &["auditor", "emitter"],
        ),
        (Method::GET, "/v1/evidence", "", "", &["auditor"]),
        (Method::GET, "/v1/emitters", "", "", &["auditor"]),
        (Method::GET, "/v1/tokens", "", "", &[]),
        (
            Method::POST,
            "/v3/discovery:extension_configs",
            "application/json",
            &discovery,
            &["emitter"],
        ),
    ];
    for role in ["admin", "author", "auditor", "emitter"] {
        let bearer = bearer(&instance, role).await;
        for (method, path, content_type, body, roles) in &doors {
            let body = body.as_bytes().to_vec();
            let reply = bearer.send(method.clone(), path, content_type, body).await;
            if role == "admin" || roles.contains(&role) {
                let text = String::from_utf8_lossy(&reply.body);
                assert!(reply.status < 300, "{role} {method} {path}: {text}");
            } else {
                assert_eq!(reply.status, 403, "{role} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn revoked_token_opens_nothing() {
    let instance = guarded().await;
    let admin = instance.admin();
    let made = admin
        .post_json("/v1/tokens", &json!({"name": "leaver", "role": "auditor"}))
        .await
        .expect_success()
        .json();
    let leaver = admin.with_token(made["token"].as_str());
    leaver.get("/v1/policies").await.expect(200);
    let id = made["id"].as_str().expect("an id");
    admin
        .delete(&format!("/v1/tokens/{id}"))
        .await
        .expect_success();
    leaver.get("/v1/policies").await.expect(401);
}

#[tokio::test]
async fn first_tokens_are_for_their_owner_alone() {
    let mut instance = guarded().await;
    for name in ["admin.token", "emitter.token"] {
        let file = instance.data_dir().join(name);
        let mode = std::fs::metadata(&file)
            .expect("a token file")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        let token = std::fs::read_to_string(&file).expect("a token");
        assert!(
            !instance.all_logs().contains(token.trim()),
            "{name} is in a log"
        );
    }
    // It is not made anew at each start, or every script would be locked out.
    let token = instance.admin().token().map(str::to_owned);
    assert!(instance.stop().await.success());
    instance.start_control_plane().await;
    assert_eq!(instance.admin().token().map(str::to_owned), token);
    instance.admin().get("/v1/policies").await.expect(200);
}

#[tokio::test]
async fn policies_are_listed_shown_and_validated() {
    let instance = guarded().await;
    let admin = instance.admin();
    let list = admin.get("/v1/policies").await.expect(200).json();
    let policies = list["policies"].as_array().expect("policies");
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0]["name"], "guard");

    let valid = admin
        .send(
            Method::POST,
            "/v1/policies/validate",
            "application/yaml",
            GUARD.as_bytes().to_vec(),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(valid["valid"], true, "{valid:#}");
    let broken = GUARD.replace("request.model", "request.modle");
    let broken = admin
        .send(
            Method::POST,
            "/v1/policies/validate",
            "application/yaml",
            broken.into_bytes(),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(broken["valid"], false, "{broken:#}");
    assert!(
        broken["diagnostics"][0]["span"]["line"].is_number(),
        "{broken:#}"
    );

    // A name in the address other than that in the file is a mistake.
    let reply = admin.put_policy("another", GUARD).await;
    assert!([400, 409, 422].contains(&reply.status), "{}", reply.status);
    admin.get("/v1/policies/another").await.expect(404);
}

#[tokio::test]
async fn current_bundle_is_named_by_its_digest() {
    let instance = guarded().await;
    let admin = instance.admin();
    let bundle = admin.get("/v1/bundles/current").await.expect(200);
    let etag = bundle.header("etag").expect("an etag").to_owned();
    let digest = instance.digest_in_force().await.expect("a digest");
    assert_eq!(etag, format!("\"{digest}\""));
    let unchanged = reqwest::Client::new()
        .get(format!("{}/v1/bundles/current", admin.base_url()))
        .bearer_auth(admin.token().expect("a token"))
        .header("if-none-match", etag)
        .send()
        .await
        .expect("an answer");
    assert_eq!(unchanged.status(), 304);
}

#[tokio::test]
async fn discovery_answers_a_version_once() {
    let instance = guarded().await;
    let admin = instance.admin();
    let path = "/v3/discovery:extension_configs";
    let ask = |version: &str| json!({"version_info": version, "resource_names": ["mercator"]});
    let first = admin.post_json(path, &ask("")).await.expect(200).json();
    let version = first["version_info"].as_str().expect("a version");
    let resource = &first["resources"][0];
    assert_eq!(resource["name"], "mercator", "{first:#}");
    admin.post_json(path, &ask(version)).await.expect(304);
    admin
        .put_policy(
            "guard",
            &GUARD.replace("1.0.0", "1.0.1").replace("is not", "isn't"),
        )
        .await
        .expect_success();
    let next = admin
        .post_json(path, &ask(version))
        .await
        .expect(200)
        .json();
    assert_ne!(next["version_info"], first["version_info"]);
}

#[tokio::test]
async fn bodies_of_the_admin_api_are_bounded() {
    let instance = guarded().await;
    let admin = instance.admin();
    let large = vec![b'x'; 5 * 1024 * 1024];
    for (method, path, content_type) in [
        (Method::PUT, "/v1/policies/guard", "application/yaml"),
        (Method::POST, "/v1/evidence", "application/x-ndjson"),
    ] {
        // The server may hang up on a sender that goes on: that is a refusal too.
        if let Ok(reply) = admin
            .try_send(method, path, content_type, large.clone())
            .await
        {
            assert_eq!(reply.status, 413, "{path}");
        }
    }
    // The client may first try a connection that was hung up on.
    wait::until("the policy to be as it was", async || {
        let reply = admin.try_send(Method::GET, "/v1/policies/guard", "", Vec::new());
        match reply.await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(reply.status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn openapi_names_every_path() {
    let instance = guarded().await;
    let api = instance
        .admin()
        .get("/v1/openapi.json")
        .await
        .expect(200)
        .json();
    for path in [
        "/v1/policies",
        "/v1/policies/{name}",
        "/v1/policies/validate",
        "/v1/bundles/current",
        "/v3/discovery:extension_configs",
        "/v1/evidence",
        "/v1/evidence/{id}",
        "/v1/emitters",
        "/v1/tokens",
        "/v1/tokens/{id}",
        "/livez",
        "/readyz",
        "/health",
        "/health/deep",
    ] {
        assert!(api["paths"][path].is_object(), "{path} is not documented");
    }
}

#[tokio::test]
async fn drained_envoy_fails_its_health_check_and_serves_on() {
    let instance = guarded().await;
    let drain = instance.envoy_admin();
    drain
        .send(Method::POST, "/healthcheck/fail", "", Vec::new())
        .await
        .expect(200);
    assert_eq!(instance.traffic().get("/health").await.status, 503);
    let answer = ask(&instance, &question("gpt-4o")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    drain
        .send(Method::POST, "/healthcheck/ok", "", Vec::new())
        .await
        .expect(200);
    assert_eq!(instance.traffic().get("/health").await.status, 200);
}

#[tokio::test]
async fn stop_is_clean_and_leaves_nothing_running() {
    let mut instance = guarded().await;
    let answer = ask(&instance, &question("gpt-4o")).await;
    let id = answer.decision_id();
    let pid = instance.envoy_pid().expect("a running Envoy");
    // At once: what is not sent yet must be on its way out.
    assert!(instance.stop().await.success());
    assert_eq!(instance.envoy_pid(), None, "Envoy {pid} outlived the stop");
    instance.start_control_plane().await;
    let record = instance.admin().wait_for_record(&id).await;
    assert_eq!(record["id"], json!(id));
}

#[tokio::test]
async fn printed_envoy_configuration_is_one_that_envoy_takes() {
    let instance = guarded().await;
    let printed = Command::new(target_dir().join("debug/mercator"))
        .args(["envoy", "--config"])
        .arg(instance.config_file())
        .output()
        .expect("`./justw test` builds mercator");
    assert!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    let file = instance.data_dir().join("printed.yaml");
    std::fs::write(&file, &printed.stdout).expect("a file");
    let checked = Command::new(envoy_binary())
        .args(["--mode", "validate", "--disable-hot-restart", "-c"])
        .arg(&file)
        .output()
        .expect("Envoy runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[tokio::test]
async fn database_that_cannot_be_written_is_told_by_deep_health_alone() {
    let instance = guarded().await;
    // Another writer holds the lock for longer than any caller waits.
    let database = instance.data_dir().join("mercator.db");
    let mut holder = Command::new("python3")
        .arg("-c")
        .arg(
            "import sqlite3,sys,time\n\
             c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
             c.execute('BEGIN EXCLUSIVE')\n\
             print('held', flush=True)\n\
             time.sleep(60)",
        )
        .arg(&database)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let health = wait::until("deep health to notice", async || {
        let health = instance.traffic().get("/health/deep").await;
        let told: Value = health.json();
        match told["checks"]["evidence_storage"].as_str() {
            Some("ok") => Err(told),
            _ => Ok(health),
        }
    })
    .await;
    assert_eq!(health.status, 503, "{}", health.text());
    assert_ne!(health.json()["status"], "healthy");
    // Traffic does not wait for the database.
    assert_eq!(instance.traffic().get("/health").await.status, 200);
    let answer = ask(&instance, &question("gpt-4o")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    holder.kill().expect("it runs");
    holder.wait().expect("it ends");
    crate::support::record_of(&instance, &answer).await;
}

#[tokio::test]
async fn provider_that_is_down_degrades_deep_health_and_nothing_else() {
    let mut instance = guarded().await;
    instance.stop_provider().await;
    let health = wait::until("deep health to notice", async || {
        let health = instance.traffic().get("/health/deep").await;
        match health.json()["status"].as_str() {
            Some("degraded") => Ok(health),
            _ => Err(health.text()),
        }
    })
    .await;
    // An instance that works is not to be taken out for a provider's sake.
    assert_eq!(health.status, 200);
    let told = health.json();
    assert_ne!(told["checks"]["providers"]["openai"], "ok", "{told:#}");
    assert_eq!(told["checks"]["database"], "ok", "{told:#}");
    assert_eq!(instance.traffic().get("/health").await.status, 200);
    instance
        .admin()
        .with_token(None)
        .get("/readyz")
        .await
        .expect(200);
}

#[tokio::test]
async fn deep_health_has_a_request_refused_and_recorded_at_no_cost() {
    let instance = guarded().await;
    for _ in 0..3 {
        let deep = instance.admin().get("/health/deep").await.expect(200);
        assert_eq!(deep.json()["checks"]["policy_engine"], "ok");
    }
    let records = instance.admin().wait_for_records("", 1).await;
    let probe = json!({"decision": "deny", "reason": "health_probe", "outcome": "refused"});
    crate::support::assert_record(records.first().expect("a record"), &probe);
    assert_eq!(records.len(), 1, "one request serves many askers");
    let asked = || {
        instance
            .provider()
            .received()
            .into_iter()
            .filter(|r| r.method == "POST")
    };
    assert_eq!(asked().count(), 0);
    // Whoever borrows the header is refused as well.
    let traffic = instance.traffic();
    let request = traffic.chat(&question("gpt-4o"));
    let answer = traffic
        .complete(request.header("x-mercator-probe", "1"))
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "health_probe");
    assert_eq!(asked().count(), 0);
}

#[tokio::test]
async fn provider_that_answers_clients_with_errors_degrades_deep_health() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    for _ in 0..6 {
        let request = traffic.chat(&question("gpt-4o"));
        traffic.complete(request.header("x-fake-status", 503)).await;
    }
    let deep = wait::until("deep health to notice", async || {
        let deep = instance.traffic().get("/health/deep").await;
        match deep.json()["status"].as_str() {
            Some("degraded") => Ok(deep),
            _ => Err(deep.text()),
        }
    })
    .await;
    assert_eq!(deep.status, 200);
    let openai = deep.json()["checks"]["providers"]["openai"].clone();
    assert_eq!(openai, "answers clients with errors");
    assert_eq!(instance.traffic().get("/health").await.status, 200);
}
