//! `evidence.postgres`: the database that many instances share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Document, Section};
use super::values::{self, Secret};

/// How to reach Postgres, and how many connections to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Servers of which one is the primary, now or after a failover.
    pub hosts: Vec<Endpoint>,
    pub database: String,
    pub user: String,
    pub password: Option<Secret>,
    pub ssl_mode: SslMode,
    /// Certificates the server is checked against, besides the public ones.
    pub ssl_root_cert: Option<PathBuf>,
    /// To one server at most, the one that watches it included.
    pub max_open_conns: u32,
    /// Kept open while nobody uses them.
    pub max_idle_conns: u32,
    pub conn_max_lifetime: Duration,
    /// Standbys that queries of evidence may go to.
    pub read_replica_hosts: Vec<Endpoint>,
    /// A standby further behind is not asked.
    pub max_replica_lag: Duration,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// As libpq defines them: whether to encrypt, and what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// Encrypt only when the server insists.
    Allow,
    /// Encrypt when the server can.
    Prefer,
    /// Encrypt, with whatever certificate; with `ssl_root_cert` as `verify-ca`.
    Require,
    /// The certificate must come from a known authority.
    VerifyCa,
    /// And name the host.
    VerifyFull,
}

/// Reads the section; `None` when it does not name a host, or is faulty.
pub(super) fn read(document: &mut Document<'_>, evidence: &mut Section) -> Written {
    let mut s = document.section(evidence, "postgres");
    let hosts = document.values(&mut s, "host", host);
    let port = document.value(&mut s, "port", "5432", values::port);
    let database = document.value(&mut s, "database", "mercator_evidence", word);
    let user = document.value(&mut s, "user", "mercator", word);
    let password = document.value(&mut s, "password", "", password);
    let ssl_mode = document.value(&mut s, "ssl_mode", "require", ssl_mode);
    let root_cert = document.value(&mut s, "ssl_root_cert", "", values::optional(values::path));
    let max_open = document.value(&mut s, "max_open_conns", "50", max_open_conns);
    let max_idle = document.value(&mut s, "max_idle_conns", "10", max_idle_conns);
    let lifetime = document.value(&mut s, "conn_max_lifetime", "1h", values::duration);
    let replicas = document.values(&mut s, "read_replica_hosts", host);
    let max_lag = document.value(&mut s, "max_replica_lag", "10s", values::duration);
    document.finish(&s);
    let config = (|| {
        let port = port?;
        let endpoints = |hosts: Vec<Host>| {
            let endpoints = hosts.into_iter().map(|host| Endpoint {
                host: host.host,
                port: host.port.unwrap_or(port),
            });
            endpoints.collect()
        };
        Some(PostgresConfig {
            hosts: endpoints(hosts?),
            database: database?,
            user: user?,
            password: password?,
            ssl_mode: ssl_mode?,
            ssl_root_cert: root_cert?,
            max_open_conns: max_open?,
            max_idle_conns: max_idle?,
            conn_max_lifetime: lifetime?,
            read_replica_hosts: endpoints(replicas?),
            max_replica_lag: max_lag?,
        })
    })();
    Written { section: s, config }
}

/// What the section says, before it is known whether it counts.
pub(super) struct Written {
    section: Section,
    config: Option<PostgresConfig>,
}

impl Written {
    /// The section of a configuration that uses Postgres.
    pub(super) fn needed(self, document: &mut Document<'_>) -> Option<PostgresConfig> {
        let config = self.config?;
        if config.hosts.is_empty() {
            let message = "`evidence.backend: postgres` needs this key".to_owned();
            document.fault(&self.section, "host", message);
            return None;
        }
        Some(config)
    }
}

struct Host {
    host: String,
    port: Option<u16>,
}

/// `db-1.example.com`, `10.0.0.1:5433`, `[::1]:5433`, `/run/postgresql`.
fn host(text: &str) -> Result<Host, String> {
    let wrong = || {
        format!(
            "`{text}` is not a host such as `db.example.com`, `10.0.0.1:5433`, `[::1]:5433` or `/run/postgresql`"
        )
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            // An address with more colons than one is one of IPv6 without its port.
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(wrong());
    }
    Ok(Host {
        host: host.to_owned(),
        port: port.map(values::port).transpose()?,
    })
}

fn word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
        return Err(format!("`{text}` is not a name of Postgres"));
    }
    Ok(text.to_owned())
}

/// Any text; empty means: none.
fn password(text: &str) -> Result<Option<Secret>, String> {
    if text.contains('\0') {
        return Err("a password has no NUL".to_owned());
    }
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}

fn max_open_conns(text: &str) -> Result<u32, String> {
    // One watches the server, one works.
    values::integer(text, 2, 10_000).map(|value| value as u32)
}

fn max_idle_conns(text: &str) -> Result<u32, String> {
    values::integer(text, 0, 10_000).map(|value| value as u32)
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    values::choice(
        text,
        &[
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EvidenceBackend};

    fn parse(text: &str) -> Result<PostgresConfig, String> {
        let env = |name: &str| (name == "DB_PASSWORD").then(|| "pa ss$word".to_owned());
        let config = Config::parse(text, "f", &env).map_err(|error| error.to_string())?;
        match config.evidence.backend {
            EvidenceBackend::Postgres(postgres) => Ok(postgres),
            EvidenceBackend::Sqlite => Err("sqlite".to_owned()),
        }
    }

    /// The guide's "Primary configuration" and "Read replicas", word for word.
    #[test]
    fn seeds_configuration_is_read_completely() {
        let config = parse(
            "
evidence:
  backend: postgres
  postgres:
    host: postgres-primary.example.com
    port: 5432
    database: mercator_evidence
    user: mercator
    password: \"${DB_PASSWORD}\"
    ssl_mode: require
    max_open_conns: 50
    max_idle_conns: 10
    conn_max_lifetime: \"1h\"
    read_replica_hosts:
      - postgres-replica-1.example.com
      - postgres-replica-2.example.com
",
        )
        .unwrap();
        let endpoint = |host: &str| Endpoint {
            host: host.to_owned(),
            port: 5432,
        };
        assert_eq!(config.hosts, [endpoint("postgres-primary.example.com")]);
        assert_eq!(config.database, "mercator_evidence");
        assert_eq!(config.user, "mercator");
        assert_eq!(config.password.as_ref().unwrap().expose(), "pa ss$word");
        assert_eq!(config.ssl_mode, SslMode::Require);
        assert_eq!((config.max_open_conns, config.max_idle_conns), (50, 10));
        assert_eq!(config.conn_max_lifetime, Duration::from_secs(3600));
        let replicas = [1, 2].map(|n| endpoint(&format!("postgres-replica-{n}.example.com")));
        assert_eq!(config.read_replica_hosts, replicas);
        assert!(!format!("{config:?}").contains("pa ss"));
    }

    #[test]
    fn several_hosts_are_a_list_or_separated_by_commas() {
        for hosts in [
            "[db-1, '10.0.0.1:5433', '[::1]:5434', /run/postgresql]",
            "'db-1, 10.0.0.1:5433,[::1]:5434,/run/postgresql'",
        ] {
            let text =
                format!("evidence: {{backend: postgres, postgres: {{host: {hosts}, port: 6000}}}}");
            let hosts = parse(&text).unwrap().hosts;
            let shown: Vec<String> = hosts.iter().map(Endpoint::to_string).collect();
            assert_eq!(
                shown,
                [
                    "db-1:6000",
                    "10.0.0.1:5433",
                    "[::1]:5434",
                    "/run/postgresql:6000"
                ]
            );
        }
    }

    #[test]
    fn every_mode_of_libpq_is_known() {
        for (name, mode) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            let text =
                format!("evidence: {{backend: postgres, postgres: {{host: h, ssl_mode: {name}}}}}");
            assert_eq!(parse(&text).unwrap().ssl_mode, mode);
        }
    }

    #[test]
    fn section_alone_does_not_choose_the_backend_and_is_checked_all_the_same() {
        assert_eq!(
            parse("evidence: {postgres: {host: h}}").unwrap_err(),
            "sqlite"
        );
        let refusal = parse("evidence: {postgres: {ssl_mode: on}}").unwrap_err();
        assert!(
            refusal.contains("`evidence.postgres.ssl_mode`"),
            "{refusal}"
        );
    }

    #[test]
    fn faults_are_named_and_no_password_is_told() {
        for (line, expected) in [
            (
                "port: 5432",
                "`evidence.postgres.host`: `evidence.backend: postgres` needs this key",
            ),
            ("host: h, port: 0", "`evidence.postgres.port`"),
            (
                "host: 'a b'",
                "`evidence.postgres.host`: `a b` is not a host",
            ),
            (
                "host: {}",
                "`evidence.postgres.host`: a value or a list of values is expected",
            ),
            (
                "host: h, ssl_mode: verify",
                "`evidence.postgres.ssl_mode`: `verify` is not known here",
            ),
            (
                "host: h, max_open_conns: 1",
                "`1` is not a whole number from 2 to 10000",
            ),
            (
                "host: h, conn_max_lifetime: 1",
                "`evidence.postgres.conn_max_lifetime`",
            ),
            (
                "host: h, read_replica_hosts: ['h:x']",
                "`evidence.postgres.read_replica_hosts`",
            ),
            ("host: h, passwrd: hunter2", "did you mean `password`?"),
            ("host: h, password: \"hunter2\\0\"", "a password has no NUL"),
            (
                "host: h, password: [hunter2]",
                "`evidence.postgres.password`: a single value is expected",
            ),
        ] {
            let text = format!("evidence: {{backend: postgres, postgres: {{{line}}}}}");
            let refusal = parse(&text).unwrap_err();
            assert!(refusal.contains(expected), "{line}: {refusal}");
            assert!(!refusal.contains("hunter2"), "{line}: {refusal}");
        }
    }
}
