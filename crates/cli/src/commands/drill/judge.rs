//! What clients saw in each phase, against the objectives.

use super::super::benchmark::plan::Plan;
use super::super::benchmark::results::{self, Objective, Results};
use super::super::benchmark::tally::Interval;
use super::course::{Course, Phases};
use super::evidence::Records;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// What a drill is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub error_rate: f64,
    pub recovery: Duration,
    pub recovers_from_its_end: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub results: Results,
    pub phases: [Phase; 3],
    /// From the fault, or its end, to the last error; `None`: it never ended.
    pub recovery_seconds: Option<f64>,
    /// The longest time in which nothing was answered.
    pub longest_silence_seconds: f64,
    pub records: Option<Records>,
    pub objectives: Vec<Objective>,
}

/// What ended in one phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Phase {
    pub name: &'static str,
    pub answered: u64,
    pub denied: u64,
    pub errors: u64,
    /// The worst second's.
    pub p99_ms: Option<f64>,
}

pub fn judge(
    plan: &Plan,
    started: SystemTime,
    course: &Course,
    phases: Phases,
    records: Option<Records>,
    limits: Limits,
) -> Verdict {
    let as_benchmark = results::Limits {
        error_rate: limits.error_rate,
        p99: None,
        first_token_p99: None,
    };
    let results = Results::new(plan, started, &course.ran, as_benchmark);
    let fault = course.start.began.as_secs_f64();
    let end = match &course.end {
        Some(end) => end.began,
        None => phases.steady + phases.fault,
    };
    let end = end.as_secs_f64();
    let seen = seen(&results.intervals, fault, end);
    let from = if limits.recovers_from_its_end {
        end
    } else {
        fault
    };
    let recovery_seconds = recovery(&results.intervals, from);
    let mut objectives = vec![objective("errors_before", 0.0, Some(seen[0].errors as f64))];
    objectives.extend(results.objectives.clone());
    objectives.push(objective(
        "recovery_seconds",
        limits.recovery.as_secs_f64(),
        recovery_seconds,
    ));
    if let Some(records) = &records {
        objectives.push(objective("evidence_lost", 0.0, lost(records)));
    }
    Verdict {
        longest_silence_seconds: silence(&results.intervals),
        results,
        phases: seen,
        recovery_seconds,
        records,
        objectives,
    }
}

/// Records that are gone though nothing says that they may be; `None`: nobody knows.
fn lost(records: &Records) -> Option<f64> {
    let not_found = records.not_found.saturating_sub(records.listed) as u64;
    let places = records.missing_after.saturating_sub(records.missing_before);
    records
        .error
        .is_none()
        .then_some((not_found + places) as f64)
}

fn objective(name: &str, limit: f64, found: Option<f64>) -> Objective {
    Objective {
        name: name.to_owned(),
        limit,
        found,
        held: found.is_some_and(|found| found <= limit),
    }
}

/// An interval belongs to the phase it began in; what began before the fault and
/// ended after it belongs to the fault.
fn seen(intervals: &[Interval], fault: f64, end: f64) -> [Phase; 3] {
    let mut phases = ["before", "fault", "after"].map(|name| Phase {
        name,
        ..Phase::default()
    });
    let mut began = 0.0;
    for interval in intervals {
        let [before, during, after] = &mut phases;
        let phase = match interval.at {
            at if at <= fault => before,
            _ if began <= end => during,
            _ => after,
        };
        phase.answered += interval.answered;
        phase.denied += interval.denied;
        phase.errors += interval.errors;
        phase.p99_ms = match (phase.p99_ms, interval.p99) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        began = interval.at;
    }
    phases
}

/// To the end of the last interval with an error, with answers after it; 0 where
/// nothing failed.
fn recovery(intervals: &[Interval], from: f64) -> Option<f64> {
    let ill = |interval: &Interval| interval.errors > 0 && interval.at > from;
    let Some(last) = intervals.iter().rposition(ill) else {
        return Some(0.0);
    };
    let mut rest = intervals.iter().skip(last);
    let at = rest.next().map_or(from, |interval| interval.at);
    rest.any(|interval| interval.answered > 0)
        .then_some(at - from)
}

fn silence(intervals: &[Interval]) -> f64 {
    let (mut longest, mut since, mut began) = (0.0_f64, 0.0, 0.0);
    for interval in intervals {
        if interval.answered + interval.denied > 0 {
            longest = longest.max(began - since);
            since = interval.at;
        }
        began = interval.at;
    }
    longest.max(began - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds with so many answers and so many errors.
    fn seconds(counts: &[(u64, u64)]) -> Vec<Interval> {
        let interval = |(n, (answered, errors)): (usize, &(u64, u64))| Interval {
            at: n as f64 + 1.0,
            answered: *answered,
            errors: *errors,
            p99: (*answered > 0).then_some(10.0 * (n + 1) as f64),
            ..Interval::default()
        };
        counts.iter().enumerate().map(interval).collect()
    }

    #[test]
    fn seconds_belong_to_the_phase_of_their_faults() {
        let run = seconds(&[(5, 0), (5, 1), (0, 5), (4, 1), (5, 0), (5, 0)]);
        let [before, fault, after] = seen(&run, 1.5, 3.2);
        let counts = |phase: &Phase| (phase.answered, phase.errors);
        assert_eq!(counts(&before), (5, 0));
        assert_eq!(counts(&fault), (9, 7));
        assert_eq!(counts(&after), (10, 0));
        assert_eq!(fault.p99_ms, Some(40.0));
    }

    #[test]
    fn recovery_is_the_time_to_the_last_error_with_answers_after_it() {
        let run = seconds(&[(5, 0), (3, 2), (5, 0), (4, 1), (5, 0)]);
        assert_eq!(recovery(&run, 1.5), Some(2.5));
        assert_eq!(recovery(&run, 4.0), Some(0.0));
        assert_eq!(recovery(&seconds(&[(5, 0), (0, 5), (0, 0)]), 1.0), None);
        assert_eq!(recovery(&seconds(&[(5, 0), (4, 1)]), 1.0), None);
    }

    #[test]
    fn records_are_lost_unless_an_envoys_end_may_have_taken_them() {
        let records = |not_found, listed, missing_after| Records {
            expected: 9,
            not_found,
            listed,
            missing_before: 1,
            missing_after,
            complete_after_seconds: None,
            error: None,
        };
        assert_eq!(lost(&records(0, 0, 1)), Some(0.0));
        assert_eq!(lost(&records(3, 0, 1)), Some(3.0));
        assert_eq!(lost(&records(3, 3, 1)), Some(0.0));
        assert_eq!(lost(&records(3, 2, 3)), Some(3.0));
        let unknown = Records {
            error: Some("no answer".into()),
            ..records(0, 0, 1)
        };
        assert_eq!(lost(&unknown), None);
    }

    #[test]
    fn silence_is_the_longest_time_without_an_answer() {
        assert_eq!(
            silence(&seconds(&[(5, 0), (0, 5), (0, 5), (1, 0), (0, 1)])),
            2.0
        );
        assert_eq!(silence(&seconds(&[(5, 0), (5, 0)])), 0.0);
        assert_eq!(silence(&seconds(&[(0, 1), (0, 1), (0, 1)])), 3.0);
    }
}
