//! A wasm filter that asks Envoy for all that ours asks for in an exchange, hands over as
//! much, and does nothing with it: what Envoy takes for an inspecting filter that writes
//! evidence, before it has read or decided anything (`./justw bench envoy`).
//!
//! The request is held until it is whole; request, answer and both heads are fetched; two
//! lines as long as a record are told to the access log, one before the request leaves and
//! one at the end; those of the end are sent in batches. It has no state but the one thread's
//! that the host calls it on. [`empty`](../../empty) is the filter that asks for nothing.

#![cfg(target_arch = "wasm32")]
#![expect(unsafe_code, reason = "the proxy-wasm ABI is a C ABI")]

use std::cell::RefCell;
use std::ptr::null_mut;

const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;
const REQUEST: i32 = 0;
const RESPONSE: i32 = 2;
const REQUEST_BODY: i32 = 0;
const RESPONSE_BODY: i32 = 1;
const COUNTER: i32 = 0;
/// Of the lines that our filter writes for the benchmark's exchange, in bytes.
const PROVISIONAL: usize = 911;
const RECORD: usize = 1_271;
const ID: &str = "01a21de3-d211-7342-956e-0742d5a81d80";
/// How often our filter looks at its outbox, and what it sends at most.
const TICK_MS: u32 = 100;
const BATCH: usize = 500 * (RECORD + 1);
/// Metrics that one exchange moves.
const METRICS: u32 = 6;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> i32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> i32;
    fn proxy_get_buffer_bytes(
        buffer: i32,
        start: usize,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> i32;
    fn proxy_get_header_map_pairs(map: i32, data: *mut *mut u8, size: *mut usize) -> i32;
    fn proxy_replace_header_map_value(
        map: i32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> i32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> i32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> i32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> i32;
    fn proxy_define_metric(kind: i32, name: *const u8, name_size: usize, id: *mut u32) -> i32;
    fn proxy_increment_metric(id: u32, offset: i64) -> i32;
}

/// What is kept between calls.
#[derive(Default)]
struct Kept {
    record: Vec<u8>,
    outbox: Vec<u8>,
    is_sending: bool,
    metric: u32,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes: Vec<u8> = Vec::with_capacity(size);
    let data = bytes.as_mut_ptr();
    std::mem::forget(bytes);
    data
}

/// Takes what the host hands over, and lets it go.
fn fetch(ask: impl FnOnce(*mut *mut u8, *mut usize) -> i32) {
    let (mut data, mut size) = (null_mut(), 0);
    if ask(&mut data, &mut size) == 0 && !data.is_null() && size > 0 {
        // SAFETY: the host wrote `size` bytes into memory of that capacity that it had from
        // `proxy_on_memory_allocate`.
        drop(std::hint::black_box(unsafe {
            Vec::from_raw_parts(data, size, size)
        }));
    }
}

fn headers(map: i32) {
    // SAFETY: the host writes one pointer and one size.
    fetch(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) });
}

fn body(buffer: i32, length: usize) {
    // SAFETY: the host writes one pointer and one size.
    fetch(|data, size| unsafe { proxy_get_buffer_bytes(buffer, 0, length, data, size) });
}

fn property(path: &str) {
    // SAFETY: the host reads `path` and writes one pointer and one size.
    fetch(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) });
}

fn set_header(map: i32, name: &str, value: &str) {
    let (name, name_size) = (name.as_ptr(), name.len());
    // SAFETY: the host reads both texts during the call.
    unsafe { proxy_replace_header_map_value(map, name, name_size, value.as_ptr(), value.len()) };
}

fn now() {
    let mut time = 0;
    // SAFETY: the host writes one u64.
    unsafe { proxy_get_current_time_nanoseconds(&mut time) };
    std::hint::black_box(time);
}

fn witness(line: &[u8]) {
    const NAME: &str = "mercator.evidence";
    // SAFETY: the host reads both during the call.
    unsafe { proxy_set_property(NAME.as_ptr(), NAME.len(), line.as_ptr(), line.len()) };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, _size: usize) -> bool {
    KEPT.with_borrow_mut(|kept| {
        kept.record = br#"{"name":"value","n":1}"#.iter().copied().cycle().take(RECORD).collect();
        let name = "mercator_calls_total";
        // SAFETY: the host reads `name` and writes one u32.
        unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &mut kept.metric) };
    });
    // SAFETY: no memory is passed.
    unsafe { proxy_set_tick_period_milliseconds(TICK_MS) == 0 }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_id: u32, root: u32) {
    if root != 0 {
        now();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_id: u32, _headers: usize, end: bool) -> u32 {
    headers(REQUEST);
    property("source\0address");
    if end { CONTINUE } else { PAUSE }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_id: u32, size: usize, end: bool) -> u32 {
    if !end {
        return PAUSE;
    }
    body(REQUEST_BODY, size);
    now();
    now();
    set_header(REQUEST, "accept-encoding", "identity");
    KEPT.with_borrow(|kept| witness(kept.record.get(..PROVISIONAL).unwrap_or_default()));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(_id: u32, _trailers: usize) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(_id: u32, _headers: usize, _end: bool) -> u32 {
    headers(RESPONSE);
    set_header(RESPONSE, "x-mercator-decision-id", ID);
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(_id: u32, size: usize, _end: bool) -> u32 {
    body(RESPONSE_BODY, size);
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
    now();
    property("response\0code");
    property("response\0code_details");
    KEPT.with_borrow_mut(|kept| {
        for _ in 0..METRICS {
            // SAFETY: no memory is passed.
            unsafe { proxy_increment_metric(kept.metric, 1) };
        }
        witness(&kept.record);
        if kept.outbox.len() < 16 * BATCH {
            kept.outbox.extend_from_slice(&kept.record);
            kept.outbox.push(b'\n');
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

fn send() {
    const UPSTREAM: &str = "sink";
    // One batch at a time, as ours.
    let batch: Vec<u8> = KEPT.with_borrow_mut(|kept| {
        if kept.is_sending || kept.outbox.is_empty() {
            return vec![];
        }
        kept.is_sending = true;
        let size = kept.outbox.len().min(BATCH);
        kept.outbox.drain(..size).collect()
    });
    if batch.is_empty() {
        return;
    }
    let headers = pairs(&[
        (":method", "POST"),
        (":path", "/v1/evidence"),
        (":authority", UPSTREAM),
        ("content-type", "application/x-ndjson"),
    ]);
    let trailers = pairs(&[]);
    let mut token = 0;
    // SAFETY: the host reads all of it during the call and writes one u32.
    let status = unsafe {
        proxy_http_call(
            UPSTREAM.as_ptr(),
            UPSTREAM.len(),
            headers.as_ptr(),
            headers.len(),
            batch.as_ptr(),
            batch.len(),
            trailers.as_ptr(),
            trailers.len(),
            5_000,
            &mut token,
        )
    };
    KEPT.with_borrow_mut(|kept| kept.is_sending = status == 0);
}

/// The ABI's form of a header map: count, sizes, then NUL-ended texts.
fn pairs(headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |n: usize| (n as u32).to_le_bytes();
    let mut bytes = number(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
