//! Any text as a policy.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| jupiter_fuzz::policy_text(text));
