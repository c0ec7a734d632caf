//! Waits on conditions, never for a length of time, and fails with reasons.

use std::fmt::Debug;
use std::time::Duration;

pub use jupiter_installation::wait::PATIENCE;

/// Look until `look` finds something; fail the test after [`PATIENCE`].
///
/// `look` returns what it saw instead when it isn't there yet: the last such
/// sight is what the failure shows.
pub async fn until<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_within(PATIENCE, what, look).await
}

/// [`until`] with its own bound.
pub async fn until_within<T, E: Debug>(
    patience: Duration,
    what: &str,
    look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let found = jupiter_installation::wait::until_within(patience, what, look).await;
    found.unwrap_or_else(|error| fail(&error.to_string()))
}

/// End the test: something the harness needs is not as it must be.
#[track_caller]
#[expect(clippy::panic, reason = "to fail a test is what a harness is for")]
pub fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// The value, or the end of the test.
pub(crate) trait OrFail<T> {
    fn or_fail(self, what: &str) -> T;
}

impl<T, E: Debug> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => fail(&format!("{what}: {error:?}")),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    #[track_caller]
    fn or_fail(self, what: &str) -> T {
        match self {
            Some(value) => value,
            None => fail(what),
        }
    }
}
