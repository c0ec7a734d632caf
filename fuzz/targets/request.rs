//! Any bytes as the body of a request.
#![no_main]

use jupiter_provider::{Api, read_request};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for api in [Api::ChatCompletions, Api::Messages, Api::Embeddings, Api::Models] {
        match read_request(api, body) {
            Ok(read) => {
                // What is said to be text is text of the body, at most once.
                let text: usize = read.facts.texts().map(str::len).sum();
                assert!(text <= body.len());
            }
            Err(cause) => assert!(!cause.to_string().is_empty() && !cause.code().is_empty()),
        }
    }
});
