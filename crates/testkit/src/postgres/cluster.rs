//! A primary and standbys, to be killed, frozen, stopped and promoted.
//!
//! A commit waits for one standby (`ANY 1`), so an acknowledged one survives
//! the primary, and an old primary alone acknowledges nothing.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use super::server::{self, Owner};
use super::{PASSWORD, USER};
use crate::ports::free_port;
use crate::process::{Program, signal};
use crate::wait::{self, OrFail, fail};

/// The database that the cluster is about.
pub(super) const DATABASE: &str = "mercator_evidence";

/// Servers of which one is the primary.
#[derive(Debug)]
pub struct PostgresCluster {
    nodes: Vec<Node>,
    owner: Owner,
    folder: TempDir,
    logs: usize,
}

/// One server.
#[derive(Debug)]
pub struct Node {
    pub port: u16,
    name: String,
    data: PathBuf,
    program: Option<Program>,
}

impl PostgresCluster {
    /// Starts a primary, number 0, and standbys that follow it; `settings` go
    /// into the configuration of all.
    pub async fn start(standbys: usize, settings: &str) -> PostgresCluster {
        let owner = Owner::find();
        let folder = tempfile::Builder::new()
            .prefix("jupiter-cluster-")
            .tempdir()
            .or_fail("cannot make a folder for Postgres");
        owner.own(folder.path());
        let nodes = (0..=standbys).map(|number| Node {
            port: free_port(),
            name: format!("n{number}"),
            data: folder.path().join(format!("n{number}")),
            program: None,
        });
        let mut cluster = PostgresCluster {
            nodes: nodes.collect(),
            owner,
            folder,
            logs: 0,
        };
        server::init(owner, &cluster.node(0).data, settings);
        cluster.write_own_settings(0, None);
        cluster.start_node(0).await;
        server::create_role(cluster.node(0).port);
        server::create_database(cluster.node(0).port, DATABASE);
        for number in 1..=standbys {
            cluster.copy_primary(0, number);
            cluster.start_node(number).await;
        }
        if standbys > 0 {
            cluster.wait_for_standbys(0, standbys).await;
            cluster.wait_for_commits_to_be_confirmed(0);
        }
        cluster
    }

    #[track_caller]
    pub fn node(&self, number: usize) -> &Node {
        self.nodes.get(number).or_fail("no such node")
    }

    fn node_mut(&mut self, number: usize) -> &mut Node {
        self.nodes.get_mut(number).or_fail("no such node")
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// The lines of an instance's `evidence` section.
    pub fn evidence_lines(&self) -> [String; 2] {
        evidence_lines(self.nodes.iter().map(|node| node.port))
    }

    /// Asks one server as the superuser.
    #[track_caller]
    pub fn sql(&self, number: usize, sql: &str) -> String {
        server::psql(self.node(number).port, DATABASE, sql).or_fail("a query failed")
    }

    /// From now on the tests' role is let in over TLS alone.
    pub fn refuse_plaintext(&self, number: usize) {
        let file = self.node(number).data.join("pg_hba.conf");
        let rules = fs::read_to_string(&file).or_fail("no pg_hba.conf");
        let reject = format!("hostnossl all {USER} all reject\n");
        fs::write(&file, reject + &rules).or_fail("cannot write pg_hba.conf");
        self.sql(number, "SELECT pg_reload_conf()");
    }

    /// SIGKILL: what it had not flushed to the kernel is gone.
    pub async fn kill(&mut self, number: usize) {
        let node = self.node_mut(number);
        let program = node.program.take().or_fail("the server does not run");
        let children = children_of(program.pid());
        program.kill();
        // They would notice, and hold the port and the shared memory until then.
        for child in &children {
            signal(*child, Signal::KILL);
        }
        wait::until("the killed server to be gone", async || {
            let left = children.iter().filter(|child| runs(**child)).count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// SIGSTOP to all its processes: sockets stay open, nothing answers.
    pub fn freeze(&self, number: usize) {
        self.signal_all(number, Signal::STOP);
    }

    pub fn thaw(&self, number: usize) {
        self.signal_all(number, Signal::CONT);
    }

    fn signal_all(&self, number: usize, kind: Signal) {
        let program = self.node(number).program.as_ref();
        let pid = program.or_fail("the server does not run").pid();
        signal(pid, kind);
        for child in children_of(pid) {
            signal(child, kind);
        }
    }

    /// A fast shutdown: connections are closed, standbys get the rest.
    pub async fn stop(&mut self, number: usize) {
        let node = self.node_mut(number);
        let mut program = node.program.take().or_fail("the server does not run");
        signal(program.pid(), Signal::INT);
        wait::until("Postgres to stop", async || {
            program.ended().ok_or("still running")
        })
        .await;
    }

    /// Starts a server that was stopped or killed, as what it was.
    pub async fn start_node(&mut self, number: usize) {
        self.logs += 1;
        let log = self.folder.path().join(format!("log-{}", self.logs));
        let node = self.node(number);
        let mut command = self.owner.command(&server::programs().join("postgres"));
        command.arg("-D").arg(&node.data);
        let program = Program::start(&format!("postgres {}", node.name), command, log);
        let port = node.port;
        self.node_mut(number).program = Some(program);
        wait::until("Postgres to answer", async || {
            server::psql(port, "postgres", "SELECT 1")
        })
        .await;
    }

    /// Makes the standby that has most of the log the primary, as a cluster
    /// manager would, and has the other standbys follow it; its number.
    pub fn promote_best(&self, but: usize) -> usize {
        let standbys: Vec<usize> = (0..self.nodes.len())
            .filter(|number| *number != but && self.node(*number).program.is_some())
            .collect();
        let received = |number: usize| -> u64 {
            let sql = "SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::bigint";
            self.sql(number, sql).parse().unwrap_or_default()
        };
        let best = standbys
            .iter()
            .copied()
            .max_by_key(|number| received(*number));
        let best = best.or_fail("there is no standby");
        self.sql(best, "SELECT pg_promote(true, 30)");
        let others: Vec<usize> = standbys.into_iter().filter(|n| *n != best).collect();
        for other in &others {
            self.follow(*other, best);
        }
        best
    }

    /// Has a running standby follow another primary.
    pub fn follow(&self, standby: usize, primary: usize) {
        let conninfo = self.conninfo(standby, primary);
        self.sql(
            standby,
            &format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"),
        );
        self.sql(standby, "SELECT pg_reload_conf()");
    }

    /// Makes a stopped server a standby of the primary, from a fresh copy.
    pub async fn rejoin(&mut self, number: usize, primary: usize) {
        let data = self.node(number).data.clone();
        fs::remove_dir_all(&data).or_fail("cannot remove the data of a server");
        self.copy_primary(primary, number);
        self.start_node(number).await;
    }

    /// Waits until so many standbys stream from the primary: `/replica` of a
    /// cluster manager says yes before that, and killing then loses data.
    pub async fn wait_for_standbys(&self, primary: usize, number: usize) {
        wait::until("standbys to stream", async || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            match self.sql(primary, sql).parse::<usize>() {
                Ok(seen) if seen >= number => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Commits are acknowledged when one standby has them, from now on.
    fn wait_for_commits_to_be_confirmed(&self, primary: usize) {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let names = format!("ANY 1 ({})", names.join(", "));
        for number in 0..self.nodes.len() {
            // Not in the log: each server has to be told.
            self.sql(
                number,
                &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"),
            );
            self.sql(number, "SELECT pg_reload_conf()");
        }
        self.sql(primary, "SELECT pg_reload_conf()");
    }

    fn copy_primary(&self, primary: usize, number: usize) {
        let copy = &self.node(number).data;
        let mut backup = self
            .owner
            .command(&server::programs().join("pg_basebackup"));
        backup.args(["-h", "127.0.0.1", "-p"]);
        backup.arg(self.node(primary).port.to_string());
        backup.args([
            "-U",
            "postgres",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-D",
        ]);
        backup.arg(copy);
        server::run(backup);
        fs::write(copy.join("standby.signal"), "").or_fail("cannot make a standby");
        // Written by us, read by the server.
        self.owner.own(&copy.join("standby.signal"));
        self.write_own_settings(number, Some(primary));
    }

    fn write_own_settings(&self, number: usize, primary: Option<usize>) {
        let node = self.node(number);
        let conninfo = primary.map(|primary| self.conninfo(number, primary));
        let conninfo = conninfo.unwrap_or_default();
        server::append(
            &node.data.join("postgresql.auto.conf"),
            &format!("port = {}\nprimary_conninfo = '{conninfo}'\n", node.port),
        );
    }

    fn conninfo(&self, standby: usize, primary: usize) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres application_name={}",
            self.node(primary).port,
            self.node(standby).name
        )
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(program) = node.program.take() {
                if std::thread::panicking() {
                    let log = fs::read_to_string(program.log()).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    let last = lines.len().saturating_sub(40);
                    eprintln!("==== {}", program.name());
                    lines.iter().skip(last).for_each(|line| eprintln!("{line}"));
                }
                for child in children_of(program.pid()) {
                    signal(child, Signal::KILL);
                }
                drop(program);
            }
        }
    }
}

/// The lines of an instance's `evidence` section for servers on these ports.
pub(super) fn evidence_lines(ports: impl Iterator<Item = u16>) -> [String; 2] {
    let hosts: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    let hosts = hosts.join(",");
    [
        "backend: postgres".to_owned(),
        format!(
            "postgres: {{host: \"{hosts}\", database: {DATABASE}, user: {USER}, \
             password: \"{PASSWORD}\", ssl_mode: disable}}"
        ),
    ]
}

/// Whether it is there, and not only waits for its parent to ask how it ended.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}

/// Every process of Postgres leads a group of its own, so they are found by
/// their parent.
pub(super) fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        fail("there is no /proc to find processes in");
    };
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: state, then parent.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = processes.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        (parent_of(pid)? == parent).then_some(pid)
    });
    pids.collect()
}
