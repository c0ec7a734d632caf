//! What Envoy is told, read back from the value it is told with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::{BundleSource, Config, Secret};
use crate::publish::PublishedBundle;

const PROVIDERS: &str = r#"
data_dir: DIR
envoy: {listen: "127.0.0.1:1", stream_idle_timeout: 1500ms}
providers:
  - {name: o, kind: openai, base_url: "http://localhost:9/prefix/v1", api_key: sk-one}
  - {name: a, kind: anthropic, base_url: "https://10.0.0.1/base", api_key: sk-two}
  - {name: spare, kind: openai, base_url: "https://spare.example/v1"}
"#;

fn config(text: &str) -> Config {
    Config::parse(text, "test", &|_| None).unwrap()
}

fn manager(bootstrap: &Value) -> &Value {
    &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

fn cluster<'a>(bootstrap: &'a Value, name: &str) -> &'a Value {
    let clusters = bootstrap["static_resources"]["clusters"]
        .as_array()
        .unwrap();
    clusters
        .iter()
        .find(|cluster| cluster["name"] == name)
        .unwrap()
}

fn route<'a>(bootstrap: &'a Value, name: &str) -> &'a Value {
    let hosts = &manager(bootstrap)["route_config"]["virtual_hosts"];
    let routes = hosts[0]["routes"].as_array().unwrap();
    routes.iter().find(|route| route["name"] == name).unwrap()
}

#[test]
fn the_example_says_what_the_program_would() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let config = Config::load(Some(&root.join("envoy/mercator.yaml")), |_| None, &[]).unwrap();
    let example = std::fs::read_to_string(root.join("envoy/envoy.yaml")).unwrap();
    let expected = bootstrap::bootstrap(&config);
    assert_eq!(yaml::read(&example).unwrap(), expected);
    assert_eq!(yaml::read(&yaml::print(&expected)).unwrap(), expected);
}

#[test]
fn keys_are_in_their_secret_files_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&PROVIDERS.replace("DIR", &folder.path().display().to_string()));
    let text = yaml::print(&bootstrap::bootstrap(&config));
    assert!(!text.contains("sk-"), "{text}");

    sds::write_all(&config, &Secret::new("mjt_token".to_owned())).unwrap();
    let secrets = folder.path().join("envoy/secrets");
    for (name, secret) in [
        ("emitter", "mjt_token"),
        ("provider-o", "sk-one"),
        ("provider-a", "sk-two"),
    ] {
        let path = secrets.join(format!("{name}.yaml"));
        let value = yaml::read(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let resource = &value["resources"][0];
        assert_eq!(resource["name"], name);
        assert_eq!(
            resource["generic_secret"]["secret"]["inline_string"],
            secret
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(&secrets).unwrap().count(), 3);
    let mut without_keys = config.clone();
    without_keys.providers.clear();
    sds::write_all(&without_keys, &Secret::new("mjt_token".to_owned())).unwrap();
    assert_eq!(std::fs::read_dir(&secrets).unwrap().count(), 1);
    let mode = std::fs::metadata(&secrets).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_provider_with_a_key_never_gets_the_clients() {
    let bootstrap = bootstrap::bootstrap(&config(PROVIDERS));
    for name in ["openai", "openai-v1", "anthropic"] {
        let removed = &route(&bootstrap, name)["request_headers_to_remove"];
        assert_eq!(*removed, json!(["authorization", "x-api-key", "api-key"]));
    }
    let options = "typed_extension_protocol_options";
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let generic = |name: &str| {
        cluster(&bootstrap, name)[options][http]["http_filters"][0]["typed_config"]["credential"]
            ["typed_config"]
            .clone()
    };
    assert_eq!(generic("provider-o")["header"], "authorization");
    assert_eq!(generic("provider-o")["header_value_prefix"], "Bearer ");
    assert_eq!(generic("provider-a")["header"], "x-api-key");
    assert_eq!(generic("provider-a")["header_value_prefix"], Value::Null);
    assert_eq!(
        generic("mercator-control-plane")["credential"]["name"],
        "emitter"
    );
    assert_eq!(generic("provider-spare"), Value::Null);
}

#[test]
fn a_path_of_both_dialects_is_told_apart_by_its_version_header() {
    let bootstrap = bootstrap::bootstrap(&config(PROVIDERS));
    let other = route(&bootstrap, "anthropic-version");
    assert_eq!(other["match"]["headers"][0]["name"], "anthropic-version");
    assert_eq!(other["match"]["headers"][1]["invert_match"], true);
    assert_eq!(other["route"]["cluster"], "provider-a");
    assert_eq!(other["route"]["prefix_rewrite"], "/base/v1/");
}

#[test]
fn paths_are_rewritten_to_the_base_url() {
    let bootstrap = bootstrap::bootstrap(&config(PROVIDERS));
    assert_eq!(
        route(&bootstrap, "openai-v1")["route"]["prefix_rewrite"],
        "/prefix/v1/"
    );
    assert_eq!(
        route(&bootstrap, "anthropic")["route"]["prefix_rewrite"],
        "/base/v1/messages"
    );
    assert_eq!(
        route(&bootstrap, "openai")["route"]["host_rewrite_literal"],
        "localhost:9"
    );
}

#[test]
fn tls_names_the_host_or_demands_its_address() {
    let bootstrap = bootstrap::bootstrap(&config(PROVIDERS));
    let named = &cluster(&bootstrap, "provider-spare")["transport_socket"]["typed_config"];
    assert_eq!(named["sni"], "spare.example");
    assert_eq!(named["auto_sni_san_validation"], true);
    let addressed = &cluster(&bootstrap, "provider-a")["transport_socket"]["typed_config"];
    assert_eq!(addressed["sni"], Value::Null);
    let names = &addressed["common_tls_context"]["validation_context"];
    assert_eq!(
        names["match_typed_subject_alt_names"][0]["matcher"]["exact"],
        "10.0.0.1"
    );
    assert_eq!(
        cluster(&bootstrap, "provider-o")["transport_socket"],
        Value::Null
    );
}

#[test]
fn without_a_provider_a_dialect_gets_an_honest_404() {
    let bootstrap = bootstrap::bootstrap(&config(""));
    for (name, message) in [("openai", "kind openai"), ("anthropic", "kind anthropic")] {
        let answer = &route(&bootstrap, name)["direct_response"];
        assert_eq!(answer["status"], 404);
        let body = answer["body"]["inline_string"].as_str().unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains(message));
    }
}

#[test]
fn durations_are_written_as_protobuf_reads_them() {
    let bootstrap = bootstrap::bootstrap(&config(PROVIDERS));
    assert_eq!(manager(&bootstrap)["stream_idle_timeout"], "1.500s");
    assert_eq!(
        bootstrap["watchdogs"]["worker_watchdog"]["kill_timeout"],
        "10s"
    );
}

#[test]
fn the_ipv6_wildcard_takes_ipv4_too() {
    let at = |listen: &str| {
        let config = config(&format!("envoy: {{listen: \"{listen}\"}}"));
        bootstrap::bootstrap(&config)["static_resources"]["listeners"][0]["address"]
            ["socket_address"]["ipv4_compat"]
            .clone()
    };
    assert_eq!(at("[::]:80"), true);
    assert_eq!(at("[::1]:80"), Value::Null);
    assert_eq!(at("0.0.0.0:80"), Value::Null);
}

#[test]
fn a_wildcard_admin_address_is_reached_over_loopback() {
    for (listen, address) in [
        ("0.0.0.0:7", "127.0.0.1"),
        ("[::]:7", "::1"),
        ("10.1.1.1:7", "10.1.1.1"),
    ] {
        let bootstrap = bootstrap::bootstrap(&config(&format!("admin: {{listen: \"{listen}\"}}")));
        let endpoint = &cluster(&bootstrap, "mercator-control-plane")["load_assignment"]["endpoints"]
            [0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"];
        assert_eq!(*endpoint, json!({"address": address, "port_value": 7}));
    }
}

#[test]
fn rest_discovery_asks_the_control_plane() {
    let mut config = config("");
    config.envoy.bundle_source = BundleSource::Rest;
    let bootstrap = bootstrap::bootstrap(&config);
    let discovery = &manager(&bootstrap)["http_filters"][1]["config_discovery"];
    let source = &discovery["config_source"]["api_config_source"];
    assert_eq!(source["api_type"], "REST");
    assert_eq!(source["cluster_names"], json!(["mercator-control-plane"]));
    assert_eq!(source["refresh_delay"], "0.5s");
    assert_eq!(
        discovery["config_source"]["path_config_source"],
        Value::Null
    );
    assert_eq!(discovery["default_config"]["@type"], ecds::WASM_TYPE);
}

#[test]
fn yaml_keeps_texts_that_look_like_something_else() {
    let value = json!({
        "on": "yes", "n": "1", "f": "1.0", "z": "~", "e": "", "s": " x", "c": "a: b # c",
        "l": "one\ntwo\n", "q": "'\"\\", "t": "true", "@type": "0x1f", "u": "\u{1}é\u{2028}",
        "i": -7, "b": false, "o": null, "empty": {"a": [], "m": {}}, "list": [[1, 2], [{"a": 1}]],
    });
    assert_eq!(yaml::read(&yaml::print(&value)).unwrap(), value);
}

#[test]
fn tokens_are_verified_before_the_filter_and_stay_here() {
    let config = config(
        "subject:\n  jwt: {issuer: 'https://i/', audiences: a, jwks_uri: 'https://keys.example/jwks'}\n  \
         header: {name: x-user, trusted: '::1'}",
    );
    let bootstrap = bootstrap::bootstrap(&config);
    let filters = manager(&bootstrap)["http_filters"].as_array().unwrap();
    let names: Vec<_> = filters
        .iter()
        .map(|filter| filter["name"].as_str())
        .collect();
    let expected = [
        "envoy.filters.http.health_check",
        "envoy.filters.http.jwt_authn",
        ecds::RESOURCE_NAME,
        "envoy.filters.http.router",
    ];
    assert_eq!(names, expected.map(Some));
    let provider = &filters[1]["typed_config"]["providers"]["subject"];
    assert_eq!(provider["forward"], json!(false));
    assert_eq!(provider["audiences"], json!(["a"]));
    let uri = &provider["remote_jwks"]["http_uri"];
    assert_eq!(uri["uri"], "https://keys.example/jwks");
    let keys = cluster(&bootstrap, uri["cluster"].as_str().unwrap());
    assert!(keys["transport_socket"].is_object());
    let removed = &manager(&bootstrap)["route_config"]["request_headers_to_remove"];
    assert!(removed.as_array().unwrap().contains(&json!("x-user")));
}

#[test]
fn confirmations_change_the_resource_no_oftener_than_they_have_to() {
    let settings = |text: &str| ecds::PluginSettings::new(&config(text));
    let version = |settings: &ecds::PluginSettings, second: i64| {
        let bundle = PublishedBundle {
            digest: jupiter_policy::BundleDigest::of(b""),
            bytes: vec![],
            created_at: jiff::Timestamp::UNIX_EPOCH,
            revision: 1,
            commit: None,
        };
        let now = jiff::Timestamp::from_second(second).unwrap();
        ecds::discovery_response(settings, Some(&bundle), now)["version_info"].clone()
    };
    let always = settings("");
    assert_eq!(version(&always, 1_000), version(&always, 9_000));
    let minute = settings("inspection: {max_staleness: 60s}");
    assert_eq!(version(&minute, 1_005), version(&minute, 1_019));
    assert_ne!(version(&minute, 1_005), version(&minute, 1_020));
}
