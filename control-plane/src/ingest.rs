//! Takes evidence in: lines to checked records, stored once each.
//!
//! A line that is no proper record is kept in quarantine with a reason and
//! never fails its neighbours. Delivering a batch again changes nothing. When
//! too much waits for the database the batch is refused as a whole, before it
//! is read; whoever sent it keeps it and comes back. Nothing of a line is ever
//! logged.

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::{Envelope, EnvelopeError, LeafHash, MAX_SUBJECT_BYTES};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use crate::app::App;
use crate::metrics::{BatchLabels, RecordLabels};
use crate::store::{
    Appended, CONFLICT, EvidenceBatch, NewEvidence, Outcome, RejectedLine, Source, StoreError,
};
use crate::telemetry::spans;

/// By which way lines come, which says what they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The filter's batches of finished exchanges.
    Outbox,
    /// A record that the filter wants stored before its request leaves.
    Intent,
    /// Envoy's access log, read by the control plane beside it.
    Witness,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Channel::Outbox => "outbox",
            Channel::Intent => "intent",
            Channel::Witness => "witness",
        }
    }

    fn source(self) -> Source {
        match self {
            Channel::Outbox | Channel::Intent => Source::Outbox,
            Channel::Witness => Source::Witness,
        }
    }

    /// Only the filter knows which of its records is the last word.
    fn refuses(self, provisional: bool) -> Option<&'static str> {
        match (self, provisional) {
            (Channel::Outbox, true) => Some("provisional_from_outbox"),
            (Channel::Intent, false) => Some("not_provisional"),
            _ => None,
        }
    }
}

/// A batch as a whole.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Lines of a batch; the shortest possible record has some 400 bytes.
pub const MAX_LINES: usize = 20_000;

/// C2SP `tlog-tiles` has no place for longer entries.
pub const MAX_RECORD_BYTES: usize = 65_535;

/// A record, its salt, its subject with six bytes for each of its own, and the keys
/// around them.
const MAX_LINE_BYTES: usize = MAX_RECORD_BYTES + 6 * MAX_SUBJECT_BYTES + 128;

/// How far the time inside an id may be from the record's own: both are taken
/// when the request arrives. Queries by time rely on it.
pub const ID_TIME_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// A clock further ahead is wrong beyond doubt, and would hide its records
/// from everyone who asks for the latest.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// No outbox or log waits longer. Postgres makes a table for each week that has
/// a record: a clock that jumps about must not make thousands.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(400 * 24);

/// No VM writes more records; sums of sequences stay far from overflowing.
const MAX_SEQ: u64 = 1 << 40;

/// What may wait for the database: seconds of it at the rate SQLite stores.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// The semaphore counts in these.
const PERMIT_BYTES: usize = 1024;

/// Larger batches are not parsed on a thread that answers requests.
const INLINE_BYTES: usize = 64 * 1024;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestReport {
    pub accepted: u64,
    pub duplicates: u64,
    pub quarantined: Vec<QuarantinedLine>,
}

/// A line that did not become evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantinedLine {
    /// Counted from 0.
    pub line: usize,
    /// Stable code.
    pub reason: &'static str,
}

/// Why a batch was not taken. Nothing of it is lost as long as its sender keeps it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    #[error("the batch has more than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("the batch has more than {MAX_LINES} lines")]
    TooManyLines,
    /// Not one record of a request that has not left yet.
    #[error("the body is not one record of a request that waits ({})", .0.unwrap_or("not one line"))]
    NoIntent(Option<&'static str>),
    /// Too much waits already.
    #[error("too much evidence waits for the database")]
    Overloaded,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that read the batch ended before its time.
    #[error("reading the batch was interrupted")]
    Interrupted,
}

impl IngestError {
    /// When to come back, for those that pass by themselves.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            IngestError::Overloaded | IngestError::Store(_) | IngestError::Interrupted => {
                Some(Duration::from_secs(1))
            }
            IngestError::TooLarge | IngestError::TooManyLines | IngestError::NoIntent(_) => None,
        }
    }
}

/// Bounds what waits for the database.
#[derive(Debug)]
pub struct Intake {
    room: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Intake {
        Intake::with_room_for(QUEUE_BYTES)
    }
}

impl Intake {
    pub fn with_room_for(bytes: usize) -> Intake {
        Intake {
            room: Arc::new(Semaphore::new(bytes.div_ceil(PERMIT_BYTES))),
        }
    }

    /// No room for a batch of the largest size.
    pub fn is_full(&self) -> bool {
        self.room.available_permits() < MAX_BODY_BYTES.div_ceil(PERMIT_BYTES)
    }

    pub(crate) fn enter(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IngestError> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.room)
            .try_acquire_many_owned(permits)
            .map_err(|_| IngestError::Overloaded)
    }
}

/// Stores one batch, a line for each record.
pub async fn ingest(app: &App, channel: Channel, body: &[u8]) -> Result<IngestReport, IngestError> {
    let span = spans::ingest(channel.as_str());
    let result = ingest_uncounted(app, channel, body);
    let result = result.instrument(span.clone()).await;
    match &result {
        Ok(report) => {
            span.record("mercator.accepted", report.accepted as i64);
            span.record("mercator.duplicates", report.duplicates as i64);
            span.record("mercator.quarantined", report.quarantined.len() as i64);
        }
        Err(_) => spans::failed(&span),
    }
    let label = match &result {
        Ok(_) => "stored",
        Err(IngestError::TooLarge | IngestError::TooManyLines | IngestError::NoIntent(_)) => {
            "refused"
        }
        Err(IngestError::Overloaded) => "overloaded",
        Err(IngestError::Store(_) | IngestError::Interrupted) => "failed",
    };
    let labels = BatchLabels {
        source: channel.as_str(),
        result: label,
    };
    app.metrics.evidence_batches.get_or_create(&labels).inc();
    result
}

/// Stores the record of a request that has not left yet; `Ok` means durably stored.
pub async fn ingest_intent(app: &App, body: &[u8]) -> Result<(), IngestError> {
    let report = ingest(app, Channel::Intent, body).await?;
    match (
        report.accepted + report.duplicates,
        report.quarantined.first(),
    ) {
        (1, None) => Ok(()),
        (_, refused) => Err(IngestError::NoIntent(refused.map(|line| line.reason))),
    }
}

async fn ingest_uncounted(
    app: &App,
    channel: Channel,
    body: &[u8],
) -> Result<IngestReport, IngestError> {
    let started = Instant::now();
    if body.len() > MAX_BODY_BYTES {
        return Err(IngestError::TooLarge);
    }
    let _room = app.intake.enter(body.len())?;
    let now = app.clock.now();
    let lines = read_lines(channel, body, now).await?;
    if lines.lines.is_empty() {
        return Ok(IngestReport::default());
    }
    let waiting = Waiting::new(app, body.len(), lines.lines.len());
    let prepared = app.telemetry.prepare(&lines.batch.records);
    let appended = app.store.append_evidence(lines.batch).await?;
    drop(waiting);
    app.metrics
        .evidence_append_seconds
        .observe(started.elapsed().as_secs_f64());
    app.telemetry.tell(prepared, &appended.outcomes);
    let report = report(lines.lines, &appended);
    count(app, channel, &report, &appended);
    Ok(report)
}

/// Shows a batch in the queue's gauges for as long as it lives.
struct Waiting<'a> {
    app: &'a App,
    bytes: i64,
    records: i64,
}

impl<'a> Waiting<'a> {
    fn new(app: &'a App, bytes: usize, records: usize) -> Waiting<'a> {
        let (bytes, records) = (bytes as i64, records as i64);
        app.metrics.evidence_queue_bytes.inc_by(bytes);
        app.metrics.evidence_queue_records.inc_by(records);
        Waiting {
            app,
            bytes,
            records,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.app.metrics.evidence_queue_bytes.dec_by(self.bytes);
        self.app.metrics.evidence_queue_records.dec_by(self.records);
    }
}

/// A batch, and for each of its lines what was made of it.
#[derive(Debug)]
struct Lines {
    batch: EvidenceBatch,
    lines: Vec<(usize, Result<(), &'static str>)>,
}

async fn read_lines(channel: Channel, body: &[u8], now: Timestamp) -> Result<Lines, IngestError> {
    if body.len() <= INLINE_BYTES {
        return parse(channel, body, now);
    }
    let body = body.to_vec();
    tokio::task::spawn_blocking(move || parse(channel, &body, now))
        .await
        .map_err(|_| IngestError::Interrupted)?
}

fn parse(channel: Channel, body: &[u8], now: Timestamp) -> Result<Lines, IngestError> {
    let mut parsed = Lines {
        batch: EvidenceBatch {
            source: channel.source(),
            received_at: now,
            records: Vec::new(),
            rejected: Vec::new(),
        },
        lines: Vec::new(),
    };
    for (number, line) in body.split(|&b| b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if parsed.lines.len() == MAX_LINES {
            return Err(IngestError::TooManyLines);
        }
        match record(channel, line, now) {
            Ok(record) => {
                parsed.batch.records.push(record);
                parsed.lines.push((number, Ok(())));
            }
            Err(reason) => {
                parsed.batch.rejected.push(RejectedLine {
                    reason,
                    sha256: Sha256::digest(line).into(),
                    line: line.get(..MAX_RECORD_BYTES).unwrap_or(line).to_vec(),
                });
                parsed.lines.push((number, Err(reason)));
            }
        }
    }
    Ok(parsed)
}

/// One line as a record that may be stored, or why it may not.
fn record(channel: Channel, line: &[u8], now: Timestamp) -> Result<NewEvidence, &'static str> {
    if line.len() > MAX_LINE_BYTES {
        return Err("line_too_long");
    }
    let envelope = Envelope::parse(line).map_err(|error| match error {
        EnvelopeError::NotJson { .. } => "not_an_envelope",
        EnvelopeError::NotARecord { .. } => "not_a_record",
        EnvelopeError::NotCanonical | EnvelopeError::Unwritable => "not_canonical",
        EnvelopeError::BadSalt => "bad_salt",
        EnvelopeError::BadSubject => "bad_subject",
        EnvelopeError::UnknownVersion(_) => "unknown_version",
        EnvelopeError::NotUuidV7 => "not_uuid_v7",
    })?;
    if envelope.canonical.len() > MAX_RECORD_BYTES {
        return Err("record_too_long");
    }
    if let Some(reason) = channel.refuses(envelope.provisional) {
        return Err(reason);
    }
    let time = time_of(&envelope, now)?;
    check_emitter(&envelope)?;
    Ok(NewEvidence {
        leaf: LeafHash::of(envelope.canonical.as_bytes()),
        salt: hex16(&envelope.salt).ok_or("bad_salt")?,
        time,
        envelope,
    })
}

fn time_of(envelope: &Envelope, now: Timestamp) -> Result<Timestamp, &'static str> {
    let text = &envelope.record.time;
    let time: Timestamp = text.parse().map_err(|_| "bad_time")?;
    let micros = u64::try_from(time.as_microsecond()).map_err(|_| "bad_time")?;
    // One moment has one spelling, or records would sort differently as text.
    if jupiter_evidence::rfc3339_micros(micros) != *text {
        return Err("bad_time");
    }
    let (seconds, nanos) = match envelope.record.id.get_timestamp() {
        Some(timestamp) => timestamp.to_unix(),
        None => return Err("not_uuid_v7"),
    };
    let id_time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::new(seconds, nanos as i32).ok())
        .ok_or("id_and_time_differ")?;
    if time.duration_since(id_time).abs() > ID_TIME_TOLERANCE {
        return Err("id_and_time_differ");
    }
    if time.duration_since(now) > MAX_AHEAD {
        return Err("time_in_future");
    }
    if now.duration_since(time) > MAX_AGE {
        return Err("time_too_old");
    }
    Ok(time)
}

/// What the accounting of sequences relies on.
fn check_emitter(envelope: &Envelope) -> Result<(), &'static str> {
    let emitter = &envelope.record.emitter;
    if emitter.id.is_empty() || emitter.id.len() > 128 || emitter.id.chars().any(char::is_control) {
        return Err("bad_emitter");
    }
    // A provisional record has no place in a sequence: its epoch is empty.
    let outside = envelope.provisional && emitter.epoch.is_empty();
    if !(is_hex(&emitter.epoch, 32) || outside) || emitter.seq > MAX_SEQ {
        return Err("bad_emitter");
    }
    let prev_fits = match emitter.seq {
        0 => emitter.prev.is_empty(),
        _ => is_hex(&emitter.prev, 64),
    };
    if !prev_fits && !envelope.provisional {
        return Err("bad_prev");
    }
    Ok(())
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

fn report(lines: Vec<(usize, Result<(), &'static str>)>, appended: &Appended) -> IngestReport {
    let mut report = IngestReport::default();
    let mut outcomes = appended.outcomes.iter();
    for (line, parsed) in lines {
        let reason = match parsed {
            Err(reason) => reason,
            Ok(()) => match outcomes.next() {
                Some(Outcome::Stored) => {
                    report.accepted += 1;
                    continue;
                }
                Some(Outcome::Duplicate) => {
                    report.duplicates += 1;
                    continue;
                }
                Some(Outcome::Conflict) | None => CONFLICT,
            },
        };
        report.quarantined.push(QuarantinedLine { line, reason });
    }
    report
}

fn count(app: &App, channel: Channel, report: &IngestReport, appended: &Appended) {
    let source = channel.as_str();
    for (outcome, number) in [
        ("accepted", report.accepted),
        ("duplicate", report.duplicates),
        ("quarantined", report.quarantined.len() as u64),
    ] {
        let labels = RecordLabels { source, outcome };
        app.metrics
            .evidence_records
            .get_or_create(&labels)
            .inc_by(number);
    }
    app.metrics.chain_breaks.inc_by(appended.chain_breaks);
    if let Some(first) = report.quarantined.first() {
        let lines = report.quarantined.len();
        tracing::warn!(
            source,
            lines,
            reason = first.reason,
            "evidence put in quarantine"
        );
    }
    if appended.chain_breaks > 0 {
        let breaks = appended.chain_breaks;
        tracing::error!(
            source,
            breaks,
            "evidence does not fit its emitter's sequence"
        );
    }
}

#[cfg(test)]
mod tests;
