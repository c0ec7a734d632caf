//! One pattern on its own: load its bytes, ask whether a text matches.

use crate::table::{self, Lane, PatternLoadError, Starts, Table};
use core::fmt;

/// A loaded pattern, found anywhere in a text unless it is anchored with `^` or `$`.
pub struct TextPattern {
    pub(crate) lane: Lane,
    pub(crate) literals: Vec<Vec<u8>>,
    pub(crate) table: Table,
}

impl TextPattern {
    /// Loads what `compile` made, in time linear in the number of bytes.
    #[inline]
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

    /// What the pattern may cost per byte of a hostile text, in steps of one table.
    pub fn weight(&self) -> u32 {
        match (self.table.begins, self.lane) {
            // Equal runs are merged: rarely more than a few are left.
            (Starts::Told, _) => 16,
            (Starts::Anywhere, Lane::Always) => 4,
            (Starts::Anywhere, Lane::Required) => 2,
            (Starts::Anywhere, Lane::Prefix) => 1,
        }
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
