//! A real HAProxy with a configuration that is shipped.
//!
//! The file is used as it is; only addresses and ports become those of the
//! test's instances, and servers that the test does not have are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::instance::{Instance, client};
use crate::ports::free_port;
use crate::process::{Program, project_root};
use crate::traffic::Traffic;
use crate::wait::{self, OrFail, fail};

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
    if let Some(named) = std::env::var_os("TESTKIT_HAPROXY") {
        return PathBuf::from(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Where Debian puts it, which is on root's PATH alone.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("haproxy"))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            fail(
                "no HAProxy here: `scripts/setup.sh test` installs it or says how \
                 (Debian: `apt-get install haproxy`), or set TESTKIT_HAPROXY",
            )
        })
}

/// What HAProxy knows of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `UP`, `DOWN`, `DRAIN (agent)`, `NOLB`.
    pub status: String,
    /// Requests it was sent.
    pub sessions: u64,
}

/// A running HAProxy before some instances; killed when dropped.
#[derive(Debug)]
pub struct HaProxy {
    program: Program,
    http: reqwest::Client,
    port: u16,
    metrics: u16,
    socket: PathBuf,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it, and waits until it holds every instance to be up.
    pub async fn start(shipped: Shipped, instances: &[&Instance]) -> HaProxy {
        let folder = tempfile::Builder::new()
            .prefix("jupiter-haproxy-")
            .tempdir()
            .or_fail("cannot make a folder for HAProxy");
        let (port, metrics) = (free_port(), free_port());
        let text = fs::read_to_string(shipped.file()).or_fail("no shipped configuration");
        let config = folder.path().join("haproxy.cfg");
        let placed = placed(&text, port, metrics, instances);
        fs::write(&config, placed).or_fail("cannot write the configuration");
        let socket = folder.path().join("socket");
        let looks = folder.path().join("looks.cfg");
        let text = format!("global\n    stats socket {}\n", socket.display());
        fs::write(&looks, text).or_fail("cannot write the configuration");
        let mut command = Command::new(haproxy_binary());
        command
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .arg("-f")
            .arg(&looks);
        let program = Program::start("haproxy", command, folder.path().join("haproxy.log"));
        let mut haproxy = HaProxy {
            program,
            http: client(),
            port,
            metrics,
            socket,
            _folder: folder,
        };
        wait::until("HAProxy to hold all servers to be up", async || {
            if let Some(status) = haproxy.program.ended() {
                fail(&format!("HAProxy ended: {status}\n{}", haproxy.log()));
            }
            let servers = haproxy.try_servers()?;
            let up = |server: &Server| server.status == "UP" || server.status == "no check";
            match servers.len() >= instances.len() && servers.values().all(up) {
                true => Ok(()),
                false => Err(format!("{servers:?}")),
            }
        })
        .await;
        haproxy
    }

    /// A client of the instances through it.
    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.port)
    }

    /// The seed's frontend `metrics`, or the hardened one's metrics of HAProxy itself.
    pub fn metrics(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.metrics)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> String {
        let log = fs::read(self.program.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The servers of `mercator_backend`.
    pub fn servers(&self) -> BTreeMap<String, Server> {
        self.try_servers().or_fail("HAProxy tells nothing")
    }

    #[track_caller]
    pub fn server(&self, name: &str) -> Server {
        self.servers().remove(name).or_fail("no such server")
    }

    /// Wait until a server's status begins so.
    pub async fn wait_for(&self, server: &str, status: &str) {
        wait::until(&format!("{server} to be {status}"), async || {
            let server = self.server(server);
            match server.status.starts_with(status) {
                true => Ok(()),
                false => Err(server),
            }
        })
        .await;
    }

    /// Wait until a server is sent nothing new, and is not taken for dead: by
    /// the word of its agent or of its health check, whichever comes first.
    pub async fn wait_until_drained(&self, server: &str) {
        wait::until(&format!("{server} to be drained"), async || {
            let server = self.server(server);
            let drained = ["DRAIN", "NOLB"];
            match drained.iter().any(|word| server.status.starts_with(word)) {
                true => Ok(()),
                false => Err(server),
            }
        })
        .await;
    }

    /// A line of `show info`.
    #[track_caller]
    pub fn info(&self, key: &str) -> String {
        let text = self.ask("show info\n").or_fail("HAProxy tells nothing");
        let start = format!("{key}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.or_fail("no such key").to_owned()
    }

    fn try_servers(&self) -> Result<BTreeMap<String, Server>, String> {
        let text = self.ask("show stat\n")?;
        Ok(text.lines().filter_map(server).collect())
    }

    fn ask(&self, command: &str) -> Result<String, String> {
        let mut socket = UnixStream::connect(&self.socket).map_err(|e| e.to_string())?;
        socket
            .write_all(command.as_bytes())
            .map_err(|e| e.to_string())?;
        let mut text = String::new();
        socket
            .read_to_string(&mut text)
            .map_err(|e| e.to_string())?;
        Ok(text)
    }
}

/// A line of `show stat`.
fn server(line: &str) -> Option<(String, Server)> {
    let fields: Vec<&str> = line.split(',').collect();
    let (proxy, name) = (*fields.first()?, *fields.get(1)?);
    if proxy != "mercator_backend" || name == "BACKEND" {
        return None;
    }
    let server = Server {
        sessions: fields.get(7)?.parse().ok()?,
        status: (*fields.get(17)?).to_owned(),
    };
    Some((name.to_owned(), server))
}

/// The shipped text with the test's addresses and ports.
fn placed(text: &str, port: u16, metrics: u16, instances: &[&Instance]) -> String {
    let mut placed = String::new();
    for line in text.lines() {
        let Some(number) = line.trim().strip_prefix("server jupiter") else {
            let line = line
                .replace("*:80", &format!("127.0.0.1:{port}"))
                // Of the whole machine, as ports are.
                .replace("abns@mercator", &format!("abns@mercator-{port}"))
                .replace("*:9090", &format!("127.0.0.1:{metrics}"))
                .replace("127.0.0.1:8404", &format!("127.0.0.1:{metrics}"))
                .replace(" agent-port 8082", "");
            let _ = writeln!(placed, "{line}");
            continue;
        };
        let number = number.split_once(' ').map(|(number, _)| number);
        let number: usize = number
            .and_then(|number| number.parse().ok())
            .or_fail("a server without a number");
        let Some(instance) = instances.get(number - 1) else {
            continue;
        };
        let address = format!("10.0.1.{}", 9 + number);
        let line = line
            .replace(
                &format!("{address}:8080"),
                &format!("127.0.0.1:{}", instance.traffic().port()),
            )
            .replace(
                &format!("{address}:9090"),
                &format!("127.0.0.1:{}", instance.metrics_port()),
            )
            .replace(
                &format!("agent-addr {address}"),
                &format!("agent-addr 127.0.0.1 agent-port {}", instance.agent_port()),
            );
        let _ = writeln!(placed, "{line}");
    }
    placed
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
