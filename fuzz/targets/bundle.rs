//! Any bytes as a bundle, records put together as the bytes choose, and bundles of the
//! examples with some bytes changed.
#![no_main]

use jupiter_policy::author::generate;
use std::sync::LazyLock;

static EXAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(jupiter_fuzz::example_bundles);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let version = jupiter_policy::FORMAT_VERSION.to_le_bytes();
    jupiter_fuzz::bundle(&[b"MJPB", &version[..], bytes].concat());

    jupiter_fuzz::bundle(&generate::bundle(bytes));
    jupiter_fuzz::bundle(&generate::any_bundle(bytes));

    // The example, then places and what is there instead.
    let Some((which, edits)) = bytes.split_first() else {
        return;
    };
    let mut bundle = EXAMPLES[usize::from(*which) % EXAMPLES.len()].clone();
    for edit in edits.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bundle.len();
        bundle[at] = edit[2];
    }
    jupiter_fuzz::bundle(&bundle);
});
