//! Connections to one server at a time, which may become another one.
//!
//! Differs from the driver's own pool where failing over needs it: it can be
//! sent to another server, whereupon nothing of the old one is used again; a
//! connection whose call did not go well, or was given up, is closed at once
//! instead of being tested, because a frozen server would never answer the
//! test; and it keeps no more idle connections than it was told.

use sqlx::{Connection, PgConnection};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::connect::{Connector, Use};
use crate::config::Endpoint;
use crate::store::StoreError;

/// A server that refuses may be starting: how soon it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connector: Arc<Connector>,
    purpose: Use,
    max_open: u32,
    target: watch::Sender<Option<Target>>,
    idle: Mutex<Vec<Idle>>,
    room: Arc<Semaphore>,
    /// Calls that wait for another's connection.
    waiting: AtomicUsize,
}

/// Where connections go; a new generation has nothing to do with those before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    endpoint: Endpoint,
    generation: u64,
}

#[derive(Debug)]
struct Idle {
    conn: PgConnection,
    opened: Instant,
    generation: u64,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) in_use: usize,
    pub(super) idle: usize,
    pub(super) max: usize,
}

/// Counts for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::AcqRel);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The server changed while it was at work.
#[derive(Debug, thiserror::Error)]
#[error("another server became the primary meanwhile")]
struct Moved;

impl Pool {
    /// Goes nowhere yet.
    pub(super) fn new(connector: Arc<Connector>, purpose: Use) -> Pool {
        // One connection watches the server.
        let max_open = connector.config().max_open_conns.saturating_sub(1).max(1);
        let inner = Inner {
            connector,
            purpose,
            max_open,
            target: watch::Sender::new(None),
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(max_open as usize)),
            waiting: AtomicUsize::new(0),
        };
        Pool {
            inner: Arc::new(inner),
        }
    }

    /// From now on connections go to `endpoint`, newly opened. What is at work
    /// elsewhere is given up.
    pub(super) fn go_to(&self, endpoint: &Endpoint) {
        self.inner.target.send_modify(|target| {
            let generation = target.as_ref().map_or(0, |target| target.generation);
            *target = Some(Target {
                endpoint: endpoint.clone(),
                generation: generation + 1,
            });
        });
        self.inner.lock_idle().clear();
    }

    /// A connection for one call, and what watches over that call. Waits for a
    /// server to go to, and for one that is starting, until `deadline`.
    pub(super) async fn lease(&self, deadline: Instant) -> Result<(Lease, Watch), StoreError> {
        let room = Arc::clone(&self.inner.room).acquire_owned();
        let waiting = Waiting::new(&self.inner.waiting);
        let permit = timeout_at(deadline, room).await;
        drop(waiting);
        let permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => return Err(StoreError::TimedOut(super::TIMEOUT)),
        };
        let mut targets = self.inner.target.subscribe();
        let mut failure = StoreError::TimedOut(super::TIMEOUT);
        loop {
            let target = targets.borrow_and_update().clone();
            if let Some(target) = target {
                let opening = self.inner.idle_or_new(&target);
                tokio::select! {
                    opened = timeout_at(deadline, opening) => match opened {
                        Ok(Ok((conn, opened))) => {
                            let lease = Lease {
                                conn,
                                opened,
                                generation: target.generation,
                                pool: Arc::clone(&self.inner),
                                permit,
                            };
                            let generation = target.generation;
                            return Ok((lease, Watch { targets, generation, deadline }));
                        }
                        Ok(Err(error)) => failure = error.into(),
                        Err(_) => return Err(StoreError::TimedOut(super::TIMEOUT)),
                    },
                    Ok(()) = targets.changed() => continue,
                }
            }
            tokio::select! {
                () = sleep_until(deadline) => return Err(failure),
                () = sleep(ASK_AGAIN) => {}
                Ok(()) = targets.changed() => {}
            }
        }
    }

    pub(super) fn connections(&self) -> Connections {
        let max = self.inner.max_open as usize;
        Connections {
            in_use: max.saturating_sub(self.inner.room.available_permits()),
            idle: self.inner.lock_idle().len(),
            max,
        }
    }

    /// Closes idle connections that are too old or too many.
    pub(super) fn tidy(&self) {
        let most = self.inner.max_idle();
        let mut idle = self.inner.lock_idle();
        let mut kept = 0;
        let closed: Vec<Idle> = idle
            .extract_if(.., |idle| {
                let keep = kept < most && !self.inner.is_old(idle.opened);
                kept += usize::from(keep);
                !keep
            })
            .collect();
        drop(idle);
        for idle in closed {
            tokio::spawn(timeout(GOODBYE, idle.conn.close()));
        }
    }

    /// Hands out nothing more, and closes what is idle.
    pub(super) async fn close(&self) {
        self.inner.room.close();
        let idle = std::mem::take(&mut *self.inner.lock_idle());
        for idle in idle {
            // It is closed either way.
            let _ = timeout(GOODBYE, idle.conn.close()).await;
        }
    }
}

impl Inner {
    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn max_idle(&self) -> usize {
        self.connector.config().max_idle_conns as usize
    }

    fn is_old(&self, opened: Instant) -> bool {
        opened.elapsed() >= self.connector.config().conn_max_lifetime
    }

    async fn idle_or_new(&self, target: &Target) -> Result<(PgConnection, Instant), sqlx::Error> {
        while let Some(idle) = self.pop_idle() {
            if idle.generation == target.generation && !self.is_old(idle.opened) {
                return Ok((idle.conn, idle.opened));
            }
            // Before another is opened, or there could be too many.
            let _ = timeout(GOODBYE, idle.conn.close()).await;
        }
        let conn = self
            .connector
            .connect(&target.endpoint, self.purpose)
            .await?;
        Ok((conn, Instant::now()))
    }

    fn pop_idle(&self) -> Option<Idle> {
        self.lock_idle().pop()
    }

    fn current_generation(&self) -> Option<u64> {
        self.target
            .borrow()
            .as_ref()
            .map(|target| target.generation)
    }
}

/// A connection in use. Dropped, it is closed without a word to the server.
#[derive(Debug)]
pub(super) struct Lease {
    conn: PgConnection,
    opened: Instant,
    generation: u64,
    pool: Arc<Inner>,
    permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Gives the connection back when all went well.
    pub(super) fn finish<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            self.give_back();
        }
        result
    }

    fn give_back(self) {
        let pool = self.pool;
        let wanted = pool.current_generation() == Some(self.generation)
            && !pool.is_old(self.opened)
            && !pool.room.is_closed();
        // Somebody who waits takes it over at once.
        let awaited = pool.waiting.load(Ordering::Acquire) > 0;
        let mut idle = pool.lock_idle();
        if wanted && (awaited || idle.len() < pool.max_idle()) {
            idle.push(Idle {
                conn: self.conn,
                opened: self.opened,
                generation: self.generation,
            });
            return;
        }
        let (conn, permit) = (self.conn, self.permit);
        tokio::spawn(async move {
            let _ = timeout(GOODBYE, conn.close()).await;
            drop(permit);
        });
    }
}

/// Watches over one call.
#[derive(Debug)]
pub(super) struct Watch {
    targets: watch::Receiver<Option<Target>>,
    generation: u64,
    deadline: Instant,
}

impl Watch {
    /// Does the work until it is done, time is up, or its server is no longer
    /// the one to talk to. The server is not asked to cancel anything: it
    /// would confirm commits that no standby has.
    pub(super) async fn over<T, E: From<StoreError>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let deadline = self.deadline;
        tokio::select! {
            result = work => result,
            () = self.moved() => Err(StoreError::Unavailable(Arc::new(Moved)).into()),
            () = sleep_until(deadline) => Err(StoreError::TimedOut(super::TIMEOUT).into()),
        }
    }

    async fn moved(&mut self) {
        let generation = self.generation;
        let other = |target: &Option<Target>| {
            target
                .as_ref()
                .is_some_and(|target| target.generation != generation)
        };
        if self.targets.wait_for(other).await.is_err() {
            // The pool is gone; what is under way may end.
            std::future::pending::<()>().await;
        }
    }
}
