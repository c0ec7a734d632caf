//! The few calls of the proxy-wasm ABI that a module needs which only gets a configuration.

#![expect(unsafe_code, reason = "the proxy-wasm ABI is a C ABI")]

#[cfg(not(feature = "tasks"))]
use std::hint::black_box;

const PLUGIN_CONFIGURATION: i32 = 7;
const WARN: i32 = 3;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: i32, message: *const u8, size: usize) -> i32;
    #[cfg(feature = "tasks")]
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> i32;
    fn proxy_get_buffer_bytes(
        buffer: i32,
        start: usize,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> i32;
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_id: u32, _root: u32) {}

/// Memory for the host to write into, as the ABI asks.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes: Vec<u8> = Vec::with_capacity(size);
    let data = bytes.as_mut_ptr();
    std::mem::forget(bytes);
    data
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    answer(&configuration(size), &mut |line| {
        // SAFETY: the host reads the line during the call.
        unsafe { proxy_log(WARN, line.as_ptr(), line.len()) };
    });
    true
}

fn configuration(length: usize) -> Vec<u8> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the host writes one pointer and one size.
    let status =
        unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, length, &mut data, &mut size) };
    if status != 0 || data.is_null() {
        return Vec::new();
    }
    // SAFETY: the host wrote `size` bytes into memory of that capacity that it had from
    // `proxy_on_memory_allocate`, and hands it over exactly once.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

#[cfg(feature = "tasks")]
fn answer(task: &[u8], say: &mut dyn FnMut(&str)) {
    crate::tasks::carry_out(task, &now_ns, say);
}

#[cfg(feature = "tasks")]
fn now_ns() -> u64 {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64.
    unsafe { proxy_get_current_time_nanoseconds(&mut nanoseconds) };
    nanoseconds
}

/// Reads the configuration as a request; with the evaluator, decides it by the bundle
/// behind its first NUL. What both of them need is in both, and so is what the filter's
/// other parts need anyway: digests, and of the standard library the search in texts and
/// their writing in quotes.
#[cfg(not(feature = "tasks"))]
fn answer(input: &[u8], say: &mut dyn FnMut(&str)) {
    use jupiter_provider::{Api, read_request};
    use sha2::{Digest, Sha256};

    let cut = input.iter().position(|byte| *byte == 0);
    let (body, bundle) = input.split_at(cut.unwrap_or(input.len()));
    say(&format!("{:?}", Sha256::digest(bundle)));
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    if text(body).contains(text(bundle)) {
        say(&format!("{:?}", text(body)));
    }
    match read_request(Api::ChatCompletions, body) {
        Err(cause) => say(&cause.to_string()),
        Ok(read) => {
            #[cfg(not(feature = "evaluator"))]
            black_box(read);
            #[cfg(feature = "evaluator")]
            decide(read.facts, bundle, say);
        }
    }
}

#[cfg(all(feature = "evaluator", not(feature = "tasks")))]
fn decide(request: jupiter_policy::facts::RequestFacts, bundle: &[u8], say: &mut dyn FnMut(&str)) {
    match jupiter_policy::Bundle::load(bundle) {
        Err(cause) => say(&cause.to_string()),
        Ok(bundle) => {
            let facts = jupiter_policy::facts::Facts {
                request,
                ..Default::default()
            };
            black_box(jupiter_policy::decide(&bundle, &facts));
        }
    }
}
