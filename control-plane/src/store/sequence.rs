//! Fits records into the sequence of their emitter: pure accounting.
//!
//! Every pair of neighbours is compared once, when the second of them comes,
//! in whatever order they come. A store says what it knows of a sequence,
//! loads the places that [`Epoch::unseen`] names, and writes back what
//! [`Epoch`] has become.

use jiff::Timestamp;
use std::collections::HashMap;

/// One emitter's sequence while a group of batches is stored.
pub(super) struct Epoch {
    pub(super) row: EpochRow,
    /// What of the sequence is in the database, before this group.
    stored: Option<(u64, u64)>,
    /// Taken places, as far as anyone looked.
    taken: HashMap<u64, Vec<Link>>,
}

/// What the database keeps of a sequence.
pub(super) struct EpochRow {
    pub(super) key: i64,
    pub(super) records: u64,
    /// Different places that the records take.
    pub(super) places: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) chain_breaks: u64,
    pub(super) last_received_us: i64,
}

/// How a record is chained to its neighbours.
pub(super) struct Link {
    pub(super) leaf: String,
    pub(super) prev: String,
}

impl Epoch {
    pub(super) fn new(row: EpochRow) -> Epoch {
        Epoch {
            stored: (row.records > 0).then_some((row.first_seq, row.last_seq)),
            row,
            taken: HashMap::new(),
        }
    }

    /// Of a place and its neighbours, those that the database may have records
    /// in and nobody has looked at yet.
    pub(super) fn unseen(&self, seq: u64) -> impl Iterator<Item = u64> {
        let near = [seq.checked_sub(1), Some(seq), seq.checked_add(1)];
        near.into_iter().flatten().filter(|place| {
            self.stored
                .is_some_and(|(first, last)| (first..=last).contains(place))
                && !self.taken.contains_key(place)
        })
    }

    /// What the database has in a place.
    pub(super) fn see(&mut self, seq: u64, links: Vec<Link>) {
        self.taken.insert(seq, links);
    }

    /// Gives a record its place; how many times it does not fit there. The
    /// place and its neighbours have been seen.
    pub(super) fn place(&mut self, seq: u64, link: Link, received_at: Timestamp) -> u64 {
        let breaks = self.breaks_of(seq, &link);
        let place = self.taken.entry(seq).or_default();
        let row = &mut self.row;
        row.places += u64::from(place.is_empty());
        place.push(link);
        row.records += 1;
        row.first_seq = row.first_seq.min(seq);
        row.last_seq = row.last_seq.max(seq);
        row.chain_breaks += breaks;
        row.last_received_us = row.last_received_us.max(received_at.as_microsecond());
        breaks
    }

    fn breaks_of(&self, seq: u64, link: &Link) -> u64 {
        if !self.at(Some(seq)).is_empty() {
            // Two records in one place; which of them is the true one, the
            // successor's `prev` tells.
            return 1;
        }
        let before = self.at(seq.checked_sub(1));
        let foreign = !before.is_empty() && before.iter().all(|other| other.leaf != link.prev);
        let after = self.at(seq.checked_add(1)).iter();
        u64::from(foreign) + after.filter(|other| other.prev != link.leaf).count() as u64
    }

    fn at(&self, seq: Option<u64>) -> &[Link] {
        seq.and_then(|seq| self.taken.get(&seq))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}
