//! Counts what happens, in bounded memory however long a run is.
//!
//! Times go into HDR histograms of three digits; of each interval only its
//! counts and a few percentiles are kept, and there are at most [`INTERVALS`]
//! of them.

use super::answer::{Class, Outcome};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use uuid::Uuid;

/// Points in a plot; more nobody sees.
const INTERVALS: u32 = 600;
/// One second, unless the run is longer than that many seconds.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Codes of refusals that are told apart.
const CODES: usize = 32;
/// Of a drill: sixteen megabytes of them.
const DECISION_IDS: usize = 1_000_000;
/// Longer times count as this one.
const LONGEST_US: u64 = 3_600_000_000;
/// A request sent later than this after its time is late.
pub const LATE_AFTER: Duration = Duration::from_millis(10);

/// Three digits, from 1 µs.
static EMPTY: LazyLock<Histogram<u64>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "these bounds are valid ones, and constant"
    )]
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds")
});

/// Times in microseconds.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Times {
    pub fn new() -> Times {
        Times(EMPTY.clone())
    }

    pub fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record(us.clamp(1, LONGEST_US));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In milliseconds.
    pub fn at(&self, percentile: f64) -> f64 {
        self.0
            .value_at_quantile(percentile / 100.0)
            .min(self.0.max()) as f64
            / 1e3
    }

    pub fn max(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }

    /// `None`: nothing was measured.
    pub fn summary(&self) -> Option<Percentiles> {
        (!self.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            min: self.0.min() as f64 / 1e3,
            mean: (self.0.mean()).round() / 1e3,
            p50: self.at(50.0),
            p90: self.at(90.0),
            p95: self.at(95.0),
            p99: self.at(99.0),
            p999: self.at(99.9),
            max: self.max(),
        })
    }

    /// Percentile and milliseconds, closer and closer to 100.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        let mut rest = 100.0;
        while !self.is_empty() && rest * self.0.len() as f64 >= 100.0 {
            for step in [1.0, 0.75, 0.5, 0.35, 0.2, 0.15] {
                let percentile = 100.0 - rest * step;
                points.push((percentile, self.at(percentile)));
            }
            rest /= 10.0;
        }
        if !self.is_empty() {
            points.push((100.0, self.max()));
        }
        points
    }
}

/// Times in milliseconds, as results show them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
    pub max: f64,
}

/// What ended between two times; latencies are of answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, in seconds from the start.
    pub at: f64,
    pub answered: u64,
    pub denied: u64,
    pub errors: u64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// Why requests went later than they should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Every connection was busy.
    pub all_busy: u64,
    /// A connection was free, but this machine was not.
    pub this_machine: u64,
}

/// Everything counted so far.
#[derive(Debug)]
pub struct Tally {
    pub counts: BTreeMap<Class, u64>,
    pub codes: BTreeMap<String, u64>,
    /// Of requests that were answered or denied, where the plan keeps them.
    pub decision_ids: Vec<Uuid>,
    pub sent: u64,
    pub late: Late,
    pub answered: Times,
    pub denied: Times,
    pub failed: Times,
    pub first_token: Times,
    pub gaps: Times,
    pub send_delay: Times,
    pub intervals: Vec<Interval>,
    pub interval: Duration,
    current: Interval,
    current_times: Times,
    /// Until when intervals are cut.
    cut_until: Duration,
}

impl Tally {
    pub fn new(duration: Duration) -> Tally {
        Tally {
            counts: BTreeMap::new(),
            codes: BTreeMap::new(),
            decision_ids: Vec::new(),
            sent: 0,
            late: Late::default(),
            answered: Times::new(),
            denied: Times::new(),
            failed: Times::new(),
            first_token: Times::new(),
            gaps: Times::new(),
            send_delay: Times::new(),
            intervals: Vec::new(),
            interval: LEAST_INTERVAL.max(duration / INTERVALS),
            current: Interval::default(),
            current_times: Times::new(),
            cut_until: Duration::ZERO,
        }
    }

    pub fn count(&self, class: Class) -> u64 {
        self.counts.get(&class).copied().unwrap_or(0)
    }

    pub fn errors(&self) -> u64 {
        let errors = self.counts.iter().filter(|(class, _)| class.is_error());
        errors.map(|(_, count)| count).sum()
    }

    /// A request goes out, so long after its time.
    pub fn send(&mut self, delay: Duration, all_busy: bool) {
        self.sent += 1;
        self.send_delay.record(delay);
        if delay > LATE_AFTER {
            match all_busy {
                true => self.late.all_busy += 1,
                false => self.late.this_machine += 1,
            }
        }
    }

    /// It ended, `at` from the start and `took` from its time.
    pub fn end(
        &mut self,
        outcome: &Outcome,
        at: Duration,
        took: Duration,
        first: Option<Duration>,
    ) {
        self.cut(at);
        let class = outcome.class;
        *self.counts.entry(class).or_default() += 1;
        match class {
            Class::Answered => {
                self.answered.record(took);
                self.current_times.record(took);
                self.current.answered += 1;
            }
            Class::Denied => {
                self.denied.record(took);
                self.current.denied += 1;
            }
            _ => {
                if class != Class::NotSent {
                    self.failed.record(took);
                }
                self.current.errors += 1;
            }
        }
        if let Some(first) = first {
            self.first_token.record(first);
        }
        if !class.is_error() && self.decision_ids.len() < DECISION_IDS {
            self.decision_ids.extend(outcome.decision_id);
        }
        if let Some(code) = &outcome.code {
            let known = self.codes.contains_key(code) || self.codes.len() < CODES;
            let name = if known { code.as_str() } else { "other" };
            *self.codes.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Closes the intervals that are over at `now`, empty ones too: that
    /// nothing came is what a plot must show.
    pub fn cut(&mut self, now: Duration) {
        while now >= self.cut_until + self.interval {
            self.cut_until += self.interval;
            self.close(self.cut_until);
        }
    }

    /// Closes the last, unfinished interval.
    pub fn finish(&mut self, now: Duration) {
        self.cut(now);
        if now > self.cut_until {
            self.close(now);
        }
    }

    fn close(&mut self, at: Duration) {
        let mut interval = std::mem::take(&mut self.current);
        interval.at = (at.as_secs_f64() * 1e3).round() / 1e3;
        if !self.current_times.is_empty() {
            interval.p50 = Some(self.current_times.at(50.0));
            interval.p99 = Some(self.current_times.at(99.0));
            interval.max = Some(self.current_times.max());
            self.current_times.clear();
        }
        self.intervals.push(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new();
        assert_eq!(times.summary(), None);
        assert_eq!(times.curve(), []);
        (1..=1000).for_each(|n| times.record(MS * n));
        let shown = times.summary().unwrap();
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.002;
        assert_eq!(shown.count, 1000);
        for (found, expected) in [
            (shown.min, 1.0),
            (shown.p50, 500.0),
            (shown.p99, 990.0),
            (shown.p999, 999.0),
            (shown.max, 1000.0),
        ] {
            assert!(near(found, expected), "{found} is not {expected}");
        }
        let curve = times.curve();
        assert!(curve.is_sorted(), "{curve:?}");
        assert_eq!(curve.last().unwrap().0, 100.0);
    }

    #[test]
    fn what_takes_forever_and_what_takes_no_time_are_counted() {
        let mut times = Times::new();
        times.record(Duration::from_secs(1_000_000));
        times.record(Duration::ZERO);
        assert_eq!(times.summary().unwrap().count, 2);
        assert!(times.max() >= 3_600_000.0);
    }

    #[test]
    fn silence_is_kept_as_empty_intervals() {
        let mut tally = Tally::new(MS * 5_000);
        let answered = Outcome::of(Class::Answered);
        tally.end(&answered, MS * 100, MS, None);
        tally.end(&answered, MS * 3_500, MS * 2_500, None);
        tally.end(&Outcome::of(Class::Reset), MS * 3_600, MS, None);
        tally.finish(MS * 3_700);
        let seen: Vec<_> = tally
            .intervals
            .iter()
            .map(|i| (i.at, i.answered, i.errors))
            .collect();
        assert_eq!(seen, [(1.0, 1, 0), (2.0, 0, 0), (3.0, 0, 0), (3.7, 1, 1)]);
        assert_eq!(
            tally.intervals.iter().filter(|i| i.p99.is_some()).count(),
            2
        );
    }

    #[test]
    fn memory_stays_bounded() {
        let day = Duration::from_secs(24 * 3600);
        let mut tally = Tally::new(day);
        for n in 0..100 {
            let code = Some(format!("code {n}"));
            let outcome = Outcome {
                code,
                ..Outcome::of(Class::Http5xx)
            };
            tally.end(&outcome, MS, MS, None);
        }
        tally.finish(day);
        assert!(tally.intervals.len() <= 600, "{}", tally.intervals.len());
        assert_eq!(tally.codes.len(), CODES + 1);
        assert_eq!(tally.codes["other"], 100 - CODES as u64);
    }
}
