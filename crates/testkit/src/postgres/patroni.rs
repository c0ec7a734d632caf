//! A cluster that manages itself: Patroni on etcd, three servers.
//!
//! Patroni promotes, demotes and rejoins; a test kills nodes, which take their
//! Patroni along, and asks which one leads. A commit waits for a synchronous
//! standby. Programs are those of Debian's packages `patroni` and `etcd-server`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jupiter_installation::postgres::{self as server, DATABASE, Owner, evidence_lines};
use jupiter_installation::{Program, Signal, children_of, on_path, signal};
use tempfile::TempDir;

use super::{PASSWORD, access};
use crate::places::free_port;
use crate::wait::{self, OrFail, fail};

/// Patroni and its server.
#[derive(Debug)]
struct Node {
    name: String,
    port: u16,
    rest: u16,
    config: PathBuf,
    data: PathBuf,
    patroni: Option<Program>,
}

/// Three of them, and what they agree by.
#[derive(Debug)]
pub struct PatroniCluster {
    nodes: Vec<Node>,
    owner: Owner,
    http: reqwest::Client,
    logs: usize,
    _etcd: Program,
    folder: TempDir,
}

impl PatroniCluster {
    pub async fn start() -> PatroniCluster {
        let owner = Owner::find().or_fail("Postgres");
        let folder = tempfile::Builder::new()
            .prefix("jupiter-patroni-")
            .tempdir()
            .or_fail("cannot make a folder for Patroni");
        owner.own(folder.path()).or_fail("Postgres");
        let (client, peer) = (free_port(), free_port());
        let etcd = etcd(folder.path(), client, peer);
        let nodes = (0..3).map(|number| {
            let name = format!("n{number}");
            let node = Node {
                port: free_port(),
                rest: free_port(),
                config: folder.path().join(format!("{name}.yaml")),
                data: folder.path().join(&name),
                patroni: None,
                name,
            };
            fs::write(&node.config, config(&node, client)).or_fail("cannot write a configuration");
            node
        });
        let nodes = nodes.collect();
        let mut cluster = PatroniCluster {
            nodes,
            owner,
            http: crate::instance::client(),
            logs: 0,
            _etcd: etcd,
            folder,
        };
        for number in 0..3 {
            cluster.start_node(number);
        }
        let leader = cluster.wait_for_leader(None).await;
        let port = cluster.node(leader).port;
        wait::until("the leader to answer", async || {
            server::psql(access(port), "postgres", "SELECT 1")
        })
        .await;
        server::create_role(access(port)).or_fail("cannot make the tests' role");
        server::create_database(access(port), DATABASE).or_fail("cannot make a database");
        cluster.wait_for_standbys(leader).await;
        cluster
    }

    /// The lines of an instance's `evidence` section.
    pub fn evidence_lines(&self) -> [String; 2] {
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        evidence_lines(&ports, DATABASE, PASSWORD)
    }

    /// Starts a node that does not run.
    pub fn start_node(&mut self, number: usize) {
        self.logs += 1;
        let log = self.folder.path().join(format!("log-{}", self.logs));
        let node = self.node(number);
        let mut command = self.owner.command(&program("patroni"));
        command.arg(&node.config);
        let patroni = Program::start(&format!("patroni {}", node.name), command, log)
            .or_fail("cannot start Patroni");
        let node = self.nodes.get_mut(number).or_fail("no such node");
        node.patroni = Some(patroni);
    }

    /// SIGKILL to Patroni and its server, as when the machine is lost.
    pub fn kill_node(&mut self, number: usize) {
        let node = self.nodes.get_mut(number).or_fail("no such node");
        let patroni = node.patroni.take().or_fail("the node does not run");
        patroni.kill();
        kill_server(&node.data);
    }

    /// SIGKILL to the server alone: its Patroni is there to notice.
    pub fn kill_server(&self, number: usize) {
        kill_server(&self.node(number).data);
    }

    /// SIGSTOP to Patroni and its server.
    pub fn freeze_node(&self, number: usize) {
        self.signal_node(number, Signal::STOP);
    }

    pub fn thaw_node(&self, number: usize) {
        self.signal_node(number, Signal::CONT);
    }

    fn signal_node(&self, number: usize, kind: Signal) {
        let node = self.node(number);
        let patroni = node.patroni.as_ref().or_fail("the node does not run");
        signal(patroni.pid(), kind);
        for pid in server_of(&node.data) {
            signal(pid, kind);
        }
    }

    /// Asks Patroni to hand over, as an operator does.
    pub async fn switch_over(&self, leader: usize) {
        let node = self.node(leader);
        let body = serde_json::json!({"leader": node.name}).to_string();
        let url = format!("http://127.0.0.1:{}/switchover", node.rest);
        let asked = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        let answer = asked.send().await.or_fail("Patroni does not answer");
        if !answer.status().is_success() {
            fail(&format!(
                "Patroni refused to switch over: {}",
                answer.status()
            ));
        }
    }

    /// The node that leads, and is not `but`.
    pub async fn wait_for_leader(&self, but: Option<usize>) -> usize {
        // A leader's lease is 20 s.
        wait::until_within(wait::PATIENCE * 3, "a leader", async || {
            for number in 0..self.nodes.len() {
                if Some(number) != but && self.leads(number).await {
                    return Ok(number);
                }
            }
            Err("none")
        })
        .await
    }

    async fn leads(&self, number: usize) -> bool {
        let url = format!("http://127.0.0.1:{}/primary", self.node(number).rest);
        let asked = self.http.get(url).timeout(wait::PATIENCE / 30);
        asked
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
    }

    /// Until both others stream, one of them synchronously: `/replica` says yes
    /// before that, and killing the leader then loses data. Patroni must have noted which
    /// one, too: no other may lead after it, and none before that is noted.
    pub async fn wait_for_standbys(&self, leader: usize) {
        wait::until_within(wait::PATIENCE * 3, "both standbys to stream", async || {
            let sql = "SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) \
                       FROM pg_stat_replication WHERE state = 'streaming'";
            match self.sql(leader, sql)?.as_str() {
                "2|1" | "2|2" => {}
                other => return Err(other.to_owned()),
            }
            let roles = self.roles(leader).await;
            match roles.iter().any(|role| role == "sync_standby") {
                true => Ok(()),
                false => Err(format!("{roles:?}")),
            }
        })
        .await;
    }

    /// What each node is, as Patroni has noted it.
    async fn roles(&self, number: usize) -> Vec<String> {
        let url = format!("http://127.0.0.1:{}/cluster", self.node(number).rest);
        let asked = self.http.get(url).timeout(wait::PATIENCE / 30).send().await;
        let Ok(answer) = asked else { return vec![] };
        let cluster: serde_json::Value = answer.json().await.unwrap_or_default();
        let members = cluster.get("members").and_then(|it| it.as_array());
        let members = members.into_iter().flatten();
        let roles = members.filter_map(|member| member.get("role")?.as_str());
        roles.map(str::to_owned).collect()
    }

    /// Asks one server as the superuser.
    pub fn sql(&self, number: usize, sql: &str) -> Result<String, String> {
        let port = self.node(number).port;
        server::psql(access(port), DATABASE, sql).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn node(&self, number: usize) -> &Node {
        self.nodes.get(number).or_fail("no such node")
    }
}

impl Drop for PatroniCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // First the one that would start the other again.
            if let Some(patroni) = node.patroni.take() {
                if std::thread::panicking() {
                    let log = fs::read_to_string(patroni.log()).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    eprintln!("==== {}", patroni.name());
                    let last = lines.len().saturating_sub(30);
                    lines.iter().skip(last).for_each(|line| eprintln!("{line}"));
                }
                drop(patroni);
            }
            kill_server(&node.data);
        }
    }
}

fn kill_server(data: &Path) {
    for pid in server_of(data) {
        signal(pid, Signal::KILL);
    }
}

/// The postmaster and its children.
fn server_of(data: &Path) -> Vec<u32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let postmaster = text.lines().next().and_then(|pid| pid.trim().parse().ok());
    let Some(postmaster) = postmaster else {
        return Vec::new();
    };
    let mut all = vec![postmaster];
    all.extend(children_of(postmaster));
    all
}

fn program(name: &str) -> PathBuf {
    on_path(name, &[]).or_fail(&format!(
        "no `{name}` here (Debian: `apt-get install patroni etcd-server python3-etcd`)"
    ))
}

fn etcd(folder: &Path, client: u16, peer: u16) -> Program {
    let mut command = Command::new(program("etcd"));
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &url(client)])
        .args(["--advertise-client-urls", &url(client)])
        .args(["--listen-peer-urls", &url(peer)])
        .args(["--initial-advertise-peer-urls", &url(peer)])
        .args(["--initial-cluster", &format!("default={}", url(peer))]);
    Program::start("etcd", command, folder.join("etcd.log")).or_fail("cannot start etcd")
}

/// The lease and its rounds are the shortest that Patroni's documentation allows. A copy
/// of the leader asks for a checkpoint at once: one that takes its time takes minutes.
fn config(node: &Node, etcd: u16) -> String {
    let Node {
        name,
        port,
        rest,
        data,
        ..
    } = node;
    format!(
        "scope: jupiter
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: ['127.0.0.1:{etcd}']}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{wal_keep_size: 256MB, wal_log_hints: 'on', max_connections: 200}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}]
postgresql:
  listen: '127.0.0.1:{port}'
  connect_address: '127.0.0.1:{port}'
  data_dir: {data}
  pgpass: {data}.pgpass
  bin_dir: {programs}
  basebackup: {{checkpoint: fast}}
  authentication:
    superuser: {{username: postgres, password: postgres}}
    replication: {{username: replicator, password: replicator}}
    rewind: {{username: postgres, password: postgres}}
  pg_hba:
    - host all postgres 127.0.0.1/32 trust
    - host replication replicator 127.0.0.1/32 trust
    - host all all 127.0.0.1/32 scram-sha-256
  parameters: {{unix_socket_directories: '', shared_buffers: 64MB}}
",
        data = data.display(),
        programs = server::programs().or_fail("Postgres").display(),
    )
}
