//! Any bytes as a text for the detectors, cut anywhere.
#![no_main]

use jupiter_detect::detectors::{Detectors, Finding};

/// The first byte says how the rest is cut.
fn in_parts(cuts: u8, text: &[u8]) -> Vec<Finding> {
    let mut stream = Detectors::all().stream();
    let mut found = Vec::new();
    let mut rest = text;
    let mut lot = u32::from(cuts);
    while !rest.is_empty() {
        lot = lot.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = 1 << (cuts & 7);
        let length = 1 + (lot >> 16) as usize % most;
        let (part, after) = rest.split_at(length.min(rest.len()));
        let held = stream.held_from();
        let known = found.len();
        stream.push(part, &mut found);
        assert!(stream.held_from() >= held, "what was let go is not held again");
        assert!(found[known..].iter().all(|it| it.start >= held), "nor found");
        rest = after;
    }
    stream.finish(&mut found);
    found
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((cuts, text)) = input.split_first() else {
        return;
    };
    let found = Detectors::all().scan(text);
    let mut end = 0;
    for finding in &found {
        assert!(finding.start >= end && finding.end > finding.start && finding.end <= text.len());
        end = finding.end;
    }
    assert_eq!(in_parts(*cuts, text), found);
    // Work is bounded by the length: a text of a megabyte takes no more than the fuzzer's
    // patience for one input.
    if (8..=64).contains(&text.len()) && *cuts == 0 {
        Detectors::all().scan(&text.repeat((1 << 20) / text.len()));
    }
});
