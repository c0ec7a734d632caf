//! Which instances live, as far as this one can tell.
//!
//! No two clocks are compared: an instance is silent when what it last said has
//! stayed the same for a while by our clock, during which we could hear it. After
//! a time without the database all are given that while anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::store::SignOfLife;

/// Who says nothing for so long has lost what it had in hand, or will not be asked
/// for it: load balancers found out earlier.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Who listens so rarely has heard nothing.
const LISTENS_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Heard(Mutex<Signs>);

#[derive(Debug, Default)]
struct Signs {
    last: Option<Instant>,
    /// What each said, and since when it says that.
    of: BTreeMap<String, (Timestamp, Instant)>,
}

impl Heard {
    /// What all instances said last, as it is now.
    pub(super) fn hear(&self, signs: Vec<SignOfLife>, now: Instant) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listened = heard
            .last
            .is_some_and(|last| now.duration_since(last) <= LISTENS_EVERY);
        let of = signs.into_iter().map(|sign| {
            let since = match heard.of.get(&sign.instance) {
                Some((at, since)) if listened && *at == sign.at => *since,
                _ => now,
            };
            (sign.instance, (sign.at, since))
        });
        heard.of = of.collect();
        heard.last = Some(now);
    }

    /// Of whom nothing was ever heard is not silent.
    pub(super) fn is_silent(&self, instance: &str) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (heard.last, heard.of.get(instance)) {
            (Some(last), Some((_, since))) => last.duration_since(*since) >= SILENT_AFTER,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::samples::at;

    fn said(instance: &str, seconds: u64) -> SignOfLife {
        SignOfLife {
            instance: instance.to_owned(),
            at: at(seconds * 1_000_000),
        }
    }

    #[test]
    fn who_says_the_same_for_long_enough_is_silent() {
        let (heard, began) = (Heard::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!heard.is_silent("jupiter-1"), "never heard of");
        for second in 0..=5 {
            let signs = vec![said("jupiter-1", 0), said("jupiter-2", second)];
            assert!(!heard.is_silent("jupiter-1"), "{second}");
            heard.hear(signs, after(second));
        }
        assert!(heard.is_silent("jupiter-1"));
        assert!(!heard.is_silent("jupiter-2"));
        // Its clock may stand anywhere; that it says something else counts.
        heard.hear(vec![said("jupiter-1", 1)], after(6));
        assert!(!heard.is_silent("jupiter-1"));
    }

    #[test]
    fn nobody_is_silent_while_nobody_could_be_heard() {
        let (heard, began) = (Heard::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        heard.hear(vec![said("jupiter-1", 0)], after(0));
        for second in [20, 22, 24] {
            heard.hear(vec![said("jupiter-1", 0)], after(second));
            assert!(!heard.is_silent("jupiter-1"), "{second}");
        }
        heard.hear(vec![said("jupiter-1", 0)], after(25));
        assert!(heard.is_silent("jupiter-1"));
    }
}
