//! What rules look for in an answer, searched while the answer comes.
//!
//! One [`Hearing`] per text of the answer. It finds what a search of the whole text would
//! find, wherever the text is cut; what is certain already is in [`Heard`], for
//! [`crate::decide_streaming`].

use crate::load::Bundle;
use jupiter_matchers::{Found, PausedScan};

/// How far one text of an answer has been read.
#[derive(Debug, Clone)]
pub struct Hearing {
    /// Absent only while the next part is read.
    scan: Option<PausedScan>,
    is_content: bool,
}

/// What was found so far in all texts of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub(crate) content: Found,
    pub(crate) others: Found,
}

impl Bundle {
    /// Begins a text of the answer: `response.content`, or another.
    pub fn hearing(&self, is_content: bool) -> Hearing {
        Hearing {
            scan: Some(self.scans.response.start().pause()),
            is_content,
        }
    }

    /// Reads the next part of a text. Returns how many of the last bytes may be the
    /// beginning of something that rules look for; what was found is in `heard`.
    pub fn hear(&self, hearing: &mut Hearing, part: &str, heard: &mut Heard) -> usize {
        let scanner = &self.scans.response;
        let paused = hearing.scan.take();
        let mut scan = paused.map_or_else(|| scanner.start(), |paused| scanner.resume(paused));
        scan.push(part.as_bytes());
        let found = match hearing.is_content {
            true => &mut heard.content,
            false => &mut heard.others,
        };
        found.merge(scan.found());
        let open = scan.open_bytes();
        hearing.scan = Some(scan.pause());
        open
    }
}
