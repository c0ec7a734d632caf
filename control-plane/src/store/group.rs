//! Which records of a group of batches are new: decided in memory, from what
//! the database knows of their ids.
//!
//! Both stores read what is known, take up the batches one by one, and write
//! what [`Group`] says. How records fit their sequences is [`super::sequence`].

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::LeafHash;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

use super::subjects::SubjectKey;
use super::{
    Appended, CONFLICT, EvidenceBatch, NewEvidence, Outcome, SUPERSEDED, Source, StoreError,
};

/// What is to be written for all batches together.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub(super) known: HashMap<Uuid, Known>,
    pub(super) fresh: Vec<Fresh<'a>>,
    /// Records in the database of which a later word has come.
    pub(super) superseded: Vec<(Uuid, Timestamp)>,
    pub(super) quarantined: Vec<Quarantined<'a>>,
}

/// A record whose id is taken.
pub(super) struct Known {
    pub(super) leaf: LeafHash,
    pub(super) word: Word,
    /// Its index in `fresh`, unless it is in the database.
    pub(super) fresh: Option<usize>,
}

/// How much a record knows of its exchange; the later word takes the place of the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// Written before the request left.
    Intent,
    /// Found in the access log of a filter that stopped.
    Stopped,
    /// Written when the exchange was over.
    Last,
    /// It was the last word, and is retained no more.
    LetGo,
}

impl Word {
    pub(super) fn of(provisional: bool, source: Source) -> Word {
        match (provisional, source) {
            (true, Source::Outbox) => Word::Intent,
            (true, Source::Witness) => Word::Stopped,
            (false, _) => Word::Last,
        }
    }
}

/// A record to be stored.
pub(super) struct Fresh<'a> {
    /// Of the group's batches, the one it came in.
    pub(super) batch: usize,
    pub(super) source: Source,
    pub(super) received_at: Timestamp,
    pub(super) evidence: &'a NewEvidence,
    /// Its sequence, once it has its place there.
    pub(super) epoch_key: Option<i64>,
    /// Reference of its subject, where it has one, and its salt as it is stored.
    pub(super) subject: Option<Uuid>,
    pub(super) salt: Vec<u8>,
}

/// What is kept apart, and why.
pub(super) struct Quarantined<'a> {
    pub(super) hash: [u8; 32],
    pub(super) reason: &'static str,
    pub(super) source: Source,
    pub(super) line: &'a [u8],
    pub(super) received_at: Timestamp,
}

/// Younger records are never let go.
const NEVER_LET_GO: SignedDuration = SignedDuration::from_hours(24);

/// Ids of records so old that they may have been let go; as a rule none.
pub(super) fn may_be_let_go(batches: &[EvidenceBatch]) -> Vec<Uuid> {
    let old = batches.iter().flat_map(|batch| {
        let old = |evidence: &&NewEvidence| {
            batch.received_at.duration_since(evidence.time) >= NEVER_LET_GO
        };
        batch.records.iter().filter(old)
    });
    old.map(|evidence| evidence.envelope.record.id).collect()
}

impl<'a> Group<'a> {
    /// The subjects of the records to be stored, in order.
    pub(super) fn subjects(&self) -> BTreeSet<&'a str> {
        let subjects = self.fresh.iter().map(|fresh| fresh.evidence);
        subjects
            .filter_map(|evidence| evidence.envelope.subject.as_deref())
            .collect()
    }

    /// Seals the salts of records under the keys of their subjects.
    pub(super) fn seal_salts(
        &mut self,
        keys: &HashMap<String, SubjectKey>,
    ) -> Result<(), StoreError> {
        for fresh in &mut self.fresh {
            if let Some(subject) = &fresh.evidence.envelope.subject {
                let key = keys
                    .get(subject)
                    .ok_or(StoreError::Corrupt("a subject without a key"))?;
                fresh.subject = Some(key.reference);
                fresh.salt = key.seal(&fresh.evidence.leaf, &fresh.evidence.salt)?;
            }
        }
        Ok(())
    }

    /// Takes up the next batch of the group; sequences are not looked at here.
    pub(super) fn take(&mut self, number: usize, batch: &'a EvidenceBatch) -> Appended {
        for rejected in &batch.rejected {
            self.quarantined.push(Quarantined {
                hash: rejected.sha256,
                reason: rejected.reason,
                source: batch.source,
                line: &rejected.line,
                received_at: batch.received_at,
            });
        }
        let outcomes = batch.records.iter().map(|evidence| {
            self.take_record(Fresh {
                batch: number,
                source: batch.source,
                received_at: batch.received_at,
                evidence,
                epoch_key: None,
                subject: None,
                salt: evidence.salt.to_vec(),
            })
        });
        Appended {
            outcomes: outcomes.collect(),
            chain_breaks: 0,
        }
    }

    /// Remembers which of these ids were let go.
    pub(super) fn know_let_go(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        for id in ids {
            let known = Known {
                leaf: LeafHash([0; 32]),
                word: Word::LetGo,
                fresh: None,
            };
            self.known.entry(id).or_insert(known);
        }
    }

    fn take_record(&mut self, fresh: Fresh<'a>) -> Outcome {
        let evidence = fresh.evidence;
        let id = evidence.envelope.record.id;
        let Some(known) = self.known.get(&id) else {
            self.remember(&fresh, self.fresh.len());
            self.fresh.push(fresh);
            return Outcome::Stored;
        };
        let word = word_of(&fresh);
        match word.cmp(&known.word) {
            // More is known already.
            Ordering::Less => Outcome::Duplicate,
            Ordering::Greater => {
                self.supersede(known.fresh, fresh);
                Outcome::Stored
            }
            Ordering::Equal if known.leaf == evidence.leaf => Outcome::Duplicate,
            Ordering::Equal => {
                self.quarantined.push(quarantined(&fresh, CONFLICT));
                Outcome::Conflict
            }
        }
    }

    fn supersede(&mut self, provisional: Option<usize>, last: Fresh<'a>) {
        let index = match provisional {
            Some(index) => index,
            None => {
                self.superseded
                    .push((last.evidence.envelope.record.id, last.received_at));
                self.fresh.len()
            }
        };
        self.remember(&last, index);
        match self.fresh.get_mut(index) {
            Some(place) => {
                self.quarantined.push(quarantined(place, SUPERSEDED));
                *place = last;
            }
            None => self.fresh.push(last),
        }
    }

    fn remember(&mut self, fresh: &Fresh<'a>, index: usize) {
        let known = Known {
            leaf: fresh.evidence.leaf,
            word: word_of(fresh),
            fresh: Some(index),
        };
        self.known.insert(fresh.evidence.envelope.record.id, known);
    }
}

fn word_of(fresh: &Fresh<'_>) -> Word {
    Word::of(fresh.evidence.envelope.provisional, fresh.source)
}

fn quarantined<'a>(fresh: &Fresh<'a>, reason: &'static str) -> Quarantined<'a> {
    Quarantined {
        hash: fresh.evidence.leaf.0,
        reason,
        source: fresh.source,
        line: fresh.evidence.envelope.canonical.as_bytes(),
        received_at: fresh.received_at,
    }
}
