//! Opens connections, as the configuration says and as promises need them.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection, Row};
use std::time::Duration;

use crate::config::{Endpoint, PostgresConfig, SslMode};

/// A server that takes longer is as good as gone.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Anything, on a server that takes writes.
    Primary,
    /// Reading, on any server.
    Any,
}

/// Opens connections to any of the servers.
#[derive(Debug)]
pub(super) struct Connector {
    config: PostgresConfig,
    application: String,
}

/// The server is not what the connection is for.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby and takes no writes")]
struct NotPrimary;

impl Connector {
    pub(super) fn new(config: PostgresConfig, instance: &str) -> Connector {
        Connector {
            config,
            application: format!("mercator {instance}"),
        }
    }

    pub(super) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Connects and prepares the session. Never waits longer than
    /// [`CONNECT_TIMEOUT`] for each way that `ssl_mode` allows.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        purpose: Use,
    ) -> Result<PgConnection, sqlx::Error> {
        let (first, second) = self.modes();
        let opened = match (self.open(endpoint, first).await, second) {
            (Err(_), Some(second)) => self.open(endpoint, second).await,
            (opened, _) => opened,
        };
        let mut conn = opened?;
        let standby = within(prepare(&mut conn)).await?;
        match standby && purpose == Use::Primary {
            true => Err(sqlx::Error::Configuration(Box::new(NotPrimary))),
            false => Ok(conn),
        }
    }

    /// The driver knows neither `allow` nor that `prefer` tries again without
    /// encryption when encryption fails.
    fn modes(&self) -> (PgSslMode, Option<PgSslMode>) {
        match (self.config.ssl_mode, &self.config.ssl_root_cert) {
            (SslMode::Disable, _) => (PgSslMode::Disable, None),
            (SslMode::Allow, _) => (PgSslMode::Disable, Some(PgSslMode::Require)),
            (SslMode::Prefer, _) => (PgSslMode::Prefer, Some(PgSslMode::Disable)),
            (SslMode::Require, None) => (PgSslMode::Require, None),
            (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => (PgSslMode::VerifyCa, None),
            (SslMode::VerifyFull, _) => (PgSslMode::VerifyFull, None),
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        mode: PgSslMode,
    ) -> Result<PgConnection, sqlx::Error> {
        let config = &self.config;
        let mut options = PgConnectOptions::new()
            .host(&endpoint.host)
            .port(endpoint.port)
            .database(&config.database)
            .username(&config.user)
            .application_name(&self.application)
            .ssl_mode(mode);
        if let Some(password) = &config.password {
            options = options.password(password.expose());
        }
        if let Some(certificate) = &config.ssl_root_cert {
            options = options.ssl_root_cert(certificate);
        }
        within(options.connect()).await
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Whether the server is a standby. A commit of ours is acknowledged when it is
/// as safe as the server's configuration can make it, whatever the role's
/// settings say; and the server must not cancel one that waits for its standby,
/// because it would then say `COMMIT` all the same. Calls end by our own clock.
async fn prepare(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "SELECT pg_is_in_recovery() AS standby,
            set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                WHEN 'off' THEN 'on' WHEN 'local' THEN 'on'
                ELSE current_setting('synchronous_commit') END, false),
            set_config('statement_timeout', '0', false),
            set_config('lock_timeout', '0', false)",
    )
    .fetch_one(conn)
    .await?;
    row.try_get("standby")
}
