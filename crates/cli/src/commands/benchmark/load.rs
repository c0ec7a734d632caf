//! Sends requests when they are due, whatever the answers do.
//!
//! Open loop: each request has its time, and how long it took is counted from
//! then, not from when it could be sent. `concurrency` connections take what is
//! due in turn; while all are busy it waits, without memory: only its number is
//! known. What waited for the length of the timeout is not sent, and counted. Closed loop,
//! without a rate: each connection sends as soon as it has its answer. Nothing
//! is sent twice. Runs on a runtime of one thread; the states it shares are
//! never held across a wait.

use super::answer::{self, Class, Outcome};
use super::line::Dialer;
use super::plan::Plan;
use super::tally::Tally;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// A closed loop would knock at a closed door thousands of times a second.
const AFTER_NO_CONNECTION: Duration = Duration::from_millis(50);

type Line = SendRequest<Full<Bytes>>;

/// What a run has come to.
#[derive(Debug)]
pub struct Ran {
    pub tally: Tally,
    /// From the start to the last end.
    pub elapsed: Duration,
    /// Stopped before its time, with so many requests under way.
    pub interrupted: Option<usize>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub elapsed: Duration,
    pub answered: u64,
    pub denied: u64,
    pub errors: u64,
    pub under_way: usize,
    /// Of all answers so far, in milliseconds.
    pub p99: f64,
}

/// Runs the plan; the error is that of a target no connection could be made to.
pub async fn run(
    plan: Plan,
    dialer: Dialer,
    stop: CancellationToken,
    mut tell: impl FnMut(&Progress),
) -> io::Result<Ran> {
    let lines = open(&dialer, plan.concurrency).await?;
    let shared = Arc::new(Shared {
        tally: Mutex::new(Tally::new(plan.duration)),
        start: Instant::now(),
        next: AtomicU64::new(0),
        busy: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        due: Notify::new(),
        plan,
        dialer,
    });
    let mut workers = JoinSet::new();
    for line in lines {
        workers.spawn(work(Arc::clone(&shared), line));
    }
    let pacer = shared.plan.total().map(|total| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || pace(&shared, total))
    });
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut interrupted = None;
    loop {
        tokio::select! {
            ended = workers.join_next() => if ended.is_none() { break },
            _ = ticks.tick() => tell(&shared.progress()),
            () = stop.cancelled() => {
                interrupted = Some(shared.busy.load(Ordering::Relaxed));
                break;
            }
        }
    }
    workers.shutdown().await;
    if let Some(pacer) = pacer {
        shared.over.store(true, Ordering::Release);
        pacer.thread().unpark();
        // It only counts and calls: there is no panic to be heard of.
        let _ = pacer.join();
    }
    let elapsed = shared.start.elapsed();
    let mut tally = std::mem::replace(&mut *shared.tally(), Tally::new(Duration::ZERO));
    tally.finish(elapsed);
    Ok(Ran {
        tally,
        elapsed,
        interrupted,
    })
}

/// All connections before the clock starts, so that no latency counts them.
async fn open(dialer: &Dialer, count: usize) -> io::Result<Vec<Option<Line>>> {
    let mut dials = JoinSet::new();
    for _ in 0..count {
        let dialer = dialer.clone();
        dials.spawn(async move { dialer.dial().await });
    }
    let mut lines = Vec::with_capacity(count);
    let mut failed = None;
    while let Some(dialed) = dials.join_next().await {
        match dialed.map_err(io::Error::other).and_then(|line| line) {
            Ok(line) => lines.push(Some(line)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if lines.is_empty() => Err(error),
        // The others are tried again when their turn comes.
        _ => {
            lines.resize_with(count, || None);
            Ok(lines)
        }
    }
}

struct Shared {
    plan: Plan,
    dialer: Dialer,
    start: Instant,
    /// The first request that nobody took.
    next: AtomicU64,
    /// Connections with a request under way.
    busy: AtomicUsize,
    /// Nothing more is to be sent.
    over: AtomicBool,
    /// Wakes an idle connection.
    due: Notify,
    tally: Mutex<Tally>,
}

/// One request to be made.
#[derive(Debug, Clone, Copy)]
struct Turn {
    number: u64,
    due: Instant,
}

enum Next {
    Turn(Turn),
    NotYet,
    Over,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> Progress {
        let elapsed = self.start.elapsed();
        let mut tally = self.tally();
        tally.cut(elapsed);
        Progress {
            elapsed,
            answered: tally.count(Class::Answered),
            denied: tally.count(Class::Denied),
            errors: tally.errors(),
            under_way: self.busy.load(Ordering::Relaxed),
            p99: tally.answered.at(99.0),
        }
    }

    async fn turn(&self) -> Option<Turn> {
        loop {
            // Made before the look: the last call of all is not missed in between.
            let called = self.due.notified();
            match self.take() {
                Next::Turn(turn) => return Some(turn),
                Next::Over => return None,
                Next::NotYet => called.await,
            }
        }
    }

    fn take(&self) -> Next {
        let now = Instant::now();
        let Some(total) = self.plan.total() else {
            if now.duration_since(self.start) >= self.plan.duration {
                return Next::Over;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return Next::Turn(Turn { number, due: now });
        };
        loop {
            let number = self.next.load(Ordering::Relaxed);
            if number >= total {
                return Next::Over;
            }
            let due = self.start + self.plan.due(number);
            if due > now {
                return Next::NotYet;
            }
            self.next.store(number + 1, Ordering::Relaxed);
            let waited = now.duration_since(due);
            if waited < self.plan.timeout {
                return Next::Turn(Turn { number, due });
            }
            let not_sent = Outcome::of(Class::NotSent);
            let at = now.duration_since(self.start);
            self.tally().end(&not_sent, at, waited, None);
        }
    }

    fn begin(&self, turn: Turn) {
        let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        let all_busy = busy >= self.plan.concurrency;
        self.tally().send(turn.due.elapsed(), all_busy);
    }

    fn end(&self, turn: Turn, mut outcome: Outcome) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        outcome.class = match (outcome.class, self.plan.to_be_refused(turn.number)) {
            (Class::Answered, true) => Class::LetThrough,
            (Class::Denied, false) => Class::DeniedWrongly,
            (class, _) => class,
        };
        let first = outcome.first_token;
        self.tally().end(
            &outcome,
            self.start.elapsed(),
            turn.due.elapsed(),
            first.map(|first| first.saturating_duration_since(turn.due)),
        );
    }
}

/// Wakes idle connections when requests are due. A thread of its own, because
/// tokio's timers count whole milliseconds: a server that answers in 200 µs
/// would look as if it took one.
fn pace(shared: &Shared, total: u64) {
    let mut called = 0;
    while !shared.over.load(Ordering::Acquire) {
        // Those who had just ended another took theirs without being called.
        called = shared.next.load(Ordering::Relaxed).max(called);
        if called >= total {
            break;
        }
        let due = shared.start + shared.plan.due(called);
        let rest = due.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            shared.due.notify_one();
            called += 1;
        } else {
            std::thread::park_timeout(rest);
        }
    }
    // Nothing more will be due: those who still wait may go.
    shared.due.notify_waiters();
}

async fn work(shared: Arc<Shared>, mut line: Option<Line>) {
    while let Some(turn) = shared.turn().await {
        shared.begin(turn);
        let in_time = tokio::time::timeout(shared.plan.timeout, exchange(&shared, &mut line, turn));
        // Out of time, its connection goes with it: the answer may still come.
        let outcome = in_time
            .await
            .unwrap_or_else(|_| Outcome::of(Class::Timeout));
        let no_connection = outcome.class == Class::Connect;
        shared.end(turn, outcome);
        if no_connection && shared.plan.rate.is_none() {
            tokio::time::sleep(AFTER_NO_CONNECTION).await;
        }
    }
}

async fn exchange(shared: &Shared, line: &mut Option<Line>, turn: Turn) -> Outcome {
    let mut request = shared.plan.request(turn.number);
    loop {
        let kept = match line.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let (mut open, fresh) = match kept {
            Some(kept) => (kept, false),
            None => match shared.dialer.dial().await {
                Ok(dialed) => (dialed, true),
                Err(_) => return Outcome::of(Class::Connect),
            },
        };
        match open.try_send_request(request).await {
            Ok(response) => {
                let plan = &shared.plan;
                let gap = |gap| shared.tally().gaps.record(gap);
                let id = match plan.keep_decision_ids {
                    true => answer::decision_id(&response),
                    false => None,
                };
                let mut outcome = answer::read(response, plan.api, plan.stream, gap).await;
                outcome.decision_id = id;
                *line = Some(open);
                return outcome;
            }
            Err(mut error) => match error.take_message() {
                // Closed while it was idle, and not a byte went out: this is no retry.
                Some(unsent) if !fresh => request = unsent,
                _ => return Outcome::of(answer::class_of(error.error())),
            },
        }
    }
}
