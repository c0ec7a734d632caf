//! Where Postgres is, as whom it runs, and how one is set up.

use super::USER;
use crate::InstallationError;
use crate::process::on_path;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the newest server's programs.
pub fn programs() -> Result<PathBuf, InstallationError> {
    if let Some(folder) = std::env::var_os("MERCATOR_POSTGRES_BIN") {
        return Ok(PathBuf::from(folder));
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
    let elsewhere = || Some(on_path("postgres", &[])?.parent()?.to_owned());
    newest
        .map(|folder| folder.join("bin"))
        .or_else(elsewhere)
        .ok_or(InstallationError::Missing {
            program: "postgres",
            help: "Debian: `apt-get install postgresql`; or name the folder of its programs by \
                   MERCATOR_POSTGRES_BIN; in a checkout `scripts/setup.sh test` installs it or says how",
        })
}

/// Whom Postgres runs as when we are root; nobody else when we are not.
#[derive(Debug, Clone, Copy)]
pub struct Owner(Option<(u32, u32)>);

impl Owner {
    pub fn find() -> Result<Owner, InstallationError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Owner(None));
        }
        let passwd = Path::new("/etc/passwd");
        let users = fs::read_to_string(passwd).map_err(InstallationError::file("read", passwd))?;
        let ids = |user: &str| {
            let line = users
                .lines()
                .find(|line| line.starts_with(&format!("{user}:")))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let ids = ids("postgres").or_else(|| ids("nobody"));
        Ok(Owner(Some(ids.ok_or(InstallationError::NoUser)?)))
    }

    /// Of a program of Postgres, in a language of its own.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.take(&mut command);
        command
    }

    pub fn take(self, command: &mut Command) {
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

    /// Whether it can go into a folder: those above may be closed to it.
    pub fn enters(self, folder: &Path) -> bool {
        let mut looks = self.command(Path::new("test"));
        looks.arg("-x").arg(folder);
        run(looks).is_ok()
    }

    pub fn own(self, path: &Path) -> Result<(), InstallationError> {
        match self.0 {
            Some((user, group)) => chown(path, Some(user), Some(group))
                .map_err(InstallationError::file("give away", path)),
            None => Ok(()),
        }
    }
}

/// Runs a program to its end, which must be a good one; what it printed.
pub fn run(mut command: Command) -> Result<String, InstallationError> {
    let output = command.output();
    judged(&command, output)
}

/// The same, while others go on.
pub(super) async fn run_aside(command: Command) -> Result<String, InstallationError> {
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await;
    judged(command.as_std(), output)
}

fn judged(command: &Command, output: std::io::Result<Output>) -> Result<String, InstallationError> {
    let program = || command.get_program().display().to_string();
    let output = output.map_err(|cause| InstallationError::Start {
        program: program(),
        cause,
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()),
        false => Err(InstallationError::Failed {
            program: program(),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

/// What every server is told. Programs are killed, not machines: what the kernel
/// has is safe.
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

/// Nobody on this machine comes in without the password.
const RULES: &str = "
host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
";

/// Makes an empty server in `data`, whose folder is the owner's.
pub fn init(
    owner: Owner,
    data: &Path,
    password: &str,
    settings: &str,
) -> Result<(), InstallationError> {
    let secret = data.with_extension("password");
    let written = fs::write(&secret, "")
        .and_then(|()| fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::write(&secret, format!("{password}\n")));
    written.map_err(InstallationError::file("write", &secret))?;
    owner.own(&secret)?;
    let mut initdb = owner.command(&programs()?.join("initdb"));
    initdb.args(["--username=postgres", "--auth=scram-sha-256"]);
    initdb.args([
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        "--no-instructions",
        "--pwfile",
    ]);
    initdb.arg(&secret).arg("--pgdata").arg(data);
    run(initdb)?;
    fs::remove_file(&secret).map_err(InstallationError::file("remove", &secret))?;
    append(&data.join("postgresql.conf"), SETTINGS)?;
    append(&data.join("postgresql.conf"), settings)?;
    let rules = data.join("pg_hba.conf");
    fs::write(&rules, RULES).map_err(InstallationError::file("write", &rules))
}

pub fn append(file: &Path, text: &str) -> Result<(), InstallationError> {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, before + text).map_err(InstallationError::file("write", file))
}

/// A server, for its superuser.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pub port: u16,
    pub password: &'a str,
}

impl Access<'_> {
    fn command(self, database: &str, sql: &str) -> Result<Command, InstallationError> {
        let mut psql = Owner(None).command(&programs()?.join("psql"));
        psql.env("PGCONNECT_TIMEOUT", "2")
            .env("PGPASSWORD", self.password)
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "postgres", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        Ok(psql)
    }

    /// Asks while others go on.
    pub(super) async fn ask(self, database: &str, sql: &str) -> Result<String, InstallationError> {
        run_aside(self.command(database, sql)?).await
    }
}

/// Asks as the superuser; rows as lines.
pub fn psql(access: Access<'_>, database: &str, sql: &str) -> Result<String, InstallationError> {
    run(access.command(database, sql)?)
}

/// Makes [`USER`], who has the superuser's password.
pub fn create_role(access: Access<'_>) -> Result<(), InstallationError> {
    let password = access.password;
    let sql = format!("CREATE ROLE {USER} LOGIN PASSWORD '{password}'");
    psql(access, "postgres", &sql).map(drop)
}

pub fn create_database(access: Access<'_>, name: &str) -> Result<(), InstallationError> {
    let sql = format!("CREATE DATABASE {name} OWNER {USER}");
    psql(access, "postgres", &sql).map(drop)
}
