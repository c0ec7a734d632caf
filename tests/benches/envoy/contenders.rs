//! What is compared: one Envoy each, on the listener of a running instance.
//!
//! All of them are made from the configuration that `mercator run` wrote for
//! its own Envoy; only what stands before the router differs.

use std::net::SocketAddr;
use std::path::Path;

use jupiter_testkit::{Instance, Program, free_port, start_envoy, target_dir, wait};
use serde_json::{Value, json};

/// One Envoy that takes part.
#[derive(Debug)]
pub struct Contender {
    pub name: &'static str,
    pub port: u16,
    pub pid: u32,
    /// Of all but the instance's own, which ends with its instance.
    _program: Option<Program>,
}

impl Contender {
    pub fn ours(instance: &Instance) -> Self {
        Self {
            name: "this filter, 20 rules, all detectors, evidence",
            port: instance.traffic().port(),
            pid: instance.envoy_pid().expect("a running Envoy"),
            _program: None,
        }
    }

    /// An Envoy with these filters before its router; what they tell the access log is
    /// written where they do.
    pub async fn with(
        name: &'static str,
        filters: Vec<Value>,
        clusters: Vec<Value>,
        writes_log: bool,
        (instance, folder): (&Instance, &Path),
    ) -> Self {
        let port = free_port();
        let log = writes_log.then(|| folder.join("access.log"));
        let config = configuration(instance, port, filters, clusters, log.as_deref());
        let file = folder.join(format!("envoy-{port}.json"));
        std::fs::write(&file, config.to_string()).expect("a configuration");
        let program = start_envoy(&file, folder.join(format!("envoy-{port}.log")), 1);
        wait::until(name, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await
        })
        .await;
        Self {
            name,
            port,
            pid: program.pid(),
            _program: Some(program),
        }
    }
}

fn configuration(
    instance: &Instance,
    port: u16,
    mut filters: Vec<Value>,
    clusters: Vec<Value>,
    log: Option<&Path>,
) -> Value {
    let file = instance.data_dir().join("envoy/envoy.yaml");
    let text = std::fs::read_to_string(file).expect("the instance's configuration");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = config.pointer_mut(manager).expect("a connection manager");
    let fields = manager.as_object_mut().expect("an object");
    match log {
        Some(log) => fields["access_log"][0]["typed_config"]["path"] = json!(log),
        None => drop(fields.remove("access_log").expect("a witness")),
    }
    let all = fields["http_filters"].as_array_mut().expect("filters");
    filters.push(all.pop().expect("a router"));
    *all = filters;
    let address = "/static_resources/listeners/0/address/socket_address/port_value";
    *config.pointer_mut(address).expect("a port") = json!(port);
    config["admin"]["address"]["socket_address"]["port_value"] = json!(free_port());
    let known = config.pointer_mut("/static_resources/clusters");
    let known = known.and_then(Value::as_array_mut).expect("clusters");
    known.extend(clusters);
    config
}

/// One of the filters in `crates/bench`: `empty`, which does nothing, or `calls`, which asks
/// for all that ours asks for.
pub fn bench_filter(name: &str) -> Value {
    let module = format!("wasm32-unknown-unknown/filter/jupiter_bench_{name}.wasm");
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "allow_on_headers_stop_iteration": true,
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": target_dir().join(module)}},
                },
            },
        },
    })
}

const AUTHORIZATION: &str = "authorization";

/// Asks a server about the headers alone. By HTTP, which costs Envoy less than gRPC does.
pub fn authorization_filter() -> Value {
    json!({
        "name": "authorization",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "http_service": {"server_uri": {
                "uri": "http://127.0.0.1", "cluster": AUTHORIZATION, "timeout": "5s",
            }},
        },
    })
}

pub fn authorization_cluster(address: SocketAddr) -> Value {
    cluster(AUTHORIZATION, address)
}

/// Where `calls` sends its batches.
pub fn sink_cluster(address: SocketAddr) -> Value {
    cluster("sink", address)
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": address.port(),
            }}}}]}],
        },
    })
}
