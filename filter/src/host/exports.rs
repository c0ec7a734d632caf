//! Envoy's callbacks, by their ABI names.
//!
//! INVARIANT: if the VM's state cannot be had (which the host's promise not
//! to re-enter rules out), a request is held, not passed.

#![expect(unsafe_code, reason = "exported names are part of the ABI")]

use super::vm::{Action, Vm};
use std::cell::RefCell;

thread_local! {
    static VM: RefCell<Vm> = RefCell::new(Vm::default());
}

fn with<T>(otherwise: T, act: impl FnOnce(&mut Vm) -> T) -> T {
    VM.with(|vm| match vm.try_borrow_mut() {
        Ok(mut vm) => act(&mut vm),
        Err(_) => otherwise,
    })
}

/// The ABI we speak; only its name counts.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    with(false, |vm| vm.configure(root, size))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, root: u32) {
    with((), |vm| {
        if root == 0 {
            vm.create_root(id)
        } else {
            vm.create_exchange(id, root)
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _headers: usize, end: bool) -> i32 {
    with(Action::Pause, |vm| vm.request_headers(id, end)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(id: u32, buffered: usize, end: bool) -> i32 {
    with(Action::Pause, |vm| vm.request_body(id, buffered, end)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(id: u32, _trailers: usize) -> i32 {
    with(Action::Pause, |vm| vm.request_trailers(id)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _headers: usize, end: bool) -> i32 {
    with(Action::Continue, |vm| vm.response_headers(id, end)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(id: u32, size: usize, end: bool) -> i32 {
    with(Action::Continue, |vm| vm.response_body(id, size, end)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(id: u32, _trailers: usize) -> i32 {
    with(Action::Continue, |vm| vm.response_trailers(id)) as i32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    with((), |vm| vm.log(id));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(id: u32) -> bool {
    with(true, |vm| vm.close_root(id))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    with((), |vm| vm.delete(id));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    with((), |vm| vm.on_tick(root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    _headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    with((), |vm| vm.call_answered(root, token, body_size));
}
