//! A primary and standbys, to be killed, frozen, stopped and promoted.
//!
//! A commit waits for one standby (`ANY 1`), so an acknowledged one survives
//! the primary, and an old primary alone acknowledges nothing.

use super::server::{self, Access, Owner};
use super::{DATABASE, USER};
use crate::process::{Program, Signal, children_of, runs, signal};
use crate::{InstallationError, free_port, wait};
use std::fs;
use std::path::{Path, PathBuf};

/// Servers of which one is the primary.
#[derive(Debug)]
pub struct PostgresCluster {
    nodes: Vec<Node>,
    owner: Owner,
    folder: PathBuf,
    password: String,
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

impl Node {
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// While it runs.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    fn running(&self) -> Result<&Program, InstallationError> {
        let program = self.program.as_ref();
        program.ok_or_else(|| InstallationError::not_running(&self.title()))
    }

    fn take(&mut self) -> Result<Program, InstallationError> {
        let title = self.title();
        let program = self.program.take();
        program.ok_or_else(|| InstallationError::not_running(&title))
    }

    fn title(&self) -> String {
        format!("postgres {}", self.name)
    }
}

impl PostgresCluster {
    /// Starts a primary, number 0, and standbys that follow it, in an empty folder;
    /// `settings` go into the configuration of all. The password holds letters and
    /// digits alone.
    pub async fn start(
        folder: &Path,
        standbys: usize,
        password: &str,
        settings: &str,
    ) -> Result<PostgresCluster, InstallationError> {
        let owner = Owner::find()?;
        owner.own(folder)?;
        let nodes = (0..=standbys).map(|number| {
            Ok(Node {
                port: free_port()?,
                name: format!("n{number}"),
                data: folder.join(format!("n{number}")),
                program: None,
            })
        });
        let mut cluster = PostgresCluster {
            nodes: nodes.collect::<Result<_, InstallationError>>()?,
            owner,
            folder: folder.to_owned(),
            password: password.to_owned(),
            logs: 0,
        };
        let data = cluster.node(0)?.data.clone();
        server::init(owner, &data, password, settings)?;
        cluster.write_own_settings(0, None)?;
        cluster.start_node(0).await?;
        server::create_role(cluster.access(0)?)?;
        server::create_database(cluster.access(0)?, DATABASE)?;
        for number in 1..=standbys {
            cluster.copy_primary(0, number).await?;
            cluster.start_node(number).await?;
        }
        if standbys > 0 {
            cluster.wait_for_standbys(0, standbys).await?;
            cluster.wait_for_commits_to_be_confirmed(0).await?;
        }
        Ok(cluster)
    }

    pub fn node(&self, number: usize) -> Result<&Node, InstallationError> {
        let node = self.nodes.get(number);
        node.ok_or_else(|| InstallationError::not_running(&format!("postgres n{number}")))
    }

    fn node_mut(&mut self, number: usize) -> Result<&mut Node, InstallationError> {
        let node = self.nodes.get_mut(number);
        node.ok_or_else(|| InstallationError::not_running(&format!("postgres n{number}")))
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// For the superuser of one server.
    pub fn access(&self, number: usize) -> Result<Access<'_>, InstallationError> {
        Ok(Access {
            port: self.node(number)?.port,
            password: &self.password,
        })
    }

    /// The lines of an instance's `evidence` section.
    pub fn evidence_lines(&self) -> [String; 2] {
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        evidence_lines(&ports, DATABASE, &self.password)
    }

    /// Asks one server as the superuser.
    async fn ask(&self, number: usize, sql: &str) -> Result<String, InstallationError> {
        self.access(number)?.ask(DATABASE, sql).await
    }

    /// SIGKILL: what it had not flushed to the kernel is gone.
    pub async fn kill(&mut self, number: usize) -> Result<(), InstallationError> {
        let program = self.node_mut(number)?.take()?;
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
        .await
    }

    /// SIGSTOP to all its processes: sockets stay open, nothing answers.
    pub fn freeze(&self, number: usize) -> Result<(), InstallationError> {
        self.signal_all(number, Signal::STOP)
    }

    pub fn thaw(&self, number: usize) -> Result<(), InstallationError> {
        self.signal_all(number, Signal::CONT)
    }

    fn signal_all(&self, number: usize, kind: Signal) -> Result<(), InstallationError> {
        let pid = self.node(number)?.running()?.pid();
        signal(pid, kind);
        for child in children_of(pid) {
            signal(child, kind);
        }
        Ok(())
    }

    /// A fast shutdown: connections are closed, standbys get the rest.
    pub async fn stop(&mut self, number: usize) -> Result<(), InstallationError> {
        let mut program = self.node_mut(number)?.take()?;
        signal(program.pid(), Signal::INT);
        wait::until("Postgres to stop", async || {
            program.ended().map(drop).ok_or("still running")
        })
        .await
    }

    /// Starts a server that was stopped or killed, as what it was.
    pub async fn start_node(&mut self, number: usize) -> Result<(), InstallationError> {
        self.logs += 1;
        let log = self.folder.join(format!("log-{}", self.logs));
        let node = self.node(number)?;
        let mut command = self.owner.command(&server::programs()?.join("postgres"));
        command.arg("-D").arg(&node.data);
        let mut program = Program::start(&node.title(), command, log)?;
        let access = self.access(number)?;
        wait::until("Postgres to answer", async || {
            if let Err(ended) = program.check_alive() {
                return Ok(Err(ended));
            }
            access.ask("postgres", "SELECT 1").await.map(Ok)
        })
        .await??;
        self.node_mut(number)?.program = Some(program);
        Ok(())
    }

    /// Makes the standby that has most of the log the primary, as a cluster
    /// manager would, and has the other standbys follow it; its number.
    pub async fn promote_best(&self, but: usize) -> Result<usize, InstallationError> {
        let sql = "SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::bigint";
        let mut received: Vec<(u64, usize)> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if number != but && node.program.is_some() {
                let bytes = self.ask(number, sql).await?;
                received.push((bytes.parse().unwrap_or_default(), number));
            }
        }
        let best = received.iter().max_by_key(|(bytes, _)| *bytes);
        let (_, best) = *best.ok_or(InstallationError::NoStandby)?;
        self.ask(best, "SELECT pg_promote(true, 30)").await?;
        for (_, other) in received.iter().filter(|(_, number)| *number != best) {
            let conninfo = self.conninfo(*other, best)?;
            let sql = format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'");
            self.ask(*other, &sql).await?;
            self.ask(*other, "SELECT pg_reload_conf()").await?;
        }
        Ok(best)
    }

    /// Makes a stopped server a standby of the primary, from a fresh copy.
    pub async fn rejoin(&mut self, number: usize, primary: usize) -> Result<(), InstallationError> {
        let data = &self.node(number)?.data;
        let removed = tokio::fs::remove_dir_all(data).await;
        removed.map_err(InstallationError::file("remove", data))?;
        self.copy_primary(primary, number).await?;
        self.start_node(number).await
    }

    /// Waits until so many standbys stream from the primary: `/replica` of a
    /// cluster manager says yes before that, and killing then loses data.
    pub async fn wait_for_standbys(
        &self,
        primary: usize,
        number: usize,
    ) -> Result<(), InstallationError> {
        wait::until("standbys to stream", async || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            let seen = self.ask(primary, sql).await.map_err(|e| e.to_string())?;
            match seen.parse::<usize>() {
                Ok(seen) if seen >= number => Ok(()),
                _ => Err(seen),
            }
        })
        .await
    }

    /// Commits are acknowledged when one standby has them, from now on.
    async fn wait_for_commits_to_be_confirmed(
        &self,
        primary: usize,
    ) -> Result<(), InstallationError> {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let names = format!("ANY 1 ({})", names.join(", "));
        for number in 0..self.nodes.len() {
            // Not in the log: each server has to be told.
            let sql = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
            self.ask(number, &sql).await?;
            self.ask(number, "SELECT pg_reload_conf()").await?;
        }
        self.ask(primary, "SELECT pg_reload_conf()").await?;
        Ok(())
    }

    async fn copy_primary(&self, primary: usize, number: usize) -> Result<(), InstallationError> {
        let copy = &self.node(number)?.data;
        let mut backup = self
            .owner
            .command(&server::programs()?.join("pg_basebackup"));
        backup
            .env("PGPASSWORD", &self.password)
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.node(primary)?.port.to_string())
            .args(["-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(copy);
        server::run_aside(backup).await?;
        let mark = copy.join("standby.signal");
        fs::write(&mark, "").map_err(InstallationError::file("write", &mark))?;
        // Written by us, read by the server.
        self.owner.own(&mark)?;
        self.write_own_settings(number, Some(primary))
    }

    fn write_own_settings(
        &self,
        number: usize,
        primary: Option<usize>,
    ) -> Result<(), InstallationError> {
        let node = self.node(number)?;
        let conninfo = match primary {
            Some(primary) => self.conninfo(number, primary)?,
            None => String::new(),
        };
        server::append(
            &node.data.join("postgresql.auto.conf"),
            &format!("port = {}\nprimary_conninfo = '{conninfo}'\n", node.port),
        )
    }

    fn conninfo(&self, standby: usize, primary: usize) -> Result<String, InstallationError> {
        Ok(format!(
            "host=127.0.0.1 port={} user=postgres password={} application_name={}",
            self.node(primary)?.port,
            self.password,
            self.node(standby)?.name
        ))
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        for program in self.nodes.iter_mut().filter_map(|node| node.program.take()) {
            for child in children_of(program.pid()) {
                signal(child, Signal::KILL);
            }
        }
    }
}

/// The lines of an instance's `evidence` section for servers on these ports.
pub fn evidence_lines(ports: &[u16], database: &str, password: &str) -> [String; 2] {
    let hosts: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let hosts = hosts.join(",");
    [
        "backend: postgres".to_owned(),
        format!(
            "postgres: {{host: \"{hosts}\", database: {database}, user: {USER}, \
             password: \"{password}\", ssl_mode: disable}}"
        ),
    ]
}
