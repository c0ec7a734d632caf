//! What we ask of Envoy's own admin interface.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::stats;

/// On loopback and answered by Envoy's main thread: longer means it is stuck.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Exchanges in progress on the listener that `super::bootstrap` names `traffic`.
const ACTIVE_REQUESTS: &str = "http.traffic.downstream_rq_active";

/// A client of one Envoy's admin interface.
#[derive(Debug, Clone)]
pub struct EnvoyAdmin {
    base: String,
    http: reqwest::Client,
}

/// Why Envoy's admin interface did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyAdminError {
    #[error("envoy's admin interface cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("envoy's admin interface answered {0}")]
    Refused(u16),
    #[error("envoy's admin interface did not give `{0}`")]
    Missing(&'static str),
}

impl EnvoyAdmin {
    pub fn new(address: SocketAddr) -> Result<EnvoyAdmin, EnvoyAdminError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(EnvoyAdminError::Unreachable)?;
        let base = format!("http://{address}");
        Ok(EnvoyAdmin { base, http })
    }

    /// Has Envoy read its configuration and opened its listeners?
    pub async fn is_ready(&self) -> bool {
        self.get("/ready").await.is_ok()
    }

    /// From now on `/health` is 503 and connections are asked to close.
    pub async fn fail_health(&self) -> Result<(), EnvoyAdminError> {
        self.post("/healthcheck/fail").await
    }

    /// Takes [`EnvoyAdmin::fail_health`] back.
    pub async fn pass_health(&self) -> Result<(), EnvoyAdminError> {
        self.post("/healthcheck/ok").await
    }

    /// No further connection is taken; those that exist go on.
    pub async fn stop_listening(&self) -> Result<(), EnvoyAdminError> {
        self.post("/drain_listeners").await
    }

    /// Opens the log files anew, after they were renamed.
    pub async fn reopen_logs(&self) -> Result<(), EnvoyAdminError> {
        self.post("/reopen_logs").await
    }

    /// Exchanges that have not ended yet.
    pub async fn active_requests(&self) -> Result<u64, EnvoyAdminError> {
        let text = self
            .get(&format!("/stats?filter=^{ACTIVE_REQUESTS}$"))
            .await?;
        text.lines()
            .find_map(|line| line.strip_prefix(ACTIVE_REQUESTS)?.strip_prefix(": "))
            .and_then(|value| value.trim().parse().ok())
            .ok_or(EnvoyAdminError::Missing(ACTIVE_REQUESTS))
    }

    /// What the filter counts, as families of OpenMetrics.
    pub async fn filter_metrics(&self) -> Result<String, EnvoyAdminError> {
        self.get(stats::PATH)
            .await
            .map(|text| stats::open_metrics(&text))
    }

    /// Clusters of which Envoy has put a host aside, because too many of its
    /// answers were errors.
    pub async fn ejected(&self) -> Result<Vec<String>, EnvoyAdminError> {
        let text = self.get("/clusters?format=json").await?;
        let clusters: Value =
            serde_json::from_str(&text).map_err(|_| EnvoyAdminError::Missing("clusters"))?;
        let all = clusters.get("cluster_statuses").and_then(Value::as_array);
        let all = all.ok_or(EnvoyAdminError::Missing("cluster_statuses"))?;
        let names = all.iter().filter(|cluster| has_ejected(cluster));
        let names = names.filter_map(|cluster| cluster.get("name")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    async fn get(&self, path: &str) -> Result<String, EnvoyAdminError> {
        self.send(self.http.get(format!("{}{path}", self.base)))
            .await
    }

    async fn post(&self, path: &str) -> Result<(), EnvoyAdminError> {
        self.send(self.http.post(format!("{}{path}", self.base)))
            .await
            .map(drop)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<String, EnvoyAdminError> {
        let answer = request.send().await.map_err(EnvoyAdminError::Unreachable)?;
        if !answer.status().is_success() {
            return Err(EnvoyAdminError::Refused(answer.status().as_u16()));
        }
        answer.text().await.map_err(EnvoyAdminError::Unreachable)
    }
}

fn has_ejected(cluster: &Value) -> bool {
    let hosts = cluster.get("host_statuses").and_then(Value::as_array);
    let failed = "/health_status/failed_outlier_check";
    hosts.is_some_and(|hosts| {
        hosts
            .iter()
            .any(|host| host.pointer(failed).and_then(Value::as_bool) == Some(true))
    })
}
