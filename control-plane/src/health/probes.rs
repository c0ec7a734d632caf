//! The probes of a real instance.

use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::{Certificate, Client, redirect};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Checkup, PROBE_TIMEOUT, Probe, Probes};
use crate::app::Clock;
use crate::config::Config;
use crate::envoy::admin::EnvoyAdmin;
use crate::envoy::cluster_of;
use crate::ingest::Intake;
use crate::publish::PublishedBundle;
use crate::store::{Store, StoreError};

/// How long after a publish the filter may still enforce the bundle before:
/// Envoy takes a file in 14–24 ms, and polls REST each second.
const PUBLISH_WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// What the filter answers to `GET /health` with.
const DIGEST_HEADER: &str = "x-mercator-bundle-digest";

/// By which it names a decision.
const DECISION_ID_HEADER: &str = "x-mercator-decision-id";

/// How often a request is made that must be refused: each leaves a record.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);

/// How soon its record must be there: by the outbox, or the access log, and on
/// a replica that lags as much as it may.
const RECORD_WITHIN: Duration = Duration::from_secs(15);

/// For how long a record that does not come is told.
const RECORD_MISSED_FOR: Duration = Duration::from_secs(120);

/// Makes the filter refuse a request that it would let go on.
const PROBE_HEADER: &str = "x-mercator-probe";

const PROBE_BODY: &str =
    r#"{"model":"mercator-probe","messages":[{"role":"user","content":"Are policies enforced?"}]}"#;

/// What is probed outside this process.
#[derive(Debug, Clone)]
pub struct HealthTargets {
    /// Where Envoy takes traffic.
    pub data_plane: SocketAddr,
    /// Names and base URLs.
    pub providers: Vec<(String, String)>,
    /// As Envoy does, providers are trusted by these authorities.
    pub authorities: Vec<Certificate>,
}

impl HealthTargets {
    pub fn new(config: &Config) -> HealthTargets {
        let providers = config.providers.iter();
        HealthTargets {
            data_plane: reachable(config.envoy.listen),
            providers: providers
                .map(|provider| (provider.name.clone(), provider.base_url.to_string()))
                .collect(),
            authorities: authorities(&config.envoy.ca_file),
        }
    }

    /// The probes for these targets.
    pub fn probes(
        &self,
        store: &Arc<dyn Store>,
        intake: &Arc<Intake>,
        bundles: &watch::Receiver<Option<Arc<PublishedBundle>>>,
        clock: &Arc<dyn Clock>,
        envoy: &EnvoyAdmin,
    ) -> Probes {
        let refusals = Arc::new(Refusals::default());
        let data_plane = client(&[]);
        let outside = client(&self.authorities);
        let providers = self.providers.iter().map(|(name, url)| {
            let probe: Arc<dyn Probe> = Arc::new(Provider {
                client: outside.clone(),
                url: url.clone(),
                cluster: cluster_of(name),
                envoy: envoy.clone(),
            });
            (name.clone(), probe)
        });
        Probes {
            database: Arc::new(Database(Arc::clone(store))),
            evidence_storage: Arc::new(EvidenceStorage {
                store: Arc::clone(store),
                intake: Arc::clone(intake),
                refusals: Arc::clone(&refusals),
            }),
            policy_engine: Arc::new(PolicyEngine {
                client: data_plane,
                health: format!("http://{}/health", self.data_plane),
                chat: format!("http://{}/v1/chat/completions", self.data_plane),
                refusals,
                bundles: bundles.clone(),
                clock: Arc::clone(clock),
            }),
            providers: providers.collect(),
        }
    }
}

/// Where a listener can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// None when the file is not there: Envoy will say so itself, and the probes
/// of `https` providers fail as Envoy's connections do.
fn authorities(ca_file: &Path) -> Vec<Certificate> {
    let pem = std::fs::read(ca_file).unwrap_or_default();
    Certificate::from_pem_bundle(&pem).unwrap_or_default()
}

/// Goes directly, as Envoy does, and follows nothing. Without a client there
/// is nothing to probe with, and the probe says so.
fn client(authorities: &[Certificate]) -> Option<Client> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(PROBE_TIMEOUT)
        .tls_certs_only(authorities.iter().cloned());
    builder.build().ok()
}

async fn get(client: Option<&Client>, url: &str) -> Result<reqwest::Response, String> {
    let client = client.ok_or("no HTTP client")?;
    client.get(url).send().await.map_err(no_answer)
}

fn no_answer(error: reqwest::Error) -> String {
    let reason = match (error.is_timeout(), error.is_connect()) {
        (true, _) => "no answer in time",
        (false, true) => "no connection",
        (false, false) => "no HTTP answer",
    };
    reason.to_owned()
}

fn database_reason(error: StoreError) -> String {
    match error {
        StoreError::TimedOut(_) => "no answer in time".to_owned(),
        StoreError::Unavailable(_) => "cannot be used".to_owned(),
        StoreError::Corrupt(_) => "holds unreadable data".to_owned(),
        StoreError::Closed => "is closed".to_owned(),
    }
}

#[derive(Debug)]
struct Database(Arc<dyn Store>);

#[async_trait]
impl Probe for Database {
    async fn check(&self) -> Checkup {
        self.0.probe_read().await.map_err(database_reason)
    }
}

#[derive(Debug)]
struct EvidenceStorage {
    store: Arc<dyn Store>,
    intake: Arc<Intake>,
    refusals: Arc<Refusals>,
}

#[async_trait]
impl Probe for EvidenceStorage {
    async fn check(&self) -> Checkup {
        if self.intake.is_full() {
            return Err("too much evidence waits for the database".to_owned());
        }
        self.store.probe_write().await.map_err(database_reason)?;
        let Some(id) = self.refusals.record_due() else {
            return Ok(());
        };
        match self.store.evidence(id).await.map_err(database_reason)? {
            Some(_) => {
                self.refusals.recorded(id);
                Ok(())
            }
            None => Err("the record of a request that was refused has not come".to_owned()),
        }
    }
}

/// Requests that were made to be refused, and the record that is waited for.
#[derive(Debug, Default)]
struct Refusals(Mutex<Refused>);

#[derive(Debug, Default)]
struct Refused {
    last: Option<Instant>,
    /// The exchange, and when it was.
    unrecorded: Option<(Uuid, Instant)>,
}

impl Refusals {
    fn is_due(&self) -> bool {
        let last = self.lock().last;
        last.is_none_or(|last| last.elapsed() >= REFUSAL_EVERY)
    }

    fn refused(&self, id: Uuid) {
        let mut refused = self.lock();
        let now = Instant::now();
        refused.last = Some(now);
        if refused
            .unrecorded
            .is_none_or(|(_, at)| at.elapsed() >= RECORD_MISSED_FOR)
        {
            refused.unrecorded = Some((id, now));
        }
    }

    /// The exchange whose record must be there by now.
    fn record_due(&self) -> Option<Uuid> {
        let (id, at) = self.lock().unrecorded?;
        (at.elapsed() >= RECORD_WITHIN).then_some(id)
    }

    fn recorded(&self, id: Uuid) {
        let mut refused = self.lock();
        if refused.unrecorded.is_some_and(|(waited, _)| waited == id) {
            refused.unrecorded = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Envoy, the filter in it, and the bundle in the filter.
#[derive(Debug)]
struct PolicyEngine {
    client: Option<Client>,
    health: String,
    chat: String,
    refusals: Arc<Refusals>,
    bundles: watch::Receiver<Option<Arc<PublishedBundle>>>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Probe for PolicyEngine {
    async fn check(&self) -> Checkup {
        let published = self.bundles.borrow().clone();
        let Some(published) = published else {
            return Err("no policy is active: everything is refused".to_owned());
        };
        let answer = get(self.client.as_ref(), &self.health).await;
        let answer = answer.map_err(|reason| format!("Envoy: {reason}"))?;
        if !answer.status().is_success() {
            return Err(format!("Envoy answers with {}", answer.status().as_u16()));
        }
        let enforced = answer.headers().get(DIGEST_HEADER);
        let enforced = enforced.and_then(|digest| digest.to_str().ok());
        let age = self.clock.now().duration_since(published.created_at);
        let just_published = !age.is_negative() && age < PUBLISH_WINDOW;
        if enforced == Some(published.digest.as_str()) || just_published {
            return self.refuses().await;
        }
        match enforced {
            Some(_) => Err("the filter enforces another bundle than the published one".to_owned()),
            None => Err("the filter does not say which bundle it enforces".to_owned()),
        }
    }
}

impl PolicyEngine {
    /// A request like a client's, on the way of a client's, must end in the filter.
    async fn refuses(&self) -> Checkup {
        if !self.refusals.is_due() {
            return Ok(());
        }
        let client = self.client.as_ref().ok_or("no HTTP client")?;
        let request = client
            .post(&self.chat)
            .header(PROBE_HEADER, "refuse")
            .header("content-type", "application/json")
            .body(PROBE_BODY);
        let answer = request.send().await.map_err(no_answer);
        let answer = answer.map_err(|reason| format!("a request to be refused: {reason}"))?;
        if answer.status().is_success() {
            return Err("a request that had to be refused was not".to_owned());
        }
        let id = answer.headers().get(DECISION_ID_HEADER);
        let id = id.and_then(|id| Uuid::parse_str(id.to_str().ok()?).ok());
        let id = id.ok_or("a request was refused, and not by the filter")?;
        self.refusals.refused(id);
        Ok(())
    }
}

/// Any answer that is not a server's error: without a credential it is a
/// refusal, which costs nothing and tells that somebody is there. What Envoy has
/// seen of answers to clients counts as well.
#[derive(Debug)]
struct Provider {
    client: Option<Client>,
    url: String,
    cluster: String,
    envoy: EnvoyAdmin,
}

#[async_trait]
impl Probe for Provider {
    async fn check(&self) -> Checkup {
        let status = get(self.client.as_ref(), &self.url).await?.status();
        if status.is_server_error() {
            return Err(format!("answers with {}", status.as_u16()));
        }
        // An Envoy that cannot be asked is told of by the policy engine.
        match self.envoy.ejected().await {
            Ok(ejected) if ejected.contains(&self.cluster) => {
                Err("answers clients with errors".to_owned())
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
