//! Reads in Envoy's access log what the filter's own deliveries may have lost.
//!
//! The filter leaves every record in the access log too, where it survives a
//! trap of its VM and Envoy's sudden end. Each line is given to
//! [`crate::ingest`] a little later than the outbox should have: what is new
//! then was recovered. An exchange that Envoy saw and the filter did not record
//! is counted, stored to be listed, and told to the log, without anything a
//! client wrote.
//!
//! The place in the log moves on in the store only after what was read is
//! stored: nothing is skipped by a crash, and what is read twice is stored once.

mod line;
mod tail;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::line::Seen;
use self::tail::{Position, Tail};
use crate::app::App;
use crate::config::Config;
use crate::envoy::admin::EnvoyAdmin;
use crate::envoy::bootstrap::access_log_path;
use crate::ingest::{self, Channel};
use crate::metrics::Metrics;
use crate::store::UnrecordedExchange;

/// The name of our place in the log, in a store that others may share.
fn cursor_name(instance: &str) -> String {
    format!("witness@{instance}")
}

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the outbox has the first turn: some ticks and a retry.
const GRACE: Duration = Duration::from_secs(1);

/// After a failure of the store or the file system.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is held between reading and storing.
const PENDING_BYTES: usize = 8 * 1_048_576;

/// One delivery, well below what `ingest` takes.
const BATCH_BYTES: usize = 1_048_576;
const BATCH_LINES: usize = 2_000;

/// The log is renamed beyond this; one earlier piece is kept until the next.
const LOG_LIMIT_BYTES: u64 = 256 * 1_048_576;

/// How long a stop may take to read the rest.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The task that reads the log.
#[derive(Debug)]
pub struct Witness {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Witness {
    /// Begins where the last one stopped. `admin` lets it rename a long log;
    /// without, whoever runs Envoy does.
    pub fn start(app: App, config: &Config, admin: Option<EnvoyAdmin>) -> Witness {
        let stop = CancellationToken::new();
        let path = access_log_path(config);
        let metrics = WitnessMetrics::register(&app.metrics);
        let task = tokio::spawn(run(
            app,
            config.instance.clone(),
            path,
            admin,
            metrics,
            stop.clone(),
        ));
        Witness { stop, task }
    }

    /// Reads what is left and stops. To be called when Envoy writes no more.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the witness failed");
        }
    }
}

pub(crate) struct WitnessMetrics {
    recovered: Counter,
    unrecorded: Counter,
    unreadable: Counter,
    lag_bytes: Gauge,
}

impl WitnessMetrics {
    pub(crate) fn register(metrics: &Metrics) -> WitnessMetrics {
        let witness = WitnessMetrics {
            recovered: Counter::default(),
            unrecorded: Counter::default(),
            unreadable: Counter::default(),
            lag_bytes: Gauge::default(),
        };
        metrics.register(|r| {
            r.register(
                "evidence_recovered",
                "Records that came only through Envoy's access log",
                witness.recovered.clone(),
            );
            r.register(
                "evidence_unrecorded_exchanges",
                "Exchanges that Envoy saw and the filter did not record",
                witness.unrecorded.clone(),
            );
            r.register(
                "witness_unreadable_lines",
                "Lines of the access log that could not be read",
                witness.unreadable.clone(),
            );
            r.register(
                "witness_lag_bytes",
                "Bytes of the access log not read yet",
                witness.lag_bytes.clone(),
            );
        });
        witness
    }
}

async fn run(
    app: App,
    instance: String,
    path: PathBuf,
    admin: Option<EnvoyAdmin>,
    metrics: WitnessMetrics,
    stop: CancellationToken,
) {
    let Some(position) = stored_position(&app, &cursor_name(&instance), &stop).await else {
        return;
    };
    let mut reader = Reader {
        tail: Tail::resume(&path, position),
        app,
        instance,
        path,
        metrics,
        pending: VecDeque::new(),
        pending_bytes: 0,
        log_limit_bytes: LOG_LIMIT_BYTES,
    };
    loop {
        let pause = match reader.step(GRACE).await {
            Ok(Progress::More) => Duration::ZERO,
            Ok(Progress::UpToDate) => LOOK_EVERY,
            Err(WitnessError) => RETRY_AFTER,
        };
        if let Some(admin) = &admin {
            reader.bound_log(admin).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    let finished = async {
        // Whatever the outbox still had was delivered or is lost: no grace.
        while !matches!(reader.step(Duration::ZERO).await, Ok(Progress::UpToDate)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(FINISH_WITHIN, finished).await.is_err() {
        tracing::warn!("the access log was not read to its end; the next start goes on there");
    }
}

/// The outer `None`: asked to stop before the store could say.
async fn stored_position(
    app: &App,
    cursor: &str,
    stop: &CancellationToken,
) -> Option<Option<Position>> {
    loop {
        match app.store.cursor(cursor).await {
            Ok(text) => return Some(text.as_deref().and_then(Position::parse)),
            Err(error) => tracing::warn!(%error, "the witness does not know where to go on"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
}

/// Something did not work, and was told; it is tried again.
struct WitnessError;

enum Progress {
    More,
    UpToDate,
}

/// A line that was read and not dealt with yet.
struct Pending {
    seen: Seen,
    read_at: Instant,
    /// The place behind it.
    end: Position,
    bytes: usize,
}

struct Reader {
    app: App,
    instance: String,
    path: PathBuf,
    tail: Tail,
    metrics: WitnessMetrics,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    log_limit_bytes: u64,
}

impl Reader {
    /// Reads a little and deals with what has waited for `grace`.
    async fn step(&mut self, grace: Duration) -> Result<Progress, WitnessError> {
        let at_end = self.fill()?;
        let due = self.due(grace);
        if due > 0 {
            self.settle(due).await?;
        }
        let more_due = self.due(grace) > 0;
        Ok(match (at_end, more_due) {
            (true, false) => Progress::UpToDate,
            // Full of lines that are not due yet: reading on is not possible.
            (false, false) if self.pending_bytes >= PENDING_BYTES => Progress::UpToDate,
            _ => Progress::More,
        })
    }

    /// True when nothing more is there to read.
    fn fill(&mut self) -> Result<bool, WitnessError> {
        let room = PENDING_BYTES.saturating_sub(self.pending_bytes);
        if room == 0 {
            return Ok(false);
        }
        let now = Instant::now();
        let look = self
            .tail
            .read(room.min(BATCH_BYTES), now)
            .map_err(|error| {
                tracing::warn!(%error, "the access log cannot be read");
                WitnessError
            })?;
        self.metrics.unreadable.inc_by(look.skipped);
        for (line, end) in look.lines {
            let bytes = line.len() + std::mem::size_of::<Pending>();
            self.pending_bytes += bytes;
            self.pending.push_back(Pending {
                seen: line::read(&line),
                read_at: now,
                end,
                bytes,
            });
        }
        self.metrics.lag_bytes.set(self.tail.behind() as i64);
        Ok(look.at_end)
    }

    /// How many lines from the front make the next batch.
    fn due(&self, grace: Duration) -> usize {
        let mut bytes = 0;
        self.pending
            .iter()
            .take(BATCH_LINES)
            .take_while(|line| {
                bytes += line.bytes;
                line.read_at.elapsed() >= grace && bytes <= BATCH_BYTES * 2
            })
            .count()
    }

    /// Stores the records of the first lines, then moves the place behind them.
    async fn settle(&mut self, count: usize) -> Result<(), WitnessError> {
        let mut body = Vec::new();
        for line in self.pending.iter().take(count) {
            if let Seen::Recorded(envelope) = &line.seen {
                body.extend_from_slice(envelope.as_bytes());
                body.push(b'\n');
            }
        }
        if !body.is_empty() {
            self.deliver(&body).await?;
        }
        self.note_unrecorded(count).await?;
        let Some(end) = self.pending.get(count.saturating_sub(1)).map(|l| l.end) else {
            return Ok(());
        };
        self.app
            .store
            .set_cursor(&cursor_name(&self.instance), &end.to_string())
            .await
            .map_err(|error| {
                tracing::warn!(%error, "the witness cannot note where it stands");
                WitnessError
            })?;
        let settled: Vec<Pending> = self.pending.drain(..count).collect();
        self.pending_bytes -= settled.iter().map(|line| line.bytes).sum::<usize>();
        self.count(&settled);
        Ok(())
    }

    async fn deliver(&self, body: &[u8]) -> Result<(), WitnessError> {
        match ingest::ingest(&self.app, Channel::Witness, body).await {
            Ok(report) => {
                self.metrics.recovered.inc_by(report.accepted);
                if report.accepted > 0 {
                    let records = report.accepted;
                    tracing::info!(records, "recovered evidence from the access log");
                }
                Ok(())
            }
            Err(error) if error.retry_after().is_some() => {
                tracing::warn!(%error, "evidence from the access log is not stored yet");
                Err(WitnessError)
            }
            // It would never be taken: go on rather than stand still for ever.
            Err(error) => {
                tracing::error!(%error, "evidence from the access log was refused");
                Ok(())
            }
        }
    }

    /// Lets the exchanges without evidence be listed.
    async fn note_unrecorded(&self, count: usize) -> Result<(), WitnessError> {
        let found_at = self.app.clock.now();
        let unrecorded = self.pending.iter().take(count).filter_map(|line| {
            let Seen::Unrecorded(exchange) = &line.seen else {
                return None;
            };
            Some(UnrecordedExchange {
                line: format!("{} {}", self.instance, line.end),
                found_at,
                instance: self.instance.clone(),
                request_id: exchange.request_id,
                status_code: exchange.code,
                details: exchange.details.clone(),
            })
        });
        let unrecorded: Vec<UnrecordedExchange> = unrecorded.collect();
        if unrecorded.is_empty() {
            return Ok(());
        }
        let noted = self.app.store.note_unrecorded(&unrecorded).await;
        noted.map_err(|error| {
            tracing::warn!(%error, "exchanges without evidence are not noted yet");
            WitnessError
        })
    }

    fn count(&self, settled: &[Pending]) {
        let unreadable = |line: &&Pending| line.seen == Seen::Unreadable;
        let unreadable = settled.iter().filter(unreadable).count();
        self.metrics.unreadable.inc_by(unreadable as u64);
        let mut unrecorded = settled.iter().filter_map(|line| match &line.seen {
            Seen::Unrecorded(unrecorded) => Some(unrecorded),
            _ => None,
        });
        if let Some(first) = unrecorded.next() {
            let exchanges = 1 + unrecorded.count() as u64;
            self.metrics.unrecorded.inc_by(exchanges);
            tracing::error!(
                exchanges,
                request_id = first.request_id.map(tracing::field::display),
                code = first.code,
                details = first.details,
                "exchanges left no evidence: the filter did not record them; the first is named"
            );
        }
    }

    /// Renames a long log and has Envoy begin a new one.
    async fn bound_log(&self, admin: &EnvoyAdmin) {
        // Renamed before, and Envoy was not there to hear of it.
        let waits_for_new = self.tail.is_open() && !self.path.exists();
        if !waits_for_new {
            let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
            // One piece at a time: the one before must have been read.
            if length <= self.log_limit_bytes || !self.tail.is_current() {
                return;
            }
            if let Err(error) = fs::rename(&self.path, tail::renamed(&self.path)) {
                tracing::warn!(%error, "the access log is long and cannot be renamed");
                return;
            }
        }
        if let Err(error) = admin.reopen_logs().await {
            tracing::warn!(%error, "envoy does not begin a new access log");
        }
    }
}

#[cfg(test)]
mod tests;
