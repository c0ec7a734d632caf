//! What is found out before anything is started.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn config(data_dir: &Path, more: &str) -> Config {
    let text = format!(
        "data_dir: {}\nadmin: {{listen: '127.0.0.1:0'}}\nmetrics: {{listen: '127.0.0.1:0'}}\n{more}",
        data_dir.display()
    );
    Config::parse(&text, "test", &|_| None).unwrap()
}

async fn refusal(config: Config) -> RunError {
    run(config, RunOptions::default(), CancellationToken::new())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(folder.path(), "");
    config.metrics.listen = taken.local_addr().unwrap();
    let error = refusal(config).await;
    assert!(
        matches!(
            error,
            RunError::Address {
                key: "metrics.listen",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_or_wrong_filter_is_said_before_envoy_starts() {
    let folder = tempfile::tempdir().unwrap();
    let missing = refusal(config(folder.path(), "envoy: {filter: /no/such.wasm}")).await;
    assert!(matches!(missing, RunError::Filter { .. }), "{missing}");
    assert!(missing.to_string().contains("envoy.filter"), "{missing}");
    let wrong = refusal(config(folder.path(), "envoy: {filter: /etc/hostname}")).await;
    assert!(wrong.to_string().contains("not a wasm module"), "{wrong}");
}

#[tokio::test]
async fn a_data_dir_serves_one_instance() {
    let folder = tempfile::tempdir().unwrap();
    let lock = lock_data_dir(folder.path()).unwrap();
    let error = refusal(config(folder.path(), "")).await;
    assert!(matches!(error, RunError::DataDirInUse(_)), "{error}");
    drop(lock);
    lock_data_dir(folder.path()).unwrap();
}

#[test]
fn a_filter_is_installed_under_a_name_of_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("filter.wasm");
    fs::write(&module, b"\0asm-one").unwrap();
    let mut config = config(&folder.path().join("data"), "");
    config.envoy.filter = module.clone();
    let one = install_filter(&config).unwrap();
    assert_eq!(install_filter(&config).unwrap(), one);
    assert_eq!(fs::read(&one).unwrap(), b"\0asm-one");
    fs::write(&module, b"\0asm-two").unwrap();
    let two = install_filter(&config).unwrap();
    assert_ne!(one, two);
    config.envoy.filter = two.clone();
    forget_old_filters(&config);
    assert!(two.exists() && !one.exists());
}

/// Without Envoy: everything else starts, serves and stops.
#[tokio::test]
async fn an_instance_whose_envoy_is_elsewhere_writes_its_files_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let config = config(&data_dir, "envoy: {manage: false}");
    let shutdown = CancellationToken::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let options = RunOptions::default().on_ready(move || ready.send(()).unwrap());
    let running = tokio::spawn(run(config, options, shutdown.clone()));
    is_ready.await.unwrap();
    for file in [
        "envoy/xds/ecds.json",
        "envoy/secrets/emitter.yaml",
        "admin.token",
    ] {
        let metadata = fs::metadata(data_dir.join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
