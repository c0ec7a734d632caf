//! What kind of character one is, as far as splitting asks.
//!
//! Unicode's general categories in two steps: a page of 256 characters, then
//! the character in its page; equal pages are stored once. `crate::generate`
//! makes and compares the data.

/// Lu, Lt
pub const UPPER: u8 = 1;
/// Ll
pub const LOWER: u8 = 2;
/// Lm, Lo: letters without case
pub const CASELESS: u8 = 4;
/// M: marks, such as accents and vowel signs
pub const MARK: u8 = 8;
/// N
pub const NUMBER: u8 = 16;
/// White space, line ends included
pub const SPACE: u8 = 32;
/// CR and LF
pub const NEWLINE: u8 = 64;

/// L
pub const LETTER: u8 = UPPER | LOWER | CASELESS;

/// Pages of the code space.
pub const PAGES: usize = 0x11_0000 / 256;

static CLASSES: &[u8] = include_bytes!("../data/classes.bin");

/// The class of a character: one of the bits above, [`NEWLINE`] with [`SPACE`], or none.
#[inline]
pub fn of(c: char) -> u8 {
    let code = c as usize;
    let page = CLASSES.get(code >> 8).copied().unwrap_or_default();
    let place = PAGES + usize::from(page) * 256 + (code & 0xff);
    CLASSES.get(place).copied().unwrap_or_default()
}
