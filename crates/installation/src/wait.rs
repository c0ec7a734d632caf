//! Waits on conditions, never for a length of time.

use crate::InstallationError;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a cold wasm compilation on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until `look` finds something, at most for [`PATIENCE`].
///
/// `look` returns what it saw instead when it isn't there yet: the last such
/// sight is what the error shows.
pub async fn until<T, E: Debug>(
    what: &str,
    look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, InstallationError> {
    until_within(PATIENCE, what, look).await
}

/// [`until`] with its own bound.
pub async fn until_within<T, E: Debug>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, InstallationError> {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(instead) if started.elapsed() > patience => {
                return Err(InstallationError::TooLong {
                    what: what.to_owned(),
                    waited: patience,
                    seen: format!("{instead:?}"),
                });
            }
            Err(_) => tokio::time::sleep(BETWEEN_LOOKS).await,
        }
    }
}
