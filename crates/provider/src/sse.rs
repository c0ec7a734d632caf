//! Server-sent events, as they come in pieces.
//!
//! Follows the WHATWG event stream grammar: lines end with LF, CRLF or CR, an
//! event ends at a blank line, its `data` lines are joined by newlines, a
//! byte order mark may come first. Each event keeps the bytes it came in, so
//! that what nobody changes passes as it was.

use std::ops::{ControlFlow, Range};

/// An event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTooLarge;

/// Cuts a byte stream into events.
#[derive(Debug)]
pub struct EventReader {
    limit: usize,
    /// The event that is coming.
    raw: Vec<u8>,
    line_start: usize,
    after_cr: bool,
    begun: bool,
}

impl EventReader {
    pub fn new(limit: usize) -> EventReader {
        EventReader {
            limit,
            raw: vec![],
            line_start: 0,
            after_cr: false,
            begun: false,
        }
    }

    /// Takes the next bytes; calls `on_event` with each event they complete.
    /// Breaks with it; the rest of `bytes` is then not read. What is too large
    /// is kept with all that came with it, to be taken as it is.
    pub fn push<B>(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(RawEvent<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, EventTooLarge> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                // Still of the line end before, of an event that was told perhaps.
                self.raw.push(first);
                self.line_start = self.raw.len();
                bytes = bytes.get(1..).unwrap_or_default();
                if self.raw.len() == 1
                    && let ControlFlow::Break(why) = self.tell(&mut on_event)
                {
                    return Ok(ControlFlow::Break(why));
                }
                continue;
            }
            let ends = |b: &u8| matches!(b, b'\n' | b'\r');
            let length = bytes.iter().position(ends);
            let (line, rest) = bytes.split_at(length.unwrap_or(bytes.len()));
            if self.raw.len() + line.len() > self.limit {
                self.raw.extend_from_slice(bytes);
                return Err(EventTooLarge);
            }
            self.raw.extend_from_slice(line);
            bytes = rest;
            if let Some((&end, rest)) = rest.split_first() {
                bytes = rest;
                self.after_cr = end == b'\r';
                if let ControlFlow::Break(why) = self.end_line(end, &mut on_event) {
                    return Ok(ControlFlow::Break(why));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end_line<B>(
        &mut self,
        end: u8,
        on_event: &mut impl FnMut(RawEvent<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let blank = self.raw.len() == self.line_start;
        self.raw.push(end);
        self.line_start = self.raw.len();
        if !blank {
            return ControlFlow::Continue(());
        }
        self.tell(on_event)
    }

    fn tell<B>(
        &mut self,
        on_event: &mut impl FnMut(RawEvent<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let raw = std::mem::take(&mut self.raw);
        self.line_start = 0;
        let first = !std::mem::replace(&mut self.begun, true);
        on_event(RawEvent { raw: &raw, first })
    }

    /// Bytes held at the moment.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.raw.len()
    }

    /// What came of an event that did not end.
    pub(crate) fn take_partial(&mut self) -> (Vec<u8>, bool) {
        (std::mem::take(&mut self.raw), !self.begun)
    }
}

/// The bytes of one event, its blank line included.
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    pub(crate) raw: &'a [u8],
    /// Of its stream.
    pub(crate) first: bool,
}

impl RawEvent<'_> {
    /// Its data; `None`: it has none, and means nothing to a client.
    pub fn data(self) -> Option<Vec<u8>> {
        let mut data: Option<Vec<u8>> = None;
        for line in self.lines() {
            let Some(value) = self.data_value(line) else {
                continue;
            };
            match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            }
        }
        data
    }

    /// The same event with other data.
    pub(crate) fn with_data(self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len() + data.len());
        let (mut at, mut written) = (0, false);
        for line in self.lines() {
            if self.data_value(line.clone()).is_none() {
                continue;
            }
            let text = self.raw.get(line.clone()).unwrap_or_default();
            let start = line.start + text.len() - without_mark(text, self.first).len();
            let end_length = match self.raw.get(line.end..) {
                Some([b'\r', b'\n', ..]) => 2,
                Some([_, ..]) => 1,
                _ => 0,
            };
            let line_end = line.end + end_length;
            out.extend_from_slice(self.raw.get(at..start).unwrap_or_default());
            if !std::mem::replace(&mut written, true) {
                let end: &[u8] = match self.raw.get(line.end..line_end) {
                    Some(end) if !end.is_empty() => end,
                    _ => b"\n",
                };
                for (index, part) in data.split(|b| *b == b'\n').enumerate() {
                    if index > 0 {
                        out.extend_from_slice(end);
                    }
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(part);
                }
                out.extend_from_slice(self.raw.get(line.end..line_end).unwrap_or_default());
            }
            at = line_end;
        }
        out.extend_from_slice(self.raw.get(at..).unwrap_or_default());
        out
    }

    /// The lines, without their ends.
    fn lines(self) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = self.raw.get(at..).filter(|rest| !rest.is_empty())?;
            let ends = |b: &u8| matches!(b, b'\n' | b'\r');
            let length = rest.iter().position(ends).unwrap_or(rest.len());
            let line = at..at + length;
            at = line.end
                + match rest.get(length..) {
                    Some([b'\r', b'\n', ..]) => 2,
                    _ => 1,
                };
            Some(line)
        })
    }

    fn data_value(&self, line: Range<usize>) -> Option<&[u8]> {
        let first = self.first && line.start == 0;
        let line = without_mark(self.raw.get(line)?, first);
        match line.strip_prefix(b"data")? {
            [] => Some(b""),
            [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
            _ => None,
        }
    }
}

/// Without a byte order mark, which only the first line may have.
fn without_mark(line: &[u8], first: bool) -> &[u8] {
    match line.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) if first => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
        let mut reader = EventReader::new(1 << 20);
        let (mut found, mut bytes) = (vec![], vec![]);
        for piece in pieces {
            let read = reader.push(piece, |event| {
                bytes.extend_from_slice(event.raw);
                found.extend(
                    event
                        .data()
                        .map(|d| String::from_utf8_lossy(&d).into_owned()),
                );
                ControlFlow::<()>::Continue(())
            });
            assert_eq!(read, Ok(ControlFlow::Continue(())));
        }
        bytes.extend(reader.take_partial().0);
        (found, bytes)
    }

    #[test]
    fn events_end_at_blank_lines_whatever_the_line_end() {
        let stream = "\u{feff}event: x\ndata: one\n\n: comment\r\ndata:two\r\ndata: three\r\n\r\ndata: four\r\rdata\n\ndatax: no\n\n\u{feff}data: no\n\ndata: cut";
        let (events, bytes) = read(&[stream.as_bytes()]);
        assert_eq!(events, ["one", "two\nthree", "four", ""]);
        assert_eq!(bytes, stream.as_bytes());
        assert_eq!(read(&["\u{feff}data: one\n\n".as_bytes()]).0, ["one"]);
    }

    #[test]
    fn nothing_is_kept_of_a_stream_that_ended() {
        for stream in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"] {
            let mut reader = EventReader::new(100);
            for byte in stream.as_bytes() {
                let read = reader.push(&[*byte], |_| ControlFlow::<()>::Continue(()));
                assert_eq!(read, Ok(ControlFlow::Continue(())));
            }
            assert_eq!(reader.kept_bytes(), 0, "{stream:?}");
        }
    }

    #[test]
    fn endless_event_is_refused() {
        let mut reader = EventReader::new(100);
        let read = reader.push(&[b'x'; 101], |_| ControlFlow::<()>::Continue(()));
        assert_eq!(read, Err(EventTooLarge));
    }

    #[test]
    fn other_data_leaves_all_other_lines() {
        for (raw, data, expected) in [
            (
                "event: e\ndata: a\nid: 1\n\n",
                "b",
                "event: e\ndata: b\nid: 1\n\n",
            ),
            (
                "data:a\r\ndata: c\r\nid: 1\r\n\r",
                "b\nd",
                "data: b\r\ndata: d\r\nid: 1\r\n\r",
            ),
            ("\u{feff}data: a\n\n", "b", "\u{feff}data: b\n\n"),
            ("data: a", "b", "data: b"),
        ] {
            let raw = RawEvent {
                raw: raw.as_bytes(),
                first: true,
            };
            let changed = raw.with_data(data.as_bytes());
            assert_eq!(String::from_utf8(changed).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events_and_bytes(
            text in "(data: ?[a-c]{0,4}(\n|\r\n|\r)|\n|\r\n|\r|x: y\n){0,20}",
            cuts in prop::collection::vec(0usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let pieces: Vec<&[u8]> = starts.zip(ends).map(|(a, b)| &bytes[a..b]).collect();
            prop_assert_eq!(read(&[bytes]), read(&pieces));
            prop_assert_eq!(read(&pieces).1, bytes);
        }
    }
}
