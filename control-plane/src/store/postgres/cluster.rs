//! Follows the primary, and knows how far the replicas are.
//!
//! Every configured server is asked each [`PROBE_EVERY`] what it is. Of those
//! that take writes the one with the highest timeline is the primary: a
//! promotion begins a new timeline, so an old primary that wakes up is never
//! followed again. What must fence it off for everyone is the database's own
//! synchronous replication: docs/guides/postgres.md.

use sqlx::{PgConnection, Row};
use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Connector, Use};
use super::instruments::Instruments;
use super::pool::Pool;
use crate::config::Endpoint;
use crate::store::{ServerRole, ServerState};

const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A server that takes longer counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);

/// What is remembered of the primary's progress: as long as lags are told apart.
const HISTORY: Duration = Duration::from_secs(60);

/// A position in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lsn(pub(super) u64);

/// What a server was, when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// Not asked yet.
    Unseen,
    Primary {
        timeline: u32,
        written: Lsn,
    },
    Standby {
        replayed: Lsn,
    },
    /// It did not answer, for this reason.
    Away(String),
}

/// Whom writes go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Followed {
    server: usize,
    timeline: u32,
}

/// The servers, as seen from here.
#[derive(Debug)]
pub(super) struct Cluster {
    connector: Arc<Connector>,
    /// Candidates for the primary first, then replicas that are not among them.
    servers: Vec<Endpoint>,
    pub(super) primary: Pool,
    pub(super) replicas: Vec<Replica>,
    state: Mutex<State>,
    /// Counts rounds of sights, for those who wait for a change.
    seen: watch::Sender<u64>,
    pub(super) instruments: Instruments,
    probers: Mutex<JoinSet<()>>,
}

/// A server that queries may go to.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) pool: Pool,
    server: usize,
}

#[derive(Debug)]
struct State {
    sights: Vec<Sight>,
    followed: Option<Followed>,
    /// When the primary had written how far, oldest first.
    progress: VecDeque<(Instant, Lsn)>,
}

impl Cluster {
    /// Begins to watch the servers.
    pub(super) fn start(connector: Arc<Connector>) -> Arc<Cluster> {
        let config = connector.config();
        let mut servers: Vec<Endpoint> = Vec::new();
        for endpoint in config.hosts.iter().chain(&config.read_replica_hosts) {
            if !servers.contains(endpoint) {
                servers.push(endpoint.clone());
            }
        }
        let replicas = config.read_replica_hosts.iter().filter_map(|endpoint| {
            Some(Replica {
                pool: Pool::new(Arc::clone(&connector), Use::Any),
                server: servers.iter().position(|server| server == endpoint)?,
            })
        });
        let cluster = Arc::new(Cluster {
            primary: Pool::new(Arc::clone(&connector), Use::Primary),
            replicas: replicas.collect(),
            state: Mutex::new(State {
                sights: vec![Sight::Unseen; servers.len()],
                followed: None,
                progress: VecDeque::new(),
            }),
            seen: watch::Sender::new(0),
            instruments: Instruments::default(),
            probers: Mutex::default(),
            connector,
            servers,
        });
        let mut probers = cluster
            .probers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for server in 0..cluster.servers.len() {
            probers.spawn(Arc::clone(&cluster).watch(server));
        }
        drop(probers);
        cluster
    }

    /// Returns when there is a primary; after `patience`, with what was seen instead.
    pub(super) async fn wait_for_primary(&self, patience: Duration) -> Result<(), NoPrimary> {
        let mut seen = self.seen.subscribe();
        let found = async {
            loop {
                let verdict = self.lock().verdict();
                match verdict {
                    Verdict::Writable => return Ok(()),
                    // Waiting would not help.
                    Verdict::Refused => return Err(self.no_primary()),
                    Verdict::None => {}
                }
                if seen.changed().await.is_err() {
                    return Err(self.no_primary());
                }
            }
        };
        match timeout(patience, found).await {
            Ok(found) => found,
            Err(_) => Err(self.no_primary()),
        }
    }

    fn no_primary(&self) -> NoPrimary {
        let state = self.lock();
        let servers = self.servers.iter().zip(&state.sights);
        NoPrimary(
            servers
                .map(|(endpoint, sight)| format!("{endpoint} {sight}"))
                .collect(),
        )
    }

    /// Replicas that are not too far behind, the least used first, with how far
    /// they were when last asked.
    pub(super) fn readable(&self) -> Vec<(&Replica, Lsn)> {
        let bound = self.connector.config().max_replica_lag;
        let state = self.lock();
        let mut readable: Vec<_> = self
            .replicas
            .iter()
            .filter_map(|replica| match state.sights.get(replica.server) {
                Some(Sight::Standby { replayed }) => {
                    (state.lag(*replayed, Instant::now())? <= bound).then_some((replica, *replayed))
                }
                _ => None,
            })
            .collect();
        drop(state);
        readable.sort_by_key(|(replica, _)| replica.pool.connections().in_use);
        readable
    }

    /// Until it is seen again, the replica is not asked.
    pub(super) fn distrust(&self, replica: &Replica) {
        if let Some(sight) = self.lock().sights.get_mut(replica.server) {
            *sight = Sight::Away("a query failed".to_owned());
        }
    }

    pub(super) fn servers(&self) -> Vec<ServerState> {
        let state = self.lock();
        let servers = self.servers.iter().enumerate();
        servers
            .map(|(server, endpoint)| ServerState {
                host: endpoint.to_string(),
                role: state.role(server),
                lag: state.lag_of(server),
            })
            .collect()
    }

    pub(super) async fn close(&self) {
        let mut probers =
            std::mem::take(&mut *self.probers.lock().unwrap_or_else(PoisonError::into_inner));
        probers.shutdown().await;
        self.primary.close().await;
        for replica in &self.replicas {
            replica.pool.close().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one server again and again, over one connection as long as it holds.
    async fn watch(self: Arc<Self>, server: usize) {
        let Some(endpoint) = self.servers.get(server) else {
            return;
        };
        let mut conn = None;
        loop {
            let sight = match self.look(endpoint, &mut conn).await {
                Ok(sight) => sight,
                Err(error) => Sight::Away(reason(&error)),
            };
            self.saw(server, sight);
            self.primary.tidy();
            for replica in &self.replicas {
                replica.pool.tidy();
            }
            sleep(PROBE_EVERY).await;
        }
    }

    /// Keeps the connection only while it answers: whatever else may still come
    /// over it belongs to an earlier question.
    async fn look(
        &self,
        endpoint: &Endpoint,
        conn: &mut Option<PgConnection>,
    ) -> Result<Sight, sqlx::Error> {
        let mut open = match conn.take() {
            Some(open) => open,
            None => self.connector.connect(endpoint, Use::Any).await?,
        };
        match timeout(PROBE_TIMEOUT, ask(&mut open)).await {
            Ok(sight) => {
                let sight = sight?;
                *conn = Some(open);
                Ok(sight)
            }
            Err(_) => Ok(Sight::Away("does not answer".to_owned())),
        }
    }

    /// Takes note, and follows whom the sights make the primary. All under one
    /// lock: of two sights at a time, the later one must have the last word.
    fn saw(&self, server: usize, sight: Sight) {
        let mut state = self.lock();
        let change = state.saw(server, sight, Instant::now());
        self.show(&state);
        if let Some(replica) = self.replicas.iter().find(|r| r.server == server)
            && change.came_back
            && let Some(endpoint) = self.servers.get(server)
        {
            replica.pool.go_to(endpoint);
        }
        if let Some(followed) = change.follow
            && let Some(endpoint) = self.servers.get(followed.server)
        {
            self.primary.go_to(endpoint);
            if change.failover {
                self.instruments.failovers.inc();
            }
            tracing::info!(server = %endpoint, timeline = followed.timeline, "following the primary");
        }
        drop(state);
        self.seen.send_modify(|rounds| *rounds += 1);
    }

    fn show(&self, state: &State) {
        for (server, endpoint) in self.servers.iter().enumerate() {
            self.instruments.server(
                &endpoint.to_string(),
                state.role(server),
                state.lag_of(server),
            );
        }
        let replicas = self.replicas.iter().filter_map(|replica| {
            Some((self.servers.get(replica.server)?.to_string(), &replica.pool))
        });
        let primary = ("primary".to_owned(), &self.primary);
        for (name, pool) in std::iter::once(primary).chain(replicas) {
            self.instruments.pool(&name, pool.connections());
        }
    }
}

/// What it means that a server was seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Whom to follow from now on.
    follow: Option<Followed>,
    /// Somebody else was followed before.
    failover: bool,
    /// The server answers (again): connections made before are worth nothing.
    came_back: bool,
}

/// Whether one can begin to work.
enum Verdict {
    Writable,
    /// Every server answers, and says no.
    Refused,
    None,
}

impl State {
    fn saw(&mut self, server: usize, sight: Sight, now: Instant) -> Change {
        let Some(place) = self.sights.get_mut(server) else {
            return Change::default();
        };
        let was_away = matches!(place, Sight::Away(_) | Sight::Unseen);
        let came_back = was_away && !matches!(sight, Sight::Away(_) | Sight::Unseen);
        *place = sight;
        let before = self.followed;
        let chosen = self.choose();
        let mut change = Change {
            came_back,
            ..Change::default()
        };
        if let Some(chosen) = chosen {
            let restarted = came_back && chosen.server == server;
            if before != Some(chosen) || restarted {
                change.follow = Some(chosen);
                change.failover = before.is_some_and(|before| before.server != chosen.server);
                self.followed = Some(chosen);
            }
            if let Some(Sight::Primary { written, .. }) = self.sights.get(chosen.server)
                && chosen.server == server
            {
                self.progress.push_back((now, *written));
                while self
                    .progress
                    .front()
                    .is_some_and(|(at, _)| now.duration_since(*at) > HISTORY)
                {
                    self.progress.pop_front();
                }
            }
        }
        change
    }

    /// The primary, if one is to be seen: nobody whose timeline is behind that
    /// of whom we followed, and at first nobody before all have been asked.
    fn choose(&self) -> Option<Followed> {
        if self.followed.is_none() && self.sights.contains(&Sight::Unseen) {
            return None;
        }
        let least = self.followed.map_or(0, |followed| followed.timeline);
        let candidates = self
            .sights
            .iter()
            .enumerate()
            .filter_map(|(server, sight)| match sight {
                Sight::Primary { timeline, .. } if *timeline >= least => Some(Followed {
                    server,
                    timeline: *timeline,
                }),
                _ => None,
            });
        candidates.max_by_key(|candidate| {
            let known = self.followed.is_some_and(|f| f.server == candidate.server);
            (
                candidate.timeline,
                known,
                std::cmp::Reverse(candidate.server),
            )
        })
    }

    fn role(&self, server: usize) -> ServerRole {
        let followed = self.followed.map(|followed| followed.server);
        match self.sights.get(server) {
            Some(Sight::Primary { .. }) if followed == Some(server) => ServerRole::Primary,
            Some(Sight::Primary { .. }) => ServerRole::FormerPrimary,
            Some(Sight::Standby { .. }) => ServerRole::Standby,
            Some(Sight::Away(_) | Sight::Unseen) | None => ServerRole::Away,
        }
    }

    fn lag_of(&self, server: usize) -> Option<Duration> {
        match self.sights.get(server) {
            Some(Sight::Standby { replayed }) => self.lag(*replayed, Instant::now()),
            _ => None,
        }
    }

    /// How old what a replica shows may be: the time since the primary had
    /// written no more than the replica has replayed.
    fn lag(&self, replayed: Lsn, now: Instant) -> Option<Duration> {
        let mut sights = self.progress.iter().rev();
        let (at, _) = sights.find(|(_, written)| *written <= replayed)?;
        Some(now.duration_since(*at))
    }

    fn verdict(&self) -> Verdict {
        let writable = self.followed.is_some_and(|followed| {
            matches!(
                self.sights.get(followed.server),
                Some(Sight::Primary { .. })
            )
        });
        let refused = |sight: &Sight| matches!(sight, Sight::Away(why) if why.starts_with(REFUSAL));
        match writable {
            true => Verdict::Writable,
            false if self.sights.iter().all(refused) => Verdict::Refused,
            false => Verdict::None,
        }
    }
}

async fn ask(conn: &mut PgConnection) -> Result<Sight, sqlx::Error> {
    let row = sqlx::query(
        "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE
                ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
            END AS timeline,
            (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn() END - '0/0')::bigint AS lsn",
    )
    .fetch_one(conn)
    .await?;
    let timeline: Option<i64> = row.try_get("timeline")?;
    let lsn: Option<i64> = row.try_get("lsn")?;
    let lsn = Lsn(lsn.and_then(|lsn| u64::try_from(lsn).ok()).unwrap_or(0));
    Ok(match timeline {
        Some(timeline) => Sight::Primary {
            timeline: u32::try_from(timeline).unwrap_or(u32::MAX),
            written: lsn,
        },
        None => Sight::Standby { replayed: lsn },
    })
}

/// A refusal that waiting does not change begins so.
const REFUSAL: &str = "refuses us";

/// Why a server did not answer; the driver's texts hold no secrets.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Tls(cause) => format!("{REFUSAL}: TLS: {cause}"),
        // A handshake that fails comes as this.
        sqlx::Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => {
            format!("{REFUSAL}: TLS: {cause}")
        }
        sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
            // Bad authorization; no such database.
            Some("28000" | "28P01" | "3D000") => format!("{REFUSAL}: {}", refusal.message()),
            _ => format!("does not serve: {}", refusal.message()),
        },
        other => format!("cannot be reached: {other}"),
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sight::Unseen => f.write_str("was not asked yet"),
            Sight::Primary { .. } => f.write_str("is a primary of an older timeline"),
            Sight::Standby { .. } => f.write_str("is a standby"),
            Sight::Away(why) => f.write_str(why),
        }
    }
}

/// What was seen instead of a primary, a line for each server.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no server takes writes: {}", .0.join("; "))]
pub struct NoPrimary(Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    fn state(servers: usize) -> State {
        State {
            sights: vec![Sight::Unseen; servers],
            followed: None,
            progress: VecDeque::new(),
        }
    }

    fn primary(timeline: u32, written: u64) -> Sight {
        Sight::Primary {
            timeline,
            written: Lsn(written),
        }
    }

    fn standby(replayed: u64) -> Sight {
        Sight::Standby {
            replayed: Lsn(replayed),
        }
    }

    fn away() -> Sight {
        Sight::Away("gone".to_owned())
    }

    /// Shows the sights one after another; whom each made to be followed.
    fn follow(state: &mut State, sights: Vec<(usize, Sight)>) -> Vec<Option<usize>> {
        let now = Instant::now();
        let sights = sights.into_iter();
        sights
            .map(|(server, sight)| {
                let change = state.saw(server, sight, now);
                change.follow.map(|followed| followed.server)
            })
            .collect()
    }

    #[test]
    fn nobody_is_followed_before_all_were_asked() {
        let mut state = state(3);
        let sights = vec![(1, primary(1, 5)), (0, standby(5)), (2, away())];
        assert_eq!(follow(&mut state, sights), [None, None, Some(1)]);
    }

    #[test]
    fn promotion_is_followed_and_the_old_primary_never_again() {
        let mut state = state(2);
        let sights = vec![
            (0, primary(1, 5)),
            (1, standby(5)),
            (0, away()),
            (1, primary(2, 6)),
            // It wakes up.
            (0, primary(1, 7)),
            (1, away()),
            (0, primary(1, 8)),
            // The same server, restarted: what was connected is not any more.
            (1, primary(2, 9)),
            (1, primary(2, 9)),
        ];
        let followed = follow(&mut state, sights);
        assert_eq!(
            followed,
            [
                None,
                Some(0),
                None,
                Some(1),
                None,
                None,
                None,
                Some(1),
                None
            ]
        );
    }

    #[test]
    fn promotion_in_place_is_followed_too() {
        let mut state = state(1);
        let sights = vec![(0, primary(1, 5)), (0, standby(5)), (0, primary(2, 5))];
        assert_eq!(follow(&mut state, sights), [Some(0), None, Some(0)]);
    }

    #[test]
    fn lag_is_the_time_since_the_primary_had_written_no_more() {
        let mut state = state(2);
        let mut now = Instant::now();
        state.saw(1, standby(0), now);
        for written in [10, 20, 20, 30] {
            state.saw(0, primary(1, written), now);
            now += Duration::from_secs(1);
        }
        let lag = |replayed| state.lag(Lsn(replayed), now).map(|lag| lag.as_secs());
        assert_eq!(lag(30), Some(1));
        assert_eq!(lag(35), Some(1));
        assert_eq!(lag(25), Some(2));
        assert_eq!(lag(20), Some(2));
        assert_eq!(lag(10), Some(4));
        // Further back than anyone remembers.
        assert_eq!(lag(9), None);
    }
}
