//! Which constant of the bundle a text is.
//!
//! A hash table over the sorted constants, made when a bundle is loaded: a field's text is
//! hashed once per exchange, and compared with one constant as a rule.

/// Slots per constant, so that few constants share one.
const ROOM: usize = 2;

#[derive(Debug)]
pub(crate) struct Symbols {
    /// Index of a constant plus one; its length is a power of two.
    slots: Vec<u32>,
}

impl Symbols {
    pub(crate) fn of(strings: &[String]) -> Symbols {
        let mut symbols = Symbols {
            slots: vec![0; (strings.len() * ROOM).next_power_of_two().max(2)],
        };
        for (text, nth) in strings.iter().zip(1..) {
            let mut slot = symbols.first_slot(text);
            while symbols.slots.get(slot).is_some_and(|taken| *taken != 0) {
                slot = symbols.after(slot);
            }
            if let Some(slot) = symbols.slots.get_mut(slot) {
                *slot = nth;
            }
        }
        symbols
    }

    pub(crate) fn find(&self, text: &str, strings: &[String]) -> Option<u32> {
        let mut slot = self.first_slot(text);
        // Half of the slots are free, so the search ends.
        loop {
            let index = self.slots.get(slot)?.checked_sub(1)?;
            if strings
                .get(index as usize)
                .is_some_and(|known| known == text)
            {
                return Some(index);
            }
            slot = self.after(slot);
        }
    }

    #[inline(always)]
    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    #[inline(always)]
    fn first_slot(&self, text: &str) -> usize {
        hash(text.as_bytes()) as usize & (self.slots.len() - 1)
    }
}

/// Eight bytes at a time: multiply, fold the high half into the low.
#[inline(always)]
fn hash(bytes: &[u8]) -> u32 {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = fold((state ^ u64::from_le_bytes(*word)).wrapping_mul(MIX));
    }
    let last = rest
        .iter()
        .fold(0, |last, byte| last << 8 | u64::from(*byte));
    fold((state ^ last).wrapping_mul(MIX)) as u32
}

#[inline(always)]
fn fold(state: u64) -> u64 {
    state ^ state >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_is_found_and_nothing_else() {
        let mut strings: Vec<String> = (0..2000).map(|n| format!("constant-{n}")).collect();
        strings.extend([String::new(), "é".to_owned(), "a".repeat(100)]);
        strings.sort();
        let symbols = Symbols::of(&strings);
        for (text, index) in strings.iter().zip(0..) {
            assert_eq!(symbols.find(text, &strings), Some(index));
            let other = format!("{text}!");
            assert_eq!(symbols.find(&other, &strings), None);
        }
        assert_eq!(Symbols::of(&[]).find("", &[]), None);
    }
}
