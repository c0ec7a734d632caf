//! Merges the states and the classes of bytes that nothing tells apart.

use crate::table::{Automaton, MATCHED, MAX_ENTRIES, MAX_TOLD_STATES, Starts};
use std::collections::HashMap;

/// Most transitions looked at: rounds, states and classes multiplied. An automaton that
/// needs more keeps some states that could be merged.
const MAX_WORK: usize = 50_000_000;

/// The smallest equal automaton; `None` when it is still too large for a table.
pub(super) fn minimise(automaton: Automaton) -> Option<Automaton> {
    let classes = automaton.classes;
    let rows: Vec<&[u32]> = automaton.next.chunks(classes).collect();
    let mut group: Vec<u32> = (0..rows.len())
        .map(|state| u32::from(state != MATCHED as usize))
        .collect();
    let mut groups = 2;
    let mut work = 0;
    loop {
        let mut index: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut finer = Vec::with_capacity(rows.len());
        for (row, own) in rows.iter().zip(&group) {
            let mut key = Vec::with_capacity(classes + 1);
            key.push(*own);
            key.extend(
                row.iter()
                    .map(|to| group.get(*to as usize).copied().unwrap_or(0)),
            );
            // Numbered in the order of their first state: the matched one stays first.
            let fresh = u32::try_from(index.len()).unwrap_or(u32::MAX);
            finer.push(*index.entry(key).or_insert(fresh));
        }
        let found = index.len();
        group = finer;
        if found == groups {
            break;
        }
        groups = found;
        work += automaton.next.len();
        if work > MAX_WORK {
            group = (0..).take(rows.len()).collect();
            groups = rows.len();
            break;
        }
    }
    let of = |state: u32| group.get(state as usize).copied().unwrap_or(MATCHED);
    let mut merged: Vec<Vec<u32>> = vec![Vec::new(); groups];
    for (row, own) in rows.iter().zip(&group) {
        let slot = merged.get_mut(*own as usize)?;
        if slot.is_empty() {
            *slot = row.iter().map(|to| of(*to)).collect();
        }
    }
    merge_classes(&automaton, &merged, automaton.starts.map(of))
}

/// Bytes whose columns are equal share a class.
fn merge_classes(from: &Automaton, rows: &[Vec<u32>], starts: [u32; 5]) -> Option<Automaton> {
    let end = from.classes.checked_sub(1)?;
    let column = |class: usize| -> Vec<u32> {
        rows.iter()
            .map(|row| row.get(class).copied().unwrap_or(MATCHED))
            .collect()
    };
    let mut kept: Vec<usize> = Vec::new();
    let mut index: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut renamed = Vec::with_capacity(end);
    for class in 0..end {
        let fresh = kept.len();
        let name = *index.entry(column(class)).or_insert(fresh);
        if name == fresh {
            kept.push(class);
        }
        renamed.push(u8::try_from(name).ok()?);
    }
    kept.push(end);
    let classes = kept.len();
    let bounded = match from.begins {
        Starts::Anywhere => true,
        Starts::Told => rows.len() <= MAX_TOLD_STATES,
    };
    if !bounded || rows.len() * classes > MAX_ENTRIES {
        return None;
    }
    let next = rows
        .iter()
        .flat_map(|row| {
            kept.iter()
                .map(|class| row.get(*class).copied().unwrap_or(MATCHED))
        })
        .collect();
    let class_of = from
        .class_of
        .map(|class| renamed.get(usize::from(class)).copied().unwrap_or(0));
    Some(Automaton {
        class_of,
        classes,
        next,
        starts,
        begins: from.begins,
    })
}
