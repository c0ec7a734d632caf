//! Envoy's whole configuration, made from ours.
//!
//! Everything a user could want to read about how exchanges pass through Envoy
//! is in this value, and nothing secret: keys and bundles are in files it names.
//! The same value is what `mercator envoy` prints and what `envoy/envoy.yaml`
//! in the repository shows with comments.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::clusters::{clusters, listen_address, proto_duration};
use super::ecds::{self, PluginSettings};
use super::jwt;
use super::replies::local_reply_config;
use super::routes::route_config;
use crate::config::{BundleSource, Config};

/// The access log property the filter sets and the witness reads.
const EVIDENCE: &str = "%FILTER_STATE(wasm.mercator.evidence:PLAIN)%";

/// Connections beyond this are refused rather than let exhaust the machine.
const MAX_CONNECTIONS: u32 = 16_384;

/// The file the witness reads.
pub fn access_log_path(config: &Config) -> PathBuf {
    config.envoy_dir().join("access.log")
}

/// The configuration Envoy is started with.
pub fn bootstrap(config: &Config) -> Value {
    json!({
        "node": {
            "id": config.instance,
            "cluster": "mercator",
            "locality": {"region": config.region},
        },
        "admin": {"address": listen_address(config.envoy.admin)},
        "watchdogs": watchdogs(config),
        "overload_manager": overload_manager(),
        "stats_config": {"stats_tags": stats_tags()},
        "static_resources": {
            "listeners": [listener(config)],
            "clusters": clusters(config),
        },
    })
}

/// Nothing but the watchdog ends a loop inside the filter: Envoy aborts, its
/// supervisor starts it again.
fn watchdogs(config: &Config) -> Value {
    let kill = proto_duration(config.envoy.kill_timeout);
    json!({
        "main_thread_watchdog": {"kill_timeout": kill},
        "worker_watchdog": {"kill_timeout": kill},
    })
}

/// The filter writes labels into the names of its metrics as `|label=value`.
fn stats_tags() -> Value {
    METRIC_LABELS
        .iter()
        .map(|label| json!({"tag_name": label, "regex": format!(r"(\|{label}=([^|]*))")}))
        .collect()
}

/// The labels of `filter/src/host/metrics.rs`.
const METRIC_LABELS: [&str; 10] = [
    "verdict",
    "policy",
    "rule",
    "effect",
    "mode",
    "direction",
    "reason",
    "digest",
    "kind",
    "run",
];

fn overload_manager() -> Value {
    json!({"resource_monitors": [{
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": MAX_CONNECTIONS,
        },
    }]})
}

fn listener(config: &Config) -> Value {
    // Twice what the filter may hold, so that the filter's own limit, with its
    // own answer, is the one that is met.
    let inspection = &config.inspection;
    let largest = inspection
        .max_body_bytes
        .max(inspection.max_response_body_bytes);
    let buffer = largest * 2 + 65_536;
    json!({
        "name": "traffic",
        "address": listen_address(config.envoy.listen),
        "per_connection_buffer_limit_bytes": buffer,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(config),
        }]}],
    })
}

fn connection_manager(config: &Config) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "traffic",
        "codec_type": "AUTO",
        // Load balancers probe with HTTP/1.0 and no host.
        "http_protocol_options": {
            "accept_http_10": true,
            "default_host_for_http_10": "jupiter",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        // Clients are not trusted: their `x-envoy-…` headers are removed.
        "use_remote_address": true,
        "skip_xff_append": true,
        "generate_request_id": true,
        // A client finds its own id in the evidence, and the provider sees it too.
        "preserve_external_request_id": true,
        // What the filter judged is what the provider gets: one spelling per path.
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "stream_idle_timeout": proto_duration(config.envoy.stream_idle_timeout),
        "request_headers_timeout": "10s",
        "access_log": [access_log(config)],
        "local_reply_config": local_reply_config(),
        "route_config": route_config(config),
        "http_filters": http_filters(config),
    })
}

fn http_filters(config: &Config) -> Vec<Value> {
    let tokens = config.subject.jwt.as_ref().map(jwt::filter);
    std::iter::once(health_check())
        .chain(tokens)
        .chain([wasm_filter(config), router()])
        .collect()
}

/// One JSON line per exchange, which the witness reconciles; `crate::witness`
/// reads these keys. Probes of `/health` are not exchanges.
fn access_log(config: &Config) -> Value {
    json!({
        "name": "envoy.access_loggers.file",
        "filter": {"not_health_check_filter": {}},
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": access_log_path(config),
            "log_format": {"json_format": {
                "evidence": EVIDENCE,
                "request_id": "%REQ(X-REQUEST-ID)%",
                "method": "%REQ(:METHOD)%",
                "path": "%PATH(NQ)%",
                "route": "%ROUTE_NAME%",
                "upstream_host": "%UPSTREAM_HOST%",
                "code": "%RESPONSE_CODE%",
                "flags": "%RESPONSE_FLAGS%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "start_time": "%START_TIME%",
                "duration_ms": "%DURATION%",
                "bytes_received": "%BYTES_RECEIVED%",
                "bytes_sent": "%BYTES_SENT%",
            }},
        },
    })
}

/// Answers 503 on `/health` once Envoy drains; before that the filter answers.
fn health_check() -> Value {
    json!({
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": true,
            "headers": [
                {"name": ":method", "string_match": {"exact": "GET"}},
                {"name": ":path", "string_match": {"safe_regex": {"regex": r"/health(\?.*)?"}}},
            ],
        },
    })
}

/// The filter by extension discovery. Until a bundle is discovered, and should
/// discovery fail, the default refuses everything with 503.
fn wasm_filter(config: &Config) -> Value {
    let settings = PluginSettings::new(config);
    json!({
        "name": ecds::RESOURCE_NAME,
        "config_discovery": {
            "config_source": bundle_source(config),
            "default_config": ecds::wasm(&settings, None, Timestamp::UNIX_EPOCH),
            "type_urls": [ecds::WASM_TYPE],
        },
    })
}

/// Where Envoy learns of the bundle in force.
pub fn bundle_source(config: &Config) -> Value {
    match config.envoy.bundle_source {
        BundleSource::File => json!({
            "resource_api_version": "V3",
            "path_config_source": {
                "path": ecds::resource_path(config),
                "watched_directory": {"path": ecds::resource_dir(config)},
            },
        }),
        BundleSource::Rest => json!({
            "resource_api_version": "V3",
            "initial_fetch_timeout": "2s",
            "api_config_source": {
                "api_type": "REST",
                "transport_api_version": "V3",
                "cluster_names": [super::clusters::CONTROL_PLANE],
                "refresh_delay": "0.5s",
                "request_timeout": "1s",
            },
        }),
    }
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    })
}
