//! Where Postgres is, as whom it runs, and how one is set up.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{PASSWORD, USER};
use crate::wait::{OrFail, fail};

/// The folder of the newest server's programs.
pub(super) fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("MERCATOR_POSTGRES_BIN") {
        return PathBuf::from(folder);
    }
    let version = |folder: &Path| -> Option<u32> {
        let name = folder.file_name()?.to_str()?;
        name.split('.').next()?.parse().ok()
    };
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = debian
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join("bin/postgres").is_file())
        .max_by_key(|folder| version(folder));
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("postgres").is_file())
    };
    newest
        .map(|folder| folder.join("bin"))
        .or_else(on_path)
        .or_fail(
            "no Postgres server here: `scripts/setup.sh test` installs it or says how \
             (Debian: `apt-get install postgresql`), or set MERCATOR_POSTGRES_BIN",
        )
}

/// Whom Postgres runs as when we are root; `None` when we are not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner(Option<(u32, u32)>);

impl Owner {
    pub(super) fn find() -> Owner {
        if !rustix::process::geteuid().is_root() {
            return Owner(None);
        }
        let users = fs::read_to_string("/etc/passwd").or_fail("cannot read /etc/passwd");
        let ids = |user: &str| {
            let line = users
                .lines()
                .find(|line| line.starts_with(&format!("{user}:")))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let ids = ids("postgres").or_else(|| ids("nobody"));
        Owner(Some(ids.or_fail(
            "Postgres does not run as root, and there is no user `postgres` or `nobody`",
        )))
    }

    /// Of a program of Postgres, in a language of its own.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.take(&mut command);
        command
    }

    pub(super) fn take(self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        // A folder that it may enter, and nothing of the surrounding shell.
        command.current_dir("/").env("LC_ALL", "C.UTF-8");
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("PG") {
                command.env_remove(key);
            }
        }
    }

    pub(super) fn own(self, path: &Path) {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group)).or_fail("cannot give a folder away");
        }
    }
}

/// Runs a program to its end, which must be a good one; what it printed.
pub(super) fn run(mut command: Command) -> String {
    let done = command.output().or_fail(&format!("cannot run {command:?}"));
    if !done.status.success() {
        fail(&format!(
            "{command:?}: {}\n{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

/// What every server is told. Tests kill programs, not machines: what the
/// kernel has is safe.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = off
wal_level = replica
max_wal_senders = 10
wal_keep_size = 256MB
hot_standby = on
wal_retrieve_retry_interval = 200ms
synchronous_commit = on
log_connections = on
";

/// Who may connect: tests as the superuser, everyone else with a password.
const ACCESS: &str = "
host all         postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all         all      127.0.0.1/32 scram-sha-256
";

/// Makes an empty server in `data`.
pub(super) fn init(owner: Owner, data: &Path, settings: &str) {
    let mut initdb = owner.command(&programs().join("initdb"));
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
    initdb.args([
        "--locale=C.UTF-8",
        "--no-sync",
        "--no-instructions",
        "--pgdata",
    ]);
    initdb.arg(data);
    run(initdb);
    append(&data.join("postgresql.conf"), SETTINGS);
    append(&data.join("postgresql.conf"), settings);
    fs::write(data.join("pg_hba.conf"), ACCESS).or_fail("cannot write pg_hba.conf");
}

pub(super) fn append(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, before + text).or_fail("cannot write a configuration of Postgres");
}

/// Asks as the superuser; rows as lines. `Err` has what `psql` complained of.
pub(super) fn psql(port: u16, database: &str, sql: &str) -> Result<String, String> {
    let mut psql = Owner(None).command(&programs().join("psql"));
    psql.env("PGCONNECT_TIMEOUT", "2");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
    ]);
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-d",
        database,
        "-c",
        sql,
    ]);
    let done = psql.output().or_fail("cannot run psql");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

pub(super) fn create_role(port: u16) {
    let sql = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
    psql(port, "postgres", &sql).or_fail("cannot make the tests' role");
}

pub(super) fn create_database(port: u16, name: &str) {
    let sql = format!("CREATE DATABASE {name} OWNER {USER}");
    psql(port, "postgres", &sql).or_fail("cannot make a database");
}
