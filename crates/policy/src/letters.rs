//! Texts in lower and in upper case, letter by letter, as the compiler's own tables have it.
//!
//! The tables are made of them by `build.rs`. Unlike `str::to_lowercase`, a sigma becomes
//! the same letter wherever it stands in a word: comparing is what texts are changed for.

/// What letters beyond ASCII become.
struct Letters {
    /// In order, from the lowest bit: the first in 21, how far on the last is in 12, the step
    /// between them in 3, and the change, the lowest bit its sign.
    runs: &'static [u64],
    /// In order: those that become several, each before what it becomes.
    several: &'static [[u16; 4]],
}

include!(concat!(env!("OUT_DIR"), "/letters.rs"));

pub(crate) fn lower(text: &str) -> String {
    changed(text, &LOWER, |ascii| ascii.to_ascii_lowercase())
}

pub(crate) fn upper(text: &str) -> String {
    changed(text, &UPPER, |ascii| ascii.to_ascii_uppercase())
}

#[inline(never)]
fn changed(text: &str, letters: &Letters, ascii: fn(&char) -> char) -> String {
    let mut changed = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            changed.push(ascii(&letter));
            continue;
        }
        match letters.several(letter) {
            Some(several) => several.for_each(|letter| changed.push(letter)),
            None => changed.push(letters.one(letter)),
        }
    }
    changed
}

impl Letters {
    fn several(&self, letter: char) -> Option<impl Iterator<Item = char>> {
        let number = u16::try_from(u32::from(letter)).ok()?;
        let at = self
            .several
            .binary_search_by_key(&number, |[from, ..]| *from);
        let [_, becomes @ ..] = self.several.get(at.ok()?)?;
        let units = becomes.iter().take_while(|unit| **unit != 0);
        Some(units.filter_map(|unit| char::from_u32((*unit).into())))
    }

    fn one(&self, letter: char) -> char {
        let number = letter as u32;
        let first = |run: u64| run as u32 & 0x1f_ffff;
        let after = self.runs.partition_point(|run| first(*run) <= number);
        let Some(run) = after.checked_sub(1).and_then(|at| self.runs.get(at)) else {
            return letter;
        };
        let on = number - first(*run);
        let (length, step) = ((run >> 21) as u32 & 0xfff, (run >> 33) as u32 & 7);
        if on > length || !on.is_multiple_of(step) {
            return letter;
        }
        let change = (run >> 36) as u32;
        let change = (change >> 1).cast_signed() ^ -(change & 1).cast_signed();
        let to = number.checked_add_signed(change).and_then(char::from_u32);
        to.unwrap_or(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_becomes_what_the_standard_library_says() {
        for letter in '\0'..=char::MAX {
            let text = letter.to_string();
            assert_eq!(lower(&text), letter.to_lowercase().collect::<String>());
            assert_eq!(upper(&text), letter.to_uppercase().collect::<String>());
        }
    }

    #[test]
    fn words_are_changed_letter_by_letter() {
        assert_eq!(lower("STRAẞE İ ΟΔΟΣ"), "straße i\u{307} οδοσ");
        assert_eq!(upper("straße ŉ"), "STRASSE ʼN");
    }
}
