//! Envoy clusters: one per provider, and one for the control plane.
//!
//! Credentials are put in by an upstream HTTP filter of the cluster, so they
//! exist only on the way out: the wasm filter, the routes and the access log
//! never see them. On the control plane's cluster the same filter serves the
//! wasm filter's own calls and Envoy's polls of REST xDS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use super::sds::Credential;
use crate::config::{BaseUrl, Config, JwtKeys, ProviderConfig, ProviderKind};

/// The cluster under which Envoy and the filter know the control plane.
pub const CONTROL_PLANE: &str = "mercator-control-plane";

/// Where the keys of tokens come from.
pub(super) const JWKS: &str = "jwks";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection to a provider is kept. Shorter than the idle
/// limits of the large providers, so that a request rarely meets a closing one.
const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Clusters default to 1,024 connections and requests at a time. The bound on
/// load is the listener's; a breaker that opens here would refuse what was admitted.
const BREAKER_LIMIT: u32 = 65_536;

pub(super) fn provider_cluster_name(provider: &ProviderConfig) -> String {
    cluster_of(&provider.name)
}

/// The cluster of the provider of this name.
pub(crate) fn cluster_of(provider: &str) -> String {
    format!("provider-{provider}")
}

/// A duration as the protobuf JSON mapping writes it.
pub(super) fn proto_duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        millis => format!("{}.{millis:03}s", duration.as_secs()),
    }
}

pub(super) fn clusters(config: &Config) -> Vec<Value> {
    let mut clusters = vec![control_plane_cluster(config)];
    clusters.extend(
        config
            .providers
            .iter()
            .map(|provider| provider_cluster(config, provider)),
    );
    if let Some(JwtKeys::Url(url)) = config.subject.jwt.as_ref().map(|jwt| &jwt.keys) {
        clusters.push(outside_cluster(config, JWKS, url, None));
    }
    clusters
}

fn control_plane_cluster(config: &Config) -> Value {
    let listen = config.admin.listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(ip) if ip.is_unspecified() => "::1".to_owned(),
        ip => ip.to_string(),
    };
    json!({
        "name": CONTROL_PLANE,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": breakers(),
        "load_assignment": load_assignment(CONTROL_PLANE, &ip, listen.port()),
        "typed_extension_protocol_options": protocol_options(
            json!({"explicit_http_config": {"http_protocol_options": {}}}),
            Some(injector(config, &Credential::emitter(), "authorization", Some("Bearer "))),
        ),
    })
}

fn provider_cluster(config: &Config, provider: &ProviderConfig) -> Value {
    let name = provider_cluster_name(provider);
    let url = &provider.base_url;
    let injector = provider.api_key.as_ref().map(|_| {
        let credential = Credential::provider(&provider.name);
        match provider.kind {
            ProviderKind::OpenAi => injector(config, &credential, "authorization", Some("Bearer ")),
            ProviderKind::Anthropic => injector(config, &credential, "x-api-key", None),
        }
    });
    outside_cluster(config, &name, url, injector)
}

/// A host that is not ours.
fn outside_cluster(config: &Config, name: &str, url: &BaseUrl, injector: Option<Value>) -> Value {
    let protocol = if url.tls {
        // ALPN chooses between HTTP/2 and HTTP/1.1.
        json!({"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}}})
    } else {
        json!({"explicit_http_config": {"http_protocol_options": {}}})
    };
    let mut cluster = json!({
        "name": name,
        "type": if url.ip().is_some() { "STATIC" } else { "LOGICAL_DNS" },
        "connect_timeout": proto_duration(CONNECT_TIMEOUT),
        "circuit_breakers": breakers(),
        "outlier_detection": outlier_detection(),
        "load_assignment": load_assignment(name, &url.host, url.port),
        "typed_extension_protocol_options": protocol_options(protocol, injector),
    });
    if let Some(fields) = cluster.as_object_mut() {
        if url.ip().is_none() {
            // Both address families, tried in parallel: a host without IPv6 must
            // not wait for the provider's IPv6 addresses to time out.
            fields.insert("dns_lookup_family".to_owned(), json!("ALL"));
            // Measured: with a name server that does not answer, Envoy opened its
            // listeners after 69 s. What one provider lacks must not keep out the rest.
            fields.insert("wait_for_warm_on_init".to_owned(), json!(false));
        }
        if url.tls {
            fields.insert("transport_socket".to_owned(), tls(config, url));
        }
    }
    cluster
}

fn breakers() -> Value {
    json!({"thresholds": [{
        "max_connections": BREAKER_LIMIT,
        "max_pending_requests": BREAKER_LIMIT,
        "max_requests": BREAKER_LIMIT,
        "max_retries": 1_024,
    }]})
}

/// A host that keeps failing is avoided for a while. When all of them fail,
/// Envoy's panic threshold lets requests through all the same: the provider's
/// own answer is more honest than ours.
fn outlier_detection() -> Value {
    json!({
        "consecutive_5xx": 5,
        "interval": "10s",
        "base_ejection_time": "10s",
        "max_ejection_percent": 100,
    })
}

fn load_assignment(cluster: &str, host: &str, port: u16) -> Value {
    let address = json!({"socket_address": {"address": host, "port_value": port}});
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    })
}

fn protocol_options(mut options: Value, injector: Option<Value>) -> Value {
    if let Some(fields) = options.as_object_mut() {
        fields.insert(
            "@type".to_owned(),
            json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
        );
        fields.insert(
            "common_http_protocol_options".to_owned(),
            json!({"idle_timeout": proto_duration(UPSTREAM_IDLE_TIMEOUT)}),
        );
        if let Some(injector) = injector {
            let codec = json!({
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                },
            });
            fields.insert("http_filters".to_owned(), json!([injector, codec]));
        }
    }
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options})
}

/// Refuses the request (401) when the secret is missing: a client's own
/// credential is never sent in its place.
fn injector(config: &Config, credential: &Credential, header: &str, prefix: Option<&str>) -> Value {
    let mut generic = json!({
        "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "credential": credential.sds_reference(config),
        "header": header,
    });
    if let (Some(prefix), Some(fields)) = (prefix, generic.as_object_mut()) {
        fields.insert("header_value_prefix".to_owned(), json!(prefix));
    }
    json!({
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": true,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": generic,
            },
        },
    })
}

fn tls(config: &Config, url: &BaseUrl) -> Value {
    let mut validation = json!({"trusted_ca": {"filename": config.envoy.ca_file}});
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    });
    match (
        url.ip(),
        context.as_object_mut(),
        validation.as_object_mut(),
    ) {
        (None, Some(context), _) => {
            context.insert("sni".to_owned(), json!(url.host));
            context.insert("auto_sni_san_validation".to_owned(), json!(true));
        }
        // An address is no server name: the certificate must name it itself.
        (Some(ip), _, Some(validation)) => {
            let matcher = json!([{"san_type": "IP_ADDRESS", "matcher": {"exact": ip.to_string()}}]);
            validation.insert("match_typed_subject_alt_names".to_owned(), matcher);
        }
        _ => {}
    }
    if let Some(context) = context.as_object_mut() {
        let common = json!({
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": validation,
        });
        context.insert("common_tls_context".to_owned(), common);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// Where Envoy listens. `[::]` means every address, as it does for other
/// programs on the same machine; alone, Envoy would leave out IPv4.
pub(super) fn listen_address(address: SocketAddr) -> Value {
    let mut fields = json!({"address": address.ip().to_string(), "port_value": address.port()});
    if let (IpAddr::V6(ip), Some(fields)) = (address.ip(), fields.as_object_mut())
        && ip.is_unspecified()
    {
        fields.insert("ipv4_compat".to_owned(), json!(true));
    }
    json!({"socket_address": fields})
}
