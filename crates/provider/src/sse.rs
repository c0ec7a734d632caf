//! Server-sent events, as they come in pieces.
//!
//! Follows the WHATWG event stream grammar (line ends LF, CRLF or CR, events
//! end at a blank line, `data` lines joined by a newline), for the one field
//! the dialects use. An event longer than the limit ends the reading.

/// An event grew beyond [`EventReader`]'s limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// Cuts a byte stream into the data of its events.
#[derive(Debug)]
pub(crate) struct EventReader {
    limit: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
}

impl EventReader {
    pub(crate) fn new(limit: usize) -> EventReader {
        EventReader {
            limit,
            line: vec![],
            data: vec![],
            has_data: false,
            after_cr: false,
        }
    }

    /// Takes the next bytes; calls `on_event` with the data of each event they complete.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(&[u8]),
    ) -> Result<(), EventTooLarge> {
        for &byte in bytes {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' => self.end_line(&mut on_event),
                b'\r' => {
                    self.after_cr = true;
                    self.end_line(&mut on_event);
                }
                _ if self.line.len() + self.data.len() >= self.limit => return Err(EventTooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// Bytes held at the moment.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.line.len() + self.data.len()
    }

    /// Whether the stream stopped inside an event.
    pub(crate) fn has_partial_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(&[u8])) {
        if self.line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                on_event(&self.data);
            }
            self.data.clear();
            return;
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = EventReader::new(1 << 20);
        let mut found = vec![];
        for piece in pieces {
            reader
                .push(piece, |e| {
                    found.push(String::from_utf8_lossy(e).into_owned())
                })
                .unwrap();
        }
        found
    }

    #[test]
    fn events_end_at_blank_lines_whatever_the_line_end() {
        let stream = b"event: x\ndata: one\n\n: comment\r\ndata:two\r\ndata: three\r\n\r\ndata: four\r\rdata: cut";
        assert_eq!(events(&[stream]), ["one", "two\nthree", "four"]);
    }

    #[test]
    fn endless_event_is_refused() {
        let mut reader = EventReader::new(100);
        assert_eq!(reader.push(&[b'x'; 101], |_| {}), Err(EventTooLarge));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(text in "(data: ?[a-c]{0,4}(\n|\r\n|\r)|\n|\r\n|x: y\n){0,20}", cut in 0usize..200) {
            let bytes = text.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(events(&[bytes]), events(&[left, right]));
        }
    }
}
