//! From an NFA to a DFA that knows only "matched" and "not yet".
//!
//! Smaller than a DFA that finds where matches are: every state that has matched is one
//! state, priorities among threads do not matter, and a thread is dropped when another
//! reaches all it could reach (`simulation`), which keeps `.{0,40}` linear.
//!
//! Look-around assertions see one byte to either side: a state knows what kind of byte
//! came before, and a match is seen while reading the byte (or the end) that follows it.

use super::PatternError;
use super::simulation::Simulation;
use crate::table::{Automaton, MATCHED, Previous, Starts};
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;
use std::collections::{BTreeSet, HashMap};

/// Most states before minimisation.
const MAX_STATES: usize = 8 * 1024;
/// Most steps of threads, classes and states multiplied: about a tenth of a second.
const MAX_WORK: usize = 4_000_000;

/// What reading one class of bytes does to one thread.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Step {
    pub matched: bool,
    pub next: Vec<u32>,
}

/// The NFA as threads see it: states between bytes, empty moves resolved.
pub(super) struct Threads<'n> {
    nfa: &'n NFA,
    class_of: [u8; 256],
    /// A byte of each class; the end of the text is one class more.
    bytes: Vec<u8>,
    /// Kinds of previous byte that make a difference.
    kinds: usize,
    steps: HashMap<(u32, usize, usize), Step>,
}

impl<'n> Threads<'n> {
    fn new(nfa: &'n NFA) -> Result<Threads<'n>, PatternError> {
        if nfa.look_set_any().contains_word_unicode() {
            let cause = "Unicode word boundaries are not provided: `\\b` is ASCII";
            return Err(PatternError::Unsupported(cause.to_owned()));
        }
        let kinds = match nfa.look_set_any().is_empty() {
            true => 1,
            false => Previous::ALL.len(),
        };
        // With assertions, kinds of bytes must not share a class either.
        let key = |byte: u8| {
            let kind = (kinds > 1).then(|| Previous::of(byte));
            (nfa.byte_classes().get(byte), kind)
        };
        let mut class_of = [0; 256];
        let mut bytes: Vec<u8> = Vec::new();
        for (byte, class) in (0..=u8::MAX).zip(&mut class_of) {
            let known = bytes.iter().position(|seen| key(*seen) == key(byte));
            let index = known.unwrap_or(bytes.len());
            if known.is_none() {
                bytes.push(byte);
            }
            *class = u8::try_from(index).unwrap_or(u8::MAX);
        }
        Ok(Threads {
            nfa,
            class_of,
            bytes,
            kinds,
            steps: HashMap::new(),
        })
    }

    pub(super) fn start(&self) -> u32 {
        self.nfa.start_anchored().as_u32()
    }

    pub(super) fn kinds(&self) -> usize {
        self.kinds
    }

    /// Classes of bytes, and one for the end of the text.
    pub(super) fn classes(&self) -> usize {
        self.bytes.len() + 1
    }

    fn kind_after(&self, class: usize) -> usize {
        match (self.kinds, self.bytes.get(class)) {
            (1, _) | (_, None) => 0,
            (_, Some(byte)) => Previous::of(*byte) as usize,
        }
    }

    /// One thread reads one class, remembered.
    pub(super) fn step(&mut self, thread: u32, kind: usize, class: usize) -> &Step {
        let key = (thread, kind, class);
        if !self.steps.contains_key(&key) {
            let step = self.follow(thread, kind, class);
            self.steps.insert(key, step);
        }
        self.steps.entry(key).or_default()
    }

    fn follow(&self, thread: u32, kind: usize, class: usize) -> Step {
        let before = match self.kinds {
            1 => None,
            _ => Previous::ALL.get(kind).and_then(|kind| kind.example()),
        };
        let byte = self.bytes.get(class).copied();
        let around: Vec<u8> = before.into_iter().chain(byte).collect();
        let at = usize::from(before.is_some());
        let mut step = Step::default();
        let mut seen = BTreeSet::new();
        let mut open: Vec<StateID> = StateID::new(thread as usize).into_iter().collect();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let next = match self.nfa.state(id) {
                State::ByteRange { trans } => byte
                    .filter(|byte| trans.matches_byte(*byte))
                    .map(|_| trans.next),
                State::Sparse(sparse) => byte.and_then(|byte| sparse.matches_byte(byte)),
                State::Dense(dense) => byte.and_then(|byte| dense.matches_byte(byte)),
                State::Look { look, next } => {
                    if self.nfa.look_matcher().matches(*look, &around, at) {
                        open.push(*next);
                    }
                    None
                }
                State::Union { alternates } => {
                    open.extend(alternates.iter().rev());
                    None
                }
                State::BinaryUnion { alt1, alt2 } => {
                    open.extend([*alt2, *alt1]);
                    None
                }
                State::Capture { next, .. } => {
                    open.push(*next);
                    None
                }
                State::Fail => None,
                State::Match { .. } => {
                    step.matched = true;
                    None
                }
            };
            step.next.extend(next.map(|id| id.as_u32()));
        }
        step.next.sort_unstable();
        step.next.dedup();
        step
    }
}

/// The states of a DFA while they are found.
struct Subsets {
    index: HashMap<(usize, Vec<u32>), u32>,
    order: Vec<(usize, Vec<u32>)>,
}

impl Subsets {
    fn of(&mut self, kind: usize, threads: Vec<u32>) -> u32 {
        let state = (kind, threads);
        if let Some(known) = self.index.get(&state) {
            return *known;
        }
        // The matched state comes first and has no threads.
        let id = u32::try_from(self.order.len() + 1).unwrap_or(u32::MAX);
        self.index.insert(state.clone(), id);
        self.order.push(state);
        id
    }
}

/// The DFA of a pattern that may start anywhere, while that is small enough; or else of
/// one that starts where it is told to.
pub(super) fn determinise(nfa: &NFA) -> Result<Automaton, PatternError> {
    let mut threads = Threads::new(nfa)?;
    if let Some(plain) = subsets(&mut threads, Starts::Anywhere, None) {
        return Ok(plain);
    }
    if let Some(simulation) = Simulation::of(&mut threads)
        && let Some(pruned) = subsets(&mut threads, Starts::Anywhere, Some(&simulation))
    {
        return Ok(pruned);
    }
    subsets(&mut threads, Starts::Told, None).ok_or(PatternError::TooLarge)
}

fn subsets(
    threads: &mut Threads<'_>,
    begins: Starts,
    simulation: Option<&Simulation>,
) -> Option<Automaton> {
    let start = threads.start();
    let mut known = Subsets {
        index: HashMap::new(),
        order: Vec::new(),
    };
    let starts = Previous::ALL.map(|kind| {
        let kind = if threads.kinds() == 1 {
            0
        } else {
            kind as usize
        };
        known.of(kind, vec![start])
    });
    let classes = threads.classes();
    let mut next = vec![MATCHED; classes];
    let mut work = 0;
    let mut done = 0;
    while let Some((kind, set)) = known.order.get(done).cloned() {
        done += 1;
        for class in 0..classes {
            work += set.len();
            let mut reached = match begins {
                Starts::Anywhere => vec![start],
                Starts::Told => Vec::new(),
            };
            let mut matched = false;
            for &thread in &set {
                let step = threads.step(thread, kind, class);
                matched |= step.matched;
                reached.extend_from_slice(&step.next);
            }
            if matched {
                next.push(MATCHED);
                continue;
            }
            reached.sort_unstable();
            reached.dedup();
            if let Some(simulation) = simulation {
                work += reached.len() * reached.len() / 8;
                simulation.keep_strongest(&mut reached);
            }
            next.push(known.of(threads.kind_after(class), reached));
        }
        if work > MAX_WORK || known.order.len() > MAX_STATES {
            return None;
        }
    }
    Some(Automaton {
        class_of: threads.class_of,
        classes,
        next,
        starts,
        begins,
    })
}
