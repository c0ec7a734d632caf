//! A primary and standbys, to be killed, frozen, stopped and promoted.

use std::fs;

use jupiter_installation::postgres::{self as installation, DATABASE, Node};
use tempfile::TempDir;

use super::{PASSWORD, USER};
use crate::wait::OrFail;

/// Servers of which one is the primary, and their folder.
#[derive(Debug)]
pub struct PostgresCluster {
    cluster: installation::PostgresCluster,
    _folder: TempDir,
}

impl PostgresCluster {
    /// Starts a primary, number 0, and standbys that follow it; `settings` go
    /// into the configuration of all.
    pub async fn start(standbys: usize, settings: &str) -> PostgresCluster {
        let folder = tempfile::Builder::new()
            .prefix("jupiter-cluster-")
            .tempdir()
            .or_fail("cannot make a folder for Postgres");
        let started =
            installation::PostgresCluster::start(folder.path(), standbys, PASSWORD, settings);
        PostgresCluster {
            cluster: started.await.or_fail("Postgres"),
            _folder: folder,
        }
    }

    #[track_caller]
    pub fn node(&self, number: usize) -> &Node {
        self.cluster.node(number).or_fail("no such node")
    }

    pub fn ports(&self) -> Vec<u16> {
        self.cluster.nodes().iter().map(|node| node.port).collect()
    }

    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// The lines of an instance's `evidence` section.
    pub fn evidence_lines(&self) -> [String; 2] {
        self.cluster.evidence_lines()
    }

    /// Asks one server as the superuser.
    #[track_caller]
    pub fn sql(&self, number: usize, sql: &str) -> String {
        let access = self.cluster.access(number).or_fail("no such node");
        installation::psql(access, DATABASE, sql).or_fail("a query failed")
    }

    /// From now on the tests' role is let in over TLS alone.
    pub fn refuse_plaintext(&self, number: usize) {
        let file = self.node(number).data().join("pg_hba.conf");
        let rules = fs::read_to_string(&file).or_fail("no pg_hba.conf");
        let reject = format!("hostnossl all {USER} all reject\n");
        fs::write(&file, reject + &rules).or_fail("cannot write pg_hba.conf");
        self.sql(number, "SELECT pg_reload_conf()");
    }

    /// SIGKILL: what it had not flushed to the kernel is gone.
    pub async fn kill(&mut self, number: usize) {
        self.cluster.kill(number).await.or_fail("cannot kill");
    }

    /// SIGSTOP to all its processes: sockets stay open, nothing answers.
    pub fn freeze(&self, number: usize) {
        self.cluster.freeze(number).or_fail("cannot freeze");
    }

    pub fn thaw(&self, number: usize) {
        self.cluster.thaw(number).or_fail("cannot thaw");
    }

    /// A fast shutdown: connections are closed, standbys get the rest.
    pub async fn stop(&mut self, number: usize) {
        self.cluster.stop(number).await.or_fail("cannot stop");
    }

    /// Starts a server that was stopped or killed, as what it was.
    pub async fn start_node(&mut self, number: usize) {
        let started = self.cluster.start_node(number).await;
        started.or_fail("cannot start");
    }

    /// Makes the standby that has most of the log the primary, as a cluster
    /// manager would, and has the other standbys follow it; its number.
    pub async fn promote_best(&self, but: usize) -> usize {
        let promoted = self.cluster.promote_best(but).await;
        promoted.or_fail("cannot promote")
    }

    /// Makes a stopped server a standby of the primary, from a fresh copy.
    pub async fn rejoin(&mut self, number: usize, primary: usize) {
        let rejoined = self.cluster.rejoin(number, primary).await;
        rejoined.or_fail("cannot rejoin");
    }

    /// Waits until so many standbys stream from the primary.
    pub async fn wait_for_standbys(&self, primary: usize, number: usize) {
        let waited = self.cluster.wait_for_standbys(primary, number).await;
        waited.or_fail("standbys");
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for program in self.cluster.nodes().iter().filter_map(Node::program) {
            let log = fs::read_to_string(program.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("==== {}", program.name());
            lines.iter().skip(last).for_each(|line| eprintln!("{line}"));
        }
    }
}
