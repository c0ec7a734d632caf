//! A real HAProxy with a configuration that is shipped.
//!
//! The text is used as it is; only addresses and ports become those of the
//! instances, and servers that are not there are left out.

use crate::instance::Ports;
use crate::process::{Program, on_path};
use crate::{InstallationError, free_port, wait};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// That of the system.
pub fn haproxy_binary() -> Result<PathBuf, InstallationError> {
    // Where Debian puts it, which is on root's PATH alone.
    on_path("haproxy", &["/usr/sbin"]).ok_or(InstallationError::Missing {
        program: "haproxy",
        help: "Debian: `apt-get install haproxy`; in a checkout `scripts/setup.sh test` installs it or says how",
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

impl Server {
    /// Sent nothing new, and not taken for dead: by the word of its agent or of its
    /// health check, whichever comes first.
    pub fn is_drained(&self) -> bool {
        let drained = ["DRAIN", "NOLB"];
        drained.iter().any(|word| self.status.starts_with(word))
    }
}

/// A running HAProxy before some instances; killed when dropped.
#[derive(Debug)]
pub struct HaProxy {
    program: Program,
    port: u16,
    metrics: u16,
    socket: PathBuf,
}

impl HaProxy {
    /// Starts it in a folder, and waits until it holds every instance to be up.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        shipped: &str,
        instances: &[Ports],
    ) -> Result<HaProxy, InstallationError> {
        let (port, metrics) = (free_port()?, free_port()?);
        let config = folder.join("haproxy.cfg");
        write(&config, &placed(shipped, port, metrics, instances)?)?;
        let socket = folder.join("socket");
        let looks = folder.join("looks.cfg");
        let text = format!("global\n    stats socket {}\n", socket.display());
        write(&looks, &text)?;
        let mut command = Command::new(binary);
        command
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .arg("-f")
            .arg(&looks);
        let program = Program::start("haproxy", command, folder.join("haproxy.log"))?;
        let mut haproxy = HaProxy {
            program,
            port,
            metrics,
            socket,
        };
        haproxy.wait_until_up(instances.len()).await?;
        Ok(haproxy)
    }

    async fn wait_until_up(&mut self, count: usize) -> Result<(), InstallationError> {
        wait::until("HAProxy to hold all servers to be up", async || {
            if let Err(ended) = self.program.check_alive() {
                return Ok(Err(ended));
            }
            let servers = self.servers()?;
            let up = |server: &Server| server.status == "UP" || server.status == "no check";
            match servers.len() >= count && servers.values().all(up) {
                true => Ok(Ok(())),
                false => Err(format!("{servers:?}")),
            }
        })
        .await?
    }

    /// Where clients ask.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The seed's frontend `metrics`, or the hardened one's metrics of HAProxy itself.
    pub fn metrics_port(&self) -> u16 {
        self.metrics
    }

    pub fn log(&self) -> &Path {
        self.program.log()
    }

    /// The servers of `mercator_backend`.
    pub fn servers(&self) -> Result<BTreeMap<String, Server>, String> {
        let text = self.ask("show stat\n")?;
        Ok(text.lines().filter_map(server).collect())
    }

    /// Waits until a server is as `wanted` says.
    pub async fn wait_for(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Server) -> bool,
    ) -> Result<(), InstallationError> {
        wait::until(&format!("{name} to be {what}"), async || {
            let mut servers = self.servers()?;
            match servers.remove(name) {
                Some(server) if wanted(&server) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Says something to it, as an operator does.
    pub fn ask(&self, command: &str) -> Result<String, String> {
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

fn write(file: &Path, text: &str) -> Result<(), InstallationError> {
    fs::write(file, text).map_err(InstallationError::file("write", file))
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

/// The shipped text with addresses and ports of what is here.
fn placed(
    text: &str,
    port: u16,
    metrics: u16,
    instances: &[Ports],
) -> Result<String, InstallationError> {
    let mut placed = String::new();
    for line in text.lines() {
        let Some(server) = line.trim().strip_prefix("server jupiter") else {
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
        let number = server.split(' ').next().unwrap_or_default();
        let number: u16 = number
            .parse()
            .map_err(|_| InstallationError::Unnumbered(format!("jupiter{number}")))?;
        let place = usize::from(number).checked_sub(1);
        let Some(instance) = place.and_then(|place| instances.get(place)) else {
            continue;
        };
        let address = format!("10.0.1.{}", 9 + number);
        let line = line
            .replace(
                &format!("{address}:8080"),
                &format!("127.0.0.1:{}", instance.traffic),
            )
            .replace(
                &format!("{address}:9090"),
                &format!("127.0.0.1:{}", instance.metrics),
            )
            .replace(
                &format!("agent-addr {address}"),
                &format!("agent-addr 127.0.0.1 agent-port {}", instance.agent),
            );
        let _ = writeln!(placed, "{line}");
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_ports_change_and_servers_that_are_not_there_are_left_out() {
        let ports = Ports {
            traffic: 1,
            admin: 2,
            metrics: 3,
            envoy_admin: 4,
            agent: 5,
        };
        let text = "bind *:80\n  server jupiter1 10.0.1.10:8080 agent-addr 10.0.1.10\n  \
                    server jupiter2 10.0.1.11:8080\n  timeout client 660s\n";
        assert_eq!(
            placed(text, 8, 9, &[ports]).unwrap(),
            "bind 127.0.0.1:8\n  server jupiter1 127.0.0.1:1 agent-addr 127.0.0.1 agent-port 5\n  \
             timeout client 660s\n"
        );
        assert!(placed("server jupiterX 1.2.3.4", 8, 9, &[ports]).is_err());
    }
}
