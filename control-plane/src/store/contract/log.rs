//! Promises about the evidence tree.

use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Edge, Tile, TileId, Tiles};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

use super::samples::{SampleEmitter, at, batch, provisional};
use crate::store::{
    AdvanceError, Cosigned, EvidenceFilter, NewEvidence, Outcome, Sequenced, Store,
    StoredCheckpoint, WaitingBatch,
};

/// More than any test stores.
const ALL: u64 = 1_000_000;

async fn append(store: &dyn Store, records: &[NewEvidence]) -> Vec<Outcome> {
    let appended = store.append_evidence(batch(records.to_vec())).await;
    appended.unwrap().outcomes
}

fn leaves(records: &[NewEvidence]) -> Vec<LeafHash> {
    records.iter().map(|record| record.leaf).collect()
}

fn in_order(batches: &[WaitingBatch]) -> Vec<LeafHash> {
    let leaves = batches.iter().flat_map(|batch| &batch.leaves);
    leaves.copied().collect()
}

/// The step that puts `waiting` behind `edge`.
fn step(edge: &mut Edge, waiting: &[WaitingBatch]) -> Sequenced {
    for leaf in in_order(waiting) {
        edge.push(leaf.0);
    }
    Sequenced {
        batches: waiting.iter().map(|batch| batch.id).collect(),
        size: edge.size(),
        tiles: edge.take_changed(),
    }
}

/// The edge as the store has it.
async fn stored_edge(store: &dyn Store) -> Edge {
    let size = store.log_state().await.unwrap().size;
    let tiles = store.tiles(&Edge::tiles_of(size)).await.unwrap();
    let tiles: Tiles = tiles.into_iter().collect();
    Edge::restore(size, &tiles).unwrap()
}

/// Puts all that waits in the tree.
pub(super) async fn sequence(store: &dyn Store) {
    let mut edge = stored_edge(store).await;
    let seen = edge.size();
    let waiting = store.waiting_batches(ALL).await.unwrap();
    let sequenced = step(&mut edge, &waiting);
    store.sequence_batches(seen, sequenced).await.unwrap();
}

fn checkpoint(size: u64, note: &str) -> StoredCheckpoint {
    StoredCheckpoint {
        size,
        root: [size as u8; 32],
        note: note.to_owned(),
        signed_at: at(70_000_000),
    }
}

pub async fn empty_log_has_neither_leaves_nor_checkpoint(store: Arc<dyn Store>) {
    let state = store.log_state().await.unwrap();
    assert_eq!((state.size, state.waiting, state.checkpoint), (0, 0, None));
    assert_eq!(store.waiting_batches(ALL).await.unwrap(), []);
    assert_eq!(store.log_entries(0, 10).await.unwrap(), []);
    let id = TileId { level: 0, index: 0 };
    assert_eq!(store.tiles(&[id]).await.unwrap(), []);
}

pub async fn stored_records_wait_for_the_tree_once(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(5);
    append(&*store, &records).await;
    append(&*store, &records).await;
    let state = store.log_state().await.unwrap();
    assert_eq!((state.size, state.waiting), (0, 5));
    let waiting = store.waiting_batches(ALL).await.unwrap();
    assert_eq!(in_order(&waiting), leaves(&records));
    let id = records[0].envelope.record.id;
    let stored = store.evidence(id).await.unwrap().unwrap();
    assert_eq!(stored.leaf_index, None);
    let page = store
        .query_evidence(&EvidenceFilter::default(), None, 10)
        .await;
    assert_eq!(page.unwrap().leaf_indexes, [None; 5]);
}

pub async fn batches_wait_whole_and_in_order(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(9);
    for three in records.chunks(3) {
        append(&*store, three).await;
    }
    for (wanted, given) in [(1, 3), (3, 3), (4, 6), (9, 9), (ALL, 9)] {
        let waiting = store.waiting_batches(wanted).await.unwrap();
        assert_eq!(in_order(&waiting), leaves(&records[..given]), "{wanted}");
    }
}

pub async fn sequenced_leaf_is_where_its_record_says(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(600);
    for some in records.chunks(150) {
        append(&*store, some).await;
        sequence(&*store).await;
    }
    let state = store.log_state().await.unwrap();
    assert_eq!((state.size, state.waiting), (600, 0));
    let entries = store.log_entries(0, 1_000).await.unwrap();
    assert_eq!(entries.len(), 600);
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.index, index as u64);
        let canonical = records[index].envelope.canonical.as_str();
        assert_eq!(entry.canonical(), Some(canonical));
    }
    let middle = store.log_entries(250, 10).await.unwrap();
    assert_eq!(middle, entries[250..260]);
    assert_eq!(store.log_entries(600, 10).await.unwrap(), []);
    for index in [0, 149, 150, 599] {
        let id = records[index].envelope.record.id;
        let stored = store.evidence(id).await.unwrap().unwrap();
        assert_eq!(stored.leaf_index, Some(index as u64));
    }
    let page = store
        .query_evidence(&EvidenceFilter::default(), None, 2)
        .await;
    assert_eq!(page.unwrap().leaf_indexes, [Some(599), Some(598)]);
    let mut whole = Edge::default();
    records.iter().for_each(|record| whole.push(record.leaf.0));
    assert_eq!(stored_edge(&*store).await.root(), whole.root());
}

pub async fn partly_known_batch_leaves_no_hole(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(6);
    append(&*store, &records[1..3]).await;
    append(&*store, &records).await;
    sequence(&*store).await;
    let entries = store.log_entries(0, 10).await.unwrap();
    let order = [1, 2, 0, 3, 4, 5].map(|at: usize| records[at].envelope.canonical.as_str());
    let stored: Vec<&str> = entries
        .iter()
        .map(|entry| entry.canonical().unwrap())
        .collect();
    assert_eq!(stored, order);
}

pub async fn sequencer_who_saw_another_tree_changes_nothing(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(4);
    append(&*store, &records[..2]).await;
    let waiting = store.waiting_batches(ALL).await.unwrap();
    let late = step(&mut Edge::default(), &waiting);
    sequence(&*store).await;
    append(&*store, &records[2..]).await;
    let before = store.log_state().await.unwrap();
    // Twice the same, and what no longer waits behind the tree as it is.
    let again = store.sequence_batches(0, late.clone()).await;
    assert!(matches!(again, Err(AdvanceError::Stale)), "{again:?}");
    let gone = Sequenced { size: 4, ..late };
    let again = store.sequence_batches(2, gone).await;
    assert!(matches!(again, Err(AdvanceError::Stale)), "{again:?}");
    assert_eq!(store.log_state().await.unwrap(), before);
    assert_eq!(stored_edge(&*store).await.size(), 2);
}

pub async fn of_racing_sequencers_one_wins(store: Arc<dyn Store>) {
    append(&*store, &SampleEmitter::new(1).take(3)).await;
    let waiting = store.waiting_batches(ALL).await.unwrap();
    let sequenced = step(&mut Edge::default(), &waiting);
    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let (store, sequenced) = (Arc::clone(&store), sequenced.clone());
        racing.spawn(async move { store.sequence_batches(0, sequenced).await });
    }
    let ended = racing.join_all().await;
    let won = ended.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "{ended:?}");
    let stale = |result: &&Result<(), _>| matches!(result, Err(AdvanceError::Stale));
    assert_eq!(ended.iter().filter(stale).count(), 7, "{ended:?}");
    assert_eq!(store.log_state().await.unwrap().size, 3);
}

pub async fn tiles_grow_and_never_shrink(store: Arc<dyn Store>) {
    let mut emitter = SampleEmitter::new(1);
    let id = |level, index| TileId { level, index };
    let width = async |id: TileId| {
        let tile: Option<Tile> = store.tiles(&[id]).await.unwrap().pop();
        tile.map(|tile| tile.hashes.len())
    };
    append(&*store, &emitter.take(10)).await;
    sequence(&*store).await;
    assert_eq!(width(id(0, 0)).await, Some(10));
    append(&*store, &emitter.take(250)).await;
    sequence(&*store).await;
    let widths = [
        width(id(0, 0)).await,
        width(id(0, 1)).await,
        width(id(1, 0)).await,
        width(id(1, 1)).await,
    ];
    assert_eq!(widths, [Some(256), Some(4), Some(1), None]);
    let all = store.tiles(&[id(1, 0), id(5, 5), id(0, 1)]).await.unwrap();
    let ids: Vec<TileId> = all.iter().map(|tile| tile.id).collect();
    assert_eq!(ids, [id(1, 0), id(0, 1)]);
}

pub async fn checkpoint_advances_from_the_one_seen(store: Arc<dyn Store>) {
    let mut emitter = SampleEmitter::new(1);
    append(&*store, &emitter.take(3)).await;
    sequence(&*store).await;
    let newest = async || store.log_state().await.unwrap().checkpoint;
    let stale = async |seen, checkpoint| {
        let result = store.advance_checkpoint(seen, checkpoint).await;
        assert!(matches!(result, Err(AdvanceError::Stale)), "{result:?}");
    };
    // The tree has three leaves.
    stale(0, checkpoint(4, "ahead")).await;
    let first = checkpoint(3, "first");
    store.advance_checkpoint(0, first.clone()).await.unwrap();
    assert_eq!(newest().await, Some(first));
    append(&*store, &emitter.take(2)).await;
    sequence(&*store).await;
    stale(0, checkpoint(5, "saw none")).await;
    stale(3, checkpoint(2, "back")).await;
    let second = checkpoint(5, "second");
    store.advance_checkpoint(3, second.clone()).await.unwrap();
    stale(3, checkpoint(5, "late")).await;
    assert_eq!(newest().await, Some(second.clone()));
    // Signed anew, for the same tree.
    let resigned = checkpoint(5, "by two keys");
    store.advance_checkpoint(5, resigned.clone()).await.unwrap();
    let other_root = StoredCheckpoint {
        root: [9; 32],
        ..second
    };
    stale(5, other_root).await;
    assert_eq!(newest().await, Some(resigned));
}

pub async fn cosigned_log_advances_from_the_size_seen(store: Arc<dyn Store>) {
    let of = |size: u64| Cosigned {
        size,
        root: [size as u8; 32],
        note: format!("note {size}"),
        at: at(size),
    };
    let stale = async |origin: &str, seen, to| {
        let result = store.advance_cosigned(origin, seen, of(to)).await;
        assert!(matches!(result, Err(AdvanceError::Stale)), "{result:?}");
    };
    assert_eq!(store.cosigned("one").await.unwrap(), None);
    stale("one", 3, 5).await;
    store.advance_cosigned("one", 0, of(3)).await.unwrap();
    stale("one", 0, 5).await;
    stale("one", 2, 5).await;
    assert_eq!(store.cosigned("one").await.unwrap(), Some(of(3)));
    assert_eq!(store.cosigned("two").await.unwrap(), None);
    let mut racing = JoinSet::new();
    for to in 4..12 {
        let (store, cosigned) = (Arc::clone(&store), of(to));
        racing.spawn(async move { store.advance_cosigned("one", 3, cosigned).await });
    }
    let won = racing.join_all().await.into_iter().filter(Result::is_ok);
    assert_eq!(won.count(), 1);
}

pub async fn replaced_provisional_record_stays_in_the_tree(store: Arc<dyn Store>) {
    let mut emitter = SampleEmitter::new(1);
    let records = emitter.take(3);
    let early = provisional(&records[1]);
    append(&*store, &[records[0].clone(), early.clone()]).await;
    sequence(&*store).await;
    append(&*store, &records[1..]).await;
    sequence(&*store).await;
    let entries = store.log_entries(0, 10).await.unwrap();
    let order = [&records[0], &early, &records[1], &records[2]];
    let order = order.map(|record| record.envelope.canonical.as_str());
    let stored: Vec<&str> = entries
        .iter()
        .map(|entry| entry.canonical().unwrap())
        .collect();
    assert_eq!(stored, order);
    let id = records[1].envelope.record.id;
    let stored = store.evidence(id).await.unwrap().unwrap();
    assert_eq!((stored.leaf_index, stored.provisional), (Some(2), false));
}

pub async fn records_stored_while_others_are_sequenced_all_get_a_place(store: Arc<dyn Store>) {
    let mut senders = JoinSet::new();
    for epoch in 1..=4 {
        let store = Arc::clone(&store);
        senders.spawn(async move {
            for some in SampleEmitter::new(epoch).take(60).chunks(7) {
                append(&*store, some).await;
            }
        });
    }
    while senders.try_join_next().is_some() || !senders.is_empty() {
        sequence(&*store).await;
    }
    sequence(&*store).await;
    let state = store.log_state().await.unwrap();
    assert_eq!((state.size, state.waiting), (240, 0));
    let entries = store.log_entries(0, 1_000).await.unwrap();
    let different: BTreeSet<&str> = entries
        .iter()
        .map(|entry| entry.canonical().unwrap())
        .collect();
    assert_eq!((entries.len(), different.len()), (240, 240));
    let mut whole = Edge::default();
    for entry in &entries {
        whole.push(LeafHash::of(entry.canonical().unwrap().as_bytes()).0);
    }
    assert_eq!(stored_edge(&*store).await.root(), whole.root());
}
