//! Which threads can do all that another can, so that the weaker one need not run.
//!
//! In `foo.{0,40}bar` a thread that may skip 40 more bytes reaches whatever one with 39
//! left reaches. Plain subsets would remember every combination of the two.

use super::determinise::{Step, Threads};
use std::collections::{BTreeSet, HashMap};

/// Most threads that are compared with each other.
const MAX_THREADS: usize = 1_500;
/// Most comparisons of single steps.
const MAX_WORK: usize = 40_000_000;

pub(super) struct Simulation {
    place: HashMap<u32, u32>,
    count: usize,
    /// Row by row: whether the column's thread can do all that the row's can.
    covered: Vec<bool>,
}

impl Simulation {
    /// The greatest simulation; `None` when the pattern is too large for it.
    pub(super) fn of(threads: &mut Threads<'_>) -> Option<Simulation> {
        let (ids, mut steps) = reachable(threads)?;
        let place: HashMap<u32, u32> = ids.iter().copied().zip(0..).collect();
        for next in steps.iter_mut().flatten().flat_map(|step| &mut step.next) {
            *next = *place.get(next)?;
        }
        let count = ids.len();
        let mut simulation = Simulation {
            place,
            count,
            covered: vec![true; count * count],
        };
        let mut work = 0;
        loop {
            let mut changed = false;
            // Later states of a sequence decide about earlier ones.
            for weak in (0..count).rev() {
                for strong in (0..count).rev() {
                    let at = weak * count + strong;
                    if weak == strong || simulation.covered.get(at) != Some(&true) {
                        continue;
                    }
                    let (weak, strong) = (steps.get(weak)?, steps.get(strong)?);
                    if !simulation.covers(weak, strong, &mut work) {
                        *simulation.covered.get_mut(at)? = false;
                        changed = true;
                    }
                }
                if work > MAX_WORK {
                    return None;
                }
            }
            if !changed {
                return Some(simulation);
            }
        }
    }

    fn covers(&self, weak: &[Step], strong: &[Step], work: &mut usize) -> bool {
        weak.iter().zip(strong).all(|(weak, strong)| {
            *work += 1 + weak.next.len() * strong.next.len();
            strong.matched
                || !weak.matched
                    && weak
                        .next
                        .iter()
                        .all(|&weak| strong.next.iter().any(|&strong| self.is(weak, strong)))
        })
    }

    /// By their places.
    fn is(&self, weak: u32, strong: u32) -> bool {
        let at = weak as usize * self.count + strong as usize;
        weak == strong || self.covered.get(at) == Some(&true)
    }

    /// Drops every thread that another covers; of two that cover each other, the later.
    pub(super) fn keep_strongest(&self, threads: &mut Vec<u32>) {
        let place = |thread: &u32| self.place.get(thread).copied();
        let all: Vec<u32> = threads.iter().filter_map(place).collect();
        threads.retain(|weak| {
            place(weak).is_none_or(|weak| {
                !all.iter().any(|&strong| {
                    let covers = weak != strong && self.is(weak, strong);
                    covers && (strong < weak || !self.is(strong, weak))
                })
            })
        });
    }
}

/// Every thread that can come up, with its steps for each kind and class.
fn reachable(threads: &mut Threads<'_>) -> Option<(Vec<u32>, Vec<Vec<Step>>)> {
    let mut seen = BTreeSet::from([threads.start()]);
    let mut open: Vec<u32> = seen.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(thread) = open.pop() {
        let mut steps = Vec::with_capacity(threads.kinds() * threads.classes());
        for kind in 0..threads.kinds() {
            for class in 0..threads.classes() {
                let step = threads.step(thread, kind, class).clone();
                open.extend(step.next.iter().filter(|next| seen.insert(**next)));
                steps.push(step);
            }
        }
        found.push((thread, steps));
        if seen.len() > MAX_THREADS {
            return None;
        }
    }
    found.sort_by_key(|(thread, _)| *thread);
    Some(found.into_iter().unzip())
}
