//! One pattern on its own: load its bytes, ask whether a text matches.

use crate::table::{self, Lane, PatternLoadError, Table};
use core::fmt;

/// A loaded pattern, found anywhere in a text unless it is anchored with `^` or `$`.
pub struct TextPattern {
    pub(crate) lane: Lane,
    pub(crate) literals: Vec<Vec<u8>>,
    pub(crate) table: Table,
}

impl TextPattern {
    /// Loads what `compile` made, in time linear in the number of bytes.
    pub fn load(bytes: &[u8]) -> Result<TextPattern, PatternLoadError> {
        let table::Loaded {
            lane,
            literals,
            table,
        } = table::decode(bytes)?;
        Ok(TextPattern {
            lane,
            literals,
            table,
        })
    }

    /// Whether the pattern occurs in the text. Linear time, no allocation.
    pub fn is_match(&self, text: &str) -> bool {
        self.table.is_match(text.as_bytes())
    }
}

impl fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPattern")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}
