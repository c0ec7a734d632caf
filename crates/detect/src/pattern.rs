//! The run side of a pattern: load a DFA's bytes, ask whether a text matches.
//!
//! Little-endian bytes as made by `compile`; wasm and the machines we run on are
//! little-endian, and the loader refuses the bytes of the other kind by itself.

use core::fmt;
use regex_automata::Input;
use regex_automata::dfa::{Automaton, dense};

/// A loaded pattern, found anywhere in a text unless it is anchored with `^` or `$`.
pub struct TextPattern {
    dfa: dense::DFA<Vec<u32>>,
}

/// Why bytes are not a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternLoadError {
    /// The bytes are cut short, corrupt, or of another version or byte order.
    Malformed(String),
    /// A pattern was read, and bytes are left over.
    TrailingBytes { count: usize },
}

impl TextPattern {
    /// Loads what `compile` made. Linear in the number of bytes: every transition is
    /// checked to lead to a state that exists, so a search stays inside the table.
    pub fn load(bytes: &[u8]) -> Result<TextPattern, PatternLoadError> {
        // The table holds u32s, and a slice of a bundle may start at any address.
        const ALIGN: usize = align_of::<u32>();
        let mut room = vec![0u8; bytes.len() + ALIGN];
        let start = room.as_ptr().align_offset(ALIGN);
        let malformed = || PatternLoadError::Malformed("cannot be aligned".to_owned());
        let end = start.checked_add(bytes.len()).ok_or_else(malformed)?;
        let aligned = room.get_mut(start..end).ok_or_else(malformed)?;
        aligned.copy_from_slice(bytes);

        let (dfa, read) = dense::DFA::from_bytes(aligned)
            .map_err(|cause| PatternLoadError::Malformed(cause.to_string()))?;
        match bytes.len().checked_sub(read) {
            Some(0) => Ok(TextPattern {
                dfa: dfa.to_owned(),
            }),
            Some(count) => Err(PatternLoadError::TrailingBytes { count }),
            None => Err(malformed()),
        }
    }

    /// Whether the pattern occurs in the text. Linear time, no allocation.
    pub fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).earliest(true);
        // An error means a quit state, and `compile` never builds one.
        matches!(self.dfa.try_search_fwd(&input), Ok(Some(_)))
    }
}

impl fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPattern")
            .field("bytes", &self.dfa.memory_usage())
            .finish()
    }
}

impl fmt::Display for PatternLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternLoadError::Malformed(cause) => write!(f, "not a compiled pattern: {cause}"),
            PatternLoadError::TrailingBytes { count } => {
                write!(f, "{count} bytes are left after a compiled pattern")
            }
        }
    }
}

impl core::error::Error for PatternLoadError {}
