//! The same sets under criterion, for comparing one state of the code with another:
//! `cargo bench -p jupiter-bench`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use jupiter_bench::sets;
use jupiter_policy::{Bundle, decide};
use jupiter_provider::{Api, read_request};
use std::hint::black_box;

fn policy(criterion: &mut Criterion) {
    let timings = sets::timings(0).unwrap();
    for set in &timings.sets {
        let bundle = Bundle::load(&set.bundle).unwrap();
        criterion.bench_function(&format!("decide: {}", set.name), |bencher| {
            bencher.iter(|| decide(black_box(&bundle), black_box(&set.facts)));
        });
        criterion.bench_function(&format!("load: {}", set.name), |bencher| {
            bencher.iter(|| Bundle::load(black_box(&set.bundle)));
        });
    }
    criterion.bench_function("read a chat request", |bencher| {
        bencher.iter(|| read_request(Api::ChatCompletions, black_box(&timings.body)));
    });
}

criterion_group!(benches, policy);
criterion_main!(benches);
