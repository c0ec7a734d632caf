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

    /// An Envoy with these filters before its router.
    pub async fn with(
        name: &'static str,
        filters: Vec<Value>,
        clusters: Vec<Value>,
        instance: &Instance,
        folder: &Path,
    ) -> Self {
        let port = free_port();
        let config = configuration(instance, port, filters, clusters);
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
) -> Value {
    let file = instance.data_dir().join("envoy/envoy.yaml");
    let text = std::fs::read_to_string(file).expect("the instance's configuration");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = config.pointer_mut(manager).expect("a connection manager");
    let fields = manager.as_object_mut().expect("an object");
    fields.remove("access_log").expect("a witness");
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

/// The filter that does nothing: `crates/bench/empty`.
pub fn empty_filter() -> Value {
    let module = target_dir().join("wasm32-unknown-unknown/filter/jupiter_bench_empty.wasm");
    json!({
        "name": "empty",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
            }},
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
    json!({
        "name": AUTHORIZATION,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": AUTHORIZATION,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": address.port(),
            }}}}]}],
        },
    })
}
