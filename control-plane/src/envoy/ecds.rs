//! The filter with its bundle, as Envoy's extension discovery takes it.
//!
//! One resource, two ways to Envoy: [`write`] puts it into a file that replaces
//! the last one in a single step, so the file *is* the last good bundle and an
//! Envoy started while everything else is dead still enforces it; the REST xDS
//! handler answers with the same [`discovery_response`].

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jupiter_filter::config::{
    AnswersConfig, BundleConfig, EvidenceConfig, IdempotencyConfig, InspectionConfig, ModelPrice,
    PluginConfig,
};
use jupiter_filter::subject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::clusters::CONTROL_PLANE;
use super::files::write_private;
use crate::app::Clock;
use crate::config::{self, Config};
use crate::publish::PublishedBundle;

/// The name under which Envoy's listener asks for the filter.
pub const RESOURCE_NAME: &str = "mercator";

/// What the resource carries.
pub const WASM_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// What the resource is.
pub const RESOURCE_TYPE: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// Where keys are claimed.
const CLAIMS_PATH: &str = "/v1/idempotency/claims";

/// Where answers are kept.
const ANSWERS_PATH: &str = "/v1/idempotency/answers";

/// How long to wait before a failed write is tried again.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Everything the filter is told besides the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Where Envoy finds the wasm module.
    pub filter: PathBuf,
    pub instance: String,
    pub region: String,
    pub environment: String,
    pub inspection: InspectionConfig,
    pub evidence: EvidenceConfig,
    pub subject: subject::SubjectConfig,
    pub prices: Vec<ModelPrice>,
    pub idempotency: Option<IdempotencyConfig>,
}

impl PluginSettings {
    pub fn new(config: &Config) -> PluginSettings {
        PluginSettings {
            filter: config.envoy.filter.clone(),
            instance: config.instance.clone(),
            region: config.region.clone(),
            environment: config.environment.clone(),
            inspection: InspectionConfig {
                max_body_bytes: config.inspection.max_body_bytes,
                max_response_body_bytes: config.inspection.max_response_body_bytes,
                unknown_api: config.inspection.unknown_api,
                failure_mode: config.inspection.failure_mode,
                max_staleness_s: config.inspection.max_staleness.map(|most| most.as_secs()),
                ..InspectionConfig::default()
            },
            evidence: EvidenceConfig {
                cluster: CONTROL_PLANE.to_owned(),
                capacity: config.evidence.capacity,
                on_full: config.evidence.on_full,
                store_timeout_ms: u32::try_from(config.evidence.store_timeout.as_millis())
                    .unwrap_or(u32::MAX),
                ..EvidenceConfig::default()
            },
            subject: subject::SubjectConfig {
                jwt: config.subject.jwt.as_ref().map(|jwt| subject::JwtConfig {
                    required: jwt.required,
                    claims: jwt.claims.clone(),
                }),
                header: config
                    .subject
                    .header
                    .as_ref()
                    .map(|header| subject::HeaderConfig {
                        name: header.name.clone(),
                        trusted: header.trusted.clone(),
                    }),
            },
            prices: config.prices.clone(),
            idempotency: idempotency(&config.idempotency),
        }
    }

    /// How often a bundle is confirmed, where that matters.
    pub fn confirm_every(&self) -> Option<Duration> {
        let most = self.inspection.max_staleness_s?;
        Some(Duration::from_secs((most / 4).max(1)))
    }

    /// When a bundle that is handed out now counts as confirmed: the same for a while, so
    /// that Envoys that poll are not told of a new configuration each time.
    fn confirmed(&self, now: Timestamp) -> Option<u64> {
        let every = self.confirm_every()?.as_secs();
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        Some(now / every * every)
    }

    fn plugin_config(&self, bundle: Option<&PublishedBundle>, now: Timestamp) -> PluginConfig {
        PluginConfig {
            instance: self.instance.clone(),
            region: self.region.clone(),
            environment: self.environment.clone(),
            bundle: bundle.map(|bundle| BundleConfig {
                digest: bundle.digest.to_string(),
                data: STANDARD.encode(&bundle.bytes),
                commit: bundle.commit.clone(),
                confirmed_unix_s: self.confirmed(now),
            }),
            inspection: self.inspection.clone(),
            evidence: self.evidence.clone(),
            subject: self.subject.clone(),
            prices: self.prices.clone(),
            idempotency: self.idempotency.clone(),
        }
    }
}

fn idempotency(config: &config::IdempotencyConfig) -> Option<IdempotencyConfig> {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    config.enabled.then(|| IdempotencyConfig {
        path: CLAIMS_PATH.to_owned(),
        timeout_ms: millis(config.timeout),
        wait_ms: millis(config.wait),
        unreachable: config.unreachable,
        on_unknown_outcome: config.on_unknown_outcome,
        answers: config.max_answer_bytes.map(|max_bytes| AnswersConfig {
            path: ANSWERS_PATH.to_owned(),
            max_bytes,
        }),
    })
}

/// The resource, a `TypedExtensionConfig`; without a bundle the filter refuses everything.
pub fn extension_config(
    settings: &PluginSettings,
    bundle: Option<&PublishedBundle>,
    now: Timestamp,
) -> Value {
    json!({
        "@type": RESOURCE_TYPE,
        "name": RESOURCE_NAME,
        "typed_config": wasm(settings, bundle, now),
    })
}

/// The resource in the envelope that files and REST share. The version is the
/// content's digest, so it is the same on every control plane and after a restart.
pub fn discovery_response(
    settings: &PluginSettings,
    bundle: Option<&PublishedBundle>,
    now: Timestamp,
) -> Value {
    let resource = extension_config(settings, bundle, now);
    json!({
        "version_info": version(&resource),
        "type_url": RESOURCE_TYPE,
        "resources": [resource],
    })
}

/// What [`discovery_response`] is before any policy is published.
pub fn without_bundle(settings: &PluginSettings) -> Value {
    discovery_response(settings, None, Timestamp::UNIX_EPOCH)
}

fn version(resource: &Value) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(resource.to_string()) {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The filter's configuration for Envoy's wasm extension.
pub(super) fn wasm(
    settings: &PluginSettings,
    bundle: Option<&PublishedBundle>,
    now: Timestamp,
) -> Value {
    // A plain data structure of strings and numbers always serialises; were it
    // not so, the filter would refuse the empty text and with it the update.
    let plugin = serde_json::to_string(&settings.plugin_config(bundle, now)).unwrap_or_default();
    json!({
        "@type": WASM_TYPE,
        "config": {
            "name": RESOURCE_NAME,
            // The filter holds requests until it has judged their bodies.
            "allow_on_headers_stop_iteration": true,
            // After a trap the VM is back for the next request. Never FAIL_OPEN:
            // it lets everything through unjudged, silently.
            "failure_policy": "FAIL_RELOAD",
            "reload_config": {"backoff": {"base_interval": "0.05s", "max_interval": "0.2s"}},
            "vm_config": {
                "vm_id": "mercator",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": settings.filter}},
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": plugin,
            },
        },
    })
}

/// The folder Envoy watches.
pub(super) fn resource_dir(config: &Config) -> PathBuf {
    config.envoy_dir().join("xds")
}

/// The file that holds the last good bundle.
pub fn resource_path(config: &Config) -> PathBuf {
    resource_dir(config).join("ecds.json")
}

/// Replaces the file; Envoy must find one when it starts.
pub fn write(config: &Config, bundle: Option<&PublishedBundle>, now: Timestamp) -> io::Result<()> {
    let response = discovery_response(&PluginSettings::new(config), bundle, now);
    write_private(&resource_path(config), format!("{response}\n").as_bytes())
}

/// Writes every bundle that is published, and again where it is to be confirmed, until
/// the publisher is gone. The bundle in force when this begins is expected to be written
/// already.
pub async fn keep_written(
    config: Arc<Config>,
    mut bundles: watch::Receiver<Option<Arc<PublishedBundle>>>,
    clock: Arc<dyn Clock>,
) {
    let confirm_every = PluginSettings::new(&config).confirm_every();
    while changed_or_due(&mut bundles, confirm_every).await {
        loop {
            let bundle = bundles.borrow_and_update().clone();
            let (config, now) = (Arc::clone(&config), clock.now());
            let written =
                tokio::task::spawn_blocking(move || write(&config, bundle.as_deref(), now)).await;
            let error = match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(error, "bundle not handed to Envoy, trying again");
            tokio::time::sleep(WRITE_RETRY).await;
        }
    }
}

/// Waits for a bundle or for the next confirmation; `false`: there will be no more.
async fn changed_or_due(
    bundles: &mut watch::Receiver<Option<Arc<PublishedBundle>>>,
    confirm_every: Option<Duration>,
) -> bool {
    match confirm_every {
        None => bundles.changed().await.is_ok(),
        Some(every) => match tokio::time::timeout(every, bundles.changed()).await {
            Ok(changed) => changed.is_ok(),
            Err(_) => true,
        },
    }
}
