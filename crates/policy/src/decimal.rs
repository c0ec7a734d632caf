//! Numbers as people write them: `800`, `0.7`, `-1.25`.
//!
//! What has 15 digits or fewer is written exactly, as the standard library does, whose
//! writer would take a tenth of the filter's policy engine. Anything beyond is rounded, and
//! written with a power of ten where it is very large or very small.

/// Powers of ten that are exact.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// From here on not every whole number exists.
const WHOLE: f64 = 9_007_199_254_740_992.0;

pub(crate) fn written(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let mut text = String::new();
    if number.is_sign_negative() {
        text.push('-');
    }
    let size = number.abs();
    if size.is_infinite() {
        text.push_str("inf");
    } else if size == 0.0 || (1e-6..WHOLE).contains(&size) {
        digits(size, &mut text);
    } else {
        let (size, power) = scaled(size);
        digits(size, &mut text);
        text.push_str(if power < 0 { "e-" } else { "e" });
        text.push_str(&u64::from(power.unsigned_abs()).to_string());
    }
    text
}

/// The number as one between 1 and 10, and the power of ten it is to be multiplied with.
fn scaled(mut size: f64) -> (f64, i32) {
    let mut power = 0;
    while size >= 1e15 {
        size /= 1e15;
        power += 15;
    }
    while size < 1e-15 {
        size *= 1e15;
        power -= 15;
    }
    while size >= 10.0 {
        size /= 10.0;
        power += 1;
    }
    while size < 1.0 {
        size *= 10.0;
        power -= 1;
    }
    // Scaling has cost the last digits, and may have stopped just below ten.
    let rounded = (size * 1e12).round() / 1e12;
    match rounded >= 10.0 {
        true => (1.0, power + 1),
        false => (rounded, power),
    }
}

/// With as few decimals as name this number and no other, and 15 at most.
fn digits(size: f64, text: &mut String) {
    let mut last = (size.round(), 0);
    for (power, decimals) in POWERS.iter().zip(0..) {
        let whole = (size * power).round();
        if whole >= WHOLE {
            break;
        }
        last = (whole, decimals);
        if whole / power == size {
            break;
        }
    }
    let (whole, decimals) = last;
    // Below 2^53: exact.
    let figures = (whole as u64).to_string();
    let (before, after) = figures
        .split_at_checked(figures.len().saturating_sub(decimals))
        .unwrap_or_default();
    text.push_str(if before.is_empty() { "0" } else { before });
    let after = after.trim_end_matches('0');
    if !after.is_empty() {
        text.push('.');
        let missing = decimals.saturating_sub(figures.len());
        for _ in 0..missing {
            text.push('0');
        }
        text.push_str(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_people_do() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (800.0, "800"),
            (0.7, "0.7"),
            (-1.25, "-1.25"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (1_772_620_200.0, "1772620200"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333333333333"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1e300, "1e300"),
            (-2.5e-300, "-2.5e-300"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(written(number), text);
        }
    }

    proptest! {
        #[test]
        fn fifteen_digits_are_written_as_the_standard_library_does(
            whole in -999_999_999_999_999..999_999_999_999_999_i64,
            power in 0..16usize,
        ) {
            let number = whole as f64 / POWERS[power];
            if number == 0.0 || number.abs() >= 1e-6 {
                prop_assert_eq!(written(number), number.to_string());
            }
        }

        #[test]
        fn every_number_is_written_as_one_near_it(number in proptest::num::f64::NORMAL) {
            let read: f64 = written(number).parse().unwrap();
            prop_assert!((read / number - 1.0).abs() < 1e-9, "{} is written {}", number, written(number));
        }
    }
}
