//! Evidence on its way out: bounded, in order, at least once.
//!
//! One outbox serves a whole VM and outlives configurations; answers that are kept
//! ([`crate::answers`]) have one of their own. A batch stays
//! here until a control plane has acknowledged it; ids make the repetition
//! harmless. When it is full, [`Outbox::push`] says so and counts: the record
//! then remains with the witness (Envoy's access log) alone.

use std::collections::VecDeque;

/// Most records in one batch; 500–1000 is where ingest is at its best.
const BATCH_RECORDS: usize = 500;
/// Below the control plane's body limit of 4 MiB, with room for one record.
const BATCH_BYTES: usize = 2 << 20;
/// All that waits here; an outbox is part of a VM of 128 MiB.
const MAX_BYTES: usize = 16 << 20;
const BACKOFF_FIRST_US: u64 = 100_000;
const BACKOFF_MAX_US: u64 = 5_000_000;
/// How long the transport may take before it must have answered by itself.
const DISPATCH_TIMEOUT_US: u64 = 5_000_000;
const LOST_ANSWER_US: u64 = DISPATCH_TIMEOUT_US + 5_000_000;

/// Queue, the batch on its way, and what went wrong so far.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<String>,
    queued_bytes: usize,
    on_the_way: Option<OnTheWay>,
    not_before_us: u64,
    backoff_us: u64,
    batch_records: usize,
    /// Records that found no room.
    pub dropped: u64,
    /// Records a control plane refused for good.
    pub refused: u64,
}

#[derive(Debug)]
struct OnTheWay {
    token: u32,
    lines: Vec<String>,
    since_us: u64,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What an answer to a batch meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Stored; go on with the next.
    Acknowledged,
    /// Kept, to be sent again later.
    Postponed,
    /// Refused for good and dropped from here; counted.
    Refused,
    /// Not the answer to what is on its way.
    Unknown,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            queue: VecDeque::new(),
            queued_bytes: 0,
            on_the_way: None,
            not_before_us: 0,
            backoff_us: BACKOFF_FIRST_US,
            batch_records: BATCH_RECORDS,
            dropped: 0,
            refused: 0,
        }
    }
}

impl Outbox {
    /// Whether the next record would find no room.
    pub fn is_full(&self, capacity: usize) -> bool {
        self.len() >= capacity || self.queued_bytes >= MAX_BYTES
    }

    /// Records not yet acknowledged.
    pub fn len(&self) -> usize {
        self.queue.len()
            + self
                .on_the_way
                .as_ref()
                .map_or(0, |batch| batch.lines.len())
    }

    /// What the lines of [`len`](Self::len) have together.
    pub fn bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Drops what waits, but for the batch that is on its way; how many lines.
    pub fn abandon(&mut self) -> u64 {
        let bytes: usize = self.queue.iter().map(String::len).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.queue.drain(..).len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one envelope line.
    pub fn push(&mut self, line: String, capacity: usize) -> Result<(), Full> {
        if self.is_full(capacity) {
            self.dropped += 1;
            return Err(Full);
        }
        self.queued_bytes += line.len();
        self.queue.push_back(line);
        Ok(())
    }

    /// The body to send now, if anything is due. One batch is on its way at a
    /// time, so that records arrive in their order. Follow with
    /// [`sent`](Self::sent) or [`not_sent`](Self::not_sent).
    pub fn due(&mut self, now_us: u64) -> Option<String> {
        if let Some(batch) = &self.on_the_way {
            if now_us.saturating_sub(batch.since_us) < LOST_ANSWER_US {
                return None;
            }
            // The context that sent it is gone, and the answer with it.
            self.take_back();
        }
        if self.queue.is_empty() || now_us < self.not_before_us {
            return None;
        }
        let mut bytes = 0;
        let fitting = self
            .queue
            .iter()
            .take(self.batch_records)
            .take_while(|line| {
                bytes += line.len() + 1;
                bytes <= BATCH_BYTES
            });
        let count = fitting.count().max(1);
        let mut body = String::with_capacity(bytes);
        for line in self.queue.iter().take(count) {
            body.push_str(line);
            body.push('\n');
        }
        let lines = self.queue.drain(..count).collect();
        self.on_the_way = Some(OnTheWay {
            token: 0,
            lines,
            since_us: now_us,
        });
        Some(body)
    }

    /// Whether a batch is full, or half of the room is taken. What is less waits for the
    /// next look at the outbox: a call costs as much for one record as for many.
    pub fn has_full_batch(&self, capacity: usize) -> bool {
        self.queue.len() >= self.batch_records.min(capacity / 2).max(1)
            || self.queued_bytes >= BATCH_BYTES
    }

    /// The batch left under `token`.
    pub fn sent(&mut self, token: u32) {
        if let Some(batch) = &mut self.on_the_way {
            batch.token = token;
        }
    }

    /// The batch could not leave.
    pub fn not_sent(&mut self, now_us: u64) {
        self.take_back();
        self.back_off(now_us);
    }

    /// Whether an answer to `token` is awaited.
    pub fn awaits(&self, token: u32) -> bool {
        self.on_the_way
            .as_ref()
            .is_some_and(|batch| batch.token == token)
    }

    /// The answer to `token`; `status` is `None` when there was none.
    pub fn answered(&mut self, token: u32, status: Option<u16>, now_us: u64) -> Delivery {
        if !self.awaits(token) {
            return Delivery::Unknown;
        }
        match status {
            Some(200..=299) => {
                self.forget_batch();
                self.backoff_us = BACKOFF_FIRST_US;
                self.batch_records = BATCH_RECORDS;
                Delivery::Acknowledged
            }
            Some(413) if self.batch_len() > 1 => {
                self.batch_records = (self.batch_len() / 2).max(1);
                self.take_back();
                Delivery::Postponed
            }
            // Asked for the wrong thing; asking again will not help.
            Some(400 | 404 | 405 | 413 | 415 | 422) => {
                self.refused += self.batch_len() as u64;
                self.forget_batch();
                Delivery::Refused
            }
            _ => {
                self.take_back();
                self.back_off(now_us);
                Delivery::Postponed
            }
        }
    }

    /// How long the host may let one dispatch take, in milliseconds.
    pub fn dispatch_timeout_ms() -> u32 {
        (DISPATCH_TIMEOUT_US / 1_000) as u32
    }

    fn batch_len(&self) -> usize {
        self.on_the_way
            .as_ref()
            .map_or(0, |batch| batch.lines.len())
    }

    fn forget_batch(&mut self) {
        if let Some(batch) = self.on_the_way.take() {
            let bytes: usize = batch.lines.iter().map(String::len).sum();
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        }
    }

    fn take_back(&mut self) {
        if let Some(batch) = self.on_the_way.take() {
            batch
                .lines
                .into_iter()
                .rev()
                .for_each(|line| self.queue.push_front(line));
        }
    }

    fn back_off(&mut self, now_us: u64) {
        self.not_before_us = now_us + self.backoff_us;
        self.backoff_us = (self.backoff_us * 2).min(BACKOFF_MAX_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: usize) -> Outbox {
        let mut outbox = Outbox::default();
        (0..lines).for_each(|n| outbox.push(format!("r{n}"), 10_000).unwrap());
        outbox
    }

    #[test]
    fn batch_stays_until_acknowledged() {
        let mut outbox = with(2);
        assert_eq!(outbox.due(0).as_deref(), Some("r0\nr1\n"));
        outbox.sent(7);
        assert_eq!(outbox.due(1), None, "one batch at a time");
        assert_eq!(outbox.len(), 2);
        assert_eq!(outbox.answered(7, Some(200), 2), Delivery::Acknowledged);
        assert!(outbox.is_empty());
        assert_eq!(outbox.queued_bytes, 0);
    }

    #[test]
    fn every_failure_keeps_or_counts_the_batch() {
        for (status, expected, left, refused) in [
            (None, Delivery::Postponed, 2, 0),
            (Some(503), Delivery::Postponed, 2, 0),
            (Some(429), Delivery::Postponed, 2, 0),
            (Some(401), Delivery::Postponed, 2, 0),
            (Some(400), Delivery::Refused, 0, 2),
        ] {
            let mut outbox = with(2);
            outbox.due(0).unwrap();
            outbox.sent(1);
            assert_eq!(outbox.answered(1, status, 0), expected, "{status:?}");
            assert_eq!(
                (outbox.len(), outbox.refused),
                (left, refused),
                "{status:?}"
            );
        }
    }

    #[test]
    fn failed_batch_comes_again_in_order_after_a_growing_pause() {
        let mut outbox = with(1);
        outbox.due(0).unwrap();
        outbox.not_sent(0);
        outbox.push("later".into(), 10_000).unwrap();
        assert_eq!(outbox.due(BACKOFF_FIRST_US - 1), None);
        assert_eq!(outbox.due(BACKOFF_FIRST_US).as_deref(), Some("r0\nlater\n"));
        outbox.not_sent(BACKOFF_FIRST_US);
        assert_eq!(
            outbox.due(2 * BACKOFF_FIRST_US),
            None,
            "the pause has doubled"
        );
    }

    #[test]
    fn full_outbox_says_so_and_counts() {
        let mut outbox = with(2);
        assert_eq!(outbox.push("x".into(), 2), Err(Full));
        assert_eq!((outbox.len(), outbox.dropped), (2, 1));
    }

    #[test]
    fn what_is_abandoned_is_counted_and_what_is_on_its_way_is_not() {
        let mut outbox = with(1);
        outbox.due(0).unwrap();
        outbox.sent(1);
        outbox.push("later".into(), 10).unwrap();
        assert_eq!((outbox.bytes(), outbox.abandon()), (7, 1));
        assert_eq!((outbox.bytes(), outbox.len()), (2, 1));
        assert_eq!(outbox.answered(1, Some(204), 0), Delivery::Acknowledged);
        assert!(outbox.is_empty());
    }

    #[test]
    fn full_batch_goes_at_once_and_less_may_wait() {
        for (lines, capacity, full) in [
            (499, 10_000, false),
            (500, 10_000, true),
            (5, 10, true),
            (1, 1, true),
            (0, 1, false),
        ] {
            assert_eq!(with(lines).has_full_batch(capacity), full, "{lines}");
        }
    }

    #[test]
    fn oversized_batch_is_halved() {
        let mut outbox = with(4);
        outbox.due(0).unwrap();
        outbox.sent(1);
        assert_eq!(outbox.answered(1, Some(413), 0), Delivery::Postponed);
        assert_eq!(outbox.due(0).as_deref(), Some("r0\nr1\n"));
    }

    #[test]
    fn batch_whose_answer_was_lost_is_sent_again() {
        let mut outbox = with(1);
        outbox.due(0).unwrap();
        outbox.sent(1);
        assert_eq!(outbox.due(LOST_ANSWER_US).as_deref(), Some("r0\n"));
        assert_eq!(
            outbox.answered(1, Some(200), LOST_ANSWER_US),
            Delivery::Unknown
        );
    }
}
