//! Work is counted, not timed: reads per byte stay below a bound on every hostile text.

use super::engine::Engine;
use super::kind::KindSet;
use super::text::Text;

/// Reads per byte that no text may exceed.
const BOUND: u64 = 40;

fn reads(text: &[u8]) -> u64 {
    let text = Text::new(text, 0, true);
    let mut engine = Engine::new(KindSet::ALL);
    engine.run(&text, &mut Vec::new());
    text.reads.get()
}

/// One hostile unit per lane and trick, repeated.
const UNITS: &[&str] = &[
    "@",
    "a@",
    "a@a.",
    "a@a.aa ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@",
    "1",
    "1 ",
    "1-",
    "1.",
    "12 ",
    "123-45-678 ",
    "(0) ",
    "+1 ",
    "+44 20 7946 0958 ",
    "(212) 555-0187 ",
    "0 1 2 3 4 5 6 7 8 9 ",
    "4111 1111 1111 1112 ",
    "411111111111111",
    "phone 1234567 ",
    "1234567 a ",
    "61 22 33 44 ",
    "DE89",
    "DE89 3704 0044 0532 0130 01 ",
    ":",
    "::",
    "a:",
    "1:2:",
    "1::",
    "fe80::1%",
    "1.1.1.1.",
    "a1",
    "a1-",
    "a1/",
    "a1.",
    "a1=",
    "key=a1b2c3d4e5f6a7b8 ",
    "token: q8Zt4Wn1Lx7Vb3Kd9Rm2q8Zt4Wn1Lx7Vb3Kd9Rm2 ",
    "sk-",
    "ghp_",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9.",
    "eyJhbGciOiJIUzI1NiJ9.eyJhbGciOiJIUzI1NiJ9.eyJh ",
    "http://",
    "http://a:",
    "http://a:b",
    "http://a:http://b:",
    "http://a@",
    "password=",
    "password: a",
    "password is ",
    "pass=$1",
    "密码：",
    "pwd ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----a-----END ",
    "ignore ",
    "ignore all previous ",
    "you are in dan ",
    "repeat the text of the ",
    "without any ",
    "do not ",
    "print your ",
    "忽略",
    "忽略以",
    "忽略以上",
    "無視",
    "以前の",
    "игнорируй ",
    "игнорируй все ",
    "é",
    "\u{a0}",
    "’",
    "aB",
    "A",
    "_a",
    "<|",
    "\\",
    " ",
    "passport a12345 ",
    "x1x1x1x1x1x1x1x1 ",
];

#[test]
fn work_is_bounded_by_the_length_of_the_text() {
    for unit in UNITS {
        for length in [1 << 12, 1 << 16] {
            let text = unit.repeat(length / unit.len());
            let reads = reads(text.as_bytes());
            assert!(
                reads <= BOUND * text.len() as u64,
                "{unit:?} × {}: {} reads per byte",
                length / unit.len(),
                reads / text.len() as u64
            );
        }
    }
}

#[test]
fn two_hostile_units_are_no_worse_together() {
    for one in UNITS {
        for two in UNITS {
            let text = format!("{one}{two}");
            let text = text.repeat((1 << 12) / text.len());
            let reads = reads(text.as_bytes());
            assert!(
                reads <= BOUND * text.len() as u64,
                "{one:?} {two:?}: {} reads per byte",
                reads / text.len() as u64
            );
        }
    }
}
