//! A control plane to test with: SQLite in a folder of its own, a clock that
//! stands, a store and probes that fail when told to.

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;

use crate::api;
use crate::app::{App, Clock};
use crate::auth::{self, Principal, Role};
use crate::config::Config;
use crate::envoy::admin::EnvoyAdmin;
use crate::envoy::ecds::PluginSettings;
use crate::health::{Checkup, Health, HealthTargets, Probe, Probes};
use crate::source::SourceKind;
use crate::store::contract::samples;
use crate::store::faults::FaultyStore;
use crate::store::sqlite::SqliteStore;

#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::try_from(by).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Answers as it is told to, at once or never.
#[derive(Debug, Default)]
pub(crate) struct TestProbe {
    pub(crate) reason: Mutex<Option<String>>,
    pub(crate) hangs: Mutex<bool>,
    pub(crate) asked: Mutex<u32>,
}

#[async_trait]
impl Probe for TestProbe {
    async fn check(&self) -> Checkup {
        *self.asked.lock().unwrap() += 1;
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.reason.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[derive(Debug, Default, Clone)]
pub(crate) struct TestProbes {
    pub(crate) database: Arc<TestProbe>,
    pub(crate) evidence_storage: Arc<TestProbe>,
    pub(crate) policy_engine: Arc<TestProbe>,
    pub(crate) openai: Arc<TestProbe>,
}

impl TestProbes {
    pub(crate) fn health(&self) -> Health {
        let providers: Vec<(String, Arc<dyn Probe>)> =
            vec![("openai".to_owned(), self.openai.clone())];
        Health::new(Probes {
            database: self.database.clone(),
            evidence_storage: self.evidence_storage.clone(),
            policy_engine: self.policy_engine.clone(),
            providers,
        })
    }
}

pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) faults: Arc<FaultyStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) probes: TestProbes,
    pub(crate) folder: tempfile::TempDir,
    tokens: Vec<(Role, String)>,
}

impl TestApp {
    pub(crate) async fn start() -> TestApp {
        TestApp::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts on what another one left in its folder.
    pub(crate) async fn start_in(folder: tempfile::TempDir) -> TestApp {
        TestApp::start_with(folder, SourceKind::Api).await
    }

    /// Starts with policies that come from elsewhere.
    pub(crate) async fn start_with(folder: tempfile::TempDir, source: SourceKind) -> TestApp {
        let store = SqliteStore::open(&folder.path().join("mercator.db"))
            .await
            .unwrap();
        let faults = FaultyStore::new(Arc::new(store));
        let clock = Arc::new(TestClock(Mutex::new(samples::at(60_000_000))));
        let config = Config::parse("instance: jupiter-1", "test", &|_| None).unwrap();
        let plugin = PluginSettings::new(&config);
        let targets = HealthTargets::new(&config);
        // Nothing listens there: what is asked of Envoy fails.
        let envoy = EnvoyAdmin::new(([127, 0, 0, 1], 1).into()).unwrap();
        let (store, clock_) = (faults.clone(), clock.clone());
        let started = App::start(store, clock_, plugin, source, &targets, envoy).await;
        let mut app = started.unwrap();
        let probes = TestProbes::default();
        app.health = Arc::new(probes.health());
        let mut tokens = Vec::new();
        for role in Role::ALL {
            let creator = Principal::system();
            let made =
                auth::create_token(&*app.store, &creator, role.as_str(), role, clock.now()).await;
            tokens.push((role, made.unwrap().1.expose().to_owned()));
        }
        TestApp {
            app,
            faults,
            clock,
            probes,
            folder,
            tokens,
        }
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        &self
            .tokens
            .iter()
            .find(|(known, _)| *known == role)
            .unwrap()
            .1
    }

    pub(crate) fn router(&self) -> Router {
        api::router(self.app.clone())
    }

    /// A request to the admin API as this role; headers as `name: value`.
    pub(crate) async fn send(
        &self,
        role: Option<Role>,
        method: Method,
        uri: &str,
        headers: &[&str],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(role) = role {
            request = request.header("authorization", format!("Bearer {}", self.token(role)));
        }
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(body.into()).unwrap();
        Reply::of(self.router().oneshot(request).await.unwrap()).await
    }

    /// `GET` as admin.
    pub(crate) async fn get(&self, uri: &str) -> Reply {
        self.send(Some(Role::Admin), Method::GET, uri, &[], Body::empty())
            .await
    }

    pub(crate) async fn put_policy(&self, name: &str, text: &str, headers: &[&str]) -> Reply {
        let mut headers = headers.to_vec();
        headers.push("content-type: application/yaml");
        let uri = format!("/v1/policies/{name}");
        let body = text.to_owned();
        self.send(Some(Role::Author), Method::PUT, &uri, &headers, body)
            .await
    }

    pub(crate) async fn deliver(&self, lines: &str) -> Reply {
        let headers = ["content-type: application/x-ndjson"];
        let body = lines.to_owned();
        self.send(
            Some(Role::Emitter),
            Method::POST,
            "/v1/evidence",
            &headers,
            body,
        )
        .await
    }

    pub(crate) async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = api::metrics_router(self.app.clone(), None)
            .oneshot(request)
            .await;
        Reply::of(response.unwrap()).await.text()
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    async fn of(response: axum::response::Response) -> Reply {
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a refusal that is one in every respect.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        (
            self.status.as_u16(),
            problem["code"].as_str().unwrap().to_owned(),
        )
    }
}

/// A policy that denies every model but one.
pub(crate) fn policy(name: &str, model: &str) -> String {
    format!(
        "mpl_version: \"1.0\"\n\
         name: {name}\n\
         version: \"1.0.0\"\n\
         description: One model only\n\
         rules:\n\
         \x20 - name: models\n\
         \x20   conditions:\n\
         \x20     - field: request.model\n\
         \x20       operator: not_in\n\
         \x20       value: [{model}]\n\
         \x20   actions:\n\
         \x20     - type: deny\n\
         \x20       message: This model is not for you.\n"
    )
}

/// As long as it takes, but not for ever.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("what was waited for did not happen");
}
