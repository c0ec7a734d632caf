//! Probing, remembering, and the real probes against a server that is told
//! what to answer.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::envoy::admin::EnvoyAdmin;
use crate::testing::{TestApp, TestProbes, policy};

/// Answers every path alike; its address.
async fn server(answer: Arc<Mutex<(StatusCode, HeaderMap)>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let chat = async || {
        let id = [(
            "x-mercator-decision-id",
            "01a21a02-86be-7ac7-8ee8-f3d911caf9cd",
        )];
        (StatusCode::FORBIDDEN, id)
    };
    let router = Router::new()
        .route("/v1/chat/completions", axum::routing::post(chat))
        .fallback(async move || answer.lock().unwrap().clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn real_probes(test: &TestApp, data_plane: SocketAddr, provider: String) -> Probes {
    let targets = HealthTargets {
        data_plane,
        providers: vec![("openai".to_owned(), provider)],
        authorities: Vec::new(),
    };
    let app = &test.app;
    // Nobody listens there.
    let envoy = EnvoyAdmin::new(([127, 0, 0, 1], 1).into()).unwrap();
    targets.probes(&app.store, &app.intake, &app.bundles, &app.clock, &envoy)
}

#[tokio::test]
async fn policy_engine_is_well_when_it_enforces_what_is_published() {
    let test = TestApp::start().await;
    let answer = Arc::new(Mutex::new((StatusCode::OK, HeaderMap::new())));
    let address = server(Arc::clone(&answer)).await;
    let probes = real_probes(&test, address, format!("http://{address}/v1"));
    let engine = probes.policy_engine;
    let set = |status: StatusCode, digest: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-mercator-bundle-digest", digest.parse().unwrap());
        *answer.lock().unwrap() = (status, headers);
    };
    assert!(
        engine
            .check()
            .await
            .unwrap_err()
            .contains("no policy is active")
    );
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    let digest = test
        .app
        .bundles
        .borrow()
        .clone()
        .unwrap()
        .digest
        .to_string();
    set(StatusCode::OK, &digest);
    assert_eq!(engine.check().await, Ok(()));
    // Just published: the filter may need a moment, but it must be there.
    set(StatusCode::OK, "sha256:old");
    assert_eq!(engine.check().await, Ok(()));
    set(StatusCode::SERVICE_UNAVAILABLE, "");
    assert_eq!(
        engine.check().await,
        Err("Envoy answers with 503".to_owned())
    );
    test.clock.advance(Duration::from_secs(6));
    set(StatusCode::OK, "sha256:old");
    assert!(engine.check().await.unwrap_err().contains("another bundle"));
    *answer.lock().unwrap() = (StatusCode::OK, HeaderMap::new());
    assert!(engine.check().await.unwrap_err().contains("does not say"));
    set(StatusCode::OK, &digest);
    assert_eq!(engine.check().await, Ok(()));
}

#[tokio::test]
async fn envoy_that_is_gone_is_told() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    // Bound and let go: nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let probes = real_probes(&test, nobody, format!("http://{nobody}"));
    assert_eq!(
        probes.policy_engine.check().await,
        Err("Envoy: no connection".to_owned())
    );
    let (_, provider) = probes.providers.first().unwrap();
    assert_eq!(provider.check().await, Err("no connection".to_owned()));
}

#[tokio::test]
async fn provider_is_well_with_any_answer_but_a_server_error() {
    let test = TestApp::start().await;
    let answer = Arc::new(Mutex::new((StatusCode::OK, HeaderMap::new())));
    let address = server(Arc::clone(&answer)).await;
    let probes = real_probes(&test, address, format!("http://{address}/v1"));
    let (_, provider) = probes.providers.first().unwrap();
    for (status, expected) in [
        (200, Ok(())),
        (302, Ok(())),
        (401, Ok(())),
        (404, Ok(())),
        (429, Ok(())),
        (500, Err("answers with 500".to_owned())),
        (503, Err("answers with 503".to_owned())),
    ] {
        answer.lock().unwrap().0 = StatusCode::from_u16(status).unwrap();
        assert_eq!(provider.check().await, expected, "{status}");
    }
}

#[tokio::test]
async fn storage_is_probed_along_the_way_of_a_write() {
    use crate::store::faults::Fault;
    let mut test = TestApp::start().await;
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let probes = real_probes(&test, nowhere, String::new());
    assert_eq!(probes.database.check().await, Ok(()));
    assert_eq!(probes.evidence_storage.check().await, Ok(()));
    test.faults.set(Some(Fault::Before));
    assert_eq!(
        probes.database.check().await,
        Err("cannot be used".to_owned())
    );
    assert_eq!(
        probes.evidence_storage.check().await,
        Err("cannot be used".to_owned())
    );
    test.faults.set(None);
    test.app.intake = Arc::new(crate::ingest::Intake::with_room_for(1));
    let probes = real_probes(&test, nowhere, String::new());
    assert!(
        probes
            .evidence_storage
            .check()
            .await
            .unwrap_err()
            .contains("waits")
    );
}

#[tokio::test]
async fn answer_serves_for_a_moment_and_then_is_asked_for_anew() {
    let probes = TestProbes::default();
    let health = probes.health();
    assert_eq!(health.database().await, Ok(()));
    *probes.database.reason.lock().unwrap() = Some("ill".to_owned());
    assert_eq!(health.database().await, Ok(()));
    tokio::time::sleep(FRESH_FOR).await;
    assert_eq!(health.database().await, Err("ill".to_owned()));
    assert_eq!(*probes.database.asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn probe_that_hangs_is_given_up_and_its_askers_share_the_answer() {
    let probes = TestProbes::default();
    *probes.database.hangs.lock().unwrap() = true;
    let health = Arc::new(probes.health());
    let mut askers = JoinSet::new();
    for _ in 0..10 {
        let health = Arc::clone(&health);
        askers.spawn(async move { health.database().await });
    }
    for answer in askers.join_all().await {
        assert_eq!(answer, Err("no answer in time".to_owned()));
    }
    assert_eq!(*probes.database.asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn envoy_that_lets_through_what_must_be_refused_is_told() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    for (status, id, told) in [
        (200, Some("01a21a02-86be-7ac7-8ee8-f3d911caf9cd"), "was not"),
        (403, None, "not by the filter"),
    ] {
        let chat = async move || {
            let mut headers = HeaderMap::new();
            if let Some(id) = id {
                headers.insert("x-mercator-decision-id", id.parse().unwrap());
            }
            (StatusCode::from_u16(status).unwrap(), headers)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Just published: whatever digest `/health` tells will do.
        let router = Router::new()
            .route("/v1/chat/completions", axum::routing::post(chat))
            .fallback(async || StatusCode::OK);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let probes = real_probes(&test, address, String::new());
        let reason = probes.policy_engine.check().await.unwrap_err();
        assert!(reason.contains(told), "{reason}");
    }
}

#[tokio::test]
async fn provider_whose_host_envoy_has_put_aside_is_told() {
    let test = TestApp::start().await;
    let ejected = serde_json::json!({"cluster_statuses": [
        {"name": "provider-openai", "host_statuses": [
            {"health_status": {"failed_outlier_check": true}},
        ]},
        {"name": "provider-anthropic", "host_statuses": [{"health_status": {}}]},
    ]});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clusters = async move || axum::Json(ejected.clone());
    let router = Router::new()
        .route("/clusters", axum::routing::get(clusters))
        .fallback(async || StatusCode::UNAUTHORIZED);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let url = format!("http://{address}/v1");
    let targets = HealthTargets {
        data_plane: address,
        providers: vec![
            ("openai".to_owned(), url.clone()),
            ("anthropic".to_owned(), url),
        ],
        authorities: Vec::new(),
    };
    let app = &test.app;
    let envoy = EnvoyAdmin::new(address).unwrap();
    let probes = targets.probes(&app.store, &app.intake, &app.bundles, &app.clock, &envoy);
    let mut told = Vec::new();
    for (_, provider) in &probes.providers {
        told.push(provider.check().await);
    }
    assert_eq!(
        told,
        [Err("answers clients with errors".to_owned()), Ok(())]
    );
}
