//! Envoy's host calls, each a `Result`.
//!
//! The only unsafe code of the project. Memory that the host hands over was
//! allocated by [`proxy_on_memory_allocate`] and is freed by [`take_bytes`].

#![expect(unsafe_code, reason = "the proxy-wasm ABI is a C ABI")]

use crate::metrics::MetricKind;
use std::fmt;

/// A host call did not succeed; the ABI's status number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostError {
    call: &'static str,
    status: i32,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered status {}", self.call, self.status)
    }
}

const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
/// A stream's request and answer by their ABI numbers.
const REQUEST_STREAM: i32 = 0;
const RESPONSE_STREAM: i32 = 1;

/// Header maps by their ABI numbers.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Map {
    Request = 0,
    Response = 2,
    CallResponse = 6,
}

/// Buffers by their ABI numbers.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    CallResponseBody = 4,
    PluginConfiguration = 7,
}

/// Log levels by their ABI numbers.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Level {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: i32, message: *const u8, size: usize) -> i32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> i32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> i32;
    fn proxy_get_buffer_bytes(
        buffer: i32,
        start: usize,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> i32;
    fn proxy_get_header_map_value(
        map: i32,
        key: *const u8,
        key_size: usize,
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
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
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
    fn proxy_remove_header_map_value(map: i32, key: *const u8, key_size: usize) -> i32;
    fn proxy_set_buffer_bytes(
        buffer: i32,
        start: usize,
        length: usize,
        data: *const u8,
        size: usize,
    ) -> i32;
    fn proxy_continue_stream(stream: i32) -> i32;
    fn proxy_close_stream(stream: i32) -> i32;
    fn proxy_set_effective_context(id: u32) -> i32;
    fn proxy_done() -> i32;
    fn proxy_define_metric(kind: i32, name: *const u8, name_size: usize, id: *mut u32) -> i32;
    fn proxy_increment_metric(id: u32, offset: i64) -> i32;
    fn proxy_record_metric(id: u32, value: u64) -> i32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(data: *mut u8, size: usize) -> i32;
}

fn check(call: &'static str, status: i32) -> Result<(), HostError> {
    if status == OK {
        Ok(())
    } else {
        Err(HostError { call, status })
    }
}

/// Memory for the host to write into, as the ABI asks.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes: Vec<u8> = Vec::with_capacity(size);
    let data = bytes.as_mut_ptr();
    std::mem::forget(bytes);
    data
}

/// Takes over what the host wrote into our memory.
fn take_bytes(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() || size == 0 {
        return vec![];
    }
    // SAFETY: the host wrote `size` bytes into memory of that capacity that it
    // had from `proxy_on_memory_allocate`, and hands it over exactly once.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// A host call that hands over bytes; `None` when there are none by that name.
fn fetch(
    call: &'static str,
    ask: impl FnOnce(*mut *mut u8, *mut usize) -> i32,
) -> Result<Option<Vec<u8>>, HostError> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    match ask(&mut data, &mut size) {
        OK => Ok(Some(take_bytes(data, size))),
        NOT_FOUND => Ok(None),
        status => Err(HostError { call, status }),
    }
}

pub(super) fn log(level: Level, message: &str) {
    // SAFETY: the host reads `message` during the call. What can't be logged is lost.
    unsafe { proxy_log(level as i32, message.as_ptr(), message.len()) };
}

/// Microseconds since the Unix epoch; 0 if the host has no clock.
pub(super) fn now_us() -> u64 {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64.
    unsafe { proxy_get_current_time_nanoseconds(&mut nanoseconds) };
    nanoseconds / 1_000
}

pub(super) fn set_tick_period(milliseconds: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    check("proxy_set_tick_period_milliseconds", unsafe {
        proxy_set_tick_period_milliseconds(milliseconds)
    })
}

pub(super) fn buffer(buffer: Buffer, length: usize) -> Result<Option<Vec<u8>>, HostError> {
    fetch("proxy_get_buffer_bytes", |data, size| {
        // SAFETY: the host writes one pointer and one size.
        unsafe { proxy_get_buffer_bytes(buffer as i32, 0, length, data, size) }
    })
}

/// A header as text; bytes that are not UTF-8 are replaced.
pub(super) fn header(map: Map, name: &str) -> Option<String> {
    let bytes = fetch("proxy_get_header_map_value", |data, size| {
        // SAFETY: the host reads `name` and writes one pointer and one size.
        unsafe { proxy_get_header_map_value(map as i32, name.as_ptr(), name.len(), data, size) }
    });
    bytes
        .ok()
        .flatten()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// All headers of a message, fetched at once: a call for each costs more.
pub(super) struct Headers {
    bytes: Vec<u8>,
}

pub(super) fn headers(map: Map) -> Headers {
    let bytes = fetch("proxy_get_header_map_pairs", |data, size| {
        // SAFETY: the host writes one pointer and one size.
        unsafe { proxy_get_header_map_pairs(map as i32, data, size) }
    });
    Headers {
        bytes: bytes.ok().flatten().unwrap_or_default(),
    }
}

impl Headers {
    /// A header as text, its values joined where there are several; bytes that are not
    /// UTF-8 are replaced.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let mut joined: Option<String> = None;
        for (_, value) in
            pairs_of(&self.bytes).filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()))
        {
            let value = String::from_utf8_lossy(value);
            match &mut joined {
                None => joined = Some(value.into_owned()),
                Some(before) => {
                    before.push_str(", ");
                    before.push_str(&value);
                }
            }
        }
        joined
    }
}

pub(super) fn set_header(map: Map, name: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: the host reads both texts during the call.
    check("proxy_replace_header_map_value", unsafe {
        proxy_replace_header_map_value(
            map as i32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes a header; that there was none is as good.
pub(super) fn remove_header(map: Map, name: &str) -> Result<(), HostError> {
    // SAFETY: the host reads `name` during the call.
    let status = unsafe { proxy_remove_header_map_value(map as i32, name.as_ptr(), name.len()) };
    match status {
        NOT_FOUND => Ok(()),
        status => check("proxy_remove_header_map_value", status),
    }
}

/// Puts `bytes` in the place of all that a buffer holds.
pub(super) fn set_buffer(buffer: Buffer, bytes: &[u8]) -> Result<(), HostError> {
    // SAFETY: the host reads `bytes` during the call.
    check("proxy_set_buffer_bytes", unsafe {
        proxy_set_buffer_bytes(buffer as i32, 0, usize::MAX, bytes.as_ptr(), bytes.len())
    })
}

/// Lets the held request of the current context go on.
pub(super) fn continue_request() -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    check("proxy_continue_stream", unsafe {
        proxy_continue_stream(REQUEST_STREAM)
    })
}

/// Breaks off the answer of the current context, provider's stream included.
pub(super) fn close_response() -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    check("proxy_close_stream", unsafe {
        proxy_close_stream(RESPONSE_STREAM)
    })
}

/// Makes an exchange the one that the next calls are about.
pub(super) fn set_effective_context(id: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    check("proxy_set_effective_context", unsafe {
        proxy_set_effective_context(id)
    })
}

pub(super) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    let bytes = fetch("proxy_get_property", |data, size| {
        // SAFETY: the host reads `path` and writes one pointer and one size.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }
    });
    bytes.ok().flatten()
}

/// The names and values of a header map in the ABI's form: their count, their sizes, then
/// each with a NUL behind it. What is not of that form has none.
fn pairs_of(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let count = number(0).unwrap_or(0);
    let mut at = count.saturating_mul(8).saturating_add(4);
    (0..count).map_while(move |nth| {
        let (name, value) = (number(4 + nth * 8)?, number(8 + nth * 8)?);
        let between = at.checked_add(name)?;
        let end = between.checked_add(1)?.checked_add(value)?;
        let pair = (bytes.get(at..between)?, bytes.get(between + 1..end)?);
        at = end + 1;
        Some(pair)
    })
}

/// A property that is a list of texts, in the ABI's form: a header map of names alone.
pub(super) fn list(bytes: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let count = number(0)?;
    let mut at = 4 + count.checked_mul(8)?;
    let mut texts = vec![];
    for item in 0..count {
        let (size, none) = (number(4 + item * 8)?, number(8 + item * 8)?);
        let text = bytes.get(at..at.checked_add(size)?)?;
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        at += size + none + 2;
    }
    (at == bytes.len()).then_some(texts)
}

pub(super) fn set_property(name: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: the host reads both texts during the call.
    check("proxy_set_property", unsafe {
        proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(super) fn send_local_response(
    status: u16,
    details: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(), HostError> {
    let headers = pairs(headers);
    // SAFETY: the host reads all of it during the call; -1 means no gRPC status.
    check("proxy_send_local_response", unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// Starts an HTTP call; the answer comes to the root context under the token.
pub(super) fn http_call(
    upstream: &str,
    headers: &[(&str, &str)],
    body: &str,
    timeout_ms: u32,
) -> Result<u32, HostError> {
    let (headers, trailers) = (pairs(headers), pairs(&[]));
    let mut token = 0;
    // SAFETY: the host reads all of it during the call and writes one u32.
    let status = unsafe {
        proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout_ms,
            &mut token,
        )
    };
    check("proxy_http_call", status).map(|()| token)
}

/// Tells the host that a root context that asked for time is done.
pub(super) fn done() -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    check("proxy_done", unsafe { proxy_done() })
}

pub(super) fn define_metric(kind: MetricKind, name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: the host reads `name` and writes one u32.
    let status = unsafe { proxy_define_metric(kind as i32, name.as_ptr(), name.len(), &mut id) };
    check("proxy_define_metric", status).map(|()| id)
}

pub(super) fn increment_metric(id: u32, by: i64) {
    // SAFETY: no memory is passed. A lost increment is not worth failing for.
    unsafe { proxy_increment_metric(id, by) };
}

/// Sets a gauge, adds a value to a histogram.
pub(super) fn record_metric(id: u32, value: u64) {
    // SAFETY: no memory is passed. A lost value is not worth failing for.
    unsafe { proxy_record_metric(id, value) };
}

/// Random bytes of the host's own generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], HostError> {
    let mut bytes = [0; N];
    // SAFETY: the host writes `N` bytes.
    check("random_get", unsafe { random_get(bytes.as_mut_ptr(), N) })?;
    Ok(bytes)
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
