//! The calendar of `context.time.*`: UTC, proleptic Gregorian, no leap seconds.

/// A moment taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    /// 0 is Monday.
    weekday: u64,
    pub unix_seconds: u64,
}

/// Names of the days as `context.time.day_of_week` gives them, Monday first.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

impl Moment {
    /// From microseconds since the Unix epoch. Days to dates after Howard Hinnant's
    /// `civil_from_days`, whose years begin in March so that leap days come last.
    pub(crate) fn at(unix_us: u64) -> Moment {
        let unix_seconds = unix_us / 1_000_000;
        let days = unix_seconds / 86_400;
        let second_of_day = unix_seconds % 86_400;

        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Moment {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            // The epoch was a Thursday.
            weekday: (days + 3) % 7,
            unix_seconds,
        }
    }

    pub(crate) fn day_of_week(&self) -> &'static str {
        WEEKDAYS
            .get(self.weekday as usize)
            .copied()
            .unwrap_or_default()
    }

    /// `YYYY-MM-DD`.
    pub(crate) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Microseconds since the Unix epoch of `YYYY-MM-DD`, perhaps with `THH:MM`, `:SS` and `Z`.
#[cfg(feature = "author")]
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches('Z');
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut numbers = date.splitn(3, '-').map(number);
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let mut numbers = time.splitn(3, ':').map(number);
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = numbers.next().unwrap_or(Some(0))?;
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin in March here as well, see `Moment::at`.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month <= 2 {
        month + 9
    } else {
        month.checked_sub(3)?
    };
    let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + day_of_year;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second;
    let moment = Moment::at(seconds * 1_000_000);
    // A day that the month does not have comes back as another.
    ((moment.year, moment.month, moment.day) == (year, month, day)).then_some(seconds * 1_000_000)
}

#[cfg(feature = "author")]
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.len() <= 4).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_taken_apart() {
        for (seconds, date, hour, minute, weekday) in [
            (0, "1970-01-01", 0, 0, "Thursday"),
            (951_782_399, "2000-02-28", 23, 59, "Monday"),
            (951_868_800, "2000-03-01", 0, 0, "Wednesday"),
            (1_709_210_096, "2024-02-29", 12, 34, "Thursday"),
            (4_107_542_399, "2100-02-28", 23, 59, "Sunday"),
            (4_107_542_400, "2100-03-01", 0, 0, "Monday"),
        ] {
            let moment = Moment::at(seconds * 1_000_000);
            assert_eq!(moment.date(), date);
            assert_eq!((moment.hour, moment.minute), (hour, minute), "{date}");
            assert_eq!(moment.day_of_week(), weekday, "{date}");
            assert_eq!(moment.unix_seconds, seconds);
        }
    }

    #[cfg(feature = "author")]
    #[test]
    fn moments_are_read_back() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2024-02-29T12:34:56Z", Some(1_709_210_096)),
            ("2026-01-27 09:00", Some(1_769_504_400)),
            ("2100-03-01T00:00:00", Some(4_107_542_400)),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-01-00", None),
            ("2026-01-27T24:00", None),
            ("1969-12-31", None),
            ("yesterday", None),
            ("", None),
        ] {
            let expected = seconds.map(|seconds: u64| seconds * 1_000_000);
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_last_moment_there_is_does_not_overflow() {
        assert_eq!(Moment::at(u64::MAX).year, 586_524);
    }
}
