//! Text to the pieces that are merged on their own.
//!
//! Each vocabulary comes with a regular expression; these functions match what
//! it matches, alternative by alternative, in one pass. `crate::generate` and
//! `tests/accuracy.rs` compare with the real ones.
//!
//! o200k:
//! ```text
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! \p{N}{1,3}
//!  ?[^\s\p{L}\p{N}]+[\r\n/]*
//! \s*[\r\n]+
//! \s+(?!\S)
//! \s+
//! ```
//! cl100k:
//! ```text
//! '(?i:[sdmt]|ll|ve|re)
//! [^\r\n\p{L}\p{N}]?+\p{L}++
//! \p{N}{1,3}+
//!  ?[^\s\p{L}\p{N}]++[\r\n]*+
//! \s++$
//! \s*[\r\n]
//! \s+(?!\S)
//! \s
//! ```

use crate::Vocabulary;
use crate::class::{self, CASELESS, LETTER, LOWER, MARK, NEWLINE, NUMBER, SPACE, UPPER};

/// The pieces of a text, in order; together they are the text.
pub fn pieces(vocabulary: Vocabulary, text: &str) -> impl Iterator<Item = &[u8]> {
    let text = Text(text);
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = match vocabulary {
            Vocabulary::O200k => text.o200k(start),
            Vocabulary::Cl100k => text.cl100k(start),
        }?;
        let piece = text.0.as_bytes().get(start..end)?;
        start = end;
        Some(piece)
    })
}

#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl Text<'_> {
    /// The class of the character at a place, and where the next one is.
    #[inline]
    fn at(self, place: usize) -> Option<(u8, usize)> {
        let byte = *self.0.as_bytes().get(place)?;
        if byte.is_ascii() {
            return Some((class::of(char::from(byte)), place + 1));
        }
        let c = self.0.get(place..)?.chars().next()?;
        Some((class::of(c), place + c.len_utf8()))
    }

    fn byte(self, place: usize) -> u8 {
        self.0.as_bytes().get(place).copied().unwrap_or_default()
    }

    /// To the end of the characters that `is` holds for, at most so many.
    #[inline]
    fn run(self, mut place: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
        for _ in 0..most {
            match self.at(place) {
                Some((class, next)) if is(class) => place = next,
                _ => break,
            }
        }
        place
    }

    /// Where the piece that starts there ends.
    fn o200k(self, start: usize) -> Option<usize> {
        let (class, next) = self.at(start)?;
        // One character that is neither letter nor digit may lead; a mark can also be the
        // word's own, and the first alternative is tried both ways before the second is.
        let leads = class & (LETTER | NUMBER | NEWLINE) == 0;
        let own = class & (LETTER | MARK) != 0;
        let starts = [leads.then_some(next), own.then_some(start)];
        let starts = || starts.into_iter().flatten();
        let word = starts()
            .find_map(|from| self.lower_ended(from))
            .or_else(|| starts().find_map(|from| self.upper(from)));
        if let Some(end) = word {
            return Some(self.contraction(end));
        }
        Some(if class & NUMBER != 0 {
            self.run(start, 3, |class| class & NUMBER != 0)
        } else if let Some(end) = self.symbols(start, class, next) {
            let bytes = self.0.as_bytes().get(end..).unwrap_or_default();
            let slashes = bytes
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n' | b'/'));
            end + slashes.count()
        } else {
            let end = self.run(start, usize::MAX, |class| class & SPACE != 0);
            self.white_space(start, end)
        })
    }

    fn cl100k(self, start: usize) -> Option<usize> {
        let (class, next) = self.at(start)?;
        let contracted = self.contraction(start);
        if contracted > start {
            return Some(contracted);
        }
        let word = |from: usize| {
            let end = self.run(from, usize::MAX, |class| class & LETTER != 0);
            (end > from).then_some(end)
        };
        if class & LETTER != 0 {
            return word(start);
        }
        if class & (NUMBER | NEWLINE) == 0
            && let Some(end) = word(next)
        {
            return Some(end);
        }
        Some(if class & NUMBER != 0 {
            self.run(start, 3, |class| class & NUMBER != 0)
        } else if let Some(end) = self.symbols(start, class, next) {
            self.run(end, usize::MAX, |class| class & NEWLINE != 0)
        } else {
            let end = self.run(start, usize::MAX, |class| class & SPACE != 0);
            match end == self.0.len() {
                true => end,
                false => self.white_space(start, end),
            }
        })
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`; letters without case
    /// and marks are in both: where no small letter follows, the last of them ends the word.
    fn lower_ended(self, start: usize) -> Option<usize> {
        let (mut upper, mut last_of_both) = (start, None);
        while let Some((class, next)) = self.at(upper)
            && class & (UPPER | CASELESS | MARK) != 0
        {
            upper = next;
            if class & UPPER == 0 {
                last_of_both = Some(next);
            }
        }
        let end = self.run(upper, usize::MAX, |class| {
            class & (LOWER | CASELESS | MARK) != 0
        });
        match end > upper {
            true => Some(end),
            false => last_of_both,
        }
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` where [`Self::lower_ended`]
    /// found nothing: capitals alone.
    fn upper(self, start: usize) -> Option<usize> {
        let end = self.run(start, usize::MAX, |class| class & UPPER != 0);
        (end > start).then_some(end)
    }

    /// Past `'s`, `'ll` and their like; the place itself where there is none.
    fn contraction(self, place: usize) -> usize {
        if self.byte(place) != b'\'' {
            return place;
        }
        let (first, second) = (self.byte(place + 1), self.byte(place + 2));
        match (first.to_ascii_lowercase(), second.to_ascii_lowercase()) {
            (b's' | b't' | b'm' | b'd', _) => place + 2,
            (b'r' | b'v', b'e') | (b'l', b'l') => place + 3,
            // U+017F, the long s, is an `s` to Unicode.
            (0xc5, 0xbf) => place + 3,
            _ => place,
        }
    }

    /// ` ?[^\s\p{L}\p{N}]+`
    fn symbols(self, start: usize, class: u8, next: usize) -> Option<usize> {
        let from = match self.byte(start) == b' ' {
            true => next,
            false if class & SPACE == 0 => start,
            false => return None,
        };
        let end = self.run(from, usize::MAX, |class| {
            class & (SPACE | LETTER | NUMBER) == 0
        });
        (end > from).then_some(end)
    }

    /// Of white space up to `end`: to its last line end, else all but what leads the next word.
    fn white_space(self, start: usize, end: usize) -> usize {
        let bytes = self.0.as_bytes().get(start..end).unwrap_or_default();
        if let Some(last) = bytes.iter().rposition(|b| matches!(b, b'\r' | b'\n')) {
            return start + last + 1;
        }
        if end == self.0.len() {
            return end;
        }
        let last = self.0.get(start..end).and_then(|s| s.chars().next_back());
        match end - last.map_or(0, char::len_utf8) {
            before if before > start => before,
            _ => end,
        }
    }
}
