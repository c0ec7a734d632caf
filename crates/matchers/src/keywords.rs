//! Finds every occurrence of many literals in one pass over a text.
//!
//! An Aho-Corasick automaton over ASCII-folded bytes behind a filter: while no literal is
//! in progress, a bitmap of the literals' first bytes, three at a time, says where one could
//! begin. With longer literals the filter looks at every second, third, … place only. Of few
//! literals the first bytes are looked for sixteen places at a time ([`crate::lanes`]). All of
//! it is linear in the text, whatever it is.
//!
//! Built where a bundle is loaded: the literals themselves take a thirtieth of the room
//! that a ready automaton takes, and there are no tables that could be corrupt.

use crate::lanes::Fingerprints;

const ROOT: u32 = 0;
/// Bits of the filter's index.
const FILTER_BITS: u32 = 16;
/// Bytes the filter looks at together.
const WIDTH: usize = 3;
/// Places of a literal that the filter knows at most: more of them fill it needlessly.
const MAX_STRIDE: usize = 4;

pub(crate) struct Keywords {
    lengths: Vec<usize>,
    /// How far the filter may step without missing a literal; 0 when one is too short for it.
    stride: usize,
    filter: Vec<u64>,
    /// Used instead, where there are few.
    fingerprints: Option<Fingerprints>,
    states: Vec<State>,
    edges: Vec<(u8, u32)>,
    roots: Vec<u32>,
    longest: usize,
}

#[derive(Clone, Copy, Default)]
struct State {
    first_edge: u32,
    edges: u32,
    fail: u32,
    /// The literal that ends here, plus one.
    literal: u32,
    /// The next shorter state where a literal ends, or the root.
    shorter: u32,
    /// Bytes from the root to here.
    depth: u32,
}

/// Where the automaton stands between two parts of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress(u32);

impl Keywords {
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// How many of the last bytes read are the beginning of a literal.
    pub(crate) fn depth(&self, progress: Progress) -> usize {
        let state = self.states.get(progress.0 as usize);
        state.map_or(0, |state| state.depth as usize)
    }

    /// Reads a text from a position on; tells each literal found and where it ends.
    pub(crate) fn read(
        &self,
        progress: &mut Progress,
        text: &[u8],
        from: usize,
        mut found: impl FnMut(usize, usize),
    ) {
        if self.lengths.is_empty() {
            return;
        }
        let mut state = progress.0;
        let mut at = from;
        while at < text.len() {
            if state == ROOT {
                at = self.candidate(text, at);
            }
            let Some(byte) = text.get(at) else { break };
            state = self.next(state, byte.to_ascii_lowercase());
            at += 1;
            let mut ending = state;
            while ending != ROOT {
                let Some(here) = self.states.get(ending as usize) else {
                    break;
                };
                if let Some(literal) = here.literal.checked_sub(1) {
                    found(literal as usize, at);
                }
                ending = here.shorter;
            }
        }
        progress.0 = state;
    }

    pub(crate) fn length(&self, literal: usize) -> usize {
        self.lengths.get(literal).copied().unwrap_or(0)
    }

    /// The next position where a literal could begin; near the end that is any.
    fn candidate(&self, text: &[u8], from: usize) -> usize {
        let rest = text.get(from..).unwrap_or_default();
        if let Some(fingerprints) = &self.fingerprints {
            let looked_at = (rest.len() + 1).saturating_sub(WIDTH);
            return from + fingerprints.find(rest).unwrap_or(looked_at);
        }
        if self.stride == 0 {
            return from;
        }
        let windows = rest.windows(WIDTH);
        let looked_at = windows.len().div_ceil(self.stride);
        let noticed = windows.step_by(self.stride).position(|window| {
            let bit = filter_index(window);
            let word = self.filter.get(bit >> 6).copied().unwrap_or(0);
            word >> (bit & 63) & 1 == 1
        });
        // It may have begun at any of the places that were stepped over.
        let at = noticed.unwrap_or(looked_at) * self.stride;
        from + (at + 1).saturating_sub(self.stride)
    }

    fn next(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            if state == ROOT {
                return self.roots.get(usize::from(byte)).copied().unwrap_or(ROOT);
            }
            let edges = edges_of(&self.states, &self.edges, state);
            if let Some((_, to)) = edges.iter().find(|(label, _)| *label == byte) {
                return *to;
            }
            state = self
                .states
                .get(state as usize)
                .map_or(ROOT, |state| state.fail);
        }
    }
}

fn edges_of<'e>(states: &[State], edges: &'e [(u8, u32)], state: u32) -> &'e [(u8, u32)] {
    let range = states.get(state as usize).map(|state| {
        let first = state.first_edge as usize;
        first..first + state.edges as usize
    });
    range.and_then(|range| edges.get(range)).unwrap_or_default()
}

fn filter_index(window: &[u8]) -> usize {
    let &[first, second, third] = window else {
        return 0;
    };
    // Letters fold to lower case; that other bytes fold too makes the filter a bit coarser.
    let key = u32::from_le_bytes([first, second, third, 0]) | 0x0020_2020;
    // Three bytes to sixteen bits: a multiplicative hash spreads them over the bitmap.
    (key.wrapping_mul(0x9E37_79B1) >> (32 - FILTER_BITS)) as usize
}

/// The trie while it grows.
pub(crate) struct Builder {
    children: Vec<Vec<(u8, u32)>>,
    /// By state: the literal that ends there, plus one.
    ends: Vec<u32>,
    /// Folded.
    literals: Vec<Vec<u8>>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            children: vec![Vec::new()],
            ends: vec![0],
            literals: Vec::new(),
        }
    }
}

impl Builder {
    /// Adds a literal that is not empty; ASCII letters match in either case. Returns its
    /// number, the same for equal ones.
    #[inline]
    pub(crate) fn add(&mut self, literal: &[u8]) -> usize {
        let literal = literal.to_ascii_lowercase();
        let fresh = self.literals.len();
        let mut state = 0;
        for byte in &literal {
            let next = self.children.len();
            let Some(children) = self.children.get_mut(state) else {
                return fresh;
            };
            state = match children.iter().find(|(label, _)| label == byte) {
                Some((_, to)) => *to as usize,
                None => {
                    children.push((*byte, next as u32));
                    self.children.push(Vec::new());
                    self.ends.push(0);
                    next
                }
            };
        }
        match self.ends.get_mut(state) {
            Some(end) if *end == 0 => {
                *end = fresh as u32 + 1;
                self.literals.push(literal);
                fresh
            }
            Some(end) => *end as usize - 1,
            None => fresh,
        }
    }

    #[inline]
    pub(crate) fn finish(self) -> Keywords {
        let lengths: Vec<usize> = self.literals.iter().map(Vec::len).collect();
        let shortest = lengths.iter().copied().min().unwrap_or(0);
        let stride = (shortest + 1).saturating_sub(WIDTH).min(MAX_STRIDE);
        let mut filter = vec![0; 1 << (FILTER_BITS - 6)];
        for literal in &self.literals {
            for window in literal.windows(WIDTH).take(stride) {
                let bit = filter_index(window);
                if let Some(word) = filter.get_mut(bit >> 6) {
                    *word |= 1 << (bit & 63);
                }
            }
        }
        let (states, edges) = self.linked();
        let mut roots = vec![ROOT; 256];
        for (byte, to) in edges_of(&states, &edges, ROOT) {
            if let Some(slot) = roots.get_mut(usize::from(*byte)) {
                *slot = *to;
            }
        }
        Keywords {
            longest: lengths.iter().copied().max().unwrap_or(0),
            lengths,
            stride,
            filter,
            fingerprints: Fingerprints::new(&self.literals),
            states,
            edges,
            roots,
        }
    }

    /// Links every state to the longest shorter one that ends the same, nearest first.
    #[inline]
    fn linked(&self) -> (Vec<State>, Vec<(u8, u32)>) {
        let mut states = Vec::with_capacity(self.children.len());
        let mut edges = Vec::new();
        for (children, literal) in self.children.iter().zip(&self.ends) {
            let number = |count: usize| u32::try_from(count).unwrap_or(0);
            states.push(State {
                first_edge: number(edges.len()),
                edges: number(children.len()),
                literal: *literal,
                ..State::default()
            });
            edges.extend_from_slice(children);
        }
        let mut order = vec![ROOT];
        let mut done = 0;
        while let Some(&parent) = order.get(done) {
            done += 1;
            for &(byte, child) in edges_of(&states, &edges, parent) {
                order.push(child);
                let depth = states
                    .get(parent as usize)
                    .map_or(0, |state| state.depth + 1);
                if let Some(state) = states.get_mut(child as usize) {
                    state.depth = depth;
                }
                if parent == ROOT {
                    continue;
                }
                let fail = fail_of(&states, &edges, parent, byte);
                let ends = states.get(fail as usize).copied().unwrap_or_default();
                if let Some(state) = states.get_mut(child as usize) {
                    state.fail = fail;
                    state.shorter = if ends.literal > 0 { fail } else { ends.shorter };
                }
            }
        }
        (states, edges)
    }
}

#[inline]
fn fail_of(states: &[State], edges: &[(u8, u32)], parent: u32, byte: u8) -> u32 {
    let mut state = parent;
    while state != ROOT {
        state = states.get(state as usize).map_or(ROOT, |state| state.fail);
        let found = edges_of(states, edges, state);
        if let Some((_, to)) = found.iter().find(|(label, _)| *label == byte) {
            return *to;
        }
    }
    ROOT
}
