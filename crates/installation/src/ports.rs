//! Free loopback ports for programs that must be told theirs.
//!
//! Taken from below the range the kernel hands to outgoing connections:
//! otherwise one of a load's own connections could sit on a port between the
//! moment it is found free and the moment the program binds it.

use crate::InstallationError;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;

/// A port that nobody listens on, and that nobody else of this process gets.
pub fn free_port() -> Result<u16, InstallationError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs running beside each other start at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT));
    let offset = offset.unwrap_or_default();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset.wrapping_add(step)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("0.0.0.0", port)).is_ok()
        {
            return Ok(port);
        }
    }
    Err(InstallationError::NoPort)
}
