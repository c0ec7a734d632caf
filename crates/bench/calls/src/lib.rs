//! A wasm filter that asks Envoy for all that ours asks for in an exchange, hands over as
//! much, and does nothing with it: what Envoy takes for an inspecting filter that writes
//! evidence, before it has read or decided anything (`./justw bench envoy`).
//!
//! The request is held until it is whole; request, answer and both heads are fetched; two
//! lines as long as a record are told to the access log, one before the request leaves and
//! one at the end; those of the end are sent in batches. The calls are those of the filter
//! itself, `filter/src/host/abi.rs`. `crates/bench/empty` is the filter that asks for nothing.

#![cfg(target_arch = "wasm32")]
#![expect(unsafe_code, reason = "exported names are part of the ABI")]

#[expect(dead_code, reason = "the filter's, which needs more of it")]
#[path = "../../../../filter/src/host/abi.rs"]
mod abi;
#[expect(dead_code, reason = "the filter's, which needs more of it")]
#[path = "../../../../filter/src/metrics.rs"]
mod metrics;

use abi::{Buffer, Map};
use metrics::MetricKind;
use std::cell::RefCell;
use std::hint::black_box;

const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;
/// Of the lines that our filter writes for the benchmark's exchange, in bytes.
const PROVISIONAL: usize = 911;
const RECORD: usize = 1_271;
const ID: &str = "01a21de3-d211-7342-956e-0742d5a81d80";
/// How often our filter looks at its outbox, and what it sends at most.
const TICK_MS: u32 = 100;
const BATCH: usize = 500 * (RECORD + 1);
/// Metrics that one exchange moves.
const METRICS: u32 = 6;

/// What is kept between calls.
#[derive(Default)]
struct Kept {
    record: String,
    outbox: String,
    is_sending: bool,
    metric: u32,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// As ours would say that a call failed: what is measured then is not what is meant.
fn must<T>(done: Result<T, abi::HostError>) {
    if let Err(error) = done {
        abi::log(abi::Level::Error, &error.to_string());
    }
}

fn witness(line: &str) {
    must(abi::set_property("mercator.evidence", line));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, _size: usize) -> bool {
    let metric = abi::define_metric(MetricKind::Counter, "mercator_calls_total");
    KEPT.with_borrow_mut(|kept| {
        kept.record = r#"{"name":"value","n":1}"#.chars().cycle().take(RECORD).collect();
        kept.metric = metric.unwrap_or_default();
    });
    abi::set_tick_period(TICK_MS).is_ok() && metric.is_ok()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_id: u32, root: u32) {
    if root != 0 {
        black_box(abi::now_us());
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_id: u32, _headers: usize, end: bool) -> u32 {
    black_box(abi::headers(Map::Request));
    black_box(abi::property(&["source", "address"]));
    if end { CONTINUE } else { PAUSE }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_id: u32, size: usize, end: bool) -> u32 {
    if !end {
        return PAUSE;
    }
    must(abi::buffer(Buffer::RequestBody, size).map(black_box));
    black_box(abi::now_us());
    black_box(abi::now_us());
    must(abi::set_header(Map::Request, "accept-encoding", "identity"));
    KEPT.with_borrow(|kept| witness(kept.record.get(..PROVISIONAL).unwrap_or_default()));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(_id: u32, _trailers: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(_id: u32, _headers: usize, _end: bool) -> u32 {
    black_box(abi::headers(Map::Response));
    must(abi::set_header(Map::Response, "x-mercator-decision-id", ID));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(_id: u32, size: usize, _end: bool) -> u32 {
    must(abi::buffer(Buffer::ResponseBody, size).map(black_box));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(_id: u32, _trailers: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_id: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(_id: u32) {
    black_box(abi::now_us());
    black_box(abi::property(&["response", "code"]));
    black_box(abi::property(&["response", "code_details"]));
    KEPT.with_borrow_mut(|kept| {
        (0..METRICS).for_each(|_| abi::increment_metric(kept.metric, 1));
        witness(&kept.record);
        if kept.outbox.len() < 16 * BATCH {
            kept.outbox.push_str(&kept.record);
            kept.outbox.push('\n');
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(_id: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(_root: u32) {
    send();
}

/// The next batch goes at once when the last has arrived and a whole one waits.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(_r: u32, _t: u32, _h: usize, _b: usize, _n: usize) {
    let waits = KEPT.with_borrow_mut(|kept| {
        kept.is_sending = false;
        kept.outbox.len() >= BATCH
    });
    if waits {
        send();
    }
}

/// One batch at a time, as ours.
fn send() {
    let batch: String = KEPT.with_borrow_mut(|kept| {
        if kept.is_sending || kept.outbox.is_empty() {
            return String::new();
        }
        let size = kept.outbox.len().min(BATCH);
        let rest = kept.outbox.split_off(size);
        std::mem::replace(&mut kept.outbox, rest)
    });
    if batch.is_empty() {
        return;
    }
    let headers = [
        (":method", "POST"),
        (":path", "/v1/evidence"),
        (":authority", "sink"),
        ("content-type", "application/x-ndjson"),
    ];
    let call = abi::http_call("sink", &headers, &batch, 5_000);
    KEPT.with_borrow_mut(|kept| kept.is_sending = call.is_ok());
    must(call);
}
