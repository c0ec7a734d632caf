//! A real HAProxy with a configuration that is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jupiter_installation::{self as installation, Ports, Server};
use tempfile::TempDir;

use crate::instance::{Instance, client};
use crate::places::project_root;
use crate::traffic::Traffic;
use crate::wait::OrFail;

/// Which file of `envoy/haproxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// `seed.cfg`.
    Seed,
    /// `haproxy.cfg`.
    Hardened,
}

impl Shipped {
    pub fn file(self) -> PathBuf {
        let name = match self {
            Shipped::Seed => "seed.cfg",
            Shipped::Hardened => "haproxy.cfg",
        };
        project_root().join("envoy/haproxy").join(name)
    }
}

/// The HAProxy that tests run: `TESTKIT_HAPROXY`, else that of the system.
pub fn haproxy_binary() -> PathBuf {
    match std::env::var_os("TESTKIT_HAPROXY") {
        Some(named) => PathBuf::from(named),
        None => installation::haproxy_binary().or_fail("no HAProxy, and no TESTKIT_HAPROXY"),
    }
}

/// A running HAProxy before some instances; killed when dropped.
#[derive(Debug)]
pub struct HaProxy {
    haproxy: installation::HaProxy,
    http: reqwest::Client,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it, and waits until it holds every instance to be up.
    pub async fn start(shipped: Shipped, instances: &[&Instance]) -> HaProxy {
        let folder = tempfile::Builder::new()
            .prefix("jupiter-haproxy-")
            .tempdir()
            .or_fail("cannot make a folder for HAProxy");
        let text = fs::read_to_string(shipped.file()).or_fail("no shipped configuration");
        let ports: Vec<Ports> = instances.iter().map(|instance| instance.ports()).collect();
        let started =
            installation::HaProxy::start(&haproxy_binary(), folder.path(), &text, &ports).await;
        HaProxy {
            haproxy: started.or_fail("HAProxy"),
            http: client(),
            _folder: folder,
        }
    }

    /// A client of the instances through it.
    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.haproxy.port())
    }

    /// The seed's frontend `metrics`, or the hardened one's metrics of HAProxy itself.
    pub fn metrics(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.haproxy.metrics_port())
    }

    pub fn port(&self) -> u16 {
        self.haproxy.port()
    }

    pub fn log(&self) -> String {
        let log = fs::read(self.haproxy.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The servers of `mercator_backend`.
    pub fn servers(&self) -> BTreeMap<String, Server> {
        self.haproxy.servers().or_fail("HAProxy tells nothing")
    }

    #[track_caller]
    pub fn server(&self, name: &str) -> Server {
        self.servers().remove(name).or_fail("no such server")
    }

    /// Wait until a server's status begins so.
    pub async fn wait_for(&self, server: &str, status: &str) {
        let begins = |server: &Server| server.status.starts_with(status);
        let waited = self.haproxy.wait_for(server, status, begins).await;
        waited.or_fail("HAProxy");
    }

    /// Wait until a server is sent nothing new, and is not taken for dead.
    pub async fn wait_until_drained(&self, server: &str) {
        let waited = self.haproxy.wait_for(server, "drained", Server::is_drained);
        waited.await.or_fail("HAProxy");
    }

    /// A line of `show info`.
    #[track_caller]
    pub fn info(&self, key: &str) -> String {
        let told = self.haproxy.ask("show info\n");
        let text = told.or_fail("HAProxy tells nothing");
        let start = format!("{key}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.or_fail("no such key").to_owned()
    }
}

/// What HAProxy says of a configuration: `Err` when it would not start with it.
pub fn check_haproxy_config(file: &Path) -> Result<String, String> {
    let checked = Command::new(haproxy_binary())
        .args(["-c", "-f"])
        .arg(file)
        .output()
        .or_fail("HAProxy cannot be run");
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    match checked.status.success() {
        true => Ok(told),
        false => Err(told),
    }
}
