//! The configuration of an instance, from one YAML file and the environment.
//!
//! Text becomes checked types once, here; everything after start deals in
//! [`Config`]. An unknown key, a missing environment variable or a value of the
//! wrong form is refused with its line, and all of them are reported at once.
//! Reading the tree is `reader`, single values `values`; the keys and defaults
//! are documented in `docs/reference/configuration.md`, held equal by a test.

mod database;
mod expand;
mod idempotency;
mod policy;
mod prices;
mod reader;
mod retention;
mod subject;
mod values;

use jupiter_evidence::tree::{CosignerKey, KeyError, NoteVerifier};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use jupiter_filter::config::{FailureMode, ModelPrice, OnFull, UnknownApi};

pub use self::database::{Endpoint, PostgresConfig, SslMode};
pub use self::idempotency::{IdempotencyConfig, OnUnknownOutcome, Unreachable};
pub use self::policy::{GitConfig, PolicySource, Repository, Signatures};
pub use self::reader::{Fault, Origin};
pub use self::retention::{LabelRetention, RetentionConfig};
pub use self::subject::{HeaderConfig, JwtConfig, JwtKeys, SubjectConfig};
pub use self::values::{BaseUrl, Secret, duration};

use self::reader::{Document, Section};

/// Everything an instance is told at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names this instance in evidence and metrics; the host's name by default.
    pub instance: String,
    /// The region whose database this instance writes to.
    pub region: String,
    /// `context.environment` of policies.
    pub environment: String,
    /// Where the database, tokens and Envoy's files live.
    pub data_dir: PathBuf,
    pub admin: AdminConfig,
    pub metrics: MetricsConfig,
    pub agent: AgentConfig,
    pub envoy: EnvoyConfig,
    pub policy: PolicySource,
    pub inspection: InspectionConfig,
    pub subject: SubjectConfig,
    pub providers: Vec<ProviderConfig>,
    /// Before the vendors' list prices.
    pub prices: Vec<ModelPrice>,
    pub evidence: EvidenceConfig,
    pub idempotency: IdempotencyConfig,
}

/// The admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    pub listen: SocketAddr,
}

/// The Prometheus endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    pub listen: SocketAddr,
}

/// Where HAProxy asks whether this instance wants traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    pub listen: Option<SocketAddr>,
}

/// The Envoy beside this control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyConfig {
    /// Run Envoy as a child; otherwise only its files are written.
    pub manage: bool,
    /// A program on `PATH`, or a path.
    pub binary: PathBuf,
    /// The filter's wasm module.
    pub filter: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Envoy's own admin interface; keep it on loopback.
    pub admin: SocketAddr,
    /// Worker threads.
    pub concurrency: u32,
    /// The longest silence on a stream; also how long a request hangs whose VM trapped.
    pub stream_idle_timeout: Duration,
    /// How long a drain is announced before a stop refuses connections.
    pub drain_delay: Duration,
    /// How long a stop waits for exchanges in flight.
    pub drain_timeout: Duration,
    /// How long a worker may spin before Envoy aborts and is started again.
    pub kill_timeout: Duration,
    /// How the filter learns of a new bundle.
    pub bundle_source: BundleSource,
    /// Certificates providers are checked against; the system's by default.
    pub ca_file: PathBuf,
}

/// How a bundle reaches Envoy's extension discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleSource {
    /// A file this control plane writes: survives it, for an Envoy on the same machine.
    File,
    /// Envoy polls the control plane's REST xDS, as in a mesh.
    Rest,
}

/// What the filter reads, and what happens when it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectionConfig {
    pub max_body_bytes: u64,
    pub max_response_body_bytes: u64,
    pub unknown_api: UnknownApi,
    pub failure_mode: FailureMode,
    /// How long ago a bundle may have been confirmed; `None`: no matter how long.
    pub max_staleness: Option<Duration>,
}

/// An upstream and its API dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Unique; part of a cluster's and a file's name.
    pub name: String,
    pub kind: ProviderKind,
    /// As the provider's own SDK is given it: OpenAI's ends in `/v1`, Anthropic's does not.
    pub base_url: BaseUrl,
    /// Absent: the client's own credential is passed through.
    pub api_key: Option<Secret>,
}

/// The API dialect a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    OpenAi,
    Anthropic,
}

/// Where evidence is kept, under which name and keys it is sealed, and how much
/// an Envoy worker may hold back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceConfig {
    pub backend: EvidenceBackend,
    /// Names the log in every checkpoint.
    pub origin: String,
    /// Keys in the text form of signed notes, separated by commas; without, they
    /// are in the data directory.
    pub signing_key: Option<Secret>,
    /// Of other logs.
    pub cosign: CosignConfig,
    /// Who is asked to cosign ours.
    pub cosigners: Vec<CosignerConfig>,
    /// Records a worker's outbox holds at most.
    pub capacity: usize,
    pub on_full: OnFull,
    /// How long a request waits for its record where policies want it stored first.
    pub store_timeout: Duration,
    /// `None`: every record is kept for ever.
    pub retention: Option<RetentionConfig>,
}

/// Which logs of others this control plane vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignConfig {
    /// The name of the key, which others know it by.
    pub name: String,
    /// In the text form of signed notes; without, it is in the data directory.
    pub signing_key: Option<Secret>,
    /// Their public keys; a log may have several.
    pub logs: Vec<NoteVerifier>,
}

/// One who is asked to vouch for our log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerConfig {
    /// What its `add-checkpoint` is under.
    pub url: BaseUrl,
    pub key: CosignerKey,
}

/// The database behind policies and evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceBackend {
    /// One file in `data_dir`, for one instance.
    Sqlite,
    /// Servers that many instances share.
    Postgres(PostgresConfig),
}

impl EvidenceBackend {
    /// The file of authorities, if there is one.
    pub(crate) fn certificate_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            EvidenceBackend::Sqlite => None,
            EvidenceBackend::Postgres(postgres) => postgres.ssl_root_cert.as_mut(),
        }
    }
}

/// [`EvidenceBackend`], before its section is read.
#[derive(Clone, Copy)]
enum BackendKind {
    Sqlite,
    Postgres,
}

/// Why there is no configuration to start with.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    /// The file was read, and this is what is wrong in it.
    Invalid {
        /// The file's path, or `environment` when there is none.
        name: String,
        faults: Vec<Fault>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, cause } => {
                write!(
                    f,
                    "configuration `{}` cannot be read: {cause}",
                    path.display()
                )
            }
            ConfigError::Invalid { name, faults } => {
                for (index, fault) in faults.iter().enumerate() {
                    let line_break = if index == 0 { "" } else { "\n" };
                    write!(f, "{line_break}{name}: {fault}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::Unreadable { cause, .. } => Some(cause),
            ConfigError::Invalid { .. } => None,
        }
    }
}

impl Config {
    /// Reads the file, or without one the defaults; `env` fills `${…}` and
    /// overrides single keys (`MERCATOR_ADMIN__LISTEN`); of `names`, all variables
    /// there are, those that would override a key but name none are refused.
    pub fn load(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        names: &[String],
    ) -> Result<Config, ConfigError> {
        let Some(path) = path else {
            return Config::parse_with("", "environment", &env, names);
        };
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        Config::parse_with(&text, &path.display().to_string(), &env, names)
    }

    /// [`Config::load`] for a text already read; `name` is used in errors.
    pub fn parse(
        text: &str,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        Config::parse_with(text, name, env, &[])
    }

    fn parse_with(
        text: &str,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
        names: &[String],
    ) -> Result<Config, ConfigError> {
        let mut document = Document::new(env);
        let root = document.parse(text);
        let config = root.and_then(|mut root| {
            let config = read(&mut document, &mut root);
            document.refuse_misspelt(names);
            config
        });
        let faults = document.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid {
                name: name.to_owned(),
                faults,
            }),
        }
    }

    /// The provider that serves a dialect: the first of its kind.
    pub fn provider(&self, kind: ProviderKind) -> Option<&ProviderConfig> {
        self.providers.iter().find(|provider| provider.kind == kind)
    }

    /// The folder of Envoy's configuration, logs and process id.
    pub fn envoy_dir(&self) -> PathBuf {
        self.data_dir.join("envoy")
    }
}

/// Every section is read before anything is given up, so that one run reports all faults.
fn read(document: &mut Document<'_>, root: &mut Section) -> Option<Config> {
    let instance = document.value(root, "instance", &values::hostname(), values::name);
    let region = document.value(root, "region", "local", values::name);
    let environment = document.value(root, "environment", "production", values::name);
    let data_dir = document.value(root, "data_dir", "./data", values::path);
    let admin = read_admin(document, root);
    let metrics = read_metrics(document, root);
    let agent = read_agent(document, root);
    let envoy = read_envoy(document, root);
    let policy = policy::read(document, root);
    let inspection = read_inspection(document, root);
    let subject = subject::read(document, root);
    let providers = read_providers(document, root);
    let prices = prices::read(document, root);
    let log_of_region = format!("mercator/{}", region.as_deref().unwrap_or_default());
    let evidence = read_evidence(document, root, log_of_region);
    let idempotency = idempotency::read(document, root);
    document.finish(root);
    Some(Config {
        instance: instance?,
        region: region?,
        environment: environment?,
        data_dir: data_dir?,
        admin: admin?,
        metrics: metrics?,
        agent: agent?,
        envoy: envoy?,
        policy: policy?,
        inspection: inspection?,
        subject: subject?,
        providers: providers?,
        prices: prices?,
        evidence: evidence?,
        idempotency: idempotency?,
    })
}

fn read_admin(document: &mut Document<'_>, root: &mut Section) -> Option<AdminConfig> {
    let mut section = document.section(root, "admin");
    let listen = document.value(&mut section, "listen", "127.0.0.1:8081", values::address);
    document.finish(&section);
    Some(AdminConfig { listen: listen? })
}

fn read_metrics(document: &mut Document<'_>, root: &mut Section) -> Option<MetricsConfig> {
    let mut section = document.section(root, "metrics");
    let listen = document.value(&mut section, "listen", "127.0.0.1:9090", values::address);
    document.finish(&section);
    Some(MetricsConfig { listen: listen? })
}

fn read_agent(document: &mut Document<'_>, root: &mut Section) -> Option<AgentConfig> {
    let mut section = document.section(root, "agent");
    let listen = document.value(&mut section, "listen", "", values::optional_address);
    document.finish(&section);
    Some(AgentConfig { listen: listen? })
}

fn read_envoy(document: &mut Document<'_>, root: &mut Section) -> Option<EnvoyConfig> {
    let mut s = document.section(root, "envoy");
    let manage = document.value(&mut s, "manage", "true", values::boolean);
    let binary = document.value(&mut s, "binary", "envoy", values::path);
    let filter = document.value(&mut s, "filter", "./jupiter_filter.wasm", values::path);
    let listen = document.value(&mut s, "listen", "0.0.0.0:8080", values::address);
    let admin = document.value(&mut s, "admin", "127.0.0.1:9901", values::address);
    let concurrency = document.value(&mut s, "concurrency", "2", values::concurrency);
    let idle = document.value(&mut s, "stream_idle_timeout", "300s", values::duration);
    let delay = document.value(&mut s, "drain_delay", "1500ms", values::duration);
    let drain = document.value(&mut s, "drain_timeout", "60s", values::duration);
    let kill = document.value(&mut s, "kill_timeout", "10s", values::duration);
    let source = document.value(&mut s, "bundle_source", "file", bundle_source);
    let ca_file = document.value(&mut s, "ca_file", &values::system_ca_file(), values::path);
    document.finish(&s);
    Some(EnvoyConfig {
        manage: manage?,
        binary: binary?,
        filter: filter?,
        listen: listen?,
        admin: admin?,
        concurrency: concurrency?,
        stream_idle_timeout: idle?,
        drain_delay: delay?,
        drain_timeout: drain?,
        kill_timeout: kill?,
        bundle_source: source?,
        ca_file: ca_file?,
    })
}

fn read_inspection(document: &mut Document<'_>, root: &mut Section) -> Option<InspectionConfig> {
    let mut s = document.section(root, "inspection");
    let max_body_bytes = document.value(&mut s, "max_body_bytes", "1048576", values::body_bytes);
    let max_response_body_bytes = document.value(
        &mut s,
        "max_response_body_bytes",
        "1048576",
        values::body_bytes,
    );
    let unknown_api = document.value(&mut s, "unknown_api", "deny", unknown_api);
    let failure_mode = document.value(&mut s, "failure_mode", "closed", failure_mode);
    let max_staleness = document.value(&mut s, "max_staleness", "", max_staleness);
    document.finish(&s);
    Some(InspectionConfig {
        max_body_bytes: max_body_bytes?,
        max_response_body_bytes: max_response_body_bytes?,
        unknown_api: unknown_api?,
        failure_mode: failure_mode?,
        max_staleness: max_staleness?,
    })
}

fn read_providers(document: &mut Document<'_>, root: &mut Section) -> Option<Vec<ProviderConfig>> {
    let mut providers = Some(Vec::new());
    let mut names = BTreeSet::new();
    for mut s in document.list(root, "providers") {
        let name = document.required(&mut s, "name", values::name);
        let kind = document.required(&mut s, "kind", provider_kind);
        let base_url = document.required(&mut s, "base_url", BaseUrl::parse);
        let api_key = document.value(&mut s, "api_key", "", values::secret);
        document.finish(&s);
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            document.fault(
                &s,
                "name",
                format!("the name `{name}` is taken by another provider"),
            );
        }
        let provider = (|| {
            Some(ProviderConfig {
                name: name?,
                kind: kind?,
                base_url: base_url?,
                api_key: api_key?,
            })
        })();
        match (provider, &mut providers) {
            (Some(provider), Some(list)) => list.push(provider),
            _ => providers = None,
        }
    }
    providers
}

fn read_evidence(
    document: &mut Document<'_>,
    root: &mut Section,
    log_of_region: String,
) -> Option<EvidenceConfig> {
    let mut s = document.section(root, "evidence");
    let kind = document.value(&mut s, "backend", "sqlite", backend_kind);
    let origin = document.value(&mut s, "origin", "", values::origin);
    let signing_key = document.value(&mut s, "signing_key", "", values::secret);
    let cosign = read_cosign(document, &mut s);
    let cosigners = read_cosigners(document, &mut s);
    let capacity = document.value(&mut s, "capacity", "10000", values::capacity);
    let on_full = document.value(&mut s, "on_full", "drop_counted", on_full);
    let store_timeout = document.value(&mut s, "store_timeout", "1s", store_timeout);
    let retention = retention::read(document, &mut s);
    let postgres = database::read(document, &mut s);
    document.finish(&s);
    let backend = match kind {
        Some(BackendKind::Sqlite) => Some(EvidenceBackend::Sqlite),
        Some(BackendKind::Postgres) => postgres.needed(document).map(EvidenceBackend::Postgres),
        None => None,
    };
    let origin = origin?.unwrap_or(log_of_region);
    let (name, cosign_key, logs) = cosign;
    let cosign = CosignConfig {
        name: name?.unwrap_or_else(|| format!("{origin}/witness")),
        signing_key: cosign_key?,
        logs: logs?,
    };
    Some(EvidenceConfig {
        backend: backend?,
        origin,
        signing_key: signing_key?,
        cosign,
        cosigners: cosigners?,
        capacity: capacity?,
        on_full: on_full?,
        store_timeout: store_timeout?,
        retention: retention?,
    })
}

type ReadCosign = (
    Option<Option<String>>,
    Option<Option<Secret>>,
    Option<Vec<NoteVerifier>>,
);

fn read_cosign(document: &mut Document<'_>, evidence: &mut Section) -> ReadCosign {
    let mut s = document.section(evidence, "cosign");
    let name = document.value(&mut s, "name", "", values::origin);
    let signing_key = document.value(&mut s, "signing_key", "", values::secret);
    let logs = document.values(&mut s, "logs", note_key);
    document.finish(&s);
    (name, signing_key, logs)
}

fn read_cosigners(
    document: &mut Document<'_>,
    evidence: &mut Section,
) -> Option<Vec<CosignerConfig>> {
    let mut cosigners = Some(Vec::new());
    for mut s in document.list(evidence, "cosigners") {
        let url = document.required(&mut s, "url", BaseUrl::parse);
        let key = document.required(&mut s, "key", note_key);
        document.finish(&s);
        match (url.zip(key), &mut cosigners) {
            (Some((url, key)), Some(list)) => list.push(CosignerConfig { url, key }),
            _ => cosigners = None,
        }
    }
    cosigners
}

/// A public key in the text form of signed notes.
fn note_key<K: FromStr<Err = KeyError>>(text: &str) -> Result<K, String> {
    text.parse().map_err(|error: KeyError| error.to_string())
}

fn bundle_source(text: &str) -> Result<BundleSource, String> {
    values::choice(
        text,
        &[("file", BundleSource::File), ("rest", BundleSource::Rest)],
    )
}

fn unknown_api(text: &str) -> Result<UnknownApi, String> {
    values::choice(
        text,
        &[("deny", UnknownApi::Deny), ("allow", UnknownApi::Allow)],
    )
}

fn failure_mode(text: &str) -> Result<FailureMode, String> {
    values::choice(
        text,
        &[("closed", FailureMode::Closed), ("open", FailureMode::Open)],
    )
}

/// Empty: none. Bundles are confirmed four times as often, at most every second.
fn max_staleness(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "" => Ok(None),
        text => match values::duration(text)? {
            least if least < Duration::from_secs(4) => Err(format!("`{text}` is less than `4s`")),
            duration => Ok(Some(duration)),
        },
    }
}

fn store_timeout(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        least if least < Duration::from_millis(10) => Err(format!("`{text}` is less than `10ms`")),
        most if most > Duration::from_secs(60) => Err(format!("`{text}` is more than `60s`")),
        duration => Ok(duration),
    }
}

fn on_full(text: &str) -> Result<OnFull, String> {
    values::choice(
        text,
        &[
            ("deny", OnFull::Deny),
            ("drop_counted", OnFull::DropCounted),
        ],
    )
}

fn provider_kind(text: &str) -> Result<ProviderKind, String> {
    values::choice(
        text,
        &[
            ("openai", ProviderKind::OpenAi),
            ("anthropic", ProviderKind::Anthropic),
        ],
    )
}

fn backend_kind(text: &str) -> Result<BackendKind, String> {
    values::choice(
        text,
        &[
            ("sqlite", BackendKind::Sqlite),
            ("postgres", BackendKind::Postgres),
        ],
    )
}

#[cfg(test)]
mod tests;
